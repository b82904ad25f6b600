//! Drives HTTP/2 on a connection. Frames, HPACK and flow control are the `h2` crate's; here are
//! its bytes (`io`), its streams (`stream`), their limits and their end.
//!
//! ```text
//!  turn:  read once --> crate --> each new request: poll its answer once --> crate --> send once
//!                                        | not at once
//!                                        `--> a task of its own, which wakes this one
//! ```
//!
//! A small answer takes no task and no wake-up, and all answers of a turn leave in one write.

mod content;
mod io;
mod send;
mod shared;
mod stream;

pub(super) use shared::Kept;

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use ::h2::Reason;
use ::h2::server::{Builder, Connection as Peer, SendResponse};
use bytes::Bytes;

use crate::http::h2::Flood;
use crate::metrics::Counter;
use crate::net::runtime::{Panicked, fence};
use crate::net::spawn;
use crate::record::SeenTls;
use crate::server::Server;
use crate::server::connection::{Close, Connection};
use crate::server::deadlines::{Limit, Place};
use crate::server::entrance::Entrance;
use crate::server::h2::io::{Io, Wire};
use crate::server::h2::shared::{Counted, Shared};
use crate::server::h2::stream::Stream;
use crate::server::lent::Input;

/// Serves a connection that begins with the HTTP/2 preface; `input` is what has come of it.
pub(super) async fn serve(connection: &mut Connection, input: Input) -> Close {
    let server = Rc::clone(&connection.server);
    server.recorder.count(Counter::Http2Connections);
    let reader = connection.reader.share();
    let wire = Rc::new(RefCell::new(Wire::new(&server, reader, input)));
    let place = &connection.place;
    let timeout = server.config.server.client_header_timeout;
    place.arm(Limit::Header, server.time.now().mono + timeout);
    let Some(peer) = Box::pin(shake_hands(&server, &wire)).await else {
        return Close::Now;
    };
    let mut driver = Driver {
        server,
        place,
        address: connection.peer,
        tls: connection.tls.clone(),
        entrance: Rc::clone(&connection.entrance),
        peer,
        wire,
        shared: Rc::default(),
        number: connection.number,
        requests: 0,
        stage: Stage::Open,
        armed: Armed::Handshake,
    };
    poll_fn(|cx| driver.poll(cx)).await
}

/// Exchanges prefaces. `None`: the client sent another, or has gone.
async fn shake_hands(server: &Server, wire: &Rc<RefCell<Wire>>) -> Option<Peer<Io, Bytes>> {
    let mut handshake = pin!(builder(server).handshake(Io(Rc::clone(wire))));
    poll_fn(|cx| {
        let shaken = handshake.as_mut().poll(cx).map(Result::ok);
        // Our settings need not wait for the client's.
        match wire.borrow_mut().poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            _ => shaken,
        }
    })
    .await
}

fn builder(server: &Server) -> Builder {
    let settings = &server.config.server;
    let (heads, http2) = (settings.header_buffers, &settings.http2);
    let list_bytes = heads.count.saturating_mul(heads.size);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(http2.max_concurrent_streams)
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_send_buffer_size(http2.send_buffer)
        .header_table_size(http2.header_table_size)
        .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(http2.max_faulty_streams));
    builder
}

/// How far a connection is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client was told to send no more requests; those it has sent are answered.
    Leaving,
    /// The last frames are on their way.
    Ending,
}

/// Which limit is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    /// For the client's preface.
    Handshake,
    Nothing,
    /// For the next request, after so many, or the rest of a frame.
    Idle {
        requests: u64,
        is_inside_frame: bool,
    },
    /// For room to write, since so many bytes were sent.
    Send {
        sent_total: u64,
    },
}

struct Driver<'a> {
    server: Rc<Server>,
    place: &'a Place,
    address: SocketAddr,
    tls: Option<Rc<SeenTls>>,
    entrance: Rc<Entrance>,
    peer: Peer<Io, Bytes>,
    wire: Rc<RefCell<Wire>>,
    shared: Rc<Shared>,
    /// The connection's number in the process.
    number: u64,
    /// So far.
    requests: u64,
    stage: Stage,
    armed: Armed,
}

