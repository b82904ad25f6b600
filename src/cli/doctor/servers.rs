//! The MCP servers: is the program there, does it answer, in which era, with how many tools.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::report::{Report, ServerReport};
use super::stdio;
use crate::base::clock;
use crate::cli::client::{Attendant, EraChoice, Session, Settings};
use crate::cli::terminal::Terminal;
use crate::cli::tools::Tool;
use crate::config::{Config, Env, McpServer, McpTarget};
use crate::http::endpoint::Endpoint;
use crate::mcp::revision::{Era, Revision};

/// Beyond this a model's context fills up with descriptions of tools.
const TOKENS_MANY: usize = 20_000;
/// Servers that are asked at once.
const AT_ONCE: usize = 8;
/// What a server may take beyond the time for one answer: a start, a handshake, a list.
const ANSWERS: u32 = 3;

/// What a server said.
pub(super) struct Heard {
    pub(super) revision: Revision,
    pub(super) tools: Vec<Tool>,
}

pub(super) fn examine(
    config: &Config,
    env: &Env,
    (timeout, no_start): (Duration, bool),
    report: &mut Report,
) {
    for (name, reason) in &config.mcp.refused {
        let advice = "correct its entry; the gateway starts without this server";
        report.problem("mcp", format!("{name}: {reason}"), advice);
    }
    let servers = &config.mcp.servers;
    if servers.is_empty() {
        let demo = if config.mcp.demo {
            ", the demo alone"
        } else {
            ""
        };
        report.ok("mcp", format!("no servers are configured{demo}"));
    }
    for some in servers.chunks(AT_ONCE) {
        let asked: Vec<_> = some
            .iter()
            .map(|server| begin(server, env, timeout, no_start))
            .collect();
        let until = clock::mono() + timeout * ANSWERS;
        for (server, begun) in some.iter().zip(asked) {
            finish(server, begun, until, report);
        }
    }
}

/// A server that is being asked.
enum Begun {
    /// Its program is missing; where it was looked for.
    Missing(Vec<String>),
    /// It is not started, because the user said so.
    Left(String),
    /// Its thread answers here.
    Asked(
        Option<String>,
        mpsc::Receiver<(Result<Heard, String>, Duration)>,
    ),
}

fn begin(server: &McpServer, env: &Env, timeout: Duration, no_start: bool) -> Begun {
    let program = match &server.target {
        McpTarget::Http { .. } => None,
        McpTarget::Stdio { .. } => match find(server, env) {
            Err(searched) => return Begun::Missing(searched),
            Ok(path) if no_start => return Begun::Left(path),
            Ok(path) => Some(path),
        },
    };
    let (answer, answered) = mpsc::channel();
    let server = server.clone();
    // Left behind if it takes too long; the program ends soon after.
    let started = thread::Builder::new().spawn(move || {
        let began = clock::mono();
        let heard = match &server.target {
            McpTarget::Http { url, headers, .. } => over_http(url, headers, server.era, timeout),
            McpTarget::Stdio { .. } => stdio::ask(&server, timeout),
        };
        let _ = answer.send((heard, clock::mono().duration_since(began)));
    });
    drop(started);
    Begun::Asked(program, answered)
}

fn finish(server: &McpServer, begun: Begun, until: Instant, report: &mut Report) {
    let mut line = ServerReport {
        name: server.name.to_string(),
        transport: match &server.target {
            McpTarget::Stdio { .. } => "stdio",
            McpTarget::Http { sse: true, .. } => "sse",
            McpTarget::Http { .. } => "http",
        },
        target: server.shown.clone(),
        ..ServerReport::default()
    };
    let name = &server.name;
    match begun {
        Begun::Missing(searched) => {
            let McpTarget::Stdio { command, .. } = &server.target else {
                return;
            };
            report.problem(
                "mcp",
                format!(
                    "{name}: there is no `{command}`; looked at {}",
                    searched.join(", ")
                ),
                "install it, give its full path, or set PATH for the gateway's service",
            );
            line.searched = searched;
            line.reachable = Some(false);
        }
        Begun::Left(path) => {
            report.ok("mcp", format!("{name}: {path} is there; not started"));
            line.program = Some(path);
        }
        Begun::Asked(program, answered) => {
            line.program = program;
            let left = until.saturating_duration_since(clock::mono());
            let heard = answered
                .recv_timeout(left)
                .unwrap_or_else(|_| (Err("no answer in time (--timeout)".to_owned()), left));
            tell(&mut line, heard, report);
        }
    }
    report.servers.push(line);
}

