//! Counts the frames that a client sends, before they are acted on: frames that cost the server
//! work and bring the client nothing are what floods are made of (CVE-2019-9511 and its kin,
//! CVE-2023-44487). The `h2` crate bounds the memory they take; this bounds the work.
//!
//! Sees frame heads alone. Knows no streams: what a frame means is the crate's to say.

use std::time::{Duration, Instant};

use crate::http::h2::PREFACE;

/// Counts begin anew after that long.
const PERIOD: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 9;
/// Control frames that each request pays for: browsers send a priority or two with each.
const CONTROL_PER_REQUEST: u64 = 4;
/// Sent bytes that pay for a window update. The head of a frame and a few bytes: an update for
/// each frame is fine, one for each byte is a game.
const SENT_PER_UPDATE: u64 = 32;

/// What a client may send in ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// RST_STREAM frames.
    pub resets: u64,
    /// SETTINGS, PING, PRIORITY and frames of unknown types, and DATA frames without data;
    /// each request allows some more.
    pub control: u64,
    /// WINDOW_UPDATE frames; what is sent allows some more.
    pub updates: u64,
}

/// Which budget a client has spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// [`Budgets::resets`]
    Resets,
    /// [`Budgets::control`]
    Control,
    /// [`Budgets::updates`]
    Updates,
}

/// One connection's count.
#[derive(Debug)]
pub struct Guard {
    budgets: Budgets,
    place: Place,
    head: [u8; HEAD_BYTES],
    /// A field block that has begun and not ended.
    in_block: bool,
    counted_from: Option<Instant>,
    counts: Counts,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// So many bytes of a frame's head have come.
    Head(usize),
    /// So many bytes of its payload are to come.
    Payload(usize),
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    resets: u64,
    control: u64,
    updates: u64,
    requests: u64,
    sent_bytes: u64,
}

