//! The parts of one JSON-RPC message.

use super::{Reader, Refused, ScanError, Span, Text, check_text, decode};
use crate::mcp::method::Method;

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    #[default]
    Request,
    /// Has a method and no id.
    Notification,
    /// Has a result.
    Result,
    /// Has an error.
    Error,
}

/// Where the parts of a message are. Spans of strings that are acted on ([`Self::method_text`])
/// have no quotes; all others are whole JSON values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// `id`: a string with its quotes, an integer, or (in an error) `null`.
    pub id: Span,
    /// `method`, if it is one that Ringway knows.
    pub method: Option<Method>,
    /// `method` without its quotes.
    pub method_text: Span,
    /// `params`, an object.
    pub params: Span,
    /// `result`, any value.
    pub result: Span,
    /// `error`, an object.
    pub error: Span,
    /// `params.name`, a string.
    pub name: Span,
    /// `params.uri`, a string.
    pub uri: Span,
    /// `params.arguments`, any value.
    pub arguments: Span,
    /// `params.cursor`, a string.
    pub cursor: Span,
    /// `params.level`, a string.
    pub level: Span,
    /// `params.ref`, an object.
    pub reference: Span,
    /// `params.notifications`, an object.
    pub filter: Span,
    /// `params.requestId`, a string or an integer.
    pub request_id: Span,
    /// `params.protocolVersion`, a string (`initialize`).
    pub offered_version: Span,
    /// `params.capabilities`, an object (`initialize`).
    pub offered_capabilities: Span,
    /// `params.clientInfo`, an object (`initialize`).
    pub offered_info: Span,
    /// `params._meta`, an object.
    pub meta: Span,
    /// `params._meta.progressToken`, or `params.progressToken` of a progress notification.
    pub progress_token: Span,
    /// `params._meta."io.modelcontextprotocol/protocolVersion"`, a string.
    pub version: Span,
    /// `params._meta."io.modelcontextprotocol/clientInfo"`, an object.
    pub client_info: Span,
    /// `params._meta."io.modelcontextprotocol/clientCapabilities"`, an object.
    pub client_capabilities: Span,
    /// `params._meta."io.modelcontextprotocol/logLevel"`, a string.
    pub log_level: Span,
    /// `params._meta."io.modelcontextprotocol/subscriptionId"`, a string or an integer.
    pub subscription_id: Span,
}

/// What a member must be.
#[derive(Clone, Copy)]
enum Type {
    Any,
    String,
    Object,
    /// A string or an integer.
    Id,
}

impl Message {
    /// Reads a message.
    pub fn scan(bytes: &[u8]) -> Result<Self, Refused> {
        let mut message = Self::default();
        let outcome = check_text(bytes)
            .and_then(|()| message.envelope(bytes))
            .and_then(|version| message.classify(bytes, version));
        match outcome {
            Ok(()) => Ok(message),
            Err(error) => Err(Refused {
                error,
                id: message.id,
            }),
        }
    }

