//! Takes connections from a listener and starts a task for each.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::base::channel::Receiver;
use crate::metrics::Counter;
use crate::net::listener::{Accepted, Listener};
use crate::net::{Plain, sleep, spawn, timer};
use crate::server::entrance::Entrance;
use crate::server::{ListenerKey, Newest, Server, connection};

/// Pause after an error that no retry explains, so that it cannot become a busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Accepts at a listener for the newest configuration until `stopped` ends, then takes what
/// already waits and closes the listener.
pub async fn accept(
    newest: Rc<Newest>,
    key: ListenerKey,
    mut listener: Listener,
    mut stopped: Receiver<()>,
) {
    let mut is_starved = false;
    // The last known: a listener that is given up serves those who wait in its queue.
    let mut entrance = None;
    loop {
        let accepted = timer::race(listener.accept(), stopped.recv()).await;
        let Some(server) = newest.get() else {
            return;
        };
        match accepted {
            timer::Either::First(Ok(Accepted::Connection(socket, peer))) => {
                is_starved = false;
                entrance = server.entrance(key).cloned().or(entrance);
                admit(&server, entrance.as_ref(), (socket, peer));
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
    while let (Some(accepted), Some(server)) = (listener.try_accept(), newest.get()) {
        entrance = server.entrance(key).cloned().or(entrance);
        admit(&server, entrance.as_ref(), accepted);
    }
}

/// Starts a connection's task, unless there are too many already.
fn admit(server: &Rc<Server>, entrance: Option<&Rc<Entrance>>, accepted: (Plain, SocketAddr)) {
    server.recorder.count(Counter::Accepts);
    let is_full = server.deadlines.len() >= server.config.server.max_connections;
    let Some(entrance) = entrance.filter(|_| !is_full) else {
        server.recorder.count(Counter::ConnectionsRefused);
        return;
    };
    let place = server.deadlines.enter(accepted.0.note());
    let peer = accepted.1;
    match connection::run(Rc::clone(server), Rc::clone(entrance), place, accepted) {
        Ok(running) => spawn(running),
        Err(error) => server.log.error("tls", format_args!("{peer}: {error}")),
    }
}
