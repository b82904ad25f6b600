//! The MCP endpoint as HTTP sees it: who may speak to it, in which forms, with which methods.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::Scope;
use super::gateway::Gateway;
use crate::base::clock::Now;
use crate::http::{Body, BodyError, Frame, Known, Method, RequestHead, Response};
use crate::mcp::era::{Field, Headers};
use crate::mcp::jsonrpc::{self, INVALID_REQUEST};

/// An HTTP request to the gateway.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// Method, target and fields.
    pub head: &'a RequestHead,
    /// What follows the path of the gateway's route: empty, `/` or `/{server}`.
    pub below: &'a str,
    /// The content.
    pub body: Body,
    /// The largest content that its route takes, in bytes, if that is its own.
    pub body_bytes_max: Option<u64>,
    /// When the head was complete.
    pub now: Now,
    /// To the transport of 2024-11-05.
    pub is_former: bool,
}

/// The forms of an answer that a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accept {
    pub(super) json: bool,
    pub(super) events: bool,
}

const ALLOW: &str = "POST, GET, DELETE, OPTIONS";

impl Gateway {
    /// Answers an HTTP request. `response` is empty at first.
    pub async fn handle(self: &Rc<Self>, request: HttpRequest<'_>, response: &mut Response) {
        let origin = request.head.header(Known::Origin);
        if !self.may_ask(request.head, origin) {
            let why = "This Host or Origin may not use the gateway; see mcp.allowed_origins";
            return refuse(response, 403, why);
        }
        let Some(scope) = self.scope(request.below) else {
            return refuse(response, 404, "No such MCP server");
        };
        match request.head.method {
            Method::Options => options(request.head, response),
            _ if request.is_former => self.former(scope, request, response).await,
            Method::Post => self.post(scope, request, response).await,
            Method::Get => self.get(scope, request.head, request.now, response),
            Method::Delete => self.delete(request.head, request.now, response),
            _ => {
                refuse(
                    response,
                    405,
                    "MCP takes POST; sessions also GET and DELETE",
                );
                response.headers.push(b"Allow", ALLOW.as_bytes());
            }
        }
        if let Some(origin) = origin {
            let headers = &mut response.headers;
            headers.push(b"Access-Control-Allow-Origin", origin);
            headers.push(b"Access-Control-Expose-Headers", b"Mcp-Session-Id");
            headers.push(b"Vary", b"Origin");
        }
    }

    async fn post(
        self: &Rc<Self>,
        scope: Scope,
        request: HttpRequest<'_>,
        response: &mut Response,
    ) {
        let head = request.head;
        let Some(accept) = Accept::of(head) else {
            let why = "Accept must allow application/json and text/event-stream";
            return refuse(response, 406, why);
        };
        if !is_json(head) {
            return refuse(response, 415, "Content-Type must be application/json");
        }
        let max = self.body_bytes_max(&request);
        let Some(bytes) = read_message(request.body, max, response).await else {
            return;
        };
        self.take(scope, (head, accept, request.now), bytes, response)
            .await;
    }

    /// The largest content that a request may have.
    pub(super) fn body_bytes_max(&self, request: &HttpRequest<'_>) -> u64 {
        let common = self.config.borrow().server.max_body_size;
        request.body_bytes_max.unwrap_or(common)
    }

    /// Which servers a path means.
    fn scope(&self, below: &str) -> Option<Scope> {
        let name = below.trim_start_matches('/').trim_end_matches('/');
        if name.is_empty() {
            return Some(Scope::Merged);
        }
        let name = decoded(name);
        self.named(&name).map(Scope::One)
    }

    /// Whether a listener names that host: then it is no foreign one.
    fn is_listened_for(&self, host: &[u8]) -> bool {
        let name = host_of(host);
        let config = self.config.borrow();
        let mut names = config.listeners.iter().flat_map(|one| &one.hosts);
        names.any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Guards against pages that reach this gateway through a browser: a foreign `Origin`, or,
    /// where only this machine is listened to, a foreign `Host` (DNS rebinding).
    fn may_ask(&self, head: &RequestHead, origin: Option<&[u8]>) -> bool {
        let config = self.config.borrow();
        let allowed = &config.mcp.allowed_origins;
        if allowed.iter().any(|known| known == "*") {
            return true;
        }
        if let Some(origin) = origin {
            let is_allowed = allowed
                .iter()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(origin));
            if !is_allowed && !authority(origin).is_some_and(is_this_machine) {
                return false;
            }
        }
        match head.header(Known::Host) {
            Some(host) if self.is_local.get() => {
                is_this_machine(host)
                    || self.is_listened_for(host)
                    || allowed.iter().any(|known| {
                        authority(known.as_bytes())
                            .is_some_and(|known| host_of(known).eq_ignore_ascii_case(host_of(host)))
                    })
            }
            _ => true,
        }
    }
}

