//! The methods of the protocol, each with the eras that have it and where it may go.

use crate::mcp::revision::Era;

/// A request or notification method that Ringway gives a meaning to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the method spelled in `TABLE`")]
pub enum Method {
    Initialize,
    Ping,
    Discover,
    ToolsList,
    ToolsCall,
    ResourcesList,
    TemplatesList,
    ResourcesRead,
    ResourcesSubscribe,
    ResourcesUnsubscribe,
    PromptsList,
    PromptsGet,
    Complete,
    SetLevel,
    Listen,
    Initialized,
    Cancelled,
    Progress,
    RootsChanged,
    LogMessage,
    ToolsChanged,
    PromptsChanged,
    ResourcesChanged,
    ResourceUpdated,
    Acknowledged,
    ElicitationComplete,
    ElicitationCreate,
    SamplingCreate,
    RootsList,
}

/// Which eras have a client-sent request; `Neither` for what only servers or nobody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Both,
    Legacy,
    Modern,
    Neither,
}

const TABLE: &[(Method, &str, Asked)] = &[
    (Method::ToolsCall, "tools/call", Asked::Both),
    (Method::ToolsList, "tools/list", Asked::Both),
    (Method::ResourcesRead, "resources/read", Asked::Both),
    (Method::ResourcesList, "resources/list", Asked::Both),
    (
        Method::TemplatesList,
        "resources/templates/list",
        Asked::Both,
    ),
    (Method::PromptsGet, "prompts/get", Asked::Both),
    (Method::PromptsList, "prompts/list", Asked::Both),
    (Method::Complete, "completion/complete", Asked::Both),
    (Method::Discover, "server/discover", Asked::Modern),
    (Method::Listen, "subscriptions/listen", Asked::Modern),
    (Method::Initialize, "initialize", Asked::Legacy),
    (Method::Ping, "ping", Asked::Legacy),
    (Method::SetLevel, "logging/setLevel", Asked::Legacy),
    (
        Method::ResourcesSubscribe,
        "resources/subscribe",
        Asked::Legacy,
    ),
    (
        Method::ResourcesUnsubscribe,
        "resources/unsubscribe",
        Asked::Legacy,
    ),
    (
        Method::Initialized,
        "notifications/initialized",
        Asked::Neither,
    ),
    (Method::Cancelled, "notifications/cancelled", Asked::Neither),
    (Method::Progress, "notifications/progress", Asked::Neither),
    (
        Method::RootsChanged,
        "notifications/roots/list_changed",
        Asked::Neither,
    ),
    (Method::LogMessage, "notifications/message", Asked::Neither),
    (
        Method::ToolsChanged,
        "notifications/tools/list_changed",
        Asked::Neither,
    ),
    (
        Method::PromptsChanged,
        "notifications/prompts/list_changed",
        Asked::Neither,
    ),
    (
        Method::ResourcesChanged,
        "notifications/resources/list_changed",
        Asked::Neither,
    ),
    (
        Method::ResourceUpdated,
        "notifications/resources/updated",
        Asked::Neither,
    ),
    (
        Method::Acknowledged,
        "notifications/subscriptions/acknowledged",
        Asked::Neither,
    ),
    (
        Method::ElicitationComplete,
        "notifications/elicitation/complete",
        Asked::Neither,
    ),
    (
        Method::ElicitationCreate,
        "elicitation/create",
        Asked::Neither,
    ),
    (
        Method::SamplingCreate,
        "sampling/createMessage",
        Asked::Neither,
    ),
    (Method::RootsList, "roots/list", Asked::Neither),
];

/// The member of `params` that `Mcp-Name` mirrors
/// (2026-07-28 streamable-http §Standard Request Headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
}

impl Method {
    /// Reads a method; `None` for one that Ringway does not know.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        TABLE
            .iter()
            .find(|(_, name, _)| name.as_bytes() == text)
            .map(|&(method, _, _)| method)
    }

    /// The method as it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        TABLE
            .iter()
            .find(|&&(method, _, _)| method == self)
            .map_or("", |&(_, name, _)| name)
    }

    /// Whether clients of that era may send it as a request.
    #[must_use]
    pub fn is_request_in(self, era: Era) -> bool {
        let asked = TABLE
            .iter()
            .find(|&&(method, _, _)| method == self)
            .map_or(Asked::Neither, |&(_, _, asked)| asked);
        match asked {
            Asked::Both => true,
            Asked::Legacy => era == Era::Legacy,
            Asked::Modern => era == Era::Modern,
            Asked::Neither => false,
        }
    }

    /// What `Mcp-Name` must repeat for this method, if anything.
    #[must_use]
    pub const fn named(self) -> Option<Named> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(Named::Name),
            Self::ResourcesRead => Some(Named::Uri),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_back() {
        for &(method, name, _) in TABLE {
            assert_eq!(Method::parse(name.as_bytes()), Some(method));
            assert_eq!(method.as_str(), name);
        }
        assert_eq!(Method::parse(b"TOOLS/CALL"), None);
    }

    #[test]
    fn what_2026_07_28_removed_is_legacy_alone() {
        for method in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
        ] {
            let method = Method::parse(method.as_bytes()).unwrap();
            assert!(method.is_request_in(Era::Legacy));
            assert!(!method.is_request_in(Era::Modern));
        }
        assert!(!Method::Cancelled.is_request_in(Era::Modern));
        assert!(Method::Discover.is_request_in(Era::Modern));
        assert!(!Method::Discover.is_request_in(Era::Legacy));
    }
}
