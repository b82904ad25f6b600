//! A response's head for the `h2` crate. Names and values that come again, which is nearly all
//! of them, are kept: making one anew takes an allocation and a look at each of its bytes.

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::h1::BodyKind;
use crate::http::h1::write::{self, response_body};
use crate::http::{HeaderList, Hint, Known, Method, Response, Version};

/// Names beyond the known ones that are kept. Names are the operator's and the handlers', few; a
/// proxied server may make up more, and those are made anew each time.
const OTHERS_KEPT_MAX: usize = 64;
/// A field whose value was another so many times in a row (an id, a time) is not kept, and is
/// kept out of the compression's table too, where it would only drive others out.
const VOLATILE_AFTER: u8 = 16;

/// What a response's head says of its content, and whether content follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Content-Length, where there is one.
    pub length: Option<u64>,
    /// Whether the head is not the end of the message.
    pub has_content: bool,
}

/// What the head of that response to a request of that method declares.
#[must_use]
pub fn declared(response: &Response, method: Method) -> Declared {
    let body = response_body(response, method, Version::Http2);
    Declared {
        length: match body.declared {
            write::Declared::Length(length) => Some(length),
            write::Declared::Nothing | write::Declared::Chunked => None,
        },
        has_content: body.sent != BodyKind::None,
    }
}

/// The fields of a shard's responses, kept between them.
#[derive(Debug, Default)]
pub struct Fields {
    /// By [`Known`].
    known: Vec<Slot>,
    others: Vec<(Box<[u8]>, Slot)>,
}

#[derive(Debug)]
struct Slot {
    name: HeaderName,
    value: Option<HeaderValue>,
    /// How often in a row the value was another.
    changes: u8,
}

impl Fields {
    /// The head of that response. `date` is the value of its Date field.
    pub fn response(
        &mut self,
        response: &Response,
        declared: Declared,
        date: &[u8],
    ) -> ::http::Response<()> {
        let mut fields = HeaderMap::with_capacity(response.headers.len() + 2);
        for (known, name, value) in response.headers.iter() {
            if !is_framing(known) {
                self.add(known, name, value, &mut fields);
            }
        }
        if let Some(length) = declared.length {
            fields.insert(header::CONTENT_LENGTH, length.into());
        }
        if !fields.contains_key(header::DATE) {
            self.add(Known::Date, b"date", date, &mut fields);
        }
        let mut head = ::http::Response::new(());
        *head.status_mut() = status(response.status);
        *head.headers_mut() = fields;
        head
    }

    /// Adds a field; one that cannot be sent is left out.
    fn add(&mut self, known: Known, name: &[u8], value: &[u8], fields: &mut HeaderMap) {
        let added = match self.slot(known, name) {
            Some(slot) => slot.value(value).map(|value| (slot.name.clone(), value)),
            None => HeaderName::from_bytes(name)
                .ok()
                .zip(HeaderValue::from_bytes(value).ok()),
        };
        if let Some((name, value)) = added {
            // Only beyond 24,576 fields is there no room.
            let _ = fields.try_append(name, value);
        }
    }

    fn slot(&mut self, known: Known, name: &[u8]) -> Option<&mut Slot> {
        if known != Known::Other {
            if self.known.is_empty() {
                self.known = Known::ALL
                    .iter()
                    .map(|known| Slot::new(known.name()))
                    .collect();
            }
            return self.known.get_mut(known as usize);
        }
        let at = self.others.iter().position(|(kept, _)| **kept == *name);
        let at = match at {
            Some(at) => at,
            None if self.others.len() >= OTHERS_KEPT_MAX => return None,
            None => {
                let made = HeaderName::from_bytes(name).ok()?;
                self.others.push((name.into(), Slot::of(made)));
                self.others.len() - 1
            }
        };
        self.others.get_mut(at).map(|(_, slot)| slot)
    }
}

impl Slot {
    fn new(name: &str) -> Self {
        // `Known` names are tokens; the last one, `Other`, is empty and never asked for.
        Self::of(HeaderName::from_bytes(name.as_bytes()).unwrap_or(header::DATE))
    }

    const fn of(name: HeaderName) -> Self {
        Self {
            name,
            value: None,
            changes: 0,
        }
    }

    fn value(&mut self, bytes: &[u8]) -> Option<HeaderValue> {
        if let Some(value) = &self.value
            && value.as_bytes() == bytes
        {
            self.changes = 0;
            return Some(value.clone());
        }
        let mut value = HeaderValue::from_bytes(bytes).ok()?;
        if self.changes < VOLATILE_AFTER {
            self.changes += 1;
            self.value = Some(value.clone());
        } else {
            self.value = None;
            value.set_sensitive(true);
        }
        Some(value)
    }
}

