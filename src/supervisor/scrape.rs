//! Answers for `/metrics` and the live page: asks every shard, merges what comes in time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::Now;
use crate::handler::builtin::{Scrape, Wanted};
use crate::metrics::{Beat, Collector, Merged, RuntimeInfo};
use crate::net::across;
use crate::net::mailbox::Address;
use crate::net::timer::within;
use crate::record::read_process;
use crate::shard::Message;

/// A shard that takes longer is shown as stale, with its last known figures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// From one beat to the next.
const BEAT: Duration = Duration::from_secs(1);
/// A look that is older than this is no beginning of a beat.
const BEAT_MAX: Duration = Duration::from_secs(3);
/// Watchers of one beat: each shard asks for one at a time.
const WATCHERS_MAX: usize = 4096;

/// Where the figures come from.
pub(super) struct Sources {
    pub(super) shards: Rc<RefCell<Vec<Address<Message>>>>,
    pub(super) collector: Rc<RefCell<Collector>>,
    pub(super) runtime: Rc<RefCell<RuntimeInfo>>,
}

/// Answers for ever. One task for all questions: two rounds at once would each take the other's
/// answers for missing ones.
pub(super) async fn serve(scrapes: across::Receiver<Scrape>, sources: Sources) {
    let mut live = Live::default();
    loop {
        let scrape = match live.due() {
            None => scrapes.recv().await,
            Some(left) => match within(left, scrapes.recv()).await {
                Ok(scrape) => scrape,
                Err(_) => {
                    live.beat(sources.look().await);
                    continue;
                }
            },
        };
        match scrape {
            Ok(scrape) => answer(scrape, &scrapes, &sources, &mut live).await,
            Err(_) => return,
        }
    }
}

async fn answer(
    first: Scrape,
    scrapes: &across::Receiver<Scrape>,
    sources: &Sources,
    live: &mut Live,
) {
    let reply = match first.wanted {
        Wanted::Beat(watcher) => return live.watch(watcher),
        Wanted::Figures(reply) => reply,
    };
    let merged = sources.look().await;
    // One round answers everybody who asked meanwhile: a stuck shard costs each a second, not
    // each one more than the one before. Who has given up meanwhile is no error.
    while let Ok(other) = scrapes.try_recv() {
        match other.wanted {
            Wanted::Figures(reply) => reply.try_send(Box::new(merged.clone())).unwrap_or(()),
            Wanted::Beat(watcher) => live.watch(watcher),
        }
    }
    reply.try_send(Box::new(merged)).unwrap_or(());
}

impl Sources {
    /// The figures of all shards as they are now.
    pub(super) async fn look(&self) -> Merged {
        let (shards, collector) = (&self.shards, &self.collector);
        collector.borrow_mut().begin();
        let (reply, replies) = across::bounded(shards.borrow().len().max(1));
        for shard in &*shards.borrow() {
            // A full mailbox is a stuck shard.
            let _ = shard.send(Message::Snapshot(reply.clone()));
        }
        drop(reply);
        let gather = async {
            while let Ok(snapshot) = replies.recv().await {
                collector.borrow_mut().update(snapshot);
                if collector.borrow().is_complete() {
                    break;
                }
            }
        };
        // Whoever is missing afterwards is shown as not up.
        let _ = within(ANSWER_TIMEOUT, gather).await;
        let runtime = self.runtime.borrow().clone();
        self.collector.borrow().merged(read_process(), &runtime)
    }
}

/// Those who watch, and the last look that they got.
#[derive(Default)]
struct Live {
    watchers: Vec<across::Sender<Arc<Beat>>>,
    last: Option<(Arc<Beat>, Instant)>,
}

impl Live {
    /// Somebody wants the next beat. One too many hears nothing and asks again.
    fn watch(&mut self, watcher: across::Sender<Arc<Beat>>) {
        if self.watchers.len() < WATCHERS_MAX {
            self.watchers.push(watcher);
        }
    }

    /// How long until the next beat; `None` while nobody watches. Beats come as the second
    /// changes; the first of a watch comes at once.
    fn due(&self) -> Option<Duration> {
        if self.watchers.is_empty() {
            return None;
        }
        let now = Now::read();
        let Some((_, at)) = &self.last else {
            return Some(Duration::ZERO);
        };
        if now.mono.duration_since(*at) > BEAT_MAX {
            return Some(Duration::ZERO);
        }
        let into = Duration::from_nanos(u64::from(now.unix.subsec_nanos()));
        let left = BEAT - into;
        // One that would come on the heels of the last is left out.
        let is_close = (now.mono + left).duration_since(*at) < BEAT / 4;
        Some(if is_close { left + BEAT } else { left })
    }

    fn beat(&mut self, merged: Merged) {
        let now = Now::read().mono;
        let before = self.last.take().and_then(|(beat, at)| {
            let span = now.duration_since(at);
            (span <= BEAT_MAX).then_some((beat, span))
        });
        let beat = match &before {
            Some((before, span)) => Beat::between(Some(&before.now), merged, *span),
            None => Beat::between(None, merged, Duration::ZERO),
        };
        let beat = Arc::new(beat);
        for watcher in self.watchers.drain(..) {
            watcher.try_send(Arc::clone(&beat)).unwrap_or(());
        }
        self.last = Some((beat, now));
    }
}
