//! A certificate with its key: read from PEM, checked as far as a server can, and what the rest
//! of the program wants to know of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, SubjectAltName};

/// id-ad-ocsp (RFC 5280 §4.2.2.1).
const OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// id-pe-tlsfeature, and the number of `status_request` in it (RFC 7633 §4, RFC 6066 §1.1).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: u16 = 5;

/// Why a certificate or its key cannot be used. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none in the file.
    #[error("holds no certificate; it must be PEM, with the server's own certificate first")]
    NoCertificate,
    /// A certificate that cannot be parsed.
    #[error("holds a certificate that cannot be read: {0}")]
    BadCertificate(String),
    /// There is no key in the file.
    #[error("holds no private key; PKCS#8, PKCS#1 and SEC1 in PEM are understood")]
    NoKey,
    /// The key needs a passphrase.
    #[error("is encrypted; decrypt it with `openssl pkey -in FILE -out key.pem`")]
    EncryptedKey,
    /// A key that cannot be used.
    #[error("holds a private key that cannot be used: {0}")]
    BadKey(String),
    /// The key belongs to another certificate.
    #[error("is not the key of the certificate")]
    Mismatch,
    /// Its time is over.
    #[error("expired {0}; renew it")]
    Expired(String),
    /// Its time has not come.
    #[error("is not valid before {0}; check the clock of this machine")]
    NotYetValid(String),
}

impl CertificateError {
    /// Whether the file with the key is to blame, and not the one with the certificate.
    #[must_use]
    pub fn is_about_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey | Self::EncryptedKey | Self::BadKey(_) | Self::Mismatch
        )
    }
}

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain, key, and the OCSP response to staple, if there is one.
    pub key: Arc<CertifiedKey>,
    /// Names it is for, in lower case; a wildcard as `*.example.com`.
    pub names: Vec<String>,
    /// When it ends, since the epoch.
    pub not_after: Duration,
    /// Where its issuer tells whether it was revoked.
    pub ocsp_url: Option<String>,
    /// Whether it demands that an OCSP response is stapled (RFC 7633): clients that know this
    /// refuse it without one.
    pub must_staple: bool,
}

impl Certificate {
    /// Reads a chain and its key. `now` is since the epoch.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub fn read(chain: &[u8], key: &[u8], now: Duration) -> Result<Self, CertificateError> {
        let chain = self::chain(chain)?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let parsed = x509_cert::Certificate::from_der(first)
            .map_err(|error| CertificateError::BadCertificate(error.to_string()))?;
        let validity = &parsed.tbs_certificate.validity;
        let not_after = validity.not_after.to_unix_duration();
        if not_after < now {
            return Err(CertificateError::Expired(validity.not_after.to_string()));
        }
        if validity.not_before.to_unix_duration() > now {
            return Err(CertificateError::NotYetValid(
                validity.not_before.to_string(),
            ));
        }
        let names = names(&parsed);
        let ocsp_url = ocsp_url(&parsed);
        let must_staple = must_staple(&parsed);
        let key = private_key(key)?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| CertificateError::BadKey(error.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(CertificateError::Mismatch),
            Err(error) => return Err(CertificateError::BadCertificate(error.to_string())),
        }
        Ok(Self {
            key: Arc::new(key),
            names,
            not_after,
            ocsp_url,
            must_staple,
        })
    }

    /// The same with another OCSP response stapled to it.
    #[must_use]
    pub fn with_staple(&self, response: Option<Vec<u8>>) -> Self {
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = response;
        Self {
            key: Arc::new(key),
            ..self.clone()
        }
    }

    /// The certificate and its issuer's, if the chain has it.
    #[must_use]
    pub fn with_issuer(&self) -> Option<(&[u8], &[u8])> {
        match self.key.cert.as_slice() {
            [own, issuer, ..] => Some((own, issuer)),
            _ => None,
        }
    }
}

/// Every certificate in a PEM text.
///
/// # Errors
/// `NoCertificate` or `BadCertificate`.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| CertificateError::BadCertificate(error.to_string()))?;
    match chain.is_empty() {
        true => Err(CertificateError::NoCertificate),
        false => Ok(chain),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let has = |text: &[u8]| memchr::memmem::find(pem, text).is_some();
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => CertificateError::NoKey,
        error => CertificateError::BadKey(error.to_string()),
    })
}

