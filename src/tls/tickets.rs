//! Session tickets that every shard, and with a common secret every replica, opens: the keys of a
//! generation are immutable and handed to all of them.
//!
//! Time is cut into windows of one [`Period`](Keys). A ticket is sealed with the key of the window
//! it was made in and opened in that one and the next. Keys come from a secret by HKDF (RFC 5869)
//! with the window as information; a program that was given no secret makes one for each window
//! at random and forgets it afterwards, so that old tickets cannot be opened by whoever steals
//! its memory later.
//!
//! ```text
//!  ticket = window (8) | nonce (12) | AES-256-GCM( made at (8) | rustls's state ) | tag (16)
//! ```

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use rustls::server::ProducesTickets;

use crate::base::clock::Now;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes in front of what is sealed: the window and the nonce.
const PREFIX_BYTES: usize = 8 + NONCE_LEN;
/// Keeps these keys apart from others that are made of the same secret.
const SALT: &[u8] = b"ringway tls tickets v1";

/// Where ticket keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// From a secret that replicas share.
    Secret([u8; 32]),
    /// At random, for this process.
    Random,
}

impl core::fmt::Debug for Source {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Random => "Random",
        })
    }
}

/// No key could be made: the system has no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ticket key can be made")]
pub struct NoKey;

/// The raw keys of the windows around now; kept by the supervisor to make generations of.
#[derive(Clone, Debug)]
pub struct Keys {
    source: Source,
    period: Duration,
    known: Vec<(u64, [u8; KEY_BYTES])>,
}

impl Keys {
    /// Keys that change every `period`, at least a second.
    #[must_use]
    pub fn new(source: Source, period: Duration) -> Self {
        Self {
            source,
            period: period.max(Duration::from_secs(1)),
            known: Vec::new(),
        }
    }

    /// Which window that moment is in; `now` is since the epoch.
    #[must_use]
    pub fn window(&self, now: Duration) -> u64 {
        now.as_secs() / self.period.as_secs().max(1)
    }

    /// What seals and opens tickets at that moment. Tickets live for `lifetime`.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn ticketer(&mut self, now: Duration, lifetime: Duration) -> Result<Ticketer, NoKey> {
        let window = self.window(now);
        self.known
            .retain(|&(known, _)| known + 1 >= window && known <= window + 1);
        let mut keys = Vec::new();
        // A replica whose clock is ahead may already use the next one.
        for index in [window, window.saturating_sub(1), window + 1] {
            let sealing = index == window;
            if let Some(key) = self.key(index, sealing)? {
                keys.push((index, key));
            }
        }
        Ok(Ticketer {
            keys,
            window,
            lifetime,
        })
    }

    fn key(&mut self, window: u64, must_exist: bool) -> Result<Option<LessSafeKey>, NoKey> {
        let known = self.known.iter().find(|(known, _)| *known == window);
        let bytes = match (known, &self.source) {
            (Some(&(_, bytes)), _) => bytes,
            (None, Source::Secret(secret)) => derive(secret, window)?,
            (None, Source::Random) if must_exist => {
                let mut bytes = [0; KEY_BYTES];
                aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoKey)?;
                self.known.push((window, bytes));
                bytes
            }
            (None, Source::Random) => return Ok(None),
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| NoKey)?;
        Ok(Some(LessSafeKey::new(key)))
    }
}

fn derive(secret: &[u8; 32], window: u64) -> Result<[u8; KEY_BYTES], NoKey> {
    let mut bytes = [0; KEY_BYTES];
    let window = window.to_be_bytes();
    Salt::new(HKDF_SHA256, SALT)
        .extract(secret)
        .expand(&[&window], HKDF_SHA256)
        .and_then(|key| key.fill(&mut bytes))
        .map_err(|_| NoKey)?;
    Ok(bytes)
}