    /// The member's text with its escapes resolved: [`Self::name`], [`Self::uri`] and the like.
    #[must_use]
    pub fn text(bytes: &[u8], span: Span) -> std::borrow::Cow<'_, str> {
        decode(unquoted(span.of(bytes)))
    }

    /// The same message after `delta` bytes were added (or taken away) in the value that
    /// begins at `at`.
    #[must_use]
    pub fn shifted(mut self, at: usize, delta: i64) -> Self {
        let at = at as u32;
        for span in [
            &mut self.id,
            &mut self.method_text,
            &mut self.params,
            &mut self.result,
            &mut self.error,
            &mut self.name,
            &mut self.uri,
            &mut self.arguments,
            &mut self.cursor,
            &mut self.level,
            &mut self.reference,
            &mut self.filter,
            &mut self.request_id,
            &mut self.offered_version,
            &mut self.offered_capabilities,
            &mut self.offered_info,
            &mut self.meta,
            &mut self.progress_token,
            &mut self.version,
            &mut self.client_info,
            &mut self.client_capabilities,
            &mut self.log_level,
            &mut self.subscription_id,
        ] {
            *span = span.shifted(at, delta);
        }
        self
    }

    /// Reads the top level; returns the span of `jsonrpc`.
    fn envelope(&mut self, bytes: &[u8]) -> Result<Span, ScanError> {
        let mut reader = Reader::new(bytes);
        if reader.peek() != b'{' {
            reader.value()?;
            reader.finish()?;
            return Err(ScanError::NotObject);
        }
        let mut version = Span::NONE;
        let mut more = reader.open_object()?;
        while more {
            let key = reader.key()?;
            match plain(key, bytes).as_ref() {
                b"jsonrpc" => take(&mut version, &mut reader, bytes, Type::Any, "jsonrpc")?,
                b"id" => take(&mut self.id, &mut reader, bytes, Type::Any, "id")?,
                b"method" => {
                    let mut method = Span::NONE;
                    take(&mut method, &mut reader, bytes, Type::String, "method")?;
                    once(self.method_text, "method")?;
                    // An empty method is no method, and an empty span is an absent one.
                    self.method_text = inner(method);
                    if !self.method_text.is_some() {
                        return Err(ScanError::BadMember("method"));
                    }
                }
                b"params" => self.params(&mut reader, bytes)?,
                b"result" => take(&mut self.result, &mut reader, bytes, Type::Any, "result")?,
                b"error" => take(&mut self.error, &mut reader, bytes, Type::Object, "error")?,
                _ => {
                    reader.value()?;
                }
            }
            more = reader.next_member()?;
        }
        reader.finish()?;
        Ok(version)
    }

    fn params(&mut self, reader: &mut Reader<'_>, bytes: &[u8]) -> Result<(), ScanError> {
        once(self.params, "params")?;
        if reader.peek() != b'{' {
            // JSON-RPC allows arrays, MCP does not.
            reader.value()?;
            return Err(ScanError::BadMember("params"));
        }
        let start = reader.at();
        let mut more = reader.open_object()?;
        while more {
            let key = reader.key()?;
            match plain(key, bytes).as_ref() {
                b"name" => take(&mut self.name, reader, bytes, Type::String, "name")?,
                b"uri" => take(&mut self.uri, reader, bytes, Type::String, "uri")?,
                b"arguments" => take(&mut self.arguments, reader, bytes, Type::Any, "arguments")?,
                b"cursor" => take(&mut self.cursor, reader, bytes, Type::String, "cursor")?,
                b"level" => take(&mut self.level, reader, bytes, Type::Any, "level")?,
                b"ref" => take(&mut self.reference, reader, bytes, Type::Object, "ref")?,
                b"_meta" => self.meta(reader, bytes)?,
                key => self.rare_param(key, reader, bytes)?,
            }
            more = reader.next_member()?;
        }
        self.params = Span::new(start, reader.at());
        Ok(())
    }

    fn rare_param(
        &mut self,
        key: &[u8],
        reader: &mut Reader<'_>,
        bytes: &[u8],
    ) -> Result<(), ScanError> {
        let (slot, name, kind) = match key {
            b"notifications" => (&mut self.filter, "notifications", Type::Object),
            b"requestId" => (&mut self.request_id, "requestId", Type::Any),
            b"protocolVersion" => (&mut self.offered_version, "protocolVersion", Type::String),
            b"capabilities" => (&mut self.offered_capabilities, "capabilities", Type::Object),
            b"clientInfo" => (&mut self.offered_info, "clientInfo", Type::Object),
            b"progressToken" => (&mut self.progress_token, "progressToken", Type::Id),
            _ => return reader.value().map(|_| ()),
        };
        take(slot, reader, bytes, kind, name)
    }

    fn meta(&mut self, reader: &mut Reader<'_>, bytes: &[u8]) -> Result<(), ScanError> {
        const PREFIX: &[u8] = b"io.modelcontextprotocol/";
        once(self.meta, "_meta")?;
        if reader.peek() != b'{' {
            reader.value()?;
            return Err(ScanError::BadMember("_meta"));
        }
        let start = reader.at();
        let mut more = reader.open_object()?;
        while more {
            let key = reader.key()?;
            let key = plain(key, bytes);
            let (slot, name, kind) = match key.strip_prefix(PREFIX) {
                Some(b"protocolVersion") => (&mut self.version, "protocolVersion", Type::String),
                Some(b"clientInfo") => (&mut self.client_info, "clientInfo", Type::Object),
                Some(b"clientCapabilities") => (
                    &mut self.client_capabilities,
                    "clientCapabilities",
                    Type::Object,
                ),
                Some(b"logLevel") => (&mut self.log_level, "logLevel", Type::Any),
                Some(b"subscriptionId") => (&mut self.subscription_id, "subscriptionId", Type::Id),
                None if key.as_ref() == b"progressToken" => {
                    (&mut self.progress_token, "progressToken", Type::Id)
                }
                _ => {
                    reader.value()?;
                    more = reader.next_member()?;
                    continue;
                }
            };
            take(slot, reader, bytes, kind, name)?;
            more = reader.next_member()?;
        }
        self.meta = Span::new(start, reader.at());
        Ok(())
    }

    fn classify(&mut self, bytes: &[u8], version: Span) -> Result<(), ScanError> {
        let id = self.id.of(bytes);
        let is_null = id == b"null";
        if self.id.is_some() && !is_null && !is_id(id) {
            self.id = Span::NONE;
            return Err(ScanError::BadId);
        }
        if version.of(bytes) != b"\"2.0\"" {
            return Err(ScanError::NotJsonRpc);
        }
        self.kind = match (
            self.method_text.is_some(),
            self.result.is_some(),
            self.error.is_some(),
        ) {
            (true, false, false) if is_null => {
                self.id = Span::NONE;
                return Err(ScanError::BadId);
            }
            (true, false, false) if self.id.is_some() => Kind::Request,
            (true, false, false) => Kind::Notification,
            (false, true, false) if self.id.is_some() && !is_null => Kind::Result,
            (false, false, true) => Kind::Error,
            _ => return Err(ScanError::NotMessage),
        };
        let method = self.method_text.of(bytes);
        self.method = if method.contains(&b'\\') {
            Method::parse(decode(method).as_bytes())
        } else {
            Method::parse(method)
        };
        Ok(())
    }
}

