//! One channel to a server that all its clients share: a child's pipes or an HTTP+SSE session.
//! Lives on the shard that owns the server. Bytes are moved by `stdio` and `sse`; this decides
//! what they mean and for whom they are.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::lines::Oversized;
use super::mux::{self, Incoming, Mux, Outside, ServerRequest};
use super::requests;
use super::wire::{Caller, Events, Heard, SentCall, Ticket};
use crate::base::channel::{Receiver, Sender, TrySendError, bounded};
use crate::base::log::Logger;
use crate::handler::mcp::link::Fault;
use crate::mcp::method::Method;
use crate::mcp::scan::{self, Message};
use crate::net::across;
use crate::net::timer;

/// Messages that may wait to be written. A server that does not read them is stuck.
const OUTGOING_MAX: usize = 1024;
/// Lines that are no messages which are logged; a chatty program would fill the log.
const GARBAGE_LOGGED_MAX: u32 = 5;
/// Of such a line, what is shown.
const GARBAGE_SHOWN_CHARS: usize = 120;

/// A channel and the calls on it.
pub(crate) struct Duplex {
    /// Names the channel among those of its server.
    pub(crate) serial: u64,
    server: Arc<str>,
    log: Logger,
    in_flight_max: usize,
    state: RefCell<State>,
    /// Whether it serves one client alone.
    is_own: bool,
    /// What concerns no call goes to whoever looks after the server.
    signals: Box<dyn Fn(Signal)>,
}

/// What whoever looks after a server is told.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// The server said something outside any call.
    Outside(Outside),
    /// The server asks its only client something while that is not calling, over the channel
    /// with this number.
    Request(ServerRequest, u64),
    /// The channel has ended.
    Ended,
}

struct State {
    mux: Mux<Party>,
    /// `None` once the channel is stopped or broken.
    outgoing: Option<Sender<Bytes>>,
    /// Why it ended.
    ended: Option<String>,
    /// Dropped to stop the channel.
    running: Option<Sender<()>>,
    garbage: u32,
    last_garbage: Option<String>,
}

/// Who waits for an answer.
struct Party {
    events: Events,
    /// The gateway's own requests have none.
    client: Option<(Ticket, Caller)>,
}

/// What the mover of bytes gets.
pub(crate) struct Ends {
    /// Messages to write, each ending in a line break.
    pub(crate) outgoing: Receiver<Bytes>,
    /// Ends when the channel is to be stopped.
    pub(crate) running: Receiver<()>,
}

impl Duplex {
    /// A channel that is about to be connected.
    pub(crate) fn new(
        serial: u64,
        server: Arc<str>,
        log: Logger,
        in_flight_max: usize,
        is_own: bool,
        signals: Box<dyn Fn(Signal)>,
    ) -> (Rc<Self>, Ends) {
        let (sender, outgoing) = bounded(OUTGOING_MAX);
        let (keep, running) = bounded(1);
        let duplex = Rc::new(Self {
            serial,
            server,
            log,
            in_flight_max,
            is_own,
            state: RefCell::new(State {
                mux: Mux::new(),
                outgoing: Some(sender),
                ended: None,
                running: Some(keep),
                garbage: 0,
                last_garbage: None,
            }),
            signals,
        });
        (duplex, Ends { outgoing, running })
    }

    /// Sends a client's call; what comes of it goes to its events.
    pub(crate) fn begin(&self, call: SentCall) {
        let SentCall {
            ticket,
            message,
            parts,
            caller,
            events,
        } = call;
        let mut state = self.state.borrow_mut();
        if let Some(reason) = &state.ended {
            let fault = self.unavailable(reason.clone());
            return events.end(Heard::Failed(fault));
        }
        if state.mux.len() >= self.in_flight_max {
            let reason = format!("{} calls are under way (max_in_flight)", state.mux.len());
            return events.end(Heard::Failed(self.overloaded(reason)));
        }
        let party = Party {
            events,
            client: Some((ticket, caller)),
        };
        let mut line = Vec::with_capacity(message.len() + 32);
        let number = state.mux.begin(&message, &parts, party, &mut line);
        if !state.send(one_line(line))
            && let Some(party) = state.mux.cancel(number)
        {
            let fault = self.overloaded("it does not read its input".to_owned());
            party.events.end(Heard::Failed(fault));
        }
    }

