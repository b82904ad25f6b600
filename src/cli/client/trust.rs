//! Which servers' certificates are believed.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::tls::client::{ClientSettings, client_config};

/// Whom a client believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Trust {
    /// What the system trusts (SSL_CERT_FILE is heard), else Mozilla's list.
    #[default]
    System,
    /// Whoever answers. For this machine's own server alone: nobody else can be on its loopback
    /// address, and its certificate is for the names that others know it by.
    Anyone,
}

/// TLS with that trust.
pub(super) fn tls_config(trust: Trust) -> Result<Arc<ClientConfig>, String> {
    let settings = ClientSettings {
        trusts_anyone: trust == Trust::Anyone,
        ..ClientSettings::default()
    };
    client_config(&settings, &[]).map_err(|error| error.to_string())
}
