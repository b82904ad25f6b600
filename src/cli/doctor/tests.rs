//! Reports as people and programs get them.

use super::report::Report;
use super::servers::find;
use crate::cli::terminal::Terminal;
use crate::config::{Env, McpServer, McpTarget};

#[test]
fn a_report_says_what_to_do_and_counts() {
    let mut report = Report::default();
    report.ok("driver", "Linux 6.18, io_uring");
    report.note("sysctl", "one key".to_owned(), Some("make tune".to_owned()));
    report.problem("mcp", "time: gone", "install it");
    let mut terminal = Terminal::default();
    terminal.columns = 60;
    let text = report.text(&terminal);
    assert!(text.contains("BAD  mcp           time: gone\n"), "{text}");
    assert!(text.contains("→ install it\n"), "{text}");
    assert!(text.ends_with("1 problem, 1 note\n"), "{text}");
    let json: sonic_rs::Value = sonic_rs::from_str(&report.json()).unwrap();
    let text = sonic_rs::to_string(&json).unwrap();
    assert!(text.contains("\"ok\":false") && text.contains("\"level\":\"problem\""));
}

#[test]
fn every_place_that_was_searched_is_told() {
    let server = |command: &str| {
        McpServer::new(
            "x",
            McpTarget::Stdio {
                command: command.to_owned(),
                args: Vec::new(),
                env: std::collections::BTreeMap::new(),
                cwd: None,
            },
        )
    };
    let env: Env = [("PATH".to_owned(), "/nowhere:/bin".to_owned())]
        .into_iter()
        .collect();
    assert_eq!(find(&server("sh"), &env).as_deref(), Ok("/bin/sh"));
    let missing = find(&server("no-such"), &env).unwrap_err();
    assert_eq!(missing, ["/nowhere/no-such", "/bin/no-such"]);
    assert_eq!(find(&server("/a/b"), &env).unwrap_err(), ["/a/b"]);
    let none = find(&server("sh"), &Env::default()).unwrap_err();
    assert_eq!(none, ["an empty PATH"]);
}
