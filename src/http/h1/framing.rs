//! Where a message ends (RFC 9112 §6.3). The rules against request smuggling, alone in a file:
//! a message whose end two parsers could see at different places is refused, never repaired.

use crate::http::h1::{BodyKind, Error};
use crate::http::uri::is_authority;
use crate::http::{Known, Method, Version};

/// Longest Host that is kept to be compared with the next: that of a domain name with a port.
const HOST_KEPT_MAX: usize = 262;

/// What the fields of one head say about framing and the connection. Fed field by field.
#[derive(Debug, Default)]
pub(super) struct Framing<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    transfer: Transfer,
    pub(super) connection: Connection,
    pub(super) expects_continue: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Transfer {
    #[default]
    Absent,
    Chunked,
    /// A coding we do not have; `chunked` may still follow.
    Unknown,
}

/// Options of the Connection fields that change what the codec does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl<'a> Framing<'a> {
    /// Takes note of one field of a response. Those that mean something in requests only are
    /// not the server's to send, and no harm.
    pub(super) fn note_response(&mut self, known: Known, value: &'a [u8]) -> Result<(), Error> {
        match known {
            Known::Host | Known::Expect => Ok(()),
            _ => self.note(known, value),
        }
    }

    /// Takes note of one field of a request.
    #[inline]
    pub(super) fn note(&mut self, known: Known, value: &'a [u8]) -> Result<(), Error> {
        match known {
            Known::Host if self.host.is_some() => return Err(Error::HostRepeated),
            Known::Host => self.host = Some(value),
            Known::ContentLength => {
                let length = parse_length(value).ok_or(Error::ContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(Error::ContentLengthRepeated);
                }
            }
            Known::TransferEncoding => self.note_codings(value)?,
            Known::Connection => self.note_options(value),
            Known::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Error::Expectation);
                }
                self.expects_continue = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_codings(&mut self, value: &[u8]) -> Result<(), Error> {
        for coding in value.split(|&byte| byte == b',') {
            let coding = coding.trim_ascii();
            // Chunked frames the message, so it is last and applied once (RFC 9112 §6.1).
            if coding.is_empty() || self.transfer == Transfer::Chunked {
                return Err(Error::TransferEncoding);
            }
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.transfer = match self.transfer {
                Transfer::Absent if is_chunked => Transfer::Chunked,
                _ => Transfer::Unknown,
            };
        }
        Ok(())
    }

    fn note_options(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                self.connection.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.connection.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection.upgrade = true;
            }
        }
    }

    /// How the body of a request is framed; checks Host on the way. `last_host` is the last
    /// that was well formed: clients send the same again and again.
    #[inline]
    pub(super) fn of_request(
        &self,
        version: Version,
        last_host: &mut Vec<u8>,
    ) -> Result<BodyKind, Error> {
        match self.host {
            None if version == Version::Http11 => return Err(Error::HostMissing),
            Some(host) if host.is_empty() || host != last_host => {
                if !is_authority(host) {
                    return Err(Error::HostMalformed);
                }
                if host.len() <= HOST_KEPT_MAX {
                    last_host.clear();
                    last_host.extend_from_slice(host);
                }
            }
            _ => {}
        }
        Ok(match self.declared(version)? {
            None | Some(BodyKind::Length(0)) => BodyKind::None,
            Some(body) => body,
        })
    }

    /// How the body of a response is framed (RFC 9112 §6.3, in its order).
    pub(super) fn of_response(
        &self,
        version: Version,
        status: u16,
        method: Method,
    ) -> Result<BodyKind, Error> {
        let declared = self.declared(version)?;
        let is_tunnel = method == Method::Connect && (200..300).contains(&status);
        if method == Method::Head || is_tunnel || matches!(status, 100..=199 | 204 | 304) {
            return Ok(BodyKind::None);
        }
        Ok(match declared {
            None => BodyKind::UntilClose,
            Some(BodyKind::Length(0)) => BodyKind::None,
            Some(body) => body,
        })
    }

    fn declared(&self, version: Version) -> Result<Option<BodyKind>, Error> {
        match (self.transfer, self.content_length) {
            (Transfer::Absent, length) => Ok(length.map(BodyKind::Length)),
            (_, Some(_)) => Err(Error::FramingConflict),
            (_, None) if version == Version::Http10 => Err(Error::TransferEncoding),
            (Transfer::Unknown, None) => Err(Error::TransferCoding),
            (Transfer::Chunked, None) => Ok(Some(BodyKind::Chunked)),
        }
    }
}