/// The alternative names; the common name counts for nothing (RFC 9525 §2).
fn names(certificate: &x509_cert::Certificate) -> Vec<String> {
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate.get() else {
        return Vec::new();
    };
    let text = |name: GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::IpAddress(octets) => address(octets.as_bytes()),
        _ => None,
    };
    names.into_iter().filter_map(text).collect()
}

fn address(octets: &[u8]) -> Option<String> {
    let address = match *octets {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    Some(address.to_string())
}

fn must_staple(certificate: &x509_cert::Certificate) -> bool {
    let extensions = certificate.tbs_certificate.extensions.as_deref();
    let mut features = extensions
        .unwrap_or_default()
        .iter()
        .filter(|one| one.extn_id.to_string() == TLS_FEATURE)
        .filter_map(|one| Vec::<u16>::from_der(one.extn_value.as_bytes()).ok());
    features.any(|features| features.contains(&STATUS_REQUEST))
}

fn ocsp_url(certificate: &x509_cert::Certificate) -> Option<String> {
    let (_, AuthorityInfoAccessSyntax(access)) = certificate.tbs_certificate.get().ok()??;
    access
        .into_iter()
        .find_map(|access| match access.access_location {
            GeneralName::UniformResourceIdentifier(url)
                if access.access_method.to_string() == OCSP =>
            {
                Some(url.to_string())
            }
            _ => None,
        })
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    /// PEM of a certificate for these names, and of its key.
    pub(in crate::tls) fn pair(names: &[&str]) -> (String, String) {
        pair_of(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn pair_of(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(in crate::tls) fn certificate(names: &[&str]) -> Certificate {
        certificate_of(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(in crate::tls) fn certificate_of(
        names: &[&str],
        kind: &'static rcgen::SignatureAlgorithm,
    ) -> Certificate {
        let (chain, key) = pair_of(names, kind);
        Certificate::read(chain.as_bytes(), key.as_bytes(), NOW).unwrap()
    }

    fn refusal(chain: &str, key: &str, now: Duration) -> CertificateError {
        Certificate::read(chain.as_bytes(), key.as_bytes(), now).unwrap_err()
    }

    #[test]
    fn names_of_a_certificate_are_its_alternative_names() {
        let read = certificate(&["Example.com", "*.example.com", "127.0.0.1", "::1"]);
        assert_eq!(
            read.names,
            ["example.com", "*.example.com", "127.0.0.1", "::1"]
        );
        assert_eq!(read.ocsp_url, None);
        assert!(read.not_after > NOW && read.with_issuer().is_none());
    }

    #[test]
    fn a_certificate_may_demand_a_staple() {
        assert!(!certificate(&["a"]).must_staple);
        for (value, demands) in [
            (&[0x30, 3, 2, 1, 5][..], true),
            (&[0x30, 6, 2, 1, 17, 2, 1, 5], true),
            (&[0x30, 3, 2, 1, 17], false),
            (&[0x30, 3, 2, 1], false),
        ] {
            let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
            let feature = [1, 3, 6, 1, 5, 5, 7, 1, 24];
            params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
                &feature,
                value.to_vec(),
            )];
            let key = KeyPair::generate().unwrap();
            let chain = params.self_signed(&key).unwrap().pem();
            let key = key.serialize_pem();
            let read = Certificate::read(chain.as_bytes(), key.as_bytes(), NOW).unwrap();
            assert_eq!(read.must_staple, demands, "{value:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_apart() {
        let (chain, key) = pair(&["a"]);
        let (_, other) = pair(&["b"]);
        let far = Duration::from_secs(1 << 40);
        assert_eq!(refusal("", &key, NOW), CertificateError::NoCertificate);
        assert_eq!(refusal(&chain, "", NOW), CertificateError::NoKey);
        assert_eq!(refusal(&chain, &other, NOW), CertificateError::Mismatch);
        assert!(matches!(
            refusal(&chain, &key, far),
            CertificateError::Expired(_)
        ));
        assert!(matches!(
            refusal(&chain, &key, Duration::ZERO),
            CertificateError::NotYetValid(_)
        ));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                         -----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(
            refusal(&chain, encrypted, NOW),
            CertificateError::EncryptedKey
        );
        let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(
            refusal(&chain, broken, NOW),
            CertificateError::BadKey(_)
        ));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            refusal(broken, &key, NOW),
            CertificateError::BadCertificate(_)
        ));
    }
}
