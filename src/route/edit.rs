//! What a route makes of a request's path: another one for the upstream, or an address that the
//! client is sent to.

use super::Match;
use crate::config::{PathEdit, Redirect};
use crate::http::{Known, RequestHead};

/// The path and query for the upstream. `None`: the rules make none of it.
#[must_use]
pub fn edited(edit: &PathEdit, found: &Match<'_>, head: &RequestHead) -> Option<String> {
    // Encoded before anything looks at it, so that no `?` that a client encoded begins a query.
    let mut path = encoded(head.route_path());
    if let Some(prefix) = &edit.prefix {
        // One slash where the two meet, whichever of them has it.
        let below = &*encoded(found.below);
        path = match (prefix.ends_with('/'), below.starts_with('/')) {
            (true, true) => format!("{}{below}", prefix.trim_end_matches('/')),
            (false, false) if !below.is_empty() => format!("{prefix}/{below}"),
            _ => format!("{prefix}{below}"),
        };
    }
    for rule in &edit.rewrites {
        if let Some(captures) = rule.pattern.0.captures(&path) {
            let mut made = String::new();
            captures.expand(&rule.to, &mut made);
            path = made;
            break;
        }
    }
    let (own, query) = match path.split_once('?') {
        Some((own, query)) => (own, Some(query)),
        None => (path.as_str(), None),
    };
    // What a pattern caught is text of a path; nothing else may come of it.
    if !own.starts_with('/')
        || !own
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return None;
    }
    let theirs = Some(head.query()).filter(|query| !query.is_empty());
    Some(match (query, theirs) {
        (None, None) => own.to_owned(),
        (Some(query), None) | (None, Some(query)) => format!("{own}?{query}"),
        (Some(query), Some(theirs)) => format!("{own}?{query}&{theirs}"),
    })
}

/// A normalised path as it is sent. What normalising leaves encoded (a slash, bytes that are no
/// UTF-8) stays so; any other `%` was one that the client had encoded, and is encoded again, or
/// the upstream would decode twice.
fn encoded(path: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let stays = match byte {
            b'%' => matches!(
                bytes.get(at + 1..at + 3),
                Some([b'2', b'F'] | [b'8'..=b'9' | b'A'..=b'F', b'0'..=b'9' | b'A'..=b'F'])
            ),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => true,
            _ => b"-._~!$&'()*+,;=:@/".contains(&byte),
        };
        if stays {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(
                    HEX.get(usize::from(digit))
                        .map_or('0', |&hex| char::from(hex)),
                );
            }
        }
    }
    out
}

/// The address that a redirect sends the client to.
#[must_use]
pub fn redirected(
    redirect: &Redirect,
    found: &Match<'_>,
    head: &RequestHead,
    is_secure: bool,
) -> String {
    let mut address = String::new();
    let mut rest = redirect.to.as_str();
    while let Some((before, behind)) = rest.split_once('{') {
        address.push_str(before);
        let (name, after) = behind.split_once('}').unwrap_or((behind, ""));
        let host = head.headers.get_str(Known::Host).unwrap_or("");
        address.push_str(match name {
            "host" => host,
            "path" => head.path(),
            "query" => head.query(),
            "uri" => head.path_and_query(),
            "scheme" if is_secure => "https",
            "scheme" => "http",
            "below" => found.below,
            _ => "",
        });
        rest = after;
    }
    address.push_str(rest);
    // A path that begins with two slashes would name another host.
    if redirect.to.starts_with('{') && address.starts_with("//") {
        address = format!("/{}", address.trim_start_matches('/'));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_once_and_never_decoded_twice() {
        for (normal, sent) in [
            ("/a b/é", "/a%20b/%C3%A9"),
            ("/a%2Fb/%E9", "/a%2Fb/%E9"),
            ("/%2e%2e/x", "/%252e%252e/x"),
            ("/a?b#c", "/a%3Fb%23c"),
            ("/100%", "/100%25"),
            ("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
        ] {
            assert_eq!(encoded(normal), sent);
        }
    }
}
