//! Listening sockets for all shards, bound before any of them runs.

use std::io;
use std::net::SocketAddr;

use crate::net::listener::BoundListener;

/// Why an address cannot be listened on. Says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Another process listens there.
    #[error(
        "{0} is already in use; stop the other program, or choose another address with \
         --listen or PORT"
    )]
    InUse(SocketAddr),
    /// A port below 1024, without the right to it.
    #[error(
        "{0} may not be listened on: ports below 1024 need the capability CAP_NET_BIND_SERVICE; \
         choose a port above"
    )]
    Denied(SocketAddr),
    /// The address is not this machine's.
    #[error("{0} is not an address of this machine; check --listen or [[listener]] address")]
    Absent(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Failed {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// One socket for each shard at an address.
pub(super) fn bind(
    address: SocketAddr,
    shards: usize,
    backlog: u32,
) -> Result<Vec<BoundListener>, BindError> {
    BoundListener::probe(address).map_err(|error| explain(address, error))?;
    bind_more(address, shards, backlog)
}

/// As many sockets as shards, or more, those that were handed over among them. Where no further
/// one may be bound beside them, shards share one queue: whoever is free takes.
pub(super) fn fill_up(
    handed: Vec<BoundListener>,
    shards: usize,
    backlog: u32,
) -> Result<Vec<BoundListener>, BindError> {
    let mut sockets = handed;
    let missing = shards.saturating_sub(sockets.len());
    let Some(address) = sockets.first().map(BoundListener::address) else {
        return Ok(sockets);
    };
    match bind_more(address, missing, backlog) {
        Ok(more) => sockets.extend(more),
        Err(_) => {
            for at in 0..missing {
                if let Some(socket) = sockets.get(at) {
                    let clone = socket.try_clone();
                    let clone = clone.map_err(|error| BindError::Failed { address, error })?;
                    sockets.push(clone);
                }
            }
        }
    }
    Ok(sockets)
}

fn bind_more(
    address: SocketAddr,
    shards: usize,
    backlog: u32,
) -> Result<Vec<BoundListener>, BindError> {
    let mut address = address;
    let mut sockets = Vec::new();
    for _ in 0..shards {
        let bound = BoundListener::bind(address, backlog);
        let bound = bound.map_err(|error| explain(address, error))?;
        // Port 0: the first socket chooses, the others share its choice.
        address = bound.address();
        sockets.push(bound);
    }
    Ok(sockets)
}

fn explain(address: SocketAddr, error: io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Denied(address),
        io::ErrorKind::AddrNotAvailable => BindError::Absent(address),
        _ => BindError::Failed { address, error },
    }
}
