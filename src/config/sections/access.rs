//! `allow` and `deny`: lists of networks.

use crate::base::network::{Network, NotANetwork};
use crate::config::node::Node;
use crate::config::problem::Findings;
use crate::config::read::{Read, mismatch};

/// `allow` and `deny`, in no order: the most specific network decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Where anything stands here, everyone else is refused.
    pub allow: Vec<Network>,
    /// Refused, unless a network inside of one is allowed.
    pub deny: Vec<Network>,
}

impl Access {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// A network in CIDR notation, an address, or "all".
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct RawNetwork(Network);

impl RawNetwork {
    /// The network.
    pub(super) const fn network(&self) -> Network {
        self.0
    }
}

const HINT: &str = "write \"10.0.0.0/8\", \"2001:db8::/32\", one address, or \"all\"";

impl Read for RawNetwork {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = node.as_text().map_or("", |text| &text.filled);
        match text.parse() {
            Ok(network) => Some(Self(network)),
            Err(NotANetwork::Form) => {
                mismatch(node, key, "a network", HINT, found);
                None
            }
            Err(error) => {
                mismatch(node, key, &format!("a network: it {error}"), HINT, found);
                None
            }
        }
    }
}

impl schemars::JsonSchema for RawNetwork {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "examples": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "all"],
        })
    }
}

/// The networks of a list; none where there is no list.
pub(super) fn networks(raw: Option<Vec<RawNetwork>>) -> Vec<Network> {
    let raw = raw.unwrap_or_default();
    raw.into_iter().map(|network| network.0).collect()
}
