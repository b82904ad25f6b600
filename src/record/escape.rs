//! Makes what a peer sent harmless: no request can forge or break a line.

/// nginx's default escaping: quotes, backslashes and bytes outside printable ASCII as `\xHH`.
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && !matches!(byte, b'"' | b'\\');
    let mut rest = text;
    loop {
        // Nearly always all of it is plain.
        let plain = rest.iter().take_while(|byte| is_plain(byte)).count();
        let (before, after) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        out.extend_from_slice(before);
        let Some((&byte, tail)) = after.split_first() else {
            return;
        };
        out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
        rest = tail;
    }
}

/// JSON string content (RFC 8259 §7). Bytes that are no UTF-8 become U+FFFD, so that the line
/// stays readable for every parser; nginx's escape=json lets them through.
pub(super) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                // DEL and C1 are legal in JSON but act on terminals.
                c if c.is_control() => {
                    let code = format!("\\u{:04x}", u32::from(c));
                    out.extend_from_slice(code.as_bytes());
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: fn(&mut Vec<u8>, &[u8]), text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_becomes_printable_ascii() {
        let all: Vec<u8> = (0..=255).collect();
        let text = escaped(push_text, &all);
        assert!(
            text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text}"
        );
        assert!(
            text.contains(" !\\x22#$%") && text.contains("[\\x5C]"),
            "{text}"
        );
        assert!(
            text.starts_with("\\x00\\x01") && text.ends_with("\\xFE\\xFF"),
            "{text}"
        );
        assert_eq!(escaped(push_text, b"a\r\nb\0"), r"a\x0D\x0Ab\x00");
        assert_eq!(escaped(push_text, b""), "");
    }

    #[test]
    fn json_reads_back_as_what_was_sent() {
        assert_eq!(escaped(push_json, b"a\r\nb\0"), r"a\u000d\u000ab\u0000");
        let text = "ü€😀\u{7f}\u{9b}\"\\\t";
        let quoted = format!("\"{}\"", escaped(push_json, text.as_bytes()));
        assert!(!quoted.contains(char::is_control), "{quoted:?}");
        assert_eq!(sonic_rs::from_str::<String>(&quoted).unwrap(), text);
        assert_eq!(
            escaped(push_json, b"a\xff\xfeb\xe2\x82"),
            "a\u{fffd}\u{fffd}b\u{fffd}"
        );
    }
}
