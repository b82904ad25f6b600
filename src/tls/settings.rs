//! What a listener's TLS is to be, and the rustls configuration that comes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite};

use super::certificate::{Certificate, CertificateError, chain};
use super::names::ByName;
use super::ocsp::{self, OcspError};
use super::suites::{Protocol, provider};
use super::tickets::{Source, Ticketer};

/// A key or certificate file is a few kilobytes; a bundle of authorities some hundred.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// `[listener.tls]`, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At least one; the first is for clients that name no known host.
    pub certificates: Vec<Files>,
    /// Versions offered.
    pub protocols: Vec<Protocol>,
    /// Suites of TLS 1.2; empty means all. Those of TLS 1.3 are always offered.
    pub ciphers: Vec<SupportedCipherSuite>,
    /// Whether ALPN offers HTTP/2.
    pub http2: bool,
    /// Client certificates.
    pub verify: Option<Verify>,
    /// How long a session can be resumed; zero switches it off.
    pub session_timeout: Duration,
    /// Where ticket keys come from.
    pub ticket_keys: Source,
    /// Time for the whole handshake; `None` is the client header timeout.
    pub handshake_timeout: Option<Duration>,
    /// Whether OCSP responses are fetched from the certificates' issuers.
    pub stapling: bool,
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Names that get it; by default those that it is for.
    pub hosts: Vec<String>,
    /// A DER file with its OCSP response.
    pub stapling_file: Option<PathBuf>,
}

/// Client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// The authorities that sign them.
    pub authorities: PathBuf,
    /// Whether a client without one is refused.
    pub is_required: bool,
}

/// A file that makes TLS impossible.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .file.display())]
pub struct BadFile {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: BadFileReason,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum BadFileReason {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It is no certificate or key that can be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It is no OCSP response that may be stapled.
    #[error("holds no OCSP response to staple: {0}")]
    Staple(#[from] OcspError),
    /// Without its issuer's certificate an OCSP response cannot be checked.
    #[error("cannot be checked: the file of the certificate must hold its issuer's, too")]
    NoIssuer,
    /// No client could be verified with it.
    #[error("no client certificate can be verified with it: {0}")]
    Authorities(String),
}

impl Files {
    /// Reads the files. `now` is since the epoch.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(&self, now: Duration) -> Result<Certificate, BadFile> {
        let cert = read(&self.cert)?;
        let key = read(&self.key)?;
        let mut certificate = Certificate::read(&cert, &key, now).map_err(|error| BadFile {
            file: match error.is_about_key() {
                true => self.key.clone(),
                false => self.cert.clone(),
            },
            reason: error.into(),
        })?;
        if !self.hosts.is_empty() {
            certificate.names.clone_from(&self.hosts);
        }
        Ok(certificate)
    }
}

impl Files {
    /// Reads the OCSP response for a certificate from a file. `now` is since the epoch.
    ///
    /// # Errors
    /// The response may not be stapled.
    pub fn staple(
        &self,
        file: &Path,
        certificate: &Certificate,
        now: Duration,
    ) -> Result<Vec<u8>, BadFile> {
        let bad = |reason| BadFile {
            file: file.to_owned(),
            reason,
        };
        let (own, issuer) = certificate
            .with_issuer()
            .ok_or_else(|| bad(BadFileReason::NoIssuer))?;
        let response = read(file)?;
        ocsp::verify(&response, own, issuer, None, now).map_err(|error| bad(error.into()))?;
        Ok(response)
    }
}

impl Verify {
    /// Reads the authorities.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn load(&self) -> Result<RootCertStore, BadFile> {
        let bad = |reason| BadFile {
            file: self.authorities.clone(),
            reason,
        };
        let pem = read(&self.authorities)?;
        let mut roots = RootCertStore::empty();
        for certificate in chain(&pem).map_err(|error| bad(error.into()))? {
            roots
                .add(certificate)
                .map_err(|error| bad(BadFileReason::Authorities(error.to_string())))?;
        }
        Ok(roots)
    }
}

/// Reads a file within bounds.
///
/// # Errors
/// The system's.
pub fn read(path: &Path) -> Result<Vec<u8>, BadFile> {
    use std::io::Read as _;
    let reading = std::fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    reading.map_err(|error| BadFile {
        file: path.to_owned(),
        reason: BadFileReason::Unreadable(error),
    })
}

impl Settings {
    /// The rustls configuration with these certificates.
    ///
    /// # Errors
    /// What rustls refuses.
    pub fn build(
        &self,
        certificates: &[Certificate],
        authorities: Option<RootCertStore>,
        ticketer: Option<Ticketer>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(provider(&self.ciphers));
        let versions: Vec<_> = self.protocols.iter().map(|one| one.version()).collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let is_required = self.verify.as_ref().is_none_or(|one| one.is_required);
                let verifier = match is_required {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let names = ByName::new(certificates)
            .ok_or_else(|| rustls::Error::General("no certificate".to_owned()))?;
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.alpn_protocols = match self.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        // Sessions live in tickets: no table, and every shard opens them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // One is enough to come back with; each costs a seal and 200 bytes for every client.
        config.send_tls13_tickets = usize::from(ticketer.is_some());
        if let Some(ticketer) = ticketer {
            config.ticketer = Arc::new(ticketer);
        }
        Ok(Arc::new(config))
    }
}
