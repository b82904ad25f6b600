//! What an HTTP server says on its own: the GET stream of a legacy session, the
//! `subscriptions/listen` stream of a modern server.

use std::collections::BTreeSet;
use std::future::ready;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::backoff::Backoff;
use super::http::{Answered, HttpServer, Post, Problem, Stream};
use super::mux::{self, Outside, ServerRequest};
use super::owner::Owner;
use super::way::Way;
use super::{requests, rewrite};
use crate::base::channel::Receiver;
use crate::base::clock;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::mcp::scan::{Kind, Message};
use crate::net::timer::{Either, race};
use crate::net::{sleep, spawn};
use crate::upstream::Limits;

/// Such a stream may be silent for as long as nothing changes.
const SILENCE_MAX: Duration = Duration::from_secs(24 * 3600);
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

    async fn listen_legacy(&self, server: &Rc<HttpServer>, session: &str, revision: Revision) {
        let said = |said| match said {
            Said::Outside(outside) => self.outside(outside),
            Said::Request(request) => {
                // The gateway's own session has no client behind it.
                let reason = "no client is behind this session";
                let refusal = requests::refusal(&request.id, -32601, reason);
                spawn(server.aside(&session.into(), revision, ready(refusal)));
            }
            Said::Gap => self.all_changed(),
            Said::Lost => self.check_soon(),
        };
        listen_legacy(server, session, revision, said).await;
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
            let began = clock::mono();
            let ended = self.follow_modern(server, &mut stream, uris).await;
            if ended.is_err() {
                return;
            }
            backoff.reset_after(clock::mono().duration_since(began));
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
                    self.watch_changed().await;
                }
            };
            match race(stream.next(), changed).await {
                Either::First(Ok(Some(message))) => {
                    // A modern server has no requests to make.
                    let heard = heard(server, "", Revision::LATEST, message).await;
                    if let Some(Said::Outside(outside)) = heard {
                        self.outside(outside);
                    }
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
}

/// What came of listening to a legacy session.
pub(crate) enum Said {
    /// The server said something.
    Outside(Outside),
    /// The server asks something.
    Request(ServerRequest),
    /// The stream has just been opened; what was said before is lost.
    Gap,
    /// The server does not know the session any more.
    Lost,
}

/// Listens to a legacy session's GET stream, opening it again whenever it ends. Returns if the
/// server has no such stream.
pub(crate) async fn listen_legacy(
    server: &HttpServer,
    session: &str,
    revision: Revision,
    said: impl Fn(Said),
) {
    let mut backoff = Backoff::new(u64::from(server.id.0));
    let id = Some(session).filter(|session| !session.is_empty());
    let mut resume: Option<(String, Option<u64>)> = None;
    loop {
        let began = clock::mono();
        let last = resume.as_ref().map(|(id, _)| id.as_str());
        let opened = match server.get(id, revision, last, silent(server)).await {
            Ok(exchange) => server.answered(exchange).await,
            Err(problem) => Err(problem),
        };
        let mut wait = None;
        match opened {
            Ok(Answered::Stream(mut stream)) => {
                if last.is_none() {
                    // Of a server that has just been met, what was lost is often that it now
                    // offers more.
                    said(Said::Gap);
                }
                while let Ok(Some(message)) = stream.next().await {
                    if let Some(heard) = heard(server, session, revision, message).await {
                        said(heard);
                    }
                }
                resume = stream.resume_point();
                wait = resume.as_ref().and_then(|(_, wait)| *wait);
            }
            // No such stream (405), or one that is not to be had: changes are not told then.
            Ok(_) | Err(Problem::Invalid(_) | Problem::Redirect { .. }) => return,
            Err(problem @ Problem::Status { .. }) => {
                if id.is_some() && problem.is_session_lost() {
                    said(Said::Lost);
                }
                return;
            }
            Err(Problem::Transport(_)) => resume = None,
        }
        backoff.reset_after(clock::mono().duration_since(began));
        sleep(wait.map_or_else(|| backoff.next(), Duration::from_millis)).await;
    }
}

/// Reads one message of such a stream; a ping is answered here.
async fn heard(
    server: &HttpServer,
    session: &str,
    revision: Revision,
    message: Bytes,
) -> Option<Said> {
    let parts = Message::scan(&message).ok()?;
    match parts.kind {
        Kind::Notification => mux::outside(message, &parts).map(Said::Outside),
        Kind::Request if parts.method == Some(Method::Ping) => {
            let pong = requests::pong(parts.id.of(&message));
            server.post_aside(&pong, session, revision).await;
            None
        }
        Kind::Request => Some(Said::Request(ServerRequest {
            id: rewrite::slice(&message, parts.id),
            method: parts.method,
            message,
        })),
        Kind::Result | Kind::Error => None,
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
