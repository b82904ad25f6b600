//! From what was typed to a conversation: the URL, headers and flags that `tools` and `call`
//! share.

use super::Failure;
use super::args::ConnectArgs;
use super::client::{Attendant, ClientError, EraChoice, Session, Settings};
use super::terminal::Terminal;
use crate::config::units::{DURATION_HINT, parse_duration};
use crate::config::{Env, PORT};
use crate::http::endpoint::Endpoint;
use crate::http::{is_field_value, is_token};
use crate::mcp::revision::Era;

/// A server, named or not.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: String,
    /// Nobody named it: it is the gateway on this machine.
    pub(super) is_local: bool,
}

impl Target {
    /// The server that was named, or RINGWAY_URL, or the local gateway on PORT.
    pub(super) fn of(url: Option<&str>, env: &Env) -> Self {
        let is_local = url.is_none() && env.get("RINGWAY_URL").is_none();
        let url = url.or_else(|| env.get("RINGWAY_URL")).map(str::to_owned);
        let url = url.unwrap_or_else(|| {
            let port = env.get("PORT").and_then(|port| port.parse().ok());
            format!("http://127.0.0.1:{}", port.unwrap_or(PORT))
        });
        Self {
            url: with_path(&url, "/mcp"),
            is_local,
        }
    }
}

/// `url` with a path, where it has none.
pub(super) fn with_path(url: &str, path: &str) -> String {
    match url.split_once("://") {
        Some((_, rest)) if !rest.contains(['/', '?', '#']) => format!("{url}{path}"),
        Some((_, rest)) if rest.ends_with('/') && rest.matches('/').count() == 1 => {
            format!("{}{path}", url.trim_end_matches('/'))
        }
        _ => url.to_owned(),
    }
}

/// Whether a word is a URL rather than the name of a tool.
pub(super) fn is_url(word: &str) -> bool {
    word.starts_with("http://") || word.starts_with("https://")
}

/// What the flags come to.
pub(super) fn settings(target: &Target, args: &ConnectArgs) -> Result<Settings, Failure> {
    let endpoint = Endpoint::parse(&target.url)
        .map_err(|error| Failure::Usage(format!("{}: {error}", target.url)))?;
    let era = match args.era.as_str() {
        "auto" => EraChoice::Auto,
        "modern" => EraChoice::Only(Era::Modern),
        "legacy" => EraChoice::Only(Era::Legacy),
        other => {
            let message = format!("--era {other}: write auto, modern or legacy");
            return Err(Failure::Usage(message));
        }
    };
    let timeout = parse_duration(&args.timeout)
        .filter(|timeout| !timeout.is_zero())
        .ok_or_else(|| Failure::Usage(format!("--timeout {}: {DURATION_HINT}", args.timeout)))?;
    let mut headers = Vec::new();
    for header in &args.headers {
        let pair = header.split_once(':');
        let pair = pair.map(|(name, value)| (name.trim(), value.trim()));
        match pair {
            Some((name, value))
                if is_token(name.as_bytes()) && is_field_value(value.as_bytes()) =>
            {
                headers.push((name.to_owned(), value.to_owned()));
            }
            // The header may hold a token, so it is not repeated here.
            _ => return Err(Failure::Usage("--header: write \"Name: value\"".to_owned())),
        }
    }
    Ok(Settings {
        endpoint,
        headers,
        era,
        timeout,
    })
}

/// Opens the conversation.
pub(super) fn open(
    target: &Target,
    args: &ConnectArgs,
    attendant: &mut Attendant,
) -> Result<Session, Failure> {
    let settings = settings(target, args)?;
    Session::open(&settings, attendant).map_err(|error| failure(&error, target))
}

/// `--answer NAME=VALUE`.
pub(super) fn answers(given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    given
        .iter()
        .map(|answer| match answer.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::Usage(format!(
                "--answer {answer}: write NAME=VALUE"
            ))),
        })
        .collect()
}

/// An error of the conversation with what to do about it.
pub(super) fn failure(error: &ClientError, target: &Target) -> Failure {
    let mut text = format!("{}: {error}", target.url);
    if let Some(hint) = error.hint(&target.url, target.is_local) {
        for line in hint.lines() {
            text.push_str("\n    ");
            text.push_str(line);
        }
    }
    Failure::Failed(text)
}

/// The user's side of a conversation.
pub(super) fn attendant(
    terminal: &Terminal,
    answers: Vec<(String, String)>,
    args: &ConnectArgs,
) -> Attendant {
    Attendant::new(*terminal, answers, args.verbose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_the_usual_path() {
        for (url, expected) in [
            ("http://a:1", "http://a:1/mcp"),
            ("http://a:1/", "http://a:1/mcp"),
            ("https://a/x", "https://a/x"),
            ("https://a/x/", "https://a/x/"),
            ("https://a?x", "https://a?x"),
        ] {
            assert_eq!(with_path(url, "/mcp"), expected);
        }
    }

    #[test]
    fn the_local_gateway_is_on_its_port() {
        let env: Env = [("PORT".to_owned(), "8080".to_owned())]
            .into_iter()
            .collect();
        let target = Target::of(None, &env);
        assert_eq!(
            (target.url.as_str(), target.is_local),
            ("http://127.0.0.1:8080/mcp", true)
        );
        let target = Target::of(None, &Env::default());
        assert_eq!(target.url, "http://127.0.0.1:4444/mcp");
        assert!(!Target::of(Some("http://a/x"), &env).is_local);
    }
}