/// `1*DIGIT` that fits 64 bits. No sign, no list: "5, 5" is refused like "5, 6".
pub(in crate::http) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        length.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether the name would become a framing field in a program that, like CGI, takes `_` for `-`.
pub(in crate::http) fn imitates_framing(name: &[u8]) -> bool {
    let fold = |name: &[u8], field: &[u8]| {
        name.len() == field.len()
            && name
                .iter()
                .zip(field)
                .all(|(&a, &b)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-'))
    };
    fold(name, b"content-length") || fold(name, b"transfer-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(Known, &'static str)]) -> Result<BodyKind, Error> {
        let mut framing = Framing::default();
        framing.note(Known::Host, b"a.test")?;
        for (known, value) in fields {
            framing.note(*known, value.as_bytes())?;
        }
        framing.of_request(Version::Http11, &mut Vec::new())
    }

    #[test]
    fn a_known_host_passes_for_itself_only() {
        let mut last = Vec::new();
        for (host, is_sound) in [
            (&b""[..], false),
            (b"a.test", true),
            (b"a.test", true),
            (b"a test", false),
            (b"", false),
            (b"b.test", true),
        ] {
            let mut framing = Framing::default();
            framing.note(Known::Host, host).unwrap();
            let read = framing.of_request(Version::Http11, &mut last);
            assert_eq!(read.is_ok(), is_sound, "{host:?}");
        }
    }

    #[test]
    fn lengths() {
        for (value, length) in [("1", 1), ("007", 7), ("18446744073709551615", u64::MAX)] {
            let fields = [(Known::ContentLength, value)];
            assert_eq!(request(&fields), Ok(BodyKind::Length(length)));
        }
        assert_eq!(request(&[(Known::ContentLength, "0")]), Ok(BodyKind::None));
        for bad in [
            "",
            "-1",
            "+1",
            "5a",
            "5 5",
            "5,5",
            "0x5",
            "18446744073709551616",
            "٥",
        ] {
            let fields = [(Known::ContentLength, bad)];
            assert_eq!(request(&fields), Err(Error::ContentLength), "{bad}");
        }
        let twice = [(Known::ContentLength, "5"), (Known::ContentLength, "5")];
        assert_eq!(request(&twice), Err(Error::ContentLengthRepeated));
    }

    #[test]
    fn codings() {
        use Known::TransferEncoding as Te;
        assert_eq!(request(&[(Te, "ChUnKeD")]), Ok(BodyKind::Chunked));
        assert_eq!(request(&[(Te, " chunked\t")]), Ok(BodyKind::Chunked));
        for bad in [
            "",
            "chunked, chunked",
            "chunked,",
            "chunked, gzip",
            ",chunked",
        ] {
            assert_eq!(request(&[(Te, bad)]), Err(Error::TransferEncoding), "{bad}");
        }
        for unknown in [
            "gzip, chunked",
            "identity",
            "\"chunked\"",
            "xchunked",
            "chunked;q=1",
        ] {
            assert_eq!(
                request(&[(Te, unknown)]),
                Err(Error::TransferCoding),
                "{unknown}"
            );
        }
        let twice = [(Te, "chunked"), (Te, "chunked")];
        assert_eq!(request(&twice), Err(Error::TransferEncoding));
        let both = [(Te, "chunked"), (Known::ContentLength, "5")];
        assert_eq!(request(&both), Err(Error::FramingConflict));
        let mut framing = Framing::default();
        framing.note(Te, b"chunked").unwrap();
        assert_eq!(
            framing.of_request(Version::Http10, &mut Vec::new()),
            Err(Error::TransferEncoding)
        );
    }

    #[test]
    fn responses_end_as_status_and_method_say() {
        let mut framing = Framing::default();
        framing.note(Known::ContentLength, b"5").unwrap();
        let of = |status, method| {
            framing
                .of_response(Version::Http11, status, method)
                .unwrap()
        };
        assert_eq!(of(200, Method::Get), BodyKind::Length(5));
        assert_eq!(of(200, Method::Head), BodyKind::None);
        assert_eq!(of(204, Method::Get), BodyKind::None);
        assert_eq!(of(304, Method::Get), BodyKind::None);
        assert_eq!(of(103, Method::Get), BodyKind::None);
        assert_eq!(of(200, Method::Connect), BodyKind::None);
        assert_eq!(of(404, Method::Connect), BodyKind::Length(5));
        let bare = Framing::default();
        assert_eq!(
            bare.of_response(Version::Http11, 200, Method::Get),
            Ok(BodyKind::UntilClose)
        );
    }

    #[test]
    fn names_that_imitate_framing() {
        assert!(imitates_framing(b"Content_Length"));
        assert!(imitates_framing(b"TRANSFER_ENCODING"));
        assert!(!imitates_framing(b"content_lengths"));
        assert!(!imitates_framing(b"x_y"));
    }
}
