//! The sections of the configuration, a file each. A file holds what may be written (`Raw…`: keys
//! without defaults; their comments are the reference that `ringway config schema` prints), what
//! holds in the end, the defaults, and `resolve`, which makes one of the other and checks it.

pub(super) mod access;
pub(super) mod cache;
pub(super) mod cache_parts;
pub(super) mod compression;
pub(super) mod field_value;
pub(super) mod files;
mod headers;
pub(super) mod http2;
pub(super) mod limit;
pub(super) mod listener;
pub(super) mod log;
pub(super) mod mcp;
pub(super) mod mcp_server;
pub(super) mod metrics;
pub(super) mod proxy;
pub(super) mod real_ip;
pub(super) mod route;
pub(super) mod route_headers;
pub(super) mod route_path;
pub(super) mod route_settings;
pub(super) mod server;
pub(super) mod tls;
pub(super) mod ui;
pub(super) mod upstream;
mod upstream_parts;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use cache::{Cache, RawCache};
use compression::{Compression, RawCompression};
use limit::{ConnectionLimit, RateLimit, RawConnectionLimit, RawRateLimit};
use listener::{Listener, RawListener};
use log::{Log, RawLog};
use mcp::{Mcp, RawMcp};
use metrics::{RawMetrics, RawStatsd, Statsd};
use real_ip::{AcceptId, RawRealIp, RawRequestId, RealIp};
use route::{RawRoute, Route, builtin_routes};
use route_settings::Named;
use server::{RawServer, Server};
use ui::{RawUi, Ui};
use upstream::{RawUpstream, Upstream};

use super::expand::{Env, home};
use super::problem::{At, Findings, Problem};
use super::read::{Hidden, Map, section};

/// What a section may ask about the file it stands in.
#[derive(Debug)]
pub(super) struct Around<'a> {
    /// Where the file lies, absolute: relative paths in it start here.
    pub(super) folder: &'a Path,
    /// For `~`.
    pub(super) env: &'a Env,
}

impl Around<'_> {
    /// A path as the file means it.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.folder.join(home(text, self.env))
    }

    /// A path of a file that is to be made; its folder has to be there.
    pub(super) fn file_to_write(
        &self,
        text: &str,
        (at, key): (&At, &str),
        found: &mut Findings,
    ) -> Option<PathBuf> {
        let path = self.path(text);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let message = if !folder.is_dir() {
            format!("there is no folder {}", folder.display())
        } else if path.is_dir() {
            format!("{} is a folder", path.display())
        } else {
            return Some(path);
        };
        found.errors.push(Problem::new(at, key, message));
        None
    }
}

/// The port of the seed's gateway.
pub const PORT: u16 = 4444;

section! {
    /// ringway.toml
    RawConfig {
        /// Threads, limits and timeouts.
        server: RawServer,
        /// What is logged, and where.
        log: RawLog,
        /// Metrics.
        metrics: RawMetrics,
        /// Figures pushed to a StatsD server.
        statsd: RawStatsd,
        /// The live page at /ui.
        ui: RawUi,
        /// Addresses to listen on.
        listener: Vec<RawListener>,
        /// Headers added to every response.
        headers: Map<Hidden>,
        /// Client addresses from proxies in front.
        real_ip: RawRealIp,
        /// Request ids.
        request_id: RawRequestId,
        /// How often a client may ask, by name; routes refer to it.
        rate_limit: Map<RawRateLimit>,
        /// How many requests a client may have under way, by name; routes refer to it.
        connection_limit: Map<RawConnectionLimit>,
        /// Which responses are compressed, and how hard.
        compression: RawCompression,
        /// Servers that routes hand their requests to, by name.
        upstream: Map<RawUpstream>,
        /// Where responses of servers behind are kept, by name; routes refer to it.
        cache: Map<RawCache>,
        /// Who answers which paths, besides the built-in routes.
        route: Vec<RawRoute>,
        /// The MCP gateway and its servers.
        mcp: RawMcp,
    }
}

