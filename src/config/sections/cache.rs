//! `[cache.NAME]`, where responses of servers behind are kept, and `[route.cache]`, which of them
//! and for how long. nginx: proxy_cache_path and the proxy_cache_* directives.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Around;
use super::access::{RawNetwork, networks};
use super::cache_parts::{RawPart, RawStatus, Statuses};
use super::limit::{missing, unknown_name};
use crate::base::network::Network;
use crate::config::kinds::{Count, Period, Size, words};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Hidden, Map, Placed, section};
use crate::config::redact::HIDDEN;
use crate::config::units::{DAY_MS, GIB, HOUR_MS, to_usize};

pub use super::cache_parts::KeyPart;

section! {
    /// Where responses are kept. nginx: proxy_cache_path.
    RawCache {
        /// Memory for responses, on all shards together.
        memory: Size<1_048_576, { 4096 * GIB }>,
        /// A folder for what does not fit; what is in it survives a restart.
        path: Placed<String>,
        /// The most that the folder may hold.
        max_size: Placed<Size<1_048_576, { 1 << 50 }>>,
        /// What nobody has asked for in that time is forgotten.
        inactive: Period<1_000, { 3650 * DAY_MS }>,
        /// Larger responses are passed on and not kept.
        max_object_size: Size<1_024, { 16 * GIB }>,
    }
}

section! {
    /// Which responses of this route are kept, and what they are used for. nginx: proxy_cache
    /// and its kin.
    RawRouteCache {
        /// Which [cache.NAME].
        zone: Placed<String>,
        /// What tells responses apart: "scheme", "host", "uri" (path and query), "path",
        /// "query", "header:NAME", "cookie:NAME". Requests of one upstream whose parts are the
        /// same share a response.
        key: Vec<RawPart>,
        /// How long responses are fresh that do not say so themselves, by status:
        /// { 200 = "1m", 404 = "10s", any = "1s" }.
        valid: Map<Period<0, { 3650 * DAY_MS }>>,
        /// When a response that is no longer fresh may be used: "error", "timeout",
        /// "updating", or a status that the server answers ("500", "502", "503", "504", "403",
        /// "404", "429").
        use_stale: Vec<RawStale>,
        /// With "updating" in use_stale: renew beside the request, which gets the stale response.
        background_update: bool,
        /// Whether of many requests for what is not there only one asks the server and the
        /// others wait for its answer.
        lock: bool,
        /// How long a request waits for the answer to another; then it asks for itself.
        lock_timeout: Period<1, HOUR_MS>,
        /// Methods whose answers are kept: "GET", "HEAD". HEAD is answered from GET.
        methods: Vec<MethodWord>,
        /// Requests that are not answered from the cache: "header:NAME", "cookie:NAME" or
        /// "query:NAME", where that is there, not empty and not "0".
        bypass: Vec<RawPart>,
        /// Requests whose answers are not kept; the same forms.
        no_cache: Vec<RawPart>,
        /// From the how-manieth request on a response is kept.
        min_uses: Count<1, 255>,
        /// Networks that may remove responses with PURGE.
        purge: Vec<RawNetwork>,
        /// A bearer token that lets anyone remove responses with PURGE.
        purge_token: Hidden,
        /// Keep the answers to requests with Authorization although they do not allow it: only
        /// for content that is the same for all.
        share_authorized: bool,
        /// Fields of responses that do not count: "Cache-Control", "Expires",
        /// "X-Accel-Expires", "Vary", "Set-Cookie" (which is then left out of what is kept).
        ignore: Vec<IgnoreWord>,
        /// Whether a client's Cache-Control counts (no-cache, max-age, only-if-cached …).
        client_control: bool,
        /// Whether responses have X-Cache-Status and Cache-Status (RFC 9211).
        status_headers: bool,
    }
}

words! {
    /// `methods`
    MethodWord(CachedMethod) {
        "get" => CachedMethod::Get,
        "head" => CachedMethod::Head,
    }
}

words! {
    /// `ignore`
    IgnoreWord(Ignored) {
        "cache-control" => Ignored::CACHE_CONTROL,
        "expires" => Ignored::EXPIRES,
        "x-accel-expires" => Ignored::X_ACCEL_EXPIRES,
        "vary" => Ignored::VARY,
        "set-cookie" => Ignored::SET_COOKIE,
    }
}

words! {
    /// `use_stale`
    RawStale(Stale) {
        "error" => Stale::ERROR,
        "timeout" => Stale::TIMEOUT,
        "updating" => Stale::UPDATING,
        "500" | "http_500" => Stale::S500,
        "502" | "http_502" => Stale::S502,
        "503" | "http_503" => Stale::S503,
        "504" | "http_504" => Stale::S504,
        "403" | "http_403" => Stale::S403,
        "404" | "http_404" => Stale::S404,
        "429" | "http_429" => Stale::S429,
    }
}