fn tell(
    line: &mut ServerReport,
    (heard, took): (Result<Heard, String>, Duration),
    report: &mut Report,
) {
    let name = line.name.clone();
    let heard = match heard {
        Ok(heard) => heard,
        Err(why) => {
            line.reachable = Some(false);
            let advice = match line.transport {
                "stdio" => "run its command by hand: what it writes to standard error says more",
                _ => "is it running, is the URL right, does it want a header (a token)?",
            };
            return report.problem("mcp", format!("{name}: {why}"), advice);
        }
    };
    let tokens: usize = heard.tools.iter().map(Tool::token_count).sum();
    let era = match heard.revision.era() {
        Era::Modern => "modern",
        Era::Legacy => "legacy",
    };
    let what = format!(
        "{name}: {} ({era}), {} tools, about {tokens} tokens, {} ms",
        heard.revision.as_str(),
        heard.tools.len(),
        took.as_millis()
    );
    if tokens > TOKENS_MANY {
        let advice = "offer fewer: tools = { allow = [\"…\"] } of the server".to_owned();
        report.note("mcp", what, Some(advice));
    } else {
        report.ok("mcp", what);
    }
    line.reachable = Some(true);
    line.era = Some(era);
    line.revision = Some(heard.revision.as_str().to_owned());
    line.tools = Some(heard.tools.len());
    line.tokens = Some(tokens);
    line.millis = u64::try_from(took.as_millis()).ok();
}

/// Where a server's program is, or every place that was looked at.
pub(super) fn find(server: &McpServer, env: &Env) -> Result<String, Vec<String>> {
    let McpTarget::Stdio {
        command,
        env: own_env,
        cwd,
        ..
    } = &server.target
    else {
        return Err(Vec::new());
    };
    let places: Vec<PathBuf> = if command.contains('/') {
        vec![cwd.as_deref().unwrap_or(Path::new("")).join(command)]
    } else {
        let own = own_env.get("PATH").map(String::as_str);
        let path = own.or_else(|| env.get("PATH")).unwrap_or("");
        let mut places: Vec<PathBuf> = Vec::new();
        // An empty entry is the working directory; an empty PATH is none.
        for folder in std::env::split_paths(path).filter(|_| !path.is_empty()) {
            let place = folder.join(command);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    };
    let shown = |path: &PathBuf| path.display().to_string();
    match places.iter().find(|path| path.is_file()) {
        Some(path) => Ok(shown(path)),
        None if places.is_empty() => Err(vec!["an empty PATH".to_owned()]),
        None => Err(places.iter().map(shown).collect()),
    }
}

fn over_http(
    url: &str,
    headers: &[(String, String)],
    era: Option<Era>,
    timeout: Duration,
) -> Result<Heard, String> {
    let settings = Settings {
        endpoint: Endpoint::parse(url).map_err(|error| error.to_string())?,
        headers: headers.to_vec(),
        era: era.map_or(EraChoice::Auto, EraChoice::Only),
        timeout,
    };
    let mut attendant = Attendant::new(Terminal::default(), Vec::new(), false);
    let told = |error: crate::cli::client::ClientError| error.to_string();
    let mut session = Session::open(&settings, &mut attendant).map_err(told)?;
    let items = session
        .list("tools/list", "tools", &mut attendant)
        .map_err(told)?;
    let revision = Revision::parse(session.revision()).unwrap_or(Revision::LATEST);
    session.close();
    Ok(Heard {
        revision,
        tools: Tool::of_list(items),
    })
}
