//! Why a conversation with an MCP server did not come to its end, and what to do about it.

use super::http::HttpError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// The connection.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is no MCP.
    #[error("the server answered {status} {reason}{detail}")]
    Status {
        status: u16,
        reason: &'static str,
        /// ": " and the beginning of the body, or nothing.
        detail: String,
        /// WWW-Authenticate.
        challenge: String,
    },
    /// The server moved.
    #[error("the server redirects to {0}")]
    Moved(String),
    /// A JSON-RPC error.
    #[error("the server refused: {message} (code {code})")]
    Rpc { code: i64, message: String },
    /// Not what the protocol wants.
    #[error("the server's answer is not MCP: {0}")]
    Invalid(String),
    /// No revision in common.
    #[error("the server speaks {0}, which this client does not")]
    Revision(String),
    /// `--era` and the server do not meet: the server's era, and what it does not speak.
    #[error("the server speaks the {0} era, not {1}; leave out --era, or write --era {0}")]
    Era(&'static str, &'static str),
    /// Input that nobody gave.
    #[error("{0}")]
    Input(String),
}

impl ClientError {
    /// What the user can do, if we know. `url` is where we asked, `is_local` whether that is the
    /// local gateway that nobody named.
    pub(in crate::cli) fn hint(&self, url: &str, is_local: bool) -> Option<String> {
        Some(match self {
            Self::Http(HttpError::Refused { .. }) if is_local => {
                "start the gateway with `ringway`, or name another server: its URL comes first"
                    .to_owned()
            }
            Self::Http(HttpError::Refused { .. }) => {
                "is the server running, and is the port right?".to_owned()
            }
            Self::Http(HttpError::Tls { .. }) if url.starts_with("https://") => {
                "if the server speaks plain HTTP, write http://; if its certificate is private, \
                 set SSL_CERT_FILE"
                    .to_owned()
            }
            Self::Http(HttpError::Protocol(_) | HttpError::Closed)
                if url.starts_with("http://") =>
            {
                "if the server speaks TLS, write https://".to_owned()
            }
            Self::Http(HttpError::TimedOut(_)) => "wait longer with --timeout 30m".to_owned(),
            Self::Status {
                status: 401,
                challenge,
                ..
            } => {
                let mut hint = "give a token: -H \"Authorization: Bearer …\"".to_owned();
                if !challenge.is_empty() {
                    hint.push_str(&format!("\nthe server says: {challenge}"));
                }
                hint
            }
            Self::Status {
                status: 404 | 405, ..
            } => {
                format!("no MCP at {url}: the path is often /mcp or /sse")
            }
            Self::Status {
                status: 502..=504, ..
            } => "the server behind it does not answer; its log knows more".to_owned(),
            Self::Moved(to) => format!("use that URL: {to}"),
            Self::Rpc { code: -32602, .. } => {
                "`ringway tools` shows what each tool takes".to_owned()
            }
            _ => return None,
        })
    }
}
