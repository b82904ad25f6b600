//! Meeting a server: over which transport it is reached and which eras it speaks
//! (2026-07-28 basic/versioning, and the transports' §Backward Compatibility).

use std::rc::Rc;
use std::time::Duration;

use super::duplex::{Duplex, Signal};
use super::http::{HttpServer, Problem};
use super::hub::EVERYTHING;
use super::owner::Owner;
use super::probe::{self, Introduction, Verdict};
use super::requests;
use super::route::Legacy;
use super::shake::Want;
use super::way::{Way, may_be_legacy};
use crate::config::McpTarget;
use crate::handler::mcp::link::{ClientCapabilities, Transport};
use crate::mcp::revision::{Era, Revision};
use crate::net::spawn;
use crate::net::timer::within;

/// How long a second process of a modern child may take to show that it speaks the older era.
const OLDER_WAIT: Duration = Duration::from_secs(10);

/// What connecting found out.
pub(super) struct Met {
    pub(super) way: Way,
    pub(super) transport: Transport,
    pub(super) revisions: Vec<Revision>,
    pub(super) introduction: Introduction,
    pub(super) is_modern: bool,
    pub(super) legacy: Option<Legacy>,
}

impl Owner {
    /// Starts or finds the server and learns what it speaks.
    ///
    /// # Errors
    /// Why that failed, for people.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Met, String> {
        match (&self.http, &self.config.target) {
            (Some(http), McpTarget::Http { sse: false, .. }) => self.connect_http(http).await,
            _ => self.connect_channel(self.want()).await,
        }
    }

    async fn connect_channel(self: &Rc<Self>, want: Want) -> Result<Met, String> {
        let (want, is_child) = match self.http {
            Some(_) => (Want::Era(Era::Legacy), false),
            None => (want, true),
        };
        let connect = |want| {
            let owner = Rc::clone(self);
            let signals = Box::new(move |signal| match signal {
                Signal::Outside(outside) => owner.outside(outside),
                // A shared channel has no client of its own to ask.
                Signal::Request(..) => {}
                Signal::Ended => owner.ring(),
            });
            self.hub.connect(want, EVERYTHING, &[], None, signals)
        };
        let connected = match connect(want).await {
            // There are servers that end when they are asked what they do not know.
            Err(_) if want == Want::Probe && is_child => connect(Want::Era(Era::Legacy)).await?,
            other => other?,
        };
        self.era.set(Some(connected.era).filter(|_| is_child));
        let speaks_modern = connected.era == Era::Modern;
        let mut revisions = connected.revisions.clone();
        if speaks_modern {
            revisions.retain(|revision| revision.era() == Era::Modern);
            revisions.extend(self.older(&connected.duplex).await);
        }
        self.hub.running(&connected);
        let legacy = revisions
            .iter()
            .filter(|revision| revision.era() == Era::Legacy)
            .max();
        Ok(Met {
            way: Way::Duplex {
                duplex: connected.duplex,
                era: connected.era,
                limit: self.config.timeouts.connect,
            },
            transport: if is_child {
                Transport::Stdio
            } else {
                Transport::HttpSse
            },
            is_modern: speaks_modern,
            legacy: legacy.map(|&revision| Legacy {
                revision,
                has_sessions: false,
                is_channel: true,
            }),
            revisions,
            introduction: connected.introduction,
        })
    }

    /// The older revision that a modern child speaks too, if it does. Another process is asked:
    /// `initialize` commits a process to the older era. It is asked once.
    async fn older(&self, modern: &Duplex) -> Option<Revision> {
        if self.config.era.is_some() {
            return None;
        }
        if let Some(known) = self.older.get() {
            return known;
        }
        let want = Want::Era(Era::Legacy);
        let connecting = self
            .hub
            .connect(want, EVERYTHING, &[], None, Box::new(|_| {}));
        let connected = within(OLDER_WAIT, connecting).await;
        let older = connected.ok().and_then(Result::ok).and_then(|connected| {
            connected.duplex.stop();
            connected.revisions.first().copied()
        });
        if modern.ended().is_none() {
            self.older.set(Some(older));
            self.hub.speaks_older(older);
        }
        older
    }

    async fn connect_http(self: &Rc<Self>, server: &Rc<HttpServer>) -> Result<Met, String> {
        let verdict = if self.config.era == Some(Era::Legacy) {
            Verdict::Legacy
        } else {
            let asked = server
                .ask_modern("server/discover", requests::discover)
                .await;
            match asked {
                Ok(message) => probe::judge(&message),
                Err(problem) => match problem.rpc_error() {
                    Some((message, _)) => probe::judge(&message),
                    None if may_be_legacy(&problem) => Verdict::Legacy,
                    None => return Err(problem.reason()),
                },
            }
        };
        match verdict {
            Verdict::Modern(revisions, introduction) => {
                Ok(self.meet_modern(server, revisions, introduction).await)
            }
            Verdict::Refused(reason) => Err(format!("it refuses server/discover: {reason}")),
            _ if self.config.era == Some(Era::Modern) => {
                Err("it does not speak revision 2026-07-28, which `era` asks for".to_owned())
            }
            Verdict::Supports(revisions) if revisions.is_empty() => {
                Err("it speaks no protocol revision that Ringway knows".to_owned())
            }
            Verdict::Supports(_) | Verdict::Legacy => self.meet_legacy(server).await,
        }
    }

    /// A modern server, which may speak the older era too. It is asked: servers that do (the
    /// Python SDK's, for one) do not list the older revisions in `supportedVersions`.
    async fn meet_modern(
        &self,
        server: &Rc<HttpServer>,
        mut revisions: Vec<Revision>,
        introduction: Introduction,
    ) -> Met {
        let mut legacy = None;
        if self.config.era.is_none()
            && let Ok(opened) = server.open(ClientCapabilities::default(), &[]).await
        {
            legacy = Some(Legacy {
                revision: opened.revision,
                has_sessions: opened.session.is_some(),
                is_channel: false,
            });
            if let Some(session) = opened.session {
                let server = Rc::clone(server);
                spawn(async move { server.end(&session).await });
            }
        }
        revisions.retain(|revision| revision.era() == Era::Modern);
        revisions.extend(legacy.map(|legacy| legacy.revision));
        Met {
            way: Way::Modern(Rc::clone(server)),
            transport: Transport::StreamableHttp,
            revisions,
            introduction,
            is_modern: true,
            legacy,
        }
    }

    /// A legacy server, of the Streamable HTTP transport or the one before it.
    async fn meet_legacy(self: &Rc<Self>, server: &Rc<HttpServer>) -> Result<Met, String> {
        // The session that lists declares everything: some servers list a tool only to clients
        // that can answer what it asks.
        let opened = match server.open(EVERYTHING, &[]).await {
            Ok(opened) => opened,
            Err(
                problem @ Problem::Status {
                    status: 400 | 404 | 405,
                    ..
                },
            ) => {
                let channel = self.connect_channel(Want::Era(Era::Legacy)).await;
                return channel.map_err(|_| problem.reason());
            }
            Err(problem) => return Err(problem.reason()),
        };
        Ok(Met {
            legacy: Some(Legacy {
                revision: opened.revision,
                has_sessions: opened.session.is_some(),
                is_channel: false,
            }),
            way: Way::Legacy {
                server: Rc::clone(server),
                session: opened.session.as_deref().unwrap_or_default().into(),
                revision: opened.revision,
            },
            transport: Transport::StreamableHttp,
            revisions: vec![opened.revision],
            introduction: opened.introduction,
            is_modern: false,
        })
    }

    fn want(&self) -> Want {
        let known = self.config.era.or(self.era.get());
        known.map_or(Want::Probe, Want::Era)
    }
}
