//! What one process hands to the next when the binary is upgraded: the very same listening
//! sockets, so that no connection in their queues is lost, and the key of what is sealed, so that
//! sessions live on. Sockets of systemd come in here as well.
//!
//! The old process starts the new one with the descriptors inherited and a socket between them:
//! ```text
//!  old -> new   ringway 1 / secret HEX / socket FD SHARD ADDRESS ... / end
//!  new -> old   ready          (accepts; the old one drains)
//!               end of file    (it has died; the old one goes on)
//! ```

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::net::listener::BoundListener;
use crate::net::sys;

/// The variable that names the socket between the two: its number, and the old process's, so
/// that a child which inherits the variable knows that it is not meant.
pub(super) const VARIABLE: &str = "_RINGWAY_HANDOVER";
const FIRST_LINE: &str = "ringway 1";
const READY: &str = "ready";
/// A new process reads what it is handed at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// systemd's first descriptor (sd_listen_fds(3)).
const ACTIVATED_FIRST: i32 = 3;

/// What a process got from whoever started it.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The configured address, which has port 0 where the system chose, and the socket.
    pub(super) sockets: Vec<(SocketAddr, BoundListener)>,
    /// Key of what is sealed.
    pub(super) secret: Option<[u8; 32]>,
    /// Where the old process waits.
    predecessor: Option<UnixStream>,
    is_activated: bool,
}

impl Inherited {
    /// Takes what there is. Before any child is started, which would inherit it, too.
    ///
    /// # Errors
    /// Something was handed over and cannot be used.
    pub(super) fn take() -> io::Result<Self> {
        if let Some(handed) = variable(VARIABLE) {
            let parent = std::os::unix::process::parent_id().to_string();
            if let Some((number, from)) = handed.split_once(':')
                && from == parent
            {
                return Self::read(parse(number)?);
            }
        }
        let own = std::process::id().to_string();
        if variable("LISTEN_PID").as_deref() == Some(&*own) {
            let count: i32 = parse(&variable("LISTEN_FDS").unwrap_or_default())?;
            return Self::activated(count);
        }
        Ok(Self::default())
    }

    fn activated(count: i32) -> io::Result<Self> {
        let mut inherited = Self {
            is_activated: true,
            ..Self::default()
        };
        for number in ACTIVATED_FIRST..ACTIVATED_FIRST.saturating_add(count) {
            let bound = BoundListener::inherited(sys::inherit(number)?)?;
            inherited.sockets.push((bound.address(), bound));
        }
        Ok(inherited)
    }

    fn read(number: i32) -> io::Result<Self> {
        let stream = UnixStream::from(sys::inherit(number)?);
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let mut inherited = Self::default();
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a handover of this program");
        if lines.next().transpose()?.as_deref() != Some(FIRST_LINE) {
            return Err(bad());
        }
        loop {
            let line = lines.next().transpose()?.ok_or_else(bad)?;
            let words: Vec<&str> = line.split(' ').collect();
            match *words.as_slice() {
                ["secret", text] => inherited.secret = Some(unhex(text).ok_or_else(bad)?),
                ["socket", number, address] => {
                    let bound = BoundListener::inherited(sys::inherit(parse(number)?)?)?;
                    let address = address.parse().map_err(|_| bad())?;
                    inherited.sockets.push((address, bound));
                }
                ["end"] => break,
                _ => return Err(bad()),
            }
        }
        inherited.predecessor = Some(stream);
        Ok(inherited)
    }

    /// The sockets of one configured address.
    pub(super) fn sockets_of(&mut self, address: SocketAddr) -> Vec<BoundListener> {
        let taken = core::mem::take(&mut self.sockets);
        let (own, rest): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|(other, _)| *other == address);
        self.sockets = rest;
        own.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Addresses of systemd that the configuration does not name.
    pub(super) fn unwanted(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets.iter().filter(|_| self.is_activated);
        sockets.map(|(address, _)| *address).collect()
    }

    /// Tells the old process that this one accepts.
    pub(super) fn tell_ready(&mut self) {
        if let Some(mut stream) = self.predecessor.take() {
            // One that has gone needs to hear nothing.
            let _ = stream.write_all(format!("{READY}\n").as_bytes());
        }
    }
}

/// What is written to the new process. The numbers are those of both.
pub(super) fn letter(secret: &[u8; 32], sockets: &[(i32, SocketAddr)]) -> String {
    let mut text = format!("{FIRST_LINE}\nsecret {}\n", hex(secret));
    for (number, address) in sockets {
        text.push_str(&format!("socket {number} {address}\n"));
    }
    text.push_str("end\n");
    text
}

/// Waits until the new process is ready. `false` if it has gone.
pub(super) fn await_ready(stream: &UnixStream, limit: Duration) -> io::Result<bool> {
    stream.set_read_timeout(Some(limit))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end() == READY)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn parse(text: &str) -> io::Result<i32> {
    let number = text.parse();
    number.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?}: no number")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(at * 2..at * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_the_letter() {
        let secret = core::array::from_fn(|at| at as u8 * 7);
        let letter = letter(&secret, &[(9, "127.0.0.1:80".parse().unwrap())]);
        let mut lines = letter.lines();
        assert_eq!(lines.next(), Some(FIRST_LINE));
        let text = lines.next().unwrap().strip_prefix("secret ").unwrap();
        assert_eq!(unhex(text), Some(secret));
        assert_eq!(lines.next(), Some("socket 9 127.0.0.1:80"));
        assert_eq!(lines.next(), Some("end"));
        assert!(unhex("xy").is_none() && unhex(&"g".repeat(64)).is_none());
    }
}
