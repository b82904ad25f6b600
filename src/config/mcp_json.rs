//! The files in which MCP clients keep their servers, in every shape we know of.
//!
//! | shape | program |
//! |---|---|
//! | `{"mcpServers": {…}}` | Claude, Cursor, Cline, Roo, Windsurf, Gemini CLI, Copilot CLI |
//! | `{"servers": {…}, "inputs": […]}`, also below `mcp` | VS Code |
//! | `{"context_servers": {…}}` | Zed |
//! | `{"mcp": {…}}` | opencode |
//! | `[mcp_servers.NAME]` in TOML | Codex |
//! | `{"NAME": {…}}` | FastMCP |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::expand::ClientScope;
use super::node::{Entry, Node, Table, Value, parse_jsonc, parse_toml};
use super::problem::{At, Problem};
use crate::base::nearest::nearest;

/// Keys under which servers stand, the usual ones first.
const KEYS: &[&str] = &[
    "mcpServers",
    "servers",
    "context_servers",
    "mcp_servers",
    "mcp",
];

/// Fields by which an entry of a bare map is known to be a server.
const MARKS: &[&str] = &["command", "cmd", "url", "httpUrl", "serverUrl"];

/// The servers of one file, in its order.
#[derive(Debug)]
pub(super) struct ServersFile {
    /// Key of the table each stands in, and the entry.
    pub(super) entries: Vec<(String, Entry)>,
    /// What the forms of that client stand for.
    pub(super) scope: ClientScope,
    /// Where relative paths of its servers begin.
    pub(super) folder: PathBuf,
}

/// Reads a file. TOML if its name ends so, else JSON with comments.
pub(super) fn parse(path: &Path, text: &str, errors: &mut Vec<Problem>) -> Option<ServersFile> {
    let start = At::file(&path.display().to_string(), text);
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    let root = if is_toml {
        let known = errors.len();
        let table = parse_toml(&start, text, errors);
        if errors.len() > known {
            return None;
        }
        table
    } else {
        match parse_jsonc(&start, text).map(|node| (node.at.clone(), node.value)) {
            Ok((_, Value::Table(table))) => table,
            Ok((at, _)) => {
                let problem = Problem::new(&at, "", "the file must hold an object");
                errors.push(problem.hint(EXPECTED));
                return None;
            }
            Err(problem) => {
                errors.push(problem);
                return None;
            }
        }
    };
    let entries = find(&root);
    if entries.is_empty() && !has_servers_key(&root) {
        errors.push(no_servers(&start, &root));
        return None;
    }
    let workspace = workspace(path);
    Some(ServersFile {
        entries,
        scope: ClientScope {
            inputs: inputs(&root),
            workspace: workspace.clone(),
        },
        folder: workspace,
    })
}

const EXPECTED: &str = "expected {\"mcpServers\": {\"NAME\": {\"command\": …}}} or one of the \
                        shapes of other MCP clients";

/// Every server of the file, whichever keys they stand under.
fn find(root: &Table) -> Vec<(String, Entry)> {
    let mut entries = Vec::new();
    for key in KEYS {
        let Some(table) = root.get(key).and_then(Node::as_table) else {
            continue;
        };
        // `mcp` of VS Code's settings holds `servers`; that of opencode holds the servers.
        let inner = ["servers", "mcpServers"].into_iter().find_map(|name| {
            let inner = table.get(name)?.as_table()?;
            (*key == "mcp" && !is_server(inner)).then(|| (format!("mcp.{name}"), inner))
        });
        let (path, table) = inner.unwrap_or_else(|| ((*key).to_owned(), table));
        let named = table.entries.iter().filter(|entry| !is_comment(&entry.key));
        entries.extend(named.map(|entry| (path.clone(), entry.clone())));
    }
    if entries.is_empty() && !has_servers_key(root) {
        let servers = root.entries.iter();
        let servers = servers.filter(|entry| entry.node.as_table().is_some_and(is_server));
        entries.extend(servers.map(|entry| (String::new(), entry.clone())));
    }
    entries
}

fn has_servers_key(root: &Table) -> bool {
    KEYS.iter()
        .any(|key| root.get(key).is_some_and(|node| node.as_table().is_some()))
}

fn is_server(table: &Table) -> bool {
    MARKS.iter().any(|mark| table.get(mark).is_some())
}

/// `"//": "…"` and the like are how people comment in JSON.
fn is_comment(key: &str) -> bool {
    key.starts_with("//") || key.starts_with('#') || key.starts_with('$')
}

fn no_servers(start: &At, root: &Table) -> Problem {
    let near = root
        .entries
        .iter()
        .find_map(|entry| Some((entry, nearest(&entry.key, KEYS.iter().copied())?)));
    match near {
        Some((entry, name)) => {
            let message = if entry.key == name {
                "must be an object of servers by name"
            } else {
                "unknown key, and the file holds no servers"
            };
            let problem = Problem::new(&entry.at, &entry.key, message);
            if entry.key == name {
                problem
            } else {
                problem.hint(format!("did you mean `{name}`?"))
            }
        }
        None => Problem::new(start, "", "the file holds no MCP servers").hint(EXPECTED),
    }
}

/// `inputs` of VS Code: id to description.
fn inputs(root: &Table) -> BTreeMap<String, String> {
    let below = root.get("mcp").and_then(Node::as_table);
    let list = root.get("inputs").or_else(|| below?.get("inputs"));
    let Some(Value::List(inputs)) = list.map(|node| &node.value) else {
        return BTreeMap::new();
    };
    let text = |table: &Table, key| {
        let text = table.get(key).and_then(Node::as_text);
        text.map(|text| text.written.clone())
    };
    inputs
        .iter()
        .filter_map(Node::as_table)
        .filter_map(|table| {
            let about = text(table, "description").unwrap_or_default();
            Some((text(table, "id")?, about))
        })
        .collect()
}

/// The folder that the client would have open: the parent of `.vscode` and the like, else the
/// file's own. Absolute, because children may start elsewhere.
fn workspace(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    let is_hidden = folder
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    match folder.parent() {
        Some(parent) if is_hidden => parent.to_owned(),
        _ => folder.to_owned(),
    }
}
