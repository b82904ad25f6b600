//! A request on its way to an upstream: which fields go along, which are added, which stay.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::{concerns_connection, value};
use crate::base::hash::fnv1a;
use crate::config::{Forwarded, HashKey, ProxyRoute};
use crate::handler::Incoming;
use crate::http::{Body, HeaderList, Known, Method, Version, is_field_value};
use crate::route::edited;
use crate::upstream::group::Outgoing;

/// This proxy's name in Via.
const VIA_NAME: &str = "ringway";

/// A request to an upstream. It owns everything, so that it may outlive the client's.
#[derive(Debug)]
pub struct Ask {
    /// The route's settings.
    pub settings: Arc<ProxyRoute>,
    /// The method.
    pub method: Method,
    /// Its spelling, where the method has none of its own.
    token: Option<Box<str>>,
    /// Path and query.
    pub target: String,
    /// All fields that are sent but those that frame the message.
    pub headers: HeaderList,
    /// The content.
    pub body: Body,
    /// Length of the content as the client declared it.
    pub declared: Option<u64>,
    /// The protocol that the client would like to switch to.
    pub switch_to: Option<Box<[u8]>>,
    /// Hash of what the balancer goes by.
    pub key: u64,
}

/// Fields of a request that do not go along as they are.
const OWN: u128 = Known::Host.bit()
    | Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::ProxyAuthorization.bit()
    | Known::Te.bit()
    | Known::Trailer.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit()
    | Known::ContentLength.bit()
    | Known::Expect.bit()
    | Known::XRealIp.bit()
    | Known::XRequestId.bit()
    | Known::Via.bit();
/// Fields that tell of proxies before this one.
const FORWARDED: u128 = Known::Forwarded.bit()
    | Known::XForwardedFor.bit()
    | Known::XForwardedHost.bit()
    | Known::XForwardedProto.bit();

impl Ask {
    /// What is sent of a client's request. `headers` is empty, for its memory.
    pub(super) fn new(
        settings: &Arc<ProxyRoute>,
        request: &Incoming<'_>,
        mut headers: HeaderList,
        key: u64,
    ) -> Self {
        headers.clear();
        fill(&mut headers, settings, request);
        let head = request.head;
        let token = match head.method {
            Method::Other => Some(Box::from(head.method_token())),
            _ => None,
        };
        let length = head.headers.get_str(Known::ContentLength);
        Self {
            settings: Arc::clone(settings),
            method: head.method,
            token,
            target: match settings.path.is_empty() {
                true => head.path_and_query().to_owned(),
                false => edited(&settings.path, &request.found, head).unwrap_or_default(),
            },
            headers,
            body: Body::Empty,
            declared: length.and_then(|length| length.parse().ok()),
            switch_to: switch(request).map(Box::from),
            key,
        }
    }

    /// A GET without content, of what another shard has sent.
    #[must_use]
    pub fn get(
        settings: &Arc<ProxyRoute>,
        (target, headers): (String, HeaderList),
        key: u64,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            method: Method::Get,
            token: None,
            target,
            headers,
            body: Body::Empty,
            declared: None,
            switch_to: None,
            key,
        }
    }

    /// The method as the client spelled it.
    #[must_use]
    pub fn method_token(&self) -> &str {
        self.token
            .as_deref()
            .unwrap_or_else(|| self.method.as_str())
    }

    /// The id that the upstream and the log know the request by.
    #[must_use]
    pub fn id(&self) -> &str {
        self.headers.get_str(Known::XRequestId).unwrap_or("-")
    }

    /// The content, made ready to be sent; `None` for none.
    pub(super) fn take_content(&mut self) -> Option<Box<Outgoing>> {
        match core::mem::take(&mut self.body) {
            Body::Empty => None,
            body => Some(Box::new(Outgoing::new(body, self.declared))),
        }
    }

    pub(super) fn into_list(self) -> HeaderList {
        self.headers
    }
}

