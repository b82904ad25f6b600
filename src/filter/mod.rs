//! What is added to every response, in a fixed order: the configured fields, the request id,
//! `X-Server` and `X-Process-Time`. Also on errors ("always"). Compiled once per configuration.
#![forbid(unsafe_code)]

mod access;
mod client;
pub mod compress;
mod guard;
pub mod limit;
mod real_ip;
mod request_id;
mod route_headers;

pub use access::AccessRules;
pub use client::Client;
pub use guard::Guard;
pub use real_ip::RealIps;
pub use request_id::RequestId;
pub use route_headers::RouteFilter;

use std::time::Duration;

use crate::base::ids::UUID_BYTES;
use crate::config::Config;
use crate::http::{HeaderList, Known, RequestHead, Response};

/// The response half of one configuration.
#[derive(Debug)]
pub struct ResponseFilter {
    /// The configured fields and `X-Server`, ready to copy.
    fixed: HeaderList,
    /// The same as lines, and behind them the request's own fields, their values to be written
    /// over.
    lines: Vec<u8>,
    has_process_time: bool,
}

impl ResponseFilter {
    /// Prepares everything that does not depend on the request.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut fixed = HeaderList::new();
        for (name, value) in &config.headers {
            fixed.push(name.as_bytes(), value.as_bytes());
        }
        // How a message is framed is the codec's to say.
        fixed.retain(|known, _, _| !known.is_hop_by_hop() && known != Known::ContentLength);
        if !config.server.server_tokens.is_empty() {
            fixed.push_known(Known::Server, config.server.server_tokens.as_bytes());
        }
        let server = config.server.server_header.as_str();
        let has_process_time = !server.is_empty();
        if has_process_time {
            fixed.push(b"X-Server", server.as_bytes());
        }
        Self::with(fixed, has_process_time)
    }

    /// The same without the fields of these names.
    #[must_use]
    pub(super) fn without(&self, names: &[&str]) -> Self {
        let mut fixed = self.fixed.clone();
        let is_out = |field: &[u8]| {
            names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(field))
        };
        fixed.retain(|_, name, _| !is_out(name));
        Self::with(fixed, self.has_process_time)
    }

    fn with(fixed: HeaderList, has_process_time: bool) -> Self {
        let mut whole = fixed.clone();
        whole.push_known(Known::XRequestId, &[b'0'; UUID_BYTES]);
        if has_process_time {
            whole.push(PROCESS_TIME, &seconds(Duration::ZERO));
        }
        Self {
            fixed,
            lines: whole.wire().to_vec(),
            has_process_time,
        }
    }

    /// Adds the fields. A field that the handler set itself stands: it knows its own page
    /// better than the whole site's default does. `elapsed` is the time since the request's
    /// first byte was seen.
    pub fn apply(
        &self,
        response: &mut Response,
        request: &RequestHead,
        id: &RequestId,
        elapsed: Duration,
    ) {
        let headers = &mut response.headers;
        for (_, name, value) in self.fixed.iter() {
            if headers.get_by_name(name).is_none() {
                headers.push(name, value);
            }
        }
        headers.push_known(Known::XRequestId, id.as_bytes(request));
        if self.has_process_time {
            headers.push(PROCESS_TIME, &seconds(elapsed));
        }
    }

    /// Appends what [`apply`](Self::apply) would add to `headers` as lines of HTTP/1.1. Whether
    /// [`rewrite`](Self::rewrite) can make them those of another request.
    pub fn write(
        &self,
        headers: &HeaderList,
        request: &RequestHead,
        id: &RequestId,
        elapsed: Duration,
        out: &mut Vec<u8>,
    ) -> bool {
        // Nearly always the lines differ from the prepared ones in two values alone.
        if !self.clashes(headers) {
            let start = out.len();
            out.extend_from_slice(&self.lines);
            if self.rewrite(request, id, elapsed, out) {
                return true;
            }
            out.truncate(start);
        }
        let id = id.as_bytes(request);
        let time = seconds(elapsed);
        for (_, name, value) in self.fixed.iter() {
            if headers.get_by_name(name).is_none() {
                line(name, value, out);
            }
        }
        line(Known::XRequestId.name().as_bytes(), id, out);
        if self.has_process_time {
            line(PROCESS_TIME, &time, out);
        }
        false
    }

    /// Writes a request's own values over those of another in `lines`, which end with what
    /// [`write`](Self::write) wrote. `false`, and nothing is changed, if they are of another
    /// length.
    #[inline]
    pub fn rewrite(
        &self,
        request: &RequestHead,
        id: &RequestId,
        elapsed: Duration,
        lines: &mut [u8],
    ) -> bool {
        let id = id.as_bytes(request);
        let time = seconds(elapsed);
        if id.len() != UUID_BYTES || time.len() != TIME_BYTES {
            return false;
        }
        let mut end = lines.len();
        if self.has_process_time {
            overwrite(lines, end, &time);
            end = end.saturating_sub(PROCESS_TIME.len() + TIME_BYTES + 4);
        }
        overwrite(lines, end, id);
        true
    }

    /// Whether the handler has set a field that is fixed as well. No unknown name equals a
    /// known one.
    fn clashes(&self, headers: &HeaderList) -> bool {
        let common = headers.known_bits() & self.fixed.known_bits();
        common & !Known::Other.bit() != 0
            || common != 0
                && headers.iter().any(|(known, name, _)| {
                    known == Known::Other && self.fixed.get_by_name(name).is_some()
                })
    }
}

