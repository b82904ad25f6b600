//! TLS towards the servers of an upstream: whom to trust, and which certificate to show.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::chain;

/// A bundle of authorities is some hundred kilobytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// `[upstream.NAME.tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The server's certificate is not looked at.
    pub trusts_anyone: bool,
    /// PEM with the authorities to trust; `None` is the system's.
    pub authorities: Option<PathBuf>,
    /// Chain and key to show to servers that ask.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Why TLS towards servers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file.
    #[error("cannot read {0}: {1}")]
    File(PathBuf, String),
    /// Anything else.
    #[error("{0}")]
    SetUp(String),
}

/// What rustls makes of the settings. `protocols` is what ALPN offers.
pub fn client_config(
    settings: &ClientSettings,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, ClientError> {
    let set_up = |error: &dyn core::fmt::Display| ClientError::SetUp(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| set_up(&error))?;
    let builder = if settings.trusts_anyone {
        let schemes = provider.signature_verification_algorithms;
        let verifier = Arc::new(Anyone(schemes));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        let roots = Arc::new(roots(settings.authorities.as_deref())?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| set_up(&error))?;
        builder.with_webpki_verifier(verifier)
    };
    let mut config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let certs = chain(&read(cert)?)
                .map_err(|error| ClientError::File(cert.clone(), error.to_string()))?;
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| ClientError::File(key.clone(), error.to_string()))?;
            let shown = builder.with_client_auth_cert(certs, key);
            shown.map_err(|error| set_up(&error))?
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn roots(authorities: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let Some(path) = authorities else {
        return Ok(system_roots());
    };
    let refused =
        |error: &dyn core::fmt::Display| ClientError::File(path.into(), error.to_string());
    let mut roots = RootCertStore::empty();
    for one in chain(&read(path)?).map_err(|error| refused(&error))? {
        roots.add(one).map_err(|error| refused(&error))?;
    }
    Ok(roots)
}

/// What the system trusts (SSL_CERT_FILE is heard), or Mozilla's list where the system has none.
/// Reads files.
#[must_use]
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let refused = |error: std::io::Error| ClientError::File(path.into(), error.to_string());
    let file = std::fs::File::open(path).map_err(refused)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    Ok(bytes)
}

/// Takes any certificate (`verify = false`); the handshake still proves that the server has its
/// key.
#[derive(Debug)]
struct Anyone(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
