//! What tells responses apart before Vary does: the parts of a request that the operator chose
//! (nginx: proxy_cache_key), and conditions on requests made of the same parts.

use crate::config::KeyPart;
use crate::http::{HeaderList, Known, RequestHead};

/// Ends each part; no part can hold it.
const END: u8 = 0;

/// Writes the keys of one route.
#[derive(Clone, Copy, Debug)]
pub struct KeyTemplate<'a> {
    /// The upstream: two of them may have the same paths.
    pub upstream: &'a str,
    /// What tells its responses apart.
    pub parts: &'a [KeyPart],
}

impl KeyTemplate<'_> {
    /// Appends the key of a request. `is_secure` is its scheme.
    pub fn write(&self, head: &RequestHead, is_secure: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(self.upstream.as_bytes());
        out.push(END);
        for part in self.parts {
            match part {
                KeyPart::Scheme if is_secure => out.extend_from_slice(b"https"),
                KeyPart::Scheme => out.extend_from_slice(b"http"),
                KeyPart::Host => host(head, out),
                KeyPart::Uri => out.extend_from_slice(head.path_and_query().as_bytes()),
                KeyPart::Path => out.extend_from_slice(head.route_path_bytes()),
                KeyPart::Query => out.extend_from_slice(head.query().as_bytes()),
                KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Argument(_) => {
                    values(part, head, |value| {
                        out.extend_from_slice(value);
                        // A field's line break: two fields are not one with a comma.
                        out.push(b'\n');
                    });
                }
            }
            out.push(END);
        }
    }

    /// Appends what the keys of all URIs have in common that begin like this one, which ends in
    /// `*`. `false` if the key does not end in the URI.
    pub fn write_beginning(&self, head: &RequestHead, is_secure: bool, out: &mut Vec<u8>) -> bool {
        self.write(head, is_secure, out);
        if self.parts.last() != Some(&KeyPart::Uri) || !out.ends_with(b"*\0") {
            return false;
        }
        out.truncate(out.len() - 2);
        true
    }

    /// Whether requests with other credentials have other keys, so that what is kept for one is
    /// never another's.
    #[must_use]
    pub fn tells_credentials(&self) -> bool {
        self.parts.iter().any(|part| match part {
            KeyPart::Header(name) => name.eq_ignore_ascii_case("authorization"),
            _ => false,
        })
    }
}

fn host(head: &RequestHead, out: &mut Vec<u8>) {
    let host = head.header(Known::Host).unwrap_or_default();
    let start = out.len();
    out.extend_from_slice(host);
    out.get_mut(start..)
        .unwrap_or_default()
        .make_ascii_lowercase();
}

/// Whether one of the parts is there, not empty and not `0` (nginx: proxy_cache_bypass).
#[must_use]
pub fn holds(conditions: &[KeyPart], head: &RequestHead) -> bool {
    conditions.iter().any(|part| {
        let mut holds = false;
        values(part, head, |value| holds |= !matches!(value, b"" | b"0"));
        holds
    })
}

/// Calls `each` with the values of a part that may be missing.
fn values(part: &KeyPart, head: &RequestHead, mut each: impl FnMut(&[u8])) {
    match part {
        KeyPart::Header(name) => fields(&head.headers, name.as_bytes(), each),
        KeyPart::Cookie(name) => {
            for field in head.headers.all(Known::Cookie) {
                let pairs = field.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
                for value in pairs.filter_map(|pair| argument(pair, name.as_bytes())) {
                    each(value);
                }
            }
        }
        KeyPart::Argument(name) => {
            let pairs = head.query().as_bytes().split(|&byte| byte == b'&');
            for value in pairs.filter_map(|pair| argument(pair, name.as_bytes())) {
                each(value);
            }
        }
        KeyPart::Scheme | KeyPart::Host | KeyPart::Uri | KeyPart::Path | KeyPart::Query => {}
    }
}

/// Calls `each` with every value of a field.
pub(super) fn fields(headers: &HeaderList, name: &[u8], mut each: impl FnMut(&[u8])) {
    match Known::of(name) {
        Known::Other => {
            for (known, own, value) in headers.iter() {
                if known == Known::Other && own.eq_ignore_ascii_case(name) {
                    each(value);
                }
            }
        }
        known => headers.all(known).for_each(each),
    }
}

/// What follows `name=`.
fn argument<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_target("GET", target).unwrap();
        for (name, value) in fields {
            head.headers.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn key(parts: &[KeyPart], target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        template(parts).write(&head(target, fields), false, &mut out);
        out
    }

    fn template(parts: &[KeyPart]) -> KeyTemplate<'_> {
        KeyTemplate {
            upstream: "u",
            parts,
        }
    }

    #[test]
    fn parts_stand_one_after_the_other() {
        let parts = [KeyPart::Scheme, KeyPart::Host, KeyPart::Uri];
        let host = [("Host", "A.Test")];
        assert_eq!(key(&parts, "/x?y=1", &host), b"u\0http\0a.test\0/x?y=1\0");
        assert_eq!(key(&[KeyPart::Path], "/a/../x?y=1", &host), b"u\0/x\0");
        assert_eq!(key(&[KeyPart::Query], "/x?y=1", &host), b"u\0y=1\0");
        let cookie = KeyPart::Cookie("id".into());
        let fields = [("Cookie", "a=1; id=7; xid=8"), ("Cookie", "id=9")];
        assert_eq!(key(&[cookie], "/", &fields), b"u\x007\n9\n\0");
        let argument = KeyPart::Argument("v".into());
        assert_eq!(key(&[argument], "/?v=1&vv=2&v=3", &[]), b"u\x001\n3\n\0");
    }

    #[test]
    fn what_differs_in_a_part_differs_in_the_key() {
        let part = [KeyPart::Header("X-A".into()), KeyPart::Uri];
        let one = key(&part, "/", &[("x-a", "1"), ("X-A", "2")]);
        assert_ne!(one, key(&part, "/", &[("X-A", "1, 2")]));
        assert_ne!(one, key(&part, "/", &[("X-A", "12")]));
        assert_ne!(key(&part, "/", &[]), key(&part, "/", &[("X-A", "")]));
    }

    #[test]
    fn a_beginning_ends_before_its_star() {
        let parts = [KeyPart::Host, KeyPart::Uri];
        let ours = template(&parts);
        let mut out = Vec::new();
        assert!(ours.write_beginning(&head("/a/*", &[]), false, &mut out));
        assert_eq!(out, b"u\0\0/a/");
        assert!(!ours.write_beginning(&head("/a/", &[]), false, &mut out));
        let parts = [KeyPart::Uri, KeyPart::Host];
        let other = template(&parts);
        assert!(!other.write_beginning(&head("/a/*", &[]), false, &mut out));
    }

    #[test]
    fn conditions_hold_as_in_nginx() {
        let header = [KeyPart::Header("X-Fresh".into())];
        for (value, expected) in [("1", true), ("0", false), ("", false), ("00", true)] {
            assert_eq!(holds(&header, &head("/", &[("x-fresh", value)])), expected);
        }
        assert!(!holds(&header, &head("/", &[])));
        assert!(holds(
            &[KeyPart::Argument("nocache".into())],
            &head("/?nocache=1", &[])
        ));
    }
}
