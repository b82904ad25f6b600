//! A request's head from the `h2` crate into the program's own (RFC 9113 §8.3).
//!
//! The crate has refused malformed field blocks already: upper case, connection-specific fields,
//! pseudo-fields that are missing, repeated or misplaced. What is checked here are the rules that
//! hold for every version of HTTP, so that a handler sees one kind of request.

use ::http::request::Parts;
use ::http::{HeaderMap, Uri};

use crate::http::h1::framing::{imitates_framing, parse_length};
use crate::http::h1::{Error, Limits};
use crate::http::uri::is_authority;
use crate::http::{HeaderList, Known, Method, RequestHead, Version};

/// What a head says beside what the handler sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Content-Length; the `h2` crate holds the content to it.
    pub content_length: Option<u64>,
    /// The client waits for 100 before it sends its content.
    pub expects_continue: bool,
}

/// Fills `head` from a request that the `h2` crate has read.
///
/// # Errors
/// What is wrong with it; [`Error::status`] is the answer. The head then holds as much as could
/// be read, for the log.
pub fn read_request(
    parts: &Parts,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Opened, Error> {
    head.clear();
    head.version = Version::Http2;
    read_target(parts, limits, head)?;
    let opened = read_fields(&parts.headers, limits, head)?;
    settle_host(parts.uri.authority().map(|text| text.as_str()), head)?;
    Ok(opened)
}

fn read_target(parts: &Parts, limits: &Limits, head: &mut RequestHead) -> Result<(), Error> {
    let method = parts.method.as_str();
    let target = match parts.uri.path_and_query() {
        _ if Method::of(method.as_bytes()) == Method::Connect => {
            parts.uri.authority().map_or("", |text| text.as_str())
        }
        Some(path) => path.as_str(),
        None => "",
    };
    if method.len() + target.len() > limits.line_bytes_max {
        return Err(Error::LineTooLong);
    }
    if !is_web(&parts.uri) {
        return Err(Error::Target);
    }
    // In origin-form or `*`; the authority has a field of its own (RFC 9113 §8.3.1).
    let is_well_formed = target.is_ascii() && head.set_target(method, target).is_some();
    let begins_well = head.method == Method::Connect || target.starts_with(['/', '*']);
    if is_well_formed && begins_well {
        Ok(())
    } else {
        Err(Error::Target)
    }
}

/// Whether the scheme, where the crate kept it, is one that this program serves.
fn is_web(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), None | Some("http" | "https"))
}

fn read_fields(
    fields: &HeaderMap,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Opened, Error> {
    if fields.len() > limits.fields_max {
        return Err(Error::TooManyFields);
    }
    let mut opened = Opened::default();
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if name.len() + value.len() > limits.field_bytes_max {
            return Err(Error::FieldTooLong);
        }
        let known = Known::of(name);
        match known {
            Known::ContentLength => {
                let length = parse_length(value).ok_or(Error::ContentLength)?;
                if opened.content_length.replace(length).is_some() {
                    return Err(Error::ContentLengthRepeated);
                }
            }
            Known::Host if head.headers.contains(Known::Host) => return Err(Error::HostRepeated),
            Known::Expect if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Error::Expectation);
            }
            Known::Expect => opened.expects_continue = true,
            Known::Cookie => continue,
            Known::Other if imitates_framing(name) => return Err(Error::FieldImitation),
            _ => {}
        }
        head.headers
            .try_push(name, trimmed(value))
            .map_err(|_| Error::Field)?;
    }
    join_cookies(fields, head)
        .map(|()| opened)
        .ok_or(Error::Field)
}

/// HTTP/2 may carry a value padded; HTTP/1 has no way to (RFC 9110 §5.5).
fn trimmed(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    let end = value.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
    match (start, end) {
        (Some(start), Some(end)) => value.get(start..=end).unwrap_or_default(),
        _ => b"",
    }
}

