//! Writes message heads. Framing fields are written here and nowhere else: those that a caller
//! put into its list are left out, so that two framings never meet in one message.

use crate::http::h1::BodyKind;
use crate::http::{Body, HeaderList, Known, Method, Response, Version, reason};

/// How a response's content is framed.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct ResponseBody {
    /// What the head says.
    pub(in crate::http) declared: Declared,
    /// What is then sent.
    pub(in crate::http) sent: BodyKind,
}

/// Which framing field a head carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// Decides the framing of a response (RFC 9112 §6.3 from the sender's side).
pub(in crate::http) fn response_body(
    response: &Response,
    method: Method,
    version: Version,
) -> ResponseBody {
    let status = response.status;
    let is_tunnel = method == Method::Connect && (200..300).contains(&status);
    if is_tunnel || matches!(status, 100..=199 | 204) {
        return ResponseBody {
            declared: Declared::Nothing,
            sent: BodyKind::None,
        };
    }
    let has_no_body = method == Method::Head || status == 304;
    let declared = match (&response.body, response.body.len()) {
        (Body::Stream(_) | Body::Source(_), _) => match own_length(&response.headers) {
            Some(length) => Declared::Length(length),
            None if version == Version::Http10 => Declared::Nothing,
            None => Declared::Chunked,
        },
        (_, Some(length)) if !has_no_body || length > 0 => Declared::Length(length),
        // The handler left the content out, and may still know how long it would have been.
        _ => own_length(&response.headers).map_or(Declared::Nothing, Declared::Length),
    };
    let sent = match declared {
        _ if has_no_body => BodyKind::None,
        Declared::Length(0) => BodyKind::None,
        Declared::Length(length) => BodyKind::Length(length),
        Declared::Chunked => BodyKind::Chunked,
        Declared::Nothing => BodyKind::UntilClose,
    };
    ResponseBody { declared, sent }
}

fn own_length(headers: &HeaderList) -> Option<u64> {
    headers.get_str(Known::ContentLength)?.parse().ok()
}

/// Whether a Connection field says `close`.
pub(super) fn asks_close(headers: &HeaderList) -> bool {
    headers.lists(Known::Connection, b"close")
}

/// Writes a response head up to its last line, behind which others may follow before the empty
/// one. `connection` is a whole field line.
pub(super) fn response_head(
    response: &Response,
    declared: Declared,
    connection: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    out.reserve(128 + response.headers.wire().len());
    status_line(response.status, out);
    // A switch of protocols is announced by exactly these two fields (RFC 9110 §7.8).
    let switches = response.status == 101;
    fields(&response.headers, out, |known| {
        switches && matches!(known, Known::Connection | Known::Upgrade)
    });
    framing(declared, out);
    if let Some(line) = connection {
        out.extend_from_slice(line);
    }
}

/// Writes a request head.
pub(super) fn request_head(
    method: &str,
    target: &str,
    headers: &HeaderList,
    declared: Declared,
    out: &mut Vec<u8>,
) {
    out.reserve(64 + method.len() + target.len() + headers.wire().len());
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(headers, out, |_| false);
    framing(declared, out);
    out.extend_from_slice(b"\r\n");
}

/// Fields that the codec writes itself, or that concern another connection.
const OWN: u128 = Known::Connection.bit()
    | Known::ContentLength.bit()
    | Known::Expect.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit();

fn fields(headers: &HeaderList, out: &mut Vec<u8>, keep: impl Fn(Known) -> bool) {
    if !headers.contains_any(OWN) {
        out.extend_from_slice(headers.wire());
        return;
    }
    for (known, name, value) in headers.iter() {
        if known.bit() & OWN == 0 || keep(known) {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn framing(declared: Declared, out: &mut Vec<u8>) {
    match declared {
        Declared::Nothing => {}
        Declared::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Declared::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    // Three digits whatever the number, so that a handler's mistake stays one line.
    let status = status.clamp(100, 999);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}
