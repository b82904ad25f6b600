//! Request targets and paths (RFC 9112 §3.2, RFC 3986): which form a target has, whether an
//! authority is well formed, and the one normalisation a path gets before it is routed.

use std::borrow::Cow;

use core::ops::Range;

use crate::http::Method;

/// Where the parts of a request target are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which of the four forms it has.
    pub form: TargetForm,
    /// Range of the path; empty where the form has none written.
    pub path: Range<usize>,
    /// Range of the query, without its `?`.
    pub query: Range<usize>,
    /// Range of `host[:port]` in absolute-form and authority-form.
    pub authority: Range<usize>,
}

/// The four forms of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// Splits a target into its parts. `None` if its form does not fit the method or its authority
/// is malformed; such a request is answered with 400.
#[must_use]
#[inline]
pub fn parse_target(method: Method, target: &str) -> Option<Target> {
    let bytes = target.as_bytes();
    if bytes.first() == Some(&b'/') && method != Method::Connect {
        return split_path(bytes, 0, TargetForm::Origin, 0..0);
    }
    if method == Method::Connect {
        let has_port = bytes.last() != Some(&b':') && bytes.contains(&b':');
        return (has_port && is_authority(bytes)).then_some(Target {
            form: TargetForm::Authority,
            path: 0..0,
            query: 0..0,
            authority: 0..bytes.len(),
        });
    }
    if target == "*" {
        return (method == Method::Options).then_some(Target {
            form: TargetForm::Asterisk,
            path: 0..1,
            query: 1..1,
            authority: 0..0,
        });
    }
    let start = ["http://", "https://"].iter().find_map(|scheme| {
        let front = bytes.get(..scheme.len())?;
        front
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(scheme.len())
    })?;
    let rest = bytes.get(start..)?;
    let len = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    if !is_authority(rest.get(..len)?) {
        return None;
    }
    split_path(bytes, start + len, TargetForm::Absolute, start..start + len)
}

/// Whether the target is a path that needs no work at all: origin-form, no query, nothing to
/// normalise. Most are, and this one look spares them three.
#[inline]
pub(in crate::http) fn is_plain_path(target: &[u8]) -> bool {
    let mut after_slash = false;
    target.first() == Some(&b'/')
        && target.iter().all(|&byte| {
            let is_plain = match byte {
                b'%' | b'?' | b'#' => false,
                b'/' | b'.' => !after_slash,
                _ => true,
            };
            after_slash = byte == b'/';
            is_plain
        })
}

#[inline]
fn split_path(
    bytes: &[u8],
    start: usize,
    form: TargetForm,
    authority: Range<usize>,
) -> Option<Target> {
    let rest = bytes.get(start..)?;
    // A fragment is the client's own business and never sent (RFC 9110 §7.1).
    let query = match find_delimiter(rest) {
        None => bytes.len()..bytes.len(),
        Some(at) if rest.get(at) == Some(&b'?') => start + at + 1..bytes.len(),
        Some(_) => return None,
    };
    if bytes.get(query.clone())?.contains(&b'#') {
        return None;
    }
    let path_end = if query.start > start && bytes.get(query.start - 1) == Some(&b'?') {
        query.start - 1
    } else {
        bytes.len()
    };
    Some(Target {
        form,
        path: start..path_end,
        query,
        authority,
    })
}

/// Where the path ends. Most paths end before a vector search has set itself up.
fn find_delimiter(path: &[u8]) -> Option<usize> {
    const SHORT: usize = 32;
    if path.len() > SHORT {
        return memchr::memchr2(b'?', b'#', path);
    }
    path.iter().position(|byte| matches!(byte, b'?' | b'#'))
}

/// Whether the bytes are `uri-host [":" port]` (RFC 3986 §3.2.2) with a host that is not empty.
/// No user information: RFC 9110 §4.2.4 calls it an error, and it serves phishing.
#[must_use]
#[inline]
pub fn is_authority(bytes: &[u8]) -> bool {
    if let Some(rest) = bytes.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else {
            return false;
        };
        let address = rest.get(..end).unwrap_or_default();
        let port = rest.get(end + 1..).unwrap_or_default();
        let looks_v6 = address.contains(&b':')
            && address
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        return looks_v6 && (port.is_empty() || is_port(port));
    }
    let is_host = |byte: u8| HOST_BYTES.get(usize::from(byte)) == Some(&true);
    let host_len = bytes
        .iter()
        .position(|&byte| !is_host(byte))
        .unwrap_or(bytes.len());
    host_len > 0 && (host_len == bytes.len() || is_port(bytes.get(host_len..).unwrap_or_default()))
}

/// `":" *DIGIT`, at most five digits.
fn is_port(bytes: &[u8]) -> bool {
    matches!(bytes.split_first(), Some((b':', digits))
        if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit))
}

/// Bytes of a reg-name: unreserved, sub-delims and percent-encodings.
static HOST_BYTES: [bool; 256] = host_bytes();

#[allow(
    clippy::indexing_slicing,
    reason = "runs in the compiler, where an index out of bounds is a build error"
)]
const fn host_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'-' | b'.' | b'_' | b'~' | b'%'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        byte += 1;
    }
    table
}

/// Why a path cannot be routed. Answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%` without two hex digits, or an encoded NUL.
    #[error("malformed percent-encoding in the path")]
    Encoding,
    /// `..` climbs above the root.
    #[error("the path climbs above the root")]
    AboveRoot,
}

