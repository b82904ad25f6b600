//! Whole files: what they come to, and every message that a wrong one brings.
//!
//! `tests/fixtures/mcp-json` holds files in the shape of each MCP client, with what Ringway makes
//! of them beside (`NAME.expected`).

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::variable_name;
use super::load::{load_with, read_file};
use super::read::Read as _;
use super::sections::RawConfig;
use super::*;
use crate::http::Coding;

const FIXTURES: &str = "tests/fixtures/mcp-json";

fn environment(pairs: &[(&str, &str)]) -> Env {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Loads a ringway.toml with that text.
fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    load_flags(text, env, Flags::default())
}

fn load_flags(text: &str, env: &[(&str, &str)], flags: Flags) -> Result<Loaded, Vec<Problem>> {
    let read = |path: &Path| match path.to_str() {
        Some("ringway.toml") => Ok(text.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let options = Options {
        flags,
        ..Options::default()
    };
    load_with(&options, &environment(env), &read)
}

pub(crate) fn good(text: &str, env: &[(&str, &str)]) -> Config {
    let loaded = load_text(text, env).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    assert!(loaded.warnings.is_empty(), "{}", lines(&loaded.warnings));
    loaded.config
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

pub(super) fn problems(text: &str, env: &[(&str, &str)]) -> String {
    lines(&load_text(text, env).unwrap_err())
}

fn load_mcp(paths: &[&str], env: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let options = Options {
        mcp: paths.iter().map(PathBuf::from).collect(),
        ..Options::default()
    };
    load_with(&options, &environment(env), &read_file)
}

// Files of MCP clients.

const CLIENT_ENV: &[(&str, &str)] = &[
    ("HOME", "/home/joe"),
    ("GITHUB_TOKEN", "ghp-1"),
    ("API_KEY", "key-1"),
    ("BRAVE_KEY", "brave-1"),
    ("DB_URL", "db://1"),
    ("INPUT_PERPLEXITY_KEY", "perplexity-1"),
    ("INPUT_K", "input-1"),
    ("FIGMA_TOKEN", "figma-1"),
    ("FIGMA_ORG", "org-1"),
];

/// Everything that a file came to, secrets and all: the test's own output only.
fn described(loaded: &Loaded) -> String {
    let mut text = String::new();
    for server in &loaded.config.mcp.servers {
        let _ = writeln!(text, "server {}", server.name);
        let _ = writeln!(text, "  shown {}", server.shown);
        match &server.target {
            McpTarget::Stdio {
                command,
                args,
                env,
                cwd,
            } => {
                let _ = writeln!(text, "  run {command:?} {args:?}");
                for (name, value) in env {
                    let _ = writeln!(text, "  env {name}={value:?}");
                }
                if let Some(cwd) = cwd {
                    let _ = writeln!(text, "  in {}", cwd.display());
                }
            }
            McpTarget::Http { url, headers, sse } => {
                let _ = writeln!(text, "  url {url}{}", if *sse { " (sse)" } else { "" });
                for (name, value) in headers {
                    let _ = writeln!(text, "  header {name}: {value}");
                }
            }
        }
        if server.timeouts != McpTimeouts::for_target(&server.target) {
            let McpTimeouts {
                connect,
                first_byte,
                idle,
                total,
            } = server.timeouts;
            let _ = writeln!(
                text,
                "  connect {connect:?}, first byte {first_byte:?}, idle {idle:?}, total {total:?}"
            );
        }
        if server.tools != ToolFilter::default() {
            let ToolFilter { allow, deny } = &server.tools;
            let _ = writeln!(text, "  allow {allow:?}, deny {deny:?}");
        }
    }
    for (name, reason) in &loaded.config.mcp.refused {
        let reason = reason.replace(FIXTURES, "…");
        let _ = writeln!(text, "refused {name}: {reason}");
    }
    for warning in &loaded.warnings {
        let _ = writeln!(
            text,
            "warning {}",
            warning.to_string().replace('\n', "\n       ")
        );
    }
    let here = std::env::current_dir().unwrap();
    text.replace(&here.display().to_string(), "HERE")
}

/// With RINGWAY_BLESS=1 the expectations are written anew, to be read before they are committed.
#[test]
fn files_of_every_client() {
    let mut differing = Vec::new();
    for name in [
        "claude_code.mcp.json",
        "claude_desktop_config.json",
        "cline_mcp_settings.json",
        "codex_config.toml",
        "copilot-mcp-config.json",
        "fastmcp.json",
        "gemini_settings.json",
        "mcphost.json",
        "opencode.json",
        "roo_mcp_settings.json",
        "shop/.cursor/mcp.json",
        "shop/.vscode/mcp.json",
        "tbx_mcp_proxy.json",
        "typos.json",
        "vscode_settings.json",
        "windsurf_mcp_config.json",
        "zed_settings.json",
    ] {
        let path = format!("{FIXTURES}/{name}");
        let loaded = load_mcp(&[&path], CLIENT_ENV);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{name}: {}", lines(&problems)));
        assert!(!loaded.config.mcp.demo, "{name}");
        let found = described(&loaded);
        let expected_path = format!("{path}.expected");
        if std::env::var_os("RINGWAY_BLESS").is_some() {
            std::fs::write(&expected_path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if found != expected {
            differing.push(format!("{expected_path}, now:\n{found}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn no_message_holds_a_secret() {
    let path = format!("{FIXTURES}/claude_code.mcp.json");
    let loaded = load_mcp(&[&path], &[("API_KEY", "s3cr\net")]).unwrap();
    let said = format!("{:?} {}", loaded.config.mcp, lines(&loaded.warnings));
    assert!(
        said.contains("control character") && !said.contains("s3cr"),
        "{said}"
    );
    let said = problems(
        "[mcp]\nsecret = \"${S}\"\nheartbeat = \"${S}\"\n[headers]\nX-A = \"${S}\"\n",
        &[("S", "hunter2\n")],
    );
    assert!(
        said.contains("mcp.secret") && said.contains("X-A"),
        "{said}"
    );
    assert!(
        said.contains("\"${S}\" is not a duration") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn clashing_names_in_several_files() {
    let folder = std::env::temp_dir().join(format!("ringway-clash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let one = write(
        "1.json",
        r#"{"mcpServers":{"a":{"command":"x"},"b":{"command":"y"}}}"#,
    );
    let two = write(
        "2.json",
        r#"{"mcpServers":{"a":{"command":"x"},"b":{"command":"z"}}}"#,
    );
    let three = write("3.json", r#"{"b":{"url":"http://h/"}}"#);
    let loaded = load_mcp(&[&one, &two, &three], &[]).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let names: Vec<&str> = loaded
        .config
        .mcp
        .servers
        .iter()
        .map(|one| &*one.name)
        .collect();
    assert_eq!(names, ["a", "b", "b-2", "b-3"]);
    let said = lines(&loaded.warnings);
    assert!(
        said.contains("another server has that name, this one is called `b-2`"),
        "{said}"
    );
}

#[test]
fn files_that_hold_no_servers_say_what_is_expected() {
    let folder = std::env::temp_dir().join(format!("ringway-empty-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (text, expected) in [
        ("{", "mcp.json:1:1: Unterminated object"),
        ("[]", "mcp.json:1:1: the file must hold an object"),
        ("", "mcp.json:1:1: the file is empty"),
        ("{}", "mcp.json:1:1: the file holds no MCP servers"),
        ("{\"mcpServer\": {}}", "did you mean `mcpServers`?"),
        (
            "{\n  \"mcpServers\": []\n}",
            "mcp.json:2:3: mcpServers: must be an object of servers",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": 'x'}}}",
            "mcp.json:1:34",
        ),
        ("{\"mcpServers\": {\"a\" {}}}", "mcp.json:1:21"),
    ] {
        let path = folder.join("mcp.json");
        std::fs::write(&path, text).unwrap();
        let said = lines(&load_mcp(&[path.to_str().unwrap()], &[]).unwrap_err());
        assert!(said.contains(expected), "{text}: {said}");
    }
    std::fs::write(folder.join("mcp.json"), "{\"mcpServers\": {}}").unwrap();
    let path = folder.join("mcp.json").display().to_string();
    let loaded = load_mcp(&[&path], &[]).unwrap();
    assert!(loaded.config.mcp.servers.is_empty() && !loaded.config.mcp.demo);
    std::fs::remove_dir_all(&folder).unwrap();
    let said = lines(&load_mcp(&["/no/such/file.json"], &[]).unwrap_err());
    assert_eq!(
        said,
        "--mcp: cannot read /no/such/file.json: there is no such file\n"
    );
}

// ringway.toml.

#[test]
fn nothing_at_all_is_the_demo_on_this_machine() {
    let read = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let loaded = load_with(&Options::default(), &Env::default(), &read).unwrap();
    assert!(loaded.config.mcp.demo && loaded.files.is_empty());
    assert_eq!(
        loaded.config.listeners[0].address.to_string(),
        "127.0.0.1:4444"
    );
    assert_eq!(
        loaded.config.server.keepalive_timeout,
        Duration::from_secs(65)
    );
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let text = include_str!("../../tests/fixtures/config/bad.toml");
    let expected = include_str!("../../tests/fixtures/config/bad.expected");
    let found = problems(text, &[]);
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn several_syntax_errors_are_told() {
    let found = problems("[server]\nbacklog = \nshards == 2\n[log\n", &[]);
    for line in ["ringway.toml:2:", "ringway.toml:3:", "ringway.toml:4:"] {
        assert!(found.contains(line), "{found}");
    }
}

#[test]
fn one_bad_server_leaves_the_others() {
    let text = "[mcp.servers.a]\nurl = \"https://a/${NO_SUCH}\"\n[mcp.servers.b]\ncommand = \"b\"\n\
                [mcp.servers.c]\nurl = \"ws://c\"\n";
    let config = good(text, &[]);
    assert_eq!(config.mcp.servers.len(), 1);
    let refused: Vec<String> = config
        .mcp
        .refused
        .iter()
        .map(|(n, r)| format!("{n}: {r}"))
        .collect();
    assert!(refused[0].starts_with("a: mcp.servers.a.url: variable NO_SUCH is not set"));
    assert!(refused[0].ends_with("at ringway.toml:2:7"), "{refused:?}");
    assert!(
        refused[1].contains("WebSocket is no transport of MCP"),
        "{refused:?}"
    );
}

#[test]
fn a_full_file() {
    let text = include_str!("../../tests/fixtures/config/full.toml");
    let loaded = load_text(text, &[]).unwrap();
    let config = loaded.config;
    assert_eq!(config.server.driver, Some(Driver::Epoll));
    assert_eq!(config.server.max_body_size, 1 << 20);
    assert_eq!(
        config.server.header_buffers,
        HeaderBuffers {
            count: 2,
            size: 8192
        }
    );
    assert_eq!(config.log.level, Level::Warn);
    assert_eq!(config.log.access, LogTarget::Off);
    assert!(!config.metrics);
    let addresses: Vec<String> = config
        .listeners
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    assert_eq!(addresses, ["127.0.0.1:1", "0.0.0.0:2"]);
    let headers = [("X-B", "1"), ("X-A", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(config.headers, headers);
    let compression = Compression {
        encodings: vec![Coding::Zstd, Coding::Gzip],
        min_length: 2048,
        types: vec!["text/*".to_owned(), "application/json".to_owned()],
        event_streams: true,
        keep: 8 << 20,
        recompress: false,
        levels: Levels {
            brotli_quality: 5,
            brotli_lgwin: 20,
            gzip: 1,
            zstd: 9,
        },
    };
    assert_eq!(config.compression, compression);
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.routes[0].path, PathRule::Exact("/e".to_owned()));
    let is_uncompressed = |at: usize| config.routes[at].settings.is_uncompressed;
    assert!(is_uncompressed(0) && !is_uncompressed(1));
    assert_eq!(config.mcp.secret.unwrap()[..3], [0, 1, 2]);
    assert_eq!(config.mcp.allowed_origins, ["https://app.example.com"]);
    let server = &config.mcp.servers[0];
    // The demo server is on, so its name is taken.
    assert_eq!(&*server.name, "demo-2");
    let McpTarget::Http { url, headers, .. } = &server.target else {
        panic!("{server:?}")
    };
    assert_eq!(
        (url.as_str(), headers[0].1.as_str()),
        ("https://h/mcp", "Basic dTpw")
    );
    assert_eq!(server.shown, "https://***@h/mcp");
    assert_eq!(server.timeouts.idle, Duration::from_secs(5));
    assert_eq!(server.timeouts.total, Duration::from_secs(60));
    assert_eq!(
        (server.isolate, server.eager, server.max_in_flight),
        (Isolate::Session, false, 3)
    );
}

#[test]
fn compression_is_checked_and_can_be_switched_off() {
    let off = good("[compression]\nenabled = false\n", &[]);
    assert!(off.compression.encodings.is_empty());
    assert_eq!(good("", &[]).compression, Compression::default());
    for (line, reason) in [
        ("encodings = [\"br\", \"brotli\"]", "\"br\" stands twice"),
        ("encodings = [\"deflate\"]", "not one of br, zstd, gzip"),
        ("types = [\"json\"]", "\"json\" is not a media type"),
        ("types = [\"*/json\"]", "\"*/json\" is not a media type"),
        ("brotli = { quality = 12 }", "between 0 and 11"),
        ("brotli = { lgwin = 25 }", "between 10 and 24"),
        ("gzip = { level = 10 }", "between 1 and 9"),
        ("zstd = { level = 0 }", "between 1 and 19"),
    ] {
        let problems = load_text(&format!("[compression]\n{line}\n"), &[]).unwrap_err();
        let problems = lines(&problems);
        assert!(problems.contains(reason), "{line}: {problems}");
    }
}

#[test]
fn a_route_replaces_the_built_in_one_of_its_path() {
    let config = good("[[route]]\npath = \"/health\"\nbuiltin = \"echo\"\n", &[]);
    let health: Vec<_> = config
        .routes
        .iter()
        .filter(|route| match &route.path {
            PathRule::Exact(path) | PathRule::Prefix(path) => path == "/health",
        })
        .collect();
    assert_eq!(health.len(), 1);
    assert_eq!(health[0].handler, Handler::Builtin(Builtin::Echo));
    assert!(
        config
            .routes
            .iter()
            .any(|route| route.handler == Handler::Mcp)
    );
}

#[test]
fn empty_and_null_fields_count_as_left_out() {
    let folder = std::env::temp_dir().join(format!("ringway-null-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("mcp.json");
    let text = r#"{"a": {"command": "x", "url": "", "args": null, "env": {"A": null, "B": 1}},
                   "b": {"command": "", "url": "http://h/mcp", "cwd": ""}}"#;
    std::fs::write(&path, text).unwrap();
    let loaded = load_mcp(&[path.to_str().unwrap()], &[]).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(loaded.config.mcp.refused, []);
    let [a, b] = loaded.config.mcp.servers.as_slice() else {
        panic!("{:?}", loaded.config.mcp)
    };
    let McpTarget::Stdio { env, .. } = &a.target else {
        panic!("{a:?}")
    };
    assert_eq!(env.iter().next(), Some((&"B".to_owned(), &"1".to_owned())));
    assert!(matches!(b.target, McpTarget::Http { .. }) && env.len() == 1);
}

// Variables and flags.

#[test]
fn flag_over_variable_over_file_over_default() {
    let text = "[server]\nshards = 2\nbacklog = 9\n[[listener]]\naddress = \"127.0.0.1:1\"\n";
    let port = |config: &Config| config.listeners[0].address.to_string();
    assert_eq!(good(text, &[]).server.shards, Some(2));
    let config = good(text, &[("WORKERS", "3"), ("PORT", "80")]);
    assert_eq!((config.server.shards, config.server.backlog), (Some(3), 9));
    assert_eq!(port(&config), "0.0.0.0:80");
    let own = [
        ("WORKERS", "3"),
        ("RINGWAY_SERVER_SHARDS", "4"),
        ("PORT", "80"),
        ("RINGWAY_LISTENER", "[{ address = \"127.0.0.1:7\" }]"),
    ];
    let config = good(text, &own);
    assert_eq!(config.server.shards, Some(4));
    assert_eq!(port(&config), "127.0.0.1:7");
    let flags = Flags {
        listen: vec!["127.0.0.1:5".to_owned(), "[::1]:6".to_owned()],
        shards: Some("auto".to_owned()),
        driver: Some("uring".to_owned()),
    };
    let config = load_flags(text, &own, flags).unwrap().config;
    assert_eq!(config.server.shards, None);
    assert_eq!(config.server.driver, Some(Driver::Uring));
    assert_eq!(
        (port(&config).as_str(), config.listeners.len()),
        ("127.0.0.1:5", 2)
    );
}

#[test]
fn the_names_of_the_seed() {
    let env = [
        ("LOG_LEVEL", "WARNING"),
        ("ENABLE_METRICS", "false"),
        ("ENV", "development"),
        ("PORT", ""),
    ];
    let config = good("", &env);
    assert_eq!(config.log.level, Level::Warn);
    assert!(!config.metrics && config.development);
    assert_eq!(config.listeners[0].address.port(), PORT);
    let said = problems(
        "",
        &[
            ("PORT", "http"),
            ("WORKERS", "many"),
            ("SSL", "true"),
            ("CERT_FILE", "/nowhere/cert.pem"),
        ],
    );
    assert!(
        said.contains("environment variable PORT: not a port"),
        "{said}"
    );
    assert!(
        said.contains("environment variable WORKERS: server.shards: \"many\" is not a whole"),
        "{said}"
    );
    assert!(
        said.contains("environment variable CERT_FILE: listener.tls.cert:"),
        "{said}"
    );
}

#[test]
fn variables_of_all_kinds() {
    let env = [
        ("RINGWAY_SERVER_HEADER_BUFFERS_COUNT", "3"),
        ("RINGWAY_SERVER_MAX_BODY_SIZE", "2m"),
        ("RINGWAY_SERVER_DEFAULT_ROUTES", "no"),
        ("RINGWAY_SERVER_SERVER_HEADER", ""),
        ("RINGWAY_MCP_ALLOWED_ORIGINS", "https://a.b, https://c.d"),
        ("RINGWAY_HEADERS", "{ X-A = \"1\" }"),
        (
            "RINGWAY_MCP_SERVERS",
            "{ t = { command = \"x\", args = [\"y\"] } }",
        ),
        ("RINGWAY_PORT_4444_TCP_ADDR", "10.0.0.1"),
        ("RINGWAY_SERVICE_HOST", "10.0.0.1"),
    ];
    let config = good("", &env);
    assert_eq!(
        config.server.header_buffers,
        HeaderBuffers {
            count: 3,
            size: 16384
        }
    );
    assert_eq!(config.server.max_body_size, 2 << 20);
    assert!(config.routes.is_empty() && config.server.server_header.is_empty());
    assert_eq!(config.mcp.allowed_origins, ["https://a.b", "https://c.d"]);
    assert_eq!(config.headers, [("X-A".to_owned(), "1".to_owned())]);
    assert_eq!(&*config.mcp.servers[0].name, "t");
    let loaded = load_text("", &[("RINGWAY_SERVER_BACKLOGG", "1")]).unwrap();
    assert_eq!(
        lines(&loaded.warnings),
        "environment variable RINGWAY_SERVER_BACKLOGG: unknown, so ignored\n    \
         did you mean RINGWAY_SERVER_BACKLOG?\n"
    );
}

#[test]
fn no_two_keys_share_a_variable() {
    let mut paths = Vec::new();
    RawConfig::variables("", &mut paths);
    assert!(paths.len() > 25, "{paths:?}");
    let mut names: Vec<String> = paths.iter().map(|path| variable_name(path)).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_schema_names_every_key_and_no_null() {
    let schema = json_schema();
    for key in RawConfig::KEYS
        .iter()
        .chain(sections::server::RawServer::KEYS)
        .chain(sections::mcp_server::RawEntry::KEYS)
    {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
    assert!(!schema.contains("\"null\""), "{schema}");
    let value: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(value["title"], "ringway.toml");
    assert_eq!(value["properties"]["server"]["$ref"], "#/$defs/RawServer");
    assert_eq!(value["additionalProperties"], false);
}

/// Every key of the schema stands in docs/CONFIGURATION.md: those of plain sections with their
/// section (`server.shards`), those of lists and named tables by themselves, in code.
#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../../docs/CONFIGURATION.md");
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let code = text.split('`').skip(1).step_by(2);
    let words: Vec<&str> = code.flat_map(|code| code.split(|c| !is_word(c))).collect();
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let mut missing = Vec::new();
    let mut count = 0;
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let section = schema["properties"].as_object().unwrap().iter();
        let reference = format!("#/$defs/{name}");
        let section = section
            .filter(|(_, value)| value["$ref"] == reference.as_str())
            .map(|(key, _)| format!("{key}."))
            .next()
            .unwrap_or_default();
        for key in definition["properties"].as_object().into_iter().flatten() {
            count += 1;
            let path = format!("{section}{}", key.0);
            let below = format!(".{}", key.0);
            let is_named = |word: &&str| {
                *word == path || (section.is_empty() && word.ends_with(below.as_str()))
            };
            if !words.iter().any(is_named) {
                missing.push(format!("{path} ({name})"));
            }
        }
    }
    assert!(missing.is_empty(), "not in the documentation: {missing:?}");
    assert!(count > 60, "{count}");
}

/// Files with a few bytes changed, as editors, merges and cut downloads leave them.
fn damaged(text: &str, cuts: &[(usize, u8)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for &(place, what) in cuts {
        let count = characters.len();
        let at = place % count.max(1);
        let strange = ['"', '{', '[', '$', '\n', 'ü'][place % 6];
        match what % 4 {
            0 => characters.truncate(at),
            1 if count > 0 => drop(characters.remove(at)),
            2 if count > 0 => characters.swap(at, place / 7 % count),
            _ => characters.insert(at, strange),
        }
    }
    characters.into_iter().collect()
}

proptest::proptest! {
    #[test]
    fn no_damaged_file_panics(
        cuts in proptest::collection::vec((0..10_000_usize, proptest::num::u8::ANY), 1..6),
        which in 0..6_usize,
    ) {
        let texts = [
            include_str!("../../tests/fixtures/config/full.toml"),
            include_str!("../../tests/fixtures/config/bad.toml"),
            include_str!("../../tests/fixtures/mcp-json/codex_config.toml"),
            include_str!("../../tests/fixtures/mcp-json/typos.json"),
            include_str!("../../tests/fixtures/mcp-json/shop/.vscode/mcp.json"),
            include_str!("../../tests/fixtures/mcp-json/gemini_settings.json"),
        ];
        let text = damaged(texts[which], &cuts);
        let (name, mcp) = match which {
            0 | 1 => ("ringway.toml", None),
            2 => ("codex.toml", Some("codex.toml")),
            _ => ("mcp.json", Some("mcp.json")),
        };
        let options = Options {
            mcp: mcp.map(PathBuf::from).into_iter().collect(),
            ..Options::default()
        };
        let read = |path: &Path| match path.to_str() {
            Some(asked) if asked == name => Ok(text.clone()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        // Whatever it says, it says it with a place.
        if let Err(problems) = load_with(&options, &environment(CLIENT_ENV), &read) {
            for problem in &problems {
                proptest::prop_assert!(problem.place.contains(name), "{}", problem);
            }
        }
    }
}
