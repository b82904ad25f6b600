//! The encoders of one shard: lent, given back, used again. Bounded: beyond the bound content
//! goes out as it is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::config::Levels;
use crate::filter::compress::{EncodeError, Encoder, Shape};
use crate::http::Coding;

/// Encoders at work at once, event streams aside. Each holds up to a few MiB.
const BUSY_MAX: usize = 64;
/// The same for event streams: a few hundred KiB each.
const BUSY_EVENTS_MAX: usize = 256;
/// Idle encoders kept of each coding. zlib-rs needs a third of a MiB, Zstandard up to four.
const IDLE_MAX: usize = 2;

/// A shard's encoders. Clones are the same pool.
#[derive(Clone, Debug)]
pub struct Encoders {
    levels: Levels,
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: RefCell<[Vec<Encoder>; Coding::ALL.len()]>,
    busy: Cell<usize>,
    busy_events: Cell<usize>,
}

impl State {
    const fn count(&self, shape: Shape) -> (&Cell<usize>, usize) {
        match shape {
            Shape::Events => (&self.busy_events, BUSY_EVENTS_MAX),
            Shape::Whole(_) | Shape::Stream => (&self.busy, BUSY_MAX),
        }
    }
}

impl Encoders {
    /// A pool without encoders yet.
    #[must_use]
    pub fn new(levels: Levels) -> Self {
        Self {
            levels,
            state: Rc::default(),
        }
    }

    /// An encoder for one body. `None` if too many are at work or there is no memory.
    #[must_use]
    pub fn lend(&self, coding: Coding, shape: Shape) -> Option<Lent> {
        let (busy, max) = self.state.count(shape);
        if busy.get() >= max {
            return None;
        }
        let encoder = self
            .idle(coding, shape)
            .or_else(|| Encoder::new(coding, self.levels, shape).ok())?;
        busy.set(busy.get() + 1);
        Some(Lent {
            encoder: Some(encoder),
            coding,
            shape,
            state: Rc::clone(&self.state),
        })
    }

    fn idle(&self, coding: Coding, shape: Shape) -> Option<Encoder> {
        let mut idle = self.state.idle.borrow_mut();
        let mut encoder = idle.get_mut(coding as usize)?.pop()?;
        encoder.renew(self.levels, shape).then_some(encoder)
    }
}

/// An encoder that goes back to its pool when it is dropped.
#[derive(Debug)]
pub struct Lent {
    encoder: Option<Encoder>,
    coding: Coding,
    shape: Shape,
    state: Rc<State>,
}

impl Lent {
    /// What it makes.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.coding
    }

    /// [`Encoder::write`]
    ///
    /// # Errors
    /// As there.
    pub fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.with(|encoder| encoder.write(input, out))
    }

    /// [`Encoder::flush`]
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.with(|encoder| encoder.flush(out))
    }

    /// [`Encoder::finish`]
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.with(|encoder| encoder.finish(out))
    }

    /// An encoder that has failed is not used again.
    fn with(
        &mut self,
        work: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let encoder = self.encoder.as_mut().ok_or(EncodeError(self.coding))?;
        let result = work(encoder);
        if result.is_err() {
            self.encoder = None;
        }
        result
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (busy, _) = self.state.count(self.shape);
        busy.set(busy.get().saturating_sub(1));
        let Some(encoder) = self.encoder.take().filter(Encoder::is_reusable) else {
            return;
        };
        let mut idle = self.state.idle.borrow_mut();
        let place = idle.get_mut(encoder.coding() as usize);
        if let Some(place) = place.filter(|place| place.len() < IDLE_MAX) {
            place.push(encoder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Compression;

    #[test]
    fn encoders_are_used_again_and_bounded() {
        let encoders = Encoders::new(Compression::default().levels);
        let lent: Vec<_> = (0..BUSY_MAX)
            .map(|_| encoders.lend(Coding::Gzip, Shape::Whole(5000)))
            .collect();
        assert!(lent.iter().all(Option::is_some));
        assert!(
            encoders.lend(Coding::Br, Shape::Stream).is_none(),
            "too many"
        );
        assert!(encoders.lend(Coding::Br, Shape::Events).is_some());
        drop(lent);
        let idle = encoders.state.idle.borrow().each_ref().map(Vec::len);
        assert_eq!(idle[Coding::Gzip as usize], IDLE_MAX);
        assert_eq!(encoders.state.busy.get(), 0);
        let again = encoders.lend(Coding::Gzip, Shape::Stream);
        assert!(again.is_some());
        let idle = encoders.state.idle.borrow().each_ref().map(Vec::len);
        assert_eq!(idle[Coding::Gzip as usize], IDLE_MAX - 1);
    }
}