impl Guard {
    /// A connection before its first byte, the preface included.
    #[must_use]
    pub const fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            place: Place::Preface(0),
            head: [0; HEAD_BYTES],
            in_block: false,
            counted_from: None,
            counts: Counts {
                resets: 0,
                control: 0,
                updates: 0,
                requests: 0,
                sent_bytes: 0,
            },
        }
    }

    /// Looks at bytes from the client, in order.
    ///
    /// # Errors
    /// The budget that is spent. What follows is not worth a look.
    pub fn receive(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        self.begin_period(now);
        while !bytes.is_empty() {
            let used = match self.place {
                Place::Preface(have) => self.preface(have, bytes.len()),
                Place::Head(have) => self.head(have, bytes)?,
                Place::Payload(left) => self.payload(left, bytes.len()),
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// So many bytes have been sent.
    pub const fn sent(&mut self, bytes: usize) {
        self.counts.sent_bytes = self.counts.sent_bytes.saturating_add(bytes as u64);
    }

    /// Whether the client stopped inside a frame, or between the frames of a field block: it
    /// owes the rest.
    #[must_use]
    pub const fn is_inside(&self) -> bool {
        self.in_block || !matches!(self.place, Place::Head(0))
    }

    fn begin_period(&mut self, now: Instant) {
        let from = *self.counted_from.get_or_insert(now);
        if now.saturating_duration_since(from) >= PERIOD {
            self.counted_from = Some(now);
            self.counts = Counts::default();
        }
    }

    fn preface(&mut self, have: usize, offered: usize) -> usize {
        let used = offered.min(PREFACE.len() - have);
        self.place = match have + used {
            whole if whole == PREFACE.len() => Place::Head(0),
            part => Place::Preface(part),
        };
        used
    }

    fn head(&mut self, have: usize, bytes: &[u8]) -> Result<usize, Flood> {
        let used = bytes.len().min(HEAD_BYTES - have);
        let (to, from) = (self.head.get_mut(have..have + used), bytes.get(..used));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
        }
        if have + used < HEAD_BYTES {
            self.place = Place::Head(have + used);
            return Ok(used);
        }
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.place = match length {
            0 => Place::Head(0),
            length => Place::Payload(length),
        };
        self.count(kind, flags, length).map(|()| used)
    }

    const fn payload(&mut self, left: usize, offered: usize) -> usize {
        if offered < left {
            self.place = Place::Payload(left - offered);
            return offered;
        }
        self.place = Place::Head(0);
        left
    }

    fn count(&mut self, kind: u8, flags: u8, length: usize) -> Result<(), Flood> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const WINDOW_UPDATE: u8 = 8;
        const CONTINUATION: u8 = 9;
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let Counts {
            resets,
            control,
            updates,
            requests,
            sent_bytes,
        } = &mut self.counts;
        let is_within = |count: &mut u64, max: u64| {
            *count += 1;
            *count <= max
        };
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => Ok(()),
            HEADERS | CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                *requests += u64::from(kind == HEADERS);
                Ok(())
            }
            RST_STREAM if is_within(resets, self.budgets.resets) => Ok(()),
            RST_STREAM => Err(Flood::Resets),
            WINDOW_UPDATE => {
                let max = self.budgets.updates + *sent_bytes / SENT_PER_UPDATE;
                is_within(updates, max).then_some(()).ok_or(Flood::Updates)
            }
            _ => {
                let max = self.budgets.control + *requests * CONTROL_PER_REQUEST;
                is_within(control, max).then_some(()).ok_or(Flood::Control)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const BUDGETS: Budgets = Budgets {
        resets: 3,
        control: 5,
        updates: 4,
    };

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        frame.extend_from_slice(payload);
        frame
    }

    fn begun() -> Guard {
        let mut guard = Guard::new(BUDGETS);
        guard.receive(PREFACE, clock::mono()).unwrap();
        guard
    }

    /// How many of that frame pass.
    fn passing(guard: &mut Guard, frame: &[u8]) -> (usize, Option<Flood>) {
        for count in 0..1000 {
            if let Err(flood) = guard.receive(frame, clock::mono()) {
                return (count, Some(flood));
            }
        }
        (1000, None)
    }

    #[test]
    fn each_budget_bites_at_its_bound() {
        for (kind, flags, payload, passes, flood) in [
            (3, 0, &[0; 4][..], 3, Some(Flood::Resets)),
            (4, 0, b"", 5, Some(Flood::Control)),
            (6, 0, &[0; 8], 5, Some(Flood::Control)),
            (2, 0, &[0; 5], 5, Some(Flood::Control)),
            (0x10, 0, b"u=1", 5, Some(Flood::Control)),
            (0, 0, b"", 5, Some(Flood::Control)),
            (8, 0, &[0, 0, 0, 1], 4, Some(Flood::Updates)),
            (0, 1, b"", 1000, None),
            (0, 0, b"x", 1000, None),
            (1, 5, b"\x82", 1000, None),
        ] {
            let seen = passing(&mut begun(), &frame(kind, flags, payload));
            assert_eq!(seen, (passes, flood), "frames of type {kind}");
        }
    }

    #[test]
    fn the_count_does_not_depend_on_where_reads_split() {
        let mut bytes = PREFACE.to_vec();
        for _ in 0..4 {
            bytes.extend(frame(4, 0, &[0; 6]));
            bytes.extend(frame(0, 0, &[1; 300]));
        }
        bytes.extend(frame(6, 0, &[0; 8]));
        for split in 0..bytes.len() {
            let mut guard = Guard::new(BUDGETS);
            let (first, second) = bytes.split_at(split);
            guard.receive(first, clock::mono()).unwrap();
            assert_eq!(guard.is_inside(), {
                let starts = [24, 39, 348, 363, 672, 687, 996, 1011, 1320];
                !starts.contains(&split)
            });
            guard.receive(second, clock::mono()).unwrap();
            assert_eq!(passing(&mut guard, &frame(6, 0, &[0; 8])).0, 0);
        }
    }

    #[test]
    fn requests_and_sent_bytes_pay_for_more() {
        let mut guard = begun();
        guard.receive(&frame(1, 5, b"\x82"), clock::mono()).unwrap();
        assert_eq!(passing(&mut guard, &frame(2, 0, &[0; 5])).0, 9);
        let mut guard = begun();
        guard.sent(64);
        assert_eq!(passing(&mut guard, &frame(8, 0, &[0; 4])).0, 6);
    }

    #[test]
    fn counts_begin_anew() {
        let mut guard = begun();
        assert_eq!(passing(&mut guard, &frame(3, 0, &[0; 4])).0, 3);
        let later = clock::mono() + PERIOD;
        assert_eq!(guard.receive(&frame(3, 0, &[0; 4]), later), Ok(()));
    }

    #[test]
    fn a_field_block_is_owed_to_its_end() {
        let mut guard = begun();
        guard.receive(&frame(1, 0, b"\x82"), clock::mono()).unwrap();
        assert!(guard.is_inside());
        guard.receive(&frame(9, 4, b"\x84"), clock::mono()).unwrap();
        assert!(!guard.is_inside());
    }
}
