//! Whether a response may be stored by a shared cache, how old it is and how long it stays fresh
//! (RFC 9111 §3, §4.2, §5.2). Pure arithmetic on seconds since the Unix epoch.

use crate::http::cache_control::{self, CacheControl, SECONDS_MAX};
use crate::http::{HeaderList, Known, ResponseHead, date};

/// Part of the time since the last change that a response without its own word is fresh for
/// (RFC 9111 §4.2.2).
const HEURISTIC_DIVISOR: u64 = 10;
/// The most that this may come to: one day.
const HEURISTIC_MAX: u64 = 86_400;

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// `no-store` in the request or the response.
    #[error("no-store")]
    NoStore,
    /// For one user only.
    #[error("private")]
    Private,
    /// The request had credentials, and the response does not say that others may see it.
    #[error("the request had credentials")]
    Credentials,
    /// A status with a meaning that the cache would have to know.
    #[error("the status does not allow it")]
    Status,
    /// Neither a lifetime nor a validator that would make it useful.
    #[error("nothing says how long it is fresh")]
    NoLifetime,
}

/// What the operator and the request add to a response's own word on storing it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// The request had credentials that are not told apart.
    pub with_credentials: bool,
    /// The operator gives a lifetime to responses without one (nginx: proxy_cache_valid).
    pub with_default: bool,
}

/// Whether a shared cache may store this response to a GET (RFC 9111 §3).
///
/// # Errors
/// The first reason against it.
pub fn storable(
    asked: &CacheControl,
    response: &ResponseHead,
    control: &CacheControl,
    circumstances: Circumstances,
) -> Result<(), NotStored> {
    let is_understood = is_understood(response.status);
    let forbids = control.no_store && !(control.must_understand && is_understood);
    if forbids || asked.no_store {
        return Err(NotStored::NoStore);
    }
    if matches!(response.status, 100..200 | 206 | 304) {
        return Err(NotStored::Status);
    }
    if control.must_understand && !is_understood {
        return Err(NotStored::Status);
    }
    if control.private {
        return Err(NotStored::Private);
    }
    let is_for_others = control.public || control.must_revalidate || control.s_maxage.is_some();
    if circumstances.with_credentials && !is_for_others {
        return Err(NotStored::Credentials);
    }
    let headers = &response.headers;
    let has_word = control.public
        || control.max_age.is_some()
        || control.s_maxage.is_some()
        || headers.contains(Known::Expires);
    if has_word || circumstances.with_default || is_heuristic(response.status) {
        Ok(())
    } else {
        Err(NotStored::NoLifetime)
    }
}

/// Statuses whose meaning for caches is known here (for `must-understand`).
fn is_understood(status: u16) -> bool {
    matches!(status, 302 | 303 | 307) || is_heuristic(status)
}

/// Statuses that may be stored without a word about it (RFC 9110 §15.1).
fn is_heuristic(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Age and lifetime of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When it came, in seconds since the Unix epoch.
    response_time: u64,
    /// Its age then, in seconds.
    initial_age: u64,
    /// Seconds it is fresh for, counted from age 0.
    lifetime: u64,
    /// Whether it must not be used stale whatever happens.
    never_stale: bool,
    /// Whether every use has to ask the origin.
    always_asks: bool,
    stale_while_revalidate: u64,
    stale_if_error: Option<u64>,
}

/// Whether a stored response may answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// As it is.
    Fresh,
    /// As it is, and it is to be renewed meanwhile.
    WhileRenewed,
    /// Only after the origin has said so.
    AfterValidation,
}

impl Freshness {
    /// Of a response that was asked for and came at these moments. `default_lifetime` is the
    /// operator's word for responses that say nothing.
    #[must_use]
    pub fn new(
        response: &ResponseHead,
        control: &CacheControl,
        (request_time, response_time): (u64, u64),
        default_lifetime: Option<u64>,
    ) -> Self {
        let headers = &response.headers;
        let dated = headers.get(Known::Date).and_then(date::parse_date);
        let apparent_age = dated.map_or(0, |dated| response_time.saturating_sub(dated));
        let delay = response_time.saturating_sub(request_time);
        let corrected_age = age_value(headers).unwrap_or(0).saturating_add(delay);
        let dated = dated.unwrap_or(response_time);
        let explicit = explicit_lifetime(headers, control, dated);
        let lifetime = explicit
            .or(default_lifetime)
            .or_else(|| heuristic_lifetime(response, control, dated))
            .unwrap_or(0);
        Self {
            response_time,
            initial_age: apparent_age.max(corrected_age),
            lifetime,
            never_stale: control.must_revalidate
                || control.proxy_revalidate
                || control.s_maxage.is_some()
                || control.no_cache,
            always_asks: control.no_cache,
            stale_while_revalidate: control.stale_while_revalidate.map_or(0, u64::from),
            stale_if_error: control.stale_if_error.map(u64::from),
        }
    }