/// Seals and opens tickets; immutable.
pub struct Ticketer {
    /// By window; the first seals.
    keys: Vec<(u64, LessSafeKey)>,
    window: u64,
    lifetime: Duration,
}

impl core::fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ticketer")
            .field("window", &self.window)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Ticketer {
    fn seal(&self, state: &[u8], now: u64) -> Option<Vec<u8>> {
        let (window, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let window = window.to_be_bytes();
        let mut sealed = Vec::with_capacity(8 + state.len() + 16);
        sealed.extend_from_slice(&now.to_be_bytes());
        sealed.extend_from_slice(state);
        let aad = Aad::from(window);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce_used, aad, &mut sealed)
            .ok()?;
        Some([&window[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (prefix, sealed) = ticket.split_at_checked(PREFIX_BYTES)?;
        let (window, nonce) = prefix.split_at_checked(8)?;
        let window: [u8; 8] = window.try_into().ok()?;
        let index = u64::from_be_bytes(window);
        let (_, key) = self.keys.iter().find(|(known, _)| *known == index)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = key
            .open_in_place(nonce, Aad::from(window), &mut sealed)
            .ok()?;
        let (made, state) = opened.split_at_checked(8)?;
        let made = u64::from_be_bytes(made.try_into().ok()?);
        // A replica's clock may be a little ahead.
        let age = now.saturating_sub(made);
        (age < self.lifetime.as_secs()).then(|| state.to_vec())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, Now::read().unix.as_secs())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, Now::read().unix.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOON: Duration = Duration::from_secs(1_800_000_000);

    fn ticketer(keys: &mut Keys, at: Duration) -> Ticketer {
        keys.ticketer(at, HOUR).unwrap()
    }

    #[test]
    fn a_ticket_opens_for_its_lifetime_across_a_change_of_keys() {
        for source in [Source::Random, Source::Secret([7; 32])] {
            let mut keys = Keys::new(source, HOUR);
            let first = ticketer(&mut keys, NOON);
            let ticket = first.seal(b"state", NOON.as_secs()).unwrap();
            let later = NOON + HOUR - Duration::from_secs(1);
            let second = ticketer(&mut keys, later);
            assert_eq!(
                second.open(&ticket, later.as_secs()).as_deref(),
                Some(&b"state"[..])
            );
            assert_eq!(second.open(&ticket, (NOON + HOUR).as_secs()), None);
            // Two windows later the key is gone, whatever the clock says.
            let third = ticketer(&mut keys, NOON + HOUR * 2);
            assert_eq!(third.open(&ticket, NOON.as_secs()), None);
        }
    }

    #[test]
    fn only_the_same_secret_opens() {
        let make = |secret| ticketer(&mut Keys::new(secret, HOUR), NOON);
        let ticket = make(Source::Secret([1; 32])).seal(b"state", 0).unwrap();
        assert!(make(Source::Secret([1; 32])).open(&ticket, 0).is_some());
        assert!(make(Source::Secret([2; 32])).open(&ticket, 0).is_none());
        assert!(make(Source::Random).open(&ticket, 0).is_none());
    }

    #[test]
    fn a_changed_or_cut_ticket_does_not_open() {
        let ticketer = ticketer(&mut Keys::new(Source::Random, HOUR), NOON);
        let ticket = ticketer.seal(b"state", 0).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.open(&changed, 0), None, "{at}");
            assert_eq!(ticketer.open(&ticket[..at], 0), None, "{at}");
        }
    }

    #[test]
    fn a_replica_that_is_ahead_is_understood() {
        let mut keys = Keys::new(Source::Secret([3; 32]), HOUR);
        let ahead = ticketer(&mut keys.clone(), NOON + HOUR);
        let at = (NOON + HOUR).as_secs();
        let ticket = ahead.seal(b"state", at).unwrap();
        let behind = ticketer(&mut keys, NOON);
        assert!(behind.open(&ticket, NOON.as_secs()).is_some());
    }
}
