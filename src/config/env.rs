//! Variables and flags put into the tree, over what the file says. Precedence: flag, variable,
//! file, default.
//!
//! Every key is also a variable: `server.max_body_size` is RINGWAY_SERVER_MAX_BODY_SIZE. Lists
//! are words with commas between them; tables and lists of tables are written as in TOML. The
//! names of the seed (PORT, WORKERS, LOG_LEVEL, ENABLE_METRICS, STATSD_HOST, ENV) go before the
//! file and after those.

use std::net::{Ipv4Addr, SocketAddr};

use super::expand::Env;
use super::node::{Entry, Node, Table, Value};
use super::problem::{At, Findings, Problem};
use super::read::Read as _;
use super::sections::tls::seed_files;
use super::sections::{PORT, RawConfig};
use crate::base::nearest::nearest;

const PREFIX: &str = "RINGWAY_";

/// Variables with our prefix that are no keys. Cargo sets RINGWAY_GIT, see build.rs.
const OTHERS: &[&str] = &["RINGWAY_CONFIG", "RINGWAY_GIT", "RINGWAY_URL"];

/// What the seed calls things, and the key.
const SEED: &[(&str, &str)] = &[
    ("WORKERS", "server.shards"),
    ("LOG_LEVEL", "log.level"),
    ("ENABLE_METRICS", "metrics.enabled"),
    ("STATSD_HOST", "statsd.host"),
];

/// Settings given on the command line, as text.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`, in order.
    pub listen: Vec<String>,
    /// `--shards`
    pub shards: Option<String>,
    /// `--driver`
    pub driver: Option<String>,
}

/// Puts variables over the file.
pub(super) fn overlay_variables(root: &mut Table, env: &Env, found: &mut Findings) {
    for (name, path) in SEED {
        if let Some(value) = env.get(name).filter(|value| !value.is_empty()) {
            root.set_path(path, Node::text(At::variable(name), value));
        }
    }
    if let Some(port) = env.get("PORT").filter(|value| !value.is_empty()) {
        match port.trim().parse::<u16>() {
            Ok(port) => {
                let address = format!("0.0.0.0:{port}");
                root.set("listener", listeners(&At::variable("PORT"), &[address]));
            }
            Err(_) => found.errors.push(
                Problem::new(&At::variable("PORT"), "", "not a port")
                    .hint("write a number between 0 and 65535"),
            ),
        }
    }
    if env
        .get("ENV")
        .is_some_and(|value| value.eq_ignore_ascii_case("development"))
    {
        root.set_path(
            "server.development",
            Node::text(At::variable("ENV"), "true"),
        );
    }
    overlay_keys(root, env, found);
}

/// RINGWAY_SECTION_KEY.
fn overlay_keys(root: &mut Table, env: &Env, found: &mut Findings) {
    let mut paths = Vec::new();
    RawConfig::variables("", &mut paths);
    let names: Vec<String> = paths.iter().map(|path| variable_name(path)).collect();
    for (name, value) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let at = At::variable(name);
        let index = names.iter().position(|known| known == name);
        if let Some(path) = index.and_then(|index| paths.get(index)) {
            root.set_path(path, Node::text(at, value));
        } else if !OTHERS.contains(&name) && !is_of_kubernetes(name) {
            let problem = Problem::new(&at, "", "unknown, so ignored");
            found
                .warnings
                .push(match nearest(name, names.iter().map(String::as_str)) {
                    Some(name) => problem.hint(format!("did you mean {name}?")),
                    None => problem,
                });
        }
    }
}

/// The variable of a key.
pub(super) fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "_"))
}

/// Kubernetes gives every container such variables for a Service that is called ringway.
fn is_of_kubernetes(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
    })
}

/// SSL=true: every listener without TLS gets it. After the flags, which may name listeners.
pub(super) fn overlay_tls(root: &mut Table, env: &Env) {
    if !env.is_on("SSL") {
        return;
    }
    let at = At::variable("SSL");
    if root.get("listener").is_none() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).to_string();
        root.set("listener", listeners(&at, &[address]));
    }
    let variable = |name: &str| env.get(name);
    let names = ["CERT_FILE", "KEY_FILE"];
    let files = seed_files(variable("CERT_FILE"), variable("KEY_FILE"));
    let entries = files.into_iter().zip(names).map(|((key, path), name)| {
        let at = At::variable(name);
        Entry {
            key: key.to_owned(),
            at: at.clone(),
            node: Node::text(at, &path),
        }
    });
    let tls = Table {
        entries: entries.collect(),
    };
    let listeners = root
        .entries
        .iter_mut()
        .find(|entry| entry.key == "listener");
    if let Some(Value::List(list)) = listeners.map(|entry| &mut entry.node.value) {
        for listener in list {
            if let Value::Table(listener) = &mut listener.value
                && listener.get("tls").is_none()
                && listener.get("redirect").is_none()
            {
                let value = Value::Table(tls.clone());
                listener.set(
                    "tls",
                    Node {
                        at: at.clone(),
                        value,
                    },
                );
            }
        }
    }
}

/// Puts flags over everything.
pub(super) fn overlay_flags(root: &mut Table, flags: &Flags) {
    if !flags.listen.is_empty() {
        root.set("listener", listeners(&At::flag("--listen"), &flags.listen));
    }
    if let Some(shards) = &flags.shards {
        root.set_path("server.shards", Node::text(At::flag("--shards"), shards));
    }
    if let Some(driver) = &flags.driver {
        root.set_path("server.driver", Node::text(At::flag("--driver"), driver));
    }
}

/// `[[listener]]` with these addresses.
fn listeners(at: &At, addresses: &[String]) -> Node {
    let listener = |address: &String| Node {
        at: at.clone(),
        value: Value::Table(Table {
            entries: vec![Entry {
                key: "address".to_owned(),
                at: at.clone(),
                node: Node::text(at.clone(), address),
            }],
        }),
    };
    Node {
        at: at.clone(),
        value: Value::List(addresses.iter().map(listener).collect()),
    }
}
