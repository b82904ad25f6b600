//! Whether a kept response may answer a request as it is (RFC 9111 §4, RFC 5861; nginx:
//! proxy_cache_use_stale).

use super::entry::Draft;
use crate::config::{RouteCache, Stale};
use crate::http::cache_control::CacheControl;
use crate::http::freshness::Usable;
use crate::http::{Known, Method, RequestHead};

/// What becomes of a request that a kept response fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The response answers it.
    Use,
    /// The response answers it, and is renewed meanwhile.
    UseAndRenew,
    /// The server has to be asked.
    Ask,
}

/// Judges. `is_renewed` tells that the server is being asked already.
#[must_use]
pub fn judge(
    draft: &Draft,
    rules: &RouteCache,
    asked: &CacheControl,
    now: u64,
    is_renewed: bool,
) -> Verdict {
    let freshness = &draft.freshness;
    match freshness.usable(asked, now) {
        Usable::Fresh => Verdict::Use,
        Usable::WhileRenewed => Verdict::UseAndRenew,
        Usable::AfterValidation => {
            let may_be_stale = rules.use_stale.has(Stale::UPDATING)
                && !freshness.is_never_stale()
                // The client asked for something better than that.
                && *asked == CacheControl::default();
            if may_be_stale && (rules.background_update || is_renewed) {
                Verdict::UseAndRenew
            } else {
                Verdict::Ask
            }
        }
    }
}

/// Whether a kept response answers in place of a failure: of the server's status, or of none
/// (`error`, `timeout`).
#[must_use]
pub fn serves_failure(draft: &Draft, rules: &RouteCache, failure: Failure, now: u64) -> bool {
    let (allowed, is_error) = match failure {
        Failure::Error => (rules.use_stale.has(Stale::ERROR), true),
        Failure::Timeout => (rules.use_stale.has(Stale::TIMEOUT), true),
        Failure::Status(status) => (
            rules.use_stale.has(Stale::of_status(status)),
            // RFC 5861 §4
            matches!(status, 500 | 502 | 503 | 504),
        ),
    };
    (allowed || is_error) && draft.freshness.usable_on_error(now, allowed)
}

/// How a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be reached, or broke off.
    Error,
    /// It took too long.
    Timeout,
    /// It answered with that status.
    Status(u16),
}

/// What the cache has to do with a request, before it looks for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// It may be answered from the cache.
    Read,
    /// It goes to the server, and its answer may be kept.
    Refresh,
    /// It goes to the server as it is.
    Pass,
    /// It goes to the server as it is, and what is kept for its URI goes if that succeeds
    /// (RFC 9111 §4.4).
    Change,
    /// It removes what is kept.
    Purge,
}

/// Says which. `has_content` tells of a request body.
#[must_use]
pub fn concern(rules: &RouteCache, head: &RequestHead, has_content: bool) -> Concern {
    let is_read = match head.method {
        Method::Get => true,
        Method::Head => rules.head,
        Method::Options | Method::Trace | Method::Connect => return Concern::Pass,
        Method::Other if head.method_token() == "PURGE" && purges(rules) => {
            return Concern::Purge;
        }
        _ => return Concern::Change,
    };
    let headers = &head.headers;
    // Conditions on what the server has are not the cache's to check (RFC 9111 §4.3.2).
    let is_for_server = headers
        .contains_any(Known::IfMatch.bit() | Known::IfUnmodifiedSince.bit() | Known::Upgrade.bit());
    if !is_read || has_content || is_for_server {
        return Concern::Pass;
    }
    if super::key::holds(&rules.bypass, head) {
        // A part of it is not worth keeping.
        return if headers.contains(Known::Range) {
            Concern::Pass
        } else {
            Concern::Refresh
        };
    }
    Concern::Read
}

/// Whether anyone may purge.
fn purges(rules: &RouteCache) -> bool {
    !rules.purge.is_empty() || rules.purge_token.is_some()
}

