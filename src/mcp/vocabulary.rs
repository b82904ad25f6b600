//! Words of the protocol that both halves of the gateway and the demo server share.

use bytes::Bytes;

/// What a client can do for a server (legacy `capabilities`, modern `clientCapabilities`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientCapabilities {
    /// `roots`
    pub roots: bool,
    /// `sampling`
    pub sampling: bool,
    /// `sampling.tools`
    pub sampling_tools: bool,
    /// `elicitation` in form mode
    pub elicitation_form: bool,
    /// `elicitation` in URL mode
    pub elicitation_url: bool,
}

/// One tool, prompt, resource or template of a server.
#[derive(Clone, Debug)]
pub struct Item {
    /// `name`, or `uri` / `uriTemplate` for resources and templates.
    pub key: Box<str>,
    /// The JSON object as the server sent it, byte for byte.
    pub raw: Bytes,
}

/// Severity of a log message (RFC 5424), least severe first, so that `>=` is the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the level of that name")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    /// Every level, least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The word as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// Reads a word; `None` for one the protocol does not have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}
