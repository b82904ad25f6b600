//! Writes JSON strings (RFC 8259 §7). What is no control character, quote or backslash stays.

/// Appends the inside of a string.
pub fn push_inner(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                const HEX: [u8; 16] = *b"0123456789abcdef";
                let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

/// Appends a string with its quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_inner(out, text);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_back() {
        let awkward: String = (0..0x80u8)
            .map(char::from)
            .chain("ä😀\u{2028}".chars())
            .collect();
        let mut out = Vec::new();
        push_string(&mut out, &awkward);
        assert_eq!(sonic_rs::from_slice::<String>(&out).unwrap(), awkward);
    }
}
