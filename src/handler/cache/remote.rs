//! A flight whose key another shard owns: here the owner's answer is handed on to those who ride
//! along here, and there the owner serves it like any other.

use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Caches;
use super::feed::length;
use super::flight::{Arrival, Flight, News, Rider};
use super::links::{Event, Item};
use super::order::Order;
use super::zone::Zone;
use crate::base::clock::Now;
use crate::cache::entry::{Entry, Parcel};
use crate::cache::judge::{self, Verdict};
use crate::cache::status::Outcome;
use crate::handler::proxy::Fetched;
use crate::http::{Body, BodyError, Hint, Source};
use crate::metrics::Counter;
use crate::net::across::{self, Receiver, Sender};
use crate::net::timer::{Either, race, within};

/// Events that may wait between two shards.
const EVENTS_MAX: usize = 16;
/// How often the owner looks whether anyone still waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An owner that is silent for so long has crashed: the server's own time limits are shorter.
const SILENCE_MAX: Duration = Duration::from_secs(3700);
/// How often a question is looked at again that an answer did not fit.
const LOOKS_MAX: usize = 4;

impl Caches {
    /// Gets a flight its answer from the key's owner.
    pub(super) async fn mirror(self: Rc<Self>, flight: Rc<Flight>, order: Order, owner: u16) {
        let Some(rules) = order.rules() else {
            return flight.close();
        };
        let Some(zone) = self.zone(rules) else {
            return flight.close();
        };
        let key = Arc::clone(&order.key);
        let (pipe, events) = across::bounded(EVENTS_MAX);
        let patience = rules.lock_timeout;
        let copied = Order::clone(&order);
        let question = Item::Order {
            order: Box::new(copied),
            pipe,
        };
        if self.post(owner, question) {
            let waiting = within(patience, async {
                loop {
                    match events.recv().await {
                        Ok(Event::Hint { status, headers }) => {
                            flight.hints.put(status, &headers);
                            flight.tell_hints();
                        }
                        event => break event,
                    }
                }
            });
            let event = match race(pin!(waiting), pin!(flight.deserted())).await {
                Either::First(Ok(Ok(event))) => Some(event),
                Either::First(_) => {
                    self.parts.recorder.count(Counter::CacheLockTimeouts);
                    None
                }
                Either::Second(()) => None,
            };
            self.arrive(zone, (&flight, &key, owner), event, events)
                .await;
        } else {
            flight.arrive(Arrival::Alone(None));
        }
        zone.remove_flight(&key, &flight);
        flight.close();
    }

    async fn arrive(
        &self,
        zone: &Zone,
        (flight, key, owner): (&Rc<Flight>, &Arc<[u8]>, u16),
        event: Option<Event>,
        events: Receiver<Event>,
    ) {
        match event {
            Some(Event::Kept {
                parcel,
                outcome,
                epoch,
            }) => {
                let entry = self.copy(zone, (flight, key, owner), parcel, epoch);
                flight.arrive(Arrival::Kept { entry, outcome });
            }
            Some(Event::Streams {
                draft,
                length,
                outcome,
            }) => {
                flight.arrive(Arrival::Streams {
                    draft,
                    length,
                    outcome,
                });
                self.hand_on(zone, (flight, key, owner), &events).await;
            }
            Some(Event::Own {
                head,
                length,
                times,
                is_passing,
            }) => {
                if is_passing {
                    let hash = self.office.hashing.hash(key);
                    zone.mark_passing(hash, Now::read().unix.as_secs());
                }
                zone.remove_flight(key, flight);
                let body = Body::Source(Box::new(Piped::new(events, length)));
                let head = *head;
                let fetched = Box::new(Fetched { head, body, times });
                flight.arrive(Arrival::Alone(Some(fetched)));
            }
            Some(Event::Failed(problem)) => flight.arrive(Arrival::Failed(problem)),
            _ => {
                zone.remove_flight(key, flight);
                flight.arrive(Arrival::Alone(None));
            }
        }
    }

