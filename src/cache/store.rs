//! From a server's response to what is kept of it: may it be (RFC 9111 §3), for whom, how long;
//! and what a 304 changes (§3.2, §4.3.4).

use super::entry::Draft;
use super::vary::{Selecting, Unselectable};
use crate::config::{Ignored, RouteCache};
use crate::http::cache_control::{self, CacheControl};
use crate::http::freshness::{self, Circumstances, Freshness, NotStored};
use crate::http::{HeaderList, Known, ResponseHead};

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// RFC 9111 speaks against it.
    #[error("{0}")]
    Rules(#[from] NotStored),
    /// It is for one client: it sets a cookie and does not say that it is for all.
    #[error("it sets a cookie")]
    Cookie,
    /// `Vary: *`.
    #[error("no other request may have it (Vary: *)")]
    Unselectable,
    /// It would never be used.
    #[error("it is stale already")]
    Useless,
    /// The operator said so (`no_cache`).
    #[error("the route says so")]
    Operator,
}

/// The request that a response answers, as far as keeping it goes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The client's fields.
    pub headers: &'a HeaderList,
    /// Its Cache-Control, if that counts.
    pub control: &'a CacheControl,
    /// Whether the key tells credentials apart.
    pub tells_credentials: bool,
    /// When the server was asked and when it answered, in seconds since the Unix epoch.
    pub times: (u64, u64),
}

/// What is kept of a response to a GET.
///
/// # Errors
/// Why nothing is.
pub fn draft(
    rules: &RouteCache,
    asked: &Asked<'_>,
    response: ResponseHead,
) -> Result<Draft, NotKept> {
    let mut response = response;
    let ignores = |field| rules.ignore.has(field);
    if ignores(Ignored::EXPIRES) {
        response.headers.remove(Known::Expires);
    }
    let control = control(rules, &response.headers);
    let valid = rules
        .valid
        .of(response.status)
        .map(|period| period.as_secs());
    let own_clients = rules.share_authorized || asked.tells_credentials;
    let circumstances = Circumstances {
        with_credentials: asked.headers.contains(Known::Authorization) && !own_clients,
        with_default: valid.is_some_and(|seconds| seconds > 0),
    };
    freshness::storable(asked.control, &response, &control, circumstances)?;
    if response.headers.contains(Known::SetCookie) {
        let is_for_all = control.public || control.s_maxage.is_some();
        if ignores(Ignored::SET_COOKIE) {
            response.headers.remove(Known::SetCookie);
        } else if !is_for_all {
            return Err(NotKept::Cookie);
        }
    }
    let selecting = if ignores(Ignored::VARY) {
        Selecting::default()
    } else {
        let selecting = Selecting::of(&response.headers, asked.headers);
        selecting.map_err(|Unselectable| NotKept::Unselectable)?
    };
    let freshness = Freshness::new(&response, &control, asked.times, valid);
    let ResponseHead {
        status, headers, ..
    } = response;
    let draft = Draft {
        status,
        headers: kept_fields(headers),
        selecting,
        freshness,
    };
    if freshness.is_ever_usable() || draft.has_validator() {
        Ok(draft)
    } else {
        Err(NotKept::Useless)
    }
}

/// What a response says about itself, as far as it counts here.
fn control(rules: &RouteCache, headers: &HeaderList) -> CacheControl {
    let mut control = if rules.ignore.has(Ignored::CACHE_CONTROL) {
        CacheControl::default()
    } else {
        CacheControl::of_response(headers)
    };
    if !rules.ignore.has(Ignored::X_ACCEL_EXPIRES)
        && let Some(value) = headers.get_by_name(b"X-Accel-Expires")
    {
        // nginx's own word for its cache; a moment (`@…`) is seldom written and left alone.
        match cache_control::seconds(value) {
            Some(0) => control.no_store = true,
            Some(seconds) => (control.max_age, control.s_maxage) = (Some(seconds), None),
            None => {}
        }
    }
    control
}