    /// Asks something on the gateway's own account and waits for the JSON-RPC response.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) async fn ask(
        &self,
        build: impl FnOnce(u64) -> Vec<u8>,
        limit: Duration,
    ) -> Result<Bytes, String> {
        let (number, heard) = self.begin_own(build)?;
        let answer = timer::within(limit, wait(heard)).await;
        if answer.is_err() {
            self.state.borrow_mut().mux.cancel(number);
        }
        answer.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs_f32())))
    }

    /// Begins a request whose answer may be waited for later, with [`wait`].
    pub(crate) fn begin_own(
        &self,
        build: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<(u64, across::Receiver<Heard>), String> {
        let mut state = self.state.borrow_mut();
        if let Some(reason) = &state.ended {
            return Err(reason.clone());
        }
        let number = state.mux.number();
        let (events, heard) = Events::queue();
        let party = Party {
            events,
            client: None,
        };
        state.mux.begin_own(number, party);
        if !state.send(one_line(build(number))) {
            state.mux.cancel(number);
            return Err("it does not read its input".to_owned());
        }
        Ok((number, heard))
    }

    /// Sends a message that nobody waits for.
    pub(crate) fn send(&self, message: &[u8]) {
        let line = one_line(message.to_vec());
        self.state.borrow_mut().send(line);
    }

    /// Ends a call whose client has gone. `false` if it is not on this channel.
    pub(crate) fn cancel(&self, ticket: Ticket) -> bool {
        let mut state = self.state.borrow_mut();
        let is_it = |party: &Party| party.client.as_ref().is_some_and(|(own, _)| *own == ticket);
        let Some(number) = state
            .mux
            .callers()
            .find_map(|(number, party)| is_it(party).then_some(number))
        else {
            return false;
        };
        state.give_up(number);
        true
    }

    /// Ends a request of the gateway's own.
    pub(crate) fn give_up(&self, number: u64) {
        self.state.borrow_mut().give_up(number);
    }

    /// Ends the calls whose clients have gone without a word.
    pub(crate) fn sweep(&self) {
        let mut state = self.state.borrow_mut();
        let gone: Vec<u64> = state
            .mux
            .callers()
            .filter(|(_, party)| party.client.is_some() && party.events.is_closed())
            .map(|(number, _)| number)
            .collect();
        for number in gone {
            state.give_up(number);
        }
    }

    /// Calls of clients under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.borrow().mux.len()
    }

    /// Why the channel has ended, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        self.state.borrow().ended.clone()
    }

    /// The last line that was no message: a hint when a handshake fails.
    pub(crate) fn last_garbage(&self) -> Option<String> {
        self.state.borrow().last_garbage.clone()
    }

    /// Has the channel stopped; its end is reported by [`end`](Self::end).
    pub(crate) fn stop(&self) {
        let mut state = self.state.borrow_mut();
        state.outgoing = None;
        state.running = None;
    }

    /// The channel is gone: fails every call on it. The first reason counts.
    pub(crate) fn end(&self, reason: String) {
        let parties: Vec<Party> = {
            let mut state = self.state.borrow_mut();
            state.outgoing = None;
            state.running = None;
            state.ended.get_or_insert(reason.clone());
            state.mux.end_all().collect()
        };
        for party in parties {
            let fault = self.unavailable(reason.clone());
            party.events.end(Heard::Failed(fault));
        }
        (self.signals)(Signal::Ended);
    }

    /// Takes one line or event: a message, or a batch of them (2025-03-26).
    pub(crate) fn receive(&self, text: Bytes) {
        if !scan::is_batch(&text) {
            return self.receive_one(text);
        }
        match scan::batch(&text, OUTGOING_MAX) {
            Ok(spans) => {
                for span in spans {
                    self.receive_one(text.slice(span.range()));
                }
            }
            Err(_) => self.garbage(&text, "an unreadable batch"),
        }
    }

    /// A message was longer than allowed: tells the call it would have answered.
    pub(crate) fn oversized(&self, long: &Oversized, bytes_max: usize) {
        let reason = format!(
            "a message of {} bytes is longer than allowed ({bytes_max}, max_message_size)",
            long.length
        );
        self.log
            .warn("mcp", format_args!("server {}: {reason}", self.server));
        let mut state = self.state.borrow_mut();
        let numbers: Vec<u64> = match [&long.start, &long.end].into_iter().find_map(|part| {
            let number = find_id(part)?;
            state.mux.caller(number).map(|_| number)
        }) {
            Some(number) => vec![number],
            // Whose it was cannot be told: nobody may wait for it in vain.
            None => state.mux.callers().map(|(number, _)| number).collect(),
        };
        for number in numbers {
            if let Some(party) = state.mux.cancel(number) {
                let fault = self.invalid(reason.clone());
                party.events.end(Heard::Failed(fault));
            }
        }
    }

    fn receive_one(&self, message: Bytes) {
        let mut state = self.state.borrow_mut();
        let outside = match state.mux.receive(message.clone()) {
            Ok(Incoming::Response(party, outcome)) => {
                party.events.end(Heard::Response(outcome));
                return;
            }
            Ok(Incoming::Notification(party, message)) => {
                party.events.notify(message);
                return;
            }
            Ok(Incoming::Nothing) => return,
            Ok(Incoming::Request(request)) => {
                let is_ping = request.method == Some(Method::Ping);
                if self.is_own && !is_ping && !state.has_clients() {
                    drop(state);
                    (self.signals)(Signal::Request(request, self.serial));
                } else {
                    state.request(request, self.serial);
                }
                return;
            }
            Ok(Incoming::Outside(outside)) => outside,
            Err(reason) => {
                drop(state);
                return self.unreadable(&message, &reason);
            }
        };
        match outside {
            // On a shared channel these carry no sign of the call they belong to: with several
            // clients calling, one might read of another's.
            Outside::Log(message) | Outside::Other(message) if state.has_clients() => {
                if let Some(party) = state.only_client() {
                    party.events.notify(message);
                }
            }
            outside => {
                drop(state);
                (self.signals)(Signal::Outside(outside));
            }
        }
    }

    /// Not a message, but perhaps the wreck of an answer.
    fn unreadable(&self, message: &Bytes, reason: &str) {
        let refused = Message::scan(message).err();
        let id = refused.and_then(|refused| mux::number(refused.id.of(message)));
        let party = id.and_then(|number| self.state.borrow_mut().mux.cancel(number));
        match party {
            Some(party) => {
                let fault = self.invalid(reason.to_owned());
                party.events.end(Heard::Failed(fault));
            }
            None => self.garbage(message, reason),
        }
    }

    fn garbage(&self, text: &[u8], reason: &str) {
        let shown = String::from_utf8_lossy(text.get(..GARBAGE_SHOWN_CHARS).unwrap_or(text));
        let mut state = self.state.borrow_mut();
        state.garbage = state.garbage.saturating_add(1);
        if state.garbage <= GARBAGE_LOGGED_MAX {
            self.log.warn(
                "mcp",
                format_args!(
                    "server {} wrote no message ({reason}): {shown}",
                    self.server
                ),
            );
        }
        state.last_garbage = Some(shown.into_owned());
    }

    fn unavailable(&self, reason: String) -> Fault {
        Fault::Unavailable {
            server: Arc::clone(&self.server),
            reason,
        }
    }

    fn invalid(&self, reason: String) -> Fault {
        Fault::Invalid {
            server: Arc::clone(&self.server),
            reason,
        }
    }

    fn overloaded(&self, reason: String) -> Fault {
        Fault::Overloaded {
            server: Arc::clone(&self.server),
            reason,
        }
    }
}

