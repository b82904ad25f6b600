//! One question to a server and all who wait for its answer. Those who ride along get the head as
//! soon as it has come and then the pieces of the content, each at its own pace: the pieces are
//! shared and stay until the answer is kept as a whole. Content that turns out too large to be
//! kept is passed on instead: pieces go when all riders have them, and the slowest sets the pace.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::cache::entry::{Draft, Entry, Parcel};
use crate::cache::status::Outcome;
use crate::handler::problem::Problem;
use crate::handler::proxy::Fetched;
use crate::http::{BodyError, HeaderList, Hint, Hints, Source};

/// Bytes of content that is not kept which may wait for the slowest rider.
const PASSED_BYTES_MAX: usize = 256 * 1024;

/// A question that is under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// The fields of the request that it began with.
    pub(super) fields: HeaderList,
    /// Interim answers, for the one whose question it is.
    pub(super) hints: Hints,
    state: RefCell<State>,
}

/// How far it has come.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Asked,
    Arrived(Arrival),
    /// The answer is for the one who asked alone, and was handed over.
    Taken,
}

/// What comes of a question.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An answer whose content streams.
    Streams {
        /// Its head.
        draft: Arc<Draft>,
        /// Length of its content, if that is known.
        length: Option<u64>,
        /// What the cache did.
        outcome: Outcome,
    },
    /// A whole answer.
    Kept {
        /// The answer.
        entry: Rc<Entry>,
        /// What the cache did.
        outcome: Outcome,
    },
    /// An answer that others may not have; `None` for the others.
    Alone(Option<Box<Fetched>>),
    /// There is none.
    Failed(Problem),
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Pieces that are still there; the first is number `first`.
    pieces: VecDeque<Bytes>,
    first: usize,
    /// Bytes of the pieces.
    bytes: usize,
    /// Pieces go when all have them.
    is_passed: bool,
    end: Option<Result<(), BodyError>>,
    /// What it brings is not kept.
    is_void: bool,
    /// As it is kept.
    parcel: Option<Arc<Parcel>>,
    riders: Vec<Option<Seat>>,
    free: Vec<usize>,
    driver: Option<Waker>,
}

#[derive(Debug, Default)]
struct Seat {
    /// The number of the piece it wants next.
    next: usize,
    waker: Option<Waker>,
}

/// One who waits for the answer. Dropped, it waits no more.
#[derive(Debug)]
pub(super) struct Rider {
    flight: Rc<Flight>,
    seat: usize,
    is_first: bool,
}

impl Flight {
    /// A question that was just asked.
    #[must_use]
    pub(super) fn new(fields: HeaderList) -> Rc<Self> {
        Rc::new(Self {
            fields,
            hints: Hints::default(),
            state: RefCell::default(),
        })
    }

    /// Rides along. The first is the one whose question it is.
    #[must_use]
    pub(super) fn board(self: &Rc<Self>, is_first: bool) -> Rider {
        let mut state = self.state.borrow_mut();
        let seat = match state.free.pop() {
            Some(seat) => seat,
            None => {
                state.riders.push(None);
                state.riders.len() - 1
            }
        };
        if let Some(place) = state.riders.get_mut(seat) {
            *place = Some(Seat::default());
        }
        Rider {
            flight: Rc::clone(self),
            seat,
            is_first,
        }
    }

    /// Says what has come of it.
    pub(super) fn arrive(&self, arrival: Arrival) {
        self.state.borrow_mut().phase = Phase::Arrived(arrival);
        self.wake_all();
    }

    /// Adds a piece. Waits for the slowest rider if the content is not kept. `false`: nobody
    /// rides along any more, and it is not kept either.
    pub(super) async fn push(&self, piece: Bytes) -> bool {
        {
            let mut state = self.state.borrow_mut();
            state.bytes += piece.len();
            state.pieces.push_back(piece);
        }
        self.wake_all();
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if !state.is_passed {
                return Poll::Ready(true);
            }
            state.drop_passed();
            if state.is_deserted() {
                return Poll::Ready(false);
            }
            if state.bytes <= PASSED_BYTES_MAX {
                return Poll::Ready(true);
            }
            state.driver = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The content is too large to be kept: it is passed on from here.
    pub(super) fn pass_on(&self) {
        self.state.borrow_mut().is_passed = true;
    }

    /// What it brings is not to be kept: it was asked before something changed.
    pub(super) fn void(&self) {
        self.state.borrow_mut().is_void = true;
    }

    /// Whether what it brings is not to be kept.
    #[must_use]
    pub(super) fn is_void(&self) -> bool {
        self.state.borrow().is_void
    }

    /// Notes what is kept of it.
    pub(super) fn keep(&self, parcel: &Arc<Parcel>) {
        self.state.borrow_mut().parcel = Some(Arc::clone(parcel));
    }

    /// What is kept of it.
    #[must_use]
    pub(super) fn kept(&self) -> Option<Arc<Parcel>> {
        self.state.borrow().parcel.clone()
    }

    /// Whether it is known what comes of it.
    #[must_use]
    pub(super) fn has_arrived(&self) -> bool {
        !matches!(self.state.borrow().phase, Phase::Asked)
    }

    /// It is over, whatever has come of it: nobody waits any longer.
    pub(super) fn close(&self) {
        if !self.has_arrived() {
            self.arrive(Arrival::Failed(Problem::Internal));
        }
        if self.state.borrow().end.is_none() {
            self.end(Err(BodyError::Incomplete));
        }
    }

    /// Bytes of the pieces that are there.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.state.borrow().bytes
    }

