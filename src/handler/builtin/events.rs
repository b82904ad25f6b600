//! `/api/v1/sse`: live figures of each shard as an event stream, one event a second. All streams
//! of a shard share one event, and all shards one look at the figures.

use core::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::live::Live;
use super::{Pages, Scraper};
use crate::base::channel::{Sender, TrySendError, bounded};
use crate::handler::problem::Problem;
use crate::http::{Body, BodyError, Frame, Known, Method, RequestHead, Response, sse};
use crate::metrics::{Gauge, Recorder};
use crate::net;

/// Before the figures are asked for again when none came.
const PAUSE: Duration = Duration::from_secs(1);
/// Streams of one shard: they cost a socket and a write a second each.
const STREAMS_MAX: usize = 32;
/// Events that a slow client may be behind; it misses those beyond.
const QUEUED_MAX: usize = 2;

/// The event streams of one shard.
#[derive(Debug, Default)]
pub(super) struct Hub {
    watchers: RefCell<Vec<Watcher>>,
    /// The last event, for who comes in the middle of a second.
    last: RefCell<Bytes>,
    is_running: Cell<bool>,
}

#[derive(Debug)]
struct Watcher {
    frames: Sender<Result<Frame, BodyError>>,
    recorder: Rc<Recorder>,
}

impl Watcher {
    fn new(frames: Sender<Result<Frame, BodyError>>, recorder: &Rc<Recorder>) -> Self {
        recorder.shift(Gauge::OpenStreams, 1);
        Self {
            frames,
            recorder: Rc::clone(recorder),
        }
    }

    /// Sends, and says whether anybody is there. Who has not taken what came before misses this.
    fn tell(&self, event: &Bytes) -> bool {
        let sent = self.frames.try_send(Ok(Frame::Data(event.clone())));
        !matches!(sent, Err(TrySendError::Closed(_)))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.recorder.shift(Gauge::OpenStreams, -1);
    }
}

impl Pages {
    pub(super) fn events(&self, head: &RequestHead, response: &mut Response) {
        if !self.setup.config.metrics {
            *response = Problem::NotFound.response();
            return;
        }
        let is_head = head.method == Method::Head;
        if !is_head && self.hub.watchers() >= STREAMS_MAX {
            *response = Problem::Busy.response();
            return;
        }
        response.status = 200;
        let headers = &mut response.headers;
        headers.push_known(Known::ContentType, b"text/event-stream");
        headers.push_known(Known::CacheControl, b"no-cache");
        headers.push(b"X-Accel-Buffering", b"no");
        if is_head {
            return;
        }
        let (sender, receiver) = bounded(QUEUED_MAX);
        response.body = Body::Stream(receiver);
        self.hub.enter(Watcher::new(sender, &self.setup.recorder));
        if !self.hub.is_running.replace(true) {
            let hub = Rc::clone(&self.hub);
            let scraper = self.setup.scraper.clone();
            let draining = Rc::clone(&self.setup.draining);
            let live = Live::new(&self.setup);
            net::spawn(async move { hub.run(&scraper, &draining, live).await });
        }
    }
}

impl Hub {
    /// How many streams are open. Those whose client has left count until the next event.
    pub(super) fn watchers(&self) -> usize {
        self.watchers.borrow().len()
    }

    fn enter(&self, watcher: Watcher) {
        let last = self.last.borrow();
        if !last.is_empty() {
            watcher.tell(&last);
        }
        self.watchers.borrow_mut().push(watcher);
    }

    /// Sends figures until every client is gone or the shard drains.
    async fn run(&self, scraper: &Scraper, draining: &Cell<bool>, mut live: Live) {
        while !draining.get() {
            let mut text = Vec::new();
            let beat = scraper.beat().await;
            match &beat {
                Some(beat) => {
                    let figures = sonic_rs::to_vec(&live.figures(beat)).unwrap_or_default();
                    sse::write_event(Some("metrics"), None, &figures, &mut text);
                }
                // The stream stays alive; the next second may have figures.
                None => sse::write_comment(b"no figures", &mut text),
            }
            let event = Bytes::from(text);
            self.watchers
                .borrow_mut()
                .retain(|watcher| watcher.tell(&event));
            if self.watchers() == 0 {
                break;
            }
            match beat {
                Some(_) => *self.last.borrow_mut() = event,
                None => net::sleep(PAUSE).await,
            }
        }
        self.watchers.borrow_mut().clear();
        self.last.borrow_mut().clear();
        self.is_running.set(false);
    }
}
