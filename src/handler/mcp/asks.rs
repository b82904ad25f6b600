//! Servers' requests to clients (elicitation, sampling, roots) that wait for their answer.
//!
//! The client sees an id that says, sealed, on which shard and in which slot the request waits
//! and whose session it belongs to: its answer may arrive anywhere, and nobody else's fits.

use bytes::Bytes;

use super::link::{Answer, SessionKey};
use super::slots::{Key, Slots};
use crate::mcp::jsonrpc;
use crate::mcp::scan::Message;
use crate::mcp::seal::{Purpose, Sealer, Unsealed};
use crate::mcp::splice;

/// Requests that may wait on one shard. Each holds a call open, which has bounds of its own.
const ASKS_MAX: usize = 4096;

/// A request that waits.
#[derive(Debug)]
struct Ask {
    session: SessionKey,
    answer: Answer,
}

/// All that wait on this shard.
#[derive(Debug)]
pub(super) struct Asks {
    asks: Slots<Ask>,
}

/// Where an answer belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: u16,
    pub(super) ticket: u64,
}

impl Asks {
    pub(super) const fn new() -> Self {
        Self {
            asks: Slots::new(ASKS_MAX),
        }
    }

    /// Lets a request wait; gives its slot, or nothing if too many wait already.
    pub(super) fn insert(&mut self, session: SessionKey, answer: Answer) -> Option<Key> {
        self.asks.insert(Ask { session, answer }).ok()
    }

    /// Forgets a request, e.g. because its call has ended.
    pub(super) fn remove(&mut self, key: Key) -> Option<Answer> {
        self.asks.remove(key).map(|ask| ask.answer)
    }

    /// How many requests to a client wait.
    pub(super) fn waiting_for(&self, session: SessionKey) -> usize {
        let asks = self.asks.iter();
        asks.filter(|(_, ask)| ask.session == session).count()
    }

    /// Forgets what waits for a client whose session is over.
    pub(super) fn forget(&mut self, session: SessionKey) -> Vec<Answer> {
        let of_session = |(key, ask): (Key, &Ask)| (ask.session == session).then_some(key);
        let keys: Vec<_> = self.asks.iter().filter_map(of_session).collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key))
            .collect()
    }

    /// Hands a client's answer to the server that waits for it. `false` if nobody does.
    pub(super) fn settle(&mut self, session: SessionKey, ticket: u64, message: &[u8]) -> bool {
        let key = Key::from_bits(ticket);
        if self.asks.get(key).is_none_or(|ask| ask.session != session) {
            return false;
        }
        let Some(answer) = self.remove(key) else {
            return false;
        };
        let Ok(parts) = Message::scan(message) else {
            return false;
        };
        let own = splice::replace(message, &[(parts.id, &answer.id)]);
        answer.sender.try_send(own.into()).is_ok()
    }
}

impl Place {
    /// The id that the client sees, as JSON.
    pub(super) fn seal(self, sealer: &Sealer, session: SessionKey) -> Result<Bytes, Unsealed> {
        let mut state = self.shard.to_be_bytes().to_vec();
        state.extend_from_slice(&self.ticket.to_be_bytes());
        let text = sealer.seal(Purpose::Request, &session.0.to_be_bytes(), &state)?;
        Ok(jsonrpc::string(&text).into())
    }

    /// Reads [`Self::seal`]'s id; only that session's client may bring it.
    pub(super) fn open(sealer: &Sealer, session: SessionKey, id: &[u8]) -> Option<Self> {
        let text = id.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let state = sealer
            .open(Purpose::Request, &session.0.to_be_bytes(), text)
            .ok()?;
        let (shard, ticket) = state.split_first_chunk::<2>()?;
        Some(Self {
            shard: u16::from_be_bytes(*shard),
            ticket: u64::from_be_bytes(ticket.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::channel::bounded;

    #[test]
    fn an_answer_reaches_its_server_once_under_the_servers_id() {
        let (sender, mut receiver) = bounded(1);
        let mut asks = Asks::new();
        let session = SessionKey(7);
        let key = asks
            .insert(
                session,
                Answer {
                    id: Bytes::from_static(b"42"),
                    sender,
                },
            )
            .unwrap();
        let sealer = Sealer::new(&[1; 32]);
        let place = Place {
            shard: 3,
            ticket: key.to_bits(),
        };
        let id = place.seal(&sealer, session).unwrap();
        assert_eq!(Place::open(&sealer, session, &id), Some(place));
        assert_eq!(Place::open(&sealer, SessionKey(8), &id), None);
        assert_eq!(Place::open(&sealer, session, b"42"), None);

        let mut message = br#"{"jsonrpc":"2.0", "result":{ },"id":"#.to_vec();
        message.extend_from_slice(&id);
        message.push(b'}');
        assert!(!asks.settle(SessionKey(8), place.ticket, &message));
        assert!(asks.settle(session, place.ticket, &message));
        assert_eq!(
            receiver.try_recv().unwrap(),
            r#"{"jsonrpc":"2.0", "result":{ },"id":42}"#
        );
        assert!(!asks.settle(session, place.ticket, &message));
    }
}
