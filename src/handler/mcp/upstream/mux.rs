//! Many clients' calls on one channel to a server (a child's pipes, an HTTP+SSE session):
//! which message belongs to whom. No I/O; the caller moves the bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::outcome::outcome;
use super::rewrite::{self, Original};
use crate::handler::mcp::link::Outcome;
use crate::mcp::method::Method;
use crate::mcp::scan::{Kind, Message};

/// The calls under way on one channel. `C` is where a call's messages go.
#[derive(Debug)]
pub(crate) struct Mux<C> {
    next: u64,
    /// In the order of their numbers, so that the newest is the last.
    calls: BTreeMap<u64, Entry<C>>,
}

#[derive(Debug)]
struct Entry<C> {
    caller: C,
    original: Original,
}

/// What a message from the server turned out to be. Messages are ready for the client.
#[derive(Debug)]
pub(crate) enum Incoming<'a, C> {
    /// The answer to a call, which is over now.
    Response(C, Outcome),
    /// A notification that belongs to a call.
    Notification(&'a C, Bytes),
    /// A request of the server.
    Request(ServerRequest),
    /// A notification that belongs to no call.
    Outside(Outside),
    /// An answer to a call that is over, or a notification without meaning here.
    Nothing,
}

/// A request of the server.
#[derive(Clone, Debug)]
pub(crate) struct ServerRequest {
    /// Its id, as JSON.
    pub(crate) id: Bytes,
    /// What it asks, if it is a method we know.
    pub(crate) method: Option<Method>,
    /// The whole request.
    pub(crate) message: Bytes,
}

/// A notification that belongs to no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// One of the lists changed.
    ListChanged(Method),
    /// A resource that is subscribed to changed.
    ResourceUpdated {
        /// `params.uri`
        uri: Box<str>,
        /// The whole notification.
        message: Bytes,
    },
    /// `notifications/message`, the whole of it.
    Log(Bytes),
    /// Something else that may concern whoever is calling.
    Other(Bytes),
}

impl<C> Mux<C> {
    pub(crate) fn new() -> Self {
        Self {
            next: 1,
            calls: BTreeMap::new(),
        }
    }

    /// Calls under way.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Takes up a client's request and writes it with its new id. Returns the number.
    pub(crate) fn begin(
        &mut self,
        message: &Bytes,
        parts: &Message,
        caller: C,
        out: &mut Vec<u8>,
    ) -> u64 {
        let number = self.number();
        rewrite::renumber(message, parts, number, out);
        let original = Original::of(message, parts);
        self.calls.insert(number, Entry { caller, original });
        number
    }

    /// Takes up a request of the gateway itself, made with a [`number`](Self::number).
    pub(crate) fn begin_own(&mut self, number: u64, caller: C) {
        let original = Original::none();
        self.calls.insert(number, Entry { caller, original });
    }

    /// A number that no call has had.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Ends a call whose client has gone. Returns whether it was still under way.
    pub(crate) fn cancel(&mut self, number: u64) -> Option<C> {
        self.calls.remove(&number).map(|entry| entry.caller)
    }

    /// Ends every call: the channel is gone.
    pub(crate) fn end_all(&mut self) -> impl Iterator<Item = C> + use<C> {
        std::mem::take(&mut self.calls)
            .into_values()
            .map(|entry| entry.caller)
    }

    /// The calls under way with their numbers, oldest first.
    pub(crate) fn callers(&self) -> impl Iterator<Item = (u64, &C)> {
        self.calls
            .iter()
            .map(|(number, entry)| (*number, &entry.caller))
    }

    /// The caller of a number.
    pub(crate) fn caller(&self, number: u64) -> Option<&C> {
        self.calls.get(&number).map(|entry| &entry.caller)
    }

    /// Finds out what a message is and whose.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn receive(&mut self, message: Bytes) -> Result<Incoming<'_, C>, String> {
        let parts = Message::scan(&message).map_err(|refused| refused.error.to_string())?;
        match parts.kind {
            Kind::Result | Kind::Error => {
                let entry = number(parts.id.of(&message)).and_then(|n| self.calls.remove(&n));
                Ok(entry.map_or(Incoming::Nothing, |entry| {
                    let mut outcome = outcome(message, &parts);
                    outcome.message = entry.original.restore_id(outcome.message, parts.id);
                    Incoming::Response(entry.caller, outcome)
                }))
            }
            Kind::Request => Ok(Incoming::Request(ServerRequest {
                id: rewrite::slice(&message, parts.id),
                method: parts.method,
                message,
            })),
            Kind::Notification => Ok(self.notification(message, &parts)),
        }
    }

    fn notification(&mut self, message: Bytes, parts: &Message) -> Incoming<'_, C> {
        if parts.method != Some(Method::Progress) {
            return outside(message, parts).map_or(Incoming::Nothing, Incoming::Outside);
        }
        let entry = number(parts.progress_token.of(&message)).and_then(|n| self.calls.get(&n));
        let Some(entry) = entry else {
            return Incoming::Nothing;
        };
        match entry.original.restore_token(message, parts.progress_token) {
            Some(message) => Incoming::Notification(&entry.caller, message),
            None => Incoming::Nothing,
        }
    }
}

