//! Ids and progress tokens on shared sessions: each request gets a number of ours for both,
//! and what the server sends back gets the client's own again. Everything else stays byte for
//! byte.

use bytes::Bytes;

use crate::mcp::scan::{self, Message, Span};

/// What a client called its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Original {
    /// The JSON-RPC id, as JSON.
    id: Bytes,
    /// The progress token, as JSON; empty if it asked for no progress.
    token: Bytes,
}

impl Original {
    /// Remembers the names of a scanned request.
    pub(crate) fn of(message: &Bytes, parts: &Message) -> Self {
        Self {
            id: slice(message, parts.id),
            token: slice(message, parts.progress_token),
        }
    }

    /// A request of the gateway itself: nothing to put back.
    pub(crate) fn none() -> Self {
        Self {
            id: Bytes::new(),
            token: Bytes::new(),
        }
    }

    /// A response with the client's id.
    pub(crate) fn restore_id(&self, message: Bytes, id: Span) -> Bytes {
        replaced(message, id, &self.id)
    }

    /// An error response that came without an id, with the client's.
    pub(crate) fn add_id(&self, message: &[u8]) -> Bytes {
        let rest = message.trim_ascii_start();
        let rest = rest.strip_prefix(b"{").unwrap_or(rest);
        [b"{\"id\":", self.id.as_ref(), b",", rest].concat().into()
    }

    /// A progress notification with the client's token; `None` if the client asked for none.
    pub(crate) fn restore_token(&self, message: Bytes, token: Span) -> Option<Bytes> {
        (!self.token.is_empty()).then(|| replaced(message, token, &self.token))
    }
}

/// Writes a request with `number` as its id and, where it has one, its progress token.
pub(crate) fn renumber(message: &[u8], parts: &Message, number: u64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let mut spans = [parts.id.range(), parts.progress_token.range()];
    spans.sort_by_key(|span| span.start);
    let mut from = 0;
    for span in spans {
        if span.is_empty() {
            continue;
        }
        out.extend_from_slice(message.get(from..span.start).unwrap_or_default());
        out.extend_from_slice(digits);
        from = span.end;
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
}

/// A message with one part exchanged.
pub(crate) fn replaced(message: Bytes, span: Span, value: &[u8]) -> Bytes {
    if value.is_empty() || !span.is_some() || span.of(&message) == value {
        return message;
    }
    let range = span.range();
    let mut out = Vec::with_capacity(message.len() - range.len() + value.len());
    out.extend_from_slice(message.get(..range.start).unwrap_or_default());
    out.extend_from_slice(value);
    out.extend_from_slice(message.get(range.end..).unwrap_or_default());
    out.into()
}

/// Whether two ids are the same: byte for byte, or as text, which a server may have spelled anew.
pub(crate) fn is_same_id(sent: &[u8], got: &[u8]) -> bool {
    let text = |id: &[u8]| {
        let inner = id.strip_prefix(b"\"").and_then(|id| id.strip_suffix(b"\""));
        scan::decode(inner.unwrap_or(id)).into_owned()
    };
    sent == got || text(sent) == text(got)
}

/// Part of a message that shares its memory.
pub(crate) fn slice(message: &Bytes, span: Span) -> Bytes {
    if span.is_some() && span.range().end <= message.len() {
        message.slice(span.range())
    } else {
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renumbered(text: &str) -> (String, Original) {
        let message = Bytes::copy_from_slice(text.as_bytes());
        let parts = Message::scan(&message).unwrap();
        let mut out = Vec::new();
        renumber(&message, &parts, 77, &mut out);
        (
            String::from_utf8(out).unwrap(),
            Original::of(&message, &parts),
        )
    }

    #[test]
    fn id_and_token_change_and_nothing_else() {
        let (sent, original) = renumbered(
            r#"{"id" : "a\"b", "params":{"arguments":{"id":1.50},"_meta":{"progressToken":"t"}},
            "method":"tools/call","jsonrpc":"2.0"}"#,
        );
        assert_eq!(
            sent,
            r#"{"id" : 77, "params":{"arguments":{"id":1.50},"_meta":{"progressToken":77}},
            "method":"tools/call","jsonrpc":"2.0"}"#
        );
        let answer = Bytes::from_static(br#"{"result":{"id":77},"jsonrpc":"2.0","id":77}"#);
        let parts = Message::scan(&answer).unwrap();
        assert_eq!(
            original.restore_id(answer, parts.id),
            r#"{"result":{"id":77},"jsonrpc":"2.0","id":"a\"b"}"#
        );
        let progress = Bytes::from_static(
            br#"{"jsonrpc":"2.0","method":"notifications/progress",
            "params":{"progress":1,"progressToken":77}}"#,
        );
        let parts = Message::scan(&progress).unwrap();
        let restored = original.restore_token(progress, parts.progress_token);
        assert!(restored.unwrap().ends_with(br#""progressToken":"t"}}"#));
    }

    #[test]
    fn ids_are_compared_by_what_they_say() {
        assert!(is_same_id(b"7", b"7"));
        assert!(is_same_id(br#""a\u0062""#, br#""ab""#));
        assert!(is_same_id(b"7", b"\"7\""));
        assert!(!is_same_id(b"7", b"8"));
        assert!(!is_same_id(b"7", b"null"));
    }

    #[test]
    fn the_token_may_stand_before_the_id_or_be_absent() {
        let (sent, _) = renumbered(
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":5}},"id":5}"#,
        );
        assert_eq!(
            sent,
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":77}},"id":77}"#
        );
        let (sent, original) = renumbered(r#"{"jsonrpc":"2.0","method":"m","id":5}"#);
        assert_eq!(sent, r#"{"jsonrpc":"2.0","method":"m","id":77}"#);
        assert_eq!(
            original.add_id(br#" {"jsonrpc":"2.0","error":{}}"#),
            r#"{"id":5,"jsonrpc":"2.0","error":{}}"#
        );
        let stray = Bytes::from_static(b"{}");
        assert_eq!(original.restore_token(stray, Span::NONE), None);
    }
}
