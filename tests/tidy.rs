//! Reads the source tree and fails when a house rule is broken: layer order, who may name the
//! runtime, who may write `unsafe`, sizes, banned calls. Each message says what to do instead.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

/// Layer of each entry of `src/`. An entry may use its own and lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("http", 1),
    ("mcp", 1),
    ("metrics", 1),
    ("config", 2),
    ("route", 2),
    ("filter", 2),
    ("auth", 2),
    ("balance", 2),
    ("cache", 2),
    ("tls", 2),
    ("net", 3),
    ("upstream", 4),
    ("handler", 5),
    ("record", 5),
    ("server", 6),
    ("shard", 7),
    ("supervisor", 8),
    ("cli", 8),
    ("main", 9),
    ("lib", 9),
];

/// Folders that may not meet even though their layers would allow it: `net` moves bytes and
/// knows no protocol; `config` is read by all of layer 2 and reads none of it.
const APART: &[(&str, &str)] = &[
    ("net", "http"),
    ("net", "mcp"),
    ("net", "config"),
    ("config", "route"),
    ("config", "filter"),
    ("config", "auth"),
];

/// (text, path prefixes where it is allowed, what to write instead)
const BANNED: &[(&str, &str, &str)] = &[
    ("monoio", "src/net/", "crate::net"),
    ("async_channel", "src/net/across.rs", "crate::net::across"),
    ("unsafe {", "src/net/sys.rs", "a safe wrapper in net/sys.rs"),
    (
        "Instant::now",
        "src/base/clock.rs",
        "the `now` you were given",
    ),
    (
        "SystemTime::now",
        "src/base/clock.rs",
        "the `now` you were given",
    ),
    (
        "Mutex<",
        "src/supervisor/",
        "state owned by one shard, or a message",
    ),
    (
        "RwLock<",
        "src/supervisor/",
        "state owned by one shard, or a message",
    ),
    (
        "Arc<Atomic",
        "src/supervisor/",
        "a field of Shard, or a message",
    ),
    ("static mut", "nowhere", "a field of Shard"),
    ("thread_local!", "nowhere", "a field of Shard"),
    (
        "std::net::Tcp",
        // The small client blocks: it is its own program, not part of a shard.
        "src/supervisor/ src/cli/client/",
        "crate::net",
    ),
    ("todo!(", "nowhere", "code, or an error"),
    ("FIXME", "nowhere", "fix it"),
    ("use crate::*", "nowhere", "named imports"),
];

/// Layers below this one never wait, except in the one file that is made of waiting.
const ASYNC_FROM: u8 = 3;
const ASYNC_HOME: &str = "src/base/channel.rs";
const FILE_LINES_MAX: usize = 600; // without its tests
const FN_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

#[test]
fn the_tree_is_tidy() {
    let mut problems = Vec::new();
    for (path, text) in sources(Path::new("src")) {
        check(&path, &text, &mut problems);
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn each_rule_bites() {
    for (path, text, expected) in [
        ("src/http/a.rs", "//! x\nuse crate::net::Stream;\n", "layer"),
        ("src/http/a.rs", "//! x\nuse monoio::spawn;\n", "crate::net"),
        (
            "src/net/tcp.rs",
            "//! x\nfn f() { unsafe { g() } }\n",
            "net/sys.rs",
        ),
        ("src/mcp/a.rs", "fn f() {}\n", "//!"),
        (
            "src/net/a.rs",
            "//! x\nuse crate::http::Head;\n",
            "kept apart",
        ),
        ("src/mcp/a.rs", "//! x\nasync fn f() {}\n", "never wait"),
        ("src/newdir/a.rs", "//! x\n", "LAYERS"),
    ] {
        let mut problems = Vec::new();
        check(path, text, &mut problems);
        assert!(
            problems.iter().any(|p| p.contains(expected)),
            "{path}: {problems:?}"
        );
    }
}

#[test]
fn length_rules_bite_at_the_limit() {
    let file = |body: usize| format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(body));
    for (body, expected) in [
        (FN_LINES_MAX - 2, 0),
        (FN_LINES_MAX - 1, 1),
        (FILE_LINES_MAX, 2),
    ] {
        let mut problems = Vec::new();
        check("src/http/a.rs", &file(body), &mut problems);
        assert_eq!(problems.len(), expected, "{problems:?}");
    }
}

fn check(path: &str, text: &str, problems: &mut Vec<String>) {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or(text);
    if !text.starts_with("//!") {
        problems.push(format!(
            "{path}: open with `//!`: what lives here, what it never touches"
        ));
    }
    if code.lines().count() > FILE_LINES_MAX && !path.ends_with("tests.rs") {
        problems.push(format!(
            "{path}: over {FILE_LINES_MAX} lines; split by state machine"
        ));
    }
    let Some(own) = layer(path) else {
        problems.push(format!("{path}: new folder; give it a layer in LAYERS"));
        return;
    };
    let mut fn_start = None;
    for (index, line) in code.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        if line.len() > COLUMNS_MAX {
            problems.push(format!("{at}: over {COLUMNS_MAX} columns"));
        }
        let words = line.split("//").next().unwrap_or(line);
        for &(text, home, instead) in BANNED {
            if words.contains(text) && !home.split(' ').any(|home| path.starts_with(home)) {
                problems.push(format!("{at}: `{text}` is kept to {home}; use {instead}"));
            }
        }
        if own < ASYNC_FROM
            && path != ASYNC_HOME
            && (words.contains("async ") || words.contains(".await"))
        {
            problems.push(format!(
                "{at}: pure layers take bytes and `now`; they never wait"
            ));
        }
        for used in words.split("crate::").skip(1) {
            let name = used
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or("");
            if layer(&format!("src/{name}/")).is_some_and(|other| other > own) {
                problems.push(format!("{at}: reaches up to layer `{name}`"));
            }
            let is_from = |from: &str| path.starts_with(&format!("src/{from}/"));
            if APART.iter().any(|(from, to)| is_from(from) && *to == name) {
                problems.push(format!(
                    "{at}: kept apart from `{name}`; pass bytes or values"
                ));
            }
        }
        // rustfmt puts a function's first line and its closing brace at the same indent.
        let indent = line.len() - line.trim_start().len();
        let is_fn = words.trim_start().starts_with("fn ") || words.contains(" fn ");
        if is_fn && !words.trim_end().ends_with([';', '}']) && fn_start.is_none() {
            fn_start = Some((index, indent));
        } else if let Some((start, fn_indent)) = fn_start.filter(|_| line.trim() == "}")
            && indent == fn_indent
        {
            if index - start + 1 > FN_LINES_MAX {
                problems.push(format!(
                    "{path}:{}: function over {FN_LINES_MAX} lines",
                    start + 1
                ));
            }
            fn_start = None;
        }
    }
}

fn layer(path: &str) -> Option<u8> {
    let entry = path.strip_prefix("src/")?.split(['/', '.']).next()?;
    LAYERS
        .iter()
        .find(|(name, _)| *name == entry)
        .map(|&(_, layer)| layer)
}

fn sources(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push((
                entry.display().to_string(),
                fs::read_to_string(&entry).unwrap(),
            ));
        }
    }
    found
}
