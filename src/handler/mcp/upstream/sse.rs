//! HTTP+SSE of 2024-11-05: one GET stream brings every message of the server, posts to the
//! place it names carry ours. A channel like a child's pipes.

use std::rc::Rc;

use super::duplex::{Duplex, Ends};
use super::http::{Answered, HttpServer, Post, Problem, Stream};
use crate::base::channel::Receiver;
use crate::mcp::revision::Revision;
use crate::net::spawn;
use crate::net::timer::{Either, race, within};
use crate::upstream::{Endpoint, Limits};

/// Opens the stream and starts the tasks that serve it.
///
/// # Errors
/// Why the server does not speak this transport, or not now; for people.
pub(super) async fn start(
    server: &Rc<HttpServer>,
    duplex: Rc<Duplex>,
    ends: Ends,
) -> Result<(), String> {
    let limits = server.own_limits();
    // The stream is silent while nobody calls; how long a call may be silent is its caller's
    // business.
    let open = Limits {
        idle: std::time::Duration::from_secs(24 * 3600),
        ..limits
    };
    let exchange = server.get(None, Revision::V2024_11_05, None, open).await;
    let opened = match exchange {
        Ok(exchange) => server.answered(exchange).await,
        Err(problem) => Err(problem),
    };
    let mut stream = match opened {
        Ok(Answered::Stream(stream)) => stream,
        Ok(Answered::Message(_) | Answered::Accepted) => {
            return Err("a GET on its URL opens no event stream".to_owned());
        }
        Err(problem) => return Err(problem.reason()),
    };
    let endpoint = within(limits.first_byte, endpoint(server, &mut stream)).await;
    let endpoint = endpoint
        .unwrap_or_else(|_| Err(Problem::Invalid("its stream names no endpoint".to_owned())))
        .map_err(|problem| problem.reason())?;
    spawn(read(stream, Rc::clone(&duplex), ends.running));
    spawn(write(Rc::clone(server), duplex, endpoint, ends.outgoing));
    Ok(())
}

/// The first event says where messages are to be posted.
async fn endpoint(server: &HttpServer, stream: &mut Stream) -> Result<Endpoint, Problem> {
    while let Some(event) = stream.next_event().await? {
        if event.event.as_deref() != Some("endpoint") {
            continue;
        }
        let reference = String::from_utf8_lossy(&event.data);
        return server.endpoint().join(&reference).ok_or_else(|| {
            Problem::Invalid(format!(
                "its endpoint {reference} is not within the origin of its URL"
            ))
        });
    }
    Err(Problem::Invalid("its stream names no endpoint".to_owned()))
}

async fn read(mut stream: Box<Stream>, duplex: Rc<Duplex>, mut running: Receiver<()>) {
    let reason = loop {
        match race(stream.next(), running.recv()).await {
            Either::First(Ok(Some(message))) => duplex.receive(message),
            Either::First(Ok(None)) => break "its event stream ended".to_owned(),
            Either::First(Err(problem)) => break problem.reason(),
            Either::Second(_) => break "the channel was closed".to_owned(),
        }
    };
    duplex.end(reason);
}

async fn write(
    server: Rc<HttpServer>,
    duplex: Rc<Duplex>,
    endpoint: Endpoint,
    mut outgoing: Receiver<bytes::Bytes>,
) {
    while let Some(message) = outgoing.recv().await {
        let post = Post {
            body: message.trim_ascii_end(),
            repeatable: false,
            to: Some(&endpoint),
            ..Post::default()
        };
        let posted = match server.post(post, server.own_limits()).await {
            Ok(exchange) => server.answered(exchange).await,
            Err(problem) => Err(problem),
        };
        match posted {
            Ok(_) => {}
            // Nothing was lost but this message; whoever waits for its answer must know.
            Err(problem) => return duplex.end(problem.reason()),
        }
    }
}
