//! The little of a legacy session that its sealed id cannot hold because it changes: log
//! level, subscriptions, and that it is over. Every shard keeps its own copy, told by message;
//! a session that never changed anything costs nothing.

use std::collections::HashMap;

use super::link::{LogLevel, ServerId, SessionKey};

/// Sessions that may have something noted.
const NOTED_MAX: usize = 65_536;
/// Terminated sessions that are remembered until their ids expire.
const REVOKED_MAX: usize = 65_536;
/// Resources that one session may subscribe to.
pub(super) const SUBSCRIPTIONS_MAX: usize = 256;

/// What is noted of all sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    noted: HashMap<SessionKey, Notes>,
    revoked: HashMap<SessionKey, u64>,
}

#[derive(Debug, Default)]
struct Notes {
    log_level: Option<LogLevel>,
    subscriptions: Vec<(ServerId, Box<str>)>,
    expires: u64,
}

/// Too much is noted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("a session may subscribe to {SUBSCRIPTIONS_MAX} resources")]
    Subscriptions,
    #[error("too many sessions have subscriptions or a log level")]
    Sessions,
}

impl Sessions {
    pub(super) fn log_level(&self, session: SessionKey) -> Option<LogLevel> {
        self.noted.get(&session)?.log_level
    }

    pub(super) fn set_log_level(
        &mut self,
        session: SessionKey,
        level: LogLevel,
        expires: u64,
        now: u64,
    ) -> Result<(), Full> {
        self.notes(session, expires, now)?.log_level = Some(level);
        Ok(())
    }

    /// Notes a subscription; `false` if it was noted already.
    pub(super) fn subscribe(
        &mut self,
        session: SessionKey,
        server: ServerId,
        uri: &str,
        expires: u64,
        now: u64,
    ) -> Result<bool, Full> {
        let notes = self.notes(session, expires, now)?;
        if notes.has(server, uri) {
            return Ok(false);
        }
        if notes.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Full::Subscriptions);
        }
        notes.subscriptions.push((server, uri.into()));
        Ok(true)
    }

    /// Ends a subscription; `false` if there was none.
    pub(super) fn unsubscribe(&mut self, session: SessionKey, server: ServerId, uri: &str) -> bool {
        let Some(notes) = self.noted.get_mut(&session) else {
            return false;
        };
        let before = notes.subscriptions.len();
        notes
            .subscriptions
            .retain(|(known, name)| (*known, &**name) != (server, uri));
        notes.subscriptions.len() < before
    }

    /// What a session is subscribed to.
    pub(super) fn subscriptions(&self, session: SessionKey) -> Vec<(ServerId, Box<str>)> {
        let notes = self.noted.get(&session);
        notes
            .map(|notes| notes.subscriptions.clone())
            .unwrap_or_default()
    }

    /// What is subscribed to at a server is so at another from now on.
    pub(super) fn move_server(&mut self, old: ServerId, new: ServerId) {
        for notes in self.noted.values_mut() {
            for (server, _) in notes.subscriptions.iter_mut().filter(|one| one.0 == old) {
                *server = new;
            }
        }
    }

    pub(super) fn subscribes(&self, session: SessionKey, server: ServerId, uri: &str) -> bool {
        self.noted
            .get(&session)
            .is_some_and(|notes| notes.has(server, uri))
    }

    /// Ends a session. `false` if another one's end had to be forgotten for it.
    pub(super) fn revoke(&mut self, session: SessionKey, expires: u64, now: u64) -> bool {
        let mut is_room = true;
        if self.revoked.len() >= REVOKED_MAX {
            self.revoked.retain(|_, expires| *expires > now);
        }
        if self.revoked.len() >= REVOKED_MAX
            && let Some(&soonest) = self
                .revoked
                .iter()
                .min_by_key(|&(_, expires)| *expires)
                .map(|(session, _)| session)
        {
            self.revoked.remove(&soonest);
            is_room = false;
        }
        self.revoked.insert(session, expires);
        self.noted.remove(&session);
        is_room
    }

    pub(super) fn is_revoked(&self, session: SessionKey) -> bool {
        !self.revoked.is_empty() && self.revoked.contains_key(&session)
    }

    fn notes(&mut self, session: SessionKey, expires: u64, now: u64) -> Result<&mut Notes, Full> {
        if self.noted.len() >= NOTED_MAX && !self.noted.contains_key(&session) {
            self.noted.retain(|_, notes| notes.expires > now);
            if self.noted.len() >= NOTED_MAX {
                return Err(Full::Sessions);
            }
        }
        let notes = self.noted.entry(session).or_default();
        notes.expires = expires;
        Ok(notes)
    }
}

impl Notes {
    fn has(&self, server: ServerId, uri: &str) -> bool {
        self.subscriptions
            .iter()
            .any(|(known, name)| (*known, &**name) == (server, uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionKey = SessionKey(1);
    const SERVER: ServerId = ServerId(0);

    #[test]
    fn subscriptions_count_once_and_are_bounded() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.subscribe(ONE, SERVER, "a", 10, 0), Ok(true));
        assert_eq!(sessions.subscribe(ONE, SERVER, "a", 10, 0), Ok(false));
        assert!(sessions.subscribes(ONE, SERVER, "a"));
        assert!(!sessions.subscribes(ONE, ServerId(1), "a"));
        for at in 1..SUBSCRIPTIONS_MAX {
            sessions
                .subscribe(ONE, SERVER, &at.to_string(), 10, 0)
                .unwrap();
        }
        assert_eq!(
            sessions.subscribe(ONE, SERVER, "b", 10, 0),
            Err(Full::Subscriptions)
        );
        assert!(sessions.unsubscribe(ONE, SERVER, "a"));
        assert!(!sessions.unsubscribe(ONE, SERVER, "a"));
        assert_eq!(sessions.subscribe(ONE, SERVER, "b", 10, 0), Ok(true));
    }

    #[test]
    fn a_revoked_session_stays_so_and_forgets_its_notes() {
        let mut sessions = Sessions::default();
        sessions.set_log_level(ONE, LogLevel::Error, 10, 0).unwrap();
        sessions.subscribe(ONE, SERVER, "a", 10, 0).unwrap();
        sessions.revoke(ONE, 10, 0);
        assert!(sessions.subscriptions(ONE).is_empty());
        assert!(sessions.is_revoked(ONE));
        assert_eq!(sessions.log_level(ONE), None);
    }

    #[test]
    fn revocations_are_bounded_and_the_expired_go_first() {
        let mut sessions = Sessions::default();
        for at in 0..REVOKED_MAX as u128 {
            sessions.revoke(SessionKey(at), if at == 5 { 1 } else { 100 }, 0);
        }
        assert!(sessions.revoke(SessionKey(1 << 100), 100, 50));
        assert!(!sessions.is_revoked(SessionKey(5)) && sessions.is_revoked(SessionKey(6)));
        assert!(!sessions.revoke(SessionKey(1 << 101), 100, 50));
        assert_eq!(sessions.revoked.len(), REVOKED_MAX);
    }
}
