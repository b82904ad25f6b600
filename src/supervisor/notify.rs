//! Words for systemd (sd_notify(3)): ready, reloading, stopping, still alive. Where nobody
//! listens, nothing is said.

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::base::clock;

/// Where systemd listens, if it does.
#[derive(Debug)]
pub(super) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that we are alive.
    pub(super) watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(super) fn of_process() -> Self {
        let socket = env::var("NOTIFY_SOCKET")
            .ok()
            .and_then(|name| address(&name))
            .and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let is_for_us = match env::var("WATCHDOG_PID") {
            Ok(pid) => pid == std::process::id().to_string(),
            Err(_) => true,
        };
        let micros = env::var("WATCHDOG_USEC").ok().filter(|_| is_for_us);
        let micros = micros.and_then(|text| text.parse().ok());
        Self {
            socket,
            // Half of it, as sd_watchdog_enabled(3) advises.
            watchdog: micros.map(|micros| Duration::from_micros(micros) / 2),
        }
    }

    /// Says something. Nothing depends on whether it is heard.
    pub(super) fn tell(&self, words: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(words.as_bytes(), address);
        }
    }

    /// The program accepts.
    pub(super) fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    /// A configuration is being read; `ready` follows. The time is how systemd tells this
    /// reload from an earlier one (Type=notify-reload).
    pub(super) fn reloading(&self) {
        let micros = clock::monotonic_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }
}

fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden).ok(),
        None => SocketAddr::from_pathname(name).ok(),
    }
}
