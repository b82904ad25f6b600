//! Work that may wait for the disk, on helper threads: opening files that the kernel has not in
//! memory, listing directories, and all reading where there is no ring.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::net::across::{self, TrySendError};

/// Threads that wait for disks. A disk that hangs holds its own readers up, the others go on.
const THREADS: usize = 4;
/// Work that waits for a thread; beyond it new work is refused.
const JOBS_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The helper threads. Cheap to clone and to hand to shards.
#[derive(Clone, Debug)]
pub struct Disk {
    jobs: across::Sender<Job>,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// Too much waits for the disk already.
    #[error("too many files wait for the disk")]
    Busy,
    /// The thread panicked, or the program is ending.
    #[error("the disk thread failed")]
    Lost,
}

impl Disk {
    /// Starts the threads. They end when the last clone is dropped.
    ///
    /// # Errors
    /// The system's refusal to start a thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = across::bounded::<Job>(JOBS_MAX);
        for index in 0..THREADS {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("disk-{index}"))
                .stack_size(256 * 1024)
                .spawn(move || {
                    while let Ok(job) = queue.recv_blocking() {
                        // Whoever waits finds its answer dropped; the panic hook has told.
                        let _ = catch_unwind(AssertUnwindSafe(job));
                    }
                })?;
        }
        Ok(Self { jobs })
    }

    /// Has the work done by a helper thread. If this is dropped the work is still done, and what
    /// it makes is dropped.
    ///
    /// # Errors
    /// See [`Undone`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let (done, result) = across::bounded(1);
        let job = Box::new(move || {
            let _ = done.try_send(work());
        });
        match self.jobs.try_send(job) {
            Ok(()) => result.recv().await.map_err(|_| Undone::Lost),
            Err(TrySendError::Full(_)) => Err(Undone::Busy),
            Err(TrySendError::Closed(_)) => Err(Undone::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::on_every_driver;

    #[test]
    fn work_is_done_elsewhere_and_a_panic_is_told() {
        on_every_driver(|| async {
            let disk = Disk::start().unwrap();
            let here = thread::current().id();
            let there = disk.run(move || thread::current().id()).await.unwrap();
            assert_ne!(here, there);
            let lost = disk.run(|| panic!("this panic is part of the test")).await;
            assert_eq!(lost, Err::<(), _>(Undone::Lost));
            assert_eq!(disk.run(|| 7).await, Ok(7));
        });
    }

    #[test]
    fn what_waits_for_a_thread_is_bounded() {
        on_every_driver(|| async {
            let disk = Disk::start().unwrap();
            let (hold, held) = across::bounded::<()>(1);
            // Begun and not waited for.
            let begin = || {
                let held = held.clone();
                let mut run = Box::pin(disk.run(move || held.recv_blocking().is_err()));
                let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
                match run.as_mut().poll(&mut cx) {
                    core::task::Poll::Ready(result) => result,
                    core::task::Poll::Pending => Ok(true),
                }
            };
            let refused = (0..=JOBS_MAX + THREADS).find(|_| begin() == Err(Undone::Busy));
            assert!(refused.is_some_and(|count| count >= JOBS_MAX));
            drop(hold);
        });
    }
}
