//! Access log lines from templates: nginx's variables, in nginx's spelling of their values.

use core::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::base64::{self, Alphabet};
use crate::base::civil::Civil;
use crate::config::{Escape, Field, LogFormat, Piece, Template, Variable};
use crate::filter::limit::{Decided, Passed};
use crate::filter::{Client, RequestId};
use crate::http::{AskedServer, HeaderList, Known, RequestHead, Response, UpstreamTimes, Version};
use crate::record::escape::{push_json, push_text};
use crate::record::{Seen, json};
use crate::tls::seen::ClientCertificate;

/// Everything a line may show.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) response: &'a Response,
    pub(super) client: Client,
    pub(super) seen: Seen<'a>,
    pub(super) route: &'a str,
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    /// The head too.
    pub(super) sent_bytes: u64,
    pub(super) is_complete: bool,
    pub(super) passed: &'a Passed,
    pub(super) elapsed: Duration,
    /// End of the exchange since the Unix epoch.
    pub(super) unix: Duration,
    pub(super) id: &'a RequestId,
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
    pub(super) fn write(&self, format: &LogFormat, date: &mut DateCache, out: &mut Vec<u8>) {
        match format {
            LogFormat::Json => json::write(self, out),
            LogFormat::Template(template) => self.template(template, date, out),
        }
        out.push(b'\n');
    }

    fn template(&self, template: &Template, date: &mut DateCache, out: &mut Vec<u8>) {
        for piece in &*template.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => {
                    let mut value = Value {
                        escape: template.escape,
                        out,
                    };
                    self.variable(variable, date, &mut value);
                }
            }
        }
    }

    fn variable(&self, variable: &Variable, date: &mut DateCache, to: &mut Value<'_>) {
        let head = self.head;
        match variable {
            Variable::RemoteAddr => push_address(to.out, self.client.address),
            Variable::RemotePort => to.number(self.client.peer.port().into()),
            Variable::RealipRemoteAddr => push_address(to.out, self.client.peer.ip()),
            Variable::RemoteUser => to.text(remote_user(head).as_deref()),
            Variable::TimeLocal => to.safe(date.at(self.unix.as_secs())),
            Variable::BracketedTime => {
                to.safe("[");
                to.safe(date.at(self.unix.as_secs()));
                to.safe("]");
            }
            Variable::Request => self.request(to),
            Variable::RequestMethod => to.text(some(head.method_token())),
            Variable::RequestUri => to.text(some(head.target())),
            Variable::Uri | Variable::DocumentUri => to.text(some(head.route_path())),
            Variable::Path => to.text(some(head.path())),
            Variable::Args | Variable::QueryString => to.text(some(head.query())),
            Variable::Query => to.text(Some(head.query().as_bytes())),
            Variable::IsArgs if head.query().is_empty() => {}
            Variable::IsArgs => to.safe("?"),
            Variable::ServerProtocol => to.safe(protocol(head.version)),
            Variable::Host => to.text(host(head).as_deref().map(str::as_bytes)),
            Variable::ContentType => to.text(head.header(Known::ContentType)),
            Variable::ContentLength => to.text(head.header(Known::ContentLength)),
            Variable::Http(field) => to.fields(&head.headers, field),
            Variable::SentHttp(field) => to.fields(&self.response.headers, field),
            Variable::Status => to.number(self.status.into()),
            Variable::BodyBytesSent => to.number(self.body_bytes),
            Variable::BytesSent => to.number(self.sent_bytes),
            Variable::RequestLength => to.number(self.seen.request_bytes),
            Variable::RequestCompletion if self.is_complete => to.safe("OK"),
            Variable::Arg(name) => to.text(argument(head.query(), name)),
            Variable::CookieNamed(name) => to.text(cookie(&head.headers, name)),
            Variable::RequestId => to.text(Some(self.id.as_bytes(head))),
            Variable::Route => to.text(Some(self.route.as_bytes())),
            Variable::Pid => to.number(std::process::id().into()),
            other => self.time_or_transport(other, to),
        }
    }

    fn limits_or_servers(&self, variable: &Variable, to: &mut Value<'_>) {
        let decided = |decided: Option<Decided>, to: &mut Value<'_>| match decided {
            Some(decided) => to.safe(decided.name()),
            None => to.text(None),
        };
        match variable {
            Variable::LimitReqStatus => decided(self.passed.rate.get(), to),
            Variable::LimitConnStatus => decided(self.passed.place.get(), to),
            Variable::UpstreamAddr => {
                self.asked(to, |server, to| to.text(Some(server.address.as_bytes())));
            }
            Variable::UpstreamStatus => self.asked(to, |server, to| match server.status {
                Some(status) => to.number(status.into()),
                None => to.text(None),
            }),
            Variable::UpstreamConnectTime => self.times(to, |times| times.connect),
            Variable::UpstreamHeaderTime => self.times(to, |times| Some(times.header)),
            Variable::UpstreamResponseTime => {
                self.times(to, |times| Some(times.response.unwrap_or(self.elapsed)));
            }
            Variable::Connection => to.number(self.seen.connection),
            Variable::ConnectionRequests => to.number(self.seen.requests),
            Variable::Pipe => to.safe(if self.seen.is_pipelined { "p" } else { "." }),
            other => self.client_certificate(other, to),
        }
    }

    /// One value for each server that was asked, as nginx lists them.
    fn asked(&self, to: &mut Value<'_>, mut one: impl FnMut(&AskedServer, &mut Value<'_>)) {
        for (index, server) in self.response.asked.iter().enumerate() {
            to.safe(if index > 0 { ", " } else { "" });
            one(server, to);
        }
        if self.response.asked.is_empty() {
            to.text(None);
        }
    }

    fn times(&self, to: &mut Value<'_>, of: impl Fn(&UpstreamTimes) -> Option<Duration>) {
        let last = self.response.upstream.as_ref();
        if self.response.asked.is_empty() {
            return to.time(last.and_then(&of));
        }
        self.asked(to, |server, to| {
            to.time(server.times.as_ref().or(last).and_then(&of))
        });
    }

    fn time_or_transport(&self, variable: &Variable, to: &mut Value<'_>) {
        let tls = self.seen.tls;
        match variable {
            Variable::TimeIso8601 => {
                let date = Civil::from_unix(self.unix.as_secs()).to_string();
                to.safe(date.trim_end_matches('Z'));
                to.safe("+00:00");
            }
            Variable::Msec => push_seconds(to.out, self.unix),
            Variable::RequestTime => push_seconds(to.out, self.elapsed),
            Variable::Micros => to.number(micros(self.elapsed)),
            Variable::Millis => to.number(micros(self.elapsed) / 1_000),
            Variable::WholeSeconds => to.number(self.elapsed.as_secs()),
            Variable::SecondsMicros => {
                let (whole, part) = (self.elapsed.as_secs(), self.elapsed.subsec_micros());
                push(to.out, format_args!("{whole}.{part:06}"));
            }
            Variable::UpstreamCacheStatus => to.text(self.response.cache.map(str::as_bytes)),
            Variable::Scheme => to.safe(if tls.is_some() { "https" } else { "http" }),
            Variable::Https if tls.is_some() => to.safe("on"),
            Variable::SslProtocol => to.text(tls.map(|tls| tls.protocol.as_bytes())),
            Variable::SslCipher => to.text(tls.map(|tls| tls.cipher.as_bytes())),
            Variable::SslServerName => {
                let name = tls.and_then(|tls| tls.server_name.as_deref());
                to.text(name.map(str::as_bytes));
            }
            Variable::SslSessionReused => match tls {
                Some(tls) => to.safe(if tls.is_resumed { "r" } else { "." }),
                None => to.text(None),
            },
            Variable::SslClientVerify => {
                to.text(tls.map(|tls| tls.client_verify().as_bytes()));
            }
            Variable::Http2 if self.head.version == Version::Http2 => {
                to.safe(if tls.is_some() { "h2" } else { "h2c" });
            }
            other => self.limits_or_servers(other, to),
        }
    }

    fn client_certificate(&self, variable: &Variable, to: &mut Value<'_>) {
        let client = self.seen.tls.and_then(|tls| tls.client.as_deref());
        let value = |pick: fn(&ClientCertificate) -> &str| client.map(|one| pick(one).as_bytes());
        match variable {
            Variable::SslClientSubject => to.text(value(|one| &one.subject)),
            Variable::SslClientIssuer => to.text(value(|one| &one.issuer)),
            Variable::SslClientSerial => to.text(value(|one| &one.serial)),
            Variable::SslClientFingerprint => to.text(value(|one| &one.fingerprint)),
            _ => {}
        }
    }

    /// The request line, `-` if none could be read.
    fn request(&self, to: &mut Value<'_>) {
        let method = self.head.method_token();
        if method.is_empty() {
            return to.text(None);
        }
        to.text(Some(method.as_bytes()));
        to.safe(" ");
        to.text(Some(self.head.target().as_bytes()));
        to.safe(" ");
        to.safe(protocol(self.head.version));
    }
}

