//! A bounded queue inside one shard: body chunks, events of a stream. No atomics, no locks,
//! not `Send`. The sender waits while the queue is full (back-pressure) and learns when the
//! receiver has gone (cancellation); the receiver learns when every sender has gone.

use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The other half is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other half of the channel is gone")]
pub struct Closed;

/// Why [`Sender::try_send`] gave the item back.
#[derive(Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The queue is full; the item may be tried again.
    Full(T),
    /// The receiver is gone; nothing will ever take the item.
    Closed(T),
}

#[derive(Debug)]
struct Shared<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_alive: bool,
    receiver_waker: Option<Waker>,
    sender_wakers: Vec<Waker>,
}

impl<T> Shared<T> {
    fn wake_receiver(&mut self) -> Option<Waker> {
        self.receiver_waker.take()
    }

    fn remember_sender(&mut self, cx: &Context<'_>) {
        if !self.sender_wakers.iter().any(|w| w.will_wake(cx.waker())) {
            self.sender_wakers.push(cx.waker().clone());
        }
    }
}

/// The sending half. Clones feed the same queue.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

/// The receiving half. Dropping it cancels the senders.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

/// A queue that holds at most `capacity` items (at least one).
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(RefCell::new(Shared {
        queue: VecDeque::new(),
        capacity: capacity.max(1),
        senders: 1,
        receiver_alive: true,
        receiver_waker: None,
        sender_wakers: Vec::new(),
    }));
    let receiver = Receiver {
        shared: Rc::clone(&shared),
    };
    (Sender { shared }, receiver)
}

impl<T> Sender<T> {
    /// Queues the item, waiting while the queue is full.
    pub async fn send(&self, item: T) -> Result<(), Closed> {
        let mut slot = Some(item);
        poll_fn(|cx| self.poll_send(cx, &mut slot)).await
    }

    fn poll_send(&self, cx: &mut Context<'_>, slot: &mut Option<T>) -> Poll<Result<(), Closed>> {
        let Some(item) = slot.take() else {
            return Poll::Ready(Ok(()));
        };
        match self.try_send(item) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(TrySendError::Closed(_)) => Poll::Ready(Err(Closed)),
            Err(TrySendError::Full(item)) => {
                *slot = Some(item);
                self.shared.borrow_mut().remember_sender(cx);
                Poll::Pending
            }
        }
    }

    /// Queues the item now or gives it back.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            if !shared.receiver_alive {
                return Err(TrySendError::Closed(item));
            }
            if shared.queue.len() >= shared.capacity {
                return Err(TrySendError::Full(item));
            }
            shared.queue.push_back(item);
            shared.wake_receiver()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Resolves when there is room for an item, so that the next
    /// [`try_send`](Self::try_send) by the only sender succeeds.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut shared = self.shared.borrow_mut();
        if !shared.receiver_alive {
            return Poll::Ready(Err(Closed));
        }
        if shared.queue.len() < shared.capacity {
            return Poll::Ready(Ok(()));
        }
        shared.remember_sender(cx);
        Poll::Pending
    }

    /// How many items wait for the receiver; the sender is woken when it takes one.
    pub fn poll_queued(&self, cx: &Context<'_>) -> usize {
        let mut shared = self.shared.borrow_mut();
        if !shared.queue.is_empty() {
            shared.remember_sender(cx);
        }
        shared.queue.len()
    }

    /// Resolves when the receiver waits and there is nothing for it.
    pub fn poll_awaited(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut shared = self.shared.borrow_mut();
        if !shared.receiver_alive {
            return Poll::Ready(Err(Closed));
        }
        if shared.queue.is_empty() && shared.receiver_waker.is_some() {
            return Poll::Ready(Ok(()));
        }
        shared.remember_sender(cx);
        Poll::Pending
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.shared.borrow().receiver_alive
    }

    /// Resolves when the receiver is gone.
    pub async fn closed(&self) {
        poll_fn(|cx| self.poll_closed(cx)).await;
    }

    /// Poll form of [`closed`](Self::closed).
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.shared.borrow_mut();
        if !shared.receiver_alive {
            return Poll::Ready(());
        }
        shared.remember_sender(cx);
        Poll::Pending
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.borrow_mut().senders += 1;
        Self {
            shared: Rc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            shared.senders -= 1;
            if shared.senders == 0 {
                shared.wake_receiver()
            } else {
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` once the queue is empty and every sender is gone.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Poll form of [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let (polled, wakers) = {
            let mut shared = self.shared.borrow_mut();
            let polled = match shared.queue.pop_front() {
                Some(item) => Poll::Ready(Some(item)),
                None if shared.senders == 0 => return Poll::Ready(None),
                None => {
                    shared.receiver_waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
            // Senders wait for room, or for the receiver to wait.
            (polled, std::mem::take(&mut shared.sender_wakers))
        };
        for waker in wakers {
            waker.wake();
        }
        polled
    }

    /// The next item if one is queued.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_recv(&mut cx) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (wakers, items) = {
            let mut shared = self.shared.borrow_mut();
            shared.receiver_alive = false;
            (
                std::mem::take(&mut shared.sender_wakers),
                std::mem::take(&mut shared.queue),
            )
        };
        drop(items);
        for waker in wakers {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back_and_room_lets_it_in() {
        let (sender, mut receiver) = bounded(1);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!(sender.try_send(2), Ok(()));
    }

    #[test]
    fn a_sender_learns_of_room_and_of_a_receiver_that_waits() {
        let (sender, mut receiver) = bounded(1);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(sender.poll_ready(&mut cx), Poll::Ready(Ok(())));
        assert_eq!(sender.poll_awaited(&mut cx), Poll::Pending);
        assert_eq!(receiver.poll_recv(&mut cx), Poll::Pending);
        assert_eq!(sender.poll_awaited(&mut cx), Poll::Ready(Ok(())));
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.poll_ready(&mut cx), Poll::Pending);
        assert_eq!(sender.poll_awaited(&mut cx), Poll::Pending);
        drop(receiver);
        assert_eq!(sender.poll_ready(&mut cx), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn each_half_learns_that_the_other_is_gone() {
        let (sender, receiver) = bounded(1);
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(TrySendError::Closed(1)));
        let (sender, mut receiver) = bounded::<u8>(1);
        drop(sender);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(None));
    }
}
