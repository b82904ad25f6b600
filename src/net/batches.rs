//! What the shards have for each other. All that one has for another in a turn of its loop leaves
//! in one message, and under load much shares one wake-up. Nobody waits for room: what a full
//! mailbox does not take stays for the next time.

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Waker;

use super::mailbox::{Address, Inbox, Undelivered, mailbox};

/// Batches that may wait in a shard's mailbox. A shard sends at most one to each other shard in
/// a turn of its loop, so one that lets this many wait is stuck.
const BATCHES_MAX: usize = 256;

/// What one shard has for another.
#[derive(Debug)]
pub struct Batch<I> {
    /// Who sends.
    pub from: u16,
    /// In order.
    pub items: Vec<I>,
}

/// One shard's ends. A shard that starts again gets a clone: what is in its mailbox is for it.
#[derive(Debug)]
pub struct Ends<I> {
    own: u16,
    /// Where messages for each shard go; its own is there too.
    addresses: Vec<Address<Batch<I>>>,
    inbox: Inbox<Batch<I>>,
}

impl<I> Ends<I> {
    /// The ends of all shards.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        let (addresses, inboxes): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| mailbox(BATCHES_MAX)).unzip();
        let ends = (0..shards).zip(inboxes).map(|(own, inbox)| Self {
            own,
            addresses: addresses.clone(),
            inbox,
        });
        ends.collect()
    }

    /// Which shard this is.
    #[must_use]
    pub const fn own(&self) -> u16 {
        self.own
    }
}

impl<I> Clone for Ends<I> {
    fn clone(&self) -> Self {
        Self {
            own: self.own,
            addresses: self.addresses.clone(),
            inbox: self.inbox.clone(),
        }
    }
}

/// What one shard has for the others, until its loop gets to it.
#[derive(Debug)]
pub struct Outbox<I> {
    ends: Ends<I>,
    /// By shard, what goes with the next batch.
    waiting: RefCell<Vec<Vec<I>>>,
    /// Wakes [`next`](Self::next) to send it.
    sender: RefCell<Option<Waker>>,
}

impl<I> Outbox<I> {
    /// An empty one.
    #[must_use]
    pub fn new(ends: Ends<I>) -> Self {
        let waiting = ends.addresses.iter().map(|_| Vec::new()).collect();
        Self {
            ends,
            waiting: RefCell::new(waiting),
            sender: RefCell::default(),
        }
    }

    /// Which shard this is.
    #[must_use]
    pub const fn own(&self) -> u16 {
        self.ends.own
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.ends.addresses.len() as u16
    }

    /// Puts something in, unless as much as `room` waits for that shard already; says whether it
    /// did. No bound (`None`) is for what may not be lost.
    pub fn post(&self, shard: u16, item: I, room: Option<usize>) -> bool {
        {
            let mut waiting = self.waiting.borrow_mut();
            let Some(items) = waiting.get_mut(usize::from(shard)) else {
                return false;
            };
            if room.is_some_and(|room| items.len() >= room) {
                return false;
            }
            items.push(item);
        }
        self.wake();
        true
    }

    /// Tries again to send what a full mailbox did not take. Call it a few times a second.
    pub fn nudge(&self) {
        if self.waiting.borrow().iter().any(|items| !items.is_empty()) {
            self.wake();
        }
    }

    fn wake(&self) {
        let waker = self.sender.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next batch of another shard; sends meanwhile what there is for others. For one caller
    /// at a time, in the shard's main future: so that a crash ends it, and what is in the mailbox
    /// is its successor's. `None` once nobody can send any more.
    pub async fn next(&self) -> Option<Batch<I>> {
        let mut received = pin!(self.ends.inbox.receive());
        poll_fn(|cx| {
            *self.sender.borrow_mut() = Some(cx.waker().clone());
            self.send();
            received.as_mut().poll(cx)
        })
        .await
    }

    fn send(&self) {
        let mut waiting = self.waiting.borrow_mut();
        for (items, address) in waiting.iter_mut().zip(&self.ends.addresses) {
            if items.is_empty() {
                continue;
            }
            let batch = Batch {
                from: self.ends.own,
                items: core::mem::take(items),
            };
            match address.send(batch) {
                Ok(()) => {}
                Err(Undelivered::Full(batch)) => *items = batch.items,
                // The program ends.
                Err(Undelivered::Closed(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::future::Future;
    use core::pin::Pin;
    use core::task::{Context, Poll};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn turn(outbox: &Outbox<u32>) -> Option<Batch<u32>> {
        match poll(pin!(outbox.next())) {
            Poll::Ready(batch) => batch,
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_turn_is_a_batch_and_a_full_mailbox_loses_nothing() {
        let mut ends = Ends::connect(2).into_iter().map(Outbox::new);
        let (one, two) = (ends.next().unwrap(), ends.next().unwrap());
        assert_eq!((one.own(), two.own(), two.shards()), (0, 1, 2));
        assert!(one.post(1, 1, Some(1)) && one.post(1, 2, None));
        assert!(!one.post(1, 3, Some(2)), "no room");
        assert!(!one.post(2, 3, None), "no such shard");
        assert!(turn(&one).is_none());
        let batch = turn(&two).unwrap();
        assert_eq!((batch.from, batch.items), (0, vec![1, 2]));
        for number in 0..2 * BATCHES_MAX as u32 {
            assert!(one.post(1, number, None));
            assert!(turn(&one).is_none());
        }
        let mut seen = Vec::new();
        loop {
            assert!(turn(&one).is_none());
            let Some(batch) = turn(&two) else { break };
            seen.extend(batch.items);
        }
        assert!(seen.into_iter().eq(0..2 * BATCHES_MAX as u32));
    }
}
