//! Pushes figures to a StatsD server, once an interval. Losing some is what UDP is for: the log
//! says when the server cannot be reached, and nothing waits for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::log::Logger;
use crate::config::Statsd;
use crate::handler::builtin::Scraper;
use crate::metrics::Beat;
use crate::metrics::statsd::{LogLines, Look, lines, pack};
use crate::net::resolve::Resolver;
use crate::net::sleep;
use crate::supervisor::tally::Tally;

/// How long an address is used before its name is looked up again.
const ADDRESS_AGE_MAX: Duration = Duration::from_secs(60);
/// Before the figures are asked for again when none came.
const PAUSE: Duration = Duration::from_secs(1);
/// A beat may come a little early.
const EARLY: Duration = Duration::from_millis(500);

/// What a push needs.
pub(super) struct Push {
    pub(super) config: Statsd,
    pub(super) scraper: Scraper,
    pub(super) resolver: Resolver,
    pub(super) tally: Arc<Tally>,
    pub(super) log: Logger,
}

/// A socket that is connected to the server.
struct Way {
    socket: UdpSocket,
    since: Instant,
}

impl Push {
    /// Pushes for ever.
    pub(super) async fn run(self) {
        let mut way: Option<Way> = None;
        let mut last: Option<(Arc<Beat>, LogLines, Instant)> = None;
        let mut failing = false;
        loop {
            let Some(beat) = self.scraper.beat().await else {
                sleep(PAUSE).await;
                continue;
            };
            let now = clock::mono();
            let due = last.as_ref().map(|(_, _, at)| *at + self.config.interval);
            if due.is_some_and(|due| now + EARLY < due) {
                continue;
            }
            let log = self.tally.lines();
            let packets = {
                let before = last.as_ref().map(|(beat, log, _)| look(beat, *log));
                let lines = lines(before.as_ref(), &look(&beat, log));
                pack(&self.config.prefix, &lines, self.config.packet_bytes)
            };
            last = Some((beat, log, now));
            let sent = self.send(&mut way, &packets).await;
            self.tell(&mut failing, sent);
        }
    }

    async fn send(&self, way: &mut Option<Way>, packets: &[Vec<u8>]) -> io::Result<()> {
        let now = clock::mono();
        let is_old = |way: &Way| now.duration_since(way.since) > ADDRESS_AGE_MAX;
        if way.as_ref().is_none_or(is_old) {
            *way = Some(Way {
                socket: self.connect().await?,
                since: now,
            });
        }
        let Some(known) = way else { return Ok(()) };
        for packet in packets {
            match known.socket.send(packet) {
                Ok(_) => {}
                // The kernel's buffer is full: this packet is lost.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    *way = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<UdpSocket> {
        let Statsd { host, port, .. } = &self.config;
        let found = self.resolver.resolve(host, *port).await;
        let addresses = found.map_err(io::Error::other)?;
        let none = || io::Error::other(format!("{host} has no address"));
        let address = addresses.first().ok_or_else(none)?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(socket)
    }

    /// Says once that it does not work, and once that it does again.
    fn tell(&self, failing: &mut bool, sent: io::Result<()>) {
        let Statsd { host, port, .. } = &self.config;
        match sent {
            Ok(()) if *failing => {
                self.log
                    .info("statsd", format_args!("{host}:{port} takes figures again"));
                *failing = false;
            }
            Err(error) if !*failing => {
                self.log.warn(
                    "statsd",
                    format_args!("figures for {host}:{port} are lost: {error}; trying on"),
                );
                *failing = true;
            }
            Ok(()) | Err(_) => {}
        }
    }
}

const fn look(beat: &Beat, log: LogLines) -> Look<'_> {
    Look {
        merged: &beat.now,
        log,
    }
}