/// The protocol to switch to, where client and request allow it: HTTP/1.1, Connection names
/// Upgrade, and no content, whose end the other protocol would not find.
fn switch<'a>(request: &Incoming<'a>) -> Option<&'a [u8]> {
    let headers = &request.head.headers;
    let protocol = headers.get(Known::Upgrade)?;
    let is_asked = request.head.version == Version::Http11
        && headers.lists(Known::Connection, b"upgrade")
        && matches!(request.body, Body::Empty)
        && is_field_value(protocol);
    // h2c would be a way around everything that is decided for each request.
    let is_http = protocol.len() >= 2
        && protocol
            .trim_ascii()
            .to_ascii_lowercase()
            .starts_with(b"h2");
    (is_asked && !is_http).then_some(protocol)
}

fn fill(headers: &mut HeaderList, settings: &ProxyRoute, request: &Incoming<'_>) {
    let from = &request.head.headers;
    let host = from.get(Known::Host).unwrap_or_default();
    let sent_host = settings.host.as_deref().map_or(host, str::as_bytes);
    headers.push_known(Known::Host, sent_host);
    let mut left_out = OWN;
    if settings.forwarded != Forwarded::Off {
        left_out |= FORWARDED;
    }
    if from.contains(Known::Connection) {
        let options: Vec<&[u8]> = options(from).collect();
        headers.append_if(from, |known, name| {
            known.bit() & left_out == 0
                && !options
                    .iter()
                    .any(|option| option.eq_ignore_ascii_case(name))
        });
    } else {
        headers.append_if(from, |known, _| known.bit() & left_out == 0);
    }
    forwarded(headers, settings, request, host);
    headers.push_known(Known::XRequestId, request.id.as_bytes(request.head));
    via(headers, request);
    if request.head.method == Method::Options
        && let Some(hops) = from.get_str(Known::MaxForwards)
        && let Ok(hops) = hops.parse::<u32>()
    {
        let mut text = Text::default();
        let _ = write!(text, "{}", hops.saturating_sub(1));
        headers.set(b"Max-Forwards", text.bytes());
    }
    for name in &settings.remove {
        headers.remove_by_name(name.as_bytes());
    }
    let mut made = Vec::new();
    for (name, value) in &settings.set {
        value::write(value, request, &mut made);
        if made.is_empty() {
            headers.remove_by_name(name.as_bytes());
        } else {
            headers.set(name.as_bytes(), &made);
        }
    }
}

