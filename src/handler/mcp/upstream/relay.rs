//! A call whose channel another shard (or this one) holds: what it hears becomes what the front
//! gets, within the time limits.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::requests;
use super::shard::Shard;
use super::wire::{Heard, Note, Ticket};
use crate::base::channel::{Sender, bounded};
use crate::base::clock;
use crate::config::McpServer;
use crate::handler::mcp::link::{Answer, Event, Fault, ServerId};
use crate::net::across::Receiver;
use crate::net::spawn;
use crate::net::timer::{self, Either, race, within};

/// Tells the owner when a call ends before its answer.
struct Cancel<'a> {
    shard: &'a Shard,
    server: ServerId,
    ticket: Ticket,
    is_over: bool,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // If the owner takes no more notes it finds the call by its closed queue.
            let note = Note::Cancel(self.server, self.ticket);
            self.shard.wires.tell_owner(self.server, note);
        }
    }
}

/// Passes events on until the answer.
pub(super) async fn follow(
    shard: &Rc<Shard>,
    config: &McpServer,
    (server, ticket): (ServerId, Ticket),
    heard: Receiver<Heard>,
    out: Sender<Event>,
) {
    let mut cancel = Cancel {
        shard,
        server,
        ticket,
        is_over: false,
    };
    let limits = config.timeouts;
    let deadline = clock::mono() + limits.total;
    // The channel may have to be started first.
    let mut silence = limits.connect.saturating_add(limits.first_byte);
    loop {
        let left = deadline.saturating_duration_since(clock::mono());
        let limit = silence.min(left);
        let event = match race(out.closed(), within(limit, heard.recv())).await {
            Either::First(()) => return,
            Either::Second(Ok(Ok(event))) => event,
            Either::Second(Ok(Err(_))) => {
                cancel.is_over = true;
                Heard::Failed(Fault::Unavailable {
                    server: Arc::clone(&config.name),
                    reason: "the shard that owns it has ended".to_owned(),
                })
            }
            Either::Second(Err(timer::Elapsed)) => Heard::Failed(Fault::TimedOut {
                server: Arc::clone(&config.name),
                reason: too_long(limit, left, limits.total),
            }),
        };
        silence = limits.idle;
        let (event, is_last) = match event {
            Heard::Notification(message) => (Event::Notification(message), false),
            Heard::Response(outcome) => {
                cancel.is_over = true;
                (Event::Response(outcome), true)
            }
            Heard::Failed(fault) => (Event::Failed(fault), true),
            Heard::Request {
                id,
                message,
                channel,
            } => {
                let answer = expect_answer(shard, server, channel, id);
                (Event::Request { message, answer }, false)
            }
        };
        if out.send(event).await.is_err() || is_last {
            return;
        }
    }
}

/// Sends the client's answer to the channel that asked, or a refusal if there is none.
fn expect_answer(shard: &Rc<Shard>, server: ServerId, channel: u64, id: bytes::Bytes) -> Answer {
    let (sender, mut answered) = bounded(1);
    let declined = requests::refusal(&id, -32603, "the client did not answer");
    let shard = Rc::clone(shard);
    spawn(async move {
        let note = Note::Answer {
            server,
            channel,
            message: answered.recv().await.unwrap_or(declined),
        };
        shard.wires.tell_owner(server, note);
    });
    Answer { id, sender }
}

fn too_long(limit: Duration, left: Duration, total: Duration) -> String {
    if limit == left {
        format!("the call took longer than {} s", total.as_secs_f32())
    } else {
        format!("no message within {} s", limit.as_secs_f32())
    }
}
