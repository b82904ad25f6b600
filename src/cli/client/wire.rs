//! Messages as they go over the wire: a POST and what comes back, piece by piece.

use bytes::Bytes;
use sonic_rs::{JsonValueTrait as _, Value};

use super::error::ClientError;
use super::http::{Http, Request, Response};
use crate::http::endpoint::Endpoint;
use crate::http::sse::Decoder;
use crate::http::{HeaderList, reason};

/// A result larger than this is no use at a terminal.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Enough of an error page to recognise it by.
const DETAIL_CHARACTERS_MAX: usize = 200;
const REDIRECTS_MAX: usize = 3;

/// One JSON-RPC message, as it came and as a tree.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Message {
    /// The bytes of the server.
    pub(in crate::cli) raw: Bytes,
    /// The same, parsed.
    pub(in crate::cli) value: Value,
}

impl Message {
    pub(super) fn parse(raw: Bytes) -> Result<Self, ClientError> {
        match sonic_rs::from_slice::<Value>(&raw) {
            Ok(value) => Ok(Self { raw, value }),
            Err(_) => {
                let begin = excerpt(&raw);
                Err(ClientError::Invalid(format!("no JSON{begin}")))
            }
        }
    }

    /// Whether it is the answer to the request with that id.
    pub(super) fn answers(&self, id: u64) -> bool {
        let is_answer = self.value.get("method").is_none();
        is_answer && self.value.get("id").and_then(|id| id.as_u64()) == Some(id)
    }

    /// Code and message of a JSON-RPC error.
    pub(super) fn error(&self) -> Option<(i64, String)> {
        let error = self.value.get("error")?;
        let code = error
            .get("code")
            .and_then(|code| code.as_i64())
            .unwrap_or(0);
        let message = error.get("message").and_then(|message| message.as_str());
        let mut message = message.unwrap_or("no message").to_owned();
        if let Some(detail) = error.get("data").and_then(|data| data.as_str()) {
            message.push_str(": ");
            message.push_str(detail);
        }
        Some((code, message))
    }
}

/// What came back for a POST.
pub(super) enum Incoming {
    /// 202 and the like: nothing to read.
    Nothing,
    /// One message, or a batch of 2025-03-26, in order.
    Messages { status: u16, messages: Vec<Message> },
    /// An event stream.
    Stream(Box<EventStream>),
}

/// Where to send, and what goes with every request.
pub(super) struct Wire {
    pub(super) http: Http,
    pub(super) endpoint: Endpoint,
    /// Headers that the user gave.
    pub(super) headers: Vec<(String, String)>,
}

impl Wire {
    /// Sends one message. A refusal without a JSON-RPC answer is an error.
    pub(super) fn post(
        &mut self,
        extra: &HeaderList,
        body: &str,
    ) -> Result<(Incoming, HeaderList), ClientError> {
        let mut headers = self.common();
        headers.push(b"Content-Type", b"application/json");
        headers.push(b"Accept", b"application/json, text/event-stream");
        headers.append(extra);
        for _ in 0..REDIRECTS_MAX {
            let response = self.http.send(&Request {
                method: "POST",
                target: &self.endpoint.target,
                headers: headers.clone(),
                body: body.as_bytes(),
            })?;
            if !matches!(response.head.status, 301 | 302 | 307 | 308) {
                let fields = response.head.headers.clone();
                return Ok((self.take(response)?, fields));
            }
            // FastAPI and others send /mcp to /mcp/.
            let location = response.header("location").to_owned();
            match self.endpoint.join(&location) {
                Some(endpoint) => self.endpoint = endpoint,
                None => return Err(ClientError::Moved(location)),
            }
        }
        Err(ClientError::Invalid("too many redirects".to_owned()))
    }

    /// Opens an event stream with GET.
    pub(super) fn get(&mut self, extra: &HeaderList) -> Result<EventStream, ClientError> {
        let mut headers = self.common();
        headers.push(b"Accept", b"text/event-stream");
        headers.append(extra);
        let mut response = self.http.send(&Request {
            method: "GET",
            target: &self.endpoint.target,
            headers,
            body: b"",
        })?;
        if response.head.status == 200 && response.media_type() == "text/event-stream" {
            return Ok(EventStream::new(response));
        }
        let body = response.read_all(MESSAGE_BYTES_MAX)?;
        Err(status_error(&response, &body))
    }

