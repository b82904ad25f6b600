//! `echo`: answers any request with a JSON description of what arrived. For trying out clients,
//! proxies and this server's own parser.

use super::Pages;
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::{Body, BodyError, Frame, RequestHead, Response, Version};

/// Largest content echoed. A byte may take six in JSON, and an answer is made whole.
const ECHO_BYTES_MAX: usize = 1024 * 1024;

impl Pages {
    /// Members `n` (requests this shard has echoed), `line` (the request line), `headers` (as
    /// `Name: value`) and `body`; bytes are read as Latin-1.
    pub(super) async fn echo(&self, request: Incoming<'_>, response: &mut Response) {
        let head = request.head;
        let body = match read(request.body).await {
            Ok(body) => body,
            Err(problem) => {
                *response = problem.response();
                return;
            }
        };
        let n = self.echoed.get() + 1;
        self.echoed.set(n);
        self.json_bytes(describe(n, head, &body).into(), response);
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let mut content = Vec::new();
    let mut add = |bytes: &[u8]| {
        if content.len() + bytes.len() > ECHO_BYTES_MAX {
            return Err(Problem::TooLarge);
        }
        content.extend_from_slice(bytes);
        Ok(())
    };
    match body {
        Body::Empty => {}
        Body::Static(bytes) => add(bytes)?,
        Body::Full(bytes) => add(&bytes)?,
        Body::Stored(stored) => add(stored.identity())?,
        // Requests are not made of files or answers.
        Body::Pieces(_) | Body::Source(_) | Body::Tunnel(_) => return Err(Problem::BadBody),
        Body::Stream(mut frames) => {
            while let Some(frame) = frames.recv().await {
                match frame.map_err(refusal)? {
                    Frame::Data(bytes) => add(&bytes)?,
                    Frame::Trailers(_) => {}
                }
            }
        }
    }
    Ok(content)
}

const fn refusal(error: BodyError) -> Problem {
    match error {
        BodyError::TooLarge => Problem::TooLarge,
        BodyError::TimedOut => Problem::BodyTimedOut,
        _ => Problem::BadBody,
    }
}

fn describe(n: u64, head: &RequestHead, body: &[u8]) -> Vec<u8> {
    let version: &[u8] = match head.version {
        Version::Http10 => b" HTTP/1.0",
        Version::Http11 => b" HTTP/1.1",
        Version::Http2 => b" HTTP/2.0",
    };
    let mut out = format!("{{\"n\":{n},\"line\":\"").into_bytes();
    latin1(&mut out, head.method_token().as_bytes());
    out.push(b' ');
    latin1(&mut out, head.target().as_bytes());
    out.extend_from_slice(version);
    out.extend_from_slice(b"\",\"headers\":[");
    for (at, (_, name, value)) in head.headers.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        latin1(&mut out, name);
        out.extend_from_slice(b": ");
        latin1(&mut out, value);
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"body\":\"");
    latin1(&mut out, body);
    out.extend_from_slice(b"\"}");
    out
}

/// JSON string content of bytes read as Latin-1, in ASCII.
fn latin1(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}