    /// As numbers, to be written down.
    #[must_use]
    pub const fn numbers(&self) -> [u64; 6] {
        let flags = self.never_stale as u64 | (self.always_asks as u64) << 1;
        let stale_if_error = match self.stale_if_error {
            Some(seconds) => seconds,
            None => u64::MAX,
        };
        [
            self.response_time,
            self.initial_age,
            self.lifetime,
            flags,
            self.stale_while_revalidate,
            stale_if_error,
        ]
    }

    /// Of what was written down.
    #[must_use]
    pub const fn of_numbers(numbers: [u64; 6]) -> Self {
        let [
            response_time,
            initial_age,
            lifetime,
            flags,
            stale_while_revalidate,
            on_error,
        ] = numbers;
        Self {
            response_time,
            initial_age,
            lifetime,
            never_stale: flags & 1 != 0,
            always_asks: flags & 2 != 0,
            stale_while_revalidate,
            stale_if_error: if on_error == u64::MAX {
                None
            } else {
                Some(on_error)
            },
        }
    }

    /// Whether it could ever be used without asking the origin first, or after the origin failed.
    #[must_use]
    pub const fn is_ever_usable(&self) -> bool {
        let is_fresh_once = self.lifetime > self.initial_age && !self.always_asks;
        let is_used_stale = self.stale_while_revalidate > 0 || self.stale_if_error.is_some();
        is_fresh_once || (is_used_stale && !self.never_stale)
    }

    /// Whether it must not be used stale, whatever the operator says.
    #[must_use]
    pub const fn is_never_stale(&self) -> bool {
        self.never_stale
    }

    /// Whether it is fresh, whatever a request says.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        !self.always_asks && self.age(now) < self.lifetime
    }

    /// Seconds of age at `now` (RFC 9111 §4.2.3).
    #[must_use]
    pub fn age(&self, now: u64) -> u64 {
        let resident = now.saturating_sub(self.response_time);
        self.initial_age.saturating_add(resident)
    }

    /// Seconds for which it is still fresh; 0 once it is stale.
    #[must_use]
    pub fn remaining(&self, now: u64) -> u64 {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// Whether it may answer a request that asked so.
    #[must_use]
    pub fn usable(&self, asked: &CacheControl, now: u64) -> Usable {
        if self.always_asks || asked.no_cache {
            return Usable::AfterValidation;
        }
        let age = self.age(now);
        if asked.max_age.is_some_and(|most| age > u64::from(most)) {
            return Usable::AfterValidation;
        }
        if age < self.lifetime {
            let wanted = asked.min_fresh.map_or(0, u64::from);
            return if self.lifetime - age >= wanted.max(1) {
                Usable::Fresh
            } else {
                Usable::AfterValidation
            };
        }
        let stale = age - self.lifetime;
        if self.never_stale || asked.min_fresh.is_some() {
            Usable::AfterValidation
        } else if asked.max_stale.is_some_and(|most| stale <= u64::from(most)) {
            Usable::Fresh
        } else if stale < self.stale_while_revalidate {
            Usable::WhileRenewed
        } else {
            Usable::AfterValidation
        }
    }

    /// Whether it may be used although the origin failed: the response's own `stale-if-error`,
    /// or the operator's word for it (nginx: proxy_cache_use_stale).
    #[must_use]
    pub fn usable_on_error(&self, now: u64, is_allowed: bool) -> bool {
        if self.never_stale {
            return false;
        }
        let stale = self.age(now).saturating_sub(self.lifetime);
        let by_itself = self.stale_if_error.is_some_and(|most| stale <= most);
        by_itself || is_allowed
    }
}

/// The Age field: the first number counts, anything else is ignored (RFC 9111 §5.1).
fn age_value(headers: &HeaderList) -> Option<u64> {
    let value = headers.get(Known::Age)?;
    let first = value.split(|&byte| byte == b',').next()?;
    cache_control::seconds(first.trim_ascii()).map(u64::from)
}

/// What the response says itself: s-maxage, max-age, Expires (RFC 9111 §4.2.1).
fn explicit_lifetime(headers: &HeaderList, control: &CacheControl, dated: u64) -> Option<u64> {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(u64::from(seconds));
    }
    let expires = headers.get(Known::Expires)?;
    // Several of them, or one that is no date, mean the past (RFC 9111 §5.3).
    let is_single = headers.all(Known::Expires).count() == 1;
    let moment = date::parse_date(expires).filter(|_| is_single).unwrap_or(0);
    Some(moment.saturating_sub(dated).min(u64::from(SECONDS_MAX)))
}

fn heuristic_lifetime(response: &ResponseHead, control: &CacheControl, dated: u64) -> Option<u64> {
    if !is_heuristic(response.status) && !control.public {
        return None;
    }
    let changed = response.headers.get(Known::LastModified)?;
    let since = dated.saturating_sub(date::parse_date(changed)?);
    Some((since / HEURISTIC_DIVISOR).min(HEURISTIC_MAX))
}

#[cfg(test)]
mod tests;