    /// Ends a session; what the server says to it does not matter.
    pub(super) fn delete(&mut self, extra: &HeaderList) {
        let mut headers = self.common();
        headers.append(extra);
        let sent = self.http.send(&Request {
            method: "DELETE",
            target: &self.endpoint.target,
            headers,
            body: b"",
        });
        if let Ok(mut response) = sent {
            let _ = response.read_all(MESSAGE_BYTES_MAX);
        }
    }

    /// Fetches a page.
    pub(super) fn page(&mut self) -> Result<(u16, Vec<u8>), ClientError> {
        let headers = self.common();
        let mut response = self.http.send(&Request {
            method: "GET",
            target: &self.endpoint.target,
            headers,
            body: b"",
        })?;
        let body = response.read_all(MESSAGE_BYTES_MAX)?;
        Ok((response.head.status, body))
    }

    fn common(&self) -> HeaderList {
        let mut headers = HeaderList::new();
        let agent = concat!("ringway/", env!("CARGO_PKG_VERSION"));
        headers.push(b"User-Agent", agent.as_bytes());
        for (name, value) in &self.headers {
            headers.set(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    fn take(&mut self, mut response: Response) -> Result<Incoming, ClientError> {
        let status = response.head.status;
        let media_type = response.media_type();
        if (200..300).contains(&status) && media_type == "text/event-stream" {
            return Ok(Incoming::Stream(Box::new(EventStream::new(response))));
        }
        let body = response.read_all(MESSAGE_BYTES_MAX)?;
        let body = Bytes::from(body);
        // HTTP+SSE servers say "Accepted" in words.
        if status == 202 || ((200..300).contains(&status) && body.trim_ascii().is_empty()) {
            self.http.keep(response);
            return Ok(Incoming::Nothing);
        }
        let is_json = media_type.ends_with("json");
        let parsed = is_json.then(|| messages(&body));
        if let Some(Ok(messages)) = parsed
            && (status < 300 || messages.iter().any(|message| message.error().is_some()))
        {
            self.http.keep(response);
            return Ok(Incoming::Messages { status, messages });
        }
        if status < 300 {
            let begin = excerpt(&body);
            let what = if media_type.is_empty() {
                "no media type"
            } else {
                &media_type
            };
            return Err(ClientError::Invalid(format!(
                "{what} instead of JSON{begin}"
            )));
        }
        Err(status_error(&response, &body))
    }
}

/// The messages of a body: one, or those of a batch.
fn messages(body: &Bytes) -> Result<Vec<Message>, ClientError> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return Ok(vec![Message::parse(body.clone())?]);
    }
    let mut messages = Vec::new();
    for element in sonic_rs::to_array_iter(body.as_ref()) {
        let element = element.map_err(|_| ClientError::Invalid("no JSON".to_owned()))?;
        let raw = Bytes::copy_from_slice(element.as_raw_str().as_bytes());
        messages.push(Message::parse(raw)?);
    }
    Ok(messages)
}

fn status_error(response: &Response, body: &[u8]) -> ClientError {
    ClientError::Status {
        status: response.head.status,
        reason: reason(response.head.status),
        // Of an error page for browsers the status says it all.
        detail: match response.media_type().as_str() {
            "text/html" => String::new(),
            _ => excerpt(body),
        },
        challenge: response.header("www-authenticate").to_owned(),
    }
}

/// ": " and the beginning of a body in one line, or nothing.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body));
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .take(DETAIL_CHARACTERS_MAX)
        .collect();
    if line.is_empty() {
        line
    } else {
        format!(": {}", line.escape_debug())
    }
}

/// The events of a response.
pub(super) struct EventStream {
    response: Response,
    decoder: Decoder,
    /// Type of the last event; none means `message`.
    pub(super) event: Option<String>,
}

impl EventStream {
    fn new(response: Response) -> Self {
        Self {
            response,
            decoder: Decoder::new(MESSAGE_BYTES_MAX),
            event: None,
        }
    }

    /// The data of the next event that has any; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let event = self.decoder.next();
            let event = event.map_err(|error| ClientError::Invalid(error.to_string()))?;
            if let Some(event) = event {
                self.event = event.event;
                // An id with empty data only primes the client for a reconnect.
                if !event.data.is_empty() {
                    return Ok(Some(event.data));
                }
                continue;
            }
            match self.response.read()? {
                Some(piece) => self.decoder.feed(piece),
                None => return Ok(None),
            }
        }
    }

    /// What to reconnect with, if the server gave it.
    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.decoder.last_event_id()
    }

    /// How long the server wants the client to wait before that, in milliseconds.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.decoder.retry()
    }
}
