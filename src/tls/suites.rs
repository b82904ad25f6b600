//! OpenSSL's names of cipher suites and protocol versions, and rustls's for them.

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// TLS 1.2 suites by OpenSSL's names. rustls has no others: all have forward secrecy and AEAD.
pub const SUITES: [(&str, SupportedCipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// A version of TLS that can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// OpenSSL's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }

    pub(super) fn version(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// A TLS 1.2 suite by OpenSSL's name or by the standard's (`TLS_ECDHE_…`).
#[must_use]
pub fn suite(name: &str) -> Option<SupportedCipherSuite> {
    let is_it = |(openssl, suite): &&(&str, SupportedCipherSuite)| {
        let standard = suite.suite().as_str().unwrap_or_default();
        openssl.eq_ignore_ascii_case(name) || standard.eq_ignore_ascii_case(name)
    };
    SUITES.iter().find(is_it).map(|(_, suite)| *suite)
}

/// Cryptography with these TLS 1.2 suites and all of TLS 1.3; no suite named means all.
pub(super) fn provider(tls12: &[SupportedCipherSuite]) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !tls12.is_empty() {
        let is_13 =
            |suite: &SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
        provider
            .cipher_suites
            .retain(|suite| is_13(suite) || tls12.contains(suite));
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_are_known() {
        let suite = suite("ECDHE-RSA-AES128-GCM-SHA256").unwrap();
        assert_eq!(
            super::suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            Some(suite)
        );
        assert_eq!(super::suite("AES128-SHA"), None);
        let provider = provider(&[suite]);
        let tls12 = provider
            .cipher_suites
            .iter()
            .filter(|suite| suite.version().version == ProtocolVersion::TLSv1_2);
        assert_eq!(tls12.count(), 1);
        assert_eq!(provider.cipher_suites.len(), 4);
    }
}
