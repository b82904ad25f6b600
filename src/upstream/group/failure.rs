//! Why a server of a group gave no answer, and whether the request may have been acted on.

use std::io;
use std::time::Duration;

use crate::http::{BodyError, h1};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No server may be asked.
    #[error("no server is available")]
    NoServer,
    /// Every server has as many requests as it may have.
    #[error("every server is at its max_conns")]
    Full,
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection within the limit.
    #[error("no connection within {} s", .0.as_secs_f32())]
    ConnectTimedOut(Duration),
    /// The request could not be sent.
    #[error("the connection broke while the request was sent: {0}")]
    Send(io::Error),
    /// The server took no more of the request.
    #[error("the server took nothing more of the request within {} s", .0.as_secs_f32())]
    SendTimedOut(Duration),
    /// The connection closed before the answer began.
    #[error("the connection closed before an answer")]
    Unanswered,
    /// The connection broke within the answer's head.
    #[error("the connection broke within the answer: {0}")]
    Broken(io::Error),
    /// No answer within the limit.
    #[error("no answer within {} s", .0.as_secs_f32())]
    ReadTimedOut(Duration),
    /// What came is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    Invalid(h1::Error),
    /// The client's content broke off.
    #[error("the request's content: {0}")]
    Client(BodyError),
}

/// An attempt without an answer.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// Whether the server may have acted on the request. What was never read, or never sent,
    /// may be sent again whatever its method.
    pub may_have_acted: bool,
    /// Which server, by its place in the group.
    pub server: Option<usize>,
}

impl Cause {
    /// Every [`word`](Self::word), and `cut` for an answer that broke off after its head.
    pub const WORDS: [&'static str; 10] = [
        "connect",
        "connect_timeout",
        "send",
        "send_timeout",
        "unanswered",
        "broken",
        "read_timeout",
        "invalid",
        "client",
        "cut",
    ];

    /// Whether a time limit ran out.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimedOut(_) | Self::SendTimedOut(_) | Self::ReadTimedOut(_)
        )
    }

    /// Whether it says something of the server.
    #[must_use]
    pub const fn blames_server(&self) -> bool {
        !matches!(self, Self::NoServer | Self::Full | Self::Client(_))
    }

    /// For a metric's label.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoServer => "no_server",
            Self::Full => "full",
            Self::Connect(_) => "connect",
            Self::ConnectTimedOut(_) => "connect_timeout",
            Self::Send(_) => "send",
            Self::SendTimedOut(_) => "send_timeout",
            Self::Unanswered => "unanswered",
            Self::Broken(_) => "broken",
            Self::ReadTimedOut(_) => "read_timeout",
            Self::Invalid(_) => "invalid",
            Self::Client(_) => "client",
        }
    }

    /// A failure of an attempt that may have had its effect.
    #[must_use]
    pub const fn late(self) -> Failure {
        Failure {
            cause: self,
            may_have_acted: true,
            server: None,
        }
    }

    /// A failure of an attempt that cannot have had any.
    #[must_use]
    pub const fn early(self) -> Failure {
        Failure {
            cause: self,
            may_have_acted: false,
            server: None,
        }
    }
}
