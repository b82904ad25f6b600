//! `ringway check`: everything that is wrong with the configuration, and what it comes to.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::Failure;
use super::args::ServeArgs;
use super::terminal::Terminal;
use crate::config::{self, Config, Env, Handler, McpServer, McpTarget, PathRule};

/// Exit code 0 if the server would start with every MCP server in it, 1 otherwise.
pub(super) fn run(args: &ServeArgs, terminal: &Terminal, env: &Env) -> Result<ExitCode, Failure> {
    let loaded = match config::load(&args.options(), env) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let count = lines.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            return Err(Failure::Failed(format!(
                "{}\n{count} {noun}",
                lines.join("\n")
            )));
        }
    };
    for warning in &loaded.warnings {
        terminal.warn(&warning.to_string());
    }
    let mut is_whole = true;
    for (name, reason) in &loaded.config.mcp.refused {
        is_whole = false;
        terminal.warn(&format!("server {name} cannot be used: {reason}"));
    }
    for server in &loaded.config.mcp.servers {
        if let Some(why) = missing_program(server, env) {
            is_whole = false;
            terminal.warn(&format!("server {} cannot be started: {why}", server.name));
        }
    }
    terminal.print(&summary(&loaded.config, &loaded.files));
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the configuration comes to, one fact a line.
fn summary(config: &Config, files: &[std::path::PathBuf]) -> String {
    let mut text = String::new();
    if files.is_empty() {
        text.push_str("no configuration file: defaults\n");
    }
    for file in files {
        let _ = writeln!(text, "read      {}", file.display());
    }
    for listener in &config.listeners {
        let scheme = listener.scheme();
        let _ = writeln!(text, "listen    {scheme}://{}", listener.address);
    }
    for route in &config.routes {
        let path = match &route.path {
            PathRule::Exact(path) => format!("={path}"),
            PathRule::Prefix(path) => path.clone(),
        };
        let handler = match &route.handler {
            Handler::Mcp => "MCP".to_owned(),
            Handler::McpSse => "MCP (2024-11-05)".to_owned(),
            Handler::Proxy(proxy) => match config.upstreams.get(proxy.upstream) {
                Some(upstream) => format!("upstream {}", upstream.name),
                None => "upstream".to_owned(),
            },
            Handler::Redirect(redirect) => format!("{} {}", redirect.status, redirect.to),
            Handler::Files(files) => files.root.display().to_string(),
            Handler::Builtin(page) => format!("{page:?}").to_ascii_lowercase(),
        };
        let _ = writeln!(text, "route     {path:<18} {handler}");
    }
    for server in &config.mcp.servers {
        let _ = writeln!(text, "server    {:<18} {}", server.name, server.shown);
    }
    if config.mcp.demo {
        let _ = writeln!(text, "server    {:<18} built in", "demo");
    }
    text
}

/// Why the program of a server would not be found, with what was searched.
fn missing_program(server: &McpServer, env: &Env) -> Option<String> {
    let McpTarget::Stdio {
        command,
        env: own_env,
        cwd,
        ..
    } = &server.target
    else {
        return None;
    };
    if command.contains('/') {
        let path = cwd.as_deref().unwrap_or(Path::new("")).join(command);
        return (!path.is_file()).then(|| format!("there is no file {}", path.display()));
    }
    let own_path = own_env.get("PATH").map(String::as_str);
    let path = own_path.or_else(|| env.get("PATH")).unwrap_or("");
    let is_there = std::env::split_paths(path).any(|folder| folder.join(command).is_file());
    (!is_there).then(|| format!("there is no `{command}` in PATH ({path})"))
}