/// Everything the program was told, resolved. Handed to each shard whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[[listener]]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[headers]`: added to every response, in order.
    pub headers: Vec<(String, String)>,
    /// `[real_ip]`
    pub real_ip: Option<RealIp>,
    /// `[request_id]`
    pub accept_id: AcceptId,
    /// `[rate_limit.NAME]`
    pub rate_limits: Vec<RateLimit>,
    /// `[connection_limit.NAME]`
    pub connection_limits: Vec<ConnectionLimit>,
    /// `[compression]`
    pub compression: Compression,
    /// `[upstream.NAME]`
    pub upstreams: Vec<Upstream>,
    /// `[cache.NAME]`
    pub caches: Vec<Cache>,
    /// `[[route]]`; the built-in ones are already in.
    pub routes: Vec<Route>,
    /// `[mcp]`
    pub mcp: Mcp,
    /// Whether metrics are kept and `/metrics` answers (ENABLE_METRICS).
    pub metrics: bool,
    /// Handlers that are not counted, by their label; `*` is any run of characters.
    pub metrics_exclude: Vec<String>,
    /// `[statsd]`
    pub statsd: Option<Statsd>,
    /// `[ui]`
    pub ui: Ui,
    /// ENV=development: indented JSON by default.
    pub development: bool,
    /// Whether the configuration is read again when one of its files changes.
    pub reload: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            log: Log::default(),
            listeners: vec![Listener::plain(SocketAddr::from((
                Ipv4Addr::LOCALHOST,
                PORT,
            )))],
            headers: Vec::new(),
            real_ip: None,
            accept_id: AcceptId::default(),
            rate_limits: Vec::new(),
            connection_limits: Vec::new(),
            compression: Compression::default(),
            upstreams: Vec::new(),
            caches: Vec::new(),
            routes: builtin_routes(),
            mcp: Mcp {
                demo: true,
                ..Mcp::default()
            },
            metrics: true,
            metrics_exclude: metrics::excluded(),
            statsd: None,
            ui: Ui::default(),
            development: false,
            reload: false,
        }
    }
}

/// Everything but the MCP servers.
pub(super) fn resolve(raw: RawConfig, around: &Around<'_>, found: &mut Findings) -> Config {
    let defaults = Config::default();
    let raw_server = raw.server.unwrap_or_default();
    let default_routes = raw_server.default_routes.unwrap_or(true);
    let development = raw_server.development.unwrap_or(false);
    let reload = raw_server.reload.unwrap_or(development);
    let rate_limits = limit::resolve_rates(raw.rate_limit.unwrap_or_default(), found);
    let connection_limits =
        limit::resolve_connections(raw.connection_limit.unwrap_or_default(), found);
    let upstreams = upstream::resolve(raw.upstream.unwrap_or_default(), around, found);
    let caches = cache::resolve(raw.cache.unwrap_or_default(), around, found);
    let named = Named {
        upstreams: &upstreams,
        caches: &caches,
        rate_limits: &rate_limits,
        connection_limits: &connection_limits,
    };
    let ui = ui::resolve(raw.ui);
    let (metrics, metrics_exclude) = metrics::resolve(raw.metrics);
    let mut routes = route::resolve(
        raw.route.unwrap_or_default(),
        (&named, around),
        default_routes,
        found,
    );
    route::set_ui(&mut routes, &ui);
    Config {
        ui,
        listeners: match raw.listener {
            Some(list) => listener::resolve(&list, around, found),
            None => defaults.listeners,
        },
        headers: headers::resolve(raw.headers.unwrap_or_default(), found),
        compression: compression::resolve(raw.compression.unwrap_or_default(), found),
        upstreams,
        caches,
        routes,
        real_ip: real_ip::resolve(raw.real_ip, found),
        accept_id: real_ip::resolve_id(raw.request_id),
        rate_limits,
        connection_limits,
        log: log::resolve(raw.log.unwrap_or_default(), around, found),
        mcp: mcp::resolve(raw.mcp.unwrap_or_default(), found),
        metrics,
        metrics_exclude,
        statsd: metrics::resolve_statsd(raw.statsd, found),
        server: server::resolve(raw_server, around, found),
        reload,
        development,
    }
}