/// A method whose answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method of that name")]
pub enum CachedMethod {
    Get,
    Head,
}

/// A set of reasons to use what is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale(u16);

impl Stale {
    /// The server cannot be reached, or breaks off.
    pub const ERROR: Self = Self(1);
    /// It takes too long.
    pub const TIMEOUT: Self = Self(2);
    /// It is being asked.
    pub const UPDATING: Self = Self(4);
    const S500: Self = Self(8);
    const S502: Self = Self(16);
    const S503: Self = Self(32);
    const S504: Self = Self(64);
    const S403: Self = Self(128);
    const S404: Self = Self(256);
    const S429: Self = Self(512);

    /// Whether the other is in this one.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        other.0 != 0 && self.0 & other.0 == other.0
    }

    /// The reason that a status is, if it is one.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            500 => Self::S500,
            502 => Self::S502,
            503 => Self::S503,
            504 => Self::S504,
            403 => Self::S403,
            404 => Self::S404,
            429 => Self::S429,
            _ => Self(0),
        }
    }
}

/// A set of response fields that do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored(u8);

impl Ignored {
    /// Cache-Control
    pub const CACHE_CONTROL: Self = Self(1);
    /// Expires
    pub const EXPIRES: Self = Self(2);
    /// X-Accel-Expires
    pub const X_ACCEL_EXPIRES: Self = Self(4);
    /// Vary
    pub const VARY: Self = Self(8);
    /// Set-Cookie
    pub const SET_COOKIE: Self = Self(16);

    /// Whether the other is in this one.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// `[cache.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// NAME.
    pub name: Arc<str>,
    /// Bytes of memory, on all shards together.
    pub memory: usize,
    /// The folder and what it may hold, in bytes.
    pub disk: Option<CacheDisk>,
    /// What is not asked for in that time goes.
    pub inactive: Duration,
    /// Larger content is not kept, in bytes.
    pub max_object_size: usize,
}

/// The folder of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDisk {
    /// Where it is.
    pub path: PathBuf,
    /// What it may hold, in bytes.
    pub max_size: u64,
}

/// `[route.cache]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCache {
    /// Place in [`Config::caches`](crate::config::Config::caches).
    pub zone: u16,
    /// Name of the upstream, which is a part of every key.
    pub upstream: Arc<str>,
    /// What tells responses apart, besides the upstream.
    pub key: Vec<KeyPart>,
    /// How long responses without their own word are fresh.
    pub valid: Statuses,
    /// When stale ones may be used.
    pub use_stale: Stale,
    /// Renew beside the request.
    pub background_update: bool,
    /// One request asks, the others wait.
    pub lock: bool,
    /// How long they wait.
    pub lock_timeout: Duration,
    /// Whether HEAD is answered from the cache.
    pub head: bool,
    /// Requests that are not answered from the cache.
    pub bypass: Vec<KeyPart>,
    /// Requests whose answers are not kept.
    pub no_cache: Vec<KeyPart>,
    /// From the how-manieth request on a response is kept.
    pub min_uses: u8,
    /// Who may purge.
    pub purge: Vec<Network>,
    /// The token that lets anyone purge.
    pub purge_token: Option<PurgeToken>,
    /// Answers to requests with Authorization are for all.
    pub share_authorized: bool,
    /// Fields of responses that do not count.
    pub ignore: Ignored,
    /// Whether a client's Cache-Control counts.
    pub client_control: bool,
    /// Whether responses tell what the cache did.
    pub status_headers: bool,
}

/// A token; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PurgeToken(pub Arc<str>);

impl core::fmt::Debug for PurgeToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(HIDDEN)
    }
}

const MEMORY: usize = 64 << 20;
const MAX_SIZE: u64 = 1 << 30;
const INACTIVE: Duration = Duration::from_secs(600);
const MAX_OBJECT_SIZE: usize = 8 << 20;
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

impl RouteCache {
    /// What holds where nothing is said.
    #[must_use]
    pub fn new(zone: u16) -> Self {
        Self {
            zone,
            upstream: Arc::from(""),
            key: vec![KeyPart::Scheme, KeyPart::Host, KeyPart::Uri],
            valid: Statuses::default(),
            use_stale: Stale::default(),
            background_update: false,
            lock: true,
            lock_timeout: LOCK_TIMEOUT,
            head: true,
            bypass: Vec::new(),
            no_cache: Vec::new(),
            min_uses: 1,
            purge: Vec::new(),
            purge_token: None,
            share_authorized: false,
            ignore: Ignored::default(),
            client_control: true,
            status_headers: true,
        }
    }
}

