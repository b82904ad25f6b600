//! The conversation: which era the server speaks, requests with their answers, what a server
//! asks back.

use std::time::Duration;

use bytes::Bytes;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _, Value};

use super::attendant::Attendant;
use super::error::ClientError;
use super::http::{Http, Manner};
use super::message::{CAPABILITIES, client_info, header_value, push_member, quoted};
use super::wire::{EventStream, Incoming, Message, Wire};
use crate::http::HeaderList;
use crate::http::endpoint::Endpoint;
use crate::mcp::revision::{Era, Revision};

/// A server that asks for more input that often goes round in circles.
const ROUNDS_MAX: usize = 10;
/// Reconnects to one answer (2025-11-25 basic/transports §Resumability).
const RECONNECTS_MAX: usize = 100;
/// A server may ask for a pause; longer ones are cut to this.
const RETRY_MS_MAX: u64 = 60_000;
const PAGES_MAX: usize = 10_000;

/// Which era to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum EraChoice {
    Auto,
    Only(Era),
}

/// How to reach a server.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Settings {
    pub(in crate::cli) endpoint: Endpoint,
    pub(in crate::cli) headers: Vec<(String, String)>,
    pub(in crate::cli) era: EraChoice,
    pub(in crate::cli) timeout: Duration,
}

/// The result of a request.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Reply {
    message: Message,
}

impl Reply {
    /// `result` as the server wrote it.
    pub(in crate::cli) fn raw(&self) -> Bytes {
        match sonic_rs::get_from_slice(&self.message.raw, ["result"]) {
            Ok(result) => Bytes::copy_from_slice(result.as_raw_str().as_bytes()),
            Err(_) => Bytes::new(),
        }
    }

    /// A member of `result`.
    pub(in crate::cli) fn get(&self, key: &str) -> Option<&Value> {
        self.message.value.get("result")?.get(key)
    }
}

/// One request: its method and the members of its `params` as JSON text without braces.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Ask<'a> {
    pub(in crate::cli) method: &'a str,
    pub(in crate::cli) members: String,
    /// For `Mcp-Name`.
    pub(in crate::cli) name: Option<&'a str>,
    /// `Mcp-Param-…`
    pub(in crate::cli) mirrored: Vec<(String, Vec<u8>)>,
    /// Whether progress is wanted.
    pub(in crate::cli) has_progress: bool,
}

pub(super) enum Mode {
    Modern,
    Legacy {
        session: Option<String>,
    },
    /// HTTP+SSE of 2024-11-05: messages go elsewhere, answers come on one stream.
    HttpSse(Box<EventStream>),
}

/// A conversation with one server.
pub(in crate::cli) struct Session {
    pub(super) wire: Wire,
    pub(super) mode: Mode,
    pub(super) revision: Revision,
    next_id: u64,
    /// Name and version of the server, as far as it says.
    pub(in crate::cli) server: String,
}

impl Session {
    /// Finds out how the server speaks and greets it.
    pub(in crate::cli) fn open(
        settings: &Settings,
        attendant: &mut Attendant,
    ) -> Result<Self, ClientError> {
        let mut session = Self {
            wire: Wire {
                http: Http::new(&settings.endpoint, settings.timeout, Manner::default()),
                endpoint: settings.endpoint.clone(),
                headers: settings.headers.clone(),
            },
            mode: Mode::Modern,
            revision: Revision::LATEST,
            next_id: 1,
            server: String::new(),
        };
        match settings.era {
            EraChoice::Only(Era::Modern) => {
                if !session.discover(attendant)? {
                    return Err(ClientError::Era("legacy", Revision::LATEST.as_str()));
                }
            }
            EraChoice::Only(Era::Legacy) => match session.initialize(attendant) {
                Err(ClientError::Rpc { code: -32022, .. }) => {
                    return Err(ClientError::Era("modern", "revisions before 2026-07-28"));
                }
                done => done?,
            },
            EraChoice::Auto => {
                if !session.discover(attendant)? {
                    session.initialize(attendant)?;
                }
            }
        }
        attendant.meet(&session.server);
        attendant.trace(&format!(
            "speaks {}, {} era",
            session.revision.as_str(),
            if session.mode_is_modern() {
                "modern"
            } else {
                "legacy"
            }
        ));
        Ok(session)
    }

