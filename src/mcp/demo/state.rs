//! `requestState`: what the demo has to remember between two rounds of a call travels through
//! the client, authenticated (2026-07-28 basic/patterns/mrtr §Server Requirements 4 and 5).
//!
//! The text is base64url of tag, expiry, round and memory, in this order. The tag is HMAC-SHA-256
//! over the rest and over what the state may be used for: principal, method, name and arguments.
//! Nothing in it is secret: the client is shown only what its own user has typed.

use aws_lc_rs::hmac;

use crate::base::base64::{Alphabet, decode, encode};

/// How long a client may take for one round, in seconds.
const LIFETIME_SECONDS: u64 = 600;
const TAG_BYTES: usize = 32;
/// Longest state accepted, in characters; ours are far shorter.
const STATE_BYTES_MAX: usize = 8 * 1024;

/// Issues and checks states.
#[derive(Clone, Debug)]
pub(super) struct Sealer {
    key: hmac::Key,
}

/// What a state may be used for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    pub(super) principal: &'a [u8],
    pub(super) method: &'a str,
    pub(super) name: &'a str,
    pub(super) arguments: &'a [u8],
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Rounds completed.
    pub(super) round: u8,
    /// Whatever the tool needs.
    pub(super) text: String,
}

impl Sealer {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        // A key of its own, so that no other use of the secret can stand in for a state.
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&master, b"ringway demo requestState v1");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }

    pub(super) fn seal(&self, purpose: Purpose<'_>, memory: &Memory, unix_seconds: u64) -> String {
        let mut body = Vec::with_capacity(9 + memory.text.len());
        body.extend_from_slice(&(unix_seconds + LIFETIME_SECONDS).to_be_bytes());
        body.push(memory.round);
        body.extend_from_slice(memory.text.as_bytes());
        let tag = hmac::sign(&self.key, &message(purpose, &body));
        let mut out = Vec::new();
        encode(Alphabet::Url, &[tag.as_ref(), &body].concat(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// `None` for a state that we did not issue for this purpose or that has expired.
    pub(super) fn open(
        &self,
        purpose: Purpose<'_>,
        state: &str,
        unix_seconds: u64,
    ) -> Option<Memory> {
        if state.len() > STATE_BYTES_MAX {
            return None;
        }
        let bytes = decode(Alphabet::Url, state.as_bytes())?;
        let (tag, body) = bytes.split_at_checked(TAG_BYTES)?;
        hmac::verify(&self.key, &message(purpose, body), tag).ok()?;
        let (expiry, rest) = body.split_first_chunk::<8>()?;
        let (round, text) = rest.split_first()?;
        if u64::from_be_bytes(*expiry) < unix_seconds {
            return None;
        }
        Some(Memory {
            round: *round,
            text: String::from_utf8(text.to_vec()).ok()?,
        })
    }
}

/// Each part with its length in front, so that no two purposes give the same bytes.
fn message(purpose: Purpose<'_>, body: &[u8]) -> Vec<u8> {
    let parts = [
        purpose.principal,
        purpose.method.as_bytes(),
        purpose.name.as_bytes(),
        purpose.arguments,
        body,
    ];
    let mut message = Vec::new();
    for part in parts {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose<'static> = Purpose {
        principal: b"alice",
        method: "tools/call",
        name: "ask_user",
        arguments: b"{}",
    };

    fn memory() -> Memory {
        Memory {
            round: 2,
            text: "Alice ✓".into(),
        }
    }

    #[test]
    fn a_state_opens_for_its_purpose_until_it_expires() {
        let sealer = Sealer::new(&[7; 32]);
        let state = sealer.seal(PURPOSE, &memory(), 1_000);
        assert_eq!(sealer.open(PURPOSE, &state, 1_600), Some(memory()));
        assert_eq!(sealer.open(PURPOSE, &state, 1_601), None);
        let replica = Sealer::new(&[7; 32]);
        assert_eq!(replica.open(PURPOSE, &state, 1_000), Some(memory()));
    }

    #[test]
    fn any_other_purpose_or_key_is_refused() {
        let sealer = Sealer::new(&[7; 32]);
        let state = sealer.seal(PURPOSE, &memory(), 1_000);
        for other in [
            Purpose {
                principal: b"mallory",
                ..PURPOSE
            },
            Purpose {
                method: "prompts/get",
                ..PURPOSE
            },
            Purpose {
                name: "ask_userx",
                ..PURPOSE
            },
            Purpose {
                arguments: b"{ }",
                ..PURPOSE
            },
            Purpose {
                principal: b"alicetools/call",
                method: "",
                ..PURPOSE
            },
        ] {
            assert_eq!(sealer.open(other, &state, 1_000), None, "{other:?}");
        }
        assert_eq!(Sealer::new(&[8; 32]).open(PURPOSE, &state, 1_000), None);
    }

    #[test]
    fn every_changed_cut_or_added_character_is_refused() {
        let sealer = Sealer::new(&[7; 32]);
        let state = sealer.seal(PURPOSE, &memory(), 1_000);
        for at in 0..state.len() {
            let mut bytes = state.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(sealer.open(PURPOSE, &changed, 1_000), None, "{at}");
            assert_eq!(sealer.open(PURPOSE, &state[..at], 1_000), None, "{at}");
        }
        assert_eq!(
            sealer.open(PURPOSE, &format!("{state}-TAMPERED"), 1_000),
            None
        );
        assert_eq!(sealer.open(PURPOSE, &"A".repeat(9_000), 1_000), None);
    }
}
