//! Names to addresses on helper threads: getaddrinfo(3) blocks, and a shard must not.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::net::across;

/// Threads that look names up. Two, so that one dead name server's time-outs do not hold up
/// every other name.
const THREADS: usize = 2;
/// How long an answer is used. getaddrinfo does not tell the record's TTL; this is short
/// enough to follow a moving service and long enough to spare the name server.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(10);
/// Answers kept per thread.
const ANSWERS_MAX: usize = 256;
/// Questions waiting; more are refused.
const QUESTIONS_MAX: usize = 1024;

/// Asks the helper threads. Cheap to clone and to hand to other threads.
#[derive(Clone, Debug)]
pub struct Resolver {
    questions: across::Sender<Question>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist or the name server does not answer.
    #[error("cannot resolve `{host}`: {error}")]
    Failed {
        /// The name.
        host: String,
        /// What getaddrinfo said.
        error: io::Error,
    },
    /// Too many questions are waiting.
    #[error("cannot resolve `{0}`: too many lookups are waiting")]
    Overloaded(String),
    /// The helper threads are gone: the program is ending.
    #[error("the resolver has stopped")]
    Stopped,
}

struct Question {
    host: String,
    port: u16,
    answer: across::Sender<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    /// Starts the helper threads. They end when the last clone is dropped.
    pub fn start() -> io::Result<Self> {
        let (questions, asked) = across::bounded(QUESTIONS_MAX);
        for index in 0..THREADS {
            let asked = asked.clone();
            thread::Builder::new()
                .name(format!("resolve-{index}"))
                .stack_size(256 * 1024)
                .spawn(move || answer_all(&asked))?;
        }
        Ok(Self { questions })
    }

    /// Every address of a host, in the system's order of preference. Literal addresses, with
    /// or without brackets, are answered at once.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (answer, answered) = across::bounded(1);
        let question = Question {
            host: bare.to_owned(),
            port,
            answer,
        };
        match self.questions.try_send(question) {
            Ok(()) => {}
            Err(across::TrySendError::Full(question)) => {
                return Err(ResolveError::Overloaded(question.host));
            }
            Err(across::TrySendError::Closed(_)) => return Err(ResolveError::Stopped),
        }
        match answered.recv().await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(ResolveError::Failed {
                host: host.to_owned(),
                error,
            }),
            Err(across::RecvError) => Err(ResolveError::Stopped),
        }
    }
}

fn answer_all(asked: &across::Receiver<Question>) {
    let mut answers: HashMap<(String, u16), (Instant, Vec<SocketAddr>)> = HashMap::new();
    while let Ok(question) = asked.recv_blocking() {
        // Whoever asked may have given up meanwhile.
        if question.answer.is_closed() {
            continue;
        }
        let now = clock::mono();
        let key = (question.host, question.port);
        if let Some((since, addresses)) = answers.get(&key)
            && now.duration_since(*since) < ANSWER_AGE_MAX
        {
            let _ = question.answer.try_send(Ok(addresses.clone()));
            continue;
        }
        let found = (key.0.as_str(), key.1).to_socket_addrs();
        let found = found.map(Iterator::collect::<Vec<_>>);
        if let Ok(addresses) = &found {
            answers.retain(|_, (since, _)| now.duration_since(*since) < ANSWER_AGE_MAX);
            if answers.len() < ANSWERS_MAX {
                answers.insert(key, (now, addresses.clone()));
            }
        }
        let _ = question.answer.try_send(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::after_the_end_of_a_runtime;

    #[test]
    fn an_answer_for_a_runtime_that_has_ended_hangs_no_helper() {
        let pending = || {
            let (questions, asked) = across::bounded(4);
            let ask = move || async move {
                let _ = Resolver { questions }.resolve("localhost", 80).await;
            };
            (asked, Box::new(ask) as Box<dyn FnOnce() -> _ + Send>)
        };
        after_the_end_of_a_runtime(pending, |asked| {
            asked.close();
            assert!(!asked.is_empty(), "the question waits");
            answer_all(&asked);
        });
    }
}
