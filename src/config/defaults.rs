//! What holds when nothing is configured: the demo server on this machine alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{
    AccessLog, Builtin, Config, Handler, HeaderBuffers, Isolate, Level, Listener, Log, LogFormat,
    Mcp, McpServer, McpTarget, McpTimeouts, Namespace, PathRule, Route, Server, ToolFilter, redact,
};

/// The port of the seed's gateway.
pub const PORT: u16 = 4444;

/// A child may have to download its package first (npx, uvx), so it gets longer than a connect.
const STDIO_START: Duration = Duration::from_secs(60);
const HTTP_CONNECT: Duration = Duration::from_secs(10);
/// Clients give up after 60 s or later by themselves; the gateway must not be the first to.
const CALL_SILENCE: Duration = Duration::from_secs(300);
const CALL_TOTAL: Duration = Duration::from_secs(3600);

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            log: Log::default(),
            listeners: vec![Listener {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            }],
            headers: Vec::new(),
            routes: builtin_routes(),
            mcp: Mcp {
                demo: true,
                ..Mcp::default()
            },
            metrics: true,
            development: false,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            shards: None,
            driver: None,
            backlog: 2048,
            max_connections: 4096,
            keepalive_timeout: Duration::from_secs(65),
            keepalive_requests: 100,
            client_header_timeout: Duration::from_secs(10),
            client_body_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(10),
            graceful_timeout: Duration::from_secs(30),
            max_body_size: 10 << 20,
            header_buffers: HeaderBuffers {
                count: 4,
                size: 16 << 10,
            },
            server_header: "MCP-Gateway".to_owned(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            access: AccessLog::Stdout,
            format: LogFormat::Main,
        }
    }
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

impl McpServer {
    /// A server with default settings.
    #[must_use]
    pub fn new(name: &str, target: McpTarget) -> Self {
        Self {
            name: Arc::from(name),
            shown: redact::target(&target),
            timeouts: McpTimeouts::for_target(&target),
            target,
            tools: ToolFilter::default(),
            era: None,
            isolate: Isolate::Auto,
            eager: false,
            max_in_flight: 256,
        }
    }
}

impl McpTimeouts {
    /// The defaults, which differ in how long a start may take.
    #[must_use]
    pub const fn for_target(target: &McpTarget) -> Self {
        Self {
            connect: match target {
                McpTarget::Stdio { .. } => STDIO_START,
                McpTarget::Http { .. } => HTTP_CONNECT,
            },
            first_byte: CALL_SILENCE,
            idle: CALL_SILENCE,
            total: CALL_TOTAL,
        }
    }
}

/// The routes that exist without being configured.
#[must_use]
pub(super) fn builtin_routes() -> Vec<Route> {
    let pages = [
        ("/", Builtin::Index),
        ("/health", Builtin::Health),
        ("/health/live", Builtin::Health),
        ("/health/ready", Builtin::Health),
        ("/version", Builtin::Version),
        ("/api/v1/config", Builtin::Config),
        ("/api/v1/servers", Builtin::Servers),
        ("/api/v1/tools", Builtin::Tools),
        ("/api/v1/sse", Builtin::Events),
        ("/metrics", Builtin::Metrics),
        ("/docs", Builtin::Docs),
        ("/openapi.json", Builtin::OpenApi),
    ];
    let mut routes: Vec<Route> = pages
        .into_iter()
        .map(|(path, page)| Route {
            path: PathRule::Exact(path.to_owned()),
            handler: Handler::Builtin(page),
        })
        .collect();
    routes.push(Route {
        path: PathRule::Prefix("/mcp".to_owned()),
        handler: Handler::Mcp,
    });
    routes
}
