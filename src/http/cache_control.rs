//! What Cache-Control fields say (RFC 9111 §5.2, RFC 5861, RFC 9213). Unknown directives are
//! ignored; one that cannot be read counts on the careful side.

use crate::http::{HeaderList, Known};

/// The largest number of seconds that is told apart (RFC 9111 §1.2.2).
pub const SECONDS_MAX: u32 = 2_147_483_648;

/// Cache-Control of a response, or of a request where the directive exists there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// Do not store.
    pub no_store: bool,
    /// Do not use without asking the origin.
    pub no_cache: bool,
    /// `no-cache="field, …"`: the fields named must not be used without asking the origin.
    pub no_cache_fields: bool,
    /// For one user only.
    pub private: bool,
    /// May be stored although something else speaks against it.
    pub public: bool,
    /// Never use stale.
    pub must_revalidate: bool,
    /// Shared caches never use stale.
    pub proxy_revalidate: bool,
    /// Store only if the status is understood; then `no-store` does not count.
    pub must_understand: bool,
    /// Do not change the content.
    pub no_transform: bool,
    /// (requests) Answer from the cache or not at all.
    pub only_if_cached: bool,
    /// Seconds a response is fresh; (requests) its greatest age.
    pub max_age: Option<u32>,
    /// The same for shared caches.
    pub s_maxage: Option<u32>,
    /// Seconds after the end of freshness in which it may be used while it is renewed.
    pub stale_while_revalidate: Option<u32>,
    /// The same where the origin fails.
    pub stale_if_error: Option<u32>,
    /// (requests) Seconds for which the response must still be fresh.
    pub min_fresh: Option<u32>,
    /// (requests) Seconds of staleness that are accepted; without a number, any.
    pub max_stale: Option<u32>,
}

impl CacheControl {
    /// Reads the Cache-Control fields of a message.
    #[must_use]
    pub fn of(headers: &HeaderList) -> Self {
        let mut control = Self::default();
        for value in headers.all(Known::CacheControl) {
            for (name, argument) in (Directives { rest: value }) {
                control.add(name, argument);
            }
        }
        control
    }

    /// Cache-Control of a response as a shared cache in front of an origin reads it:
    /// CDN-Cache-Control replaces it where there is one that is well-formed (RFC 9213 §2.2).
    #[must_use]
    pub fn of_response(headers: &HeaderList) -> Self {
        targeted(headers).unwrap_or_else(|| Self::of(headers))
    }

    /// Cache-Control of a request; `Pragma: no-cache` stands in where there is none
    /// (RFC 9111 §5.4).
    #[must_use]
    pub fn of_request(headers: &HeaderList) -> Self {
        let mut control = Self::of(headers);
        if !headers.contains(Known::CacheControl) && headers.contains(Known::Pragma) {
            let says_no_cache = |value: &[u8]| {
                Directives { rest: value }.any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"))
            };
            control.no_cache = headers.all(Known::Pragma).any(says_no_cache);
        }
        control
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let mut lower = [0; 24];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        match &*lower {
            b"no-store" => self.no_store = true,
            b"no-cache" if argument.is_some() => self.no_cache_fields = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-transform" => self.no_transform = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => fill(&mut self.max_age, seconds_or_zero(argument)),
            b"s-maxage" => fill(&mut self.s_maxage, seconds_or_zero(argument)),
            b"stale-while-revalidate" => {
                fill(&mut self.stale_while_revalidate, seconds_or_zero(argument));
            }
            b"stale-if-error" => fill(&mut self.stale_if_error, seconds_or_zero(argument)),
            b"min-fresh" => {
                // Unreadable here means that nothing is fresh enough.
                let wanted = argument.and_then(seconds).unwrap_or(SECONDS_MAX);
                fill(&mut self.min_fresh, wanted);
            }
            b"max-stale" => {
                let accepted = argument.map_or(SECONDS_MAX, |_| seconds_or_zero(argument));
                fill(&mut self.max_stale, accepted);
            }
            _ => {}
        }
    }
}

/// Calls `each` with the fields that `no-cache="…"` or `private="…"` name.
pub fn listed_fields(headers: &HeaderList, mut each: impl FnMut(&[u8])) {
    for value in headers.all(Known::CacheControl) {
        for (name, argument) in (Directives { rest: value }) {
            let lists =
                name.eq_ignore_ascii_case(b"no-cache") || name.eq_ignore_ascii_case(b"private");
            if let (true, Some(names)) = (lists, argument) {
                for name in names.split(|&byte| byte == b',') {
                    each(name.trim_ascii());
                }
            }
        }
    }
}

/// The first of several counts (RFC 9111 §4.2.1).
fn fill(place: &mut Option<u32>, seconds: u32) {
    place.get_or_insert(seconds);
}

/// What cannot be read makes the response stale at once (RFC 9111 §4.2.1).
fn seconds_or_zero(argument: Option<&[u8]>) -> u32 {
    argument.and_then(seconds).unwrap_or(0)
}

/// A number of seconds, capped (RFC 9111 §1.2.2). `None` if it is no plain number.
#[must_use]
pub fn seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u32, &digit: &u8| {
        let sum = sum.saturating_mul(10);
        sum.saturating_add(u32::from(digit - b'0')).min(SECONDS_MAX)
    };
    Some(text.iter().fold(0, add))
}

