//! The servers of all files in one list with unique names.
//!
//! Names: characters other than letters, digits, `_` and `-` become `-`, because a name becomes
//! part of URLs and tool names. Clashes: the same server under the same name counts once; another
//! one becomes `name-2`, `name-3` …, in the order ringway.toml, `servers_file`, `--mcp` files.

use std::net::SocketAddr;
use std::path::Path;

use super::expand::{Env, Scope};
use super::mcp_json::ServersFile;
use super::node::Entry;
use super::problem::{Findings, Problem};
use super::server_entry::{Origin, Outcome, read};
use super::{Mcp, McpServer};

/// A name has to leave room for the tool's name within 64 characters.
const NAME_BYTES_MAX: usize = 48;
/// More servers than anyone has; ids of servers are 16 bits.
const SERVERS_MAX: usize = 4096;

/// What holds for all files.
pub(super) struct Gatherer<'a> {
    pub(super) env: &'a Env,
    pub(super) listeners: &'a [SocketAddr],
    pub(super) read_file: &'a dyn Fn(&Path) -> std::io::Result<String>,
    /// How many entries there were, disabled and refused ones too.
    pub(super) seen: usize,
}

impl Gatherer<'_> {
    /// `[mcp.servers]` of our own file, which lies in `folder`.
    pub(super) fn own(
        &mut self,
        entries: &[Entry],
        folder: &Path,
        mcp: &mut Mcp,
        found: &mut Findings,
    ) {
        let origin = Origin {
            is_ours: true,
            scope: Scope {
                env: self.env,
                client: None,
            },
            folder,
            listeners: self.listeners,
            read_file: self.read_file,
        };
        for entry in entries {
            self.seen += 1;
            add(entry, "mcp.servers", &origin, mcp, found);
        }
    }

    /// The file of an MCP client.
    pub(super) fn file(&mut self, file: &ServersFile, mcp: &mut Mcp, found: &mut Findings) {
        let origin = Origin {
            is_ours: false,
            scope: Scope {
                env: self.env,
                client: Some(file.scope.clone()),
            },
            folder: &file.folder,
            listeners: self.listeners,
            read_file: self.read_file,
        };
        for (path, entry) in &file.entries {
            self.seen += 1;
            add(entry, path, &origin, mcp, found);
        }
    }
}

fn add(entry: &Entry, path: &str, origin: &Origin<'_>, mcp: &mut Mcp, found: &mut Findings) {
    let plain = plain_name(&entry.key);
    if mcp.servers.len() >= SERVERS_MAX {
        mcp.refused
            .push((plain, format!("more than {SERVERS_MAX} servers")));
        return;
    }
    let mut server = match read(&plain, entry, path, origin, found) {
        Outcome::Disabled => return,
        Outcome::Refused(reason) => {
            mcp.refused.push((plain, reason));
            return;
        }
        Outcome::Server(server) => *server,
    };
    let is_twin = |known: &McpServer| known.name == server.name && known.target == server.target;
    if mcp.servers.iter().any(is_twin) {
        return;
    }
    let name = free_name(&plain, mcp);
    if name != entry.key {
        let message = if name == plain {
            format!("the server is called `{name}` here")
        } else {
            format!("another server has that name, this one is called `{name}`")
        };
        let key = super::node::join(path, &entry.key);
        found.warnings.push(Problem::new(&entry.at, &key, message));
    }
    server.name = name.into();
    mcp.servers.push(server);
}

fn free_name(plain: &str, mcp: &Mcp) -> String {
    let is_free = |name: &str| {
        mcp.servers.iter().all(|server| *server.name != *name) && !(mcp.demo && name == "demo")
    };
    let mut name = plain.to_owned();
    let mut number = 2;
    while !is_free(&name) {
        name = format!("{plain}-{number}");
        number += 1;
    }
    name
}

fn plain_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .take(NAME_BYTES_MAX)
        .collect();
    match plain.trim_matches('-') {
        "" => "server".to_owned(),
        plain => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain() {
        for (name, plain) in [
            ("github", "github"),
            ("My Server", "My-Server"),
            ("@upstash/context7-mcp", "upstash-context7-mcp"),
            ("github.com/x/y", "github-com-x-y"),
            ("搜索", "server"),
            ("", "server"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
        assert_eq!(plain_name(&"x".repeat(100)).len(), NAME_BYTES_MAX);
    }
}
