//! A request's head, owned and reusable: the connection keeps one and fills it again.

use core::ops::Range;

use crate::http::{HeaderList, Known};

/// Request methods (RFC 9110 §9). Anything else keeps its spelling in the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the method of that name")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Trace,
    Connect,
    /// A method the program gives no meaning to.
    Other,
}

impl Method {
    /// Every method, in the order of [`index`](Self::index).
    pub const ALL: [Self; 10] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Patch,
        Self::Options,
        Self::Trace,
        Self::Connect,
        Self::Other,
    ];

    /// Place in [`ALL`](Self::ALL), for tables by method.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The token, or `OTHER` where the spelling is not kept.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other => "OTHER",
        }
    }

    /// Reads a method token; methods are case-sensitive.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// Protocol version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is the version of that name")]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// Method, target and fields of a request. Same for every HTTP version.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method, or `Other`; [`method_token`](Self::method_token) has the spelling.
    pub method: Method,
    /// The version the client spoke.
    pub version: Version,
    /// Fields in order.
    pub headers: HeaderList,
    line: Vec<u8>,
    method_end: u32,
    path: Span,
    query: Span,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl RequestHead {
    /// Replaces method and target; `path` and `query` are ranges of `target` (the origin-form
    /// part of it, RFC 9112 §3.2). Fields are filled through [`headers`](Self::headers).
    pub fn set_line(
        &mut self,
        method: &[u8],
        target: &[u8],
        path: Range<usize>,
        query: Range<usize>,
    ) {
        self.method = Method::of(method);
        self.line.clear();
        self.line.extend_from_slice(method);
        self.method_end = method.len() as u32;
        self.line.extend_from_slice(target);
        let at = |offset: usize| (method.len() + offset) as u32;
        self.path = Span {
            start: at(path.start),
            end: at(path.end),
        };
        self.query = Span {
            start: at(query.start),
            end: at(query.end),
        };
    }

    /// The method as the client spelled it.
    #[must_use]
    pub fn method_token(&self) -> &str {
        text(self.line.get(..self.method_end as usize))
    }

    /// The request target as the client spelled it.
    #[must_use]
    pub fn target(&self) -> &str {
        text(self.line.get(self.method_end as usize..))
    }

    /// The path of the target, as spelled (percent-encoded), starting with `/`, or `*`.
    #[must_use]
    pub fn path(&self) -> &str {
        text(self.line.get(self.path.range()))
    }

    /// The query without its `?`; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        text(self.line.get(self.query.range()))
    }

    /// A known field's first value.
    #[must_use]
    pub fn header(&self, known: Known) -> Option<&[u8]> {
        self.headers.get(known)
    }

    /// Makes the head ready for the next request and keeps its memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.line.clear();
        self.method_end = 0;
        self.path = Span::default();
        self.query = Span::default();
    }
}

/// The parser lets only ASCII into a request line, so this never falls back.
fn text(bytes: Option<&[u8]>) -> &str {
    bytes
        .and_then(|bytes| core::str::from_utf8(bytes).ok())
        .unwrap_or("")
}
