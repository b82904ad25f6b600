//! JSON strings: comparing and decoding their content (RFC 8259 §7).

use std::borrow::Cow;

/// The text of a string's content (without quotes). Unpaired surrogates become U+FFFD.
#[must_use]
pub fn decode(content: &[u8]) -> Cow<'_, str> {
    let text = core::str::from_utf8(content).unwrap_or_default();
    if !content.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        rest = escape(rest, &mut decoded);
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// Decodes the escape at the front (after its backslash); returns what follows it.
fn escape<'a>(rest: &'a str, decoded: &mut String) -> &'a str {
    let mut chars = rest.chars();
    match chars.next() {
        Some('u') => return unicode(chars.as_str(), decoded),
        Some('b') => decoded.push('\u{8}'),
        Some('f') => decoded.push('\u{c}'),
        Some('n') => decoded.push('\n'),
        Some('r') => decoded.push('\r'),
        Some('t') => decoded.push('\t'),
        Some(plain) => decoded.push(plain),
        None => {}
    }
    chars.as_str()
}

fn unicode<'a>(rest: &'a str, decoded: &mut String) -> &'a str {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let after = rest.get(4..).unwrap_or_default();
    let Some(first) = unit(rest) else {
        decoded.push(char::REPLACEMENT_CHARACTER);
        return after;
    };
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = after.strip_prefix("\\u").and_then(unit)
        && (0xdc00..0xe000).contains(&second)
    {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        decoded.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        return after.get(6..).unwrap_or_default();
    }
    decoded.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    after
}

/// Whether a string's content (without quotes) is that text.
#[must_use]
pub fn same_text(content: &[u8], text: &str) -> bool {
    content == text.as_bytes() || (content.contains(&b'\\') && decode(content) == text)
}
