//! Finding out how a server speaks, and greeting it (basic/versioning §Backward Compatibility,
//! basic/transports/streamable-http §Backward Compatibility).

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _, Value};

use super::attendant::Attendant;
use super::error::ClientError;
use super::message::{CAPABILITIES, client_info};
use super::session::{Ask, Mode, Session};
use crate::http::HeaderList;
use crate::mcp::revision::{Era, Revision};

impl Session {
    /// Asks in the modern way; false if the server does not understand that.
    pub(super) fn discover(&mut self, attendant: &mut Attendant) -> Result<bool, ClientError> {
        let ask = Ask {
            method: "server/discover",
            ..Ask::default()
        };
        let reply = match self.request(&ask, attendant) {
            Ok(reply) => reply,
            // Only these codes are a modern server's own (basic/index §Error Codes).
            Err(ClientError::Rpc {
                code: -32022,
                message,
            }) => {
                let has_legacy = Revision::ALL
                    .iter()
                    .any(|known| known.era() == Era::Legacy && message.contains(known.as_str()));
                if has_legacy {
                    return Ok(false);
                }
                return Err(ClientError::Revision(message));
            }
            Err(
                error @ ClientError::Rpc {
                    code: -32021 | -32020,
                    ..
                },
            ) => return Err(error),
            Err(ClientError::Rpc { .. } | ClientError::Invalid(_)) => return Ok(false),
            Err(ClientError::Status { status, .. }) if !matches!(status, 401 | 403 | 407 | 429) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let versions = reply
            .get("supportedVersions")
            .and_then(|list| list.as_array());
        let versions: Vec<&str> = versions
            .map(|list| list.iter().filter_map(|version| version.as_str()).collect())
            .unwrap_or_default();
        if !versions.is_empty() && !versions.contains(&Revision::LATEST.as_str()) {
            let is_legacy = |text: &&str| Revision::parse(text).is_some();
            return if versions.iter().any(is_legacy) {
                Ok(false)
            } else {
                Err(ClientError::Revision(versions.join(", ")))
            };
        }
        let info = reply
            .get("_meta")
            .and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo"));
        self.server = info.map(server_name).unwrap_or_default();
        Ok(true)
    }

    /// The handshake of earlier revisions, on whichever transport answers.
    pub(super) fn initialize(&mut self, attendant: &mut Attendant) -> Result<(), ClientError> {
        self.mode = Mode::Legacy { session: None };
        self.revision = Revision::LEGACY_LATEST;
        let ask = Ask {
            method: "initialize",
            members: format!(
                "\"protocolVersion\":\"{}\",\"capabilities\":{CAPABILITIES},\"clientInfo\":{}",
                Revision::LEGACY_LATEST.as_str(),
                client_info()
            ),
            ..Ask::default()
        };
        let reply = match self.request(&ask, attendant) {
            Err(
                refusal @ ClientError::Status {
                    status: 400 | 404 | 405,
                    ..
                },
            ) => {
                attendant.trace("no Streamable HTTP; trying HTTP+SSE of 2024-11-05");
                if self.open_http_sse().is_err() {
                    return Err(refusal);
                }
                self.request(&ask, attendant)?
            }
            reply => reply?,
        };
        let version = reply
            .get("protocolVersion")
            .and_then(|version| version.as_str());
        let version = version.unwrap_or_default();
        self.revision = Revision::parse(version)
            .filter(|revision| revision.era() == Era::Legacy)
            .ok_or_else(|| ClientError::Revision(version.to_owned()))?;
        self.server = reply.get("serverInfo").map(server_name).unwrap_or_default();
        let message = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
        self.wire.post(&self.fields(None), message)?;
        Ok(())
    }

    fn open_http_sse(&mut self) -> Result<(), ClientError> {
        let mut stream = self.wire.get(&HeaderList::new())?;
        let data = stream.next()?.unwrap_or_default();
        let is_endpoint = stream.event.as_deref() == Some("endpoint");
        let target = String::from_utf8_lossy(&data).into_owned();
        let endpoint = self.wire.endpoint.join(&target).filter(|_| is_endpoint);
        self.wire.endpoint = endpoint.ok_or_else(|| {
            ClientError::Invalid("the event stream does not begin with an endpoint".to_owned())
        })?;
        self.mode = Mode::HttpSse(Box::new(stream));
        Ok(())
    }
}

fn server_name(info: &Value) -> String {
    let text = |key: &str| {
        info.get(key)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    format!("{} {}", text("name"), text("version"))
        .trim()
        .to_owned()
}
