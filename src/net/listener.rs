//! Listening sockets: one per address and shard, the kernel spreads connections over them.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::net::fd::AsyncFd;
use crate::net::stream::Plain;
use crate::net::sys::FdNote;
use crate::net::timer;

/// First pause after the system refused a connection for want of resources.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause: descriptors that became free are noticed within this time.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A bound, listening socket, not yet tied to a thread.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    address: SocketAddr,
}

impl BoundListener {
    /// Binds and listens. Several sockets may share the address if each is bound like this.
    /// `address` may have port 0; see [`address`](Self::address).
    pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        Self::bind_with(address, backlog, true)
    }

    /// A listening TCP socket that this process was started with.
    ///
    /// # Errors
    /// It is something else.
    pub fn inherited(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        let is_fit = socket.r#type()? == Type::STREAM && socket.is_listener()?;
        let address = socket.local_addr()?.as_socket().filter(|_| is_fit);
        let address = address
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no listening socket"))?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self { socket, address })
    }

    /// Fails with `AddrInUse` if any other process listens on the address, even one that would
    /// share it: SO_REUSEPORT alone lets a second server of the same user in unnoticed.
    pub fn probe(address: SocketAddr) -> io::Result<()> {
        if address.port() == 0 {
            return Ok(());
        }
        Self::bind_with(address, 1, false).map(drop)
    }

    fn bind_with(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // Connections of an earlier run in TIME_WAIT do not keep the address.
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        // Accepted sockets inherit it, which saves a call for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self {
            socket,
            address: bound,
        })
    }

    /// The address with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A second handle on the same socket and its queue of connections.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            address: self.address,
        })
    }
}

impl AsFd for BoundListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A listener registered with this thread's runtime. One task accepts from it.
#[derive(Debug)]
pub struct Listener {
    fd: AsyncFd,
    address: SocketAddr,
    /// Given up at EMFILE to be able to turn a waiting connection away.
    reserve: Option<File>,
    pause: Duration,
}

/// What [`Listener::accept`] came back with.
#[derive(Debug)]
pub enum Accepted {
    /// A connection and its peer.
    Connection(Plain, SocketAddr),
    /// No connection now for want of resources (EMFILE, ENFILE, ENOMEM, ENOBUFS). The pause is
    /// already over; accept again.
    Starved {
        /// What the system said.
        error: io::Error,
        /// Whether a waiting connection was closed unanswered, so that it learns at once.
        turned_away: bool,
    },
}

impl Listener {
    /// Registers the listener with this thread's runtime.
    pub fn new(bound: BoundListener) -> io::Result<Self> {
        Ok(Self {
            fd: AsyncFd::nonblocking(bound.socket.into())?,
            address: bound.address,
            reserve: reserve_descriptor(),
            pause: PAUSE_MIN,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A note of the descriptor.
    #[must_use]
    pub fn note(&self) -> FdNote {
        self.fd.note()
    }

    /// Waits for the next connection. May be dropped: no connection is lost.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            let accepted = self
                .fd
                .when_readable(|fd| SockRef::from(&fd).accept())
                .await;
            let error = match accepted.and_then(register) {
                Ok((plain, peer)) => {
                    self.pause = PAUSE_MIN;
                    return Ok(Accepted::Connection(plain, peer));
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                // The peer was gone before we took it; accept(2) lists the rest as alike.
                Some(
                    libc::ECONNABORTED
                    | libc::EPERM
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::ENONET
                    | libc::ENOPROTOOPT,
                ) => {}
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => {
                    return Ok(self.starve(error).await);
                }
                _ => return Err(error),
            }
        }
    }

    /// A connection that waits already. Any error is for [`accept`](Self::accept) to tell.
    pub fn try_accept(&mut self) -> Option<(Plain, SocketAddr)> {
        let accepted = SockRef::from(&self.fd.as_fd()).accept();
        accepted.and_then(register).ok()
    }

    /// Without descriptors accept(2) fails at once while the queue stays readable: a loop
    /// would spin. One waiting connection is told, then the rest waits for better times.
    async fn starve(&mut self, error: io::Error) -> Accepted {
        let mut turned_away = false;
        if self.reserve.take().is_some() {
            turned_away = SockRef::from(&self.fd.as_fd()).accept().is_ok();
            self.reserve = reserve_descriptor();
        }
        timer::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if self.reserve.is_none() {
            self.reserve = reserve_descriptor();
        }
        Accepted::Starved { error, turned_away }
    }
}

fn register((socket, peer): (Socket, socket2::SockAddr)) -> io::Result<(Plain, SocketAddr)> {
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    let socket = OwnedFd::from(socket);
    Ok((Plain::new(socket)?, peer))
}

fn reserve_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
