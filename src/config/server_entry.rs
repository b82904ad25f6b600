//! One MCP server of a configuration file, ours or an MCP client's, resolved. A server that
//! cannot be used is refused by name with its reason and never takes the others with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::expand::{Scope, home};
use super::loops;
use super::node::{Entry, Node, Table, join};
use super::problem::{At, Findings, Problem};
use super::read::{Map, Placed, Read, table};
use super::sections::mcp_server::RawEntry;
use super::synonyms::normalize;
use super::{Isolate, McpServer, McpTarget, McpTimeouts, ToolFilter, dotenv, redact};
use crate::http::endpoint::{Endpoint, UrlError};

/// The servers of a file, by name, not yet read: each is read by itself.
#[derive(Debug, Default)]
pub(super) struct Entries(pub(super) Vec<Entry>);

impl Read for Entries {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        table(node, key, found).map(|table| Self(table.entries))
    }
}

impl JsonSchema for Entries {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Entries".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Map::<RawEntry>::json_schema(generator)
    }
}

/// Where a server's entry stands and what holds there.
pub(super) struct Origin<'a> {
    /// Our own file: unknown keys and wrong types are errors. In files of MCP clients they are
    /// warnings and refusals.
    pub(super) is_ours: bool,
    /// What `${VAR}` may stand for.
    pub(super) scope: Scope<'a>,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
    /// Our own addresses, to find servers that are ourselves.
    pub(super) listeners: &'a [SocketAddr],
    /// Reads a file; handed in so that this module touches none.
    pub(super) read_file: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    Server(Box<McpServer>),
    Disabled,
    /// Cannot be used, and why.
    Refused(String),
}

/// Reads the entry of the server `name`, which stands below `path`.
pub(super) fn read(
    name: &str,
    entry: &Entry,
    path: &str,
    origin: &Origin<'_>,
    found: &mut Findings,
) -> Outcome {
    let path = join(path, &entry.key);
    let mut own = Findings::default();
    let outcome = match table(&entry.node, &path, &mut own) {
        Some(table) => read_table(name, &table, &entry.at, &path, origin, &mut own),
        None => None,
    };
    if origin.is_ours {
        found.unknown.append(&mut own.unknown);
    } else {
        found.excuse(own.unknown);
    }
    found.warnings.append(&mut own.warnings);
    match outcome {
        Some(Outcome::Disabled) => Outcome::Disabled,
        Some(outcome) if own.errors.is_empty() => outcome,
        _ => {
            let reasons: Vec<String> = own.errors.iter().map(reason).collect();
            Outcome::Refused(reasons.join("; "))
        }
    }
}

/// A problem on one line, with its place.
fn reason(problem: &Problem) -> String {
    format!("{} at {}", problem.reason(), problem.place)
}

fn read_table(
    name: &str,
    table: &Table,
    at: &At,
    path: &str,
    origin: &Origin<'_>,
    found: &mut Findings,
) -> Option<Outcome> {
    let mut table = normalize(table, path, found);
    if table
        .get("disabled")
        .is_some_and(|node| bool::read(node, path, found) == Some(true))
    {
        return Some(Outcome::Disabled);
    }
    for field in &mut table.entries {
        let key = join(path, &field.key);
        field.node.expand(&key, &origin.scope, &mut found.errors);
    }
    if !found.errors.is_empty() {
        return None;
    }
    let shown = shown(&table);
    let mut typed = Findings::default();
    let raw = RawEntry::read_table(&table, path, &mut typed);
    found.unknown.append(&mut typed.unknown);
    if origin.is_ours {
        // Slips of the pen in our own file: as bad as an unknown key.
        found.unknown.append(&mut typed.errors);
    }
    found.errors.append(&mut typed.errors);
    let target = target(&raw, &table, at, path, origin, found)?;
    if let Some(why) = loops::find(&target, origin.listeners) {
        found.errors.push(Problem::new(at, path, why));
        return None;
    }
    let mut server = McpServer::new(name, target);
    server.shown = shown;
    apply(raw, &mut server);
    Some(Outcome::Server(Box::new(server)))
}

