//! The seam between the gateway's front and its servers.
//!
//! The front turns a client's request into a [`Call`] and hands it to the link of one server;
//! the link answers with a [`Reply`]. Nothing here knows HTTP towards the client, nothing in
//! the front knows how a server is reached.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::channel::Receiver;
use crate::config::McpServer;
use crate::mcp::method::Method;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::scan::Message;
pub use crate::mcp::vocabulary::{ClientCapabilities, Item, LogLevel};

/// Number of a server, the same on every shard and never given twice: a server whose settings
/// change is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u16);

/// A configured server and its number.
#[derive(Clone, Debug)]
pub struct PlannedServer {
    /// Its number.
    pub id: ServerId,
    /// Its settings.
    pub config: Arc<McpServer>,
}

/// Identity of a client's legacy session: the random id inside the sealed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u128);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// The revision the client speaks; its era decides which servers it can reach.
    pub revision: Revision,
    /// What the client offers to servers.
    pub capabilities: ClientCapabilities,
    /// The legacy session; `None` for modern clients.
    pub session: Option<SessionKey>,
    /// Name and version as JSON (`clientInfo`), verbatim; empty if unknown.
    pub info: Bytes,
    /// Least severe log message the client wants on the stream of a call. Modern: `_meta` of
    /// the request, `None` wants none. Legacy: what `logging/setLevel` said last, `None` if it
    /// said nothing yet and the server decides. The front filters; a link may use it to spare
    /// the work.
    pub log_level: Option<LogLevel>,
}

/// One server as the front sees it, on this shard. Never waits.
pub trait Link {
    /// Starts a call, or answers it at once.
    fn call(&self, call: Call) -> Reply;

    /// A client of this shard wants to hear of changes to a resource, or no longer does. Every
    /// `true` is followed by one `false` of the same client; the link counts. Updates come as
    /// [`ServerEvent::ResourceUpdated`].
    fn watch(&self, client: &Rc<Client>, uri: &str, watching: bool);

    /// A legacy client said which log messages it wants from now on. Messages of a shared
    /// session should be let through down to the least severe level any client wants; the
    /// front filters for each.
    fn set_log_level(&self, client: &Rc<Client>, level: LogLevel);

    /// A legacy client's notification that concerns the server
    /// (`notifications/roots/list_changed`), whole.
    fn notify(&self, client: &Rc<Client>, message: Bytes) {
        let _ = (client, message);
    }

    /// Somebody needs the server: starts it if it has waited for that.
    fn wake(&self) {}

    /// A legacy session is over; what was kept for it alone can go.
    fn end_session(&self, session: SessionKey);
}

/// One request for one server.
#[derive(Clone, Debug)]
pub struct Call {
    /// The whole JSON-RPC request as the client sent it, except that `params.name` (of
    /// `completion/complete`: `params.ref.name`) is already the server's own name for the tool
    /// or prompt. The id is the client's, verbatim. Valid JSON in UTF-8; it may hold line
    /// breaks between tokens.
    pub message: Bytes,
    /// Where the parts of `message` are.
    pub parts: Message,
    /// The method.
    pub method: Method,
    /// `params.name` or `params.uri` as the server knows it, where the method has one.
    pub name: Option<Arc<str>>,
    /// Who asks.
    pub client: Rc<Client>,
}

/// What a server answers. A dropped `Stream` cancels the call at the server.
#[derive(Debug)]
pub enum Reply {
    /// The answer is at hand.
    Complete(Outcome),
    /// Notifications and requests first; the response is the last event.
    Stream(Receiver<Event>),
    /// The call could not be started.
    Failed(Fault),
}

/// A server's answer to a call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The JSON-RPC response, whole, with the client's id in place.
    pub message: Bytes,
    /// `error.code` if it is an error response: it decides the HTTP status (-32021 is 400).
    pub error: Option<i64>,
    /// How long connecting to the server took, zero on a kept connection; `None` where there
    /// is none to connect to: a child.
    pub connect: Option<Duration>,
}

/// One message of a streamed reply.
#[derive(Debug)]
pub enum Event {
    /// A notification that belongs to this call (progress, log message), ready for the client.
    Notification(Bytes),
    /// A server's request to the client (elicitation, sampling, roots; legacy only). The front
    /// gives it an id of its own towards the client and answers through `answer`.
    Request {
        /// The whole JSON-RPC request with the server's id.
        message: Bytes,
        /// Where the client's answer goes.
        answer: Answer,
    },
    /// The answer. Nothing follows.
    Response(Outcome),
    /// The call failed at the gateway or on the way. Nothing follows.
    Failed(Fault),
}

/// Takes the client's answer to a server's request; dropping it unanswered tells the server
/// that the client declined (a JSON-RPC error).
#[derive(Debug)]
pub struct Answer {
    /// The server's id of the request, as JSON, verbatim.
    pub id: Bytes,
    /// Takes the client's JSON-RPC response with [`Self::id`] put in place.
    pub sender: crate::base::channel::Sender<Bytes>,
}

