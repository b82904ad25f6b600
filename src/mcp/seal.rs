//! Sealed text: state that travels through clients and that only we can read or make.
//!
//! `g1.<kid>.<base64url(nonce ‖ AES-256-GCM(state))>`. Every purpose has its own key, derived
//! once (HKDF-SHA-256), so that a cursor can never pass for a session id; what the text may be
//! used with is authenticated beside it. Shards and replicas with the same secret read each
//! other's. Nonces are random: at 2³² texts of one purpose a key should be changed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;

use crate::base::base64::{Alphabet, decode, encode};

const PREFIX: &[u8] = b"g1.";
/// Longest text that is looked at. Session ids are the longest; header limits are near.
const TEXT_BYTES_MAX: usize = 4 * 1024;
const KID_BYTES: usize = 3;

/// What a sealed text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `Mcp-Session-Id`
    Session,
    /// The id of a server's request to a client.
    Request,
    /// `nextCursor`
    Cursor,
}

/// Seals and opens texts.
pub struct Sealer {
    kid: String,
    session: Option<LessSafeKey>,
    request: Option<LessSafeKey>,
    cursor: Option<LessSafeKey>,
}

/// Not ours, damaged, for another purpose or from another key. Deliberately no detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a text that this gateway sealed")]
pub struct Unsealed;

struct Bytes<const N: usize>;

impl<const N: usize> KeyType for Bytes<N> {
    fn len(&self) -> usize {
        N
    }
}

impl Sealer {
    /// Derives the keys. The same secret gives the same keys everywhere.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let kid = derive::<KID_BYTES>(secret, b"kid").map_or_else(String::new, |bytes| {
            let mut text = Vec::new();
            encode(Alphabet::Url, &bytes, &mut text);
            String::from_utf8(text).unwrap_or_default()
        });
        let key = |purpose: Purpose| {
            let bytes = derive::<32>(secret, purpose.label())?;
            UnboundKey::new(&AES_256_GCM, &bytes)
                .ok()
                .map(LessSafeKey::new)
        };
        Self {
            kid,
            session: key(Purpose::Session),
            request: key(Purpose::Request),
            cursor: key(Purpose::Cursor),
        }
    }

    /// Seals `state`; it opens only for that purpose together with the same `bound_to`.
    /// Visible ASCII. Fails only if the system gives no randomness.
    pub fn seal(
        &self,
        purpose: Purpose,
        bound_to: &[u8],
        state: &[u8],
    ) -> Result<String, Unsealed> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Unsealed)?;
        let mut bytes = state.to_vec();
        let tag = self
            .key(purpose)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to),
                &mut bytes,
            )
            .map_err(|_| Unsealed)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut bytes);
        sealed.extend_from_slice(tag.as_ref());
        let mut text = Vec::with_capacity(16 + sealed.len() * 4 / 3);
        text.extend_from_slice(PREFIX);
        text.extend_from_slice(self.kid.as_bytes());
        text.push(b'.');
        encode(Alphabet::Url, &sealed, &mut text);
        String::from_utf8(text).map_err(|_| Unsealed)
    }

    /// Opens what [`Self::seal`] made.
    pub fn open(
        &self,
        purpose: Purpose,
        bound_to: &[u8],
        text: &[u8],
    ) -> Result<Vec<u8>, Unsealed> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Unsealed);
        }
        let sealed = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix(self.kid.as_bytes()))
            .and_then(|rest| rest.strip_prefix(b"."))
            .ok_or(Unsealed)?;
        let mut bytes = decode(Alphabet::Url, sealed).ok_or(Unsealed)?;
        let (nonce, bytes) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(Unsealed)?;
        let state = self
            .key(purpose)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(bound_to),
                bytes,
            )
            .map_err(|_| Unsealed)?;
        Ok(state.to_vec())
    }

    fn key(&self, purpose: Purpose) -> Result<&LessSafeKey, Unsealed> {
        let key = match purpose {
            Purpose::Session => &self.session,
            Purpose::Request => &self.request,
            Purpose::Cursor => &self.cursor,
        };
        key.as_ref().ok_or(Unsealed)
    }
}

impl core::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sealer")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"sid",
            Self::Request => b"rid",
            Self::Cursor => b"cur",
        }
    }
}

fn derive<const N: usize>(secret: &[u8; 32], label: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    Salt::new(HKDF_SHA256, b"ringway sealed text v1")
        .extract(secret)
        .expand(&[label], Bytes::<N>)
        .and_then(|output| output.fill(&mut bytes))
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_on_any_shard() {
        let text = Sealer::new(&[7; 32])
            .seal(Purpose::Session, b"x", b"state")
            .unwrap();
        assert!(
            text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)),
            "{text}"
        );
        let other = Sealer::new(&[7; 32]);
        assert_eq!(
            other.open(Purpose::Session, b"x", text.as_bytes()).unwrap(),
            b"state"
        );
        let again = other.seal(Purpose::Session, b"x", b"state").unwrap();
        assert_ne!(text, again, "nonces repeat");
    }

    #[test]
    fn another_purpose_binding_or_key_does_not_open() {
        let sealer = Sealer::new(&[7; 32]);
        let text = sealer.seal(Purpose::Session, b"x", b"state").unwrap();
        let text = text.as_bytes();
        assert_eq!(sealer.open(Purpose::Cursor, b"x", text), Err(Unsealed));
        assert_eq!(sealer.open(Purpose::Session, b"y", text), Err(Unsealed));
        let other = Sealer::new(&[8; 32]);
        assert_eq!(other.open(Purpose::Session, b"x", text), Err(Unsealed));
    }

    #[test]
    fn no_changed_byte_and_no_cut_is_let_through() {
        let sealer = Sealer::new(&[7; 32]);
        let text = sealer.seal(Purpose::Session, b"", b"0123456789").unwrap();
        for at in 0..text.len() {
            for change in [1, 2, 0x20] {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= change;
                assert_eq!(
                    sealer.open(Purpose::Session, b"", &damaged),
                    Err(Unsealed),
                    "{at}"
                );
            }
            let cut = &text.as_bytes()[..at];
            assert_eq!(sealer.open(Purpose::Session, b"", cut), Err(Unsealed));
        }
        let long = [text.as_bytes(), &[b'A'; TEXT_BYTES_MAX]].concat();
        assert_eq!(sealer.open(Purpose::Session, b"", &long), Err(Unsealed));
    }
}
