//! A request's head, owned and reusable: the connection keeps one and fills it again.

use core::ops::Range;
use std::borrow::Cow;

use crate::http::h1::{Opened, USUAL_LINE_END};
use crate::http::uri::{self, PathError, TargetForm};
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
    /// Method, target, and then a path the target left out (`http://host` means `/`). Text; as
    /// bytes, because most requests are answered without a look at more than their route.
    line: Vec<u8>,
    method_end: u32,
    target_end: u32,
    path: Span,
    query: Span,
    /// The normalised path: the path itself, or what was appended for it.
    routed: Span,
    /// What the codec made of it, if it was read from a head written the usual way.
    opened: Option<Opened>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(base: usize, range: &Range<usize>) -> Self {
        Self {
            start: (base + range.start) as u32,
            end: (base + range.end) as u32,
        }
    }
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
        let text = |bytes| core::str::from_utf8(bytes).unwrap_or("");
        self.start_line(Method::of(method), text(method), text(target).as_bytes());
        self.path = Span::new(method.len(), &path);
        self.query = Span::new(method.len(), &query);
        self.routed = self.path;
        let _ = self.normalize();
    }

    /// Replaces method and target and finds path and query. Returns where in `target` the
    /// authority is (absolute-form and authority-form), which then outweighs the Host field;
    /// `None` if the target's form does not fit the method (RFC 9112 §3.2) or its path cannot
    /// be normalised: answer 400.
    pub fn set_target(&mut self, method: &str, target: &str) -> Option<Range<usize>> {
        let kind = Method::of(method.as_bytes());
        if uri::is_plain_path(target.as_bytes()) && kind != Method::Connect {
            self.start_line(kind, method, target.as_bytes());
            self.path = Span::new(method.len(), &(0..target.len()));
            self.query = Span::new(method.len() + target.len(), &(0..0));
            self.routed = self.path;
            return Some(0..0);
        }
        let parts = uri::parse_target(kind, target)?;
        self.start_line(kind, method, target.as_bytes());
        let base = method.len();
        self.path = Span::new(base, &parts.path);
        self.query = Span::new(base, &parts.query);
        if parts.form == TargetForm::Absolute && parts.path.is_empty() {
            self.append_root_path(parts.query);
        }
        self.normalize().ok()?;
        Some(parts.authority)
    }

    /// Replaces method and target by an ASCII target in origin-form whose path needs no
    /// normalisation and is `path_len` bytes long; a query may follow its `?`.
    pub(in crate::http) fn set_plain_target(
        &mut self,
        method: Method,
        target: &[u8],
        path_len: usize,
    ) {
        let token = method.as_str();
        self.start_line(method, token, target);
        self.path = Span::new(token.len(), &(0..path_len));
        let query_start = target.len().min(path_len + 1);
        self.query = Span::new(token.len(), &(query_start..target.len()));
        self.routed = self.path;
    }

    fn normalize(&mut self) -> Result<(), PathError> {
        self.routed = self.path;
        if let Cow::Owned(normal) = uri::normalize_path(self.path())? {
            self.routed = Span::new(self.line.len(), &(0..normal.len()));
            self.line.extend_from_slice(normal.as_bytes());
        }
        Ok(())
    }

    #[inline]
    fn start_line(&mut self, kind: Method, method: &str, target: &[u8]) {
        self.opened = None;
        self.method = kind;
        self.line.clear();
        self.line.extend_from_slice(method.as_bytes());
        self.method_end = self.line.len() as u32;
        self.line.extend_from_slice(target);
        self.target_end = self.line.len() as u32;
    }

    /// `http://host` means `/`, and `*` for OPTIONS (RFC 9112 §3.2.4); the text for it is
    /// appended, with the query so that [`path_and_query`](Self::path_and_query) is one piece.
    fn append_root_path(&mut self, query: Range<usize>) {
        let start = self.line.len();
        let base = self.method_end as usize;
        if query.is_empty() {
            let path = if self.method == Method::Options {
                "*"
            } else {
                "/"
            };
            self.line.extend_from_slice(path.as_bytes());
            self.query = Span::new(start, &(1..1));
        } else {
            self.line.extend_from_slice(b"/?");
            self.line
                .extend_from_within(base + query.start..base + query.end);
            self.query = Span::new(start, &(2..2 + query.len()));
        }
        self.path = Span::new(start, &(0..1));
    }

    /// Notes what the codec made of this head, which was read from one written the usual way.
    pub(in crate::http) fn keep(&mut self, opened: Opened) {
        self.opened = Some(opened);
    }

    /// Where the input's head ends and what the codec makes of it, if it is the very head that
    /// this one was read from, byte for byte: clients repeat themselves.
    pub(in crate::http) fn recall(&self, input: &[u8]) -> Option<(usize, Opened)> {
        let opened = self.opened.filter(|_| self.headers.is_as_read())?;
        let (method, target) = self.line.split_at_checked(self.method_end as usize)?;
        let rest = input
            .strip_prefix(method)?
            .strip_prefix(b" ")?
            .strip_prefix(target)?
            .strip_prefix(USUAL_LINE_END)?
            .strip_prefix(self.headers.wire())?
            .strip_prefix(b"\r\n")?;
        Some((input.len() - rest.len(), opened))
    }

    /// The method as the client spelled it.
    #[must_use]
    pub fn method_token(&self) -> &str {
        self.part(0..self.method_end as usize)
    }

    /// The request target as the client spelled it.
    #[must_use]
    pub fn target(&self) -> &str {
        self.part(self.method_end as usize..self.target_end as usize)
    }

    /// The path of the target, as spelled (percent-encoded), starting with `/`, or `*`; empty
    /// for CONNECT. For logs and for sending on; [`route_path`](Self::route_path) is to decide on.
    #[must_use]
    pub fn path(&self) -> &str {
        self.part(self.path.range())
    }

    /// The path in the one form that routes, access rules and files go by
    /// ([`uri::normalize_path`]): no spelling of a path gets around a rule.
    #[must_use]
    pub fn route_path(&self) -> &str {
        self.part(self.routed.range())
    }

    /// The bytes of [`route_path`](Self::route_path).
    #[must_use]
    pub fn route_path_bytes(&self) -> &[u8] {
        self.bytes(self.routed.range())
    }

    /// The query without its `?`; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.part(self.query.range())
    }

    /// Path and query as one origin-form target, for forwarding and logging.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let end = self.query.end.max(self.path.end);
        self.part(self.path.start as usize..end as usize)
    }

    fn part(&self, range: Range<usize>) -> &str {
        core::str::from_utf8(self.bytes(range)).unwrap_or("")
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.line.get(range).unwrap_or_default()
    }

    /// A known field's first value.
    #[must_use]
    pub fn header(&self, known: Known) -> Option<&[u8]> {
        self.headers.get(known)
    }

    /// Makes the head ready for the next request and keeps its memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.opened = None;
        self.line.clear();
        self.method_end = 0;
        self.target_end = 0;
        self.path = Span::default();
        self.query = Span::default();
        self.routed = Span::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_target(method, target).unwrap();
        head
    }

    #[test]
    fn parts_of_a_target() {
        for (method, target, path, query, both) in [
            ("GET", "/a?b=c", "/a", "b=c", "/a?b=c"),
            ("GET", "/a?", "/a", "", "/a?"),
            ("GET", "/a", "/a", "", "/a"),
            ("GET", "http://h.test/a?b", "/a", "b", "/a?b"),
            ("GET", "http://h.test", "/", "", "/"),
            ("GET", "http://h.test?b", "/", "b", "/?b"),
            ("OPTIONS", "http://h.test", "*", "", "*"),
            ("OPTIONS", "*", "*", "", "*"),
            ("CONNECT", "h.test:443", "", "", ""),
        ] {
            let head = head(method, target);
            assert_eq!(head.method_token(), method);
            assert_eq!(head.target(), target);
            assert_eq!((head.path(), head.query()), (path, query), "{target}");
            assert_eq!(head.path_and_query(), both, "{target}");
        }
    }

    #[test]
    fn routes_see_one_spelling() {
        for target in [
            "/a/b?x",
            "/a//b?x",
            "/%61/./b",
            "/c/../a/b",
            "http://h/a/%62",
        ] {
            let head = head("GET", target);
            assert_eq!(head.route_path(), "/a/b", "{target}");
            assert_eq!(head.target(), target);
        }
        assert_eq!(head("GET", "http://h?x").route_path(), "/");
        assert_eq!(head("OPTIONS", "*").route_path(), "*");
        let mut head = RequestHead::default();
        for bad in ["/..", "/%00", "/%", "/a/%2e%2e/%2e%2e"] {
            assert_eq!(head.set_target("GET", bad), None, "{bad}");
        }
    }

    #[test]
    fn given_ranges_are_kept() {
        let mut head = RequestHead::default();
        head.set_line(b"POST", b"/x?y", 0..2, 3..4);
        assert_eq!(head.method, Method::Post);
        assert_eq!(
            (head.path(), head.query(), head.target()),
            ("/x", "y", "/x?y")
        );
        head.clear();
        assert_eq!(
            (head.method_token(), head.target(), head.path()),
            ("", "", "")
        );
    }
}