/// Trailer fields of a response.
#[must_use]
pub fn write_trailers(list: &HeaderList) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(list.len());
    for (known, name, value) in list.iter() {
        if known.is_forbidden_in_trailers() {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            let _ = fields.try_append(name, value);
        }
    }
    fields
}

/// An interim answer's head.
#[must_use]
pub fn interim(hint: &Hint) -> ::http::Response<()> {
    let mut head = ::http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(hint.status).unwrap_or(StatusCode::PROCESSING);
    *head.headers_mut() = write_trailers(&hint.headers);
    head
}

/// Fields that frame the message or concern the connection: in HTTP/2 frames say that (RFC 9113
/// §8.2.2).
pub(super) const fn is_framing(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::ContentLength
            | Known::Expect
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::TransferEncoding
            | Known::Upgrade
    )
}

/// A final status; a handler's mistake must not become an interim response.
fn status(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(status) if !status.is_informational() => status,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    fn head(fields: &mut Fields, response: &Response) -> ::http::Response<()> {
        let declared = declared(response, Method::Get);
        fields.response(response, declared, b"Sun, 06 Nov 1994 08:49:37 GMT")
    }

    #[test]
    fn a_head_has_its_fields_length_and_date() {
        let mut fields = Fields::default();
        let response = Response::json(201, &b"{}"[..])
            .with("X-Made-Up", "1")
            .with("x-made-up", "2")
            .with("Connection", "close")
            .with("Transfer-Encoding", "chunked")
            .with("Content-Length", "99");
        for _ in 0..2 {
            let head = head(&mut fields, &response);
            assert_eq!(head.status(), 201);
            let seen: Vec<_> = head.headers().iter().collect();
            let seen: Vec<_> = seen
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            assert_eq!(
                seen,
                [
                    ("content-type", "application/json"),
                    ("x-made-up", "1"),
                    ("x-made-up", "2"),
                    ("content-length", "2"),
                    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ]
            );
        }
    }

    #[test]
    fn values_that_change_each_time_stay_out_of_the_table() {
        let mut fields = Fields::default();
        let answer = |fields: &mut Fields, id: usize| {
            let id = id.to_string();
            let response = Response::new(204)
                .with("X-Request-Id", &id)
                .with("X-S", "s");
            let head = head(fields, &response);
            let value = |name: &str| head.headers().get(name).cloned().unwrap();
            assert_eq!(value("x-request-id"), id.as_str());
            assert!(!value("x-s").is_sensitive());
            value("x-request-id").is_sensitive()
        };
        assert!(!answer(&mut fields, 0));
        let later: Vec<bool> = (1..40).map(|id| answer(&mut fields, id)).collect();
        assert!(later[20..].iter().all(|&is_volatile| is_volatile));
    }

    #[test]
    fn content_follows_where_there_is_some() {
        let full = Response::new(200).body(b"abc".to_vec());
        let seen = |response: &Response, method| {
            let declared = declared(response, method);
            (declared.length, declared.has_content)
        };
        assert_eq!(seen(&full, Method::Get), (Some(3), true));
        assert_eq!(seen(&full, Method::Head), (Some(3), false));
        assert_eq!(seen(&Response::new(200), Method::Get), (Some(0), false));
        assert_eq!(seen(&Response::new(204), Method::Get), (None, false));
        let (_sender, receiver) = crate::base::channel::bounded(1);
        let stream = Response::new(200).body(Body::Stream(receiver));
        assert_eq!(seen(&stream, Method::Get), (None, true));
        let known = stream.with("Content-Length", "5");
        assert_eq!(seen(&known, Method::Get), (Some(5), true));
    }

    #[test]
    fn trailers_leave_without_what_may_not_come_late() {
        let mut list = HeaderList::new();
        for (name, value) in [
            ("X-Sum", "1"),
            ("Content-Length", "5"),
            ("Trailer", "X-Sum"),
        ] {
            list.push(name.as_bytes(), value.as_bytes());
        }
        let fields = write_trailers(&list);
        assert_eq!(fields.len(), 1);
        assert_eq!(fields["x-sum"], "1");
    }

    #[test]
    fn no_interim_status_leaves_as_a_final_one() {
        for code in [0, 99, 100, 101, 1000] {
            assert_eq!(status(code), 500);
        }
        assert_eq!(status(599), 599);
    }
}
