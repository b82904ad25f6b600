//! A response as handlers make it. Framing fields (Content-Length, Transfer-Encoding,
//! Connection, Date) are the driver's and are added when it is written.

use crate::http::{Body, HeaderList};

/// Status, fields and content of a response.
#[derive(Debug, Default)]
pub struct Response {
    /// Status code (RFC 9110 §15).
    pub status: u16,
    /// Fields in order, without framing fields.
    pub headers: HeaderList,
    /// The content.
    pub body: Body,
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
    }

    /// Adds a field. The caller vouches that the value holds no CR, LF or NUL.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name.as_bytes(), value.as_bytes());
        self
    }

    /// Sets the content.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }
}
