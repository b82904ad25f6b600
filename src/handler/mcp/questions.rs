//! What servers ask legacy clients while none of their calls is under way: sent on the session's
//! GET stream, answered like any other request of a server.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::asks::Place;
use super::gateway::Gateway;
use super::link::{Answer, ClientCapabilities};
use super::peers::Question;
use super::sse;
use super::streams::send;
use crate::base::channel::{Receiver, bounded};
use crate::mcp::method::Method;
use crate::mcp::scan::Message;
use crate::mcp::splice;
use crate::metrics::Counter;
use crate::net::timer::race;

/// How long such a question waits. A person may have to answer it.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Questions to one client that may wait, those of its calls among them.
const PER_CLIENT_MAX: usize = 32;

impl Gateway {
    /// Puts a question to its client, if that listens here.
    pub(super) fn question(self: &Rc<Self>, question: Question) {
        let put = self.put(&question);
        let _ = question.taken.try_send(put.is_some());
        let Some((key, mut answered)) = put else {
            return;
        };
        let gateway = Rc::clone(self);
        self.tasks.spawn(async move {
            let late = gateway.tasks.sleep(WAIT_MAX);
            let answer = race(answered.recv(), late).await;
            if let crate::net::timer::Either::First(Some(answer)) = answer {
                let _ = question.answer.try_send(answer);
            }
            // Nothing is left of one that was answered.
            let declined = gateway.asks.borrow_mut().remove(key);
            drop(declined);
        });
    }

    fn put(&self, question: &Question) -> Option<(super::slots::Key, Receiver<Bytes>)> {
        let session = question.session;
        let streams = self.streams.borrow();
        let (_, listener) = streams.listener(session)?;
        let parts = Message::scan(&question.message).ok()?;
        if listener.pieces.is_closed() || !offers(listener.client.capabilities, parts.method) {
            return None;
        }
        let (sender, answered) = bounded(1);
        let id = question.message.slice(parts.id.range());
        let mut asks = self.asks.borrow_mut();
        let has_room = asks.waiting_for(session) < PER_CLIENT_MAX;
        let kept = has_room.then(|| asks.insert(session, Answer { id, sender }));
        let Some(key) = kept.flatten() else {
            self.recorder.count(Counter::RefusedQuestions);
            return None;
        };
        let place = Place {
            shard: self.peers.own(),
            ticket: key.to_bits(),
        };
        let sent = place.seal(&self.sealer, session).ok().and_then(|id| {
            let own = splice::replace(&question.message, &[(parts.id, &id)]);
            send(&listener.pieces, sse::event(&own)).ok()
        });
        if sent.is_none() {
            let declined = asks.remove(key);
            drop(declined);
            return None;
        }
        Some((key, answered))
    }
}

/// Whether a client offers what a server asks of it.
pub(super) fn offers(can: ClientCapabilities, method: Option<Method>) -> bool {
    match method {
        Some(Method::ElicitationCreate) => can.elicitation_form || can.elicitation_url,
        Some(Method::SamplingCreate) => can.sampling,
        Some(Method::RootsList) => can.roots,
        _ => false,
    }
}
