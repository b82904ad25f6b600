//! Notes about servers that another shard knows of already and this one does not yet: shards go
//! over to a new configuration one after the other, within a few milliseconds.

use std::collections::VecDeque;

use super::wire::Note;
use crate::handler::mcp::link::ServerId;

/// Notes that may wait; calls beyond end at once.
const NOTES_MAX: usize = 1024;

/// What waits for the configuration that it is about.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// The largest number that this shard has known.
    highest: Option<u16>,
    waiting: VecDeque<Note>,
}

impl Early {
    /// Servers up to that number are known now. Gives the notes that waited.
    pub(super) fn reached(&mut self, id: Option<ServerId>) -> VecDeque<Note> {
        self.highest = self.highest.max(id.map(|id| id.0));
        core::mem::take(&mut self.waiting)
    }

    /// Keeps a note for later if it is about a server that is not known yet.
    pub(super) fn put_aside(&mut self, note: Note) -> Option<Note> {
        let server = server_of(&note);
        if server.is_none_or(|id| Some(id.0) <= self.highest) {
            return Some(note);
        }
        if self.waiting.len() < NOTES_MAX {
            self.waiting.push_back(note);
        }
        None
    }
}

fn server_of(note: &Note) -> Option<ServerId> {
    match note {
        Note::Call(id, _)
        | Note::Cancel(id, _)
        | Note::WatchFor(id, _)
        | Note::Notify(id, ..)
        | Note::LogLevel(id, ..)
        | Note::EndSession(id, _)
        | Note::ListChanged(id, _)
        | Note::Relist(id, _)
        | Note::Wake(id)
        | Note::Left(id)
        | Note::Trouble(id) => Some(*id),
        Note::Answer { server, .. }
        | Note::Watch { server, .. }
        | Note::Session { server, .. }
        | Note::Ask { server, .. } => Some(*server),
        Note::Route(route) => Some(route.state.id),
        Note::Hello => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_later_servers_waits_for_them() {
        let mut early = Early::default();
        assert!(early.reached(Some(ServerId(1))).is_empty());
        assert!(early.put_aside(Note::Wake(ServerId(1))).is_some());
        assert!(early.put_aside(Note::Hello).is_some());
        for _ in 0..=NOTES_MAX {
            assert!(early.put_aside(Note::Wake(ServerId(2))).is_none());
        }
        assert_eq!(early.reached(Some(ServerId(2))).len(), NOTES_MAX);
        assert!(early.put_aside(Note::Wake(ServerId(2))).is_some());
    }
}
