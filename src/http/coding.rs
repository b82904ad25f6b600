//! Content codings (RFC 9110 §8.4.1): which ones the program makes, and their names.

/// A content coding that responses can be sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 3] = [Self::Br, Self::Zstd, Self::Gzip];

    /// The name in Accept-Encoding and Content-Encoding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The coding of that name, without regard to case. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_coding() {
        for (at, coding) in Coding::ALL.into_iter().enumerate() {
            assert_eq!(coding as usize, at);
            assert_eq!(Coding::of(coding.name().as_bytes()), Some(coding));
            let shouted = coding.name().to_ascii_uppercase();
            assert_eq!(Coding::of(shouted.as_bytes()), Some(coding));
        }
        assert_eq!(Coding::of(b"X-GZip"), Some(Coding::Gzip));
        for other in ["", "identity", "deflate", "gzi", "gzipp"] {
            assert_eq!(Coding::of(other.as_bytes()), None, "{other}");
        }
    }
}
