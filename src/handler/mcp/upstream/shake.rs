//! Shakes hands on a channel: finds out what the server speaks and introduces the gateway.

use std::time::Duration;

use super::duplex::{Duplex, wait};
use super::probe::{self, Introduction, Verdict};
use super::requests;
use super::wire::Heard;
use crate::handler::mcp::link::ClientCapabilities;
use crate::mcp::revision::{Era, Revision};
use crate::net::timer::{Either, race, within};
use crate::net::{across, sleep};

/// How long a child may think about `server/discover` before it is taken for a legacy one that
/// ignores what it does not know.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(10);

/// What kind of handshake is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Find out.
    Probe,
    /// This era and no other.
    Era(Era),
}

/// The era spoken, the revisions, and what the server says of itself.
pub(super) type Shaken = (Era, Vec<Revision>, Introduction);

/// Finds out what the server speaks and introduces the gateway.
pub(super) async fn shake(
    duplex: &Duplex,
    want: Want,
    capabilities: ClientCapabilities,
    info: &[u8],
    limit: Duration,
) -> Result<Shaken, String> {
    let initialize = |duplex| initialize(duplex, capabilities, info, limit);
    if want == Want::Era(Era::Legacy) {
        return initialize(duplex).await;
    }
    let (_, heard) = duplex.begin_own(requests::discover)?;
    let patience = match want {
        Want::Probe => PROBE_WAIT_MAX.min(limit / 3),
        Want::Era(_) => limit,
    };
    let late = heard.clone();
    let verdict = match within(patience, wait(heard)).await {
        Ok(message) => probe::judge(&message?),
        Err(_) if want == Want::Probe => {
            // Silence may be an old server's way, or a slow start.
            return match race(initialize(duplex), late_discovery(late)).await {
                Either::First(shaken) => shaken,
                Either::Second(shaken) => Ok(shaken),
            };
        }
        Err(_) => return Err("it did not answer server/discover".to_owned()),
    };
    match verdict {
        Verdict::Modern(revisions, introduction) => Ok((Era::Modern, revisions, introduction)),
        Verdict::Refused(reason) => Err(format!("it refuses server/discover: {reason}")),
        _ if want == Want::Era(Era::Modern) => {
            Err("it does not speak revision 2026-07-28, which `era` asks for".to_owned())
        }
        Verdict::Supports(revisions) if revisions.is_empty() => {
            Err("it speaks no protocol revision that Ringway knows".to_owned())
        }
        Verdict::Supports(_) | Verdict::Legacy => initialize(duplex).await,
    }
}

async fn initialize(
    duplex: &Duplex,
    capabilities: ClientCapabilities,
    info: &[u8],
    limit: Duration,
) -> Result<Shaken, String> {
    let build = |id| requests::initialize(id, capabilities, info);
    let message = duplex.ask(build, limit).await?;
    let (revision, introduction) = probe::handshake(&message)?;
    duplex.send(requests::INITIALIZED);
    Ok((Era::Legacy, vec![revision], introduction))
}

/// A modern server's answer to the probe that comes after the patience has run out.
async fn late_discovery(heard: across::Receiver<Heard>) -> Shaken {
    if let Ok(message) = wait(heard).await
        && let Verdict::Modern(revisions, introduction) = probe::judge(&message)
    {
        return (Era::Modern, revisions, introduction);
    }
    loop {
        sleep(Duration::from_secs(3600)).await;
    }
}
