//! Answers for `/metrics`: asks every shard, merges what comes in time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::handler::builtin::Scrape;
use crate::metrics::{Collector, RuntimeInfo};
use crate::net::across;
use crate::net::mailbox::Address;
use crate::net::timer::within;
use crate::record::read_process;
use crate::shard::Message;

/// A shard that takes longer is shown as stale, with its last known figures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers scrapes for ever, a round of questions for all that have come.
pub(super) async fn serve(
    scrapes: across::Receiver<Scrape>,
    shards: Rc<RefCell<Vec<Address<Message>>>>,
    collector: Rc<RefCell<Collector>>,
    runtime: Rc<RefCell<RuntimeInfo>>,
) {
    while let Ok(scrape) = scrapes.recv().await {
        collect(&shards, &collector).await;
        let runtime = runtime.borrow().clone();
        let merged = collector.borrow().merged(read_process(), &runtime);
        // One round answers everybody who asked meanwhile: a stuck shard costs each a second,
        // not each one more than the one before.
        while let Ok(other) = scrapes.try_recv() {
            other.answer(merged.clone());
        }
        scrape.answer(merged);
    }
}

async fn collect(shards: &RefCell<Vec<Address<Message>>>, collector: &RefCell<Collector>) {
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
}
