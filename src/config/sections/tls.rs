//! `[listener.tls]`: certificates, versions, suites, tickets, client certificates. The files are
//! read here too, so that one that cannot be used is told before anything listens.

use std::path::Path;
use std::time::Duration;

use super::Around;
use super::mcp::key;
use crate::base::clock::Now;
use crate::config::kinds::{Period, words};
use crate::config::node::Node;
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::{Hidden, Placed, Read, mismatch, section};
use crate::config::units::DAY_MS;
use crate::tls::settings::{BadFile, Files, Settings, Verify};
use crate::tls::suites::{Protocol, SUITES, suite};
use crate::tls::tickets::Source;

/// How long a session can be resumed; the seed's `ssl_session_timeout`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(600);
/// TLS 1.3 tickets may live a week at most (RFC 8446 §4.6.1).
const SESSION_MAX_MS: u64 = 7 * DAY_MS;

section! {
    /// TLS on a listener.
    RawTls {
        /// PEM file with the server's certificate and those that lead to its issuer. Also
        /// CERT_FILE.
        cert: Placed<String>,
        /// PEM file with its key: PKCS#8, PKCS#1 or SEC1, not encrypted. Also KEY_FILE.
        key: Placed<String>,
        /// Further certificates for clients that ask for other names (SNI).
        certificates: Vec<RawCertificate>,
        /// Versions offered: "TLSv1.2", "TLSv1.3".
        protocols: Placed<Vec<ProtocolWord>>,
        /// Suites of TLS 1.2 by OpenSSL's names; those of TLS 1.3 are always offered.
        ciphers: Placed<Vec<String>>,
        /// PEM file with the authorities that sign client certificates.
        verify: Placed<String>,
        /// Whether a client without a certificate is refused: "required" or "optional".
        verify_mode: ModeWord,
        /// How long a client may resume a session; 0 makes every handshake a full one.
        session_timeout: Period<0, SESSION_MAX_MS>,
        /// Key for session tickets, the same on all replicas: 64 hexadecimal digits, or a random
        /// text of at least 32 characters. Without it keys are random and end with the process.
        ticket_secret: Placed<Hidden>,
        /// Time for a whole handshake; by default client_header_timeout.
        handshake_timeout: Period<1, DAY_MS>,
        /// Whether the state of the certificates is fetched from their issuers and stapled (OCSP).
        stapling: bool,
        /// DER file with an OCSP response for `cert`, in place of fetching one.
        stapling_file: Placed<String>,
    }
}

section! {
    /// A certificate for some names.
    RawCertificate {
        /// PEM file with the certificate and those that lead to its issuer.
        cert: Placed<String>,
        /// PEM file with its key.
        key: Placed<String>,
        /// Names that get it; by default all that it is for.
        hosts: Vec<String>,
        /// DER file with its OCSP response.
        stapling_file: Placed<String>,
    }
}

/// A version of TLS as OpenSSL writes it. Not a word like others: its case is mixed.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct ProtocolWord(Protocol);

impl Read for ProtocolWord {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = node.as_text().map_or("", |text| &text.filled);
        let is_it = |one: &Protocol| one.name().eq_ignore_ascii_case(text);
        let protocol = Protocol::ALL.into_iter().find(is_it);
        if protocol.is_none() {
            let hint = "write \"TLSv1.2\" or \"TLSv1.3\"; older ones are not safe";
            mismatch(node, key, "a version that is offered", hint, found);
        }
        protocol.map(Self)
    }
}

impl schemars::JsonSchema for ProtocolWord {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Protocol".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": Protocol::ALL.map(Protocol::name) })
    }
}

words! {
    /// `verify_mode`
    ModeWord(bool) {
        "required" => true,
        "optional" => false,
    }
}

/// What stands at `listener.tls`. `None` where that cannot be used; the reason was told. `http2`
/// says whether that is offered (ALPN).
pub(super) fn resolve(
    raw: &Placed<RawTls>,
    http2: bool,
    around: &Around<'_>,
    found: &mut Findings,
) -> Option<Settings> {
    let before = found.errors.len();
    let at = &raw.at;
    let raw = &raw.value;
    let certificates = certificates(at, raw, around, found);
    let verify = raw.verify.as_ref().and_then(|file| {
        let verify = Verify {
            authorities: around.path(&file.value),
            is_required: raw.verify_mode.as_ref().is_none_or(|word| word.0),
        };
        let loaded = verify.load().map(drop);
        report(&file.at, "listener.tls.verify", loaded, found)?;
        Some(verify)
    });
    if raw.verify_mode.is_some() && raw.verify.is_none() {
        let message = "says nothing without `verify`";
        let problem = Problem::new(at, "listener.tls.verify_mode", message);
        found
            .errors
            .push(problem.hint("add the file of authorities as `verify`"));
    }
    let settings = Settings {
        certificates,
        protocols: protocols(raw.protocols.as_ref(), found),
        ciphers: ciphers(raw.ciphers.as_ref(), found),
        http2,
        verify,
        session_timeout: raw
            .session_timeout
            .map_or(SESSION_TIMEOUT, |period| period.0),
        ticket_keys: raw
            .ticket_secret
            .as_ref()
            .and_then(|secret| key(secret, "listener.tls.ticket_secret", found))
            .map_or(Source::Random, Source::Secret),
        handshake_timeout: raw.handshake_timeout.map(|period| period.0),
        stapling: raw.stapling.unwrap_or(false),
    };
    (found.errors.len() == before && !settings.certificates.is_empty()).then_some(settings)
}