impl State {
    /// Queues a line. `false` if the server does not read or the channel is stopped.
    fn send(&mut self, line: Bytes) -> bool {
        let Some(outgoing) = &self.outgoing else {
            return false;
        };
        !matches!(
            outgoing.try_send(line),
            Err(TrySendError::Full(_) | TrySendError::Closed(_))
        )
    }

    fn give_up(&mut self, number: u64) {
        if self.mux.cancel(number).is_some() {
            let id = number.to_string();
            self.send(one_line(requests::cancelled(
                id.as_bytes(),
                "the client gave up",
            )));
        }
    }

    /// Whether any call under way is a client's.
    fn has_clients(&self) -> bool {
        let mut callers = self.mux.callers();
        callers.any(|(_, party)| party.client.is_some())
    }

    /// The newest call, if all that are under way are of one client.
    fn only_client(&self) -> Option<&Party> {
        let mut clients = self.mux.callers().filter_map(|(_, party)| {
            let (_, caller) = party.client.as_ref()?;
            Some((party, caller))
        });
        let (mut newest, first) = clients.next()?;
        for (party, caller) in clients {
            if caller.session != first.session || caller.session.is_none() {
                return None;
            }
            newest = party;
        }
        Some(newest)
    }

    /// Answers a request of the server, or passes it to the client it must mean.
    fn request(&mut self, request: ServerRequest, channel: u64) {
        if request.method == Some(Method::Ping) {
            let pong = requests::pong(&request.id);
            self.send(one_line(pong.to_vec()));
            return;
        }
        if let Err((code, reason)) = self.pass_on(&request, channel) {
            let refusal = requests::refusal(&request.id, code, reason);
            self.send(one_line(refusal.to_vec()));
        }
    }