/// The content of a string value without its quotes; of anything else, the value.
#[must_use]
pub(super) fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

fn inner(quoted: Span) -> Span {
    let range = quoted.range();
    Span::new(range.start + 1, range.end - 1)
}

/// A key with its escapes resolved, so that none can hide behind one.
fn plain(key: Text, bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let content = key.span.of(bytes);
    if key.escaped {
        std::borrow::Cow::Owned(decode(content).into_owned().into_bytes())
    } else {
        std::borrow::Cow::Borrowed(content)
    }
}

fn once(slot: Span, name: &'static str) -> Result<(), ScanError> {
    if slot.is_some() {
        return Err(ScanError::Duplicate(name));
    }
    Ok(())
}

fn take(
    slot: &mut Span,
    reader: &mut Reader<'_>,
    bytes: &[u8],
    wanted: Type,
    name: &'static str,
) -> Result<(), ScanError> {
    once(*slot, name)?;
    let value = reader.value()?;
    let fits = match wanted {
        Type::Any => true,
        Type::String => value.of(bytes).first() == Some(&b'"'),
        Type::Object => value.of(bytes).first() == Some(&b'{'),
        Type::Id => is_id(value.of(bytes)),
    };
    *slot = value;
    if fits {
        Ok(())
    } else {
        Err(ScanError::BadMember(name))
    }
}

/// Whether a JSON value is a string or an integer.
fn is_id(value: &[u8]) -> bool {
    match value.first() {
        Some(b'"') => true,
        Some(b'-' | b'0'..=b'9') => !value.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')),
        _ => false,
    }
}
