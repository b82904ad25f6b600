//! The loops: closed, where a connection's next request follows its last answer, and open, where
//! requests are due at their times.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use monoio::{FusionDriver, RuntimeBuilder};

use crate::args::Load;
use crate::events::Events;
use crate::exchange::{Connection, Fault};
use crate::mcp::{self, Call};
use crate::pace::Pacer;
use crate::tally::Tally;
use crate::wire::Target;

/// How long a connection waits after it was refused.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);

/// What connections do.
#[derive(Clone)]
pub(crate) enum Work {
    /// These requests in turn.
    Requests(Vec<Bytes>),
    /// This request, whose answer is a stream of events.
    Stream(Bytes),
    /// This call.
    Call(Box<Call>),
}

/// When it is measured.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// First request.
    pub(crate) start: Instant,
    /// End of the warm-up.
    pub(crate) from: Instant,
    /// Last request.
    pub(crate) to: Instant,
    /// Everything is over.
    pub(crate) close: Instant,
}

impl Window {
    /// From now on.
    pub(crate) fn new(load: &Load) -> Self {
        let start = Instant::now();
        let from = start + load.warmup;
        let to = from + load.duration;
        Self {
            start,
            from,
            to,
            close: to + load.grace,
        }
    }

    fn has(self, time: Instant) -> bool {
        time >= self.from && time <= self.to
    }
}

/// The times at which one connection's requests are due.
#[derive(Clone, Copy)]
struct Schedule {
    first: Instant,
    every: Duration,
}

