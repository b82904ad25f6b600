//! Replaces parts of a message and leaves every other byte as it was.

use super::scan::Span;

/// The message with each part replaced. Parts must be in order and must not overlap.
#[must_use]
pub fn replace(message: &[u8], edits: &[(Span, &[u8])]) -> Vec<u8> {
    let added: usize = edits.iter().map(|(_, with)| with.len()).sum();
    let mut out = Vec::with_capacity(message.len() + added);
    let mut from = 0;
    for (span, with) in edits {
        let range = span.range();
        debug_assert!(
            from <= range.start && range.end <= message.len(),
            "edits out of order"
        );
        out.extend_from_slice(message.get(from..range.start).unwrap_or_default());
        out.extend_from_slice(with);
        from = range.end;
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
    out
}

/// The message with bytes put in before the one at `at`.
#[must_use]
pub fn insert(message: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    replace(message, &[(Span::new(at, at), with)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::scan::Message;

    proptest! {
        #[test]
        fn nothing_else_changes(
            parts in prop::collection::vec((".{0,9}", ".{0,9}", ".{0,9}"), 0..6),
            tail in ".{0,9}",
        ) {
            let (mut message, mut wanted, mut edits) = (String::new(), String::new(), Vec::new());
            for (kept, old, new) in &parts {
                message.push_str(kept);
                let start = message.len();
                message.push_str(old);
                edits.push((Span::new(start, message.len()), new.as_bytes()));
                wanted.push_str(kept);
                wanted.push_str(new);
            }
            message.push_str(&tail);
            wanted.push_str(&tail);
            prop_assert_eq!(replace(message.as_bytes(), &edits), wanted.into_bytes());
        }

        #[test]
        fn spans_follow_an_edit(name in "[a-z]{0,20}", new in "[a-z]{0,20}", id in any::<i32>()) {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"m","params":{{"name":"{name}","arguments":{{"a":1}},"_meta":{{"progressToken":"t"}}}},"id":{id}}}"#
            );
            let before = Message::scan(text.as_bytes()).unwrap();
            let with = format!("\"{new}\"");
            let edited = replace(text.as_bytes(), &[(before.name, with.as_bytes())]);
            let delta = new.len() as i64 - name.len() as i64;
            let moved = before.shifted(before.name.range().start, delta);
            let again = Message::scan(&edited).unwrap();
            prop_assert_eq!(format!("{moved:?}"), format!("{again:?}"));
        }
    }
}