/// CDN-Cache-Control: a dictionary of structured fields (RFC 8941 §3.2). Its strict syntax is
/// the point: what is not well-formed does not count at all.
fn targeted(headers: &HeaderList) -> Option<CacheControl> {
    const NAME: &[u8] = b"cdn-cache-control";
    let mut control = CacheControl::default();
    let mut is_there = false;
    for (known, name, value) in headers.iter() {
        if known != Known::Other || !name.eq_ignore_ascii_case(NAME) {
            continue;
        }
        for member in value.split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            let (key, argument) = match member.iter().position(|&byte| byte == b'=') {
                Some(at) => (member.get(..at)?, Some(member.get(at + 1..)?)),
                None => (member, None),
            };
            let is_key_byte = |byte: &u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(byte)
            };
            let is_key = key
                .first()
                .is_some_and(|first| first.is_ascii_lowercase() || *first == b'*');
            if !is_key || !key.iter().all(is_key_byte) {
                return None;
            }
            match argument {
                None | Some(b"?1") => control.add(key, None),
                Some(b"?0") => {}
                // Delta-seconds are integers here; any other type makes the directive unknown.
                Some(number) if number.iter().all(u8::is_ascii_digit) => {
                    control.add(key, Some(number));
                }
                Some(_) if key.ends_with(b"age") => return None,
                Some(_) => {}
            }
            is_there = true;
        }
    }
    is_there.then_some(control)
}

/// Splits a field into directives. Arguments come without their quotes; a comma between quotes
/// does not separate.
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let skip = |byte: &u8| !matches!(byte, b',' | b' ' | b'\t');
            let start = self.rest.iter().position(skip)?;
            self.rest = self.rest.get(start..)?;
            let end = end_of_directive(self.rest);
            let directive = self.rest.get(..end)?.trim_ascii_end();
            self.rest = self.rest.get(end..)?;
            let Some(equals) = directive.iter().position(|&byte| byte == b'=') else {
                return Some((directive, None));
            };
            let (name, argument) = (directive.get(..equals)?, directive.get(equals + 1..)?);
            let argument = argument.strip_prefix(b"\"").map_or(argument, |quoted| {
                quoted.strip_suffix(b"\"").unwrap_or(quoted)
            });
            if !name.is_empty() {
                return Some((name, Some(argument)));
            }
        }
    }
}

/// Where the next comma outside quotes is.
fn end_of_directive(bytes: &[u8]) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return at,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn read(value: &str) -> CacheControl {
        CacheControl::of(&fields(&[("Cache-Control", value)]))
    }

    #[test]
    fn numbers_as_the_specification_reads_them() {
        for (value, max_age) in [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=2147483647", Some(2_147_483_647)),
            ("max-age=99999999999", Some(SECONDS_MAX)),
            ("max-age=1800, max-age=1", Some(1800)),
            ("max-age=-1", Some(0)),
            ("max-age='3600'", Some(0)),
            ("max-age=3600.5", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age =3600", None),
            ("extension=\"max-age=3600\", max-age=1", Some(1)),
            ("extension=\"a, max-age=3600", None),
            ("extension=\"a\\\", max-age=5\", max-age=7", Some(7)),
            ("", None),
            (",,,", None),
            ("=5", None),
        ] {
            assert_eq!(read(value).max_age, max_age, "{value}");
        }
    }

    #[test]
    fn flags_and_their_arguments() {
        let control = read("No-StOrE, private, no-cache=\"set-cookie\", must-revalidate");
        assert!(control.no_store && control.private && control.must_revalidate);
        assert!(control.no_cache_fields && !control.no_cache);
        let control = read("max-stale, min-fresh=x, only-if-cached");
        assert_eq!(control.max_stale, Some(SECONDS_MAX));
        assert_eq!(control.min_fresh, Some(SECONDS_MAX));
        assert!(control.only_if_cached);
        let mut listed = Vec::new();
        let headers = fields(&[("Cache-Control", "no-cache=\"a, b\", private=\"c\"")]);
        listed_fields(&headers, |name| listed.push(name.to_vec()));
        assert_eq!(listed, [b"a", b"b", b"c"]);
    }

    #[test]
    fn pragma_counts_only_alone() {
        let alone = fields(&[("Pragma", "no-cache")]);
        assert!(CacheControl::of_request(&alone).no_cache);
        let both = fields(&[("Pragma", "no-cache"), ("Cache-Control", "max-age=5")]);
        assert!(!CacheControl::of_request(&both).no_cache);
        assert!(!CacheControl::of_request(&fields(&[("Pragma", "other")])).no_cache);
    }

    #[test]
    fn a_targeted_field_replaces_the_general_one_if_it_is_well_formed() {
        for (targeted, max_age, no_store) in [
            ("max-age=10", Some(10), false),
            ("max-age=99999999999", Some(SECONDS_MAX), false),
            ("foobar, max-age=10", Some(10), false),
            ("no-store", None, true),
            // Not well-formed, so the general field counts.
            ("max-age=10000, &&&&&", None, true),
            ("max-age=\"10000\"", None, true),
            ("MaX-aGe=10", None, true),
            ("", None, true),
        ] {
            let headers = fields(&[
                ("CDN-Cache-Control", targeted),
                ("Cache-Control", "no-store"),
            ]);
            let control = CacheControl::of_response(&headers);
            assert_eq!(
                (control.max_age, control.no_store),
                (max_age, no_store),
                "{targeted}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(
            proptest::sample::select(b"max-age=0123456789,\" \t\\no-store=xyz".to_vec()), 0..64)
        ) {
            let mut list = HeaderList::new();
            list.push(b"Cache-Control", &bytes);
            list.push(b"CDN-Cache-Control", &bytes);
            let _ = CacheControl::of_response(&list);
            listed_fields(&list, |_| {});
        }
    }
}
