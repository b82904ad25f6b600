//! Reads the files once, before any shard exists, and puts everything together.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Config;
use super::env::{Flags, overlay_flags, overlay_tls, overlay_variables};
use super::expand::{Env, Scope};
use super::gather::Gatherer;
use super::mcp_json::{self, ServersFile};
use super::node::{Table, Value, parse_toml};
use super::problem::{At, Findings, Problem};
use super::sections::{Around, RawConfig, resolve};

/// The file that is read where nothing else is said and it exists.
pub const DEFAULT_FILE: &str = "ringway.toml";
/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--mcp`, in order.
    pub mcp: Vec<PathBuf>,
    /// Settings.
    pub flags: Flags,
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What deserves a word at start.
    pub warnings: Vec<Problem>,
    /// The files that were read, ours first.
    pub files: Vec<PathBuf>,
}

/// Reads everything.
///
/// # Errors
/// Every problem found, in the order of the files.
pub fn load(options: &Options, env: &Env) -> Result<Loaded, Vec<Problem>> {
    load_with(options, env, &read_file)
}

/// The same with files from elsewhere.
pub(super) fn load_with(
    options: &Options,
    env: &Env,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Vec<Problem>> {
    let mut found = Findings::default();
    let mut files = Vec::new();
    let own = own_file(options, env, read_file, &mut found);
    let folder = folder(own.as_ref().map(|(path, _)| path.as_path()));
    let around = Around {
        folder: &folder,
        env,
    };
    let mut root = Table::default();
    if let Some((path, text)) = own {
        let start = At::file(&path.display().to_string(), &text);
        root = parse_toml(&start, &text, &mut found.errors);
        files.push(path);
    }
    overlay_variables(&mut root, env, &mut found);
    overlay_flags(&mut root, &options.flags);
    overlay_tls(&mut root, env);
    let unset = expand(&mut root, env);

    let mut raw = RawConfig::read_table(&root, "", &mut found);
    require(&root, &mut found);
    let raw_mcp = raw.mcp.as_mut();
    let (entries, servers_file, demo) = raw_mcp.map_or((None, None, None), |mcp| {
        (mcp.servers.take(), mcp.servers_file.take(), mcp.demo)
    });
    let mut config = resolve(raw, &around, &mut found);

    let listeners: Vec<SocketAddr> = config.listeners.iter().map(|one| one.address).collect();
    let mut gatherer = Gatherer {
        env,
        listeners: &listeners,
        read_file,
        seen: 0,
    };
    let entries = entries.unwrap_or_default().0;
    gatherer.own(&entries, &folder, &mut config.mcp, &mut found);
    let mut errors = in_order(unset, &mut found);
    let servers_file = servers_file.map(|file| (file.at, around.path(&file.value)));
    let flags = options
        .mcp
        .iter()
        .map(|path| (At::flag("--mcp"), path.clone()));
    for (at, path) in servers_file.into_iter().chain(flags) {
        if let Some(file) = servers(&at, &path, read_file, &mut errors) {
            gatherer.file(&file, &mut config.mcp, &mut found);
            files.push(path);
        }
    }
    errors.append(&mut found.errors);
    // Whoever names a file wants its servers, also where it holds none.
    config.mcp.demo = demo.unwrap_or(gatherer.seen == 0 && options.mcp.is_empty());
    if errors.is_empty() {
        Ok(Loaded {
            config,
            warnings: found.warnings,
            files,
        })
    } else {
        Err(errors)
    }
}

/// Everything that is wrong with our own file, in its order.
fn in_order(unset: Vec<Problem>, found: &mut Findings) -> Vec<Problem> {
    let mut errors = unset;
    // What a text with a variable that is not set cannot be read as needs no second word.
    let is_unset = |at: &str| errors.iter().any(|unset| unset.place == at);
    found.errors.retain(|problem| !is_unset(&problem.place));
    errors.append(&mut found.errors);
    errors.append(&mut found.unknown);
    errors.sort_by_key(|problem| problem.offset);
    errors
}

/// Where relative paths start. Absolute, because children may start elsewhere.
fn folder(file: Option<&Path>) -> PathBuf {
    let file = file.unwrap_or(Path::new(DEFAULT_FILE));
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// Our own file: `--config`, RINGWAY_CONFIG, or ringway.toml if it is there.
fn own_file(
    options: &Options,
    env: &Env,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
    found: &mut Findings,
) -> Option<(PathBuf, String)> {
    let (at, path) = match (&options.config, env.get("RINGWAY_CONFIG")) {
        (Some(path), _) => (Some(At::flag("--config")), path.clone()),
        (None, Some(path)) if !path.is_empty() => {
            (Some(At::variable("RINGWAY_CONFIG")), PathBuf::from(path))
        }
        _ => (None, PathBuf::from(DEFAULT_FILE)),
    };
    match read_file(&path) {
        Ok(text) => Some((path, text)),
        Err(error) if at.is_none() && error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let at = at.unwrap_or_else(|| At::file(DEFAULT_FILE, ""));
            found.errors.push(unreadable(&at, &path, &error));
            None
        }
    }
}

fn servers(
    at: &At,
    path: &Path,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
    errors: &mut Vec<Problem>,
) -> Option<ServersFile> {
    match read_file(path) {
        Ok(text) => mcp_json::parse(path, &text, errors),
        Err(error) => {
            errors.push(unreadable(at, path, &error));
            None
        }
    }
}

fn unreadable(at: &At, path: &Path, error: &io::Error) -> Problem {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => error.to_string(),
        _ => error.to_string(),
    };
    Problem::new(at, "", format!("cannot read {}: {why}", path.display()))
}

/// Fills in `${VAR}` everywhere but in `[mcp.servers]`: there each server answers for itself.
/// Returns what could not be filled in.
fn expand(root: &mut Table, env: &Env) -> Vec<Problem> {
    let scope = Scope { env, client: None };
    let mut errors = Vec::new();
    for entry in &mut root.entries {
        let key = entry.key.clone();
        match &mut entry.node.value {
            Value::Table(mcp) if key == "mcp" => {
                for entry in mcp
                    .entries
                    .iter_mut()
                    .filter(|entry| entry.key != "servers")
                {
                    let key = super::node::join(&key, &entry.key);
                    entry.node.expand(&key, &scope, &mut errors);
                }
            }
            _ => entry.node.expand(&key, &scope, &mut errors),
        }
    }
    errors
}

/// Keys without which a section means nothing.
fn require(root: &Table, found: &mut Findings) {
    for (section, key, example) in [
        ("listener", "address", "address = \"127.0.0.1:4444\""),
        ("route", "path", "path = \"/x/\""),
    ] {
        let Some(node) = root.get(section) else {
            continue;
        };
        let Value::List(list) = &node.value else {
            continue;
        };
        if list.is_empty() && section == "listener" {
            let problem = Problem::new(&node.at, section, "at least one listener is needed");
            found.errors.push(problem);
        }
        for item in list {
            let has_key = item.as_table().is_none_or(|table| table.get(key).is_some());
            if !has_key {
                let message = format!("the key `{key}` is missing");
                found
                    .errors
                    .push(Problem::new(&item.at, section, message).hint(example));
            }
        }
    }
}

/// Reads a text file within bounds.
///
/// # Errors
/// The system's, and `InvalidData` for one that is too large or not UTF-8.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(invalid("it is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(invalid("it is larger than 8 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text"))
}
