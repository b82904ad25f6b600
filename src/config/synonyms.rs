//! The names that MCP clients use for the fields of a server, brought to ours.
//!
//! Names are compared without case, `_` and `-`, so `envFile`, `env_file` and `envfile` are one.

use super::expand::is_name;
use super::node::{Entry, Node, Table, Text, Value, join};
use super::problem::{Findings, Problem};
use super::units::DURATION_HINT;

/// What becomes of a field.
enum Field {
    /// It is ours under this name.
    Is(&'static str),
    /// A list or table that goes to a key of `tools`.
    Tools(&'static str),
    /// A duration whose plain number has this unit.
    Duration(&'static str, Unit),
    /// Means nothing to a server: said by the client to its user or to itself.
    Ignored,
    /// Means something, but Ringway cannot do it. What follows from that.
    Unsupported(&'static str),
    /// Needs a look at its value.
    Special(Special),
    Unknown,
}

/// The unit of a plain number.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
    /// Clients disagree: 1000 and more are milliseconds.
    Guess,
}

enum Special {
    Command,
    HttpUrl,
    Enabled,
    BearerVariable,
    HeaderVariables,
    Auth,
    Options,
}

/// Numbers from here on are milliseconds where clients disagree about the unit.
const GUESS_MS_MIN: f64 = 1_000.0;
/// Numbers from here on nobody means as seconds.
const GUESS_CERTAIN_MIN: f64 = 10_000.0;

/// Fields that clients keep for themselves.
const IGNORED: &[&str] = &[
    "$schema",
    "panicifinvalid",
    "logenabled",
    "authtokens",
    "alwaysallow",
    "alwaysload",
    "approvalmode",
    "author",
    "autoapprove",
    "autostart",
    "category",
    "comment",
    "createdat",
    "defaulttoolsapprovalmode",
    "defertools",
    "description",
    "dev",
    "disabledreason",
    "displayname",
    "enabledfor",
    "envvars",
    "excludetags",
    "fromgalleryid",
    "gallery",
    "homepage",
    "icon",
    "icons",
    "id",
    "includetags",
    "installed",
    "instructions",
    "keepalive",
    "lastmodified",
    "license",
    "logo",
    "name",
    "note",
    "notes",
    "oauthresource",
    "repository",
    "required",
    "sandbox",
    "sandboxenabled",
    "scope",
    "scopes",
    "settings",
    "source",
    "tags",
    "title",
    "trust",
    "updatedat",
    "version",
    "watch",
    "watchpaths",
];

fn field(folded: &str) -> Field {
    match folded {
        "command" | "cmd" => Field::Special(Special::Command),
        "args" | "arguments" => Field::Is("args"),
        "env" | "environment" => Field::Is("env"),
        "envfile" => Field::Is("env_file"),
        "cwd" | "workingdirectory" | "workingdir" | "workdir" => Field::Is("cwd"),
        "url" | "serverurl" | "endpoint" | "uri" => Field::Is("url"),
        "httpurl" => Field::Special(Special::HttpUrl),
        "type" | "transport" | "transporttype" => Field::Is("transport"),
        "headers" | "httpheaders" => Field::Is("headers"),
        "envhttpheaders" => Field::Special(Special::HeaderVariables),
        "bearertokenenvvar" => Field::Special(Special::BearerVariable),
        "disabled" => Field::Is("disabled"),
        "enabled" => Field::Special(Special::Enabled),
        "options" => Field::Special(Special::Options),
        "auth" => Field::Special(Special::Auth),
        "oauth" | "authentication" | "authproviderype" | "authprovidertype" => {
            Field::Unsupported("Ringway does not log in with OAuth; set an Authorization header")
        }
        "headershelper" => {
            Field::Unsupported("Ringway does not run commands for headers; set `headers`")
        }
        "tools" | "toolfilter" => Field::Is("tools"),
        "includetools" | "enabledtools" | "allowedtools" => Field::Tools("allow"),
        "excludetools" | "excludedtools" | "disabledtools" | "disallowedtools" => {
            Field::Tools("deny")
        }
        "timeout" | "requesttimeout" | "tooltimeout" => Field::Duration("timeout", Unit::Guess),
        "tooltimeoutsec" | "timeoutsec" | "timeoutseconds" => {
            Field::Duration("timeout", Unit::Seconds)
        }
        "timeoutms" | "tooltimeoutms" => Field::Duration("timeout", Unit::Milliseconds),
        "connecttimeout" | "inittimeout" | "starttimeout" | "startuptimeout" => {
            Field::Duration("connect_timeout", Unit::Guess)
        }
        "startuptimeoutsec" => Field::Duration("connect_timeout", Unit::Seconds),
        "startuptimeoutms" => Field::Duration("connect_timeout", Unit::Milliseconds),
        "ssereadtimeout" => Field::Duration("idle_timeout", Unit::Seconds),
        "firstbytetimeout" => Field::Duration("first_byte_timeout", Unit::Guess),
        "idletimeout" => Field::Duration("idle_timeout", Unit::Guess),
        "totaltimeout" => Field::Duration("total_timeout", Unit::Guess),
        "era" => Field::Is("era"),
        "isolate" => Field::Is("isolate"),
        "eager" => Field::Is("eager"),
        "maxinflight" => Field::Is("max_in_flight"),
        _ if folded.starts_with(['/', '#', '$']) => Field::Ignored,
        _ if IGNORED.contains(&folded) => Field::Ignored,
        _ => Field::Unknown,
    }
}

/// Brings the fields of one server to our names. Unknown ones stay as they are.
pub(super) fn normalize(table: &Table, path: &str, found: &mut Findings) -> Table {
    let mut out = Table::default();
    collect(table, path, &mut out, found);
    out
}

fn collect(table: &Table, path: &str, out: &mut Table, found: &mut Findings) {
    for entry in &table.entries {
        let key = join(path, &entry.key);
        // Forms of programs leave what was not filled in empty.
        let is_empty = entry
            .node
            .as_text()
            .is_some_and(|text| text.written.is_empty());
        let is_absent = is_empty || matches!(entry.node.value, Value::Null);
        if is_absent || entry.key.starts_with('_') {
            continue;
        }
        match field(&fold(&entry.key)) {
            Field::Is("headers") => merge(out, "headers", headers(entry, &key, found)),
            Field::Is("tools") => tools(entry, &key, out, found),
            Field::Is(name) => place(out, name, entry, &entry.node),
            Field::Tools(side) => merge(out, "tools", one(entry, side, entry.node.clone())),
            Field::Duration(name, unit) => {
                let node = duration(&entry.node, &key, unit, found);
                place(out, name, entry, &node);
            }
            Field::Ignored => {}
            // Switched off, as in `"oauth": false`.
            Field::Unsupported(_) if matches!(entry.node.value, Value::Bool(false)) => {}
            Field::Unsupported(so) => {
                found
                    .warnings
                    .push(Problem::new(&entry.at, &key, "ignored").hint(so));
            }
            Field::Special(special) => special_field(&special, entry, &key, out, found),
            Field::Unknown => place(out, &entry.key, entry, &entry.node),
        }
    }
}

fn special_field(
    special: &Special,
    entry: &Entry,
    key: &str,
    out: &mut Table,
    found: &mut Findings,
) {
    let text = |text: &str| Node::text(entry.node.at.clone(), text);
    match (special, &entry.node.value) {
        (Special::Command, Value::List(words)) => {
            if let Some((program, args)) = words.split_first() {
                place(out, "command", entry, program);
                prepend_args(out, entry, args);
            }
        }
        // An older shape of Zed: command = { path, args, env }.
        (Special::Command, Value::Table(inner)) => {
            for (theirs, ours) in [("path", "command"), ("args", "args"), ("env", "env")] {
                if let Some(node) = inner.get(theirs) {
                    place(out, ours, entry, node);
                }
            }
        }
        (Special::Command, _) => place(out, "command", entry, &entry.node),
        // Gemini: `httpUrl` goes before `url` and means Streamable HTTP.
        (Special::HttpUrl, _) => {
            place(out, "url", entry, &entry.node);
            place(out, "transport", entry, &text("http"));
        }
        (Special::Enabled, Value::Bool(enabled)) => {
            let value = Value::Bool(!enabled);
            let at = entry.node.at.clone();
            place(out, "disabled", entry, &Node { at, value });
        }
        (Special::Enabled, _) => place(out, "disabled", entry, &entry.node),
        (Special::BearerVariable, Value::Text(name)) if is_name(&name.written) => {
            let value = text(&format!("Bearer ${{{}}}", name.written));
            merge(out, "headers", one(entry, "Authorization", value));
        }
        (Special::HeaderVariables, Value::Table(names)) => {
            for header in &names.entries {
                let name = header.node.as_text().map_or("", |text| &text.written);
                let value = Node::text(header.node.at.clone(), &format!("${{{name}}}"));
                merge(out, "headers", one(header, &header.key, value));
            }
        }
        // FastMCP: a bearer token, unless it is the word "oauth".
        (Special::Auth, Value::Text(token)) if token.written != "oauth" => {
            let value = text(&format!("Bearer {}", token.written));
            merge(out, "headers", one(entry, "Authorization", value));
        }
        (Special::Auth, _) => {
            let so = "Ringway does not log in with OAuth; set an Authorization header";
            found
                .warnings
                .push(Problem::new(&entry.at, key, "ignored").hint(so));
        }
        (Special::Options, Value::Table(inner)) => collect(inner, key, out, found),
        (Special::BearerVariable | Special::HeaderVariables | Special::Options, _) => {
            let message = format!("unusable value: {}", entry.node.kind());
            found
                .errors
                .push(Problem::new(&entry.node.at, key, message));
        }
    }
}

/// Puts a field under our name. `httpUrl` and `command` lists may have set it already; what was
/// said first stays, except that `httpUrl` wins over `url`.
fn place(out: &mut Table, name: &str, entry: &Entry, node: &Node) {
    let is_http_url = fold(&entry.key) == "httpurl";
    match out.entries.iter_mut().find(|known| known.key == name) {
        Some(known) if is_http_url => known.node = node.clone(),
        Some(known) if name == "args" => {
            // `command` was a list: its tail stands before `args`.
            if let (Value::List(head), Value::List(tail)) = (&mut known.node.value, &node.value) {
                head.extend(tail.iter().cloned());
            }
        }
        Some(_) if matches!(name, "url" | "transport") => {}
        Some(known) => known.node = node.clone(),
        None => out.entries.push(Entry {
            key: name.to_owned(),
            at: entry.at.clone(),
            node: node.clone(),
        }),
    }
}

fn prepend_args(out: &mut Table, entry: &Entry, args: &[Node]) {
    let mut list = args.to_vec();
    if let Some(Value::List(after)) = out.get("args").map(|node| &node.value) {
        list.extend(after.iter().cloned());
    }
    let at = entry.node.at.clone();
    let value = Value::List(list);
    out.set("args", Node { at, value });
}

/// A table with one key.
fn one(entry: &Entry, key: &str, node: Node) -> Node {
    let at = entry.node.at.clone();
    let entries = vec![Entry {
        key: key.to_owned(),
        at: entry.at.clone(),
        node,
    }];
    let value = Value::Table(Table { entries });
    Node { at, value }
}

/// Adds the keys of one table to another; lists grow, other values are replaced.
fn merge(out: &mut Table, name: &str, addition: Node) {
    let known = out.entries.iter_mut().find(|entry| entry.key == name);
    let (Some(known), Value::Table(more)) = (known, &addition.value) else {
        return out.set(name, addition);
    };
    let Value::Table(table) = &mut known.node.value else {
        return;
    };
    for entry in &more.entries {
        let twin = table.entries.iter_mut().find(|twin| twin.key == entry.key);
        match (twin.map(|twin| &mut twin.node.value), &entry.node.value) {
            (Some(Value::List(list)), Value::List(tail)) => list.extend(tail.iter().cloned()),
            _ => table.set(&entry.key, entry.node.clone()),
        }
    }
}

/// `headers` as a table; mcphost and others write a list of "Name: value".
fn headers(entry: &Entry, key: &str, found: &mut Findings) -> Node {
    let Value::List(lines) = &entry.node.value else {
        return entry.node.clone();
    };
    let mut table = Table::default();
    for line in lines {
        let text = line.as_text().map_or("", |text| &text.written);
        match text.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => table.entries.push(Entry {
                key: name.trim().to_owned(),
                at: line.at.clone(),
                node: Node::text(line.at.clone(), value.trim()),
            }),
            _ => found.errors.push(
                Problem::new(&line.at, key, "a header is missing its name")
                    .hint("write \"Name: value\""),
            ),
        }
    }
    let at = entry.node.at.clone();
    let value = Value::Table(table);
    Node { at, value }
}

/// `tools` in its shapes: our table, a list of names, TBX's filter, FastMCP's transforms.
fn tools(entry: &Entry, key: &str, out: &mut Table, found: &mut Findings) {
    match &entry.node.value {
        Value::List(_) => merge(out, "tools", one(entry, "allow", entry.node.clone())),
        Value::Table(table) => {
            let mode = table.get("mode").and_then(Node::as_text);
            if let Some(list) = table.get("list") {
                let blocks = mode.is_some_and(|mode| mode.written.eq_ignore_ascii_case("block"));
                let side = if blocks { "deny" } else { "allow" };
                return merge(out, "tools", one(entry, side, list.clone()));
            }
            let is_transform = |entry: &Entry| matches!(entry.node.value, Value::Table(_));
            if table.entries.iter().any(is_transform) {
                let so = "Ringway offers or hides tools, it does not change them";
                found
                    .warnings
                    .push(Problem::new(&entry.at, key, "ignored").hint(so));
                return;
            }
            let mut sides = table.clone();
            for side in &mut sides.entries {
                match fold(&side.key).as_str() {
                    "include" => side.key = "allow".to_owned(),
                    "exclude" | "block" => side.key = "deny".to_owned(),
                    _ => {}
                }
            }
            let at = entry.node.at.clone();
            let value = Value::Table(sides);
            merge(out, "tools", Node { at, value });
        }
        _ => place(out, "tools", entry, &entry.node),
    }
}

/// A plain number gets its unit.
fn duration(node: &Node, key: &str, unit: Unit, found: &mut Findings) -> Node {
    let digits = match &node.value {
        Value::Number(digits) => digits.as_str(),
        Value::Text(text) => text.written.trim(),
        _ => return node.clone(),
    };
    let Ok(number) = digits.parse::<f64>() else {
        return node.clone();
    };
    let (unit, guessed) = match unit {
        Unit::Seconds => ("s", false),
        Unit::Milliseconds => ("ms", false),
        Unit::Guess if number >= GUESS_MS_MIN => ("ms", number < GUESS_CERTAIN_MIN),
        Unit::Guess => ("s", false),
    };
    if guessed {
        let problem = Problem::new(
            &node.at,
            key,
            format!("{digits} is taken as {digits}{unit}, and could mean {digits}s"),
        );
        found.warnings.push(problem.hint(DURATION_HINT));
    }
    let value = Value::Text(Text::plain(&format!("{digits}{unit}")));
    Node {
        at: node.at.clone(),
        value,
    }
}

/// A name without case, `_` and `-`.
fn fold(name: &str) -> String {
    name.chars()
        .filter(|character| !matches!(character, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}
