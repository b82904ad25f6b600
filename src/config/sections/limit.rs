//! `[rate_limit.NAME]` and `[connection_limit.NAME]`: limits by key that routes refer to.

use std::sync::Arc;

use crate::base::nearest::nearest;
use crate::config::kinds::{Count, Size, words};
use crate::config::node::{Node, Value, join};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Map, Placed, Read, mismatch, section};
use crate::config::server_entry::check_header;
use crate::config::units::{GIB, to_usize};

/// A section with the keys that all limits share behind its own.
macro_rules! limit_section {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        section! {
            $(#[$about])*
            $name {
                $($own)*
                /// What is counted by: "client_ip"; "header:NAME" (requests without that field
                /// are not limited); "principal": the credentials that a request brings
                /// (Authorization, else X-Api-Key), else its address.
                key: RawKey,
                /// Leading bits of an IPv6 address that make a client.
                v6_prefix: Count<0, 128>,
                /// Status of a refusal.
                status: Count<400, 599>,
                /// Memory for keys, on all shards together; beyond it a rate limit forgets the
                /// least recently used, a connection limit does as on_error says.
                size: Size<32_768, { 64 * GIB }>,
                /// Only count what would be refused or delayed.
                dry_run: bool,
                /// What happens to a request when the shard that counts its key does not
                /// answer.
                on_error: OnErrorWord,
            }
        }

        impl $name {
            /// What all limits share.
            fn common(&mut self, name: String) -> Limited {
                Limited {
                    name: name.into(),
                    key: limit_key(self.key.take(), self.v6_prefix),
                    status: self.status.map_or(TOO_MANY_REQUESTS, |status| status.0 as u16),
                    size: self.size.map_or(SIZE, |size| to_usize(size.0)),
                    dry_run: self.dry_run.unwrap_or(false),
                    on_error: self.on_error.take().map_or(OnError::Allow, |word| word.0),
                }
            }
        }
    };
}

limit_section! {
    /// How often one client may ask. nginx: limit_req_zone and limit_req.
    RawRateLimit {
        /// How fast: "100/s" or "6000/m".
        rate: Placed<RawRate>,
        /// How many may come at once beyond the rate.
        burst: Count<0, 1_000_000_000>,
        /// Whether requests beyond the rate wait until they fit (true, as nginx does without
        /// `nodelay`), pass at once (false), or wait from the so many-th on.
        delay: RawDelay,
        /// Whether responses tell what is left, in RateLimit and RateLimit-Policy; refusals do
        /// in any case.
        headers: bool,
    }
}

limit_section! {
    /// How many requests one client may have under way. nginx: limit_conn_zone and limit_conn.
    RawConnectionLimit {
        /// How many at once.
        max: Placed<Count<1, 1_000_000_000>>,
    }
}

words! {
    /// `on_error`
    OnErrorWord(OnError) {
        "allow" => OnError::Allow,
        "deny" => OnError::Deny,
    }
}

/// What a limit counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The client's address; of an IPv6 address so many leading bits.
    ClientIp {
        /// 0 to 128.
        v6_prefix: u8,
    },
    /// A request field's first value. Requests without it are not limited.
    Header(String),
    /// The credentials that a request brings, whoever checks them; its address if it has none.
    Principal {
        /// Of such an address, 0 to 128.
        v6_prefix: u8,
    },
}

/// What happens to a request that nobody can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It passes.
    Allow,
    /// It is refused with 503.
    Deny,
}

/// What all limits share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// NAME.
    pub name: Arc<str>,
    /// What it counts by.
    pub key: LimitKey,
    /// Status of a refusal.
    pub status: u16,
    /// Bytes for keys, on all shards together.
    pub size: usize,
    /// Nobody is refused or delayed.
    pub dry_run: bool,
    /// What happens when the owner of a key does not answer.
    pub on_error: OnError,
}

/// `[rate_limit.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What all limits share.
    pub common: Limited,
    /// Requests.
    pub requests: u64,
    /// In so many seconds: 1 or 60.
    pub seconds: u64,
    /// How many may come at once beyond that.
    pub burst: u64,
    /// How many of the burst pass at once; `None` means all.
    pub undelayed: Option<u64>,
    /// Responses that pass tell what is left.
    pub headers: bool,
}

/// `[connection_limit.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// What all limits share.
    pub common: Limited,
    /// Requests under way at once.
    pub max: u32,
}

const SIZE: usize = 10 << 20;
/// A customer of an IPv6 provider has at least a /64, so a longer prefix limits nobody.
pub const V6_PREFIX: u8 = 64;
const TOO_MANY_REQUESTS: u16 = 429;

/// `rate`
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct RawRate {
    requests: u64,
    seconds: u64,
}

impl Read for RawRate {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = node.as_text().map_or("", |text| text.filled.trim());
        let rate = text.split_once('/').and_then(|(requests, unit)| {
            let requests = requests.trim_end();
            let requests = requests.strip_suffix('r').unwrap_or(requests);
            let seconds = match unit.trim() {
                "s" | "sec" | "second" => 1,
                "m" | "min" | "minute" => 60,
                _ => return None,
            };
            let requests = requests.parse().ok()?;
            (1..=1_000_000_000)
                .contains(&requests)
                .then_some(Self { requests, seconds })
        });
        if rate.is_none() {
            let hint = "write \"100/s\" or \"6000/m\" (nginx's 100r/s is fine too)";
            mismatch(node, key, "a rate", hint, found);
        }
        rate
    }
}

