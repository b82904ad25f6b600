//! What a server's HTTP answer means: a message, a stream of messages, or why neither.

use core::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::HttpServer;
use crate::handler::mcp::link::Fault;
use crate::http::Known;
use crate::http::sse::{Decoder, Event};
use crate::mcp::scan::{Kind, Message};
use crate::net::spawn;
use crate::net::timer::within;
use crate::upstream::{self, Exchange};

/// How much of an error page is read.
pub(super) const ERROR_BYTES_MAX: usize = 64 * 1024;
/// How long the end of a stream is waited for after the answer. Servers send it at once.
const REST_WAIT: Duration = Duration::from_millis(250);
/// How much may come before it: another event or two.
const REST_BYTES_MAX: usize = 16 * 1024;
/// How much of it is shown.
const EXCERPT_CHARS: usize = 160;

/// An answer to a post.
pub(crate) enum Answered {
    /// One JSON-RPC message (or a batch).
    Message(Bytes),
    /// Messages as they come.
    Stream(Box<Stream>),
    /// 202: nothing to come.
    Accepted,
}

/// What the content of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Json,
    EventStream,
    Other,
}

impl MediaType {
    fn of(text: &str) -> Self {
        if text.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else if text.eq_ignore_ascii_case("text/event-stream") {
            Self::EventStream
        } else {
            Self::Other
        }
    }
}

/// An event stream.
pub(crate) struct Stream {
    exchange: Exchange,
    decoder: Decoder,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Problem {
    /// No HTTP response.
    Transport(upstream::Error),
    /// An HTTP status that is no success.
    Status {
        status: u16,
        /// The content, as far as it was read.
        body: Bytes,
    },
    /// A redirect out of the origin, or a loop.
    Redirect { location: String },
    /// A success that is not MCP.
    Invalid(String),
}

impl From<upstream::Error> for Problem {
    fn from(error: upstream::Error) -> Self {
        Self::Transport(error)
    }
}

impl HttpServer {
    /// Reads an answer as far as is needed to know what it is.
    pub(crate) async fn answered(&self, exchange: Exchange) -> Result<Answered, Problem> {
        let status = exchange.status();
        if !(200..300).contains(&status) {
            let body = exchange.whole(ERROR_BYTES_MAX).await.unwrap_or_default();
            return Err(Problem::Status { status, body });
        }
        if status == 202 {
            // What some servers say besides does not matter; reading it keeps the connection.
            let _ = exchange.whole(ERROR_BYTES_MAX).await;
            return Ok(Answered::Accepted);
        }
        match MediaType::of(exchange.media_type()) {
            MediaType::EventStream => Ok(Answered::Stream(Box::new(Stream {
                exchange,
                decoder: Decoder::new(self.message_bytes_max),
            }))),
            MediaType::Json => {
                let body = exchange.whole(self.message_bytes_max).await?;
                Ok(if body.is_empty() {
                    Answered::Accepted
                } else {
                    Answered::Message(body)
                })
            }
            MediaType::Other => {
                let other = match exchange.media_type() {
                    "" => "none".to_owned(),
                    other => other.to_owned(),
                };
                let body = exchange.whole(ERROR_BYTES_MAX).await.unwrap_or_default();
                if body.is_empty() {
                    return Ok(Answered::Accepted);
                }
                Err(Problem::Invalid(format!(
                    "status {status} with content type {other} instead of application/json or \
                     text/event-stream{}",
                    excerpt(&body)
                )))
            }
        }
    }
}

impl Stream {
    /// The next message; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        while let Some(event) = self.next_event().await? {
            // A priming event has an id and no data; other types are not Streamable HTTP's.
            if !event.data.is_empty() && matches!(event.event.as_deref(), None | Some("message")) {
                return Ok(Some(event.data));
            }
        }
        Ok(None)
    }

    /// The next event of any type.
    pub(crate) async fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        loop {
            match self.decoder.next() {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {
                    let Some(piece) = self.exchange.piece().await? else {
                        return Ok(None);
                    };
                    self.decoder.feed(Bytes::copy_from_slice(piece));
                }
                Err(error) => return Err(Problem::Invalid(error.to_string())),
            }
        }
    }

    /// The answer has come. Reads what little is left of the stream, so that its connection can
    /// be used again; a server that goes on sending loses it.
    pub(crate) fn release(mut self: Box<Self>) {
        spawn(async move {
            let rest = pin!(self.exchange.skip(REST_BYTES_MAX));
            let _ = within(REST_WAIT, rest).await;
        });
    }

    /// Where to resume after the stream has ended early: the last event's id, if the server
    /// gives ids, and how long it wants us to wait.
    pub(crate) fn resume_point(&self) -> Option<(String, Option<u64>)> {
        let id = self.decoder.last_event_id().filter(|id| !id.is_empty())?;
        Some((id.to_owned(), self.decoder.retry()))
    }
}