/// What the Connection fields name.
fn options(headers: &HeaderList) -> impl Iterator<Item = &[u8]> {
    headers
        .all(Known::Connection)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Who asked, and for what: X-Real-IP, X-Forwarded-For and its kin, Forwarded (RFC 7239).
fn forwarded(headers: &mut HeaderList, settings: &ProxyRoute, request: &Incoming<'_>, host: &[u8]) {
    let mut text = Text::default();
    let _ = write!(text, "{}", request.client.address);
    headers.push_known(Known::XRealIp, text.bytes());
    if settings.forwarded == Forwarded::Off {
        return;
    }
    let peer = request.client.peer.ip().to_canonical();
    let scheme = if request.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let appends = settings.forwarded == Forwarded::Append;
    let before = &request.head.headers;
    if peer != request.client.address {
        text.clear();
        let _ = write!(text, "{peer}");
    }
    list(
        headers,
        (before, appends),
        Known::XForwardedFor,
        text.bytes(),
    );
    headers.push_known(Known::XForwardedProto, scheme.as_bytes());
    headers.push_known(Known::XForwardedHost, host);
    text.clear();
    let _ = match peer {
        IpAddr::V4(peer) => write!(text, "for={peer}"),
        IpAddr::V6(peer) => write!(text, "for=\"[{peer}]\""),
    };
    // A Host was checked: it holds nothing that would have to be quoted within quotes.
    let _ = text.write_all(b";host=\"");
    let _ = text.write_all(host);
    let _ = write!(text, "\";proto={scheme}");
    list(headers, (before, appends), Known::Forwarded, text.bytes());
}

/// Adds a field, behind what stands in those of its name already.
fn list(
    headers: &mut HeaderList,
    (before, appends): (&HeaderList, bool),
    known: Known,
    value: &[u8],
) {
    if !appends || !before.contains(known) {
        headers.push_known(known, value);
        return;
    }
    let mut whole = Vec::new();
    for earlier in before.all(known).filter(|earlier| !earlier.is_empty()) {
        whole.extend_from_slice(earlier);
        whole.extend_from_slice(b", ");
    }
    whole.extend_from_slice(value);
    headers.push_known(known, &whole);
}

/// RFC 9110 §7.6.3: a gateway says that it was there.
fn via(headers: &mut HeaderList, request: &Incoming<'_>) {
    let mut text = Text::default();
    let version = match request.head.version {
        crate::http::Version::Http10 => "1.0",
        crate::http::Version::Http11 => "1.1",
        crate::http::Version::Http2 => "2.0",
    };
    let _ = write!(text, "{version} {VIA_NAME}");
    list(
        headers,
        (&request.head.headers, true),
        Known::Via,
        text.bytes(),
    );
}

/// Takes out of an answer what concerns the upstream's connection, or is this server's to say.
pub(super) fn clean_answer(headers: &mut HeaderList, switches: bool) {
    const OWN: u128 = Known::Connection.bit()
        | Known::KeepAlive.bit()
        | Known::ProxyConnection.bit()
        | Known::Te.bit()
        | Known::Trailer.bit()
        | Known::TransferEncoding.bit()
        | Known::Upgrade.bit()
        | Known::XRequestId.bit();
    let named: Vec<Box<[u8]>> = match headers.contains(Known::Connection) {
        true => options(headers)
            .filter(|option| {
                !matches!(Known::of(option), Known::KeepAlive | Known::ContentLength)
                    && !option.eq_ignore_ascii_case(b"close")
            })
            .map(Box::from)
            .collect(),
        false => Vec::new(),
    };
    if switches {
        // A 101 says what it switches to; both fields are the client's to read.
        return headers.retain(|known, _, _| known != Known::XRequestId);
    }
    let goes = |known: Known, name: &[u8]| {
        concerns_connection(known)
            || known == Known::XRequestId
            || known == Known::Other
                && (name.eq_ignore_ascii_case(b"X-Process-Time")
                    || named.iter().any(|option| option.eq_ignore_ascii_case(name)))
            || !named.is_empty() && named.iter().any(|option| option.eq_ignore_ascii_case(name))
    };
    if headers.contains_any(OWN | Known::Other.bit()) || !named.is_empty() {
        headers.retain(|known, name, _| !goes(known, name));
    }
}

/// What the balancer goes by.
pub(super) fn key(key: &HashKey, request: &Incoming<'_>) -> u64 {
    let head = request.head;
    match key {
        HashKey::ClientIp => {
            let mut text = Text::default();
            let _ = write!(text, "{}", request.client.address);
            fnv1a(text.bytes())
        }
        HashKey::Uri => fnv1a(head.path_and_query().as_bytes()),
        HashKey::Path => fnv1a(head.route_path_bytes()),
        HashKey::Host => fnv1a(head.headers.get(Known::Host).unwrap_or_default()),
        HashKey::Header(name) => {
            let value = head.headers.get_by_name(name.as_bytes());
            fnv1a(value.unwrap_or_default())
        }
        HashKey::Cookie(name) => fnv1a(cookie(&head.headers, name.as_bytes())),
    }
}

fn cookie<'a>(headers: &'a HeaderList, name: &[u8]) -> &'a [u8] {
    headers
        .all(Known::Cookie)
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
        .unwrap_or_default()
}

/// A short text without a heap block.
#[derive(Default)]
struct Text(smallvec::SmallVec<[u8; 128]>);

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
