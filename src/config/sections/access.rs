//! `allow` and `deny`: lists of networks.

use crate::base::network::{Network, NotANetwork};
use crate::config::node::Node;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, Read, mismatch, section};

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

/// `[route.limit_except]`: methods that are free, and who may use the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitExcept {
    /// In capitals. HEAD goes with GET.
    pub methods: Vec<String>,
    /// Which addresses may use other methods; nobody where nothing is said.
    pub access: Access,
}

section! {
    /// Who may use methods other than some. nginx: limit_except.
    RawLimitExcept {
        /// Methods that everybody may use who may ask at all; GET includes HEAD.
        methods: Vec<Placed<String>>,
        /// Networks that may use the others too; nobody else may.
        allow: Vec<RawNetwork>,
        /// Networks that may not; without `allow` everyone else may.
        deny: Vec<RawNetwork>,
    }
}

/// Reads the rules.
pub(super) fn resolve_except(
    raw: Option<RawLimitExcept>,
    found: &mut Findings,
) -> Option<LimitExcept> {
    let raw = raw?;
    let mut methods = Vec::new();
    for method in raw.methods.unwrap_or_default() {
        let is_token = !method.value.is_empty()
            && method
                .value
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b == b'-');
        if is_token {
            methods.push(method.value);
        } else {
            let message = format!("\"{}\" is not a method", method.value.escape_debug());
            let problem = Problem::new(&method.at, "route.limit_except.methods", message);
            found
                .errors
                .push(problem.hint("methods are in capitals: \"GET\", \"POST\""));
        }
    }
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    Some(LimitExcept {
        methods,
        access: Access {
            allow: networks(raw.allow),
            deny: networks(raw.deny),
        },
    })
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
