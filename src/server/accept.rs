//! Takes connections from a listener and starts a task for each.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::metrics::Counter;
use crate::net::listener::{Accepted, Listener};
use crate::net::{Plain, sleep, spawn, timer};
use crate::server::entrance::Entrance;
use crate::server::{Server, connection};

/// Pause after an error that no retry explains, so that it cannot become a busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Accepts at the configured listener of that index until the drain begins, then takes what
/// already waits and closes the listener.
pub async fn accept(server: Rc<Server>, index: usize, mut listener: Listener) {
    let Some(entrance) = server.entrances.get(index).map(Rc::clone) else {
        return;
    };
    let mut drained = server.drain.listen();
    let mut is_starved = false;
    loop {
        match timer::race(listener.accept(), drained.recv()).await {
            timer::Either::First(Ok(Accepted::Connection(socket, peer))) => {
                is_starved = false;
                admit(&server, &entrance, (socket, peer));
            }
            timer::Either::First(Ok(Accepted::Starved { error, turned_away })) => {
                server.recorder.count(Counter::AcceptErrors);
                if turned_away {
                    server.recorder.count(Counter::ConnectionsRefused);
                }
                if !is_starved {
                    let address = listener.address();
                    server.log.error(
                        "accept",
                        format_args!(
                            "{address}: {error}; new connections wait until some are freed \
                             (raise `ulimit -n`)"
                        ),
                    );
                }
                is_starved = true;
            }
            timer::Either::First(Err(error)) => {
                server.recorder.count(Counter::AcceptErrors);
                let address = listener.address();
                server
                    .log
                    .error("accept", format_args!("{address}: {error}"));
                sleep(PAUSE_AFTER_ERROR).await;
            }
            timer::Either::Second(_) => break,
        }
    }
    while let Some((socket, peer)) = listener.try_accept() {
        admit(&server, &entrance, (socket, peer));
    }
}

/// Starts a connection's task, unless there are too many already.
fn admit(server: &Rc<Server>, entrance: &Rc<Entrance>, accepted: (Plain, SocketAddr)) {
    server.recorder.count(Counter::Accepts);
    if server.deadlines.len() >= server.config.server.max_connections {
        server.recorder.count(Counter::ConnectionsRefused);
        return;
    }
    let place = server.deadlines.enter(accepted.0.note());
    let peer = accepted.1;
    match connection::run(Rc::clone(server), Rc::clone(entrance), place, accepted) {
        Ok(running) => spawn(running),
        Err(error) => server.log.error("tls", format_args!("{peer}: {error}")),
    }
}
