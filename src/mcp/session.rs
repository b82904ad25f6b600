//! Legacy sessions (2025-11-25 transports §Session Management) without a table: what a session
//! is stands sealed in its id, so every shard and replica can serve it and an idle one costs
//! nothing.

use super::revision::Revision;
use super::seal::{Purpose, Sealer, Unsealed};
use super::vocabulary::ClientCapabilities;

/// How long an id is good for. Long, because many clients do not recover from the 404 that
/// follows; the end bounds how long a terminated id must be remembered.
pub const LIFETIME_SECONDS: u64 = 7 * 24 * 3600;
/// Longest `clientInfo` kept in an id; the id has to fit a header. A longer one is left out.
pub const CLIENT_INFO_BYTES_MAX: usize = 512;

const FORMAT: u8 = 1;
const FIXED_BYTES: usize = 37;

/// What a session id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Random, unlike any other session's.
    pub key: u128,
    /// The negotiated revision.
    pub revision: Revision,
    /// What the client declared.
    pub capabilities: ClientCapabilities,
    /// Seconds since the Unix epoch.
    pub issued: u64,
    /// Seconds since the Unix epoch.
    pub expires: u64,
    /// The shard that issued it and does what one shard must do for the session.
    pub home: u16,
    /// `clientInfo`, verbatim; empty if unknown or too long.
    pub client_info: Vec<u8>,
}

/// Why a session id is not taken. Answered with 404 alike: the client begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Not ours or damaged.
    #[error("unknown session")]
    Unknown,
    /// Past its end.
    #[error("the session has expired")]
    Expired,
}

impl From<Unsealed> for SessionError {
    fn from(_: Unsealed) -> Self {
        Self::Unknown
    }
}

impl Session {
    /// A session that begins now.
    pub fn begin(
        revision: Revision,
        capabilities: ClientCapabilities,
        client_info: &[u8],
        home: u16,
        unix_seconds: u64,
    ) -> Result<Self, Unsealed> {
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| Unsealed)?;
        let fits = client_info.len() <= CLIENT_INFO_BYTES_MAX;
        Ok(Self {
            key: u128::from_be_bytes(key),
            revision,
            capabilities,
            issued: unix_seconds,
            expires: unix_seconds + LIFETIME_SECONDS,
            home,
            client_info: if fits {
                client_info.to_vec()
            } else {
                Vec::new()
            },
        })
    }

    /// The session's id: visible ASCII.
    pub fn seal(&self, sealer: &Sealer) -> Result<String, Unsealed> {
        let mut state = Vec::with_capacity(FIXED_BYTES + self.client_info.len());
        state.push(FORMAT);
        state.push(revision_code(self.revision));
        state.push(bits(self.capabilities));
        state.extend_from_slice(&self.key.to_be_bytes());
        state.extend_from_slice(&self.issued.to_be_bytes());
        state.extend_from_slice(&self.expires.to_be_bytes());
        state.extend_from_slice(&self.home.to_be_bytes());
        state.extend_from_slice(&self.client_info);
        sealer.seal(Purpose::Session, b"", &state)
    }

    /// Reads an id that [`Self::seal`] made and that has not expired.
    pub fn open(sealer: &Sealer, id: &[u8], unix_seconds: u64) -> Result<Self, SessionError> {
        let state = sealer.open(Purpose::Session, b"", id)?;
        let session = Self::read(&state).ok_or(SessionError::Unknown)?;
        if session.expires <= unix_seconds {
            return Err(SessionError::Expired);
        }
        Ok(session)
    }

    fn read(state: &[u8]) -> Option<Self> {
        let ([format, revision, caps], rest) = state.split_first_chunk::<3>()?;
        if *format != FORMAT {
            return None;
        }
        let (key, rest) = rest.split_first_chunk::<16>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (home, client_info) = rest.split_first_chunk::<2>()?;
        Some(Self {
            key: u128::from_be_bytes(*key),
            revision: Revision::ALL
                .into_iter()
                .find(|&known| revision_code(known) == *revision)?,
            capabilities: capabilities(*caps),
            issued: u64::from_be_bytes(*issued),
            expires: u64::from_be_bytes(*expires),
            home: u16::from_be_bytes(*home),
            client_info: client_info.to_vec(),
        })
    }
}

const fn revision_code(revision: Revision) -> u8 {
    match revision {
        Revision::V2024_11_05 => 1,
        Revision::V2025_03_26 => 2,
        Revision::V2025_06_18 => 3,
        Revision::V2025_11_25 => 4,
        Revision::V2026_07_28 => 5,
    }
}

fn bits(capabilities: ClientCapabilities) -> u8 {
    [
        capabilities.roots,
        capabilities.sampling,
        capabilities.sampling_tools,
        capabilities.elicitation_form,
        capabilities.elicitation_url,
    ]
    .into_iter()
    .rev()
    .fold(0, |bits, flag| bits << 1 | u8::from(flag))
}

const fn capabilities(bits: u8) -> ClientCapabilities {
    ClientCapabilities {
        roots: bits & 1 != 0,
        sampling: bits & 2 != 0,
        sampling_tools: bits & 4 != 0,
        elicitation_form: bits & 8 != 0,
        elicitation_url: bits & 16 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(caps: u8, info: &[u8]) -> Session {
        Session::begin(Revision::V2025_06_18, capabilities(caps), info, 3, 1_000).unwrap()
    }

    #[test]
    fn an_id_says_everything() {
        let sealer = Sealer::new(&[1; 32]);
        for caps in 0..32 {
            let session = session(caps, br#"{"name":"x"}"#);
            assert_eq!(bits(session.capabilities), caps);
            let id = session.seal(&sealer).unwrap();
            assert!(id.len() < 200, "{}", id.len());
            assert_eq!(
                Session::open(&sealer, id.as_bytes(), 2_000).unwrap(),
                session
            );
        }
    }

    #[test]
    fn ids_end_and_differ() {
        let sealer = Sealer::new(&[1; 32]);
        let session = session(0, b"");
        let id = session.seal(&sealer).unwrap();
        let open = |now| Session::open(&sealer, id.as_bytes(), now);
        assert!(open(session.expires - 1).is_ok());
        assert_eq!(open(session.expires), Err(SessionError::Expired));
        assert_ne!(session.key, super::tests::session(0, b"").key);
        assert_eq!(
            Session::open(&sealer, b"1234", 0),
            Err(SessionError::Unknown)
        );
    }

    #[test]
    fn a_long_client_info_is_left_out() {
        let long = vec![b'x'; CLIENT_INFO_BYTES_MAX + 1];
        assert!(session(0, &long).client_info.is_empty());
        let id = session(0, &long[1..]).seal(&Sealer::new(&[1; 32])).unwrap();
        assert!(id.len() < 1024, "{}", id.len());
    }
}
