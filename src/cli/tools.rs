//! `ringway tools`: what a server offers, what each tool takes, and what it costs a model to be
//! told of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use bytes::Bytes;
use sonic_rs::{JsonValueTrait as _, Value};

use super::Failure;
use super::args::ToolsArgs;
use super::client::{Session, plain};
use super::connect::{Target, attendant, failure, open};
use super::schema::Field;
use super::terminal::{Terminal, wrap};
use crate::base::nearest::nearest;
use crate::config::Env;

/// English and JSON come to about four bytes a token with the usual tokenizers.
const BYTES_PER_TOKEN: usize = 4;

/// A tool as the server described it.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) raw: Bytes,
    pub(super) value: Value,
}

impl Tool {
    /// Reads the tools of a list; those that are none are left out.
    pub(super) fn of_list(items: Vec<Bytes>) -> Vec<Self> {
        items
            .into_iter()
            .filter_map(|raw| {
                let value = sonic_rs::from_slice::<Value>(&raw).ok()?;
                let name = value.get("name")?.as_str()?.to_owned();
                Some(Self { name, raw, value })
            })
            .collect()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key)?.as_str()
    }

    /// What a model is told of the tool, in tokens, roughly.
    pub(super) fn token_count(&self) -> usize {
        let schema = sonic_rs::get_from_slice(&self.raw, ["inputSchema"]);
        let schema_bytes = schema.map_or(0, |schema| compact_len(schema.as_raw_str()));
        let description = self.text("description").unwrap_or_default();
        (self.name.len() + description.len() + schema_bytes).div_ceil(BYTES_PER_TOKEN)
    }
}

/// Length of a JSON text without the white space between its parts.
fn compact_len(json: &str) -> usize {
    let mut is_string = false;
    let mut is_escaped = false;
    let mut count = 0;
    for byte in json.bytes() {
        count += usize::from(is_string || !byte.is_ascii_whitespace());
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            _ => {}
        }
    }
    count
}

pub(super) fn run(args: &ToolsArgs, terminal: &Terminal, env: &Env) -> Result<ExitCode, Failure> {
    let target = Target::of(args.url.as_deref(), env);
    let mut attendant = attendant(terminal, Vec::new(), &args.connect);
    let mut session = open(&target, &args.connect, &mut attendant)?;
    let items = session
        .list("tools/list", "tools", &mut attendant)
        .map_err(|error| failure(&error, &target))?;
    let mut tools = Tool::of_list(items);
    if let Some(name) = &args.tool {
        if !tools.iter().any(|tool| tool.name == *name) {
            return Err(unknown_tool(name, &tools));
        }
        tools.retain(|tool| tool.name == *name);
    }
    if args.connect.json {
        terminal.print(&json(&tools));
    } else {
        terminal.print(&table(&tools, &target, &session, terminal));
    }
    session.close();
    Ok(ExitCode::SUCCESS)
}

/// Names the tools that were probably meant.
pub(super) fn unknown_tool(name: &str, tools: &[Tool]) -> Failure {
    let names = || tools.iter().map(|tool| tool.name.as_str());
    let mut text = format!("there is no tool `{}`", plain(name));
    match nearest(name, names()) {
        Some(near) => {
            let _ = write!(text, "\n    did you mean `{}`?", plain(near));
        }
        None if tools.is_empty() => text.push_str("\n    the server has no tools"),
        None => {
            let known: Vec<&str> = names().take(20).collect();
            let dots = if tools.len() > known.len() {
                ", …"
            } else {
                ""
            };
            let _ = write!(text, "\n    there are: {}{dots}", plain(&known.join(", ")));
        }
    }
    Failure::Failed(text)
}

/// The server's own JSON of each tool.
fn json(tools: &[Tool]) -> String {
    let raw: Vec<&str> = tools
        .iter()
        .filter_map(|tool| str::from_utf8(&tool.raw).ok())
        .collect();
    format!("{{\"tools\":[{}]}}\n", raw.join(","))
}

fn table(tools: &[Tool], target: &Target, session: &Session, terminal: &Terminal) -> String {
    let mut text = String::new();
    let noun = if tools.len() == 1 { "tool" } else { "tools" };
    let server = if session.server.is_empty() {
        String::new()
    } else {
        format!(", {}", plain(&session.server))
    };
    let _ = writeln!(
        text,
        "{} {noun} at {} (MCP {}{server})",
        tools.len(),
        target.url,
        session.revision(),
    );
    for tool in tools {
        text.push('\n');
        write_tool(tool, terminal, &mut text);
    }
    if tools.len() > 1 {
        let total: usize = tools.iter().map(Tool::token_count).sum();
        let _ = writeln!(text, "\nall together about {total} tokens");
    }
    text
}

fn write_tool(tool: &Tool, terminal: &Terminal, text: &mut String) {
    let cost = format!("~{} tokens", tool.token_count());
    let name = plain(&tool.name);
    let gap = terminal
        .columns
        .saturating_sub(name.chars().count() + cost.len())
        .max(2);
    let _ = writeln!(
        text,
        "{}{}{}",
        terminal.bold(&name),
        " ".repeat(gap),
        terminal.dim(&cost)
    );
    let annotated = tool.value.get("annotations");
    let title = tool
        .text("title")
        .or_else(|| annotated?.get("title")?.as_str());
    let width = terminal.columns.saturating_sub(2);
    for about in [title, tool.text("description")].into_iter().flatten() {
        for line in wrap(plain(about).trim(), width) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let fields = tool
        .value
        .get("inputSchema")
        .map(Field::of_object)
        .unwrap_or_default();
    let mark = |field: &Field| if field.is_required { "*" } else { "" };
    let name_width = fields
        .iter()
        .map(|field| field.name.chars().count() + mark(field).len())
        .max()
        .unwrap_or(0)
        .min(28);
    for field in &fields {
        let name = format!("{}{}", plain(&field.name), mark(field));
        let mut about = plain(&field.kind());
        if let Some(default) = field.schema.get("default") {
            let default = sonic_rs::to_string(default).unwrap_or_default();
            about.push_str(&format!(", default {}", plain(&default)));
        }
        if let Some(description) = &field.description {
            about.push_str(": ");
            about.push_str(&plain(description));
        }
        let indent = 4 + name_width + 2;
        let mut lines = wrap(&about, terminal.columns.saturating_sub(indent).max(20)).into_iter();
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "    {name:<name_width$}  {first}");
        for line in lines {
            let _ = writeln!(text, "{}{line}", " ".repeat(indent));
        }
    }
}
