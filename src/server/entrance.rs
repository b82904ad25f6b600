//! What a listener asks of its connections before HTTP begins.

use core::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

/// One listener's rules, shared by its connections.
#[derive(Debug, Default)]
pub struct Entrance {
    /// TLS, if the listener speaks it.
    pub tls: Option<EntranceTls>,
}

/// The TLS of a listener.
#[derive(Debug)]
pub struct EntranceTls {
    /// Certificates, versions, ticket keys: the newest generation. Connections keep theirs.
    config: RefCell<Arc<ServerConfig>>,
    /// Time for the whole handshake.
    pub handshake_timeout: Duration,
}

impl EntranceTls {
    /// The first generation.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, handshake_timeout: Duration) -> Self {
        Self {
            config: RefCell::new(config),
            handshake_timeout,
        }
    }

    /// The generation that new connections get.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// Gives new connections another generation.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.config.replace(config);
    }
}
