//! `[server.http2]`: limits of HTTP/2 connections. nginx's names where it has one.

use crate::config::kinds::{Count, Size};
use crate::config::read::section;
use crate::config::units::to_usize;
use crate::http::h2::Budgets;

/// Largest flow control window (RFC 9113 §6.9.1).
const WINDOW_MAX: u64 = (1 << 31) - 1;

section! {
    /// Limits of HTTP/2 connections.
    RawHttp2 {
        /// Whether listeners without TLS take HTTP/2 by prior knowledge, where they do not say
        /// it themselves (`listener.http2`). With TLS it is negotiated.
        prior_knowledge: bool,
        /// Streams open at once on a connection; more are refused.
        max_concurrent_streams: Count<1, 100_000>,
        /// Requests of a connection, after which it ends as soon as none is under way; 0 is no
        /// limit. By default keepalive_requests where that is given, else 10,000.
        max_requests: Count<0, { u32::MAX as u64 }>,
        /// What a client may send of one request's body before it is taken.
        stream_window: Size<65_535, WINDOW_MAX>,
        /// The same for all requests of a connection together.
        connection_window: Size<65_535, WINDOW_MAX>,
        /// What of one response waits for its client.
        send_buffer: Size<1_024, { 16 << 20 }>,
        /// What of all responses of a connection waits for its client.
        connection_send_buffer: Size<16_384, { 1 << 30 }>,
        /// Bytes of a connection's header compression table.
        header_table_size: Size<0, { 1 << 20 }>,
        /// RST_STREAM frames from a client in ten seconds; more end the connection.
        max_resets: Count<0, { u32::MAX as u64 }>,
        /// SETTINGS, PING, PRIORITY, unknown and empty frames from a client in ten seconds,
        /// beyond those that requests explain; more end the connection.
        max_control_frames: Count<10, { u32::MAX as u64 }>,
        /// WINDOW_UPDATE frames from a client in ten seconds, beyond those that sent bytes
        /// explain; more end the connection.
        max_window_updates: Count<10, { u32::MAX as u64 }>,
        /// Streams of a connection that the server resets because the client broke the
        /// protocol on them; more end the connection.
        max_faulty_streams: Count<1, { u32::MAX as u64 }>,
    }
}

/// `[server.http2]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether a plain connection may begin with the preface.
    pub prior_knowledge: bool,
    /// Streams open at once on a connection.
    pub max_concurrent_streams: u32,
    /// Requests of a connection; 0 means no limit.
    pub max_requests: u64,
    /// What a client may send of one body before it is taken, in bytes.
    pub stream_window: u32,
    /// The same for a connection.
    pub connection_window: u32,
    /// What of one response waits for its client, in bytes.
    pub send_buffer: usize,
    /// The same for a connection.
    pub connection_send_buffer: usize,
    /// Bytes of the table that a client may fill.
    pub header_table_size: u32,
    /// What a client may send in ten seconds.
    pub budgets: Budgets,
    /// Streams that the server resets for a client's fault.
    pub max_faulty_streams: usize,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            prior_knowledge: true,
            max_concurrent_streams: 128,
            max_requests: 10_000,
            stream_window: 65_535,
            connection_window: 1 << 20,
            send_buffer: 64 << 10,
            connection_send_buffer: 1 << 20,
            header_table_size: 4 << 10,
            budgets: Budgets {
                resets: 200,
                control: 1_000,
                updates: 1_000,
            },
            max_faulty_streams: 100,
        }
    }
}

/// `keepalive_requests` is the server's, if it is given: nginx's counts requests of either
/// version.
pub(super) fn resolve(raw: &RawHttp2, keepalive_requests: Option<u64>) -> Http2 {
    let defaults = Http2::default();
    macro_rules! given {
        ($key:ident, $default:expr) => {
            raw.$key.as_ref().map_or($default as u64, |value| value.0)
        };
    }
    Http2 {
        prior_knowledge: raw.prior_knowledge.unwrap_or(defaults.prior_knowledge),
        max_concurrent_streams: narrow(given!(
            max_concurrent_streams,
            defaults.max_concurrent_streams
        )),
        max_requests: given!(
            max_requests,
            keepalive_requests.unwrap_or(defaults.max_requests)
        ),
        stream_window: narrow(given!(stream_window, defaults.stream_window)),
        connection_window: narrow(given!(connection_window, defaults.connection_window)),
        send_buffer: to_usize(given!(send_buffer, defaults.send_buffer)),
        connection_send_buffer: to_usize(given!(
            connection_send_buffer,
            defaults.connection_send_buffer
        )),
        header_table_size: narrow(given!(header_table_size, defaults.header_table_size)),
        budgets: Budgets {
            resets: given!(max_resets, defaults.budgets.resets),
            control: given!(max_control_frames, defaults.budgets.control),
            updates: given!(max_window_updates, defaults.budgets.updates),
        },
        max_faulty_streams: to_usize(given!(max_faulty_streams, defaults.max_faulty_streams)),
    }
}

/// The section's bounds keep every value below 32 bits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
