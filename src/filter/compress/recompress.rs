//! Kept encodings made again as small as they get. The shard's side: what to ask for, and what
//! becomes of the answer. The work is done by one thread of the process at the lowest priority
//! (`supervisor/recompress.rs`), so that it takes time that nobody else wants.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

use crate::config::Levels;
use crate::filter::compress::{Encoder, Shape};
use crate::http::{Coding, Stored};

/// Larger content is left as it is: Brotli's highest quality takes seconds for each MiB.
const CONTENT_BYTES_MAX: usize = 2 << 20;
/// Questions of one shard under way.
const UNDER_WAY_MAX: usize = 64;

/// Content to be encoded. Crosses threads.
#[derive(Debug)]
pub struct Job {
    /// How.
    pub coding: Coding,
    /// What.
    pub content: Bytes,
    /// Whose it is, in the words of the desk that asks.
    pub id: u64,
    /// Where the answer goes.
    pub reply: SyncSender<Done>,
}

/// A job that was done, or could not be.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub id: u64,
    /// The encoded bytes.
    pub encoded: Option<Bytes>,
}

/// Where one shard asks for smaller encodings.
#[derive(Debug)]
pub struct Desk {
    jobs: Option<SyncSender<Job>>,
    reply: SyncSender<Done>,
    answers: Receiver<Done>,
    next: Cell<u64>,
    under_way: RefCell<HashMap<u64, (Weak<Stored>, Coding)>>,
    improved: Cell<u64>,
}

impl Desk {
    /// A desk that asks there, or nowhere.
    #[must_use]
    pub fn new(jobs: Option<SyncSender<Job>>) -> Self {
        // As many answers as questions: the other side never finds the channel full.
        let (reply, answers) = sync_channel(UNDER_WAY_MAX);
        Self {
            jobs,
            reply,
            answers,
            next: Cell::new(0),
            under_way: RefCell::default(),
            improved: Cell::new(0),
        }
    }

    /// Asks for a smaller form of a kept encoding, if nobody has yet. Where too much is asked
    /// for already, a later use of the encoding asks again.
    pub fn ask(&self, stored: &Rc<Stored>, coding: Coding) {
        if !stored.wants_better(coding) {
            return;
        }
        let Some(jobs) = &self.jobs else {
            return;
        };
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= UNDER_WAY_MAX || stored.identity().len() > CONTENT_BYTES_MAX {
            return;
        }
        let id = self.next.get();
        let job = Job {
            coding,
            content: stored.identity().clone(),
            id,
            reply: self.reply.clone(),
        };
        if jobs.try_send(job).is_ok() {
            self.next.set(id + 1);
            under_way.insert(id, (Rc::downgrade(stored), coding));
            stored.asked(coding);
        }
    }

    /// Puts the smaller forms in place that have come. They are looked for and not waited for: a
    /// waker of this shard would outlive it in the channel if it crashed.
    pub fn take_answers(&self) {
        while let Ok(done) = self.answers.try_recv() {
            self.take(done);
        }
    }

    fn take(&self, done: Done) {
        let asked = self.under_way.borrow_mut().remove(&done.id);
        let Some((stored, coding)) = asked else {
            return;
        };
        if let (Some(stored), Some(encoded)) = (stored.upgrade(), done.encoded) {
            stored.improve(coding, encoded);
            self.improved.set(self.improved.get() + 1);
        }
    }

    /// How many encodings were made again.
    #[must_use]
    pub fn improved(&self) -> u64 {
        self.improved.get()
    }
}

/// The smallest form of that content: Brotli 11, Zstandard 19, libdeflate's gzip 12. `None` if
/// an encoder failed.
#[must_use]
pub fn best(coding: Coding, content: &[u8]) -> Option<Bytes> {
    let levels = Levels {
        brotli_quality: 11,
        brotli_lgwin: 24,
        gzip: 9,
        zstd: 19,
    };
    let mut out = Vec::with_capacity(content.len() / 4);
    if coding == Coding::Gzip {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
        out.resize(compressor.gzip_compress_bound(content.len()), 0);
        let len = compressor.gzip_compress(content, &mut out).ok()?;
        out.truncate(len);
    } else {
        let shape = Shape::Whole(content.len() as u64);
        let mut encoder = Encoder::new(coding, levels, shape).ok()?;
        encoder.write(content, &mut out).ok()?;
        encoder.finish(&mut out).ok()?;
    }
    out.shrink_to_fit();
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::http::{Claim, Shelf};

    fn kept(shelf: &Shelf, coding: Coding) -> Rc<Stored> {
        let stored = shelf.store(b"0123456789".repeat(400));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Claim::Make(maker)) = stored.poll_claim(&mut cx, coding) else {
            panic!("nothing is kept yet")
        };
        assert!(maker.keep(vec![0; 3000].into()));
        stored
    }

    #[test]
    fn a_kept_encoding_is_asked_for_once_and_gets_smaller() {
        let (jobs, asked) = sync_channel(8);
        let desk = Desk::new(Some(jobs));
        let shelf = Shelf::new(1 << 20);
        for coding in Coding::ALL {
            let stored = kept(&shelf, coding);
            desk.ask(&stored, coding);
            desk.ask(&stored, coding);
            let job = asked.try_recv().unwrap();
            assert!(asked.try_recv().is_err(), "asked for once");
            let encoded = best(job.coding, &job.content);
            job.reply
                .try_send(Done {
                    id: job.id,
                    encoded,
                })
                .unwrap();
            desk.take_answers();
            let len = stored.variant(coding).map_or(0, |bytes| bytes.len());
            assert!((1..200).contains(&len), "{coding:?} {len}");
            assert_eq!(shelf.bytes(), len);
        }
        assert_eq!(desk.improved(), 3);
    }

    #[test]
    fn too_much_to_do_is_asked_for_later() {
        let (jobs, asked) = sync_channel(1);
        let desk = Desk::new(Some(jobs));
        let shelf = Shelf::new(1 << 20);
        let (first, second) = (kept(&shelf, Coding::Br), kept(&shelf, Coding::Br));
        desk.ask(&first, Coding::Br);
        desk.ask(&second, Coding::Br);
        let job = asked.try_recv().unwrap();
        desk.ask(&second, Coding::Br);
        assert!(asked.try_recv().is_ok());
        // Nobody holds it any more.
        drop(first);
        desk.take(Done {
            id: job.id,
            encoded: Some(Bytes::new()),
        });
        assert_eq!(desk.improved(), 0);
    }
}
