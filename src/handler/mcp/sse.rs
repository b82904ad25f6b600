//! Server-sent events as MCP uses them: one JSON-RPC message an event.

use bytes::Bytes;

use crate::http::{Frame, Response, sse};

/// A comment: keeps idle streams open and is the first byte of those with nothing to say yet.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// The event that carries a message. Line breaks between JSON tokens become those of the event.
pub(super) fn event(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 32);
    sse::write_event(Some("message"), None, message, &mut out);
    out.into()
}

/// The event as a piece of a body.
pub(super) fn frame(message: &[u8]) -> Frame {
    Frame::Data(event(message))
}

/// Makes it the response of an event stream: not stored, not buffered on the way.
pub(super) fn head(response: &mut Response) {
    response.status = 200;
    for (name, value) in [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-cache"),
        ("X-Accel-Buffering", "no"),
    ] {
        response.headers.push(name.as_bytes(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_do_not_end_an_event() {
        assert_eq!(event(b"{}"), "event: message\ndata: {}\n\n");
        assert_eq!(
            event(b"{\n\"a\":\r\n1}"),
            "event: message\ndata: {\ndata: \"a\":\ndata: 1}\n\n"
        );
    }
}