impl Problem {
    /// The JSON-RPC error in the content of an unsuccessful response, if there is one.
    pub(crate) fn rpc_error(&self) -> Option<(Bytes, Message)> {
        let Self::Status { body, .. } = self else {
            return None;
        };
        let parts = Message::scan(body).ok()?;
        (parts.kind == Kind::Error).then(|| (body.clone(), parts))
    }

    /// Whether the server says that it does not know the session. 404 is the protocol's way;
    /// several servers say it with 400 and words.
    pub(crate) fn is_session_lost(&self) -> bool {
        let Self::Status { status, body } = self else {
            return false;
        };
        let names_session = || {
            let text = String::from_utf8_lossy(body).to_ascii_lowercase();
            text.contains("session") || text.contains("not initialized")
        };
        *status == 404 || (*status == 400 && names_session())
    }

    /// Whether the server, or the way to it, seems to be down.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Transport(error) => !matches!(
                error,
                upstream::Error::TimedOut { what: "answer", .. } | upstream::Error::TooLarge(_)
            ),
            Self::Status { status, .. } => matches!(status, 502..=504),
            Self::Redirect { .. } | Self::Invalid(_) => false,
        }
    }

    /// What the front is told.
    pub(crate) fn into_fault(self, server: &Arc<str>) -> Fault {
        let server = Arc::clone(server);
        let reason = self.reason();
        match self {
            Self::Transport(upstream::Error::TimedOut { .. }) => Fault::TimedOut { server, reason },
            Self::Transport(upstream::Error::Http(_) | upstream::Error::TooLarge(_))
            | Self::Invalid(_)
            | Self::Redirect { .. } => Fault::Invalid { server, reason },
            Self::Status { status: 429, .. } => Fault::Overloaded { server, reason },
            Self::Status {
                status: 401 | 403 | 500..=599,
                ..
            }
            | Self::Transport(_) => Fault::Unavailable { server, reason },
            Self::Status { .. } => Fault::Invalid { server, reason },
        }
    }

    /// The reason, for people.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Transport(error) => error.to_string(),
            Self::Invalid(reason) => reason.clone(),
            Self::Redirect { location } => format!(
                "it redirects to {location}; only redirects within the same origin are followed"
            ),
            Self::Status { status: 401, .. } => "it answers 401 Unauthorized; give it \
                 credentials, e.g. headers = { Authorization = \"Bearer ${TOKEN}\" }"
                .to_owned(),
            Self::Status { status: 403, body } => format!(
                "it answers 403 Forbidden; check the Authorization header configured for it{}",
                excerpt(body)
            ),
            Self::Status { status, body } => {
                let name = crate::http::reason(*status);
                format!("it answers {status} {name}{}", excerpt(body))
            }
        }
    }
}

/// The `Mcp-Session-Id` of a response: visible ASCII (2025-11-25 transports §Session
/// Management), bounded because it is sent with every request.
pub(super) fn session_id(exchange: &Exchange) -> Option<Arc<str>> {
    const BYTES_MAX: usize = 4096;
    let value = exchange.headers().get(Known::McpSessionId)?;
    let is_fine = !value.is_empty()
        && value.len() <= BYTES_MAX
        && value.iter().all(|byte| matches!(byte, 0x21..=0x7e));
    let text = is_fine.then(|| std::str::from_utf8(value).ok()).flatten()?;
    Some(text.into())
}

/// The beginning of an error page, on one line, to be appended to a sentence.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..EXCERPT_CHARS * 4).unwrap_or(body));
    let words: Vec<_> = text.split_whitespace().collect();
    let mut line: String = words.join(" ").chars().take(EXCERPT_CHARS).collect();
    if line.is_empty() {
        return line;
    }
    line.insert_str(0, ": ");
    line
}