fn certificates(at: &At, raw: &RawTls, around: &Around<'_>, found: &mut Findings) -> Vec<Files> {
    let mut files = Vec::new();
    let first = Pair {
        path: "listener.tls",
        cert: raw.cert.as_ref(),
        key: raw.key.as_ref(),
        hosts: &[],
        stapling_file: raw.stapling_file.as_ref(),
        stapling: raw.stapling.unwrap_or(false),
    };
    let further = raw.certificates.as_deref().unwrap_or_default();
    if first.cert.is_some() || first.key.is_some() || further.is_empty() {
        files.extend(first.files(at, around, found));
    }
    let stapling = first.stapling;
    for raw in further {
        let pair = Pair {
            path: "listener.tls.certificates",
            cert: raw.cert.as_ref(),
            key: raw.key.as_ref(),
            hosts: raw.hosts.as_deref().unwrap_or_default(),
            stapling_file: raw.stapling_file.as_ref(),
            stapling,
        };
        files.extend(pair.files(at, around, found));
    }
    files
}

/// One certificate as it is written, in either place.
struct Pair<'a> {
    path: &'static str,
    cert: Option<&'a Placed<String>>,
    key: Option<&'a Placed<String>>,
    hosts: &'a [String],
    stapling_file: Option<&'a Placed<String>>,
    /// Whether responses are fetched.
    stapling: bool,
}

impl Pair<'_> {
    fn files(&self, at: &At, around: &Around<'_>, found: &mut Findings) -> Option<Files> {
        let (Some(cert), Some(key)) = (self.cert, self.key) else {
            let message = "a certificate needs both `cert` and `key`";
            let at = self.cert.or(self.key).map_or(at, |one| &one.at);
            let problem = Problem::new(at, self.path, message);
            let hint = "make a pair to try with `ringway certs --out certs`";
            found.errors.push(problem.hint(hint));
            return None;
        };
        let staple = self.stapling_file;
        let files = Files {
            cert: around.path(&cert.value),
            key: around.path(&key.value),
            hosts: self
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            stapling_file: staple.map(|file| around.path(&file.value)),
        };
        let loaded = files.load(Now::read().unix);
        let is_about_key = |bad: &BadFile| bad.file == files.key && files.key != files.cert;
        let (at, name) = match &loaded {
            Err(bad) if is_about_key(bad) => (&key.at, "key"),
            _ => (&cert.at, "cert"),
        };
        let path = format!("{}.{name}", self.path);
        let certificate = report(at, &path, loaded, found)?;
        if certificate.must_staple && staple.is_none() && !self.stapling {
            let message = "demands a stapled OCSP response: clients would refuse it";
            let problem = Problem::new(at, &path, message);
            let hint = "add `stapling = true`, or a `stapling_file`";
            found.errors.push(problem.hint(hint));
        }
        if let (Some(file), Some(path)) = (staple, &files.stapling_file) {
            let checked = files.staple(path, &certificate, Now::read().unix);
            let path = format!("{}.stapling_file", self.path);
            report(&file.at, &path, checked, found)?;
        }
        Some(files)
    }
}

fn report<T>(at: &At, key: &str, loaded: Result<T, BadFile>, found: &mut Findings) -> Option<T> {
    loaded
        .map_err(|bad| found.errors.push(Problem::new(at, key, bad.to_string())))
        .ok()
}

fn protocols(raw: Option<&Placed<Vec<ProtocolWord>>>, found: &mut Findings) -> Vec<Protocol> {
    let Some(raw) = raw else {
        return Protocol::ALL.to_vec();
    };
    if raw.value.is_empty() {
        let problem = Problem::new(&raw.at, "listener.tls.protocols", "no version is left");
        found
            .errors
            .push(problem.hint("for example [\"TLSv1.2\", \"TLSv1.3\"]"));
    }
    raw.value.iter().map(|word| word.0).collect()
}

fn ciphers(
    raw: Option<&Placed<Vec<String>>>,
    found: &mut Findings,
) -> Vec<rustls::SupportedCipherSuite> {
    let Some(raw) = raw else {
        return Vec::new();
    };
    let mut suites = Vec::new();
    // A list as OpenSSL's, with colons, is understood too.
    for name in raw.value.iter().flat_map(|list| list.split(':')) {
        let name = name.trim();
        match suite(name) {
            Some(suite) => suites.push(suite),
            // Those of TLS 1.3 are on anyway.
            None if name.starts_with("TLS_AES_") || name.starts_with("TLS_CHACHA20_") => {}
            None => {
                let message = format!("\"{}\" is not offered", name.escape_debug());
                let names: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
                let problem = Problem::new(&raw.at, "listener.tls.ciphers", message);
                found
                    .errors
                    .push(problem.hint(format!("known: {}", names.join(", "))));
            }
        }
    }
    suites
}

/// SSL=true with CERT_FILE and KEY_FILE, as the seed's Gunicorn understands them.
pub(in crate::config) fn seed_files(
    cert: Option<&str>,
    key: Option<&str>,
) -> [(&'static str, String); 2] {
    let or = |given: Option<&str>, default: &str| {
        let given = given.filter(|path| !path.is_empty());
        // Relative to where the program was started, not to the configuration.
        let path = Path::new(given.unwrap_or(default));
        std::path::absolute(path)
            .unwrap_or_else(|_| path.to_owned())
            .display()
            .to_string()
    };
    [
        ("cert", or(cert, "certs/cert.pem")),
        ("key", or(key, "certs/key.pem")),
    ]
}
