//! Access log lines as JSON: a log record in OpenTelemetry's fields, its attributes named by the
//! semantic conventions for HTTP servers. What they have no name for stands under `ringway.`.

use crate::base::civil::Civil;
use crate::http::{Known, Method, Version};
use crate::record::escape::push_json;
use crate::record::format::{Line, host, protocol, push, push_address, push_seconds};

/// Severity numbers of OpenTelemetry's log data model.
const INFO: (&str, u8) = ("INFO", 9);
const ERROR: (&str, u8) = ("ERROR", 17);

pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    let head = line.head;
    let date = Civil::from_unix(line.unix.as_secs()).to_string();
    let date = date.trim_end_matches('Z');
    let millis = line.unix.subsec_millis();
    push(out, format_args!("{{\"timestamp\":\"{date}.{millis:03}Z\""));
    let (text, number) = if line.status >= 500 { ERROR } else { INFO };
    push(
        out,
        format_args!(",\"severity_text\":\"{text}\",\"severity_number\":{number},\"body\":\""),
    );
    if head.method_token().is_empty() {
        out.push(b'-');
    } else {
        push_json(out, head.method_token().as_bytes());
        out.push(b' ');
        push_json(out, head.target().as_bytes());
        out.push(b' ');
        out.extend_from_slice(protocol(head.version).as_bytes());
    }
    out.push(b'"');
    if let Some((trace, span)) = head.headers.get_by_name(b"traceparent").and_then(parent) {
        text_field(out, "trace_id", trace);
        text_field(out, "span_id", span);
    }
    out.extend_from_slice(b",\"attributes\":{");
    request(line, out);
    response(line, out);
    out.extend_from_slice(b"}}");
}

/// Trace id and span id of a `traceparent` (W3C Trace Context §3.2).
fn parent(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = value.trim_ascii().split(|&byte| byte == b'-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next()?;
    let is_hex = |part: &[u8], length: usize| {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        part.len() == length && part.iter().all(is_digit)
    };
    let is_zero = |part: &[u8]| part.iter().all(|&byte| byte == b'0');
    let is_sound = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16);
    (is_sound && version != b"ff" && !is_zero(trace) && !is_zero(span)).then_some((trace, span))
}

fn request(line: &Line<'_>, out: &mut Vec<u8>) {
    let head = line.head;
    out.extend_from_slice(b"\"client.address\":\"");
    push_address(out, line.client.address);
    out.extend_from_slice(b"\",\"network.peer.address\":\"");
    push_address(out, line.client.peer.ip());
    let port = line.client.peer.port();
    push(out, format_args!("\",\"network.peer.port\":{port}"));
    if head.method == Method::Other {
        text_field(out, "http.request.method", b"_OTHER");
        let original = head.method_token().as_bytes();
        text_field(out, "http.request.method_original", original);
    } else if !head.method_token().is_empty() {
        let method = head.method.as_str();
        text_field(out, "http.request.method", method.as_bytes());
    }
    let scheme: &[u8] = if line.seen.tls.is_some() {
        b"https"
    } else {
        b"http"
    };
    text_field(out, "url.scheme", scheme);
    if !head.path().is_empty() {
        text_field(out, "url.path", head.path().as_bytes());
    }
    if !head.query().is_empty() {
        text_field(out, "url.query", head.query().as_bytes());
    }
    if let Some(host) = host(head) {
        text_field(out, "server.address", host.as_bytes());
    }
    let version: &[u8] = match head.version {
        Version::Http10 => b"1.0",
        Version::Http11 => b"1.1",
        Version::Http2 => b"2",
    };
    text_field(out, "network.protocol.version", version);
    if let Some(agent) = head.header(Known::UserAgent) {
        text_field(out, "user_agent.original", agent);
    }
    for (name, known) in [
        ("http.request.header.referer", Known::Referer),
        ("http.request.header.x-forwarded-for", Known::XForwardedFor),
    ] {
        if head.headers.contains(known) {
            list_field(out, name, head.headers.all(known));
        }
    }
    if let Some(tls) = line.seen.tls {
        let version = tls.protocol.trim_start_matches("TLSv");
        text_field(out, "tls.protocol.version", version.as_bytes());
        text_field(out, "tls.cipher", tls.cipher.as_bytes());
        if let Some(name) = &tls.server_name {
            text_field(out, "tls.client.server_name", name.as_bytes());
        }
        push(out, format_args!(",\"tls.resumed\":{}", tls.is_resumed));
        if let Some(client) = &tls.client {
            text_field(out, "tls.client.subject", client.subject.as_bytes());
            text_field(out, "tls.client.issuer", client.issuer.as_bytes());
            // The convention wants upper case.
            let hash = client.fingerprint.to_ascii_uppercase();
            text_field(out, "tls.client.hash.sha1", hash.as_bytes());
        }
    }
}

fn response(line: &Line<'_>, out: &mut Vec<u8>) {
    text_field(out, "http.route", line.route.as_bytes());
    push(
        out,
        format_args!(
            ",\"http.response.status_code\":{},\"http.response.body.size\":{}",
            line.status, line.body_bytes
        ),
    );
    time_field(out, "http.server.request.duration", Some(line.elapsed));
    text_field(out, "ringway.request_id", line.id.as_bytes(line.head));
    if let Some(times) = line.response.upstream {
        time_field(out, "ringway.upstream.connect_time", times.connect);
        time_field(out, "ringway.upstream.header_time", Some(times.header));
        let response = times.response.unwrap_or(line.elapsed);
        time_field(out, "ringway.upstream.response_time", Some(response));
    }
}

fn text_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push(out, format_args!(",\"{name}\":\""));
    push_json(out, value);
    out.push(b'"');
}

fn list_field<'a>(out: &mut Vec<u8>, name: &str, values: impl Iterator<Item = &'a [u8]>) {
    push(out, format_args!(",\"{name}\":["));
    for (index, value) in values.enumerate() {
        out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
        push_json(out, value);
        out.push(b'"');
    }
    out.push(b']');
}

fn time_field(out: &mut Vec<u8>, name: &str, time: Option<core::time::Duration>) {
    if let Some(time) = time {
        push(out, format_args!(",\"{name}\":"));
        push_seconds(out, time);
    }
}