impl Driver<'_> {
    /// One turn. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        self.shared.watch(cx);
        self.leave_if_told(cx);
        loop {
            match self.peer.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond, cx),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.ended(Some(&error))),
                Poll::Ready(None) => return Poll::Ready(self.ended(None)),
                Poll::Pending if self.is_flooded() => {}
                Poll::Pending => {
                    let sent = self.wire.borrow_mut().poll_send(cx);
                    match sent {
                        Poll::Ready(Ok(())) => self.shared.all_sent(),
                        Poll::Ready(Err(_)) => return Poll::Ready(Close::Now),
                        Poll::Pending => {}
                    }
                    // The last answer of a connection that is to end may have left just now.
                    let stage = self.stage;
                    self.leave_if_told(cx);
                    if self.stage == stage {
                        break;
                    }
                }
            }
        }
        self.arm();
        Poll::Pending
    }

    /// A request has come: it is answered at once or gets a task of its own.
    fn begin(
        &mut self,
        request: ::http::Request<::h2::RecvStream>,
        respond: SendResponse<Bytes>,
        cx: &mut Context<'_>,
    ) {
        self.requests += 1;
        self.catch_up();
        self.server.recorder.count(Counter::Http2Streams);
        let http2 = &self.server.config.server.http2;
        if self.requests == self.last_request() && self.stage == Stage::Open {
            self.stage = Stage::Leaving;
            self.peer.graceful_shutdown();
        }
        // What was on its way when the client was told is answered; more is not.
        let on_the_way = u64::from(http2.max_concurrent_streams);
        if self.requests > self.last_request().saturating_add(on_the_way) {
            return self.end(Reason::ENHANCE_YOUR_CALM, Counter::Http2StreamsAfterGoaway);
        }
        let stream = Stream {
            server: Rc::clone(&self.server),
            peer: self.address,
            tls: self.tls.clone(),
            number: self.number,
            requests: self.requests,
            entrance: Rc::clone(&self.entrance),
            counted: Counted::new(&self.shared),
            request,
            respond,
            now: self.wire.borrow().now,
        };
        let mut answering = Box::pin(fence(stream.run()));
        match answering.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Panicked)) => self.server.recorder.count(Counter::Panics),
            Poll::Pending => {
                let server = Rc::clone(&self.server);
                spawn(async move {
                    if answering.await.is_err() {
                        server.recorder.count(Counter::Panics);
                    }
                });
            }
        }
    }

    /// Goes over to the newest configuration: a request is the first of it.
    fn catch_up(&mut self) {
        if let Some(newer) = self.server.newer() {
            if let Some(entrance) = newer.entrance(self.entrance.key) {
                self.entrance = Rc::clone(entrance);
            }
            self.server = newer;
        }
    }

    /// The request after which a connection is ended whatever is under way. Until then it ends
    /// when nothing is: clients that cannot take a GOAWAY beside a response are many.
    fn last_request(&self) -> u64 {
        match self.server.config.server.http2.max_requests {
            0 => u64::MAX,
            max => max.saturating_mul(2),
        }
    }

    /// Whether it has had all the requests it may have.
    fn is_spent(&self) -> bool {
        let max = self.server.config.server.http2.max_requests;
        max > 0 && self.requests >= max
    }

    /// Ends a connection that has been idle for too long, or whose shard ends.
    fn leave_if_told(&mut self, cx: &Context<'_>) {
        if self.stage == Stage::Ending {
            return;
        }
        let is_overdue = self.place.fired().is_some();
        let is_drained = self.server.drain.has_begun();
        if is_overdue || self.is_spent() && !self.is_busy() {
            self.stage = Stage::Ending;
            self.peer.abrupt_shutdown(Reason::NO_ERROR);
        } else if is_drained && self.stage == Stage::Open {
            self.stage = Stage::Leaving;
            self.peer.graceful_shutdown();
        } else if !is_drained {
            self.place.watch(cx);
        }
    }

    /// Whether an answer is being made or sent.
    fn is_busy(&self) -> bool {
        self.shared.streams() > 0 || self.peer.has_streams()
    }

    /// Ends a connection whose client has spent a budget.
    fn is_flooded(&mut self) -> bool {
        if self.stage == Stage::Ending {
            return false;
        }
        let counter = match self.wire.borrow().flood() {
            None => return false,
            Some(Flood::Resets) => Counter::Http2Resets,
            Some(Flood::Control) => Counter::Http2ControlFrames,
            Some(Flood::Updates) => Counter::Http2WindowUpdates,
        };
        self.end(Reason::ENHANCE_YOUR_CALM, counter);
        true
    }

    fn end(&mut self, reason: Reason, counter: Counter) {
        if self.stage != Stage::Ending {
            self.stage = Stage::Ending;
            self.server.recorder.count(counter);
            self.peer.abrupt_shutdown(reason);
        }
    }

    /// The connection is over, if by an error of the client's, it is counted.
    fn ended(&self, error: Option<&::h2::Error>) -> Close {
        if let Some(error) = error.filter(|error| error.is_library() && error.is_go_away()) {
            let counter = counter_of(error, self.wire.borrow().last_words());
            self.server.recorder.count(counter);
            let address = self.address;
            let log = &self.server.log;
            log.debug("http2", format_args!("{address}: {error}"));
        }
        if error.is_some_and(::h2::Error::is_io) || self.wire.borrow().has_ended() {
            return Close::Now;
        }
        Close::Linger
    }

    /// Limits what the connection waits for now.
    fn arm(&mut self) {
        let wire = self.wire.borrow();
        let settings = &self.server.config.server;
        let wanted = if wire.is_blocked() {
            Armed::Send {
                sent_total: wire.sent_total,
            }
        } else if self.shared.streams() == 0 {
            Armed::Idle {
                requests: self.requests,
                is_inside_frame: wire.is_inside_frame(),
            }
        } else {
            Armed::Nothing
        };
        if wanted == self.armed {
            return;
        }
        self.armed = wanted;
        let at = |timeout| self.server.time.now().mono + timeout;
        match wanted {
            Armed::Handshake | Armed::Nothing => self.place.disarm(),
            Armed::Send { .. } => self.place.arm(Limit::Send, at(settings.send_timeout)),
            Armed::Idle {
                requests,
                is_inside_frame,
            } if is_inside_frame || requests == 0 => {
                let until = at(settings.client_header_timeout);
                self.place.arm_idle(Limit::Header, until);
            }
            Armed::Idle { .. } => {
                let until = at(settings.keepalive_timeout);
                self.place.arm_idle(Limit::KeepAlive, until);
            }
        }
    }
}

/// What the crate ended a connection for. It says so to the client alone, in words.
fn counter_of(error: &::h2::Error, last_words: &[u8]) -> Counter {
    if error.reason() != Some(Reason::ENHANCE_YOUR_CALM) {
        return Counter::Http2ProtocolErrors;
    }
    let says = |words: &[u8]| memchr::memmem::find(last_words, words).is_some();
    if says(b"too_many_internal_resets") {
        Counter::Http2FaultyStreams
    } else if says(b"too_many_resets") {
        Counter::Http2Resets
    } else if says(b"too_many_continuations") || says(b"header_list") {
        Counter::Http2Heads
    } else if says(b"data_frames") {
        Counter::Http2SmallFrames
    } else {
        Counter::Http2ProtocolErrors
    }
}