/// The fields that are kept: not those that were about the connection, nor those that the cache
/// makes anew, nor those that `no-cache="…"` keeps for the first client.
fn kept_fields(headers: HeaderList) -> HeaderList {
    let mut named: Vec<Vec<u8>> = Vec::new();
    if headers.contains(Known::CacheControl) {
        cache_control::listed_fields(&headers, |name| named.push(name.to_vec()));
    }
    if headers.contains(Known::Connection) {
        let options = headers.all(Known::Connection);
        let options = options.flat_map(|value| value.split(|&byte| byte == b','));
        named.extend(options.map(|name| name.trim_ascii().to_vec()));
    }
    let mut headers = headers;
    headers.retain(|known, name, _| {
        let is_own = matches!(known, Known::Age | Known::ContentLength);
        let is_internal = known == Known::Other && name.eq_ignore_ascii_case(b"X-Accel-Expires");
        !is_own
            && !is_internal
            && !known.is_hop_by_hop()
            && !named.iter().any(|named| named.eq_ignore_ascii_case(name))
    });
    headers
}

/// What a 304 makes of the response that it says still holds.
///
/// # Errors
/// Why that is not kept any more. It answers this request all the same.
pub fn renew(
    rules: &RouteCache,
    asked: &Asked<'_>,
    old: &Draft,
    not_modified: &ResponseHead,
) -> (Draft, Result<(), NotKept>) {
    let merged = ResponseHead {
        status: old.status,
        version: not_modified.version,
        headers: merge(&old.headers, &not_modified.headers),
    };
    match draft(rules, asked, merged.clone()) {
        Ok(draft) => (draft, Ok(())),
        Err(reason) => {
            let draft = Draft {
                headers: kept_fields(merged.headers),
                ..old.clone()
            };
            (draft, Err(reason))
        }
    }
}

