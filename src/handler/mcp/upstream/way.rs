//! How the owner of a server talks to it on the gateway's own account.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::duplex::Duplex;
use super::http::{HttpServer, Problem};
use super::requests;
use crate::mcp::revision::{Era, Revision};

/// A server that has been introduced.
#[derive(Clone)]
pub(crate) enum Way {
    /// Over a channel.
    Duplex {
        duplex: Rc<Duplex>,
        era: Era,
        limit: Duration,
    },
    /// Over HTTP, modern.
    Modern(Rc<HttpServer>),
    /// Over HTTP, legacy; the session id is empty if the server has none.
    Legacy {
        server: Rc<HttpServer>,
        session: Rc<str>,
        revision: Revision,
    },
}

/// Why a question got no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server does not know the session any more.
    SessionLost,
    /// Anything else, for people.
    Reason(String),
}

impl Way {
    /// Which era questions are asked in.
    pub(crate) fn era(&self) -> Era {
        match self {
            Self::Duplex { era, .. } => *era,
            Self::Modern(_) => Era::Modern,
            Self::Legacy { .. } => Era::Legacy,
        }
    }

    /// Asks; an error of the server is an answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        build: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Bytes, Trouble> {
        let problem = match self {
            Self::Duplex { duplex, limit, .. } => {
                return duplex.ask(build, *limit).await.map_err(Trouble::Reason);
            }
            Self::Modern(server) => match server.ask_modern(method, build).await {
                Ok(message) => return Ok(message),
                Err(problem) => problem,
            },
            Self::Legacy {
                server,
                session,
                revision,
            } => match server.ask_legacy(session, *revision, build).await {
                Ok(message) => return Ok(message),
                Err(problem) if !session.is_empty() && problem.is_session_lost() => {
                    return Err(Trouble::SessionLost);
                }
                Err(problem) => problem,
            },
        };
        match problem.rpc_error() {
            Some((message, _)) => Ok(message),
            None => Err(Trouble::Reason(problem.reason())),
        }
    }

    /// Whether the server still answers.
    pub(crate) async fn check(&self) -> Result<(), Trouble> {
        match self.era() {
            Era::Modern => self.ask("server/discover", requests::discover).await,
            Era::Legacy => self.ask("ping", requests::ping).await,
        }
        .map(drop)
    }

    /// Why the channel has ended, if there is one and it has.
    pub(crate) fn ended(&self) -> Option<String> {
        match self {
            Self::Duplex { duplex, .. } => duplex.ended(),
            Self::Modern(_) | Self::Legacy { .. } => None,
        }
    }
}

/// Whether an unsuccessful answer to `server/discover` may come from a legacy server: every
/// client error but those about who asks, and what servers answer that stumble over the
/// unknown (2026-07-28 streamable-http §Backward Compatibility).
pub(crate) fn may_be_legacy(problem: &Problem) -> bool {
    match problem {
        Problem::Status { status, .. } => {
            matches!(status, 400..=501) && !matches!(status, 401 | 403 | 429)
        }
        Problem::Invalid(_) => true,
        Problem::Transport(_) | Problem::Redirect { .. } => false,
    }
}
