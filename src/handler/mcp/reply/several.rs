//! Answers of several requests on one stream: a batch's, and those of a client of 2024-11-05.

use std::rc::Rc;

use bytes::Bytes;

use super::{QUEUE_PIECES_MAX, Running, failed, outcome_of, outcome_of_fault};
use crate::base::channel::bounded;
use crate::handler::mcp::dispatch::{Asked, Started};
use crate::handler::mcp::endpoint::{Accept, json};
use crate::handler::mcp::gateway::Gateway;
use crate::handler::mcp::link::Reply;
use crate::handler::mcp::sse;
use crate::handler::mcp::streams::Pieces;
use crate::http::{Body, Response};

impl Gateway {
    /// The answer of the gateway's own, on a stream that carries others too.
    pub(in crate::handler::mcp) fn at_hand(&self, started: Started) -> Option<Bytes> {
        match started.reply {
            Reply::Complete(outcome) => Some(outcome.message),
            Reply::Failed(_) | Reply::Stream(_) => None,
        }
    }

    /// Answers on a stream that carries other messages, too: gives back what is at hand, else
    /// sends what comes until the answer.
    pub(in crate::handler::mcp) async fn answer_on(
        self: &Rc<Self>,
        asked: &Asked,
        started: Started,
        pieces: &Pieces,
    ) -> Option<Bytes> {
        let id = asked.bytes.slice(asked.parts.id.range());
        let (label, client) = (started.label, Rc::clone(&asked.client));
        match started.reply {
            Reply::Complete(outcome) => {
                self.count(label, &client, outcome_of(&outcome, label), None);
                Some(outcome.message)
            }
            Reply::Failed(fault) => {
                self.count(label, &client, outcome_of_fault(&fault), None);
                Some(failed(&id, &fault).message)
            }
            Reply::Stream(events) => {
                let running = Running::begin(self, client, id, label, events);
                running.pump(pieces.clone(), None).await;
                None
            }
        }
    }

    /// Answers a batch: an array if everything is at hand, else a stream with one event for
    /// each answer.
    pub(in crate::handler::mcp) async fn answer_batch(
        self: &Rc<Self>,
        begun: Vec<(Asked, Started)>,
        accept: Accept,
        response: &mut Response,
    ) {
        let (pieces, receiver) = bounded(QUEUE_PIECES_MAX);
        let (mut done, mut running) = (Vec::new(), Vec::new());
        for (asked, started) in begun {
            let id = asked.bytes.slice(asked.parts.id.range());
            match started.reply {
                Reply::Complete(outcome) => {
                    let ended = outcome_of(&outcome, started.label);
                    self.count(started.label, &asked.client, ended, None);
                    done.push(outcome.message);
                }
                Reply::Failed(fault) => {
                    let ended = outcome_of_fault(&fault);
                    self.count(started.label, &asked.client, ended, None);
                    done.push(failed(&id, &fault).message);
                }
                Reply::Stream(events) => {
                    let client = asked.client;
                    running.push(Running::begin(self, client, id, started.label, events));
                }
            }
        }
        if running.is_empty() || !accept.events {
            for mut call in running {
                done.extend(call.outcome_alone().await.map(|outcome| outcome.message));
            }
            return json(response, 200, array(&done));
        }
        sse::head(response);
        response.body = Body::Stream(receiver);
        let first = pieces.clone();
        self.tasks.spawn(async move {
            for message in done {
                if first.send(Ok(sse::frame(&message))).await.is_err() {
                    return;
                }
            }
        });
        for call in running {
            self.tasks.spawn(call.pump(pieces.clone(), None));
        }
    }
}

fn array(messages: &[Bytes]) -> Bytes {
    let mut out = vec![b'['];
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(message);
    }
    out.push(b']');
    out.into()
}
