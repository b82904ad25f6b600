//! Base64 both ways (RFC 4648 §4 and §5). Decoding is strict: padding exactly as the alphabet
//! wants it, no white space, no spare bits set.

/// Which of the two alphabets, and with it whether the text is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `+`, `/`, padded with `=`.
    Standard,
    /// `-`, `_`, not padded.
    Url,
}

impl Alphabet {
    const fn digit(self, six_bits: u32) -> u8 {
        // Only the low six bits count, so the casts cannot lose anything.
        let value = (six_bits & 0x3f) as u8;
        match (value, self) {
            (0..=25, _) => b'A' + value,
            (26..=51, _) => b'a' + value - 26,
            (52..=61, _) => b'0' + value - 52,
            (62, Self::Standard) => b'+',
            (62, Self::Url) => b'-',
            (_, Self::Standard) => b'/',
            (_, Self::Url) => b'_',
        }
    }

    fn value(self, digit: u8) -> Option<u32> {
        let value = match (digit, self) {
            (b'A'..=b'Z', _) => digit - b'A',
            (b'a'..=b'z', _) => digit - b'a' + 26,
            (b'0'..=b'9', _) => digit - b'0' + 52,
            (b'+', Self::Standard) | (b'-', Self::Url) => 62,
            (b'/', Self::Standard) | (b'_', Self::Url) => 63,
            _ => return None,
        };
        Some(u32::from(value))
    }
}

/// Appends the text of `bytes` to `out`.
pub fn encode(alphabet: Alphabet, bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let octet = |index: usize| chunk.get(index).copied().map_or(0, u32::from);
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                out.push(alphabet.digit(bits >> (18 - 6 * digit)));
            } else if alphabet == Alphabet::Standard {
                out.push(b'=');
            }
        }
    }
}

/// The bytes behind a text; `None` if it is not base64 to the letter.
#[must_use]
pub fn decode(alphabet: Alphabet, text: &[u8]) -> Option<Vec<u8>> {
    let digits = match alphabet {
        Alphabet::Standard if !text.len().is_multiple_of(4) => return None,
        Alphabet::Standard => text
            .strip_suffix(b"==")
            .or_else(|| text.strip_suffix(b"="))
            .unwrap_or(text),
        Alphabet::Url => text,
    };
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut bits = 0;
        for &digit in chunk {
            bits = bits << 6 | alphabet.value(digit)?;
        }
        // Spare bits must be zero, or two texts would stand for the same bytes.
        let (value, octets) = match chunk.len() {
            4 => (bits, 3),
            3 if bits & 0x3 == 0 => (bits << 6, 2),
            2 if bits & 0xf == 0 => (bits << 12, 1),
            _ => return None,
        };
        out.extend_from_slice(value.to_be_bytes().get(1..1 + octets)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(alphabet: Alphabet, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        encode(alphabet, bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, padded, bare) in [
            ("", "", ""),
            ("f", "Zg==", "Zg"),
            ("fo", "Zm8=", "Zm8"),
            ("foo", "Zm9v", "Zm9v"),
            ("foob", "Zm9vYg==", "Zm9vYg"),
            ("fooba", "Zm9vYmE=", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy", "Zm9vYmFy"),
        ] {
            assert_eq!(text(Alphabet::Standard, bytes.as_bytes()), padded);
            assert_eq!(text(Alphabet::Url, bytes.as_bytes()), bare);
        }
        assert_eq!(text(Alphabet::Standard, &[0xfb, 0xff]), "+/8=");
        assert_eq!(text(Alphabet::Url, &[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn what_is_not_base64_to_the_letter_is_refused() {
        for bad in [
            "SGVsbG8",
            "SGVs!!!bG8=",
            "Zg=",
            "Z===",
            "Zh==",
            "Zm9=",
            "Zg==Zg==",
            "=",
            " Zg==",
        ] {
            assert_eq!(decode(Alphabet::Standard, bad.as_bytes()), None, "{bad}");
        }
        for bad in ["Zg==", "Z", "Zh", "Zm9", "+/8", "Zm9vZ"] {
            assert_eq!(decode(Alphabet::Url, bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes(bytes: Vec<u8>) {
            for alphabet in [Alphabet::Standard, Alphabet::Url] {
                let text = text(alphabet, &bytes);
                prop_assert_eq!(decode(alphabet, text.as_bytes()), Some(bytes.clone()));
            }
        }
    }
}