/// A cookie may come in crumbs, to compress better; whoever reads it wants one field (RFC 9113
/// §8.2.3).
fn join_cookies(fields: &HeaderMap, head: &mut RequestHead) -> Option<()> {
    let mut crumbs = fields.get_all(::http::header::COOKIE).iter();
    let Some(first) = crumbs.next() else {
        return Some(());
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in crumbs {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    head.headers.try_push(b"cookie", trimmed(&joined)).ok()
}

/// One authority, whichever way it came: `:authority` outweighs Host and must not contradict it
/// (RFC 9113 §8.3.1). Handlers look at Host.
fn settle_host(authority: Option<&str>, head: &mut RequestHead) -> Result<(), Error> {
    let host = head.headers.get(Known::Host);
    let authority = authority.map(str::as_bytes);
    match (authority, host) {
        (None, None) => return Err(Error::HostMissing),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Error::HostMalformed);
        }
        _ => {}
    }
    if !authority.or(host).is_some_and(is_authority) {
        return Err(Error::HostMalformed);
    }
    if let (Some(authority), None) = (authority, host) {
        head.headers.push_known(Known::Host, authority);
    }
    Ok(())
}

/// Trailer fields as handlers see them, without those that may not come this late.
#[must_use]
pub fn read_trailers(fields: &HeaderMap) -> HeaderList {
    let mut list = HeaderList::new();
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), trimmed(value.as_bytes()));
        if !Known::of(name).is_forbidden_in_trailers() {
            // What cannot stand in a message is left out, as in HTTP/1.
            let _ = list.try_push(name, value);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use ::http::Request;

    use super::*;

    fn read(request: ::http::request::Builder) -> Result<(RequestHead, Opened), Error> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut head = RequestHead::default();
        read_request(&parts, &Limits::default(), &mut head).map(|opened| (head, opened))
    }

    fn get(uri: &str) -> ::http::request::Builder {
        Request::get(uri)
    }

    #[test]
    fn a_request_looks_as_it_would_over_http1() {
        let (head, opened) = read(
            get("https://a.test:8443/x//y?q=1")
                .header("accept", "*/*")
                .header("content-length", "7")
                .header("expect", "100-Continue")
                .header("x-padded", " v\t"),
        )
        .unwrap();
        assert_eq!((head.method, head.version), (Method::Get, Version::Http2));
        assert_eq!(
            (head.target(), head.query()),
            ("/x//y?q=1", "q=1"),
            "the target is in origin-form"
        );
        assert_eq!(head.route_path(), "/x/y");
        assert_eq!(head.header(Known::Host), Some(&b"a.test:8443"[..]));
        assert_eq!(head.headers.get_by_name(b"x-padded"), Some(&b"v"[..]));
        assert_eq!(opened.content_length, Some(7));
        assert!(opened.expects_continue);
    }

    #[test]
    fn crumbs_of_a_cookie_are_joined() {
        let request = get("http://a/").header("cookie", "a=1");
        let request = request.header("x", "y").header("cookie", "b=2");
        let (head, _) = read(request).unwrap();
        let cookies: Vec<_> = head.headers.all(Known::Cookie).collect();
        assert_eq!(cookies, [b"a=1; b=2"]);
    }

    #[test]
    fn host_and_authority_agree_or_are_refused() {
        let host = |uri: &str, host: &str| read(get(uri).header("host", host));
        assert!(host("http://a.test/", "A.test").is_ok());
        assert!(host("/", "a.test").is_ok());
        for (uri, name, error) in [
            ("http://a.test/", "b.test", Error::HostMalformed),
            ("/", "a test", Error::HostMalformed),
            ("/", "", Error::HostMalformed),
            ("http://u@a.test/", "u@a.test", Error::HostMalformed),
        ] {
            assert_eq!(host(uri, name).unwrap_err(), error, "{uri} {name}");
        }
        let twice = get("/").header("host", "a").header("host", "a");
        assert_eq!(read(twice).unwrap_err(), Error::HostRepeated);
        assert_eq!(read(get("/")).unwrap_err(), Error::HostMissing);
        assert_eq!(
            read(get("http://u@a.test/")).unwrap_err(),
            Error::HostMalformed
        );
    }

    #[test]
    fn what_http1_refuses_is_refused() {
        let field = |name: &str, value: &str| read(get("http://a/").header(name, value));
        for (name, value, error) in [
            ("content-length", "+1", Error::ContentLength),
            ("content_length", "1", Error::FieldImitation),
            ("transfer_encoding", "chunked", Error::FieldImitation),
            ("expect", "200-ok", Error::Expectation),
        ] {
            assert_eq!(field(name, value).unwrap_err(), error, "{name}: {value}");
        }
        assert_eq!(
            field("x", &"v".repeat(16_384)).unwrap_err(),
            Error::FieldTooLong
        );
        let mut many = get("http://a/");
        for _ in 0..129 {
            many = many.header("x", "y");
        }
        assert_eq!(read(many).unwrap_err(), Error::TooManyFields);
        let long = format!("http://a/{}", "p".repeat(16_384));
        assert_eq!(read(get(&long)).unwrap_err(), Error::LineTooLong);
        for uri in ["ftp://a/x", "http://a/..", "http://a/%00"] {
            assert_eq!(read(get(uri)).unwrap_err(), Error::Target, "{uri}");
        }
    }

    #[test]
    fn the_methods_without_a_path() {
        let options = Request::options("http://a.test/");
        assert_eq!(read(options).unwrap().0.path(), "/");
        let star = Request::options("*").header("host", "a.test");
        assert_eq!(read(star).unwrap().0.path(), "*");
        assert_eq!(
            read(Request::get("*").header("host", "a")).unwrap_err(),
            Error::Target
        );
        let connect = Request::connect("a.test:443");
        assert_eq!(read(connect).unwrap().0.target(), "a.test:443");
    }

    #[test]
    fn trailers_keep_what_may_come_late() {
        let mut fields = HeaderMap::new();
        for (name, value) in [("x-sum", " 1 "), ("host", "evil"), ("content-length", "3")] {
            let name = ::http::HeaderName::try_from(name).unwrap();
            fields.append(name, value.parse().unwrap());
        }
        assert_eq!(read_trailers(&fields).wire(), b"x-sum: 1\r\n");
    }

    proptest::proptest! {
        /// Whatever the crate lets through becomes a head that HTTP/1.1 could have carried, or a
        /// refusal; never a panic, never a field that breaks a message.
        #[test]
        fn any_request_becomes_a_sound_head_or_a_refusal(
            method in "[A-Z]{1,8}|get|M-SEARCH",
            path in "[/*a-z%0-9.?#_~+;=&-]{0,40}|/[ -~]{0,30}",
            host in "[a-z0-9.:@\\[\\]-]{0,20}",
            fields in proptest::collection::vec(
                ("[a-z0-9_-]{1,14}|host|cookie|content-length|expect|te", "[ -~\t\u{80}-\u{ff}]{0,30}"),
                0..12,
            ),
        ) {
            let mut request = Request::builder().method(method.as_str());
            let uri = Uri::builder().scheme("http").authority(host.as_str());
            request = match uri.path_and_query(path.as_str()).build() {
                Ok(uri) => request.uri(uri),
                Err(_) => request.uri(path.as_str()),
            };
            for (name, value) in &fields {
                request = request.header(name.as_str(), value.as_bytes());
            }
            let Ok(request) = request.body(()) else { return Ok(()) };
            let mut head = RequestHead::default();
            let (parts, ()) = request.into_parts();
            let read = read_request(&parts, &Limits::default(), &mut head);
            if let Err(error) = read {
                proptest::prop_assert!((400..=505).contains(&error.status()));
                return Ok(());
            }
            proptest::prop_assert_eq!(head.headers.all(Known::Host).count(), 1);
            proptest::prop_assert!(head.headers.all(Known::Cookie).count() <= 1);
            proptest::prop_assert!(is_authority(head.header(Known::Host).unwrap()));
            let wire = head.headers.wire();
            let lines = wire.split(|&byte| byte == b'\n').count() - 1;
            proptest::prop_assert_eq!(lines, head.headers.len());
            proptest::prop_assert!(!wire.contains(&0));
            proptest::prop_assert!(head.method == Method::Connect || head.target().starts_with(['/', '*']));
        }
    }
}