impl Accept {
    /// `None` if the client takes nothing that we have. A client that says nothing takes all.
    fn of(head: &RequestHead) -> Option<Self> {
        let mut accept = Self {
            json: false,
            events: false,
        };
        let mut said = false;
        for value in head.headers.all(Known::Accept) {
            for range in value.split(|&byte| byte == b',') {
                said = true;
                let kind = range.split(|&byte| byte == b';').next().unwrap_or_default();
                let kind = kind.trim_ascii();
                let is = |name: &[u8]| kind.eq_ignore_ascii_case(name);
                accept.json |= is(b"application/json") || is(b"*/*") || is(b"application/*");
                accept.events |= is(b"text/event-stream") || is(b"*/*") || is(b"text/*");
            }
        }
        if !said {
            return Some(Self {
                json: true,
                events: true,
            });
        }
        (accept.json || accept.events).then_some(accept)
    }

    pub(super) fn events(head: &RequestHead) -> bool {
        Self::of(head).is_some_and(|accept| accept.events)
    }
}

/// The fields that say what a request is.
pub(super) fn headers(head: &RequestHead) -> Headers<'_> {
    let field = |known| {
        let mut values = head.headers.all(known);
        match values.next() {
            None => Field::Absent,
            Some(first) if values.all(|other| other == first) => Field::Value(first.trim_ascii()),
            Some(_) => Field::Conflicting,
        }
    };
    Headers {
        version: field(Known::McpProtocolVersion),
        method: field(Known::McpMethod),
        name: field(Known::McpName),
    }
}

/// A JSON response.
pub(super) fn json(response: &mut Response, status: u16, message: Bytes) {
    response.status = status;
    response.headers.push(b"Content-Type", b"application/json");
    response.body = Body::Full(message);
}

/// An error that belongs to no request, or to none that could be read.
pub(super) fn refuse(response: &mut Response, status: u16, why: &str) {
    json(
        response,
        status,
        jsonrpc::error(b"", INVALID_REQUEST, why, None),
    );
}

/// Also a preflight's answer: it has an allowed `Origin`, or none and then nobody reads this.
fn options(head: &RequestHead, response: &mut Response) {
    response.status = 204;
    let headers = &mut response.headers;
    headers.push(b"Allow", ALLOW.as_bytes());
    headers.push(b"Access-Control-Allow-Methods", b"POST, GET, DELETE");
    // Tools name headers of their own (Mcp-Param-…), so every one asked for is allowed.
    let asked = head.headers.get_by_name(b"access-control-request-headers");
    headers.push(b"Access-Control-Allow-Headers", asked.unwrap_or(b"*"));
    headers.push(b"Access-Control-Max-Age", b"86400");
}

/// No Content-Type passes: what is not JSON fails soon enough. A form does not, because pages
/// may send forms anywhere unasked.
pub(super) fn is_json(head: &RequestHead) -> bool {
    let Some(value) = head.header(Known::ContentType) else {
        return true;
    };
    let kind = value.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// The whole content of a post; `None` once it has been refused.
pub(super) async fn read_message(body: Body, max: u64, response: &mut Response) -> Option<Bytes> {
    match collect(body, max).await {
        Ok(bytes) => return Some(bytes),
        Err(BodyError::TooLarge) => refuse(response, 413, "The message is too large"),
        Err(BodyError::TimedOut) => refuse(response, 408, "The message took too long"),
        Err(error) => refuse(response, 400, &error.to_string()),
    }
    None
}

pub(super) async fn collect(body: Body, max: u64) -> Result<Bytes, BodyError> {
    let fits = |len: usize| {
        if len as u64 > max {
            Err(BodyError::TooLarge)
        } else {
            Ok(())
        }
    };
    let mut pieces = match body {
        Body::Empty => return Ok(Bytes::new()),
        Body::Static(bytes) => return Ok(Bytes::from_static(bytes)),
        Body::Full(bytes) => {
            fits(bytes.len())?;
            return Ok(bytes);
        }
        Body::Stored(stored) => {
            let bytes = stored.identity();
            fits(bytes.len())?;
            return Ok(bytes.clone());
        }
        // Requests are not made of files or answers.
        Body::Pieces(_) | Body::Source(_) | Body::Tunnel(_) => return Err(BodyError::Malformed),
        Body::Stream(pieces) => pieces,
    };
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.recv().await {
        if let Frame::Data(bytes) = piece? {
            fits(whole.len() + bytes.len())?;
            whole.extend_from_slice(&bytes);
        }
    }
    Ok(whole.freeze())
}

/// `host[:port]` of an origin.
fn authority(origin: &[u8]) -> Option<&[u8]> {
    origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"))
}

/// The host of `host[:port]`.
fn host_of(authority: &[u8]) -> &[u8] {
    if authority.starts_with(b"[") {
        let end = authority.iter().position(|&byte| byte == b']');
        return end.map_or(authority, |end| authority.get(..=end).unwrap_or(authority));
    }
    authority
        .split(|&byte| byte == b':')
        .next()
        .unwrap_or(authority)
}

/// Whether `host[:port]` can only mean this machine.
fn is_this_machine(authority: &[u8]) -> bool {
    let host = host_of(authority);
    if host.eq_ignore_ascii_case(b"localhost") {
        return true;
    }
    let text = core::str::from_utf8(host).unwrap_or_default();
    let text = text.trim_start_matches('[').trim_end_matches(']');
    text.parse::<IpAddr>()
        .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A path segment with its percent-encoding resolved (RFC 3986 §2.1).
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|pair| core::str::from_utf8(pair).ok());
        let value = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value.filter(|_| first == b'%') {
            Some(value) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
