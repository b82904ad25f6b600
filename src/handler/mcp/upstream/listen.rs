//! What an HTTP server says on its own: the GET stream of a legacy session, the
//! `subscriptions/listen` stream of a modern server.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::backoff::Backoff;
use super::http::{Answered, HttpServer, Post, Problem, Stream};
use super::owner::Owner;
use super::way::Way;
use super::{mux, requests, rewrite};
use crate::base::channel::Receiver;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::mcp::scan::{Kind, Message};
use crate::net::sleep;
use crate::net::timer::{Either, race};
use crate::upstream::Limits;

/// Such a stream may be silent for as long as nothing changes.
const SILENCE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether other resources are watched now.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

impl Owner {
    /// Listens until the other end of `listening` goes away.
    pub(crate) async fn listen(self: Rc<Self>, way: Way, mut listening: Receiver<()>) {
        let stream = async {
            match &way {
                Way::Modern(server) => self.listen_modern(server).await,
                Way::Legacy {
                    server,
                    session,
                    revision,
                } => self.listen_legacy(server, session, *revision).await,
                Way::Duplex { .. } => {}
            }
        };
        race(stream, listening.recv()).await;
    }

    async fn listen_legacy(&self, server: &HttpServer, session: &str, revision: Revision) {
        let mut backoff = Backoff::new(u64::from(self.id.0));
        let id = Some(session).filter(|session| !session.is_empty());
        let mut resume: Option<(String, Option<u64>)> = None;
        loop {
            let last = resume.as_ref().map(|(id, _)| id.as_str());
            let opened = match server.get(id, revision, last, silent(server)).await {
                Ok(exchange) => server.answered(exchange).await,
                Err(problem) => Err(problem),
            };
            let mut wait = None;
            match opened {
                Ok(Answered::Stream(mut stream)) => {
                    if last.is_none() {
                        // What was said before it was open is lost; of a server that has just
                        // been met, often that it now offers more.
                        self.all_changed();
                    }
                    backoff.reset();
                    while let Ok(Some(message)) = stream.next().await {
                        self.heard(server, session, revision, message).await;
                    }
                    resume = stream.resume_point();
                    wait = resume.as_ref().and_then(|(_, wait)| *wait);
                }
                // No such stream (405), or one that is not to be had: changes are not told then.
                Ok(_) | Err(Problem::Invalid(_) | Problem::Redirect { .. }) => return,
                Err(problem @ Problem::Status { .. }) => {
                    if id.is_some() && problem.is_session_lost() {
                        self.check_soon();
                    }
                    return;
                }
                Err(Problem::Transport(_)) => resume = None,
            }
            sleep(wait.map_or_else(|| backoff.next(), Duration::from_millis)).await;
        }
    }

    async fn listen_modern(&self, server: &HttpServer) {
        let mut backoff = Backoff::new(u64::from(self.id.0));
        loop {
            let uris = self.watched();
            let mut stream = match open(server, &uris).await {
                Ok(stream) => stream,
                Err(Problem::Transport(_)) => {
                    sleep(backoff.next()).await;
                    continue;
                }
                // A server without subscriptions.
                Err(_) => return,
            };
            self.all_changed();
            backoff.reset();
            let ended = self.follow_modern(server, &mut stream, uris).await;
            if ended.is_err() {
                return;
            }
            sleep(backoff.next()).await;
        }
    }

    /// Follows a stream, exchanging it for another whenever other resources are watched.
    async fn follow_modern(
        &self,
        server: &HttpServer,
        stream: &mut Stream,
        mut uris: BTreeSet<Box<str>>,
    ) -> Result<(), Problem> {
        loop {
            let changed = async {
                while self.watched() == uris {
                    sleep(WATCH_INTERVAL).await;
                }
            };
            match race(stream.next(), changed).await {
                Either::First(Ok(Some(message))) => {
                    self.heard(server, "", Revision::LATEST, message).await;
                }
                Either::First(Ok(None) | Err(_)) => return Ok(()),
                Either::Second(()) => {
                    uris = self.watched();
                    // The new one is open before the old one closes.
                    *stream = open(server, &uris).await?;
                }
            }
        }
    }

    async fn heard(&self, server: &HttpServer, session: &str, revision: Revision, message: Bytes) {
        let Ok(parts) = Message::scan(&message) else {
            return;
        };
        match parts.kind {
            Kind::Notification => {
                if let Some(outside) = mux::outside(message, &parts) {
                    self.outside(outside);
                }
            }
            Kind::Request => {
                let id = rewrite::slice(&message, parts.id);
                let answer = match parts.method {
                    Some(Method::Ping) => requests::pong(&id),
                    // The gateway's own session has no client behind it.
                    _ => requests::refusal(&id, -32601, "no client is behind this session"),
                };
                server.post_aside(&answer, session, revision).await;
            }
            Kind::Result | Kind::Error => {}
        }
    }
}

async fn open(server: &HttpServer, uris: &BTreeSet<Box<str>>) -> Result<Stream, Problem> {
    let number = server.next_number();
    let body = requests::listen(number, uris.iter().map(|uri| &**uri));
    let post = Post {
        body: &body,
        revision: Some(Revision::LATEST),
        method: Some(Method::Listen.as_str()),
        ..Post::default()
    };
    let exchange = server.post(post, silent(server)).await?;
    match server.answered(exchange).await? {
        Answered::Stream(stream) => Ok(*stream),
        Answered::Message(_) | Answered::Accepted => Err(Problem::Invalid(
            "it answers subscriptions/listen without a stream".to_owned(),
        )),
    }
}

fn silent(server: &HttpServer) -> Limits {
    Limits {
        idle: SILENCE_MAX,
        ..server.own_limits()
    }
}