/// Where a variable's value goes.
struct Value<'a> {
    escape: Escape,
    out: &'a mut Vec<u8>,
}

impl Value<'_> {
    /// What a peer sent, or nothing.
    fn text(&mut self, text: Option<&[u8]>) {
        match (text, self.escape) {
            (Some(text), Escape::Default) => push_text(self.out, text),
            (Some(text), Escape::Json) => push_json(self.out, text),
            (None, Escape::Default) => self.out.push(b'-'),
            (None, Escape::Json) => {}
        }
    }

    /// What needs no escaping.
    fn safe(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        let mut digits = itoa::Buffer::new();
        self.safe(digits.format(number));
    }

    fn time(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => push_seconds(self.out, time),
            None => self.text(None),
        }
    }

    /// All fields of a name, as nginx joins them.
    fn fields(&mut self, headers: &HeaderList, field: &Field) {
        match field {
            Field::Known(known) if !headers.contains(*known) => self.text(None),
            Field::Known(Known::Cookie) => self.joined("; ", headers.all(Known::Cookie)),
            Field::Known(known) => self.joined(", ", headers.all(*known)),
            Field::Named(name) => {
                let all = headers.iter();
                let all = all.filter(|(_, own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
                self.joined(", ", all.map(|(_, _, value)| value));
            }
        }
    }

    fn joined<'a>(&mut self, between: &str, mut values: impl Iterator<Item = &'a [u8]>) {
        let first = values.next();
        self.text(first);
        for value in values {
            self.safe(between);
            self.text(Some(value));
        }
    }
}