/// Whether an answer to a request that changes something makes what is kept invalid.
#[must_use]
pub const fn invalidates(status: u16) -> bool {
    matches!(status, 200..=399)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::vary::Selecting;
    use crate::config::KeyPart;
    use crate::http::freshness::Freshness;
    use crate::http::{HeaderList, ResponseHead};

    fn draft(control: &str) -> Draft {
        let mut head = ResponseHead::default();
        head.headers.push(b"Cache-Control", control.as_bytes());
        let control = CacheControl::of(&head.headers);
        Draft {
            status: 200,
            freshness: Freshness::new(&head, &control, (0, 0), None),
            headers: HeaderList::new(),
            selecting: Selecting::default(),
        }
    }

    const PLAIN: &str = "max-age=10";

    #[test]
    fn stale_ones_are_used_where_they_may() {
        use Verdict::{Ask, Use, UseAndRenew};
        let plain = RouteCache::new(0);
        let updating = RouteCache {
            use_stale: Stale::UPDATING,
            ..RouteCache::new(0)
        };
        let background = RouteCache {
            background_update: true,
            ..updating.clone()
        };
        for (control, rules, now, is_renewed, expected) in [
            (PLAIN, &plain, 9, false, Use),
            (PLAIN, &plain, 10, true, Ask),
            (PLAIN, &updating, 10, false, Ask),
            (PLAIN, &updating, 10, true, UseAndRenew),
            (PLAIN, &background, 10, false, UseAndRenew),
            ("max-age=10, must-revalidate", &background, 10, true, Ask),
            ("s-maxage=10", &background, 10, true, Ask),
            ("no-cache, max-age=10", &background, 1, true, Ask),
            (
                "max-age=10, stale-while-revalidate=5",
                &plain,
                14,
                false,
                UseAndRenew,
            ),
            (
                "max-age=10, stale-while-revalidate=5",
                &plain,
                15,
                false,
                Ask,
            ),
        ] {
            let asked = CacheControl::default();
            let verdict = judge(&draft(control), rules, &asked, now, is_renewed);
            assert_eq!(verdict, expected, "{control} at {now}");
        }
        let asked = CacheControl {
            no_cache: true,
            ..CacheControl::default()
        };
        assert_eq!(judge(&draft(PLAIN), &background, &asked, 1, true), Ask);
    }

    #[test]
    fn failures_are_hidden_where_they_may() {
        let with = |use_stale| RouteCache {
            use_stale,
            ..RouteCache::new(0)
        };
        let none = Stale::default();
        let sie = "max-age=10, stale-if-error=5";
        for (control, use_stale, failure, now, expected) in [
            (PLAIN, none, Failure::Error, 20, false),
            (PLAIN, Stale::ERROR, Failure::Error, 20, true),
            (PLAIN, Stale::ERROR, Failure::Timeout, 20, false),
            (PLAIN, Stale::TIMEOUT, Failure::Timeout, 20, true),
            (PLAIN, Stale::of_status(503), Failure::Status(503), 20, true),
            (
                PLAIN,
                Stale::of_status(503),
                Failure::Status(500),
                20,
                false,
            ),
            (sie, none, Failure::Error, 15, true),
            (sie, none, Failure::Status(503), 15, true),
            (sie, none, Failure::Status(404), 15, false),
            (sie, none, Failure::Error, 16, false),
            (
                "max-age=10, must-revalidate",
                Stale::ERROR,
                Failure::Error,
                20,
                false,
            ),
        ] {
            let rules = with(use_stale);
            let serves = serves_failure(&draft(control), &rules, failure, now);
            assert_eq!(serves, expected, "{control} {failure:?} at {now}");
        }
    }

    #[test]
    fn which_requests_concern_the_cache() {
        let mut rules = RouteCache::new(0);
        rules.bypass = vec![KeyPart::Header("X-Fresh".into())];
        let ask = |rules: &RouteCache, method: &str, field: &str| {
            let mut head = RequestHead::default();
            head.set_target(method, "/x").unwrap();
            if !field.is_empty() {
                head.headers.push(field.as_bytes(), b"1");
            }
            concern(rules, &head, false)
        };
        for (method, field, expected) in [
            ("GET", "", Concern::Read),
            ("HEAD", "", Concern::Read),
            ("GET", "X-Fresh", Concern::Refresh),
            ("GET", "If-Match", Concern::Pass),
            ("GET", "Upgrade", Concern::Pass),
            ("GET", "Range", Concern::Read),
            ("OPTIONS", "", Concern::Pass),
            ("POST", "", Concern::Change),
            ("M-SEARCH", "", Concern::Change),
            ("PURGE", "", Concern::Change),
        ] {
            assert_eq!(ask(&rules, method, field), expected, "{method} {field}");
        }
        rules.head = false;
        assert_eq!(ask(&rules, "HEAD", ""), Concern::Pass);
        rules.purge = vec!["127.0.0.0/8".parse().unwrap()];
        assert_eq!(ask(&rules, "PURGE", ""), Concern::Purge);
    }
}
