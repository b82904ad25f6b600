//! `[metrics]` and `[statsd]`.

use std::time::Duration;

use crate::config::kinds::{Period, Size};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};
use crate::config::units::{HOUR_MS, to_usize};

section! {
    /// Metrics.
    RawMetrics {
        /// Whether metrics are kept and /metrics answers. Also ENABLE_METRICS.
        enabled: bool,
        /// Handlers whose requests are not counted, by their label; * is any run of characters.
        exclude: Vec<String>,
    }
}

section! {
    /// Figures pushed to a StatsD server.
    RawStatsd {
        /// "host", "host:port" or an address; the port is 8125 if not said. Also STATSD_HOST.
        host: Placed<String>,
        /// Stands before each name, with a dot.
        prefix: Placed<String>,
        /// From one push to the next.
        interval: Period<1000, HOUR_MS>,
        /// Largest datagram; beyond the network's MTU a lost fragment loses all of it.
        packet_size: Size<512, 65_000>,
    }
}

/// The seed's list: `excluded_handlers` of its instrumentator.
const EXCLUDED: [&str; 2] = ["*admin*", "/metrics"];
/// StatsD's port.
const STATSD_PORT: u16 = 8125;
/// What Ethernet carries, without the heads of IPv6 and UDP and some room for tunnels.
const PACKET_BYTES: usize = 1432;

/// `[statsd]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statsd {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Stands before each name; ends with a dot unless it is empty.
    pub prefix: String,
    /// From one push to the next.
    pub interval: Duration,
    /// Largest datagram in bytes.
    pub packet_bytes: usize,
}

/// Whether metrics are kept, and handlers that are not counted.
pub(super) fn resolve(raw: Option<RawMetrics>) -> (bool, Vec<String>) {
    let raw = raw.unwrap_or_default();
    (
        raw.enabled.unwrap_or(true),
        raw.exclude.unwrap_or_else(excluded),
    )
}

/// The default list.
pub(super) fn excluded() -> Vec<String> {
    EXCLUDED.map(str::to_owned).to_vec()
}

pub(super) fn resolve_statsd(raw: Option<RawStatsd>, found: &mut Findings) -> Option<Statsd> {
    let raw = raw?;
    let written = raw.host?;
    let Some((host, port)) = host_and_port(written.value.trim()) else {
        let message = format!("\"{}\" is not a host", written.value.escape_debug());
        let problem = Problem::new(&written.at, "statsd.host", message);
        let hint = "write \"host\", \"host:8125\" or \"[2001:db8::1]:8125\"";
        found.errors.push(problem.hint(hint));
        return None;
    };
    let mut prefix = "mcp.gateway".to_owned();
    if let Some(own) = raw.prefix {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !own.value.chars().all(is_name) || own.value.len() > 128 {
            let message = "letters, digits, `.`, `_` and `-`, at most 128";
            let problem = Problem::new(&own.at, "statsd.prefix", message);
            found.errors.push(problem);
        }
        prefix = own.value;
    }
    // As Gunicorn does: one dot between prefix and name, however many are written.
    let bare = prefix.trim_end_matches('.').len();
    prefix.truncate(bare);
    if !prefix.is_empty() {
        prefix.push('.');
    }
    Some(Statsd {
        host,
        port,
        prefix,
        interval: raw
            .interval
            .map_or(Duration::from_secs(1), |period| period.0),
        packet_bytes: raw
            .packet_size
            .map_or(PACKET_BYTES, |size| to_usize(size.0)),
    })
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let is_host = |host: &str| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !host.is_empty() && host.chars().all(is_name)
    };
    let is_address = |host: &str| host.parse::<std::net::Ipv6Addr>().is_ok();
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if port.is_empty() => STATSD_PORT,
            None => return None,
        };
        return is_address(host).then(|| (host.to_owned(), port));
    }
    if is_address(text) {
        return Some((text.to_owned(), STATSD_PORT));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (text, STATSD_PORT),
    };
    is_host(host).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{good, problems};

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("stats", Some(("stats", 8125))),
            ("stats.local:9125", Some(("stats.local", 9125))),
            ("10.0.0.1:8125", Some(("10.0.0.1", 8125))),
            ("[::1]:1", Some(("::1", 1))),
            ("[::1]", Some(("::1", 8125))),
            ("2001:db8::1", Some(("2001:db8::1", 8125))),
            ("", None),
            ("a b", None),
            ("stats:x", None),
            ("stats:0", None),
            ("unix:///run/statsd", None),
            ("[x]:1", None),
        ] {
            let got = host_and_port(text);
            let got = got.as_ref().map(|(host, port)| (host.as_str(), *port));
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn statsd_is_on_where_there_is_a_host() {
        assert_eq!(good("[statsd]\nprefix = 'x'", &[]).statsd, None);
        let statsd = good("", &[("STATSD_HOST", "127.0.0.1")]).statsd.unwrap();
        assert_eq!((statsd.port, &*statsd.prefix), (8125, "mcp.gateway."));
        assert_eq!((statsd.interval.as_secs(), statsd.packet_bytes), (1, 1432));
        let text = "[statsd]\nhost = 's:9'\nprefix = 'a.b..'\ninterval = '10s'\npacket_size = '8k'";
        let statsd = good(text, &[]).statsd.unwrap();
        assert_eq!(&*statsd.prefix, "a.b.");
        assert_eq!((statsd.interval.as_secs(), statsd.packet_bytes), (10, 8192));
        let said = problems("[statsd]\nhost = 'a b'", &[]);
        assert!(
            said.contains("statsd.host: \"a b\" is not a host"),
            "{said}"
        );
        let said = problems("[statsd]\nhost = 'a'\nprefix = 'a:b'", &[]);
        assert!(said.contains("statsd.prefix"), "{said}");
    }

    #[test]
    fn handlers_are_excluded_as_in_the_seed() {
        assert_eq!(good("", &[]).metrics_exclude, ["*admin*", "/metrics"]);
        let own = good("[metrics]\nexclude = ['/health*']", &[]);
        assert_eq!(own.metrics_exclude, ["/health*"]);
    }
}