fn some(text: &str) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text.as_bytes())
}

/// The value of a query's first argument of that name, as it was sent.
fn argument<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    let pairs = query.trim_start_matches('?').split('&');
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_bytes())
}

/// The value of the first cookie of that name.
fn cookie<'a>(headers: &'a HeaderList, name: &str) -> Option<&'a [u8]> {
    let mut pairs = headers
        .all(Known::Cookie)
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| {
        let (own, value) = pair.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=")?;
        own.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })
}

pub(super) const fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}

/// The name a client asked for, without its port, in lower case.
pub(super) fn host(head: &RequestHead) -> Option<String> {
    let host = core::str::from_utf8(head.header(Known::Host)?).ok()?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// The user of Basic credentials (RFC 7617); the password stays where it is.
fn remote_user(head: &RequestHead) -> Option<Vec<u8>> {
    let value = head.header(Known::Authorization)?;
    let (scheme, token) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = base64::decode(Alphabet::Standard, token.trim_ascii())?;
    let end = user.iter().position(|&byte| byte == b':')?;
    user.truncate(end);
    (!user.is_empty()).then_some(user)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds with milliseconds, as nginx prints times.
pub(super) fn push_seconds(out: &mut Vec<u8>, time: Duration) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(time.as_secs()).as_bytes());
    out.push(b'.');
    let millis = time.subsec_millis();
    for place in [100, 10, 1] {
        out.push(b'0' + (millis / place % 10) as u8);
    }
}

pub(super) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, part) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(part).as_bytes());
            }
        }
        IpAddr::V6(address) => push(out, format_args!("{address}")),
    }
}

struct Appending<'a>(&'a mut Vec<u8>);

impl fmt::Write for Appending<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

pub(super) fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Appending to memory does not fail.
    Appending(out).write_fmt(text).unwrap_or(());
}

#[cfg(test)]
mod tests;