    /// Hands pieces on as they come.
    async fn hand_on(
        &self,
        zone: &Zone,
        (flight, key, owner): (&Rc<Flight>, &Arc<[u8]>, u16),
        events: &Receiver<Event>,
    ) {
        let mut is_kept = true;
        loop {
            match within(SILENCE_MAX, events.recv()).await {
                Ok(Ok(Event::Piece(piece))) => {
                    if is_kept && flight.bytes() + piece.len() > zone.object_bytes_max {
                        is_kept = false;
                        zone.remove_flight(key, flight);
                        flight.pass_on();
                    }
                    if !flight.push(piece).await {
                        return;
                    }
                }
                Ok(Ok(Event::End {
                    result,
                    parcel,
                    epoch,
                })) => {
                    if let (Ok(()), Some(parcel)) = (result, parcel) {
                        self.copy(zone, (flight, key, owner), parcel, epoch);
                    }
                    return flight.end(result);
                }
                _ => return flight.end(Err(BodyError::Incomplete)),
            }
        }
    }

    /// Keeps a copy of what an owner keeps, unless that was forgotten meanwhile.
    fn copy(
        &self,
        zone: &Zone,
        (flight, key, owner): (&Flight, &[u8], u16),
        parcel: Arc<Parcel>,
        epoch: u64,
    ) -> Rc<Entry> {
        let old = zone.copies.get(key);
        let old = old.and_then(|resource| resource.variants().first().map(Rc::clone));
        let now = Now::read().unix.as_secs();
        let entry = Entry::new(parcel, old.as_deref(), &self.parts.shelf, now);
        let heard = zone.heard.borrow().get(usize::from(owner)).copied();
        let is_current = heard.is_none_or(|heard| epoch >= heard);
        if is_current && !flight.is_void() && entry.draft().freshness.is_fresh(now) {
            let evicted = zone.copies.insert(key, Rc::clone(&entry));
            let recorder = &self.parts.recorder;
            recorder.add(Counter::CacheEvictions, evicted.unwrap_or(0));
        }
        entry
    }

    /// Answers the question of another shard.
    pub(super) async fn serve_order(self: Rc<Self>, order: Order, pipe: Sender<Event>) {
        let Some(rules) = order.rules() else { return };
        let Some(zone) = self.zone(rules) else { return };
        for _ in 0..LOOKS_MAX {
            let now = Now::read().unix.as_secs();
            if let Some(event) = self.kept_for(zone, &order, now) {
                let _ = pipe.send(event).await;
                return;
            }
            let mut rider = self.join(order.clone());
            let news = loop {
                let hand_on = |hint: Hint| {
                    // Those that find no room are dispensable.
                    let _ = pipe.try_send(Event::Hint {
                        status: hint.status,
                        headers: Box::new(hint.headers),
                    });
                };
                match within(LOOK_EVERY, rider.news_and_hints(hand_on)).await {
                    Ok(news) => break news,
                    Err(_) if pipe.is_closed() => return,
                    Err(_) => {}
                }
            };
            let event = match news {
                News::Streams(draft, _, _) if !draft.selecting.fits(&order.fields) => continue,
                News::Kept(entry, _) if !entry.draft().selecting.fits(&order.fields) => continue,
                News::Streams(draft, length, outcome) => {
                    let event = Event::Streams {
                        draft,
                        length,
                        outcome,
                    };
                    if pipe.send(event).await.is_ok() {
                        pump(zone, rider, &pipe).await;
                    }
                    return;
                }
                News::Kept(entry, outcome) => Event::Kept {
                    parcel: Arc::clone(&entry.parcel),
                    outcome,
                    epoch: zone.epoch.get(),
                },
                News::Own(fetched) => {
                    let is_passing = zone.is_passing(order.hash, now);
                    return send_own(*fetched, is_passing, &pipe).await;
                }
                News::Others => Event::Others,
                News::Failed(problem) => Event::Failed(problem),
            };
            let _ = pipe.send(event).await;
            return;
        }
        let _ = pipe.send(Event::Others).await;
    }

