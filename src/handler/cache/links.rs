//! What the caches of the shards tell each other, by `net/batches`.

use core::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::Caches;
use super::order::Order;
use super::purge::Acks;
use crate::base::owner::Hashing;
use crate::cache::entry::{Draft, Parcel};
use crate::cache::index::{File, Name};
use crate::cache::status::Outcome;
use crate::handler::problem::Problem;
use crate::http::{BodyError, HeaderList, ResponseHead, UpstreamTimes};
use crate::metrics::Counter;
use crate::net::across;
use crate::net::batches::{Ends, Outbox};
use crate::net::spawn;

/// Questions that may wait to be sent to one shard; beyond it a shard asks the server itself.
const OUTBOX_MAX: usize = 4 * 1024;

/// What one shard has for another, with the number of the configuration's generation that it
/// comes of.
pub(super) type Numbered = (u64, Item);

/// What one shard has for another.
#[derive(Debug)]
pub(super) enum Item {
    /// A question. To the key's owner.
    Order {
        order: Box<Order>,
        /// Where its answer goes.
        pipe: across::Sender<Event>,
    },
    /// An answer that was asked for elsewhere. To the key's owner.
    Deposit {
        zone: Arc<str>,
        key: Arc<[u8]>,
        hash: u64,
        /// From the how-manieth request on it is kept.
        min_uses: u8,
        parcel: Arc<Parcel>,
    },
    /// What is kept is to be forgotten. To the owner, or to all.
    Invalidate {
        zone: Arc<str>,
        what: What,
        ticket: u64,
    },
    /// Copies are to be forgotten. From the owner to all others.
    Forget {
        zone: Arc<str>,
        what: What,
        epoch: u64,
        /// Who wants to hear that it is done, and under which number.
        asker: Option<(u16, u64)>,
    },
    /// Done. To who wants to hear it.
    Done { ticket: u64, removed: u64 },
    /// Files that were found at the start. To the owner of their keys.
    Files {
        zone: Arc<str>,
        files: Vec<(Name, File)>,
    },
}

/// What is to be forgotten.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// One key.
    Key(Arc<[u8]>),
    /// All that begin so.
    Beginning(Arc<[u8]>),
}

impl What {
    /// Whether a key is meant.
    pub(super) fn is(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(one) => **one == *key,
            Self::Beginning(beginning) => key.starts_with(beginning),
        }
    }
}

/// What an owner answers to a question.
#[derive(Debug)]
pub(super) enum Event {
    /// A whole answer.
    Kept {
        parcel: Arc<Parcel>,
        outcome: Outcome,
        epoch: u64,
    },
    /// An answer that streams: pieces follow.
    Streams {
        draft: Arc<Draft>,
        length: Option<u64>,
        outcome: Outcome,
    },
    /// An answer for who asked, alone: pieces follow.
    Own {
        head: Box<ResponseHead>,
        length: Option<u64>,
        times: UpstreamTimes,
        /// The next ones will be so as well.
        is_passing: bool,
    },
    /// An answer for someone else.
    Others,
    /// There is no answer.
    Failed(Problem),
    /// An interim answer.
    Hint {
        status: u16,
        headers: Box<HeaderList>,
    },
    /// A piece of the content.
    Piece(Bytes),
    /// The end of the content, and how it is kept, if it is.
    End {
        result: Result<(), BodyError>,
        parcel: Option<Arc<Parcel>>,
        epoch: u64,
    },
}

/// What one shard's caches need to work together with the others. A shard that starts again
/// gets a clone.
#[derive(Clone, Debug)]
pub struct Links {
    ends: Ends<Numbered>,
    /// The same for all, so that all know a key's owner.
    hashing: Hashing,
}

impl Links {
    /// The ends of all shards. Also where there is no cache: a reload may bring one.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        let hashing = Hashing::default();
        let links = Ends::connect(shards).into_iter().map(|ends| Self {
            ends,
            hashing: hashing.clone(),
        });
        links.collect()
    }
}

/// What all generations of a shard's caches share: what goes to other shards and comes from them.
#[derive(Debug)]
pub struct Office {
    pub(super) outbox: Outbox<Numbered>,
    pub(super) hashing: Hashing,
    pub(super) acks: RefCell<Acks>,
}

impl Office {
    /// One of the shard whose links these are.
    #[must_use]
    pub fn new(links: Links) -> Rc<Self> {
        Rc::new(Self {
            outbox: Outbox::new(links.ends),
            hashing: links.hashing,
            acks: RefCell::default(),
        })
    }

    /// Has the newest caches answer other shards, and sends what there is for them, for ever.
    /// Part of the shard's main future.
    pub async fn serve(&self, newest: impl Fn() -> Option<Rc<Caches>>) {
        // Every shard holds an address of this mailbox, this one too: it does not end.
        while let Some(batch) = self.outbox.next().await {
            // Where there is no cache any more, who asks gets no answer and goes on alone.
            let Some(caches) = newest() else { continue };
            for item in batch.items {
                caches.take(batch.from, item);
            }
        }
    }
}

impl Caches {
    fn take(self: &Rc<Self>, from: u16, (generation, item): Numbered) {
        match item {
            // Its settings name the servers of its own generation. The pipe's end tells who asks.
            Item::Order { .. } if generation != self.generation => {}
            Item::Order { order, pipe } => {
                spawn(Rc::clone(self).serve_order(*order, pipe));
            }
            Item::Deposit {
                zone,
                key,
                hash,
                min_uses,
                parcel,
            } => {
                if let Some(zone) = self.zone_named(&zone)
                    && (min_uses <= 1 || zone.own.count_use(hash) >= min_uses)
                {
                    self.keep(zone, (&key, hash), parcel, None);
                }
            }
            Item::Invalidate { zone, what, ticket } => {
                self.forget_own(&zone, &what, (from, ticket));
            }
            Item::Forget {
                zone,
                what,
                epoch,
                asker,
            } => self.forget_copies_of(from, (&zone, &what), epoch, asker),
            Item::Done { ticket, removed } => {
                self.office.acks.borrow_mut().done(ticket, removed);
            }
            Item::Files { zone, files } => self.take_files(&zone, files),
        }
    }

    /// Puts something into the outbox. What may not be lost goes beyond its bound.
    pub(super) fn post(&self, shard: u16, item: Item) -> bool {
        let is_dispensable = matches!(item, Item::Order { .. } | Item::Deposit { .. });
        let room = is_dispensable.then_some(OUTBOX_MAX);
        let is_posted = self
            .office
            .outbox
            .post(shard, (self.generation, item), room);
        if !is_posted {
            self.parts.recorder.count(Counter::CacheLinksFull);
        }
        is_posted
    }
}
