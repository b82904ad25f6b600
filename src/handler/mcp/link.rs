//! The seam between the gateway's front and its servers.
//!
//! The front turns a client's request into a [`Call`] and hands it to the link of one server;
//! the link answers with a [`Reply`]. Nothing here knows HTTP towards the client, nothing in
//! the front knows how a server is reached.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::channel::Receiver;
use crate::mcp::revision::{Era, Revision};
pub use crate::mcp::vocabulary::{ClientCapabilities, Item, LogLevel};

/// Index of a server in the configuration, the same on every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u16);

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
}

/// One request for one server.
#[derive(Clone, Debug)]
pub struct Call {
    /// The whole JSON-RPC request as the client sent it, except that `params.name` is already
    /// the server's own name for the tool or prompt. The id is the client's, verbatim.
    pub message: Bytes,
    /// The method.
    pub method: Box<str>,
    /// `params.name` or `params.uri` as the server knows it, where the method has one.
    pub name: Option<Box<str>>,
    /// Who asks.
    pub client: Rc<Client>,
}

/// What a server answers. A dropped `Stream` cancels the call at the server.
#[derive(Debug)]
pub enum Reply {
    /// The JSON-RPC response, whole, with the client's id in place.
    Complete(Bytes),
    /// Notifications and requests first; the response is the last event.
    Stream(Receiver<Event>),
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
    /// The JSON-RPC response with the client's id in place. Nothing follows.
    Response(Bytes),
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

impl ServerState {
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
        /// `params.uri`.
        uri: Box<str>,
        /// The notification, whole.
        message: Bytes,
    },
}
