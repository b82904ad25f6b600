//! `[real_ip]`: whose word about a client's address is taken. `[request_id]`: whose request ids.

use super::access::{RawNetwork, networks};
use crate::base::network::Network;
use crate::config::kinds::words;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};
use crate::config::server_entry::check_header;

section! {
    /// Client addresses from proxies in front. nginx: set_real_ip_from, real_ip_header,
    /// real_ip_recursive.
    RawRealIp {
        /// Networks of the proxies; nobody else is believed.
        trusted: Vec<RawNetwork>,
        /// The field that has the address: "X-Forwarded-For", "Forwarded", "X-Real-IP" or
        /// another one of the form of X-Forwarded-For.
        header: Placed<String>,
        /// Whether addresses of trusted proxies in the field are passed over, from the last one
        /// to the first that is not trusted; otherwise the last one counts.
        recursive: bool,
    }
}

section! {
    /// Request ids.
    RawRequestId {
        /// Whose X-Request-ID is taken over if it is well formed: everyone's ("always"), those
        /// of the networks in real_ip.trusted ("trusted") or nobody's ("never").
        accept: AcceptWord,
    }
}

words! {
    /// `request_id.accept`
    AcceptWord(AcceptId) {
        "always" => AcceptId::Always,
        "trusted" => AcceptId::Trusted,
        "never" => AcceptId::Never,
    }
}

/// `[real_ip]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealIp {
    /// Proxies that are believed.
    pub trusted: Vec<Network>,
    /// The field with the address.
    pub header: String,
    /// Pass over the addresses of proxies that are trusted.
    pub recursive: bool,
}

/// Whose request ids are taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the three words of the configuration")]
pub enum AcceptId {
    Always,
    #[default]
    Trusted,
    Never,
}

const HEADER: &str = "X-Forwarded-For";

pub(super) fn resolve(raw: Option<RawRealIp>, found: &mut Findings) -> Option<RealIp> {
    let raw = raw?;
    let header = raw.header.map_or_else(
        || HEADER.to_owned(),
        |header| {
            if check_header(&header.value, "").is_err() {
                let problem = Problem::new(&header.at, "real_ip.header", "not a field name");
                let hint = "\"X-Forwarded-For\", \"Forwarded\" or \"X-Real-IP\"";
                found.errors.push(problem.hint(hint));
            }
            header.value
        },
    );
    Some(RealIp {
        trusted: networks(raw.trusted),
        header,
        recursive: raw.recursive.unwrap_or(true),
    })
}

pub(super) fn resolve_id(raw: Option<RawRequestId>) -> AcceptId {
    raw.and_then(|raw| raw.accept)
        .map_or(AcceptId::default(), |word| word.0)
}