/// The caches.
pub(super) fn resolve(raw: Map<RawCache>, around: &Around<'_>, found: &mut Findings) -> Vec<Cache> {
    let mut caches: Vec<Cache> = Vec::new();
    for (name, raw) in raw.0 {
        let memory = raw.memory.map_or(MEMORY, |size| to_usize(size.0));
        let disk = disk(&name.value, (raw.path, raw.max_size), around, found);
        let same_folder = |other: &Cache| {
            let paths = (disk.as_ref(), other.disk.as_ref());
            matches!(paths, (Some(one), Some(other)) if one.path == other.path)
        };
        if caches.iter().any(same_folder) {
            let message = "two caches in one folder";
            let key = format!("cache.{}.path", name.value);
            found.errors.push(Problem::new(&name.at, &key, message));
        }
        caches.push(Cache {
            name: name.value.into(),
            memory,
            disk,
            inactive: raw.inactive.map_or(INACTIVE, |period| period.0),
            max_object_size: raw
                .max_object_size
                .map_or(MAX_OBJECT_SIZE, |size| to_usize(size.0)),
        });
    }
    caches
}

type RawMaxSize = Size<1_048_576, { 1 << 50 }>;

fn disk(
    name: &str,
    (path, max_size): (Option<Placed<String>>, Option<Placed<RawMaxSize>>),
    around: &Around<'_>,
    found: &mut Findings,
) -> Option<CacheDisk> {
    let key = |key: &str| format!("cache.{name}.{key}");
    match (path, max_size) {
        (Some(path), max_size) => {
            let max_size = max_size.map_or(MAX_SIZE, |size| size.value.0);
            let full = around.path(&path.value);
            if full.exists() && !full.is_dir() {
                let message = format!("{} is not a folder", full.display());
                let problem = Problem::new(&path.at, &key("path"), message);
                found.errors.push(problem);
            }
            Some(CacheDisk {
                path: full,
                max_size,
            })
        }
        (None, Some(max_size)) => {
            let message = "max_size is the bound of a folder, and there is none";
            let problem = Problem::new(&max_size.at, &key("max_size"), message);
            let hint = "add `path = \"…\"`, or write `memory` for the memory";
            found.errors.push(problem.hint(hint));
            None
        }
        (None, None) => None,
    }
}

/// What a route says about caching. `at` is its path's place.
pub(super) fn resolve_route(
    raw: RawRouteCache,
    (at, upstream): (&Placed<String>, &str),
    caches: &[Cache],
    found: &mut Findings,
) -> Option<RouteCache> {
    let Some(zone) = raw.zone else {
        missing(
            at,
            "route",
            "cache.zone",
            "zone = \"NAME\" of a [cache.NAME]",
            found,
        );
        return None;
    };
    let names = caches.iter().map(|cache| &*cache.name);
    let Some(place) = names.clone().position(|name| name == zone.value) else {
        unknown_name(&zone, ("route.cache.zone", "cache"), names, found);
        return None;
    };
    let plain = RouteCache::new(u16::try_from(place).unwrap_or(u16::MAX));
    let valid = RawStatus::statuses(raw.valid, found);
    let key = RawPart::key(raw.key, at, found);
    let methods = raw.methods.unwrap_or_default();
    let set = raw.ignore.unwrap_or_default();
    let stale = raw.use_stale.unwrap_or_default();
    Some(RouteCache {
        upstream: upstream.into(),
        key: key.unwrap_or(plain.key),
        valid,
        use_stale: stale
            .iter()
            .fold(Stale(0), |all, one| Stale(all.0 | one.0.0)),
        background_update: raw.background_update.unwrap_or(false),
        lock: raw.lock.unwrap_or(true),
        lock_timeout: raw.lock_timeout.map_or(LOCK_TIMEOUT, |period| period.0),
        head: methods.is_empty() || methods.iter().any(|word| word.0 == CachedMethod::Head),
        bypass: RawPart::conditions(raw.bypass, ("bypass", at), found),
        no_cache: RawPart::conditions(raw.no_cache, ("no_cache", at), found),
        min_uses: raw.min_uses.map_or(1, |count| count.0 as u8),
        purge: networks(raw.purge),
        purge_token: raw.purge_token.map(|token| PurgeToken(token.0.into())),
        share_authorized: raw.share_authorized.unwrap_or(false),
        ignore: set.iter().fold(Ignored(0), |all, one| all.with(one.0)),
        client_control: raw.client_control.unwrap_or(true),
        status_headers: raw.status_headers.unwrap_or(true),
        ..plain
    })
}
