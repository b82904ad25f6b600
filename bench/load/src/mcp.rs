//! Calls of tools, in both eras of MCP.

use bytes::Bytes;
use memchr::memmem;
use serde_json::json;

use crate::args::Era;
use crate::exchange::{Connection, Fault};
use crate::request::Draft;
use crate::wire::Target;

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const SESSION: &str = "mcp-session-id";

/// The call that is made again and again.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    draft: Draft,
    era: Era,
    tool: String,
    arguments: serde_json::Value,
}

impl Call {
    /// Checks the arguments.
    pub(crate) fn new(draft: Draft, era: Era, tool: &str, arguments: &str) -> Result<Self, String> {
        let arguments = serde_json::from_str(arguments)
            .map_err(|error| format!("the tool's arguments are no JSON: {error}"))?;
        Ok(Self {
            draft,
            era,
            tool: tool.to_owned(),
            arguments,
        })
    }

    /// The request of one connection; in the legacy era that opens a session.
    pub(crate) async fn prepare(&self, target: &Target) -> Result<Bytes, Fault> {
        match self.era {
            Era::Modern => self.modern().map_err(Fault::Answer),
            Era::Legacy => self.legacy(target).await,
        }
    }

    /// Basic/transports and basic/lifecycle of revision 2026-07-28.
    fn modern(&self) -> Result<Bytes, String> {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": client(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"name": self.tool, "arguments": self.arguments, "_meta": meta});
        let draft = self.draft.clone().message(message("tools/call", &params))?;
        let draft = draft
            .with("mcp-protocol-version", MODERN)?
            .with("mcp-method", "tools/call")?
            .with("mcp-name", &self.tool)?;
        Ok(draft.encode())
    }

    /// The handshake of 2025-11-25; the server may answer with an earlier revision.
    async fn legacy(&self, target: &Target) -> Result<Bytes, Fault> {
        let mut connection = Connection::open(target).await?;
        let params = json!({
            "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client(),
        });
        let draft = self.draft.clone().message(message("initialize", &params));
        let mut head = connection
            .ask(draft.map_err(Fault::Answer)?.encode())
            .await?;
        let mut body = Vec::new();
        connection
            .rest(&mut head, |piece| body.extend_from_slice(piece))
            .await?;
        accept(&head.response, &body)?;
        let mut draft = self.draft.clone();
        if let Some(session) = head.response.headers().get(SESSION) {
            let session = session
                .to_str()
                .map_err(|error| Fault::Answer(error.to_string()))?;
            draft = draft.with(SESSION, session).map_err(Fault::Answer)?;
        }
        let version = revision(&body).unwrap_or(LEGACY.to_owned());
        draft = draft
            .with("mcp-protocol-version", &version)
            .map_err(Fault::Answer)?;

        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        let told = draft.clone().message(told).map_err(Fault::Answer)?;
        let mut head = connection.ask(told.encode()).await?;
        connection.rest(&mut head, |_| ()).await?;
        let params = json!({"name": self.tool, "arguments": self.arguments});
        let call = draft
            .message(message("tools/call", &params))
            .map_err(Fault::Answer)?;
        Ok(call.encode())
    }
}

fn client() -> serde_json::Value {
    json!({"name": "ringway-bench", "version": env!("CARGO_PKG_VERSION")})
}

fn message(method: &str, params: &serde_json::Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// The revision in an answer to `initialize`, which may lie in an event.
fn revision(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("\"protocolVersion\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// Fails unless this is the result of a call that went well.
pub(crate) fn accept(response: &http::Response<()>, body: &[u8]) -> Result<(), Fault> {
    if !response.status().is_success() {
        return Err(Fault::Status(response.status().as_u16()));
    }
    let has = |text: &str| memmem::find(body, text.as_bytes()).is_some();
    let failed = has("\"isError\":true") || has("\"isError\": true");
    if has("\"result\"") && !failed {
        return Ok(());
    }
    let shown = body.get(..body.len().min(200)).unwrap_or_default();
    Err(Fault::Answer(String::from_utf8_lossy(shown).into_owned()))
}