    /// The whole content.
    #[must_use]
    pub(super) fn content(&self) -> Bytes {
        let state = self.state.borrow();
        let mut pieces = state.pieces.iter();
        match (pieces.next(), pieces.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.clone(),
            _ => {
                let mut whole = Vec::with_capacity(state.bytes);
                for piece in &state.pieces {
                    whole.extend_from_slice(piece);
                }
                whole.into()
            }
        }
    }

    /// No more pieces come.
    pub(super) fn end(&self, result: Result<(), BodyError>) {
        self.state.borrow_mut().end = Some(result);
        self.wake_all();
    }

    /// Resolves when nobody rides along any more.
    pub(super) async fn deserted(&self) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.is_deserted() {
                return Poll::Ready(());
            }
            state.driver = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Lets riders look for interim answers.
    pub(super) fn tell_hints(&self) {
        if !self.hints.is_empty() {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let seats = state.riders.iter_mut().flatten();
            wakers.extend(seats.filter_map(|seat| seat.waker.take()));
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn is_deserted(&self) -> bool {
        self.riders.iter().all(Option::is_none)
    }

    /// Drops the pieces that every rider has.
    fn drop_passed(&mut self) {
        let slowest = self.riders.iter().flatten().map(|seat| seat.next).min();
        let slowest = slowest.unwrap_or(self.first + self.pieces.len());
        while self.first < slowest
            && let Some(piece) = self.pieces.pop_front()
        {
            self.bytes -= piece.len();
            self.first += 1;
        }
    }
}

/// What a rider gets.
#[derive(Debug)]
pub(super) enum News {
    /// An answer whose content streams: the rider goes on as [`Rider::into_source`].
    Streams(Arc<Draft>, Option<u64>, Outcome),
    /// A whole answer.
    Kept(Rc<Entry>, Outcome),
    /// An answer for this rider alone.
    Own(Box<Fetched>),
    /// An answer for someone else alone.
    Others,
    /// There is no answer.
    Failed(Problem),
}

impl Rider {
    /// Whether it is the one whose question it is.
    #[must_use]
    pub(super) const fn is_first(&self) -> bool {
        self.is_first
    }

    /// What it rides on.
    #[must_use]
    pub(super) fn flight(&self) -> &Rc<Flight> {
        &self.flight
    }

    /// Waits for what comes of the question.
    pub(super) async fn news(&mut self) -> News {
        self.news_and_hints(|_| {}).await
    }

    /// The same; interim answers are handed on as they come, to whose question it is.
    pub(super) async fn news_and_hints(&mut self, mut each: impl FnMut(Hint)) -> News {
        poll_fn(|cx| {
            if self.is_first {
                self.flight.hints.take().into_iter().for_each(&mut each);
            }
            self.poll_news(cx)
        })
        .await
    }

    fn poll_news(&mut self, cx: &Context<'_>) -> Poll<News> {
        let mut state = self.flight.state.borrow_mut();
        let news = match &mut state.phase {
            Phase::Asked => {
                self.wait(&mut state, cx);
                return Poll::Pending;
            }
            Phase::Taken => News::Others,
            Phase::Arrived(Arrival::Alone(_)) if !self.is_first => News::Others,
            Phase::Arrived(Arrival::Alone(fetched)) => {
                let news = fetched.take().map_or(News::Others, News::Own);
                state.phase = Phase::Taken;
                news
            }
            Phase::Arrived(Arrival::Streams {
                draft,
                length,
                outcome,
            }) => News::Streams(Arc::clone(draft), *length, *outcome),
            Phase::Arrived(Arrival::Kept { entry, outcome }) => {
                News::Kept(Rc::clone(entry), *outcome)
            }
            Phase::Arrived(Arrival::Failed(problem)) => News::Failed(*problem),
        };
        Poll::Ready(news)
    }

    fn wait(&self, state: &mut State, cx: &Context<'_>) {
        if let Some(Some(seat)) = state.riders.get_mut(self.seat) {
            match &seat.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => seat.waker = Some(cx.waker().clone()),
            }
        }
    }

    /// The content, for an answer that streams.
    #[must_use]
    pub(super) fn into_source(self, length: Option<u64>) -> Box<Ride> {
        Box::new(Ride {
            rider: self,
            piece: Bytes::new(),
            length,
        })
    }

    /// Waits for the next piece. `None` is the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut state = self.flight.state.borrow_mut();
        let state = &mut *state;
        let Some(Some(seat)) = state.riders.get_mut(self.seat) else {
            return Poll::Ready(Err(BodyError::Incomplete));
        };
        if let Some(piece) = seat
            .next
            .checked_sub(state.first)
            .and_then(|at| state.pieces.get(at))
        {
            seat.next += 1;
            let piece = piece.clone();
            if state.is_passed
                && let Some(driver) = state.driver.take()
            {
                driver.wake();
            }
            return Poll::Ready(Ok(Some(piece)));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                self.wait(state, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Rider {
    fn drop(&mut self) {
        let driver = {
            let mut state = self.flight.state.borrow_mut();
            if let Some(seat) = state.riders.get_mut(self.seat) {
                *seat = None;
                state.free.push(self.seat);
            }
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// The content of an answer that streams.
#[derive(Debug)]
pub(super) struct Ride {
    rider: Rider,
    piece: Bytes,
    length: Option<u64>,
}

impl Source for Ride {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let next = core::task::ready!(self.rider.poll_next(cx))?;
        let is_there = next.is_some();
        self.piece = next.unwrap_or_default();
        Poll::Ready(Ok(is_there))
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }

    fn poll_ahead(&mut self, _: &mut Context<'_>) {}

    fn length(&self) -> Option<u64> {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<F: Future>(future: F) -> Poll<F::Output> {
        core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn piece(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[test]
    fn every_rider_gets_every_piece() {
        let flight = Flight::new(HeaderList::new());
        let mut first = flight.board(true);
        assert!(poll(flight.push(piece(3))).is_ready());
        let mut late = flight.board(false);
        assert!(poll(flight.push(piece(4))).is_ready());
        flight.end(Ok(()));
        for rider in [&mut first, &mut late] {
            let lengths: Vec<usize> = core::iter::from_fn(|| match poll(rider.next()) {
                Poll::Ready(Ok(piece)) => piece.map(|piece| piece.len()),
                other => panic!("{other:?}"),
            })
            .collect();
            assert_eq!(lengths, [3, 4]);
        }
        assert_eq!(flight.content().len(), 7);
    }

    #[test]
    fn content_that_is_not_kept_waits_for_the_slowest() {
        let flight = Flight::new(HeaderList::new());
        let (mut fast, mut slow) = (flight.board(true), flight.board(false));
        flight.pass_on();
        let half = PASSED_BYTES_MAX / 2;
        assert_eq!(poll(flight.push(piece(half))), Poll::Ready(true));
        assert_eq!(poll(flight.push(piece(half))), Poll::Ready(true));
        {
            let mut full = core::pin::pin!(flight.push(piece(1)));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(full.as_mut().poll(&mut cx).is_pending());
            while poll(fast.next()).is_ready() {}
            assert!(full.as_mut().poll(&mut cx).is_pending(), "one is behind");
            assert!(poll(slow.next()).is_ready());
            assert_eq!(full.as_mut().poll(&mut cx), Poll::Ready(true));
        }
        assert!(flight.bytes() <= PASSED_BYTES_MAX);
        drop((fast, slow));
        assert_eq!(poll(flight.push(piece(1))), Poll::Ready(false));
    }

    #[test]
    fn an_answer_for_one_is_given_to_the_first() {
        let flight = Flight::new(HeaderList::new());
        let (mut first, mut other) = (flight.board(true), flight.board(false));
        assert!(poll(first.news()).is_pending());
        let fetched = Fetched {
            head: crate::http::ResponseHead::default(),
            body: crate::http::Body::Empty,
            times: crate::http::UpstreamTimes {
                connect: None,
                header: std::time::Duration::ZERO,
                response: None,
            },
        };
        flight.arrive(Arrival::Alone(Some(Box::new(fetched))));
        assert!(matches!(poll(other.news()), Poll::Ready(News::Others)));
        assert!(matches!(poll(first.news()), Poll::Ready(News::Own(_))));
        assert!(matches!(poll(first.news()), Poll::Ready(News::Others)));
    }

    #[test]
    fn a_flight_knows_when_it_is_deserted() {
        let flight = Flight::new(HeaderList::new());
        let rider = flight.board(true);
        assert!(poll(flight.deserted()).is_pending());
        drop(rider);
        assert!(poll(flight.deserted()).is_ready());
    }
}