impl schemars::JsonSchema for RawRate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^ *[0-9]+ *r?/ *(s|sec|second|m|min|minute) *$",
        })
    }
}

/// `delay`: the number of requests beyond the rate that pass at once; `None` means all.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct RawDelay(Option<u64>);

impl Read for RawDelay {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let is_word = node
            .as_text()
            .is_some_and(|text| !text.filled.starts_with(char::is_numeric));
        if matches!(node.value, Value::Bool(_)) || is_word {
            let delays = bool::read(node, key, found)?;
            return Some(Self(delays.then_some(0)));
        }
        let Count(count) = Count::<0, 1_000_000_000>::read(node, key, found)?;
        Some(Self(Some(count)))
    }
}

impl schemars::JsonSchema for RawDelay {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Delay".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "boolean" }, { "type": "integer", "minimum": 0 }],
        })
    }
}

/// `key`
#[derive(Clone, Debug)]
pub(in crate::config) enum RawKey {
    ClientIp,
    Header(String),
    Principal,
}

impl Read for RawKey {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = node.as_text().map_or("", |text| text.filled.trim());
        match text.split_once(':') {
            None if text == "client_ip" => return Some(Self::ClientIp),
            None if text == "principal" => return Some(Self::Principal),
            Some(("header", name)) if check_header(name.trim(), "").is_ok() => {
                return Some(Self::Header(name.trim().to_owned()));
            }
            _ => {}
        }
        let hint = "write \"client_ip\", \"principal\" or \"header:NAME\"";
        mismatch(node, key, "something to count by", hint, found);
        None
    }
}

impl schemars::JsonSchema for RawKey {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LimitKey".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let pattern = "^(client_ip|principal|header:.+)$";
        schemars::json_schema!({ "type": "string", "pattern": pattern })
    }
}

fn limit_key(key: Option<RawKey>, v6_prefix: Option<Count<0, 128>>) -> LimitKey {
    let v6_prefix = v6_prefix.map_or(V6_PREFIX, |bits| bits.0 as u8);
    match key {
        Some(RawKey::Header(name)) => LimitKey::Header(name),
        Some(RawKey::Principal) => LimitKey::Principal { v6_prefix },
        Some(RawKey::ClientIp) | None => LimitKey::ClientIp { v6_prefix },
    }
}

pub(super) fn resolve_rates(raw: Map<RawRateLimit>, found: &mut Findings) -> Vec<RateLimit> {
    let mut limits = Vec::new();
    for (name, mut raw) in raw.0 {
        let Some(rate) = raw.rate.take() else {
            missing(&name, "rate_limit", "rate", "rate = \"100/s\"", found);
            continue;
        };
        limits.push(RateLimit {
            common: raw.common(name.value),
            requests: rate.value.requests,
            seconds: rate.value.seconds,
            burst: raw.burst.map_or(0, |count| count.0),
            undelayed: raw.delay.map_or(Some(0), |delay| delay.0),
            headers: raw.headers.unwrap_or(true),
        });
    }
    limits
}

pub(super) fn resolve_connections(
    raw: Map<RawConnectionLimit>,
    found: &mut Findings,
) -> Vec<ConnectionLimit> {
    let mut limits = Vec::new();
    for (name, mut raw) in raw.0 {
        let Some(max) = raw.max.take() else {
            missing(&name, "connection_limit", "max", "max = 10", found);
            continue;
        };
        limits.push(ConnectionLimit {
            common: raw.common(name.value),
            max: u32::try_from(max.value.0).unwrap_or(u32::MAX),
        });
    }
    limits
}

pub(super) fn missing(
    name: &Placed<String>,
    section: &str,
    key: &str,
    example: &str,
    found: &mut Findings,
) {
    let path = join(section, &name.value);
    let told = join(&path, key);
    // One that stands there and could not be read was told already.
    if found.errors.iter().all(|problem| problem.key != told) {
        let message = format!("the key `{key}` is missing");
        found
            .errors
            .push(Problem::new(&name.at, &path, message).hint(example));
    }
}

/// One name or a list of them.
#[derive(Clone, Debug)]
pub(in crate::config) struct Names(Vec<Placed<String>>);

impl Read for Names {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(_) if !node.at.is_text() => {
                Placed::<String>::read(node, key, found).map(|name| Self(vec![name]))
            }
            _ => Vec::<Placed<String>>::read(node, key, found).map(Self),
        }
    }
}

impl schemars::JsonSchema for Names {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}

/// Places of the named limits in their list.
pub(super) fn find<'a>(
    names: Option<Names>,
    key: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    found: &mut Findings,
) -> Vec<u16> {
    let mut places = Vec::new();
    for name in names.map(|names| names.0).unwrap_or_default() {
        let place = known.clone().position(|known| known == name.value);
        if let Some(place) = place.and_then(|place| u16::try_from(place).ok()) {
            places.push(place);
            continue;
        }
        unknown_name(&name, (&join("route", key), key), known.clone(), found);
    }
    places
}

/// Says that there is no table of that name in the section, at the key that names it.
pub(super) fn unknown_name<'a>(
    name: &Placed<String>,
    (key, section): (&str, &str),
    known: impl Iterator<Item = &'a str>,
    found: &mut Findings,
) {
    let message = format!("there is no [{section}.{}]", name.value.escape_debug());
    let problem = Problem::new(&name.at, key, message);
    found.errors.push(match nearest(&name.value, known) {
        Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
        None => problem,
    });
}
