//! One connection: its task, the fence around it, how it ends.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::filter::limit::Keeper;
use crate::metrics::{Counter, Gauge};
use crate::net::runtime::fence;
use crate::net::tls::server::ServerTls;
use crate::net::{Plain, Transport};
use crate::record::SeenTls;
use crate::server::Server;
use crate::server::deadlines::{Limit, Place};
use crate::server::entrance::Entrance;
use crate::server::h2;
use crate::server::lent::Input;
use crate::server::reader::Reader;

/// How long we wait for the client's end after ours. What it still sends meanwhile is read, or
/// else the kernel would answer with a reset that can overtake our last response.
const LINGER: Duration = Duration::from_secs(2);
/// What is read and thrown away meanwhile; a client that sends more is not listening.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: Rc<Server>,
    pub(super) entrance: Rc<Entrance>,
    /// Before the socket, so that it is dropped first: see [`Place`].
    pub(super) place: Place,
    pub(super) reader: Reader,
    pub(super) peer: SocketAddr,
    /// Its place under `max_connections_per_ip`.
    pub(super) kept: Keeper,
    /// Its number in the process.
    pub(super) number: u64,
    /// Requests so far.
    pub(super) requests: u64,
    /// What the access log tells of its TLS; set by the handshake.
    pub(super) tls: Option<Rc<SeenTls>>,
}

/// How a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// A response is on its way: stop sending, wait for the client's end.
    Linger,
    /// The client has gone or will get no answer.
    Now,
    /// Not at all: the client speaks HTTP/2.
    Http2,
}

/// Serves a connection from its first byte to its last. Not an `async fn`: that would keep room
/// for its arguments beside what becomes of them.
pub(super) fn run(
    server: Rc<Server>,
    entrance: Rc<Entrance>,
    place: Place,
    (socket, peer): (Plain, SocketAddr),
) -> Result<impl Future<Output = ()>, rustls::Error> {
    let transport = transport(&server, &entrance, socket)?;
    let number = server.number();
    let mut connection = Connection {
        server,
        entrance,
        place,
        reader: Reader::new(Rc::new(transport)),
        peer,
        kept: Keeper::default(),
        number,
        requests: 0,
        tls: None,
    };
    Ok(async move {
        connection.server.recorder.shift(Gauge::Connections, 1);
        let lived = fence(connection.live()).await;
        let server = &connection.server;
        if lived.is_err() {
            server.recorder.count(Counter::Panics);
            server
                .log
                .error("connection", format_args!("{peer}: closed after a panic"));
        }
        server.recorder.shift(Gauge::Connections, -1);
    })
}

fn transport(
    server: &Server,
    entrance: &Entrance,
    socket: Plain,
) -> Result<Transport, rustls::Error> {
    let Some(tls) = &entrance.tls else {
        return Ok(Transport::Plain(socket));
    };
    let tls = ServerTls::new(socket, tls.config(), &server.buffers)?;
    Ok(Transport::Tls(Box::new(tls)))
}

impl Connection {
    async fn live(&mut self) {
        let opened = match self.has_opening() {
            true => Box::pin(self.open()).await,
            false => Ok(()),
        };
        let close = match opened {
            Ok(()) if self.has_agreed_on_h2() => Box::pin(h2::serve(self, Input::default())).await,
            Ok(()) => self.serve().await,
            Err(close) => close,
        };
        self.count_timeout();
        if close == Close::Linger && !self.has_fired(Limit::Send) {
            self.linger().await;
        }
        let resets = self.server.config.server.reset_timedout_connection;
        if resets && self.has_fired(Limit::Send) {
            // The kernel would go on sending to a client that does not read.
            let _ = self.reader.socket().reset_on_close();
        }
    }

    /// Goes over to the newest configuration, between two requests. A listener that it has no
    /// more goes on as it was for the connections that are there.
    pub(super) fn catch_up(&mut self) {
        if let Some(newer) = self.server.newer() {
            if let Some(entrance) = newer.entrance(self.entrance.key) {
                self.entrance = Rc::clone(entrance);
            }
            self.server = newer;
        }
    }

    /// Whether TLS negotiated HTTP/2.
    fn has_agreed_on_h2(&self) -> bool {
        let tls = self.reader.socket().tls();
        tls.is_some_and(|tls| tls.facts().is_h2())
    }

    pub(super) fn has_fired(&self, limit: Limit) -> bool {
        self.place.fired() == Some(limit)
    }

    fn count_timeout(&self) {
        let counter = match self.place.fired() {
            Some(Limit::Handshake) => Counter::TimeoutHandshake,
            Some(Limit::Header) => Counter::TimeoutHeader,
            Some(Limit::Body) => Counter::TimeoutBody,
            Some(Limit::Send) => Counter::TimeoutSend,
            Some(Limit::KeepAlive) => Counter::TimeoutKeepAlive,
            Some(Limit::Linger | Limit::Answer) | None => return,
        };
        self.server.recorder.count(counter);
    }

    async fn linger(&mut self) {
        if self.reader.socket().shutdown(Shutdown::Write).is_err() {
            return;
        }
        self.place
            .arm(Limit::Linger, self.server.time.now().mono + LINGER);
        // Whatever it is, it need not be decrypted.
        let socket = self.reader.socket().plain();
        let mut thrown = 0;
        while thrown < LINGER_BYTES_MAX && socket.readable().await.is_ok() {
            let mut sink = self.server.buffers.large();
            let read = socket.try_read(&mut sink);
            self.server.buffers.give_back(sink);
            match read {
                Ok(0) => return,
                Ok(count) => thrown += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of what a function's future would take, without making one.
    fn future_bytes<A, F, E>(_: impl FnOnce(A) -> Result<F, E>) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        // With the runtime's own task and the table's entry this stays below 2 KiB.
        let bytes =
            future_bytes(|(server, entrance, place, pair)| run(server, entrance, place, pair));
        assert!(bytes <= 1560, "{bytes} bytes");
    }
}