/// Writes a value over that of the line that ends at `end`, which is as long.
fn overwrite(out: &mut [u8], end: usize, value: &[u8]) {
    let end = end.saturating_sub(2);
    let old = out.get_mut(end.saturating_sub(value.len())..end);
    if let Some(old) = old.filter(|old| old.len() == value.len()) {
        old.copy_from_slice(value);
    }
}

fn line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

const PROCESS_TIME: &[u8] = b"X-Process-Time";
/// Length of a time below ten seconds.
const TIME_BYTES: usize = 8;

/// Seconds with six decimals, at most `9999.999999`.
fn seconds(elapsed: Duration) -> Seconds {
    let whole = elapsed.as_secs();
    let (whole, micros) = match whole {
        0..=9999 => (whole as u32, elapsed.subsec_micros()),
        _ => (9999, 999_999),
    };
    let pairs = [
        whole / 100,
        whole % 100,
        micros / 10_000,
        micros / 100 % 100,
        micros % 100,
    ];
    let [[a, b], [c, d], [e, f], [g, h], [i, j]] = pairs.map(two_digits);
    let start = match whole {
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    Seconds {
        text: [a, b, c, d, b'.', e, f, g, h, i, j],
        start,
    }
}

/// A number below 100.
const fn two_digits(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

struct Seconds {
    text: [u8; 11],
    start: usize,
}

impl core::ops::Deref for Seconds {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or(b"0.000000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Ids;

    /// The fields of the filtered response, whichever way it is written.
    fn filtered(config: &Config, response: Response) -> Vec<(String, String)> {
        let head = RequestHead::default();
        filtered_for(config, response, &head, Duration::from_micros(1_234))
    }

    fn filtered_for(
        config: &Config,
        mut response: Response,
        head: &RequestHead,
        elapsed: Duration,
    ) -> Vec<(String, String)> {
        let id = RequestId::new(head, true, &mut Ids::new(1), Duration::from_secs(1));
        let filter = ResponseFilter::new(config);
        let mut written = response.headers.wire().to_vec();
        filter.write(&response.headers, head, &id, elapsed, &mut written);
        filter.apply(&mut response, head, &id, elapsed);
        assert_eq!(response.headers.wire(), written);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields = response.headers.iter();
        fields.map(|(_, n, v)| (text(n), text(v))).collect()
    }

    fn names(fields: &[(String, String)]) -> Vec<&str> {
        fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn config() -> Config {
        Config {
            headers: vec![
                ("X-Frame-Options".into(), "SAMEORIGIN".into()),
                ("Cache-Control".into(), "no-store".into()),
            ],
            ..Config::default()
        }
    }

    #[test]
    fn fields_come_in_a_fixed_order_on_errors_too() {
        let fields = filtered(&config(), Response::new(500));
        assert_eq!(
            names(&fields),
            [
                "X-Frame-Options",
                "Cache-Control",
                "X-Server",
                "X-Request-Id",
                "X-Process-Time"
            ]
        );
        assert_eq!(fields[2].1, "MCP-Gateway");
        assert_eq!(fields[4].1, "0.001234");
    }

    #[test]
    fn a_handlers_own_field_stands() {
        let response = Response::new(200).with("cache-control", "max-age=60");
        let fields = filtered(&config(), response);
        let caching: Vec<_> = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("cache-control"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(caching, ["max-age=60"]);
    }

    #[test]
    fn both_ways_agree_on_ids_and_times_of_any_length() {
        let mut head = RequestHead::default();
        head.headers.push(b"X-Request-ID", b"abc");
        for elapsed in [Duration::ZERO, Duration::from_secs(12)] {
            let own = Response::new(200).with("x-server", "mine");
            for response in [Response::new(200), own] {
                let fields = filtered_for(&config(), response, &head, elapsed);
                assert_eq!(fields[fields.len() - 2].1, "abc");
            }
        }
    }

    #[test]
    fn framing_fields_are_not_configured() {
        let mut config = config();
        config.headers.push(("Connection".into(), "close".into()));
        config.headers.push(("content-length".into(), "5".into()));
        assert_eq!(filtered(&config, Response::new(200)).len(), 5);
    }

    #[test]
    fn an_empty_server_header_switches_both_off() {
        let mut config = config();
        config.server.server_header.clear();
        let fields = filtered(&config, Response::new(200));
        assert_eq!(
            names(&fields),
            ["X-Frame-Options", "Cache-Control", "X-Request-Id"]
        );
    }

    #[test]
    fn seconds_are_plain_decimals() {
        for (micros, text) in [
            (0, "0.000000"),
            (7, "0.000007"),
            (1_000_000, "1.000000"),
            (65_250_001, "65.250001"),
            (u64::MAX, "9999.999999"),
        ] {
            let got = seconds(Duration::from_micros(micros));
            assert_eq!(&*got, text.as_bytes());
        }
    }
}
