//! Outgoing connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::net::fd::AsyncFd;
use crate::net::stream::Plain;
use crate::net::timer;

/// Connects to one address. Dropping the future closes the socket.
pub async fn connect_addr(address: SocketAddr) -> io::Result<Plain> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let fd = AsyncFd::nonblocking(socket.into())?;
    fd.writable().await?;
    let refusal = SockRef::from(&fd.as_fd()).take_error()?;
    match refusal {
        Some(error) => Err(error),
        None => Ok(Plain::registered(fd)),
    }
}

/// Connects to the first address that answers, trying each in turn. `limit` is for all of them
/// together; each gets an equal share of what is left.
///
/// # Errors
/// The last address's error; `TimedOut` if the limit ran out; `AddrNotAvailable` for no address.
pub async fn connect_any(addresses: &[SocketAddr], limit: Duration) -> io::Result<Plain> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut left = limit;
    for (index, &address) in addresses.iter().enumerate() {
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let started = crate::base::clock::mono();
        match timer::within(share, connect_addr(address)).await {
            Ok(Ok(plain)) => return Ok(plain),
            Ok(Err(error)) => last = error,
            Err(timer::Elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
        left = left.saturating_sub(crate::base::clock::mono().duration_since(started));
    }
    Err(last)
}

/// Connects to a Unix socket.
pub async fn connect_unix(path: &std::path::Path) -> io::Result<Plain> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A Unix socket connects at once, or refuses with EAGAIN when the backlog is full.
    socket.connect(&socket2::SockAddr::unix(path)?)?;
    Plain::new(socket.into())
}