    fn pass_on(&self, request: &ServerRequest, channel: u64) -> Result<(), (i64, &'static str)> {
        let mut clients = self
            .mux
            .callers()
            .filter(|(_, party)| party.client.is_some());
        if clients.next().is_none() {
            return Err((-32603, "no client is calling this server now"));
        }
        let ambiguous = "several clients share this server and it cannot be told which one is \
                         meant; isolate = \"session\" gives each its own";
        let party = self.only_client().ok_or((-32603, ambiguous))?;
        let Some((_, caller)) = &party.client else {
            return Err((-32603, ambiguous));
        };
        if !caller.can(request.method) {
            return Err((-32601, "the client does not offer this"));
        }
        let heard = Heard::Request {
            id: request.id.clone(),
            message: request.message.clone(),
            channel,
        };
        if party.events.request(heard) {
            Ok(())
        } else {
            Err((-32603, "the client does not keep up"))
        }
    }
}

/// Waits for the end of a request begun with [`Duplex::begin_own`].
pub(crate) async fn wait(heard: across::Receiver<Heard>) -> Result<Bytes, String> {
    loop {
        match heard.recv().await {
            Ok(Heard::Response(outcome)) => return Ok(outcome.message),
            Ok(Heard::Failed(
                Fault::Unavailable { reason, .. } | Fault::Invalid { reason, .. },
            )) => {
                return Err(reason);
            }
            Ok(Heard::Failed(fault)) => return Err(fault.to_string()),
            Ok(Heard::Notification(_) | Heard::Request { .. }) => {}
            Err(_) => return Err("the channel closed".to_owned()),
        }
    }
}

/// A message as one line: line breaks between tokens become spaces (inside strings JSON has
/// none), one ends it.
fn one_line(mut message: Vec<u8>) -> Bytes {
    let mut from = 0;
    while let Some(at) = message
        .get(from..)
        .and_then(|rest| memchr::memchr2(b'\n', b'\r', rest))
    {
        if let Some(byte) = message.get_mut(from + at) {
            *byte = b' ';
        }
        from += at + 1;
    }
    message.push(b'\n');
    message.into()
}

/// The first number after an `"id":` in a fragment of a message.
fn find_id(fragment: &[u8]) -> Option<u64> {
    memchr::memmem::find_iter(fragment, b"\"id\"").find_map(|at| {
        let rest = fragment.get(at + 4..)?.trim_ascii_start();
        let rest = rest.strip_prefix(b":")?.trim_ascii_start();
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        mux::number(rest.get(..end)?)
    })
}

#[cfg(test)]
mod tests;
