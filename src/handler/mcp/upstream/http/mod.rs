//! One Streamable HTTP server as one shard reaches it: posts over the shard's own connections.
//! Nothing of a client's own headers is forwarded; what goes out is made here.

mod answer;
mod aside;
mod call;
mod session;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aside::{Flights, Watches};

pub(crate) use answer::{Answered, Problem, Stream};
pub(crate) use session::{SessionSlot, Sessions};

use smallvec::SmallVec;

use super::mirror;
use super::shard::Shard;
use crate::config::{McpServer, McpTimeouts};
use crate::handler::mcp::link::{Fault, ServerId};
use crate::http::Known;
use crate::mcp::revision::Revision;
use crate::upstream::{Client, Endpoint, Exchange, Limits, Request, UrlError};

/// Redirects followed for one request: `/mcp` to `/mcp/` and perhaps one more.
const REDIRECTS_MAX: usize = 3;

/// Client sessions listened to per shard and server; each holds a connection.
const LISTENERS_MAX: usize = 1024;

/// A bounded number of places.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    taken: Rc<Cell<usize>>,
    max: usize,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Places {
    fn new(max: usize) -> Self {
        Self {
            taken: Rc::default(),
            max,
        }
    }

    /// Takes a place if one is free.
    fn enter(&self) -> Option<Place> {
        let taken = self.taken.get();
        if taken >= self.max {
            return None;
        }
        self.taken.set(taken + 1);
        Some(Place(Rc::clone(&self.taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Connections, sessions and bounds towards one server.
pub(crate) struct HttpServer {
    pub(crate) id: ServerId,
    pub(crate) shard: Rc<Shard>,
    pub(crate) config: Arc<McpServer>,
    pub(crate) sessions: Sessions,
    client: Rc<Client>,
    /// Where the server said it really is, within the same origin.
    endpoint: RefCell<Rc<Endpoint>>,
    message_bytes_max: usize,
    /// Calls of clients under way on this shard.
    in_flight: Places,
    /// Client sessions that are listened to.
    listeners: Places,
    flights: Flights,
    watches: Watches,
    /// The last number given to a request.
    number: Cell<u64>,
    number_step: u64,
}

/// A message to post.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) body: &'a [u8],
    /// The revision to name; none in `initialize`.
    pub(crate) revision: Option<Revision>,
    /// The session id of a legacy server that hands them out.
    pub(crate) session: Option<&'a str>,
    /// `Mcp-Method`; modern only.
    pub(crate) method: Option<&'a str>,
    /// `Mcp-Name`, not encoded yet.
    pub(crate) name: Option<&'a str>,
    /// `Mcp-Param-…`, encoded.
    pub(crate) params: &'a [(&'a str, Vec<u8>)],
    /// Whether doing it twice is harmless.
    pub(crate) repeatable: bool,
    /// Another place within the origin than the server's own (HTTP+SSE).
    pub(crate) to: Option<&'a Endpoint>,
}

impl Default for Post<'_> {
    fn default() -> Self {
        Self {
            body: &[],
            revision: None,
            session: None,
            method: None,
            name: None,
            params: &[],
            repeatable: true,
            to: None,
        }
    }
}

/// A request as it is sent.
#[derive(Clone, Copy)]
struct Outgoing<'a> {
    method: &'a str,
    headers: &'a [(&'a str, &'a [u8])],
    body: &'a [u8],
    repeatable: bool,
    to: Option<&'a Endpoint>,
}

impl<'a> Outgoing<'a> {
    fn bare(method: &'a str, headers: &'a [(&'a str, &'a [u8])]) -> Self {
        Self {
            method,
            headers,
            body: &[],
            repeatable: true,
            to: None,
        }
    }
}

impl HttpServer {
    /// # Errors
    /// The configured URL cannot be used.
    pub(crate) fn new(
        id: ServerId,
        config: Arc<McpServer>,
        url: &str,
        headers: &[(String, String)],
        shard: Rc<Shard>,
    ) -> Result<Self, UrlError> {
        let endpoint = Endpoint::parse(url)?;
        // What the gateway itself says in each request is not the configuration's to change.
        let headers: Vec<_> = headers
            .iter()
            .filter(|(name, _)| {
                let known = Known::of(name.as_bytes());
                !matches!(
                    known,
                    Known::Accept
                        | Known::AcceptEncoding
                        | Known::ContentType
                        | Known::LastEventId
                        | Known::McpSessionId
                        | Known::McpProtocolVersion
                        | Known::McpMethod
                        | Known::McpName
                )
            })
            .cloned()
            .collect();
        let (own, shards) = (shard.wires.own, shard.wires.shards());
        let parts = shard.parts().clone();
        Ok(Self {
            id,
            client: Client::new(endpoint.origin.clone(), &headers, parts),
            endpoint: RefCell::new(Rc::new(endpoint)),
            sessions: Sessions::default(),
            message_bytes_max: shard.message_bytes_max(),
            in_flight: Places::new(config.max_in_flight.div_ceil(usize::from(shards))),
            listeners: Places::new(LISTENERS_MAX),
            flights: Flights::default(),
            watches: Watches::default(),
            // Numbers of different shards never meet.
            number: Cell::new(u64::from(shards) + u64::from(own)),
            number_step: u64::from(shards),
            config,
            shard,
        })
    }

