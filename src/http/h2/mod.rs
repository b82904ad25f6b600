//! HTTP/2 (RFC 9113) without I/O: what the `h2` crate reads and writes, turned into the heads of
//! this program and back. Frames, HPACK and flow control are the crate's; here are the rules
//! about requests that it leaves to its user, and the watch on what peers may flood with.

mod client;
mod guard;
mod request;
mod response;

pub use client::{read_response, read_trailers_into, write_request};
pub use guard::{Budgets, Flood, Guard};
pub use request::{Opened, read_request, read_trailers};
pub use response::{Declared, Fields, declared, interim, write_trailers};

/// What a client's connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say about its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// The whole preface: HTTP/2.
    Whole,
    /// A part of the preface; more bytes will tell.
    Part,
    /// Something else.
    No,
}

/// Whether a connection that begins with `bytes` speaks HTTP/2 by prior knowledge.
#[must_use]
pub fn begins_with_preface(bytes: &[u8]) -> Begins {
    if bytes.starts_with(PREFACE) {
        Begins::Whole
    } else if !bytes.is_empty() && PREFACE.starts_with(bytes) {
        Begins::Part
    } else {
        Begins::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_known_at_every_split() {
        assert_eq!(begins_with_preface(b""), Begins::No);
        for split in 1..PREFACE.len() {
            assert_eq!(begins_with_preface(&PREFACE[..split]), Begins::Part);
            let mut other = PREFACE[..split].to_vec();
            other.push(b'!');
            assert_eq!(begins_with_preface(&other), Begins::No);
        }
        assert_eq!(begins_with_preface(PREFACE), Begins::Whole);
        let more = [&PREFACE[..], b"\0\0\0\x04"].concat();
        assert_eq!(begins_with_preface(&more), Begins::Whole);
        assert_eq!(begins_with_preface(b"POST / HTTP/1.1\r\n"), Begins::No);
    }
}