/// The settings besides the target.
fn apply(raw: RawEntry, server: &mut McpServer) {
    let McpTimeouts {
        connect,
        first_byte,
        idle,
        total,
    } = server.timeouts;
    let silence = raw.timeout.map(|period| period.0);
    server.timeouts = McpTimeouts {
        connect: raw.connect_timeout.map_or(connect, |period| period.0),
        first_byte: raw
            .first_byte_timeout
            .map_or(silence.unwrap_or(first_byte), |period| period.0),
        idle: raw
            .idle_timeout
            .map_or(silence.unwrap_or(idle), |period| period.0),
        total: raw
            .total_timeout
            .map_or(total.max(silence.unwrap_or(total)), |period| period.0),
    };
    let tools = raw.tools.unwrap_or_default();
    server.tools = ToolFilter {
        allow: tools.allow.unwrap_or_default(),
        deny: tools.deny.unwrap_or_default(),
    };
    server.era = raw.era.and_then(|word| word.0);
    server.isolate = raw.isolate.map_or(Isolate::Auto, |word| word.0);
    server.eager = raw.eager.unwrap_or(true);
    if let Some(count) = raw.max_in_flight {
        server.max_in_flight = usize::try_from(count.0).unwrap_or(usize::MAX);
    }
}

/// How the server is to be reached, by what is there and what `type` says.
fn target(
    raw: &RawEntry,
    table: &Table,
    at: &At,
    path: &str,
    origin: &Origin<'_>,
    found: &mut Findings,
) -> Option<McpTarget> {
    let kind = kind(raw, path, found)?;
    match (&raw.command, &raw.url, kind) {
        (_, Some(url), Kind::Any | Kind::Http | Kind::Sse) => http(raw, url, kind, path, found),
        (Some(command), _, Kind::Any | Kind::Stdio) => stdio(raw, command, path, origin, found),
        (None, _, Kind::Stdio) => {
            let problem = Problem::new(at, path, "its type is stdio, but it has no `command`");
            found.errors.push(problem);
            None
        }
        (_, None, Kind::Http | Kind::Sse) => {
            let problem = Problem::new(at, path, "its type is http, but it has no `url`");
            found.errors.push(problem);
            None
        }
        (None, None, Kind::Any) => {
            let missing = table.get("command").or(table.get("url")).is_none();
            // A value of the wrong type has been told already.
            if missing {
                let problem = Problem::new(at, path, "it has neither `command` nor `url`");
                found.errors.push(problem);
            }
            None
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Stdio,
    Http,
    Sse,
}

fn kind(raw: &RawEntry, path: &str, found: &mut Findings) -> Option<Kind> {
    let Some(word) = &raw.transport else {
        return Some(Kind::Any);
    };
    let folded: String = word
        .value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    let problem = |message: String, hint: &str| {
        Problem::new(&word.at, &join(path, "type"), message).hint(hint)
    };
    match folded.as_str() {
        // `builtin`, `custom` and the like say where a client found it, not how to reach it.
        "" | "auto" | "custom" | "remote" => Some(Kind::Any),
        "stdio" | "local" | "process" | "command" => Some(Kind::Stdio),
        "http" | "https" | "streamablehttp" | "streamable" | "httpstream" | "httpstreaming" => {
            Some(Kind::Http)
        }
        "sse" | "httpsse" => Some(Kind::Sse),
        "ws" | "wss" | "websocket" => {
            let message = "WebSocket is no transport of MCP, so Ringway does not speak it";
            let hint = "use the server's http or stdio transport";
            found.errors.push(problem(message.to_owned(), hint));
            None
        }
        _ => {
            let message = format!("\"{}\" is no transport", word.value.escape_debug());
            let hint = "known are stdio, http (Streamable HTTP) and sse";
            found.errors.push(problem(message, hint));
            None
        }
    }
}

fn http(
    raw: &RawEntry,
    url: &Placed<String>,
    kind: Kind,
    path: &str,
    found: &mut Findings,
) -> Option<McpTarget> {
    let text = url.value.trim();
    let (text, credentials) = loops::split_credentials(text);
    let endpoint = match Endpoint::parse(&text) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let problem = Problem::new(&url.at, &join(path, "url"), error.to_string());
            found.errors.push(match error {
                UrlError::Scheme if text.starts_with("ws") => {
                    problem.hint("WebSocket is no transport of MCP; use the server's http URL")
                }
                UrlError::Scheme => problem.hint("for example \"https://example.com/mcp\""),
                _ => problem,
            });
            return None;
        }
    };
    let mut headers = Vec::new();
    for (name, value) in raw.headers.iter().flat_map(|headers| &headers.0) {
        match check_header(&name.value, &value.0) {
            Ok(()) => headers.push((name.value.clone(), value.0.clone())),
            Err(why) => {
                let key = join(&join(path, "headers"), &name.value);
                found.errors.push(Problem::new(&name.at, &key, why));
            }
        }
    }
    let has_auth = |name: &str| name.eq_ignore_ascii_case("authorization");
    if let Some(basic) = credentials.filter(|_| !headers.iter().any(|(name, _)| has_auth(name))) {
        headers.push(("Authorization".to_owned(), basic));
    }
    // FastMCP's rule: a path that ends in /sse is the older transport.
    let target = endpoint.target.split('?').next().unwrap_or_default();
    let is_sse_path = target.trim_end_matches('/').ends_with("/sse");
    Some(McpTarget::Http {
        url: text,
        headers,
        sse: kind == Kind::Sse || (kind == Kind::Any && is_sse_path),
    })
}

