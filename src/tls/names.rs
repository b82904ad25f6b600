//! Which certificate a client's name gets: the exact one, a wildcard's, or the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// Certificates by name. Immutable; a changed file makes a new one.
#[derive(Debug)]
pub(super) struct ByName {
    /// For clients that name nothing, or nothing known.
    default: Arc<CertifiedKey>,
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// `*.example.com` as `example.com`: one label stands for the star (RFC 9525 §6.3).
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl ByName {
    /// The first certificate is the default. Of two for one name the earlier one wins, unless
    /// the other's key is of the other kind: then the earlier stays and the name has one.
    pub(super) fn new(certificates: &[Certificate]) -> Option<Self> {
        let mut names = Self {
            default: Arc::clone(&certificates.first()?.key),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for certificate in certificates {
            for name in &certificate.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                table
                    .entry(name.into())
                    .or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        Some(names)
    }

    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        name.and_then(|name| self.named(name))
            .unwrap_or(&self.default)
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.exact.get(name.as_str()).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::tests::certificate;

    #[test]
    fn the_exact_name_goes_before_the_wildcard_and_the_first_is_for_the_rest() {
        let pairs = [
            certificate(&["first.example"]),
            certificate(&["*.example.com"]),
            certificate(&["a.example.com", "*.example.com"]),
        ];
        let names = ByName::new(&pairs).unwrap();
        for (name, index) in [
            (None, 0),
            (Some("unknown.example"), 0),
            (Some("A.example.com."), 2),
            (Some("b.example.com"), 1),
            (Some("a.b.example.com"), 0),
            (Some("example.com"), 0),
            (Some("com"), 0),
        ] {
            let found = names.find(name);
            assert!(Arc::ptr_eq(found, &pairs[index].key), "{name:?}");
        }
        assert!(ByName::new(&[]).is_none());
    }
}
