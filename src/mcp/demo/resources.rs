//! Resources and templates.

use std::time::Duration;

use super::params::Params;
use super::tools::timestamp;
use super::{INVALID_PARAMS, Outcome, RESOURCE_NOT_FOUND, Request, answer, fixtures, media};
use crate::mcp::revision::Era;

/// What `demo://about` says.
pub(super) const ABOUT: &str = include_str!("catalog/about.md");

const CLOCK: &str = "demo://clock";
const CLOCK_SECONDS: u64 = 2;
const WATCHED: &str = "test://watched-resource";
const WATCHED_SECONDS: u64 = 3;

/// Languages of `demo://greeting/{language}`, in the order in which they complete.
pub(super) const GREETINGS: &[(&str, &str)] = &[
    ("english", "Good day!"),
    ("esperanto", "Bonan tagon!"),
    ("finnish", "Hyvää päivää!"),
    ("french", "Bonjour !"),
    ("german", "Guten Tag!"),
    ("japanese", "こんにちは"),
    ("swahili", "Habari!"),
];

/// What a resource holds.
enum Content {
    Text(&'static str, String),
    Blob(&'static str, Vec<u8>),
}

/// How long a client may keep what it read (2026-07-28 server/utilities/caching).
const fn ttl_ms(uri: &str) -> &'static str {
    // What changes by itself is stale at once; the rest changes only with a new release.
    match uri.as_bytes() {
        b"demo://clock" | b"test://watched-resource" => "0",
        _ => "300000",
    }
}

/// `resources/read`
pub(super) fn read(request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    let params = Params::read(request.params);
    let Some(uri) = params.as_ref().and_then(|params| params.uri()) else {
        return answer::invalid(out, "params.uri must be the URI of a resource");
    };
    let Some(content) = content(&uri, request.now.unix.as_secs()) else {
        return not_found(request, &uri, out);
    };
    let era = request.era();
    answer::begin(out, era, "complete");
    if era == Era::Modern {
        out.extend_from_slice(b"\"ttlMs\":");
        out.extend_from_slice(ttl_ms(&uri).as_bytes());
        out.extend_from_slice(b",\"cacheScope\":\"public\",");
    }
    out.extend_from_slice(b"\"contents\":[{\"uri\":");
    answer::string(out, &uri);
    let (media_type, member, text) = match content {
        Content::Text(media_type, text) => (media_type, "text", text),
        Content::Blob(media_type, bytes) => (media_type, "blob", media::base64(&bytes)),
    };
    out.extend_from_slice(format!(",\"mimeType\":\"{media_type}\",\"{member}\":").as_bytes());
    answer::string(out, &text);
    out.extend_from_slice(b"}]}");
    Outcome::Result
}

/// `resources/subscribe` and `resources/unsubscribe`: the gateway keeps the list, the demo
/// only knows which resources there are.
pub(super) fn watch(request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    if request.era() == Era::Modern {
        let message = format!("{} is gone; use subscriptions/listen", request.method);
        return answer::error(out, super::METHOD_NOT_FOUND, &message);
    }
    let params = Params::read(request.params);
    let Some(uri) = params.as_ref().and_then(|params| params.uri()) else {
        return answer::invalid(out, "params.uri must be the URI of a resource");
    };
    match content(&uri, 0) {
        Some(_) => answer::empty(request, out),
        None => not_found(request, &uri, out),
    }
}

fn not_found(request: &Request<'_>, uri: &str, out: &mut Vec<u8>) -> Outcome {
    let code = match request.era() {
        Era::Legacy => RESOURCE_NOT_FOUND,
        Era::Modern => INVALID_PARAMS,
    };
    let mut data = b"{\"uri\":".to_vec();
    answer::string(&mut data, uri);
    data.push(b'}');
    answer::error_with(out, code, "Resource not found", &data)
}

pub(super) fn watch_interval(uri: &str) -> Option<Duration> {
    match uri {
        CLOCK => Some(Duration::from_secs(CLOCK_SECONDS)),
        WATCHED => Some(Duration::from_secs(WATCHED_SECONDS)),
        _ => None,
    }
}

pub(super) fn updated(uri: &str) -> Vec<u8> {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\
        \"params\":{\"uri\":"
        .to_vec();
    answer::string(&mut out, uri);
    out.extend_from_slice(b"}}");
    out
}

fn content(uri: &str, unix_seconds: u64) -> Option<Content> {
    let text = |text: &str| Content::Text("text/plain", text.to_owned());
    let content = match uri {
        "demo://about" => Content::Text("text/markdown", ABOUT.to_owned()),
        CLOCK => Content::Text("text/plain", timestamp(unix_seconds, 0)),
        "demo://gradient.png" => Content::Blob("image/png", media::gradient("blue", 64)),
        "test://static-text" => text("This is the content of the static text resource."),
        "test://static-binary" => Content::Blob("image/png", fixtures::picture()),
        WATCHED => {
            let count = unix_seconds / WATCHED_SECONDS;
            Content::Text(
                "text/plain",
                format!("Watched resource content, version {count}"),
            )
        }
        uri => return from_template(uri),
    };
    Some(content)
}

fn from_template(uri: &str) -> Option<Content> {
    if let Some(language) = uri.strip_prefix("demo://greeting/") {
        let (_, greeting) = GREETINGS.iter().find(|(known, _)| *known == language)?;
        return Some(Content::Text("text/plain", (*greeting).to_owned()));
    }
    let id = uri
        .strip_prefix("test://template/")?
        .strip_suffix("/data")?;
    if id.is_empty() || id.contains('/') {
        return None;
    }
    let mut json = b"{\"id\":".to_vec();
    answer::string(&mut json, id);
    json.extend_from_slice(b",\"templateTest\":true,\"data\":");
    answer::string(&mut json, &format!("Data for ID: {id}"));
    json.push(b'}');
    Some(Content::Text(
        "application/json",
        String::from_utf8(json).ok()?,
    ))
}