    /// The revision both speak.
    pub(in crate::cli) fn revision(&self) -> &'static str {
        self.revision.as_str()
    }

    pub(in crate::cli) fn mode_is_modern(&self) -> bool {
        matches!(self.mode, Mode::Modern)
    }

    /// Every page of a list: the elements of `key` as the server wrote them, in order.
    pub(in crate::cli) fn list(
        &mut self,
        method: &str,
        key: &str,
        attendant: &mut Attendant,
    ) -> Result<Vec<Bytes>, ClientError> {
        let mut items = Vec::new();
        let mut members = String::new();
        for _ in 0..PAGES_MAX {
            let ask = Ask {
                method,
                members: std::mem::take(&mut members),
                ..Ask::default()
            };
            let reply = self.request(&ask, attendant)?;
            let result = reply.raw();
            let list = sonic_rs::get_from_slice(&result, [key])
                .map_err(|_| ClientError::Invalid(format!("{method} without `{key}`")))?;
            for item in sonic_rs::to_array_iter(list.as_raw_str()) {
                let item = item.map_err(|_| ClientError::Invalid(format!("`{key}` is no list")))?;
                items.push(Bytes::copy_from_slice(item.as_raw_str().as_bytes()));
            }
            match reply.get("nextCursor").and_then(|cursor| cursor.as_str()) {
                Some(cursor) => members = format!("\"cursor\":{}", quoted(cursor)),
                None => return Ok(items),
            }
        }
        Err(ClientError::Invalid(format!(
            "{method} does not end after {PAGES_MAX} pages"
        )))
    }

    /// Asks and answers until the result is complete (basic/patterns/mrtr).
    pub(in crate::cli) fn complete(
        &mut self,
        ask: &Ask<'_>,
        attendant: &mut Attendant,
    ) -> Result<Reply, ClientError> {
        let mut round = ask.clone();
        for _ in 0..ROUNDS_MAX {
            let reply = self.request(&round, attendant)?;
            let kind = reply.get("resultType").and_then(|kind| kind.as_str());
            match kind {
                None | Some("complete") => return Ok(reply),
                Some("input_required") => {}
                Some(other) => {
                    return Err(ClientError::Invalid(format!(
                        "unknown resultType {other:?}"
                    )));
                }
            }
            let mut responses = Vec::new();
            for (key, request) in reply
                .get("inputRequests")
                .iter()
                .filter_map(|o| o.as_object())
                .flat_map(|o| o.iter())
            {
                let response = attendant.input(request)?;
                responses.push(format!("{}:{response}", quoted(key)));
            }
            round.members = ask.members.clone();
            if reply.get("inputRequests").is_some() {
                let responses = responses.join(",");
                push_member(
                    &mut round.members,
                    &format!("\"inputResponses\":{{{responses}}}"),
                );
            }
            if let Some(state) = reply.get("requestState").and_then(|state| state.as_str()) {
                push_member(
                    &mut round.members,
                    &format!("\"requestState\":{}", quoted(state)),
                );
            }
        }
        Err(ClientError::Invalid(format!(
            "it still asks for input after {ROUNDS_MAX} rounds"
        )))
    }

    /// One request and its answer.
    pub(in crate::cli) fn request(
        &mut self,
        ask: &Ask<'_>,
        attendant: &mut Attendant,
    ) -> Result<Reply, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let body = self.body(id, ask, attendant);
        if ask.method == "tools/call" {
            self.wire.http.forget();
        }
        let (incoming, fields) = self.wire.post(&self.fields(Some(ask)), &body)?;
        if ask.method == "initialize"
            && let Mode::Legacy { session } = &mut self.mode
        {
            let given = fields.get_by_name(b"mcp-session-id");
            *session = given.and_then(|id| String::from_utf8(id.to_vec()).ok());
        }
        let message = match incoming {
            Incoming::Nothing => self.read_http_sse(id, attendant)?,
            Incoming::Messages { status, messages } => {
                let mut answer = None;
                let is_single = messages.len() == 1;
                for message in messages {
                    // A refusal of the whole request may come without its id.
                    let is_refusal = is_single && status >= 400 && message.error().is_some();
                    if message.answers(id) || is_refusal {
                        answer = Some(message);
                    } else {
                        self.hear(&message, attendant)?;
                    }
                }
                let missing = || ClientError::Invalid("no answer to the request".to_owned());
                answer.ok_or_else(missing)?
            }
            Incoming::Stream(stream) => self.read_stream(*stream, id, attendant)?,
        };
        attendant.end_progress();
        if let Some((code, text)) = message.error() {
            let data = message
                .value
                .get("error")
                .and_then(|error| error.get("data"));
            let supported = data.and_then(|data| data.get("supported"));
            let message = match supported.and_then(|list| list.as_array()) {
                Some(list) => {
                    let list: Vec<&str> = list.iter().filter_map(|v| v.as_str()).collect();
                    list.join(", ")
                }
                None => text,
            };
            return Err(ClientError::Rpc { code, message });
        }
        if message.value.get("result").is_none() {
            let what = "neither a result nor an error".to_owned();
            return Err(ClientError::Invalid(what));
        }
        Ok(Reply { message })
    }

    /// Reads a stream until the answer; reconnects where the server means us to.
    fn read_stream(
        &mut self,
        mut stream: EventStream,
        id: u64,
        attendant: &mut Attendant,
    ) -> Result<Message, ClientError> {
        let ended = || ClientError::Invalid("the stream ended before the answer".to_owned());
        for _ in 0..RECONNECTS_MAX {
            while let Some(data) = stream.next()? {
                let message = Message::parse(data)?;
                if message.answers(id) {
                    return Ok(message);
                }
                self.hear(&message, attendant)?;
            }
            let last_id = stream.last_event_id().filter(|id| !id.is_empty());
            let Some(last_id) = last_id.filter(|_| !self.mode_is_modern()) else {
                return Err(ended());
            };
            let retry_ms = stream.retry_ms().unwrap_or(1_000).min(RETRY_MS_MAX);
            attendant.trace("the stream ended early; resuming it");
            std::thread::sleep(Duration::from_millis(retry_ms));
            let mut fields = self.fields(None);
            fields.push(b"Last-Event-ID", last_id.as_bytes());
            stream = self.wire.get(&fields)?;
        }
        Err(ended())
    }

    /// HTTP+SSE: the answer comes on the stream that is open already.
    fn read_http_sse(
        &mut self,
        id: u64,
        attendant: &mut Attendant,
    ) -> Result<Message, ClientError> {
        loop {
            let Mode::HttpSse(stream) = &mut self.mode else {
                let what = "the request was taken, but not answered".to_owned();
                return Err(ClientError::Invalid(what));
            };
            let Some(data) = stream.next()? else {
                let what = "the event stream ended before the answer".to_owned();
                return Err(ClientError::Invalid(what));
            };
            let message = Message::parse(data)?;
            if message.answers(id) {
                return Ok(message);
            }
            self.hear(&message, attendant)?;
        }
    }

    /// A message that is not the answer: a notification, or a request of the server.
    fn hear(&mut self, message: &Message, attendant: &mut Attendant) -> Result<(), ClientError> {
        let method = message
            .value
            .get("method")
            .and_then(|method| method.as_str());
        let Some(method) = method else {
            return Ok(());
        };
        let Ok(id) = sonic_rs::get_from_slice(&message.raw, ["id"]) else {
            attendant.notice(method, message.value.get("params"));
            return Ok(());
        };
        if self.mode_is_modern() {
            let what = format!("a request ({method}) where this revision has none");
            return Err(ClientError::Invalid(what));
        }
        let answer = match method {
            "ping" => "\"result\":{}".to_owned(),
            "elicitation/create" => {
                let answer = attendant.elicit(message.value.get("params"));
                format!("\"result\":{answer}")
            }
            _ => {
                attendant.refuse(method);
                "\"error\":{\"code\":-32601,\"message\":\"the client cannot do that\"}".to_owned()
            }
        };
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},{answer}}}",
            id.as_raw_str()
        );
        self.wire.post(&self.fields(None), &body)?;
        Ok(())
    }

    fn body(&self, id: u64, ask: &Ask<'_>, attendant: &Attendant) -> String {
        let mut meta = Vec::new();
        if self.mode_is_modern() {
            meta.push(format!(
                "\"io.modelcontextprotocol/protocolVersion\":\"{}\"",
                self.revision.as_str()
            ));
            meta.push(format!(
                "\"io.modelcontextprotocol/clientInfo\":{}",
                client_info()
            ));
            meta.push(format!(
                "\"io.modelcontextprotocol/clientCapabilities\":{CAPABILITIES}"
            ));
            if attendant.wants_log() {
                meta.push("\"io.modelcontextprotocol/logLevel\":\"debug\"".to_owned());
            }
        }
        if ask.has_progress {
            meta.push(format!("\"progressToken\":{id}"));
        }
        let mut members = ask.members.clone();
        if !meta.is_empty() {
            push_member(&mut members, &format!("\"_meta\":{{{}}}", meta.join(",")));
        }
        let method = quoted(ask.method);
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{{{members}}}}}")
    }

    /// The headers of the era; for a request, those that repeat parts of it.
    pub(super) fn fields(&self, ask: Option<&Ask<'_>>) -> HeaderList {
        let mut fields = HeaderList::new();
        let is_greeting = ask.is_some_and(|ask| ask.method == "initialize");
        match &self.mode {
            Mode::Modern => {}
            Mode::HttpSse(_) => return fields,
            Mode::Legacy { session } => {
                if let Some(id) = session {
                    fields.push(b"Mcp-Session-Id", id.as_bytes());
                }
                if is_greeting {
                    return fields;
                }
            }
        }
        fields.push(b"MCP-Protocol-Version", self.revision.as_str().as_bytes());
        if let Some(ask) = ask.filter(|_| self.mode_is_modern()) {
            fields.push(b"Mcp-Method", ask.method.as_bytes());
            if let Some(name) = ask.name {
                fields.push(b"Mcp-Name", &header_value(name));
            }
            for (name, value) in &ask.mirrored {
                fields.push(name.as_bytes(), value);
            }
        }
        fields
    }

    /// Says good-bye where the revision has a word for it.
    pub(in crate::cli) fn close(mut self) {
        if let Mode::Legacy { session: Some(_) } = &self.mode {
            let fields = self.fields(None);
            self.wire.delete(&fields);
        }
    }
}
