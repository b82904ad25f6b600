//! Requests as bytes, made once and then sent again and again.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Uri};

/// What a request is made of.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Method.
    pub(crate) method: Method,
    /// The whole URL.
    pub(crate) uri: Uri,
    /// Headers; Host and Content-Length come by themselves.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub(crate) body: Bytes,
}

impl Draft {
    /// A request with the headers of the command line.
    pub(crate) fn new(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let method = method.parse().map_err(|_| format!("no method: {method}"))?;
        let uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let mut parsed = Vec::new();
        for line in headers {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("no header: {line}"))?;
            parsed.push(header(name.trim(), value.trim())?);
        }
        Ok(Self {
            method,
            uri,
            headers: parsed,
            body: Bytes::new(),
        })
    }

    /// With a further header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Result<Self, String> {
        self.headers.push(header(name, value)?);
        Ok(self)
    }

    /// A message to an MCP server.
    pub(crate) fn message(mut self, json: String) -> Result<Self, String> {
        self.method = Method::POST;
        self.body = json.into();
        self.with(CONTENT_TYPE.as_str(), "application/json")?
            .with(ACCEPT.as_str(), "application/json, text/event-stream")
    }

    /// The same with `n=NUMBER` in its query.
    pub(crate) fn numbered(&self, number: u32) -> Result<Self, String> {
        let text = self.uri.to_string();
        let mark = if text.contains('?') { '&' } else { '?' };
        let uri = format!("{text}{mark}n={number}");
        let uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
        Ok(Self {
            uri,
            ..self.clone()
        })
    }

    /// Its bytes (RFC 9112 §3), with Host and, where there is a body, its length.
    #[must_use]
    pub(crate) fn encode(&self) -> Bytes {
        let host = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut bytes = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\n", self.method).into_bytes();
        for (name, value) in &self.headers {
            line(&mut bytes, name.as_str(), value.as_bytes());
        }
        if !self.body.is_empty() {
            line(
                &mut bytes,
                "content-length",
                self.body.len().to_string().as_bytes(),
            );
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }
}

fn line(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        bytes.extend_from_slice(part);
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let told = || format!("no header: {name}: {value}");
    let name = HeaderName::try_from(name).map_err(|_| told())?;
    let value = HeaderValue::try_from(value).map_err(|_| told())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_request_is_written_as_rfc_9112_says() {
        let headers = ["X-A: 1".to_owned()];
        let draft = Draft::new("GET", "http://a.test:81/p?q=1", &headers).unwrap();
        let wanted = "GET /p?q=1 HTTP/1.1\r\nHost: a.test:81\r\nx-a: 1\r\n\r\n";
        assert_eq!(draft.encode(), wanted);
        assert!(
            draft
                .numbered(7)
                .unwrap()
                .encode()
                .starts_with(b"GET /p?q=1&n=7 HTTP/1.1\r\n")
        );
    }

    #[test]
    fn a_message_is_a_post_with_its_length() {
        let draft = Draft::new("GET", "http://a/mcp", &[])
            .unwrap()
            .message("{}".to_owned())
            .unwrap();
        let text = String::from_utf8(draft.encode().to_vec()).unwrap();
        assert!(
            text.starts_with("POST /mcp HTTP/1.1\r\nHost: a\r\ncontent-type: application/json\r\n")
        );
        assert!(text.ends_with("content-length: 2\r\n\r\n{}"), "{text}");
    }

    #[test]
    fn what_is_no_header_is_told() {
        assert!(Draft::new("GET", "http://a/", &["x".to_owned()]).is_err());
        assert!(Draft::new("GET", "http://a/", &["x: a\nb".to_owned()]).is_err());
    }
}
