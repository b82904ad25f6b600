//! The client's side: a request's head for the `h2` crate, and an answer's head from it.

use ::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::response::is_framing;
use crate::http::h1::BodyKind;
use crate::http::{HeaderList, Known, ResponseHead, Version};

/// A request's head. `None`: HTTP/2 has no way to write it.
#[must_use]
pub fn write_request(
    (method, target): (&str, &str),
    headers: &HeaderList,
    (kind, is_secure): (BodyKind, bool),
) -> Option<::http::Request<()>> {
    let authority = headers.get_str(Known::Host).unwrap_or("localhost");
    let uri = Uri::builder()
        .scheme(if is_secure { "https" } else { "http" })
        .authority(authority)
        .path_and_query(target)
        .build()
        .ok()?;
    let mut fields = HeaderMap::with_capacity(headers.len() + 1);
    for (known, name, value) in headers.iter() {
        if is_framing(known) || known == Known::Host {
            continue;
        }
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        else {
            continue;
        };
        let _ = fields.try_append(name, value);
    }
    if let BodyKind::Length(length) = kind {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    let mut request = ::http::Request::new(());
    *request.method_mut() = ::http::Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = uri;
    *request.version_mut() = ::http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Some(request)
}

/// Reads an answer's head. `false`: a field of it may not be sent on.
pub fn read_response(parts: &::http::response::Parts, head: &mut ResponseHead) -> bool {
    head.status = parts.status.as_u16();
    head.version = Version::Http2;
    head.headers.clear();
    for (name, value) in &parts.headers {
        let name = name.as_str().as_bytes();
        if Known::of(name).is_hop_by_hop() {
            continue;
        }
        if head
            .headers
            .try_push(name, value.as_bytes().trim_ascii())
            .is_err()
        {
            return false;
        }
    }
    let mut lengths = head.headers.all(Known::ContentLength);
    let first = lengths.next();
    first.is_none_or(|length| {
        let is_number = length.iter().all(u8::is_ascii_digit) && !length.is_empty();
        is_number && lengths.next().is_none()
    })
}

/// Trailer fields as a list.
#[must_use]
pub fn read_trailers_into(fields: &HeaderMap) -> HeaderList {
    let mut list = HeaderList::new();
    for (name, value) in fields {
        // One that cannot be sent is left out.
        let _ = list.try_push(name.as_str().as_bytes(), value.as_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_authority_and_no_framing() {
        let mut headers = HeaderList::new();
        for (name, value) in [
            ("Host", "a.test:81"),
            ("Connection", "x"),
            ("X-A", "1"),
            ("Content-Length", "9"),
        ] {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let line = ("PURGE", "/a?b=c");
        let request = write_request(line, &headers, (BodyKind::Length(3), true)).unwrap();
        assert_eq!(request.uri(), "https://a.test:81/a?b=c");
        assert_eq!(request.method(), "PURGE");
        let fields = request.headers();
        assert_eq!(
            (fields.len(), &fields["content-length"]),
            (2, &HeaderValue::from(3))
        );
        assert!(write_request(("G T", "/"), &headers, (BodyKind::None, false)).is_none());
    }
}