/// Reads a notification that is not about a call; `None` for those without meaning here.
pub(crate) fn outside(message: Bytes, parts: &Message) -> Option<Outside> {
    match parts.method {
        Some(
            method @ (Method::ToolsChanged | Method::PromptsChanged | Method::ResourcesChanged),
        ) => Some(Outside::ListChanged(method)),
        Some(Method::ResourceUpdated) => Some(Outside::ResourceUpdated {
            uri: Message::text(&message, parts.uri).into(),
            message,
        }),
        Some(Method::LogMessage) => Some(Outside::Log(message)),
        // A server that gives up a request of its own: the front notices by the answer.
        Some(Method::Cancelled | Method::Acknowledged | Method::Progress) => None,
        _ => Some(Outside::Other(message)),
    }
}

/// Reads a number of ours; some servers send ids back as strings.
pub(crate) fn number(json: &[u8]) -> Option<u64> {
    let digits = json
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(json);
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(mux: &mut Mux<char>, text: &str, caller: char) -> (u64, String) {
        let message = Bytes::copy_from_slice(text.as_bytes());
        let parts = Message::scan(&message).unwrap();
        let mut out = Vec::new();
        let number = mux.begin(&message, &parts, caller, &mut out);
        (number, String::from_utf8(out).unwrap())
    }

    fn receive<'a>(mux: &'a mut Mux<char>, text: &str) -> Incoming<'a, char> {
        mux.receive(Bytes::copy_from_slice(text.as_bytes()))
            .unwrap()
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call",
        "params":{"name":"x","_meta":{"progressToken":1}}}"#;

    #[test]
    fn two_clients_with_the_same_id_each_get_their_own_answer() {
        let mut mux = Mux::new();
        let (first, sent) = begin(&mut mux, CALL, 'a');
        let (second, _) = begin(&mut mux, &CALL.replace("\"id\":1", "\"id\":\"1\""), 'b');
        assert!(sent.contains(&format!("\"id\":{first},")));
        assert!(sent.contains(&format!("\"progressToken\":{first}}}")));

        let progress = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress",
            "params":{{"progressToken":{second},"progress":0.5}}}}"#
        );
        let Incoming::Notification('b', message) = receive(&mut mux, &progress) else {
            panic!("progress of b");
        };
        assert!(String::from_utf8_lossy(&message).contains(r#""progressToken":1,"#));

        let answer = |n: u64| format!(r#"{{"jsonrpc":"2.0","id":{n},"result":{{"n":1.0}}}}"#);
        let Incoming::Response('b', outcome) = receive(&mut mux, &answer(second)) else {
            panic!("answer to b");
        };
        assert_eq!(outcome.error, None);
        assert_eq!(
            outcome.message,
            r#"{"jsonrpc":"2.0","id":"1","result":{"n":1.0}}"#
        );
        assert!(matches!(
            receive(&mut mux, &answer(second)),
            Incoming::Nothing
        ));
        assert!(matches!(
            receive(&mut mux, &answer(first)),
            Incoming::Response('a', _)
        ));
        assert_eq!(mux.len(), 0);
    }

    #[test]
    fn a_cancelled_call_is_forgotten() {
        let mut mux = Mux::new();
        let (number, _) = begin(&mut mux, CALL, 'a');
        assert_eq!(mux.cancel(number), Some('a'));
        assert_eq!(mux.cancel(number), None);
        let late = format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#);
        assert!(matches!(receive(&mut mux, &late), Incoming::Nothing));
    }

    #[test]
    fn what_is_about_no_call_is_told_apart() {
        let mut mux = Mux::new();
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        assert!(matches!(
            receive(&mut mux, changed),
            Incoming::Outside(Outside::ListChanged(Method::ToolsChanged))
        ));
        let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated",
            "params":{"uri":"file:///\u00e4"}}"#;
        let Incoming::Outside(Outside::ResourceUpdated { uri, .. }) = receive(&mut mux, updated)
        else {
            panic!("an update");
        };
        assert_eq!(&*uri, "file:///\u{e4}");
        let ping = r#"{"jsonrpc":"2.0","method":"ping","id":"p-1"}"#;
        let Incoming::Request(request) = receive(&mut mux, ping) else {
            panic!("a request");
        };
        assert_eq!(request.id, "\"p-1\"");
        assert_eq!(request.method, Some(Method::Ping));
        assert!(mux.receive(Bytes::from_static(b"Listening on 80")).is_err());
    }

    #[test]
    fn the_end_of_the_channel_ends_every_call() {
        let mut mux = Mux::new();
        begin(&mut mux, CALL, 'a');
        let number = mux.number();
        mux.begin_own(number, 'g');
        assert_eq!(mux.end_all().collect::<String>(), "ag");
        assert_eq!(mux.len(), 0);
    }
}