impl Schedule {
    fn due(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * self.every.as_nanos();
        self.first + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// One thread's part of a run.
pub(crate) struct Share {
    /// Where to.
    pub(crate) target: Target,
    /// What.
    pub(crate) work: Work,
    /// When.
    pub(crate) window: Window,
    /// Numbers of this thread's connections.
    pub(crate) connections: std::ops::Range<u32>,
    /// All threads' connections.
    pub(crate) of: u32,
    /// Requests per second of all threads together.
    pub(crate) rate: Option<f64>,
}

impl Share {
    /// Runs it on this thread.
    pub(crate) fn run(self) -> Result<Tally, String> {
        let mut runtime = RuntimeBuilder::<FusionDriver>::new()
            .enable_timer()
            .with_entries(4096)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        runtime.block_on(self.drive())
    }

    async fn drive(self) -> Result<Tally, String> {
        let share = Rc::new(self);
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let mut tasks = Vec::new();
        for number in share.connections.clone() {
            let lane = Lane {
                share: Rc::clone(&share),
                tally: Rc::clone(&tally),
                number,
                connection: None,
                prepared: Vec::new(),
                next: Rc::new(Cell::new(0)),
            };
            tasks.push(monoio::spawn(lane.run()));
        }
        for task in tasks {
            task.await;
        }
        drop(share);
        let tally = Rc::into_inner(tally).ok_or("a connection outlived the run")?;
        Ok(tally.into_inner())
    }

    fn schedule(&self, number: u32) -> Option<Schedule> {
        let rate = self.rate?;
        let every = Duration::from_secs_f64(f64::from(self.of) / rate);
        // Spread evenly, so that the whole is one steady stream.
        let first = self.window.start + every.mul_f64(f64::from(number) / f64::from(self.of));
        Some(Schedule { first, every })
    }
}

/// One connection.
struct Lane {
    share: Rc<Share>,
    tally: Rc<RefCell<Tally>>,
    number: u32,
    connection: Option<Connection>,
    prepared: Vec<Bytes>,
    /// Number of the request that is under way or comes next.
    next: Rc<Cell<u64>>,
}

/// An answer that counts.
struct Answered {
    body: u64,
}

impl Lane {
    async fn run(self) {
        let window = self.share.window;
        let (tally, next) = (Rc::clone(&self.tally), Rc::clone(&self.next));
        let schedule = self.share.schedule(self.number);
        let left = window.close.saturating_duration_since(Instant::now());
        let ended = monoio::time::timeout(left, async move {
            match schedule {
                Some(schedule) => self.open(schedule).await,
                None => self.closed().await,
            }
        });
        let is_over = ended.await.is_err();
        if let Some(schedule) = schedule {
            unanswered(&mut tally.borrow_mut(), window, schedule, next.get());
        } else if is_over {
            tally.borrow_mut().unfinished(None);
        }
    }

    async fn closed(mut self) {
        let window = self.share.window;
        loop {
            let begin = Instant::now();
            if begin >= window.to {
                return;
            }
            let outcome = self.attempt().await;
            let end = Instant::now();
            self.note(outcome, begin, window.has(end)).await;
        }
    }

    async fn open(mut self, schedule: Schedule) {
        let window = self.share.window;
        let Ok(pacer) = Pacer::new() else {
            return;
        };
        loop {
            let due = schedule.due(self.next.get());
            if due >= window.to || pacer.until(due).await.is_err() {
                return;
            }
            let outcome = self.attempt().await;
            self.next.set(self.next.get() + 1);
            self.note(outcome, due, window.has(due)).await;
        }
    }

    /// Counts what came of a request.
    async fn note(&mut self, outcome: Result<Answered, Fault>, since: Instant, counts: bool) {
        match outcome {
            Ok(answered) => {
                let time = since.elapsed();
                let mut tally = self.tally.borrow_mut();
                tally.all += 1;
                if counts {
                    tally.answered(time, answered.body);
                }
            }
            Err(fault) => {
                self.connection = None;
                self.tally.borrow_mut().failed(&fault);
                if matches!(fault, Fault::Connect(_)) {
                    monoio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Answered, Fault> {
        let share = Rc::clone(&self.share);
        if self.prepared.is_empty() {
            self.prepared = match &share.work {
                Work::Requests(requests) => requests.clone(),
                Work::Stream(request) => vec![request.clone()],
                Work::Call(call) => vec![call.prepare(&share.target).await?],
            };
        }
        let turn = usize::try_from(self.next.get()).unwrap_or(0) + self.number as usize;
        if share.rate.is_none() {
            self.next.set(self.next.get() + 1);
        }
        let request = self
            .prepared
            .get(turn % self.prepared.len())
            .cloned()
            .unwrap_or_default();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&share.target).await?,
        };
        let mut head = connection.ask(request).await?;
        let body = match &share.work {
            Work::Requests(_) => {
                let body = connection.rest(&mut head, |_| ()).await?;
                if !head.response.status().is_success() {
                    return Err(Fault::Status(head.response.status().as_u16()));
                }
                body
            }
            Work::Call(_) => {
                let mut whole = Vec::new();
                let body = connection
                    .rest(&mut head, |piece| whole.extend_from_slice(piece))
                    .await?;
                mcp::accept(&head.response, &whole)?;
                body
            }
            Work::Stream(_) => self.events(&mut connection, &mut head).await?,
        };
        if head.closes() {
            self.tally.borrow_mut().reconnects += 1;
        } else {
            self.connection = Some(connection);
        }
        Ok(Answered { body })
    }

    /// Reads a stream to its end, or to the end of the run.
    async fn events(
        &self,
        connection: &mut Connection,
        head: &mut crate::exchange::Head,
    ) -> Result<u64, Fault> {
        if !head.response.status().is_success() {
            return Err(Fault::Status(head.response.status().as_u16()));
        }
        let window = self.share.window;
        let (mut events, mut last) = (Events::default(), None);
        let reading = connection.rest(head, |piece| {
            let now = Instant::now();
            for _ in 0..events.read(piece) {
                if window.has(now) {
                    let gap = last.map(|last| now.saturating_duration_since(last));
                    self.tally.borrow_mut().event(gap);
                }
                last = Some(now);
            }
        });
        // A stream that never ends is left at the end; its connection goes with it.
        let left = window.to.saturating_duration_since(Instant::now());
        match monoio::time::timeout(left, reading).await {
            Ok(read) => read,
            Err(_) => Ok(0),
        }
    }
}

/// Open loop: what was due and has no answer counts, with the time it has waited so far.
fn unanswered(tally: &mut Tally, window: Window, schedule: Schedule, from: u64) {
    let now = Instant::now();
    for number in from.. {
        let due = schedule.due(number);
        if due >= window.to {
            return;
        }
        if window.has(due) {
            tally.unfinished(Some(now.saturating_duration_since(due)));
        }
    }
}
