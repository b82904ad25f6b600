//! Another generation of the configuration: read, checked, made ready, and only then handed to
//! the shards. Until then nothing that runs is touched; what is wrong is told, all of it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::clock::Now;
use crate::config::{self, Config, DEFAULT_FILE, Env, Loaded, McpServer, McpTarget, Options};
use crate::net::disk::Disk;
use crate::net::listener::BoundListener;
use crate::net::tls::{TlsConnector, TlsError};
use crate::server::ListenerKey;
use crate::shard::Generation;
use crate::supervisor::bind::{self, BindError};
use crate::supervisor::certificates::{CertificateFailure, Certificates};
use crate::supervisor::fixed;
use crate::supervisor::logs::{LogFailure, Logs, Opened};
use crate::supervisor::plan::{NoNumbers, Plan};

/// Where the configuration comes from.
pub(super) struct Source {
    options: Options,
    /// The files that the last good one was read from.
    files: Vec<PathBuf>,
}

/// What is made ready for a generation once and used by all after it.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) disk: Option<Disk>,
    pub(super) connector: TlsConnector,
    /// The connector knows the system's authorities.
    trusts: bool,
}

/// A generation that is ready, and what comes with it.
pub(super) struct Ready {
    pub(super) generation: Generation,
    pub(super) plan: Plan,
    pub(super) tools: Tools,
    pub(super) certificates: Certificates,
    pub(super) logs: Opened,
    /// Sockets of new listeners, by shard.
    pub(super) listeners: Vec<Vec<(ListenerKey, BoundListener)>>,
    /// Keys whose running values stay.
    pub(super) fixed: Vec<&'static str>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<config::Problem>),
    #[error("TLS: {0}")]
    Certificates(#[from] CertificateFailure),
    #[error("{0}")]
    Log(#[from] LogFailure),
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Numbers(#[from] NoNumbers),
    #[error("cannot set TLS up: {0}")]
    Connector(#[from] TlsError),
    #[error("cannot start the disks' threads: {0}")]
    Disk(std::io::Error),
}

impl Refused {
    /// One line for each thing that is wrong.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Problems(problems) => problems.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }
}

impl Source {
    pub(super) const fn new(options: Options, files: Vec<PathBuf>) -> Self {
        Self { options, files }
    }

    /// Reads it again. The files that it names are watched from now on.
    pub(super) fn read(&mut self) -> Result<Loaded, Refused> {
        let loaded = config::load(&self.options, &Env::of_process()).map_err(Refused::Problems)?;
        self.files.clone_from(&loaded.files);
        Ok(loaded)
    }

    /// The files to watch: those that were read, and those that would be if they were there.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let options = &self.options;
        let mut files = self.files.clone();
        let named = options
            .config
            .clone()
            .into_iter()
            .chain(options.mcp.clone());
        let default = options
            .config
            .is_none()
            .then(|| PathBuf::from(DEFAULT_FILE));
        for file in named.chain(default) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }
}

impl Tools {
    /// What a configuration needs, as far as `known` has it not.
    pub(super) fn new(config: &Config, known: Option<&Self>) -> Result<Self, Refused> {
        let has_files = |route: &config::Route| matches!(route.handler, config::Handler::Files(_));
        let caches_files = config.caches.iter().any(|cache| cache.disk.is_some());
        let is_https = |server: &McpServer| match &server.target {
            McpTarget::Http { url, .. } => url.starts_with("https"),
            McpTarget::Stdio { .. } => false,
        };
        let disk = match known.and_then(|tools| tools.disk.clone()) {
            Some(disk) => Some(disk),
            None if config.routes.iter().any(has_files) || caches_files => {
                Some(Disk::start().map_err(Refused::Disk)?)
            }
            None => None,
        };
        let trusts = config.mcp.servers.iter().any(is_https);
        let connector = match known {
            Some(tools) if tools.trusts || !trusts => tools.connector.clone(),
            _ if trusts => TlsConnector::new()?,
            _ => TlsConnector::trusting_nobody()?,
        };
        let trusts = trusts || known.is_some_and(|tools| tools.trusts);
        Ok(Self {
            disk,
            connector,
            trusts,
        })
    }
}

/// What runs, as far as the next generation builds on it.
pub(super) struct Running<'a> {
    pub(super) generation: &'a Generation,
    pub(super) plan: &'a Plan,
    pub(super) tools: &'a Tools,
    pub(super) certificates: &'a Certificates,
    pub(super) logs: &'a Logs,
    pub(super) shards: usize,
}

/// Makes a generation ready. Everything that can fail fails here.
pub(super) fn prepare(mut config: Config, running: &Running<'_>) -> Result<Ready, Refused> {
    let old = running.generation;
    let now = Now::read().unix;
    let fixed = fixed::keep(&old.config, &mut config);
    let plan = running.plan.follow(&config)?;
    let logs = running.logs.open_changed(&config.log)?;
    let tools = Tools::new(&config, Some(running.tools))?;
    let certificates = Certificates::following(running.certificates, &config, now, &logs.log)?;
    let known = |key: &ListenerKey| old.listeners.contains(key);
    let mut listeners: Vec<Vec<_>> = (0..running.shards).map(|_| Vec::new()).collect();
    for (key, address) in plan.listeners.iter().filter(|(key, _)| !known(key)) {
        let sockets = bind::bind(*address, running.shards, config.server.backlog)?;
        for (own, socket) in listeners.iter_mut().zip(sockets) {
            own.push((*key, socket));
        }
    }
    let generation = Generation {
        number: old.number + 1,
        loaded: now,
        listeners: plan.listeners.iter().map(|(key, _)| *key).collect(),
        tls: certificates.generation(),
        limits: plan.limits.clone(),
        servers: Arc::clone(&plan.servers),
        demo: plan.demo,
        access: logs.access.clone(),
        log: logs.log.clone(),
        recompress: old.recompress.clone(),
        disk: tools.disk.clone(),
        connector: tools.connector.clone(),
        config: Arc::new(config),
    };
    Ok(Ready {
        generation,
        plan,
        tools,
        certificates,
        logs,
        listeners,
        fixed,
    })
}
