//! Who a request comes from.

use std::net::{IpAddr, SocketAddr};

/// Where a request comes from. Logs, limits, access rules and upstream fields go by
/// [`address`](Self::address).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address: the peer's, or the one that a trusted proxy told of (`[real_ip]`).
    /// An IPv4 address is never in its mapped form.
    pub address: IpAddr,
    /// The other end of the connection, whoever that is (nginx: `$realip_remote_addr`).
    pub peer: SocketAddr,
    /// Whether its request id is taken over (`[request_id]`).
    pub names_requests: bool,
}

impl Client {
    /// A client that is the other end of its connection.
    #[must_use]
    pub fn direct(peer: SocketAddr) -> Self {
        Self {
            address: peer.ip().to_canonical(),
            peer,
            names_requests: false,
        }
    }
}