/// Fields of the 304 replace those of the same name (RFC 9111 §3.2), but for those that tell of
/// content that a 304 does not have.
fn merge(old: &HeaderList, new: &HeaderList) -> HeaderList {
    let stays = |known: Known| {
        known.is_hop_by_hop()
            || matches!(
                known,
                Known::ContentLength | Known::ContentEncoding | Known::ContentRange
            )
    };
    let mut merged = old.clone();
    merged.retain(|known, name, _| {
        stays(known)
            || match known {
                // Says nothing about the old one's age if the new one has none.
                Known::Age => false,
                Known::Other => new.get_by_name(name).is_none(),
                known => !new.contains(known),
            }
    });
    for (known, name, value) in new.iter() {
        if !stays(known) {
            merged.push(name, value);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Statuses;

    fn list(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn head(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
        ResponseHead {
            status,
            headers: list(fields),
            ..ResponseHead::default()
        }
    }

    fn kept(
        rules: &RouteCache,
        request: &[(&str, &str)],
        response: &[(&str, &str)],
    ) -> Result<Draft, NotKept> {
        let asked = Asked {
            headers: &list(request),
            control: &CacheControl::default(),
            tells_credentials: false,
            times: (1000, 1000),
        };
        draft(rules, &asked, head(200, response))
    }

    fn minute() -> RouteCache {
        RouteCache {
            valid: Statuses::new(vec![(200, Duration::from_secs(60))], None),
            ..RouteCache::new(0)
        }
    }

    const ALICE: (&str, &str) = ("Authorization", "Bearer alice");

    #[test]
    fn what_is_alices_stays_alices() {
        let rules = minute();
        let credentials = Err(NotKept::Rules(NotStored::Credentials));
        for (control, expected) in [
            ("", credentials),
            ("max-age=60", credentials),
            ("private", Err(NotKept::Rules(NotStored::Private))),
            ("public", Ok(())),
            ("s-maxage=60", Ok(())),
            ("max-age=60, must-revalidate", Ok(())),
        ] {
            let result = kept(&rules, &[ALICE], &[("Cache-Control", control)]);
            assert_eq!(result.map(|_| ()), expected, "{control}");
        }
        let shared = RouteCache {
            share_authorized: true,
            ..minute()
        };
        assert!(kept(&shared, &[ALICE], &[]).is_ok());
    }

    #[test]
    fn cookies_are_not_handed_on() {
        let cookie = ("Set-Cookie", "id=alice");
        assert_eq!(kept(&minute(), &[], &[cookie]), Err(NotKept::Cookie));
        let aged = [cookie, ("Cache-Control", "max-age=60")];
        assert_eq!(kept(&minute(), &[], &aged), Err(NotKept::Cookie));
        let public = [cookie, ("Cache-Control", "public, max-age=60")];
        let draft = kept(&minute(), &[], &public).unwrap();
        assert!(draft.headers.contains(Known::SetCookie));
        let listed = [cookie, ("Cache-Control", "public, no-cache=\"Set-Cookie\"")];
        let draft = kept(&minute(), &[], &listed).unwrap();
        assert!(!draft.headers.contains(Known::SetCookie));
        let rules = RouteCache {
            ignore: Ignored::SET_COOKIE,
            ..minute()
        };
        let draft = kept(&rules, &[], &[cookie]).unwrap();
        assert!(!draft.headers.contains(Known::SetCookie));
    }

    #[test]
    fn the_responses_word_outweighs_the_operators() {
        for (fields, remaining) in [
            (&[][..], 60),
            (&[("Cache-Control", "max-age=5")][..], 5),
            (&[("X-Accel-Expires", "7")], 7),
            (
                &[("X-Accel-Expires", "7"), ("Cache-Control", "max-age=5")],
                7,
            ),
            (&[("Age", "20")], 40),
        ] {
            let draft = kept(&minute(), &[], fields).unwrap();
            assert_eq!(draft.freshness.remaining(1000), remaining, "{fields:?}");
            assert_eq!(draft.headers.get_by_name(b"X-Accel-Expires"), None);
        }
        let zero = kept(&minute(), &[], &[("X-Accel-Expires", "0")]);
        assert_eq!(zero, Err(NotKept::Rules(NotStored::NoStore)));
        let old = kept(&minute(), &[], &[("Cache-Control", "max-age=0")]);
        assert_eq!(old, Err(NotKept::Useless));
        let asks = [("Cache-Control", "no-cache"), ("ETag", "\"a\"")];
        assert!(kept(&minute(), &[], &asks).is_ok());
    }

    #[test]
    fn ignored_fields_do_not_count() {
        let ignoring = |ignore| RouteCache { ignore, ..minute() };
        let private = [("Cache-Control", "private, max-age=5")];
        let draft = kept(&ignoring(Ignored::CACHE_CONTROL), &[], &private).unwrap();
        assert_eq!(draft.freshness.remaining(1000), 60);
        let past = [("Expires", "0")];
        let draft = kept(&ignoring(Ignored::EXPIRES), &[], &past).unwrap();
        assert_eq!(draft.freshness.remaining(1000), 60);
        let star = [("Vary", "*")];
        assert_eq!(kept(&minute(), &[], &star), Err(NotKept::Unselectable));
        assert!(
            kept(&ignoring(Ignored::VARY), &[], &star)
                .unwrap()
                .selecting
                .is_empty()
        );
    }

    #[test]
    fn fields_of_the_connection_are_not_kept() {
        let fields = [
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("Content-Length", "7"),
            ("Age", "1"),
            ("X-A", "1"),
        ];
        let draft = kept(&minute(), &[], &fields).unwrap();
        assert_eq!(draft.headers.wire(), b"X-A: 1\r\n");
    }

    #[test]
    fn a_304_renews_what_it_names() {
        let old = kept(
            &minute(),
            &[],
            &[
                ("ETag", "\"a\""),
                ("X-A", "1"),
                ("X-A", "2"),
                ("X-B", "1"),
                ("Content-Encoding", "gzip"),
                ("Cache-Control", "max-age=1"),
            ],
        )
        .unwrap();
        let asked = Asked {
            headers: &list(&[]),
            control: &CacheControl::default(),
            tells_credentials: false,
            times: (2000, 2000),
        };
        let fields = [
            ("X-A", "3"),
            ("Content-Encoding", "br"),
            ("Content-Length", "0"),
            ("Cache-Control", "max-age=9"),
        ];
        let (draft, result) = renew(&minute(), &asked, &old, &head(304, &fields));
        assert_eq!(result, Ok(()));
        assert_eq!(
            draft.headers.wire(),
            b"ETag: \"a\"\r\nX-B: 1\r\nContent-Encoding: gzip\r\nX-A: 3\r\n\
              Cache-Control: max-age=9\r\n"
        );
        assert_eq!(draft.freshness.remaining(2000), 9);
        let (_, result) = renew(
            &minute(),
            &asked,
            &old,
            &head(304, &[("Cache-Control", "no-store")]),
        );
        assert_eq!(result, Err(NotKept::Rules(NotStored::NoStore)));
    }
}
