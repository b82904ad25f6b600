//! `[[listener]]`: addresses to listen on.

use std::net::SocketAddr;

use crate::config::kinds::Address;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};

section! {
    /// An address to listen on.
    RawListener {
        /// Address and port, for example "127.0.0.1:4444".
        address: Placed<Address>,
    }
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub address: SocketAddr,
}

pub(super) fn resolve(raw: &[RawListener], found: &mut Findings) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for listener in raw {
        // A missing address with a wrong one next to it was told already.
        let Some(Placed { at, value }) = &listener.address else {
            continue;
        };
        let Address(address) = *value;
        let listener = Listener { address };
        // Port 0 is a new port each time.
        if address.port() != 0 && listeners.contains(&listener) {
            let message = format!("{address} stands twice");
            found
                .errors
                .push(Problem::new(at, "listener.address", message));
        } else {
            listeners.push(listener);
        }
    }
    listeners
}
