//! What of the configuration may be shown: in logs, in `Debug`, in `/api/v1/config`.
//!
//! Header values and environment values are never shown. URLs lose their credentials and the
//! values of their query, arguments that look like secrets are hidden.

use std::fmt;

use super::{Mcp, McpTarget};

/// What stands in place of a hidden value.
pub const HIDDEN: &str = "***";

/// Words in a name that make its value a secret.
const SECRET_WORDS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "apikey",
    "api-key",
    "api_key",
    "auth",
    "bearer",
    "credential",
    "private",
    "key",
];
/// A random token is at least this long; shorter words are shown.
const TOKEN_BYTES_MIN: usize = 20;

/// A URL without user name, password, query values and fragment.
#[must_use]
pub fn url(text: &str) -> String {
    let (scheme, rest) = text
        .split_once("://")
        .map_or(("", text), |(scheme, rest)| (scheme, rest));
    let rest = rest.split('#').next().unwrap_or(rest);
    let (place, query) = rest
        .split_once('?')
        .map_or((rest, None), |(place, query)| (place, Some(query)));
    let (authority, path) = match place.find('/') {
        Some(slash) => place.split_at(slash),
        None => (place, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let mut shown = String::new();
    if !scheme.is_empty() {
        shown.push_str(scheme);
        shown.push_str("://");
    }
    if host.len() < authority.len() {
        shown.push_str(HIDDEN);
        shown.push('@');
    }
    shown.push_str(host);
    shown.push_str(path);
    for (index, pair) in query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .enumerate()
    {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
            }
            None => shown.push_str(HIDDEN),
        }
    }
    shown
}

/// Arguments of a command, with those hidden that look like secrets.
#[must_use]
pub fn args(args: &[String]) -> Vec<String> {
    let mut after_secret_flag = false;
    args.iter()
        .map(|arg| {
            let hide = std::mem::take(&mut after_secret_flag) && !arg.starts_with('-');
            if hide {
                return HIDDEN.to_owned();
            }
            if let Some((name, value)) = arg.split_once('=') {
                return if is_secret_name(name) || is_token(value) {
                    format!("{name}={HIDDEN}")
                } else if value.contains("://") {
                    format!("{name}={}", url(value))
                } else {
                    arg.clone()
                };
            }
            if arg.starts_with('-') {
                after_secret_flag = is_secret_name(arg);
                return arg.clone();
            }
            if let Some((name, _)) = arg
                .split_once(':')
                .filter(|(_, value)| !value.starts_with("//") && !value.is_empty())
                && is_secret_name(name)
            {
                return format!("{name}:{HIDDEN}");
            }
            if arg.contains("://") {
                url(arg)
            } else if is_token(arg) {
                HIDDEN.to_owned()
            } else {
                arg.clone()
            }
        })
        .collect()
}

/// A target on one line.
#[must_use]
pub fn target(target: &McpTarget) -> String {
    match target {
        McpTarget::Stdio { command, args, .. } => command_line(command, args),
        McpTarget::Http { url, .. } => self::url(url),
    }
}

/// A command line with its secrets hidden.
#[must_use]
pub fn command_line(command: &str, args: &[String]) -> String {
    let mut line = command.to_owned();
    for arg in self::args(args) {
        line.push(' ');
        if arg.is_empty() || arg.contains([' ', '\t', '"']) {
            line.push_str(&format!("{arg:?}"));
        } else {
            line.push_str(&arg);
        }
    }
    line
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether it looks like a random token: long, one word, letters mixed with digits.
fn is_token(text: &str) -> bool {
    text.len() >= TOKEN_BYTES_MIN
        && !text.contains(['/', ' ', '@', ':'])
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .split(['-', '_', '.'])
            .any(|part| part.len() >= TOKEN_BYTES_MIN)
}

impl fmt::Debug for McpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { env, cwd, .. } => f
                .debug_struct("Stdio")
                .field("command", &target(self))
                .field("env", &env.keys().collect::<Vec<_>>())
                .field("cwd", cwd)
                .finish(),
            Self::Http { url, headers, sse } => f
                .debug_struct("Http")
                .field("url", &self::url(url))
                .field(
                    "headers",
                    &headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
                )
                .field("sse", sse)
                .finish(),
        }
    }
}

impl fmt::Debug for Mcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp")
            .field("namespace", &self.namespace)
            .field("servers", &self.servers)
            .field("refused", &self.refused)
            .field("demo", &self.demo)
            .field("allowed_origins", &self.allowed_origins)
            .field("secret", &self.secret.map(|_| HIDDEN))
            .field("heartbeat", &self.heartbeat)
            .field("max_streams", &self.max_streams)
            .field("max_message_size", &self.max_message_size)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_credentials_and_query_values() {
        assert_eq!(
            url("https://joe:pw@example.com/mcp?api_key=abc&x=1&flag#frag"),
            "https://***@example.com/mcp?api_key=***&x=***&***"
        );
        assert_eq!(
            url("http://127.0.0.1:4444/mcp"),
            "http://127.0.0.1:4444/mcp"
        );
    }

    #[test]
    fn arguments_lose_what_looks_secret() {
        let given = [
            "-y",
            "@upstash/context7-mcp",
            "--api-key",
            "hunter2",
            "--token=abc",
            "Authorization: Bearer abc",
            "ghp_0123456789abcdefghij0123456789",
            "/home/me/2024-notes",
            "https://u:p@example.com/x",
            "--port",
            "8080",
        ]
        .map(str::to_owned);
        assert_eq!(
            args(&given),
            [
                "-y",
                "@upstash/context7-mcp",
                "--api-key",
                "***",
                "--token=***",
                "Authorization:***",
                "***",
                "/home/me/2024-notes",
                "https://***@example.com/x",
                "--port",
                "8080",
            ]
        );
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let stdio = McpTarget::Stdio {
            command: "npx".to_owned(),
            args: vec!["--token".to_owned(), "s3cret".to_owned()],
            env: [("API_KEY".to_owned(), "s3cret".to_owned())].into(),
            cwd: None,
        };
        let http = McpTarget::Http {
            url: "https://s3cret@example.com/?k=s3cret".to_owned(),
            headers: vec![("Authorization".to_owned(), "Bearer s3cret".to_owned())],
            sse: false,
        };
        let mcp = Mcp {
            servers: vec![
                super::super::McpServer::new("a", stdio),
                super::super::McpServer::new("b", http),
            ],
            secret: Some([0x5a; 32]),
            ..Mcp::default()
        };
        let shown = format!("{mcp:?} {mcp:#?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(!shown.contains("90, 90"), "{shown}");
        assert!(
            shown.contains("API_KEY") && shown.contains("Authorization"),
            "{shown}"
        );
    }
}
