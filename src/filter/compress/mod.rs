//! Compression of responses: which ones, in which coding, and what their fields say then. The
//! decision is made here, once the handler has answered; the work and its waits are the
//! server's (`server/encode.rs`).
//!
//! What is never encoded: answers without content, parts (206), what is encoded already,
//! `no-transform` (RFC 9111 §5.2.2.6), digests of the content (RFC 9530), types that are not
//! listed, and event streams unless they are asked for. Requests with Content-Encoding pass as
//! they are: they are the handler's.

mod encoder;
mod negotiate;
mod pool;
mod recompress;

pub use encoder::{EncodeError, Encoder, Shape};
pub use negotiate::negotiate;
pub use pool::{Encoders, Lent};
pub use recompress::{Desk, Done, Job, best};

use crate::config::Compression;
use crate::http::{Body, Coding, HeaderList, Known, Method, Piece, RequestHead, Response, Shelf};

/// Fields whose values are wrong for any other form of the content.
const DIGESTS: [&[u8]; 3] = [b"Content-Digest", b"Repr-Digest", b"Content-MD5"];

/// The rules of one configuration, and one shard's encoders.
#[derive(Debug)]
pub struct Compressor {
    offered: Vec<Coding>,
    min_length: u64,
    types: Vec<Box<[u8]>>,
    event_streams: bool,
    encoders: Encoders,
    shelf: Shelf,
    desk: Desk,
}

/// What is left to do after [`Compressor::decide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The coding the client wants.
    pub coding: Coding,
    /// How large an encoder it takes.
    pub shape: Shape,
    /// Whether what was encoded goes out before the next wait.
    pub flushes: bool,
}

impl Compressor {
    /// The filter of one shard, whose kept encodings stand on `shelf` and are made smaller at
    /// `desk`.
    #[must_use]
    pub fn new(config: &Compression, shelf: &Shelf, desk: Desk) -> Self {
        Self {
            offered: config.encodings.clone(),
            // Nothing is long enough where nothing is offered: one branch for both.
            min_length: if config.encodings.is_empty() {
                u64::MAX
            } else {
                config.min_length
            },
            types: config
                .types
                .iter()
                .map(|text| text.as_bytes().into())
                .collect(),
            event_streams: config.event_streams,
            encoders: Encoders::new(config.levels),
            shelf: shelf.clone(),
            desk,
        }
    }

    /// The shard's encoders.
    #[must_use]
    pub const fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// Where encodings are kept.
    #[must_use]
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Where kept encodings are made smaller.
    #[must_use]
    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Decides what becomes of a response. An encoding that is kept stands in the response
    /// then; anything else that is to be encoded is returned as a plan.
    #[inline]
    pub fn decide(&self, request: &RequestHead, response: &mut Response) -> Option<Plan> {
        let may_be_long_enough = match &response.body {
            Body::Full(bytes) => bytes.len() as u64 >= self.min_length,
            Body::Static(bytes) => bytes.len() as u64 >= self.min_length,
            Body::Stored(stored) => stored.identity().len() as u64 >= self.min_length,
            Body::Stream(_) => true,
            Body::Source(source) => source.length().is_none_or(|len| len >= self.min_length),
            Body::Pieces(pieces) => pieces.iter().map(Piece::len).sum::<u64>() >= self.min_length,
            Body::Tunnel(_) => false,
            Body::Empty => request.method == Method::Head,
        };
        if !may_be_long_enough || self.offered.is_empty() {
            return None;
        }
        self.negotiate(request, response)
    }

    fn negotiate(&self, request: &RequestHead, response: &mut Response) -> Option<Plan> {
        let is_events = self.takes(response)?;
        vary(&mut response.headers);
        let coding = negotiate(&request.headers, &self.offered)?;
        if let Body::Stored(stored) = &response.body
            && let Some(bytes) = stored.variant(coding)
        {
            self.desk.ask(stored, coding);
            response.body = Body::Full(bytes);
            mark(&mut response.headers, coding);
            return None;
        }
        let shape = match content_length(response) {
            _ if is_events => Shape::Events,
            Some(length) => Shape::Whole(length),
            None => Shape::Stream,
        };
        let unbuffered = response.headers.get(Known::XAccelBuffering);
        Some(Plan {
            coding,
            shape,
            flushes: is_events || unbuffered.is_some_and(|value| value == b"no"),
        })
    }

