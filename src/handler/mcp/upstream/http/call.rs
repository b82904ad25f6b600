//! One client's call to a Streamable HTTP server of either era.

use core::pin::pin;
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::session::SessionId;
use super::{Answered, HttpServer, Post, Problem, SessionSlot, Stream};
use crate::base::channel::{Sender, bounded};
use crate::handler::mcp::link::{Answer, Call, Event, Fault, ServerEvent, SessionKey};
use crate::handler::mcp::upstream::mux::{self, Outside};
use crate::handler::mcp::upstream::outcome::outcome;
use crate::handler::mcp::upstream::requests;
use crate::handler::mcp::upstream::rewrite::{self, Original};
use crate::handler::mcp::upstream::route::Route;
use crate::handler::mcp::upstream::wire::{Caller, Note};
use crate::mcp::method::Method;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::scan::{self, Kind, Message};
use crate::net::across;
use crate::net::timer::{self, Either, race, within};
use crate::net::{sleep, spawn};

/// Attempts to resume a stream without a message in between.
const RESUMES_MAX: u32 = 5;
/// Wait before a stream is resumed if the server names none.
const RESUME_WAIT: Duration = Duration::from_secs(1);
/// The JSON-RPC error of headers that do not repeat the body.
const HEADER_MISMATCH: i64 = -32020;
/// How long a new tool list is waited for after such an error.
const RELIST_WAIT: Duration = Duration::from_secs(5);

/// A call on its way.
struct Flight {
    server: Rc<HttpServer>,
    route: Arc<Route>,
    call: Call,
    caller: Caller,
    out: Sender<Event>,
    original: Original,
    /// The id that goes out; `None` keeps the client's.
    number: Option<u64>,
    revision: Revision,
    slot: Option<SessionSlot>,
    session: SessionId,
    /// Whether the server may have seen the request.
    was_sent: bool,
    /// How long connecting took, the last time.
    connect: Option<Duration>,
}

/// What is left to do after one message.
enum Next {
    More,
    Done,
}

impl HttpServer {
    /// Makes a call; what comes of it goes to `out`, whose other end cancels by going away.
    pub(crate) async fn call(self: Rc<Self>, call: Call, route: Arc<Route>, out: Sender<Event>) {
        let total = self.config.timeouts.total;
        let Some(_place) = self.in_flight.enter() else {
            let max = self.config.max_in_flight;
            let reason = format!("its share of {max} calls is under way (max_in_flight)");
            let server = Arc::clone(&self.config.name);
            let _ = out.try_send(Event::Failed(Fault::Overloaded { server, reason }));
            return;
        };
        let mut flight = Flight::new(self, call, route, out.clone());
        let _listed = flight.server.list(flight.slot, &flight.caller, &out);
        let ended = {
            let flying = pin!(flight.fly());
            race(out.closed(), within(total, flying)).await
        };
        let fault = match ended {
            Either::First(()) => return flight.cancel("the client gave up"),
            Either::Second(Ok(Ok(()))) => return,
            Either::Second(Ok(Err(fault))) => fault,
            Either::Second(Err(timer::Elapsed)) => {
                flight.cancel("the call took too long");
                Fault::TimedOut {
                    server: Arc::clone(&flight.server.config.name),
                    reason: format!("the call took longer than {} s", total.as_secs_f32()),
                }
            }
        };
        let _ = out.send(Event::Failed(fault)).await;
    }
}

impl Flight {
    fn new(server: Rc<HttpServer>, call: Call, route: Arc<Route>, out: Sender<Event>) -> Self {
        let caller = Caller::of(&call.client);
        let legacy = route.legacy.filter(|_| caller.era == Era::Legacy);
        let slot = legacy
            .filter(|legacy| legacy.has_sessions)
            .map(|_| server.slot(caller.session, caller.capabilities));
        // In a session of its own a client's ids and tokens meet no other's.
        let is_own = caller.era == Era::Modern || matches!(slot, Some(SessionSlot::Client(_)));
        Self {
            number: (!is_own).then(|| server.next_number()),
            revision: legacy.map_or(Revision::LATEST, |legacy| legacy.revision),
            original: Original::of(&call.message, &call.parts),
            session: Arc::from(""),
            was_sent: false,
            connect: None,
            server,
            route,
            call,
            caller,
            out,
            slot,
        }
    }

