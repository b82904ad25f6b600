//! `[mcp]`: the gateway.

use std::time::Duration;

use super::mcp_server::McpServer;
use crate::config::kinds::{Count, Period, Size, words};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Hidden, Placed, section};
use crate::config::server_entry::Entries;
use crate::config::units::{GIB, HOUR_MS, to_usize};

/// A text of fewer characters is no key.
const SECRET_CHARACTERS_MIN: usize = 32;

section! {
    /// The MCP gateway and its servers.
    RawMcp {
        /// The JSON file of MCP clients (mcpServers); relative to this file.
        servers_file: Placed<String>,
        /// When tool names get the server's name in front.
        namespace: NamespaceWord,
        /// Servers by name.
        servers: Entries,
        /// Whether the built-in demo server is offered; by default only if there is no other.
        demo: bool,
        /// Origin values that browsers may send, besides this machine's own; "*" allows all.
        allowed_origins: Placed<Vec<String>>,
        /// Key for session ids, the same on all replicas: 64 hexadecimal digits, or a random
        /// text of at least 32 characters.
        secret: Placed<Hidden>,
        /// Interval of the comments that keep event streams open.
        heartbeat: Period<1_000, HOUR_MS>,
        /// Open event streams per shard.
        max_streams: Count<1, 1_000_000>,
        /// Largest message from a server.
        max_message_size: Size<1024, { 4 * GIB }>,
    }
}

words! {
    /// `namespace`
    NamespaceWord(Namespace) {
        "always" => Namespace::Always,
        "auto" => Namespace::Auto,
        "never" => Namespace::Never,
    }
}

/// `[mcp]`
#[derive(Clone)]
pub struct Mcp {
    /// When tool and prompt names get the server's name in front.
    pub namespace: Namespace,
    /// Servers in the order of the files, `disabled` ones left out.
    pub servers: Vec<McpServer>,
    /// Servers that cannot be used, and why: shown in /api/v1/servers, never fatal.
    pub refused: Vec<(String, String)>,
    /// Whether the demo server is offered (it is when no server is configured).
    pub demo: bool,
    /// Allowed `Origin` values besides this machine's own; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Key for sealed ids, 32 bytes; `None` means a random one at start.
    pub secret: Option<[u8; 32]>,
    /// Interval of comment heartbeats on streams.
    pub heartbeat: Duration,
    /// Open streams per shard.
    pub max_streams: usize,
    /// Largest message from a server in bytes.
    pub max_message_size: usize,
}

/// When names get a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the three words of the configuration")]
pub enum Namespace {
    Always,
    Auto,
    Never,
}

impl Default for Mcp {
    fn default() -> Self {
        Self {
            namespace: Namespace::Auto,
            servers: Vec::new(),
            refused: Vec::new(),
            demo: false,
            allowed_origins: Vec::new(),
            secret: None,
            heartbeat: Duration::from_secs(15),
            max_streams: 10_000,
            max_message_size: 64 << 20,
        }
    }
}

pub(super) fn resolve(raw: RawMcp, found: &mut Findings) -> Mcp {
    let defaults = Mcp::default();
    Mcp {
        namespace: raw.namespace.map_or(defaults.namespace, |word| word.0),
        servers: Vec::new(),
        refused: Vec::new(),
        demo: raw.demo.unwrap_or(false),
        allowed_origins: raw
            .allowed_origins
            .map(|origins| allowed_origins(&origins, found))
            .unwrap_or_default(),
        secret: raw
            .secret
            .and_then(|secret| key(&secret, "mcp.secret", found)),
        heartbeat: raw.heartbeat.map_or(defaults.heartbeat, |period| period.0),
        max_streams: raw
            .max_streams
            .map_or(defaults.max_streams, |count| to_usize(count.0)),
        max_message_size: raw
            .max_message_size
            .map_or(defaults.max_message_size, |size| to_usize(size.0)),
    }
}

/// Origins as browsers send them (RFC 6454 §6.2): scheme, host, port, nothing else.
fn allowed_origins(origins: &Placed<Vec<String>>, found: &mut Findings) -> Vec<String> {
    let mut allowed = Vec::new();
    for origin in &origins.value {
        let text = origin.trim_end_matches('/').to_ascii_lowercase();
        let is_origin = text.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty() && !rest.is_empty() && !rest.contains(['/', ' ', '?', '#'])
        });
        if text == "*" || text == "null" || is_origin {
            allowed.push(text);
        } else {
            let message = format!("\"{}\" is not an origin", origin.escape_debug());
            let problem = Problem::new(&origins.at, "mcp.allowed_origins", message);
            found
                .errors
                .push(problem.hint("for example \"https://app.example.com\", or \"*\""));
        }
    }
    allowed
}

/// 32 bytes from 64 hexadecimal digits, or the SHA-256 of a long text.
pub(super) fn key(secret: &Placed<Hidden>, name: &str, found: &mut Findings) -> Option<[u8; 32]> {
    let text = secret.value.0.trim();
    if let Some(key) = hexadecimal(text) {
        return Some(key);
    }
    if text.chars().count() < SECRET_CHARACTERS_MIN {
        let problem = Problem::new(&secret.at, name, "too short to be a secret");
        found
            .errors
            .push(problem.hint("make one with `openssl rand -hex 32`"));
        return None;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().ok()
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        let digits = text.get(index * 2..index * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(key)
}
