//! What a request hears that is one too many (RFC 6585 §4, RFC 9457, and the fields of
//! draft-ietf-httpapi-ratelimit-headers).

use core::fmt::Write as _;

use smallvec::SmallVec;

use crate::config::{ConnectionLimit, RateLimit};
use crate::filter::limit::Left;
use crate::http::{HeaderList, Known, Response};

/// Refuses a request that comes too early, `wait_ms` before it could pass.
pub(super) fn too_often(limit: &RateLimit, wait_ms: u64) -> Response {
    let seconds = wait_ms.div_ceil(1000).max(1);
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "more requests than the limit \"{}\" allows; try again in {seconds} s",
        limit.common.name
    );
    let mut response = Response::problem(limit.common.status, &text);
    let fields = &mut response.headers;
    fields.push_known(Known::CacheControl, b"no-store");
    text.clear();
    let _ = write!(text, "{seconds}");
    fields.push_known(Known::RetryAfter, text.as_bytes());
    let told = Told::new(limit);
    let whole_ms = u32::try_from(wait_ms).unwrap_or(u32::MAX).max(1);
    told.write(
        Left {
            requests: 0,
            whole_ms,
        },
        fields,
    );
    response
}

/// What responses tell about a rate limit.
#[derive(Debug)]
pub(super) struct Told {
    policy: String,
    /// Its name as an item with the parameter for what is left begun.
    begin: String,
}

impl Told {
    pub(super) fn new(limit: &RateLimit) -> Self {
        let name = token(&limit.common.name);
        Self {
            policy: format!("\"{name}\";q={};w={}", limit.requests, limit.seconds),
            begin: format!("\"{name}\";r="),
        }
    }

    pub(super) fn write(&self, left: Left, fields: &mut HeaderList) {
        let mut value: SmallVec<[u8; 64]> = SmallVec::from_slice(self.begin.as_bytes());
        let mut digits = itoa::Buffer::new();
        value.extend_from_slice(digits.format(left.requests).as_bytes());
        value.extend_from_slice(b";t=");
        let seconds = left.whole_ms.div_ceil(1000);
        value.extend_from_slice(digits.format(seconds).as_bytes());
        fields.push(b"RateLimit-Policy", self.policy.as_bytes());
        fields.push(b"RateLimit", &value);
    }
}

/// Refuses a request of a client with too many others under way.
pub(super) fn too_many(limit: &ConnectionLimit) -> Response {
    let text = format!(
        "more requests at once than the limit \"{}\" allows ({}); try again when one is answered",
        limit.common.name, limit.max
    );
    let mut response = Response::problem(limit.common.status, &text);
    response
        .headers
        .push_known(Known::CacheControl, b"no-store");
    response.headers.push_known(Known::RetryAfter, b"1");
    response
}

/// Refuses a request that cannot be counted (`on_error = "deny"`).
pub(super) fn uncounted() -> Response {
    let text = "the request's limits cannot be checked at the moment; try again in a second";
    let mut response = Response::problem(503, text);
    response
        .headers
        .push_known(Known::CacheControl, b"no-store");
    response.headers.push_known(Known::RetryAfter, b"1");
    response
}

/// The text as the inside of a quoted string of RFC 9651 §3.3.3.
fn token(name: &str) -> String {
    let is_plain = |c: &char| (' '..='~').contains(c) && !matches!(c, '"' | '\\');
    name.chars().filter(is_plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LimitKey, Limited, OnError};

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let limit = RateLimit {
            common: Limited {
                name: "api".into(),
                key: LimitKey::ClientIp { v6_prefix: 64 },
                status: 429,
                size: 1 << 20,
                dry_run: false,
                on_error: OnError::Allow,
            },
            requests: 6000,
            seconds: 60,
            burst: 50,
            undelayed: None,
            headers: true,
        };
        let response = too_often(&limit, 1001);
        let field = |name: &str| {
            let value = response.headers.get_by_name(name.as_bytes());
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        assert_eq!(response.status, 429);
        assert_eq!(field("Retry-After"), "2");
        assert_eq!(field("RateLimit-Policy"), "\"api\";q=6000;w=60");
        assert_eq!(field("RateLimit"), "\"api\";r=0;t=2");
        assert_eq!(field("Content-Type"), "application/problem+json");
        assert_eq!(token("a\"b\\c é"), "abc ");
    }
}
