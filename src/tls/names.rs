//! Which certificate a client gets: those for the name that it asks for, the exact one before a
//! wildcard's, else the first; and among them the one whose kind of key it likes best.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// A name's certificates, one for each kind of key: nearly always one.
type Keys = Vec<Arc<CertifiedKey>>;

/// Certificates by name. Immutable; a changed file makes a new one.
#[derive(Debug)]
pub(super) struct ByName {
    /// For clients that name nothing, or nothing known.
    default: Keys,
    exact: HashMap<Box<str>, Keys>,
    /// `*.example.com` as `example.com`: one label stands for the star (RFC 9525 §6.3).
    wildcard: HashMap<Box<str>, Keys>,
}

impl ByName {
    /// The first certificate is the default, with those of other kinds that share a name with
    /// it. Of two of one kind for one name the earlier one wins.
    pub(super) fn new(certificates: &[Certificate]) -> Option<Self> {
        let first = certificates.first()?;
        let mut names = Self {
            default: Keys::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for certificate in certificates {
            let is_default = Arc::ptr_eq(&certificate.key, &first.key)
                || certificate
                    .names
                    .iter()
                    .any(|name| first.names.contains(name));
            if is_default {
                add(&mut names.default, &certificate.key);
            }
            for name in &certificate.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                add(table.entry(name.into()).or_default(), &certificate.key);
            }
        }
        Some(names)
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        name.and_then(|name| self.named(name))
            .unwrap_or(&self.default)
    }

    fn named(&self, name: &str) -> Option<&Keys> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.exact.get(name.as_str()).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

fn add(keys: &mut Keys, key: &Arc<CertifiedKey>) {
    let kind = key.key.algorithm();
    if keys.iter().all(|known| known.key.algorithm() != kind) {
        keys.push(Arc::clone(key));
    }
}

/// The key that the client likes best, in the order of its signature algorithms, as OpenSSL has
/// it. Where it likes none, the first: the handshake then fails, with the alert for that.
fn choose<'a>(
    keys: &'a [Arc<CertifiedKey>],
    wanted: &[SignatureScheme],
) -> Option<&'a Arc<CertifiedKey>> {
    let [first, _, ..] = keys else {
        return keys.first();
    };
    let signs = |key: &&Arc<CertifiedKey>, scheme| key.key.choose_scheme(&[scheme]).is_some();
    let mut liked = wanted
        .iter()
        .filter_map(|&scheme| keys.iter().find(|key| signs(key, scheme)));
    Some(liked.next().unwrap_or(first))
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // With TLS 1.2 rustls leaves out what does not go with the client's cipher suites.
        choose(self.find(hello.server_name()), hello.signature_schemes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::tests::{certificate, certificate_of};

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
            assert_eq!(found.len(), 1, "{name:?}");
            assert!(Arc::ptr_eq(&found[0], &pairs[index].key), "{name:?}");
        }
        assert!(ByName::new(&[]).is_none());
    }

    #[test]
    fn a_name_has_a_certificate_for_each_kind_of_key() {
        use SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519, RSA_PSS_SHA256};
        let ecdsa = certificate(&["a.example", "b.example"]);
        let eddsa = certificate_of(&["a.example"], &rcgen::PKCS_ED25519);
        let second = certificate(&["a.example", "c.example"]);
        let other = certificate_of(&["c.example"], &rcgen::PKCS_ED25519);
        let all = [ecdsa.clone(), eddsa.clone(), second.clone(), other.clone()];
        let names = ByName::new(&all).unwrap();
        let chosen = |name, wanted: &[SignatureScheme]| {
            let key = choose(names.find(name), wanted).unwrap();
            let is_it = |one: &&Certificate| Arc::ptr_eq(&one.key, key);
            all.iter().position(|one| is_it(&one)).unwrap()
        };
        for name in [Some("a.example"), None] {
            assert_eq!(chosen(name, &[ED25519, ECDSA_NISTP256_SHA256]), 1);
            assert_eq!(
                chosen(name, &[RSA_PSS_SHA256, ECDSA_NISTP256_SHA256, ED25519]),
                0
            );
            assert_eq!(chosen(name, &[RSA_PSS_SHA256]), 0);
            assert_eq!(chosen(name, &[]), 0);
        }
        assert_eq!(chosen(Some("b.example"), &[ED25519]), 0);
        assert_eq!(chosen(Some("c.example"), &[ECDSA_NISTP256_SHA256]), 2);
        assert_eq!(chosen(Some("c.example"), &[ED25519]), 3);
    }
}