/// Why a call got no answer from its server. Becomes a JSON-RPC error that names the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server is not reachable or its child does not run.
    #[error("server {server} is unavailable: {reason}")]
    Unavailable {
        /// The server's configured name.
        server: Arc<str>,
        /// What happened, for people.
        reason: String,
    },
    /// A time limit ran out.
    #[error("server {server} timed out: {reason}")]
    TimedOut {
        /// The server's configured name.
        server: Arc<str>,
        /// Which limit, for people.
        reason: String,
    },
    /// The server answered something that is not MCP.
    #[error("server {server} sent an invalid answer: {reason}")]
    Invalid {
        /// The server's configured name.
        server: Arc<str>,
        /// What was wrong, for people.
        reason: String,
    },
    /// The client's era and the server's do not meet.
    #[error(
        "server {server} speaks {server_revision}, the client {client_revision}; \
             Ringway does not bridge these revisions yet"
    )]
    Era {
        /// The server's configured name.
        server: Arc<str>,
        /// What the server speaks.
        server_revision: &'static str,
        /// What the client speaks.
        client_revision: &'static str,
    },
    /// Too much is already under way for this server.
    #[error("server {server} is busy: {reason}")]
    Overloaded {
        /// The server's configured name.
        server: Arc<str>,
        /// Which bound, for people.
        reason: String,
    },
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Inside this process.
    Builtin,
    /// A child process on standard input and output.
    Stdio,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP+SSE of 2024-11-05.
    HttpSse,
}

/// Whether a server can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// A child that starts at the first need (`eager = false`).
    Idle,
    /// Not tried yet, or being started.
    Starting,
    /// Answers.
    Ready,
    /// Does not answer; tried again at intervals. The reason is for people.
    Down(String),
}

/// What is known of a server. Made by its owner shard, immutable, shared by reference.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// Which server.
    pub id: ServerId,
    /// Its configured name.
    pub name: Arc<str>,
    /// How it is reached.
    pub transport: Transport,
    /// Whether it can be called.
    pub status: Status,
    /// The revisions it speaks; empty until probed. A dual-era server lists both eras.
    pub revisions: Vec<Revision>,
    /// Its `capabilities` object, verbatim; empty until probed.
    pub capabilities: Bytes,
    /// How long clients may keep its lists. A legacy server gives no hint: the default.
    pub caching: Caching,
    /// Its `serverInfo` object, verbatim; empty if unknown.
    pub info: Bytes,
    /// Its `instructions`, if any.
    pub instructions: Option<Box<str>>,
    /// Tools after the configured allow and deny lists.
    pub tools: Vec<Item>,
    /// Prompts.
    pub prompts: Vec<Item>,
    /// Resources.
    pub resources: Vec<Item>,
    /// Resource templates.
    pub templates: Vec<Item>,
    /// Restarts of the child or reconnects since the process started.
    pub restarts: u64,
}

/// A server's caching hint for its lists: the least of `ttlMs`, and whether every `cacheScope`
/// is public (2026-07-28 server/utilities/caching). The default promises nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caching {
    /// `ttlMs`, milliseconds.
    pub ttl_ms: u64,
    /// `cacheScope` is `public`.
    pub public: bool,
}

impl ServerState {
    /// A server that nothing is known of yet.
    #[must_use]
    pub fn unknown(id: ServerId, name: Arc<str>, transport: Transport) -> Self {
        Self {
            id,
            name,
            transport,
            status: Status::Starting,
            revisions: Vec::new(),
            capabilities: Bytes::new(),
            caching: Caching::default(),
            info: Bytes::new(),
            instructions: None,
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            restarts: 0,
        }
    }

    /// Whether the server speaks a revision of that era.
    #[must_use]
    pub fn speaks(&self, era: Era) -> bool {
        self.revisions.iter().any(|revision| revision.era() == era)
    }
}

/// Something a server said outside any call, or that happened to it. Reaches every shard.
#[derive(Clone, Debug)]
pub enum ServerEvent {
    /// Its state or one of its lists changed.
    Changed(Arc<ServerState>),
    /// `notifications/resources/updated`; the message as the server sent it.
    ResourceUpdated {
        /// Which server.
        server: ServerId,
        /// The only session it is for; `None` if it is for all that subscribe.
        session: Option<SessionKey>,
        /// `params.uri`.
        uri: Box<str>,
        /// The notification, whole.
        message: Bytes,
    },
    /// `notifications/message` that belongs to no call, of a legacy server. Modern servers log
    /// only within calls.
    Logged {
        /// Which server.
        server: ServerId,
        /// Whose session it came in; `None` if clients share it. Then only those hear of it
        /// that have asked for a log level.
        session: Option<SessionKey>,
        /// The notification, whole.
        message: Bytes,
    },
}
