//! What the cache did with a request, for its log line, X-Cache-Status (nginx:
//! `$upstream_cache_status`) and Cache-Status (RFC 9211).

use crate::http::HeaderList;

/// What the cache did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from it, fresh.
    Hit,
    /// The server was asked: nothing was there.
    Miss,
    /// The server was asked: what was there was no longer fresh.
    Expired,
    /// Answered from it, no longer fresh, because the server failed.
    Stale,
    /// Answered from it, no longer fresh, while it is renewed.
    Updating,
    /// The server said that what was there still holds.
    Revalidated,
    /// The server was asked because the request does not want the cache.
    Bypass,
}

impl Outcome {
    /// nginx's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
            Self::Revalidated => "REVALIDATED",
            Self::Bypass => "BYPASS",
        }
    }

    /// RFC 9211 §2.2: why the request was forwarded; `None` for what was not.
    const fn forwarded(self) -> Option<&'static str> {
        match self {
            Self::Hit | Self::Updating => None,
            Self::Miss => Some("uri-miss"),
            Self::Expired | Self::Revalidated | Self::Stale => Some("stale"),
            Self::Bypass => Some("bypass"),
        }
    }
}

/// What a response tells about the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What it did.
    pub outcome: Outcome,
    /// Seconds for which the response is still fresh; negative if it is not.
    pub ttl: Option<i64>,
    /// What the server answered, if that is not the response's status.
    pub forward_status: Option<u16>,
    /// The response is kept now.
    pub is_stored: bool,
    /// The answer to another's request was used.
    pub is_collapsed: bool,
}

impl Account {
    /// Of that and no more.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            ttl: None,
            forward_status: None,
            is_stored: false,
            is_collapsed: false,
        }
    }

    /// Adds the fields. Cache-Status goes behind those of caches nearer to the server.
    pub fn add_to(&self, headers: &mut HeaderList) {
        headers.set(b"X-Cache-Status", self.outcome.name().as_bytes());
        let mut text = Vec::with_capacity(64);
        text.extend_from_slice(b"ringway");
        match self.outcome.forwarded() {
            None => text.extend_from_slice(b"; hit"),
            Some(why) => {
                text.extend_from_slice(b"; fwd=");
                text.extend_from_slice(why.as_bytes());
            }
        }
        let mut digits = itoa::Buffer::new();
        if let Some(status) = self.forward_status {
            text.extend_from_slice(b"; fwd-status=");
            text.extend_from_slice(digits.format(status).as_bytes());
        }
        if let Some(ttl) = self.ttl {
            text.extend_from_slice(b"; ttl=");
            text.extend_from_slice(digits.format(ttl).as_bytes());
        }
        if self.is_stored {
            text.extend_from_slice(b"; stored");
        }
        if self.is_collapsed {
            text.extend_from_slice(b"; collapsed");
        }
        headers.push(b"Cache-Status", &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_in_both_forms() {
        for (account, expected) in [
            (
                Account {
                    ttl: Some(30),
                    ..Account::of(Outcome::Hit)
                },
                "X-Cache-Status: HIT\r\nCache-Status: ringway; hit; ttl=30\r\n",
            ),
            (
                Account {
                    forward_status: Some(304),
                    is_collapsed: true,
                    ..Account::of(Outcome::Revalidated)
                },
                "X-Cache-Status: REVALIDATED\r\n\
                 Cache-Status: ringway; fwd=stale; fwd-status=304; collapsed\r\n",
            ),
            (
                Account {
                    is_stored: true,
                    ..Account::of(Outcome::Miss)
                },
                "X-Cache-Status: MISS\r\nCache-Status: ringway; fwd=uri-miss; stored\r\n",
            ),
        ] {
            let mut headers = HeaderList::new();
            account.add_to(&mut headers);
            assert_eq!(core::str::from_utf8(headers.wire()).unwrap(), expected);
        }
    }

    #[test]
    fn caches_nearer_to_the_server_come_first() {
        let mut headers = HeaderList::new();
        headers.push(b"X-Cache-Status", b"HIT");
        headers.push(b"Cache-Status", b"inner; hit");
        Account::of(Outcome::Bypass).add_to(&mut headers);
        assert_eq!(
            headers.wire(),
            b"Cache-Status: inner; hit\r\nX-Cache-Status: BYPASS\r\n\
              Cache-Status: ringway; fwd=bypass\r\n"
        );
    }
}
