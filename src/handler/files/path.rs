//! From a request's path to a name below the root: what may be looked up at all. The router has
//! decoded the path once and resolved its dot segments; here it is only judged.

/// What a path asks for, as names with single slashes between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The names; empty for the root itself.
    pub(super) name: &'a str,
    /// The path ended in a slash, so only a directory will do.
    pub(super) is_directory: bool,
}

/// Judges what follows a route's path, or the whole path. `None` is answered with 404.
pub(super) fn place(path: &str, shows_hidden: bool) -> Option<Place<'_>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (name, is_directory) = match path.strip_suffix('/') {
        Some(name) => (name, true),
        None => (path, path.is_empty()),
    };
    // A slash that came encoded is part of a name, and no file's name has one.
    if name.contains('\0') || name.contains("%2F") {
        return None;
    }
    let is_served = |segment: &str| match segment.as_bytes() {
        [] | b"." | b".." => false,
        [b'.', ..] => shows_hidden || segment == ".well-known",
        _ => true,
    };
    (name.is_empty() || name.split('/').all(is_served)).then_some(Place { name, is_directory })
}

/// The path with a slash behind it and the query, as a Location field: one slash in front, and
/// every byte that could mean something else encoded, so that it never names another host.
pub(super) fn with_slash(path: &str, query: &str) -> Vec<u8> {
    let mut location = Vec::with_capacity(path.len() + query.len() + 8);
    location.push(b'/');
    encode(path.trim_matches('/'), &mut location);
    location.push(b'/');
    if !query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(query.as_bytes());
    }
    location
}

/// Appends a path in its encoded form (RFC 3986 §3.3): slashes stay.
pub(super) fn encode(path: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::uri::normalize_path;

    #[test]
    fn what_is_looked_up() {
        for (path, expected) in [
            ("", Some(("", true))),
            ("/", Some(("", true))),
            ("a.txt", Some(("a.txt", false))),
            ("/a/b.txt", Some(("a/b.txt", false))),
            ("a/", Some(("a", true))),
            ("a b/ä.txt", Some(("a b/ä.txt", false))),
            (
                ".well-known/acme-challenge/x",
                Some((".well-known/acme-challenge/x", false)),
            ),
            ("...", None),
            (".git/config", None),
            ("a/.htpasswd", None),
            ("..", None),
            ("../x", None),
            ("a/../b", None),
            ("a//b", None),
            ("//a", None),
            ("a%2Fb", None),
            ("a\0b", None),
        ] {
            let got = place(path, false).map(|place| (place.name, place.is_directory));
            assert_eq!(got, expected, "{path:?}");
        }
        assert!(place(".git/config", true).is_some());
        assert!(place("a/../b", true).is_none());
    }

    #[test]
    fn a_redirect_never_names_another_host() {
        for (path, query, expected) in [
            ("/a", "", "/a/"),
            ("/a b/ä", "x=1", "/a%20b/%C3%A4/?x=1"),
            ("//evil.test", "", "/evil.test/"),
            ("/\\evil.test", "", "/%5Cevil.test/"),
            ("/a?b#c", "", "/a%3Fb%23c/"),
            ("/\t/x", "", "/%09/x/"),
        ] {
            let location = String::from_utf8(with_slash(path, query)).unwrap();
            assert_eq!(location, expected);
        }
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_path_climbs_or_hides(target in "/[a./%2eEfF0\\\\ -]{0,24}") {
            let Ok(path) = normalize_path(&target) else { return Ok(()) };
            if let Some(place) = place(&path, false) {
                for segment in place.name.split('/').filter(|_| !place.name.is_empty()) {
                    prop_assert!(!segment.is_empty());
                    prop_assert!(!segment.starts_with('.') || segment == ".well-known");
                }
                prop_assert!(!place.name.starts_with('/'));
            }
        }

        #[test]
        fn what_is_encoded_reads_as_itself(name in "\\PC{0,20}") {
            prop_assume!(!name.contains(['/', '\0']));
            let mut out = b"/x".to_vec();
            encode(&name, &mut out);
            let text = String::from_utf8(out).unwrap();
            let read = normalize_path(&text).unwrap();
            prop_assert_eq!(&read[2..], name);
        }
    }
}