    /// A number that no other request of this gateway to the server has.
    pub(crate) fn next_number(&self) -> u64 {
        self.number.set(self.number.get() + self.number_step);
        self.number.get()
    }

    /// Posts a message and waits for the head of the answer.
    pub(crate) async fn post(&self, post: Post<'_>, limits: Limits) -> Result<Exchange, Problem> {
        let mut encoded_name = Vec::new();
        let mut headers: SmallVec<[(&str, &[u8]); 8]> = SmallVec::new();
        headers.push(("Content-Type", b"application/json"));
        headers.push(("Accept", b"application/json, text/event-stream"));
        if let Some(revision) = post.revision {
            headers.push(("MCP-Protocol-Version", revision.as_str().as_bytes()));
        }
        if let Some(session) = post.session {
            headers.push(("Mcp-Session-Id", session.as_bytes()));
        }
        if let Some(method) = post.method {
            headers.push(("Mcp-Method", method.as_bytes()));
        }
        if let Some(name) = post.name {
            mirror::encode(name.as_bytes(), &mut encoded_name);
            headers.push(("Mcp-Name", &encoded_name));
        }
        for (name, value) in post.params {
            headers.push((name, value));
        }
        let outgoing = Outgoing {
            method: "POST",
            headers: &headers,
            body: post.body,
            repeatable: post.repeatable,
            to: post.to,
        };
        self.send(outgoing, limits).await
    }

    /// Opens a stream with GET; `last_event_id` resumes one.
    pub(crate) async fn get(
        &self,
        session: Option<&str>,
        revision: Revision,
        last_event_id: Option<&str>,
        limits: Limits,
    ) -> Result<Exchange, Problem> {
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("Accept", b"text/event-stream"),
            ("MCP-Protocol-Version", revision.as_str().as_bytes()),
        ];
        if let Some(session) = session {
            headers.push(("Mcp-Session-Id", session.as_bytes()));
        }
        if let Some(id) = last_event_id {
            headers.push(("Last-Event-ID", id.as_bytes()));
        }
        self.send(Outgoing::bare("GET", &headers), limits).await
    }

    /// Ends a session; what the server answers does not matter.
    pub(crate) async fn delete(&self, session: &str, revision: Revision, limits: Limits) {
        let headers: [(&str, &[u8]); 2] = [
            ("Mcp-Session-Id", session.as_bytes()),
            ("MCP-Protocol-Version", revision.as_str().as_bytes()),
        ];
        if let Ok(exchange) = self.send(Outgoing::bare("DELETE", &headers), limits).await {
            // Reading it to its end lets the connection live on.
            let _ = exchange.whole(answer::ERROR_BYTES_MAX).await;
        }
    }

    async fn send(&self, outgoing: Outgoing<'_>, limits: Limits) -> Result<Exchange, Problem> {
        for _ in 0..REDIRECTS_MAX {
            let endpoint = self.endpoint();
            let request = Request {
                method: outgoing.method,
                target: &outgoing.to.unwrap_or(&endpoint).target,
                headers: outgoing.headers,
                body: outgoing.body,
                repeatable: outgoing.repeatable,
            };
            let exchange = self.client.send(request, limits).await?;
            if !matches!(exchange.status(), 301 | 302 | 307 | 308) {
                return Ok(exchange);
            }
            let location = exchange.headers().get_by_name(b"location");
            let location = String::from_utf8_lossy(location.unwrap_or_default()).into_owned();
            let Some(next) = endpoint.join(&location) else {
                return Err(Problem::Redirect { location });
            };
            self.endpoint.replace(Rc::new(next));
        }
        Err(Problem::Redirect {
            location: "itself, again and again".to_owned(),
        })
    }

    /// Where the server is.
    pub(crate) fn endpoint(&self) -> Rc<Endpoint> {
        Rc::clone(&self.endpoint.borrow())
    }

    /// The limits of one call.
    pub(crate) fn limits(&self) -> Limits {
        let McpTimeouts {
            connect,
            first_byte,
            idle,
            ..
        } = self.config.timeouts;
        Limits {
            connect,
            first_byte,
            idle,
        }
    }

    /// The limits of the gateway's own small requests: the time a start may take.
    pub(crate) fn own_limits(&self) -> Limits {
        let limit = self.config.timeouts.connect.max(Duration::from_secs(1));
        Limits {
            connect: limit,
            first_byte: limit,
            idle: limit,
        }
    }

    /// A problem as the front is told.
    pub(crate) fn fault(&self, problem: Problem) -> Fault {
        problem.into_fault(&self.config.name)
    }
}
