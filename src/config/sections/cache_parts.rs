//! What the keys of `[route.cache]` are made of: parts of a request, and lifetimes by status.

use std::time::Duration;

use crate::config::kinds::Period;
use crate::config::node::Node;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Map, Placed, Read, mismatch};
use crate::config::server_entry::check_header;
use crate::config::units::DAY_MS;

/// A part of a request that tells responses apart, or that speaks against the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// `http` or `https`.
    Scheme,
    /// Host, in lower case.
    Host,
    /// Path and query as they were sent.
    Uri,
    /// The path, in its normal form.
    Path,
    /// The query.
    Query,
    /// All values of a field.
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// The value of an argument of the query.
    Argument(String),
}

/// `key`, `bypass`, `no_cache`
#[derive(Clone, Debug)]
pub(in crate::config) struct RawPart(KeyPart);

const HINT: &str = "write \"scheme\", \"host\", \"uri\", \"path\", \"query\", \"header:NAME\", \
                    \"cookie:NAME\" or \"query:NAME\"";

impl Read for RawPart {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = node.as_text().map_or("", |text| text.filled.trim());
        let named = text.split_once(':').map(|(kind, name)| (kind, name.trim()));
        let part = match (text, named) {
            ("scheme", _) => KeyPart::Scheme,
            ("host", _) => KeyPart::Host,
            ("uri", _) => KeyPart::Uri,
            ("path", _) => KeyPart::Path,
            ("query", _) => KeyPart::Query,
            (_, Some(("header", name))) if check_header(name, "").is_ok() => {
                KeyPart::Header(name.to_owned())
            }
            (_, Some(("cookie", name))) if !name.is_empty() => KeyPart::Cookie(name.to_owned()),
            (_, Some(("query", name))) if !name.is_empty() => KeyPart::Argument(name.to_owned()),
            _ => {
                mismatch(node, key, "a part of a request", HINT, found);
                return None;
            }
        };
        Some(Self(part))
    }
}

impl schemars::JsonSchema for RawPart {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CacheKeyPart".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^ *(scheme|host|uri|path|query|(header|cookie|query):.+) *$",
        })
    }
}

impl RawPart {
    /// The parts of a key; one that does not tell paths apart would give any page for any other.
    pub(super) fn key(
        raw: Option<Vec<Self>>,
        at: &Placed<String>,
        found: &mut Findings,
    ) -> Option<Vec<KeyPart>> {
        let parts: Vec<KeyPart> = raw?.into_iter().map(|part| part.0).collect();
        let tells_paths = |part: &KeyPart| matches!(part, KeyPart::Uri | KeyPart::Path);
        if !parts.iter().any(tells_paths) {
            let message = "a key without \"uri\" or \"path\" gives one page for all";
            let problem = Problem::new(&at.at, "route.cache.key", message);
            found.errors.push(problem);
        }
        Some(parts)
    }

    /// The conditions of a list: only what may be missing from a request is one.
    pub(super) fn conditions(
        raw: Option<Vec<Self>>,
        (key, at): (&str, &Placed<String>),
        found: &mut Findings,
    ) -> Vec<KeyPart> {
        let parts = raw.unwrap_or_default().into_iter().map(|part| part.0);
        let parts: Vec<KeyPart> = parts.collect();
        let is_condition = |part: &KeyPart| {
            matches!(
                part,
                KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Argument(_)
            )
        };
        if !parts.iter().all(is_condition) {
            let message = "every request has that part, so it is no condition";
            let problem = Problem::new(&at.at, &format!("route.cache.{key}"), message);
            let hint = "write \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";
            found.errors.push(problem.hint(hint));
        }
        parts
    }
}

/// Lifetimes by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    listed: Vec<(u16, Duration)>,
    any: Option<Duration>,
}

impl Statuses {
    /// How long a response of that status is fresh if it does not say so.
    #[must_use]
    pub fn of(&self, status: u16) -> Option<Duration> {
        let listed = self.listed.iter().find(|(listed, _)| *listed == status);
        listed.map(|(_, period)| *period).or(self.any)
    }

    /// These lifetimes.
    #[must_use]
    pub fn new(listed: Vec<(u16, Duration)>, any: Option<Duration>) -> Self {
        Self { listed, any }
    }
}

/// The keys of `valid`.
pub(super) struct RawStatus;

impl RawStatus {
    /// Reads them: a status, or `any`.
    pub(super) fn statuses(
        raw: Option<Map<Period<0, { 3650 * DAY_MS }>>>,
        found: &mut Findings,
    ) -> Statuses {
        let mut statuses = Statuses::default();
        for (name, period) in raw.map(|map| map.0).unwrap_or_default() {
            match name.value.parse::<u16>() {
                _ if name.value == "any" => statuses.any = Some(period.0),
                Ok(status) if (200..600).contains(&status) && !matches!(status, 206 | 304) => {
                    statuses.listed.push((status, period.0));
                }
                _ => {
                    let message = format!("\"{}\" is no status", name.value.escape_debug());
                    let problem = Problem::new(&name.at, "route.cache.valid", message);
                    let hint = "write { 200 = \"1m\", any = \"10s\" }";
                    found.errors.push(problem.hint(hint));
                }
            }
        }
        statuses
    }
}
