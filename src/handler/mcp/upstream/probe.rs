//! Which era a server belongs to, read from its answer to `server/discover`
//! (2026-07-28 basic/versioning, and the two transports' §Backward Compatibility).
//! Only bytes in and a verdict out; who sends the probe is not known here.

use bytes::Bytes;

use super::json;
use crate::mcp::revision::{Era, Revision};

/// JSON-RPC errors that only a modern server sends.
const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;

/// What a server says about itself in either era.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// `capabilities`, verbatim.
    pub(crate) capabilities: Bytes,
    /// `serverInfo`, verbatim; empty if it was not given.
    pub(crate) info: Bytes,
    /// `instructions`.
    pub(crate) instructions: Option<Box<str>>,
}

/// What a probe showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server answers modern requests; the revisions it lists, of both eras.
    Modern(Vec<Revision>, Introduction),
    /// The server is modern or dual-era but not in our revision; what it lists and we know.
    Supports(Vec<Revision>),
    /// The server is modern and refuses the probe; why, for people.
    Refused(String),
    /// Nothing modern about the answer: try `initialize`.
    Legacy,
}

/// Reads a JSON-RPC answer to `server/discover`.
pub(crate) fn judge(message: &Bytes) -> Verdict {
    if let Some(result) = json::raw(message, &["result"]) {
        return discovered(&result).unwrap_or(Verdict::Legacy);
    }
    let reason = || json::text(message, &["error", "message"]).unwrap_or_default();
    match json::integer(message, &["error", "code"]) {
        Some(UNSUPPORTED_VERSION) => {
            let listed = json::raw(message, &["error", "data", "supported"]);
            Verdict::Supports(listed.map(|list| revisions(&list)).unwrap_or_default())
        }
        Some(code @ (HEADER_MISMATCH | MISSING_CAPABILITY)) => {
            Verdict::Refused(format!("error {code}: {}", reason()))
        }
        _ => Verdict::Legacy,
    }
}

fn discovered(result: &Bytes) -> Option<Verdict> {
    let listed = json::raw(result, &["supportedVersions"])?;
    let info = ["_meta", "io.modelcontextprotocol/serverInfo"];
    let introduction = Introduction {
        capabilities: json::raw(result, &["capabilities"]).unwrap_or_else(no_capabilities),
        info: json::raw(result, &info).unwrap_or_default(),
        instructions: json::text(result, &["instructions"]).map(String::into_boxed_str),
    };
    let versions = revisions(&listed);
    if versions
        .iter()
        .any(|revision| revision.era() == Era::Modern)
    {
        return Some(Verdict::Modern(versions, introduction));
    }
    Some(Verdict::Supports(versions))
}

/// Reads a JSON-RPC answer to `initialize`.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn handshake(message: &Bytes) -> Result<(Revision, Introduction), String> {
    let Some(result) = json::raw(message, &["result"]) else {
        let code = json::integer(message, &["error", "code"]);
        let reason = json::text(message, &["error", "message"]);
        return Err(match (code, reason) {
            (Some(code), reason) => format!(
                "initialize was refused with error {code}: {}",
                reason.as_deref().unwrap_or("no message")
            ),
            _ => "the answer to initialize is no JSON-RPC response".to_owned(),
        });
    };
    let version = json::text(&result, &["protocolVersion"])
        .ok_or("the answer to initialize names no protocolVersion")?;
    let revision = Revision::parse(&version)
        .filter(|revision| revision.era() == Era::Legacy)
        .ok_or_else(|| format!("the server wants protocol revision {version}, which is unknown"))?;
    let introduction = Introduction {
        capabilities: json::raw(&result, &["capabilities"]).unwrap_or_else(no_capabilities),
        info: json::raw(&result, &["serverInfo"]).unwrap_or_default(),
        instructions: json::text(&result, &["instructions"]).map(String::into_boxed_str),
    };
    Ok((revision, introduction))
}

fn no_capabilities() -> Bytes {
    Bytes::from_static(b"{}")
}

/// The revisions of a JSON array that we know, in its order.
fn revisions(array: &Bytes) -> Vec<Revision> {
    let names = sonic_rs::from_slice::<Vec<String>>(array).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| Revision::parse(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Verdict {
        judge(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_discover_result_is_modern_and_lists_both_eras() {
        let verdict = judged(
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","supportedVersions":
            ["2026-07-28","2025-11-25","2099-01-01"],"capabilities":{"tools":{} },"_meta":
            {"io.modelcontextprotocol/serverInfo":{"name":"x"}},"instructions":"a\nb"}}"#,
        );
        let Verdict::Modern(versions, introduction) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(versions, [Revision::V2026_07_28, Revision::V2025_11_25]);
        assert_eq!(introduction.capabilities, r#"{"tools":{} }"#);
        assert_eq!(introduction.info, r#"{"name":"x"}"#);
        assert_eq!(introduction.instructions.as_deref(), Some("a\nb"));
    }

    #[test]
    fn an_unsupported_version_is_never_a_reason_to_guess() {
        let error = |list: &str| {
            judged(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32022,"message":"no",
                "data":{{"supported":{list},"requested":"2026-07-28"}}}}}}"#
            ))
        };
        assert_eq!(error(r#"["2099-01-01"]"#), Verdict::Supports(vec![]));
        assert_eq!(
            error(r#"["2025-06-18"]"#),
            Verdict::Supports(vec![Revision::V2025_06_18])
        );
    }

    #[test]
    fn any_other_answer_is_legacy() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params"}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"not initialized"},"id":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            "<html>Bad Request</html>",
            "",
        ] {
            assert_eq!(judged(text), Verdict::Legacy, "{text}");
        }
    }

    #[test]
    fn a_handshake_names_a_legacy_revision() {
        let read = |text: &str| handshake(&Bytes::copy_from_slice(text.as_bytes()));
        let (revision, introduction) = read(
            r#"{"result":{"protocolVersion":"2025-03-26","capabilities":{},
            "serverInfo":{"name":"s","version":"1"}},"jsonrpc":"2.0","id":0}"#,
        )
        .unwrap();
        assert_eq!(revision, Revision::V2025_03_26);
        assert_eq!(introduction.info, r#"{"name":"s","version":"1"}"#);
        for (text, word) in [
            (
                r#"{"result":{"protocolVersion":"2026-07-28"}}"#,
                "2026-07-28",
            ),
            (r#"{"result":{}}"#, "protocolVersion"),
            (
                r#"{"error":{"code":-32022,"message":"only 2026-07-28"}}"#,
                "only 2026",
            ),
            ("hello", "no JSON-RPC"),
        ] {
            let reason = read(text).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