/// Whether a header may be sent (RFC 9110 §5.1, §5.5). The reason holds no value.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), &'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("not a header name");
    }
    let is_framing = ["content-length", "transfer-encoding", "connection", "host"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own));
    if is_framing {
        return Err("Ringway sets this header itself");
    }
    let is_text = |byte: u8| byte >= b' ' && byte != 0x7f || byte == b'\t';
    if !value.bytes().all(is_text) {
        return Err("the value holds a line break or another control character");
    }
    Ok(())
}

fn stdio(
    raw: &RawEntry,
    command: &Placed<String>,
    path: &str,
    origin: &Origin<'_>,
    found: &mut Findings,
) -> Option<McpTarget> {
    let args = raw.args.iter().flatten().map(|arg| arg.0.clone());
    let (command_text, args) = unwrap_cmd(command.value.trim(), args.collect());
    if command_text.is_empty() {
        let key = join(path, "command");
        found
            .errors
            .push(Problem::new(&command.at, &key, "the command is empty"));
        return None;
    }
    let home = |text: &str| home(text, origin.scope.env);
    Some(McpTarget::Stdio {
        command: home(&command_text),
        args,
        env: variables(raw, path, origin, found)?,
        cwd: raw
            .cwd
            .as_ref()
            .filter(|cwd| !cwd.is_empty())
            .map(|cwd| origin.folder.join(home(cwd))),
    })
}

/// Variables of the child: those of `envFile`, then those of `env`.
fn variables(
    raw: &RawEntry,
    path: &str,
    origin: &Origin<'_>,
    found: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    if let Some(file) = &raw.env_file {
        let full: PathBuf = origin.folder.join(home(&file.value, origin.scope.env));
        let read = (origin.read_file)(&full).map_err(|error| error.to_string());
        match read.and_then(|text| dotenv::parse(&text)) {
            Ok(pairs) => variables.extend(pairs),
            Err(why) => {
                let message = format!("cannot read {}: {why}", full.display());
                found
                    .errors
                    .push(Problem::new(&file.at, &join(path, "env_file"), message));
                return None;
            }
        }
    }
    for (name, value) in raw.env.iter().flat_map(|env| &env.0) {
        if name.value.is_empty() || name.value.contains(['=', '\0']) || value.0.contains('\0') {
            let key = join(&join(path, "env"), &name.value);
            found
                .errors
                .push(Problem::new(&name.at, &key, "not a variable"));
            return None;
        }
        variables.insert(name.value.clone(), value.0.clone());
    }
    Some(variables)
}

/// `cmd /c npx …` of Windows, as on other systems: `npx …`.
fn unwrap_cmd(command: &str, mut args: Vec<String>) -> (String, Vec<String>) {
    let program = command.rsplit(['/', '\\']).next().unwrap_or(command);
    let is_cmd = ["cmd", "cmd.exe"]
        .iter()
        .any(|cmd| program.eq_ignore_ascii_case(cmd));
    let switches = args
        .iter()
        .take_while(|arg| matches!(arg.to_ascii_lowercase().as_str(), "/c" | "/s" | "/d" | "/k"))
        .count();
    if cfg!(windows) || !is_cmd || switches == 0 || switches >= args.len() {
        return (command.to_owned(), args);
    }
    args.drain(..switches);
    let inner = args.remove(0);
    let inner = inner.strip_suffix(".cmd").unwrap_or(&inner).to_owned();
    (inner, args)
}

/// The command line or URL as the file says it, with `${VAR}` still in it.
fn shown(table: &Table) -> String {
    let written = |node: &Node| match node.as_text() {
        Some(text) => text.written.clone(),
        None => node.shown(),
    };
    if let Some(url) = table.get("url") {
        return redact::url(&written(url));
    }
    let command = table.get("command").map(written).unwrap_or_default();
    let args = match table.get("args").map(|node| &node.value) {
        Some(super::node::Value::List(args)) => args.iter().map(written).collect(),
        _ => Vec::new(),
    };
    redact::command_line(&command, &args)
}