    /// What is kept, if it answers the question of another shard.
    fn kept_for(self: &Rc<Self>, zone: &Zone, order: &Order, now: u64) -> Option<Event> {
        let rules = order.rules()?;
        let entry = zone.own.select(&order.key, &order.fields)?;
        let is_flying = zone.is_flying(&order.key);
        let verdict = judge::judge(entry.draft(), rules, &order.control, now, is_flying);
        let outcome = match verdict {
            Verdict::Use => Outcome::Hit,
            Verdict::UseAndRenew => {
                self.renew(order.clone(), &entry);
                Outcome::Updating
            }
            Verdict::Ask => return None,
        };
        entry.touch(now);
        Some(Event::Kept {
            parcel: Arc::clone(&entry.parcel),
            outcome,
            epoch: zone.epoch.get(),
        })
    }
}

/// Sends the content that a rider gets.
async fn pump(zone: &Zone, mut rider: Rider, pipe: &Sender<Event>) {
    let epoch = zone.epoch.get();
    let result = loop {
        match rider.next().await {
            Ok(Some(piece)) => {
                if pipe.send(Event::Piece(piece)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let flight = rider.flight();
    let parcel = flight.kept().filter(|_| !flight.is_void());
    let end = Event::End {
        result,
        parcel,
        epoch,
    };
    let _ = pipe.send(end).await;
}

/// Sends an answer that is for who asked, alone.
async fn send_own(fetched: Fetched, is_passing: bool, pipe: &Sender<Event>) {
    let length = length(&fetched.body);
    let event = Event::Own {
        head: Box::new(fetched.head),
        length,
        times: fetched.times,
        is_passing,
    };
    if pipe.send(event).await.is_err() {
        return;
    }
    let result = match fetched.body {
        Body::Source(mut source) => loop {
            match source.next_piece().await {
                Ok(true) => {
                    let piece = Bytes::copy_from_slice(source.piece());
                    if pipe.send(Event::Piece(piece)).await.is_err() {
                        return;
                    }
                }
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        },
        Body::Full(bytes) => {
            let _ = pipe.send(Event::Piece(bytes)).await;
            Ok(())
        }
        _ => Ok(()),
    };
    let end = Event::End {
        result,
        parcel: None,
        epoch: 0,
    };
    let _ = pipe.send(end).await;
}

type Receiving = Pin<Box<dyn Future<Output = (Receiver<Event>, Option<Event>)>>>;

/// Content that comes from another shard.
struct Piped {
    receiving: Option<Receiving>,
    piece: Bytes,
    length: Option<u64>,
}

impl Piped {
    fn new(events: Receiver<Event>, length: Option<u64>) -> Self {
        Self {
            receiving: Some(receive(events)),
            piece: Bytes::new(),
            length,
        }
    }
}

fn receive(events: Receiver<Event>) -> Receiving {
    Box::pin(async move {
        let event = within(SILENCE_MAX, events.recv()).await;
        let event = event.ok().and_then(Result::ok);
        (events, event)
    })
}

impl core::fmt::Debug for Piped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Piped").finish_non_exhaustive()
    }
}

impl Source for Piped {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        self.piece = Bytes::new();
        let Some(receiving) = &mut self.receiving else {
            return Poll::Ready(Ok(false));
        };
        let (events, event) = core::task::ready!(receiving.as_mut().poll(cx));
        self.receiving = None;
        Poll::Ready(match event {
            Some(Event::Piece(piece)) => {
                self.piece = piece;
                self.receiving = Some(receive(events));
                Ok(true)
            }
            Some(Event::End { result, .. }) => result.map(|()| false),
            _ => Err(BodyError::Incomplete),
        })
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }

    fn poll_ahead(&mut self, _: &mut Context<'_>) {}

    fn length(&self) -> Option<u64> {
        self.length
    }
}