    /// Whether the content may be encoded; `Some(true)` if it is an event stream.
    fn takes(&self, response: &Response) -> Option<bool> {
        let headers = &response.headers;
        let is_excluded = matches!(response.status, 100..=199 | 204 | 206 | 304)
            || headers.contains(Known::ContentRange)
            || headers
                .all(Known::ContentEncoding)
                .any(|value| !value.eq_ignore_ascii_case(b"identity"))
            || content_length(response).is_some_and(|length| length < self.min_length);
        if is_excluded {
            return None;
        }
        let media = headers.get(Known::ContentType)?;
        let media = media.split(|&byte| byte == b';').next()?.trim_ascii();
        let is_events = media.eq_ignore_ascii_case(b"text/event-stream");
        let is_listed = if is_events {
            self.event_streams
        } else {
            self.types.iter().any(|listed| matches_type(listed, media))
        };
        let is_taken = is_listed
            && !headers.lists(Known::CacheControl, b"no-transform")
            && !DIGESTS
                .iter()
                .any(|name| headers.get_by_name(name).is_some());
        is_taken.then_some(is_events)
    }
}

impl Plan {
    /// Puts encoded content in place of the response's own. For HEAD, where its length is not
    /// known, that is [`Body::Empty`]: the fields of GET but that one (RFC 9110 §9.3.2).
    pub fn finish(self, response: &mut Response, body: impl Into<Body>) {
        response.body = body.into();
        mark(&mut response.headers, self.coding);
    }
}

/// Length of the content before it is encoded, where it is known.
fn content_length(response: &Response) -> Option<u64> {
    let own = || response.headers.get_str(Known::ContentLength)?.parse().ok();
    match &response.body {
        Body::Stream(_) | Body::Empty => own(),
        body => body.len(),
    }
}

fn matches_type(listed: &[u8], media: &[u8]) -> bool {
    match listed {
        b"*" => true,
        [kind @ .., b'*'] => media
            .get(..kind.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(kind)),
        listed => listed.eq_ignore_ascii_case(media),
    }
}

/// Says that the response depends on Accept-Encoding, whether or not this one is encoded.
fn vary(headers: &mut HeaderList) {
    if headers.lists(Known::Vary, b"*") || headers.lists(Known::Vary, b"Accept-Encoding") {
        return;
    }
    match headers.get(Known::Vary) {
        None => headers.push_known(Known::Vary, b"Accept-Encoding"),
        Some(_) => {
            let own: Vec<&[u8]> = headers.all(Known::Vary).collect();
            let mut merged = own.join(&b", "[..]);
            merged.extend_from_slice(b", Accept-Encoding");
            headers.set(b"Vary", &merged);
        }
    }
}

/// What the fields of an encoded response say. Its strong entity tag becomes a weak one: the
/// bytes differ, the meaning does not (RFC 9110 §8.8.1). Lengths and ranges were those of the
/// other form.
fn mark(headers: &mut HeaderList, coding: Coding) {
    let strong = headers
        .get(Known::Etag)
        .filter(|tag| !tag.starts_with(b"W/"));
    let weak = strong.map(|tag| [b"W/", tag].concat());
    let goes = |known| match known {
        Known::ContentLength | Known::AcceptRanges | Known::ContentEncoding => true,
        Known::Etag => weak.is_some(),
        _ => false,
    };
    if headers.iter().any(|(known, ..)| goes(known)) {
        headers.retain(|known, _, _| !goes(known));
    }
    if let Some(weak) = weak {
        headers.push_known(Known::Etag, &weak);
    }
    headers.push_known(Known::ContentEncoding, coding.name().as_bytes());
}

#[cfg(test)]
mod tests;