    async fn fly(&mut self) -> Result<(), Fault> {
        let mut stale: Option<SessionId> = None;
        let mut has_relisted = false;
        loop {
            if let Some(slot) = self.slot {
                let server = Rc::clone(&self.server);
                self.session = match server.open_session(slot, stale.as_deref()) {
                    Some(session) => session,
                    None => {
                        let stale = stale.as_deref();
                        Box::pin(server.session(slot, &self.caller, stale)).await?
                    }
                };
            }
            let problem = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(problem) => problem,
            };
            let has_session = !self.session.is_empty();
            if has_session && stale.is_none() && problem.is_session_lost() {
                // Not carried out: the server did not know who asked.
                stale = Some(Arc::clone(&self.session));
                continue;
            }
            let Some((body, parts)) = problem.rpc_error() else {
                if problem.is_outage() {
                    let id = self.server.id;
                    self.server.shard.wires.tell_owner(id, Note::Trouble(id));
                }
                return Err(self.server.fault(problem));
            };
            let answer = outcome(body, &parts);
            if answer.error == Some(HEADER_MISMATCH)
                && !has_relisted
                && Box::pin(self.relist()).await
            {
                has_relisted = true;
                continue;
            }
            self.respond(answer.message, &parts).await;
            return Ok(());
        }
    }

    /// The tool's schema seems to have changed: has the list fetched again. `false` if nothing
    /// new came of it.
    async fn relist(&mut self) -> bool {
        let id = self.server.id;
        let (reply, renewed) = across::bounded(1);
        self.server
            .shard
            .wires
            .tell_owner(id, Note::Relist(id, reply));
        match within(RELIST_WAIT, renewed.recv()).await {
            Ok(Ok(route)) => {
                self.route = route;
                self.call.method == Method::ToolsCall
            }
            _ => false,
        }
    }

    async fn attempt(&mut self) -> Result<(), Problem> {
        self.was_sent = true;
        let mut renumbered = Vec::new();
        let body: &[u8] = match self.number {
            Some(number) => {
                renumbered.reserve(self.call.message.len() + 32);
                rewrite::renumber(
                    &self.call.message,
                    &self.call.parts,
                    number,
                    &mut renumbered,
                );
                &renumbered
            }
            None => &self.call.message,
        };
        let is_modern = self.caller.era == Era::Modern;
        let params = if is_modern {
            self.mirrored()
        } else {
            Vec::new()
        };
        let post = Post {
            body,
            revision: Some(self.revision),
            session: Some(&*self.session).filter(|session| !session.is_empty()),
            method: is_modern.then(|| self.call.method.as_str()),
            name: self
                .call
                .name
                .as_deref()
                .filter(|_| is_modern && self.is_named()),
            params: &params,
            repeatable: self.call.method != Method::ToolsCall,
            to: None,
        };
        let server = Rc::clone(&self.server);
        let exchange = server.post(post, server.limits()).await?;
        self.connect = Some(exchange.connect_time());
        match server.answered(exchange).await? {
            Answered::Message(message) => match self.batch(&message).await? {
                Next::Done => Ok(()),
                Next::More => Err(Problem::Invalid("it sent no answer".to_owned())),
            },
            Answered::Accepted => Err(Problem::Invalid(
                "it accepted the request without answering it".to_owned(),
            )),
            Answered::Stream(stream) => Box::pin(self.follow(stream)).await,
        }
    }

    fn is_named(&self) -> bool {
        self.call.method.named().is_some()
    }

    /// `Mcp-Param-…` headers of this call.
    fn mirrored(&self) -> Vec<(&str, Vec<u8>)> {
        let mirrored = self.route.modern.as_ref().map(|modern| &modern.mirrored);
        let name = self.call.name.as_deref().unwrap_or_default();
        let Some(params) = mirrored.and_then(|mirrored| mirrored.get(name)) else {
            return Vec::new();
        };
        if self.call.method != Method::ToolsCall {
            return Vec::new();
        }
        let arguments = self.call.parts.arguments.of(&self.call.message);
        params
            .iter()
            .filter_map(|param| Some((&*param.header, param.value(arguments)?)))
            .collect()
    }

    /// Passes on what a stream brings, up to the answer; resumes it where it may.
    async fn follow(&mut self, mut stream: Box<Stream>) -> Result<(), Problem> {
        let idle = self.server.config.timeouts.idle;
        let mut resume = None;
        let mut failures = 0;
        loop {
            let next = within(idle, pin!(stream.next())).await;
            let ended = match next {
                Ok(Ok(Some(message))) => {
                    failures = 0;
                    match self.batch(&message).await? {
                        Next::More => continue,
                        Next::Done => {
                            stream.release();
                            return Ok(());
                        }
                    }
                }
                Ok(Ok(None)) => Problem::Invalid(
                    "the event stream ended without the answer; the call may have run".to_owned(),
                ),
                Ok(Err(problem @ Problem::Transport(_))) => problem,
                Ok(Err(problem)) => return Err(problem),
                Err(timer::Elapsed) => {
                    return Err(Problem::Transport(crate::upstream::Error::TimedOut {
                        what: "message",
                        limit: idle,
                    }));
                }
            };
            // 2025-11-25 transports §Sending Messages 6: a closed connection is no closed stream.
            resume = stream.resume_point().or(resume);
            let Some((id, wait)) = resume.as_ref().filter(|_| self.caller.era == Era::Legacy)
            else {
                return Err(ended);
            };
            stream = loop {
                failures += 1;
                if failures > RESUMES_MAX {
                    return Err(ended);
                }
                sleep(wait.map_or(RESUME_WAIT, Duration::from_millis).min(idle)).await;
                match Box::pin(self.resume(id)).await {
                    Ok(stream) => break stream,
                    Err(Problem::Transport(_)) => {}
                    Err(_) => return Err(ended),
                }
            };
        }
    }

    async fn resume(&self, last_event_id: &str) -> Result<Box<Stream>, Problem> {
        let server = &self.server;
        let session = Some(&*self.session).filter(|session| !session.is_empty());
        let id = Some(last_event_id);
        let exchange = server
            .get(session, self.revision, id, server.limits())
            .await?;
        match server.answered(exchange).await? {
            Answered::Stream(stream) => Ok(stream),
            Answered::Message(_) | Answered::Accepted => {
                Err(Problem::Invalid("it cannot resume the stream".to_owned()))
            }
        }
    }

    /// Handles one message, or several in one.
    async fn batch(&mut self, text: &Bytes) -> Result<Next, Problem> {
        if !scan::is_batch(text) {
            return self.message(text.clone()).await;
        }
        const MESSAGES_MAX: usize = 1024;
        let spans =
            scan::batch(text, MESSAGES_MAX).map_err(|error| Problem::Invalid(error.to_string()))?;
        for span in spans {
            if let Next::Done = self.message(text.slice(span.range())).await? {
                return Ok(Next::Done);
            }
        }
        Ok(Next::More)
    }

    async fn message(&mut self, message: Bytes) -> Result<Next, Problem> {
        let parts = Message::scan(&message)
            .map_err(|refused| Problem::Invalid(refused.error.to_string()))?;
        match parts.kind {
            Kind::Result | Kind::Error => {
                self.check_id(&message, &parts)?;
                self.respond(message, &parts).await;
                return Ok(Next::Done);
            }
            Kind::Request => self.request(message, &parts).await,
            Kind::Notification if parts.method == Some(Method::Progress) => {
                let restored = match self.number {
                    None => Some(message),
                    Some(_) => self.original.restore_token(message, parts.progress_token),
                };
                if let Some(message) = restored {
                    let _ = self.out.send(Event::Notification(message)).await;
                }
            }
            Kind::Notification => match mux::outside(message, &parts) {
                Some(Outside::Log(message) | Outside::Other(message)) => {
                    let _ = self.out.send(Event::Notification(message)).await;
                }
                Some(outside) => self.server.outside(outside, None),
                None => {}
            },
        }
        Ok(Next::More)
    }

    /// Whether a response is to our request. An error may have no id: the server could not read
    /// it.
    fn check_id(&self, message: &[u8], parts: &Message) -> Result<(), Problem> {
        let got = parts.id.of(message);
        if parts.kind == Kind::Error && matches!(got, b"" | b"null") {
            return Ok(());
        }
        let digits = self.number.map(|number| number.to_string());
        let sent = match &digits {
            Some(digits) => digits.as_bytes(),
            None => self.call.parts.id.of(&self.call.message),
        };
        if rewrite::is_same_id(sent, got) {
            return Ok(());
        }
        let got = String::from_utf8_lossy(got);
        Err(Problem::Invalid(format!(
            "its answer has the id {got}, which is not that of the request"
        )))
    }

    /// Hands the answer over with the client's id.
    async fn respond(&self, message: Bytes, parts: &Message) {
        let mut outcome = outcome(message, parts);
        outcome.connect = self.connect;
        outcome.message = if parts.id.is_some() {
            self.original.restore_id(outcome.message, parts.id)
        } else {
            self.original.add_id(&outcome.message)
        };
        let _ = self.out.send(Event::Response(outcome)).await;
    }

    /// A request of the server on the call's stream (legacy only).
    async fn request(&self, message: Bytes, parts: &Message) {
        let id = rewrite::slice(&message, parts.id);
        if parts.method == Some(Method::Ping) {
            return spawn(self.aside(ready(requests::pong(&id))));
        }
        if !self.caller.can(parts.method) {
            let refusal = requests::refusal(&id, -32601, "the client does not offer this");
            return spawn(self.aside(ready(refusal)));
        }
        let (sender, mut answered) = bounded(1);
        let declined = requests::refusal(&id, -32603, "the client did not answer");
        let answer = Answer { id, sender };
        // If the client is gone, so is the sender, and the server hears that it was declined.
        let _ = self.out.send(Event::Request { message, answer }).await;
        spawn(self.aside(async move { answered.recv().await.unwrap_or(declined) }));
    }

    fn aside(
        &self,
        body: impl Future<Output = Bytes> + 'static,
    ) -> impl Future<Output = ()> + 'static {
        self.server.aside(&self.session, self.revision, body)
    }

    /// Tells a legacy server that nobody waits any more. A modern one sees the stream close.
    fn cancel(&self, reason: &str) {
        if !self.was_sent || self.caller.era == Era::Modern {
            return;
        }
        let digits = self.number.map(|number| number.to_string());
        let id = match &digits {
            Some(digits) => digits.as_bytes(),
            None => self.call.parts.id.of(&self.call.message),
        };
        let body = requests::cancelled(id, reason).into();
        spawn(self.aside(ready(body)));
    }
}

impl HttpServer {
    /// Passes on what a server says outside any call.
    pub(crate) fn outside(&self, outside: Outside, session: Option<SessionKey>) {
        match outside {
            Outside::ListChanged(method) => {
                let note = Note::ListChanged(self.id, method);
                self.shard.wires.tell_owner(self.id, note);
            }
            Outside::ResourceUpdated { uri, message } => {
                self.shard.tell_all(&ServerEvent::ResourceUpdated {
                    server: self.id,
                    session,
                    uri,
                    message,
                });
            }
            Outside::Log(message) => self.shard.tell_all(&ServerEvent::Logged {
                server: self.id,
                session,
                message,
            }),
            Outside::Other(_) => {}
        }
    }
}

/// The number that a response answers, if it is a response to one of ours.
pub(super) fn response_id(message: &Bytes) -> Option<u64> {
    let parts = Message::scan(message).ok()?;
    matches!(parts.kind, Kind::Result | Kind::Error)
        .then(|| mux::number(parts.id.of(message)))
        .flatten()
}
