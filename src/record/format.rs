//! Access log lines: nginx's `main` of the seed, `combined`, JSON. Whatever a client sent is
//! escaped, so that no request can forge or break a line.

use core::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::civil::Civil;
use crate::config::LogFormat;
use crate::filter::RequestId;
use crate::http::{Known, RequestHead, UpstreamTimes, Version};

/// Everything a line may show.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) client: IpAddr,
    pub(super) handler: &'a str,
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    pub(super) elapsed: Duration,
    /// End of the exchange since the Unix epoch.
    pub(super) unix: Duration,
    pub(super) id: &'a RequestId,
    pub(super) upstream: Option<UpstreamTimes>,
}

/// `24/Nov/2026:08:00:00 +0000`, made once a second.
#[derive(Debug, Default)]
pub(super) struct DateCache {
    second: u64,
    text: String,
}

impl DateCache {
    fn at(&mut self, second: u64) -> &str {
        if self.second != second || self.text.is_empty() {
            let date = Civil::from_unix(second);
            self.second = second;
            self.text = format!(
                "{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000",
                date.day,
                date.month_name(),
                date.year,
                date.hour,
                date.minute,
                date.second
            );
        }
        &self.text
    }
}

impl Line<'_> {
    /// Appends the line with its line break.
    pub(super) fn write(&self, format: LogFormat, date: &mut DateCache, out: &mut Vec<u8>) {
        match format {
            LogFormat::Main => {
                self.combined(date, out);
                self.main_tail(out);
            }
            LogFormat::Combined => self.combined(date, out),
            LogFormat::Json => self.json(out),
        }
        out.push(b'\n');
    }

    fn combined(&self, date: &mut DateCache, out: &mut Vec<u8>) {
        push(out, format_args!("{} - - [", self.client));
        out.extend_from_slice(date.at(self.unix.as_secs()).as_bytes());
        out.extend_from_slice(b"] \"");
        self.request(out, push_text);
        let mut number = itoa::Buffer::new();
        out.extend_from_slice(b"\" ");
        out.extend_from_slice(number.format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(number.format(self.body_bytes).as_bytes());
        for field in [Known::Referer, Known::UserAgent] {
            self.field(field, out);
        }
    }

    fn main_tail(&self, out: &mut Vec<u8>) {
        self.field(Known::XForwardedFor, out);
        push(out, format_args!(" rt={}", Seconds(self.elapsed)));
        // Connections to servers are kept; what one cost is no figure of this request.
        out.extend_from_slice(b" uct=\"-\"");
        for (name, time) in [("uht", self.header()), ("urt", self.response())] {
            match time {
                Some(time) => push(out, format_args!(" {name}=\"{}\"", Seconds(time))),
                None => push(out, format_args!(" {name}=\"-\"")),
            }
        }
    }

    fn header(&self) -> Option<Duration> {
        self.upstream.map(|times| times.header)
    }

    fn response(&self) -> Option<Duration> {
        let times = self.upstream?;
        Some(times.response.unwrap_or(self.elapsed))
    }

    /// A request field in quotes, `-` if absent or empty.
    fn field(&self, name: Known, out: &mut Vec<u8>) {
        let value = self.head.header(name).filter(|value| !value.is_empty());
        out.extend_from_slice(b" \"");
        push_text(out, value.unwrap_or(b"-"));
        out.push(b'"');
    }

    /// The request line, `-` if none could be read.
    fn request(&self, out: &mut Vec<u8>, escaped: fn(&mut Vec<u8>, &[u8])) {
        let method = self.head.method_token();
        if method.is_empty() {
            out.push(b'-');
            return;
        }
        escaped(out, method.as_bytes());
        out.push(b' ');
        escaped(out, self.head.target().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.protocol().as_bytes());
    }

    fn protocol(&self) -> &'static str {
        match self.head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }

    fn json(&self, out: &mut Vec<u8>) {
        let date = Civil::from_unix(self.unix.as_secs());
        let text = date.to_string();
        let date = text.trim_end_matches('Z');
        push(
            out,
            format_args!("{{\"time\":\"{date}.{:03}Z\"", self.unix.subsec_millis()),
        );
        push(out, format_args!(",\"remote_addr\":\"{}\"", self.client));
        out.extend_from_slice(b",\"request_id\":\"");
        push_json(out, self.id.as_bytes(self.head));
        out.extend_from_slice(b"\",\"request\":\"");
        self.request(out, push_json);
        push(
            out,
            format_args!(
                "\",\"status\":{},\"body_bytes_sent\":{},\"request_time\":{},\"handler\":\"",
                self.status,
                self.body_bytes,
                Seconds(self.elapsed)
            ),
        );
        push_json(out, self.handler.as_bytes());
        for (name, field) in [
            ("http_referer", Known::Referer),
            ("http_user_agent", Known::UserAgent),
            ("http_x_forwarded_for", Known::XForwardedFor),
        ] {
            push(out, format_args!("\",\"{name}\":\""));
            push_json(out, self.head.header(field).unwrap_or(b""));
        }
        out.push(b'"');
        for (name, time) in [("header", self.header()), ("response", self.response())] {
            if let Some(time) = time {
                push(
                    out,
                    format_args!(",\"upstream_{name}_time\":{}", Seconds(time)),
                );
            }
        }
        out.push(b'}');
    }
}

/// Seconds with milliseconds, as nginx prints times.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

struct Appending<'a>(&'a mut Vec<u8>);

impl fmt::Write for Appending<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Appending to memory does not fail.
    Appending(out).write_fmt(text).unwrap_or(());
}

/// nginx's default escaping: quotes, backslashes and bytes outside printable ASCII as `\xHH`.
fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if byte == b'"' || byte == b'\\' || !(b' '..=b'~').contains(&byte) {
            push(out, format_args!("\\x{byte:02X}"));
        } else {
            out.push(byte);
        }
    }
}

/// JSON string content (RFC 8259 §7). Bytes that are no UTF-8 become U+FFFD.
fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                // DEL and C1 are legal in JSON but act on terminals.
                c if c.is_control() => push(out, format_args!("\\u{:04x}", u32::from(c))),
                c => push(out, format_args!("{c}")),
            }
        }
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
