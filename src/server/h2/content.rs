//! A request's content on its way from the `h2` crate to the handler. The client may send more
//! only as the handler takes what it has sent: flow control ends there.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use crate::base::channel::{Sender, bounded};
use crate::http::h2::{Opened, read_trailers};
use crate::http::{Body, BodyError, Frame};
use crate::metrics::Counter;
use crate::net::sleep;
use crate::server::Server;

/// Frames that may wait for a handler; the stream's window bounds their bytes.
const FRAMES_QUEUED_MAX: usize = 4;

/// What is still to be passed on of a request's content.
pub(super) struct Content {
    feed: Option<Feed>,
    /// The client broke the protocol on this stream.
    pub(super) is_broken: bool,
    /// Bytes that have come.
    received: u64,
}

struct Feed {
    source: RecvStream,
    sender: Sender<Result<Frame, BodyError>>,
    /// Sizes of the frames that were queued and, as far as is known, not taken.
    untaken: VecDeque<usize>,
    /// How much the content may be.
    max: u64,
    /// How much more it may be.
    left: u64,
    waits_for_continue: bool,
    patience: Patience,
}

impl Content {
    /// None, or none that anyone wants.
    pub(super) const fn none() -> Self {
        Self {
            feed: None,
            is_broken: false,
            received: 0,
        }
    }

    /// Takes the content if it is all there, or opens a stream. `max` bounds it in bytes.
    pub(super) async fn open(mut source: RecvStream, opened: Opened, max: u64) -> (Self, Body) {
        let mut content = Self::none();
        if source.is_end_stream() {
            return (content, Body::Empty);
        }
        let first = poll_fn(|cx| Poll::Ready(source.poll_data(cx))).await;
        let (sender, receiver) = bounded(FRAMES_QUEUED_MAX);
        let mut feed = Feed {
            waits_for_continue: opened.expects_continue && first.is_pending(),
            source,
            sender,
            untaken: VecDeque::new(),
            max,
            left: max,
            patience: Patience::default(),
        };
        match first {
            Poll::Ready(Some(Ok(bytes))) => {
                if feed.source.is_end_stream() && bytes.len() as u64 <= max {
                    feed.release(bytes.len());
                    content.received = bytes.len() as u64;
                    return (content, Body::Full(bytes));
                }
                if feed.put(bytes) {
                    content.feed = Some(feed);
                }
            }
            Poll::Ready(Some(Err(error))) => content.fail(&feed, &error),
            Poll::Ready(None) | Poll::Pending => content.feed = Some(feed),
        }
        (content, Body::Stream(receiver))
    }

    /// Bytes of the content that have come so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Passes on what has come, and asks for more as the handler takes it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        server: &Server,
        respond: Option<&mut SendResponse<Bytes>>,
    ) {
        if let Some(mut feed) = self.feed.take() {
            let fed = feed.poll(cx, server, respond);
            self.received = feed.max - feed.left;
            match fed {
                Fed::More => self.feed = Some(feed),
                Fed::Done => {}
                Fed::Failed(error) => self.fail(&feed, &error),
            }
        }
    }

    fn fail(&mut self, feed: &Feed, error: &h2::Error) {
        self.is_broken = error.is_library() && error.is_reset();
        let error = match self.is_broken {
            true => BodyError::Malformed,
            false => BodyError::Incomplete,
        };
        let _ = feed.sender.try_send(Err(error));
    }
}

enum Fed {
    More,
    Done,
    Failed(h2::Error),
}

impl Feed {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        server: &Server,
        respond: Option<&mut SendResponse<Bytes>>,
    ) -> Fed {
        loop {
            let queued = self.sender.poll_queued(cx);
            while self.untaken.len() > queued
                && let Some(bytes) = self.untaken.pop_front()
            {
                self.release(bytes);
            }
            match self.sender.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Fed::Done,
                Poll::Pending => {
                    // The handler is slow, not the client.
                    self.patience.reset();
                    return Fed::More;
                }
            }
            match self.source.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.patience.reset();
                    if !self.put(bytes) {
                        return Fed::Done;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Fed::Failed(error),
                Poll::Ready(None) => match self.source.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => {
                        if let Some(fields) = trailers {
                            let trailers = Frame::Trailers(read_trailers(&fields));
                            let _ = self.sender.try_send(Ok(trailers));
                        }
                        return Fed::Done;
                    }
                    Poll::Ready(Err(error)) => return Fed::Failed(error),
                    Poll::Pending => return self.wait(cx, server),
                },
                Poll::Pending => {
                    if self.waits_for_continue && !self.ask_for_content(cx, respond) {
                        return Fed::More;
                    }
                    return self.wait(cx, server);
                }
            }
        }
    }

    /// Queues a frame, for which there is room. `false`: that was the last.
    fn put(&mut self, bytes: Bytes) -> bool {
        let size = bytes.len();
        let Some(left) = self.left.checked_sub(size as u64) else {
            let _ = self.sender.try_send(Err(BodyError::TooLarge));
            return false;
        };
        self.left = left;
        self.untaken.push_back(size);
        self.sender.try_send(Ok(Frame::Data(bytes))).is_ok()
    }

    /// Lets the client send so much more. Fails only on a stream that is over.
    fn release(&mut self, bytes: usize) {
        let _ = self.source.flow_control().release_capacity(bytes);
    }

    /// Tells a client that waits for it that its content is wanted, once it is (RFC 9110
    /// §10.1.1). `false`: nobody wants it yet.
    fn ask_for_content(
        &mut self,
        cx: &mut Context<'_>,
        respond: Option<&mut SendResponse<Bytes>>,
    ) -> bool {
        if self.sender.poll_awaited(cx).is_pending() {
            return false;
        }
        self.waits_for_continue = false;
        // After a final response there is nothing to ask for.
        if let Some(respond) = respond {
            let mut interim = ::http::Response::new(());
            *interim.status_mut() = ::http::StatusCode::CONTINUE;
            let _ = respond.send_informational(interim);
        }
        true
    }

    fn wait(&mut self, cx: &mut Context<'_>, server: &Server) -> Fed {
        let timeout = server.config.server.client_body_timeout;
        if self.patience.poll(cx, timeout).is_pending() {
            return Fed::More;
        }
        server.recorder.count(Counter::TimeoutBody);
        let _ = self.sender.try_send(Err(BodyError::TimedOut));
        Fed::Done
    }
}

/// A time limit on a wait that may be over and begin again.
#[derive(Default)]
pub(super) struct Patience(Option<Pin<Box<dyn Future<Output = ()>>>>);

impl Patience {
    /// The wait is over.
    pub(super) fn reset(&mut self) {
        self.0 = None;
    }

    /// Resolves when the wait, begun with the first call, has taken that long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<()> {
        let sleeping = self.0.get_or_insert_with(|| Box::pin(sleep(timeout)));
        sleeping.as_mut().poll(cx)
    }
}
