//! The thread that makes kept encodings as small as they get: one for the process, at the lowest
//! priority there is, so that it runs when no shard wants the core. Its queue is bounded; a
//! shard whose question finds no room asks again at the encoding's next use.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::config::Compression;
use crate::filter::compress::{Done, Job, best};
use crate::net::sys::run_when_idle;

/// Jobs that may wait.
const JOBS_QUEUED_MAX: usize = 64;

/// Starts the thread if it is wanted. It ends when no shard can ask any more.
///
/// # Errors
/// The thread could not be started.
pub(super) fn start(config: &Compression) -> std::io::Result<Option<SyncSender<Job>>> {
    if !config.recompress || config.encodings.is_empty() || config.keep == 0 {
        return Ok(None);
    }
    let (jobs, waiting) = sync_channel(JOBS_QUEUED_MAX);
    thread::Builder::new()
        .name("recompress".to_owned())
        .spawn(move || work(&waiting))?;
    Ok(Some(jobs))
}

fn work(waiting: &Receiver<Job>) {
    run_when_idle();
    while let Ok(job) = waiting.recv() {
        let encoded = best(job.coding, &job.content);
        // A shard that has ended meanwhile needs no answer.
        let _ = job.reply.try_send(Done {
            id: job.id,
            encoded,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Coding;

    #[test]
    fn the_thread_answers_and_ends_with_the_last_who_could_ask() {
        let jobs = start(&Compression::default()).unwrap().unwrap();
        let (reply, answers) = sync_channel(3);
        for (id, coding) in (0..).zip(Coding::ALL) {
            let content = b"as small as it gets ".repeat(100).into();
            let reply = reply.clone();
            let job = Job {
                coding,
                content,
                id,
                reply,
            };
            jobs.send(job).unwrap();
        }
        drop((jobs, reply));
        for id in 0..3 {
            let done = answers.recv().unwrap();
            assert_eq!(done.id, id);
            assert!(done.encoded.is_some_and(|bytes| bytes.len() < 200));
        }
        assert!(answers.recv().is_err(), "the thread has ended");
        let off = Compression {
            recompress: false,
            ..Compression::default()
        };
        assert!(start(&off).unwrap().is_none());
    }
}
