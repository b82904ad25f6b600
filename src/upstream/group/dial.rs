//! Where a server is, and how a connection to it is made.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Parts;
use super::failure::Cause;
use crate::base::clock;
use crate::config::{ServerAddress, UpstreamServer, UpstreamTls};
use crate::net::connect::{connect_addr, connect_any, connect_unix};
use crate::net::link::Link;
use crate::net::tls::TlsConnector;
use crate::net::{Stream, spawn};

/// How long the addresses of a name are used before they are looked up anew. getaddrinfo does
/// not tell the record's TTL.
const ADDRESSES_AGE_MAX: Duration = Duration::from_secs(10);

/// How a server is reached.
#[derive(Debug)]
pub(super) struct Dial {
    place: Place,
    /// TLS over it, and the name to ask for.
    tls: Option<(TlsConnector, String)>,
}

/// Where it is.
#[derive(Debug)]
enum Place {
    Address(SocketAddr),
    Name(Rc<Name>),
    Unix(PathBuf),
}

/// A name and what it was last known to mean.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    known: RefCell<Vec<SocketAddr>>,
    until: Cell<Option<Instant>>,
    is_asking: Cell<bool>,
    /// Whose turn it is among the addresses.
    turn: Cell<usize>,
}

impl Dial {
    pub(super) fn new(server: &UpstreamServer, tls: Option<&UpstreamTls>) -> Self {
        let tls = tls.filter(|_| server.has_tls).map(|tls| {
            let host = match &server.address {
                ServerAddress::Tcp { host, .. } => host.clone(),
                ServerAddress::Unix(_) => "localhost".to_owned(),
            };
            let name = tls.server_name.clone().unwrap_or(host);
            (TlsConnector::with_config(Arc::clone(&tls.config)), name)
        });
        let place = Place::new(&server.address);
        Self { place, tls }
    }

    /// Whether it is over TLS.
    pub(super) const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes a connection. `limit` is divided among the addresses of a name.
    pub(super) async fn connect(&self, parts: &Parts, limit: Duration) -> Result<Link, Cause> {
        let stream = self.place.connect(parts, limit).await?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Link::new(stream));
        };
        let (Stream::Tcp(plain) | Stream::Unix(plain)) = stream else {
            return Ok(Link::new(stream));
        };
        let shaken = connector.connect(name, plain).await;
        let tls = shaken.map_err(|error| Cause::Connect(error.to_string()))?;
        Ok(Link::new(Stream::Tls(Box::new(tls))))
    }
}

impl Place {
    fn new(address: &ServerAddress) -> Self {
        match address {
            ServerAddress::Unix(path) => Self::Unix(path.clone()),
            ServerAddress::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => Self::Address(SocketAddr::new(ip, *port)),
                Err(_) => Self::Name(Rc::new(Name {
                    host: host.clone(),
                    port: *port,
                    known: RefCell::default(),
                    until: Cell::new(None),
                    is_asking: Cell::new(false),
                    turn: Cell::new(0),
                })),
            },
        }
    }

    async fn connect(&self, parts: &Parts, limit: Duration) -> Result<Stream, Cause> {
        let refused = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::TimedOut => Cause::ConnectTimedOut(limit),
            _ => Cause::Connect(error.to_string()),
        };
        Ok(match self {
            Self::Address(address) => Stream::Tcp(connect_addr(*address).await.map_err(refused)?),
            Self::Unix(path) => Stream::Unix(connect_unix(path).await.map_err(refused)?),
            Self::Name(name) => {
                let addresses = name.addresses(parts).await?;
                Stream::Tcp(connect_any(&addresses, limit).await.map_err(refused)?)
            }
        })
    }
}

impl Name {
    /// The addresses, each call another first. Old ones serve while new ones are looked up.
    async fn addresses(self: &Rc<Self>, parts: &Parts) -> Result<Vec<SocketAddr>, Cause> {
        if self.known.borrow().is_empty() {
            self.look_up(parts).await?;
        } else if self.until.get().is_none_or(|until| until <= clock::mono())
            && !self.is_asking.replace(true)
        {
            let (name, parts) = (Rc::clone(self), parts.clone());
            spawn(async move {
                // What was known stays where the name server does not answer.
                let _ = name.look_up(&parts).await;
                name.is_asking.set(false);
            });
        }
        let mut addresses = self.known.borrow().clone();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        if !addresses.is_empty() {
            let first = turn % addresses.len();
            addresses.rotate_left(first);
        }
        Ok(addresses)
    }

    async fn look_up(&self, parts: &Parts) -> Result<(), Cause> {
        let found = parts.resolver.resolve(&self.host, self.port).await;
        let found = found.map_err(|error| Cause::Connect(error.to_string()));
        self.until.set(Some(clock::mono() + ADDRESSES_AGE_MAX));
        *self.known.borrow_mut() = found?;
        Ok(())
    }
}