/// The path as routes and files see it: percent-encodings decoded once (but an encoded `/`
/// stays encoded, as it is data and no separator, and so do bytes that make no UTF-8), then dot
/// segments resolved (RFC 3986
/// §5.2.4) and repeated slashes merged. Borrows where there is nothing to do.
///
/// # Errors
/// When the path is malformed or would leave the root; see [`PathError`].
pub fn normalize_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !needs_work(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_path(path)?;
    let mut out = String::with_capacity(decoded.len());
    let mut ends_open = false;
    for segment in decoded.split('/') {
        ends_open = false;
        match segment {
            "" | "." => ends_open = true,
            ".." => {
                let parent = out.rfind('/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
                ends_open = true;
            }
            name => {
                out.push('/');
                out.push_str(name);
            }
        }
    }
    if ends_open || out.is_empty() {
        out.push('/');
    }
    Ok(Cow::Owned(out))
}

fn needs_work(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().any(|&byte| {
        let after_slash = core::mem::replace(&mut before, byte) == b'/';
        byte == b'%' || after_slash && matches!(byte, b'/' | b'.')
    })
}

fn decode_path(path: &str) -> Result<String, PathError> {
    let decoded = decode(path, |_| true)?;
    match String::from_utf8(decoded) {
        Ok(text) => Ok(text),
        Err(_) => Ok(String::from_utf8(decode(path, |byte| byte.is_ascii())?).unwrap_or_default()),
    }
}

/// Decodes the bytes that `may` be, and leaves others encoded.
fn decode(path: &str, may: impl Fn(u8) -> bool) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next(), bytes.next()];
        let [Some(high), Some(low)] = digits.map(|digit| digit.and_then(hex)) else {
            return Err(PathError::Encoding);
        };
        match high << 4 | low {
            0 => return Err(PathError::Encoding),
            byte if byte != b'/' && may(byte) => out.push(byte),
            _ => {
                out.push(b'%');
                out.extend(
                    digits
                        .into_iter()
                        .flatten()
                        .map(|digit| digit.to_ascii_uppercase()),
                );
            }
        }
    }
    Ok(out)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, target: &str) -> Option<(TargetForm, &str, &str, &str)> {
        parse_target(method, target).map(|parts| {
            (
                parts.form,
                &target[parts.authority],
                &target[parts.path],
                &target[parts.query],
            )
        })
    }

    #[test]
    fn the_four_forms() {
        use TargetForm::*;
        let get = Method::Get;
        assert_eq!(parts(get, "/"), Some((Origin, "", "/", "")));
        assert_eq!(
            parts(get, "/a/b?c=/d?e"),
            Some((Origin, "", "/a/b", "c=/d?e"))
        );
        assert_eq!(parts(get, "/?"), Some((Origin, "", "/", "")));
        assert_eq!(parts(get, "//x"), Some((Origin, "", "//x", "")));
        assert_eq!(
            parts(get, "HTTP://h.test:80/a?b"),
            Some((Absolute, "h.test:80", "/a", "b"))
        );
        assert_eq!(parts(get, "http://h?b"), Some((Absolute, "h", "", "b")));
        assert_eq!(
            parts(get, "https://[::1]"),
            Some((Absolute, "[::1]", "", ""))
        );
        assert_eq!(parts(Method::Options, "*"), Some((Asterisk, "", "*", "")));
        assert_eq!(
            parts(Method::Connect, "h.test:443"),
            Some((Authority, "h.test:443", "", ""))
        );
    }

    #[test]
    fn a_form_that_does_not_fit_the_method_is_refused() {
        for (method, target) in [
            (Method::Get, "*"),
            (Method::Get, "h.test:80"),
            (Method::Get, "h.test"),
            (Method::Get, "ftp://h.test/"),
            (Method::Get, "http://"),
            (Method::Get, "http:///a"),
            (Method::Get, "http://u@h.test/"),
            (Method::Get, "/a#b"),
            (Method::Get, "/a?b#c"),
            (Method::Get, "http://h.test#b"),
            (Method::Connect, "/"),
            (Method::Connect, "h.test"),
            (Method::Connect, "h.test:"),
            (Method::Connect, "http://h.test:443/"),
        ] {
            assert_eq!(parts(method, target), None, "{method:?} {target}");
        }
    }

    #[test]
    fn authorities() {
        for good in [
            "a.test",
            "a.test:",
            "a.test:80",
            "127.0.0.1:1",
            "[::1]:80",
            "a_b",
            "%41",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "u@a", "a:b", "a:123456", "[::1", "[]", "[x]", "[::1]x", "a/", "a?",
            "a\\b", "é",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn paths_are_normalised_once() {
        for (path, expected) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/b", "/a/b"),
            ("/a//b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a/.", "/a/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..b", "/a/..b"),
            ("/%61/%2e%2e/b", "/b"),
            ("/%252e%252e/b", "/%2e%2e/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/caf%C3%A9", "/café"),
            ("/caf%e9/%41", "/caf%E9/A"),
            ("//", "/"),
            ("/a b", "/a b"),
        ] {
            assert_eq!(normalize_path(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(matches!(normalize_path("/health"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn malformed_paths_are_refused() {
        for (path, error) in [
            ("/%", PathError::Encoding),
            ("/%4", PathError::Encoding),
            ("/%zz", PathError::Encoding),
            ("/%00", PathError::Encoding),
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/%2e%2e/x", PathError::AboveRoot),
        ] {
            assert_eq!(normalize_path(path), Err(error), "{path}");
        }
    }
}
