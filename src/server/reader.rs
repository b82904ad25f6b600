//! Waits for a connection's next bytes, from an idle task as well as beside a handler.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::rc::Rc;

use crate::net::Transport;

/// The waiting side of a connection.
pub(super) struct Reader {
    socket: Rc<Transport>,
    /// A wait begun beside a handler. It goes on across exchanges: ending it would cost more
    /// than it did.
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
}

impl Reader {
    pub(super) fn new(socket: Rc<Transport>) -> Self {
        Self {
            socket,
            waiting: None,
        }
    }

    pub(super) fn socket(&self) -> &Transport {
        &self.socket
    }

    /// The socket for itself, if no wait goes on beside a handler.
    pub(super) fn socket_mut(&mut self) -> Option<&mut Transport> {
        Rc::get_mut(&mut self.socket)
    }

    /// Another reader of the same connection, for a driver of its own. Only one may wait.
    pub(super) fn share(&self) -> Self {
        Self::new(Rc::clone(&self.socket))
    }

    /// A wait for room to write.
    pub(super) fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>>>> {
        let socket = Rc::clone(&self.socket);
        Box::pin(async move { socket.writable().await })
    }

    /// Waits for bytes or the end, and for nothing else: allocates nothing.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        match &mut self.waiting {
            // One future less on the way of nearly all requests.
            None => match &*self.socket {
                Transport::Plain(plain) => plain.readable().await,
                transport => transport.readable().await,
            },
            Some(waiting) => {
                let result = waiting.as_mut().await;
                self.waiting = None;
                result
            }
        }
    }

    /// Waits for bytes or the end beside other things.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let socket = Rc::clone(&self.socket);
            Box::pin(async move { socket.readable().await })
        });
        let polled = waiting.as_mut().poll(cx);
        if polled.is_ready() {
            self.waiting = None;
        }
        polled
    }
}

impl core::fmt::Debug for Reader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reader")
            .field("socket", &self.socket)
            .field("is_waiting", &self.waiting.is_some())
            .finish()
    }
}
