//! The resolved configuration: read-only, complete, what the program sees.
//!
//! `load` reads files and the environment; `sections` says what they may hold, and makes
//! [`Config`] of it. Values that may hold secrets never reach `Debug` output.
#![forbid(unsafe_code)]

mod dotenv;
mod env;
mod expand;
mod gather;
mod kinds;
mod load;
mod log_format;
mod loops;
mod mcp_json;
mod node;
mod problem;
mod read;
pub mod redact;
mod schema;
mod sections;
mod server_entry;
mod synonyms;
#[cfg(test)]
pub(crate) mod tests;
pub mod units;

pub use env::Flags;
pub use expand::Env;
pub use load::{DEFAULT_FILE, Loaded, Options, load};
pub use log_format::{Escape, Field, LogFormat, Piece, Template, Variable};
pub use problem::Problem;
pub use schema::json_schema;
pub use sections::access::{Access, LimitExcept};
pub use sections::cache::{
    Cache, CacheDisk, CachedMethod, Ignored, KeyPart, PurgeToken, RouteCache, Stale,
};
pub use sections::cache_parts::Statuses;
pub use sections::compression::{Compression, Levels};
pub use sections::field_value::{FieldValue, RequestVariable, ValuePiece};
pub use sections::files::{Expires, FileCache, Files, Symlinks};
pub use sections::http2::Http2;
pub use sections::limit::{ConnectionLimit, LimitKey, Limited, OnError, RateLimit, V6_PREFIX};
pub use sections::listener::Listener;
pub use sections::log::{Log, LogTarget};
pub use sections::mcp::{Mcp, Namespace};
pub use sections::mcp_server::{Isolate, McpServer, McpTarget, McpTimeouts, ToolFilter};
pub use sections::metrics::Statsd;
pub use sections::proxy::{Forwarded, ProxyRoute};
pub use sections::real_ip::{AcceptId, RealIp};
pub use sections::route::{Builtin, Handler, PathRule, Route};
pub use sections::route_headers::RouteHeaders;
pub use sections::route_path::{
    HeaderCondition, HeaderTest, PathEdit, Pattern, Redirect, Rewrite, RouteConditions,
};
pub use sections::route_settings::RouteSettings;
pub use sections::server::{HeaderBuffers, Server};
pub use sections::ui::Ui;
pub use sections::upstream::{
    HashKey, HealthCheck, Protocol, ProxyTimeouts, Retry, ServerAddress, Upstream, UpstreamServer,
    UpstreamTls,
};
pub use sections::{Config, PORT};

pub use crate::base::driver::Driver;
pub use crate::base::log::Level;
