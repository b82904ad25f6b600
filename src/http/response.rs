//! A response as handlers make it. Framing fields (Content-Length, Transfer-Encoding,
//! Connection, Date) are the driver's and are added when it is written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::json::push_inner;
use crate::http::{Body, HeaderList, Known, Version, reason};

/// Status, fields and content of a response.
#[derive(Debug, Default)]
pub struct Response {
    /// Status code (RFC 9110 §15).
    pub status: u16,
    /// Fields in order, without framing fields.
    pub headers: HeaderList,
    /// The content.
    pub body: Body,
    /// How long a server behind took, where one was asked.
    pub upstream: Option<UpstreamTimes>,
    /// Servers behind that were asked, in that order: more than one where the first failed.
    pub asked: Vec<AskedServer>,
    /// What the cache did, where there is one (nginx: `$upstream_cache_status`).
    pub cache: Option<&'static str>,
}

/// A server behind that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedServer {
    /// Where it is: `127.0.0.1:8000`, a host and port, or `stdio:NAME` for a child.
    pub address: Arc<str>,
    /// What it answered, if it is known.
    pub status: Option<u16>,
    /// How long it took; `None` for the last one means [`Response::upstream`].
    pub times: Option<UpstreamTimes>,
}

/// How long a server behind took, from when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimes {
    /// To connect; zero on a connection that was kept. `None` where there is none: a child.
    pub connect: Option<Duration>,
    /// Until the first message of its answer.
    pub header: Duration,
    /// Until the last; `None` if the answer is still on its way when the response begins, so
    /// that it lasts as long as the response.
    pub response: Option<Duration>,
}

impl Response {
    /// A response without content.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// Makes the response ready for the next exchange and keeps its memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.headers.clear();
        self.body = Body::Empty;
        self.upstream = None;
        self.asked.clear();
        self.cache = None;
    }

    /// A response whose content is that JSON text.
    #[must_use]
    pub fn json(status: u16, text: impl Into<Bytes>) -> Self {
        let mut response = Self::new(status);
        response
            .headers
            .push_known(Known::ContentType, b"application/json");
        response.body = Body::Full(text.into());
        response
    }

    /// A refusal that programs and people can read (RFC 9457): `type` is about:blank, `title`
    /// the status's name, `detail` what went wrong here.
    #[must_use]
    pub fn problem(status: u16, detail: &str) -> Self {
        let mut text = Vec::with_capacity(96 + detail.len());
        text.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":\"");
        text.extend_from_slice(reason(status).as_bytes());
        text.extend_from_slice(b"\",\"status\":");
        text.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        text.extend_from_slice(b",\"detail\":\"");
        push_inner(&mut text, detail);
        text.extend_from_slice(b"\"}");
        let mut response = Self::new(status);
        response
            .headers
            .push_known(Known::ContentType, b"application/problem+json");
        response.body = Body::Full(text.into());
        response
    }

    /// Adds a field. The caller vouches that the value holds no CR, LF or NUL.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name.as_bytes(), value.as_bytes());
        self
    }

    /// Replaces every field of that name by one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.set(name.as_bytes(), value.as_bytes());
    }

    /// Sets the content.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }
}

/// Status and fields of a response that was received. Reusable like a request's head.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Status code, 100 to 599.
    pub status: u16,
    /// The version the server spoke.
    pub version: Version,
    /// Fields in order.
    pub headers: HeaderList,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_and_why() {
        let response = Response::problem(404, "no \"route\" for\n/x\\y é");
        let Body::Full(text) = &response.body else {
            panic!("a problem has content")
        };
        assert_eq!(
            core::str::from_utf8(text).unwrap(),
            "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\
             \"detail\":\"no \\\"route\\\" for\\n/x\\\\y é\"}"
        );
        assert_eq!(
            response.headers.get(Known::ContentType),
            Some(&b"application/problem+json"[..])
        );
    }

    #[test]
    fn setting_replaces() {
        let mut response = Response::json(200, &b"{}"[..])
            .with("X-A", "1")
            .with("x-a", "2");
        response.set("X-A", "3");
        assert_eq!(
            response.headers.wire(),
            b"Content-Type: application/json\r\nX-A: 3\r\n"
        );
    }
}
