//! `[log]`: what is logged, and where.

use core::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Around;
use crate::base::log::Level;
use crate::config::kinds::{Period, Size, words};
use crate::config::log_format::{
    COMBINED, Escape, GUNICORN, LogFormat, MAIN, compile, is_template,
};
use crate::config::node::{Node, Value};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, Read, mismatch, section};
use crate::config::units::{HOUR_MS, to_usize};

section! {
    /// What is logged, and where.
    RawLog {
        /// Lines below this level are not written. Also LOG_LEVEL.
        level: LevelWord,
        /// Diagnostics: a path, or "-" for standard error.
        error: Placed<String>,
        /// Access log: a path, "-" for standard output, or "off".
        access: Placed<String>,
        /// Format of the access log: main (nginx), combined, gunicorn, json, or a template with
        /// nginx's variables ("$remote_addr $status") or Gunicorn's atoms ("%(h)s %(s)s").
        format: Placed<String>,
        /// Only responses with these statuses have lines, for example ["404", "5xx", "400-403"].
        access_status: Vec<StatusRange>,
        /// How a template's values are made harmless: default (as nginx: \xHH) or json.
        escape: Placed<EscapeWord>,
        /// Access log lines gather in each shard up to this size; 0 writes each line at once.
        buffer: Size<0, { 1 << 20 }>,
        /// Older lines are written also where the buffer is not full.
        flush: Period<100, HOUR_MS>,
    }
}

words! {
    /// `level`; Gunicorn's and nginx's words are understood.
    LevelWord(Level) {
        "error" | "critical" | "crit" | "alert" | "emerg" | "fatal" => Level::Error,
        "warn" | "warning" => Level::Warn,
        "info" | "notice" => Level::Info,
        "debug" | "trace" => Level::Debug,
    }
}

words! {
    /// `escape`
    EscapeWord(Escape) {
        "default" => Escape::Default,
        "json" => Escape::Json,
    }
}

/// The statuses that "404", "5xx" or "400-403" means.
pub(super) fn status_range(text: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| {
        let status = text.parse::<u16>().ok()?;
        (100..=599).contains(&status).then_some(status)
    };
    match (text.strip_suffix("xx"), text.split_once('-')) {
        (Some(class), _) => {
            let first = class.parse::<u16>().ok().filter(|n| (1..=5).contains(n));
            first.map(|first| first * 100..=first * 100 + 99)
        }
        (None, Some((first, last))) => status(first)
            .zip(status(last))
            .map(|(first, last)| first..=last)
            .filter(|range| !range.is_empty()),
        (None, None) => status(text).map(|one| one..=one),
    }
}

/// Statuses: "404", "5xx", "400-403".
#[derive(Clone, Debug)]
pub(in crate::config) struct StatusRange(RangeInclusive<u16>);

impl Read for StatusRange {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = match &node.value {
            Value::Number(digits) => digits.as_str(),
            Value::Text(text) => text.filled.trim(),
            _ => "",
        };
        let range = status_range(text);
        if range.is_none() {
            let hint = "write \"404\", \"5xx\" or \"400-403\"";
            mismatch(node, key, "a status between 100 and 599", hint, found);
        }
        range.map(Self)
    }
}

impl schemars::JsonSchema for StatusRange {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusRange".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^[1-5]([0-9]{2}(-[1-5][0-9]{2})?|xx)$" },
            ],
        })
    }
}

/// The formats that have a name.
const FORMATS: [&str; 4] = ["main", "combined", "gunicorn", "json"];

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Lines below this level are not written.
    pub level: Level,
    /// Where diagnostics go.
    pub error: LogTarget,
    /// Where access log lines go.
    pub access: LogTarget,
    /// Access log format.
    pub format: LogFormat,
    /// Statuses that have lines; empty is all.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Bytes of access log lines that gather in a shard.
    pub buffer: usize,
    /// Age at which they are written in any case.
    pub flush: Duration,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            error: LogTarget::Stderr,
            access: LogTarget::Stdout,
            format: preset(MAIN),
            statuses: Vec::new(),
            buffer: 64 << 10,
            flush: Duration::from_secs(1),
        }
    }
}

/// A format that this program brings along. A test compiles them all.
fn preset(text: &str) -> LogFormat {
    match compile(text, Escape::Default) {
        Ok(template) => LogFormat::Template(template),
        Err(_) => LogFormat::Json,
    }
}

pub(super) fn resolve(raw: RawLog, around: &Around<'_>, found: &mut Findings) -> Log {
    let defaults = Log::default();
    Log {
        level: raw.level.map_or(defaults.level, |word| word.0),
        format: match &raw.format {
            Some(written) => format(written, raw.escape.as_ref(), found),
            None => defaults.format,
        },
        statuses: raw
            .access_status
            .map(|ranges| ranges.into_iter().map(|range| range.0).collect())
            .unwrap_or_default(),
        error: match raw.error {
            Some(path) => target(&path, ("log.error", defaults.error), around, found),
            None => defaults.error,
        },
        access: match raw.access {
            Some(path) => target(&path, ("log.access", defaults.access), around, found),
            None => defaults.access,
        },
        buffer: raw.buffer.map_or(defaults.buffer, |size| to_usize(size.0)),
        flush: raw.flush.map_or(defaults.flush, |period| period.0),
    }
}

fn target(
    written: &Placed<String>,
    (key, dash): (&str, LogTarget),
    around: &Around<'_>,
    found: &mut Findings,
) -> LogTarget {
    match written.value.as_str() {
        "off" | "none" | "" => LogTarget::Off,
        "-" => dash,
        "stdout" | "/dev/stdout" => LogTarget::Stdout,
        "stderr" | "/dev/stderr" => LogTarget::Stderr,
        path => around
            .file_to_write(path, (&written.at, key), found)
            .map_or(LogTarget::Off, LogTarget::File),
    }
}

fn format(
    written: &Placed<String>,
    escape: Option<&Placed<EscapeWord>>,
    found: &mut Findings,
) -> LogFormat {
    const KEY: &str = "log.format";
    let text = written.value.as_str();
    if is_template(text) {
        let escape = escape.map_or(Escape::Default, |word| word.value.0);
        match compile(text, escape) {
            Ok(template) => return LogFormat::Template(template),
            Err(unknown) => {
                for unknown in unknown {
                    let problem = Problem::new(&written.at, KEY, unknown.message);
                    found.errors.push(match unknown.hint {
                        Some(hint) => problem.hint(hint),
                        None => problem,
                    });
                }
            }
        }
        return LogFormat::Json;
    }
    if let Some(escape) = escape {
        let problem = Problem::new(&escape.at, "log.escape", "only a template has a choice");
        found
            .errors
            .push(problem.hint("write the format as a template, or leave `escape` out"));
    }
    match text {
        "main" => preset(MAIN),
        "combined" => preset(COMBINED),
        "gunicorn" => preset(GUNICORN),
        "json" => LogFormat::Json,
        other => {
            let message = format!("\"{}\" is not a format", other.escape_debug());
            let known = FORMATS.join(", ");
            let hint = match crate::base::nearest::nearest(other, FORMATS) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("one of {known}, or a template: \"$remote_addr $status\""),
            };
            let problem = Problem::new(&written.at, KEY, message).hint(hint);
            found.errors.push(problem);
            LogFormat::Json
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{good, problems};

    #[test]
    fn formats_by_name_and_as_templates() {
        let format = |text: &str| good(&format!("[log]\n{text}"), &[]).log.format;
        assert_eq!(format(""), preset(MAIN));
        assert_eq!(format("format = 'gunicorn'"), preset(GUNICORN));
        assert_eq!(format("format = 'combined'"), preset(COMBINED));
        assert_eq!(format("format = 'json'"), LogFormat::Json);
        let LogFormat::Template(own) = format("format = '$status'\nescape = 'json'") else {
            panic!("a template")
        };
        assert_eq!((own.pieces.len(), own.escape), (1, Escape::Json));
    }

    #[test]
    fn targets() {
        let log = good(
            "[log]\naccess = 'a.log'\nerror = '-'\nbuffer = '64k'\nflush = '5s'",
            &[],
        )
        .log;
        let LogTarget::File(path) = &log.access else {
            panic!("{log:?}")
        };
        assert!(path.is_absolute() && path.ends_with("a.log"));
        assert_eq!(log.error, LogTarget::Stderr);
        assert_eq!((log.buffer, log.flush.as_secs()), (64 << 10, 5));
        let log = good("[log]\naccess = '/dev/stderr'\nerror = 'off'", &[]).log;
        assert_eq!((log.access, log.error), (LogTarget::Stderr, LogTarget::Off));
    }

    #[test]
    fn statuses() {
        let text = "[log]\naccess_status = ['404', '5xx', '400-403', 302]";
        let log = good(text, &[]).log;
        assert_eq!(log.statuses, [404..=404, 500..=599, 400..=403, 302..=302]);
        let log = good("", &[("RINGWAY_LOG_ACCESS_STATUS", "5xx, 404")]).log;
        assert_eq!(log.statuses, [500..=599, 404..=404]);
        let said = problems(
            "[log]\naccess_status = ['6xx', '99', '403-400', 'x', '4-5']",
            &[],
        );
        assert_eq!(
            said.matches("is not a status between 100 and 599").count(),
            5,
            "{said}"
        );
        assert!(
            said.starts_with("ringway.toml:2:18: log.access_status: \"6xx\""),
            "{said}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_format_is_told_at_once() {
        let said = problems(
            "[log]\nformat = '$statsu $zzzzz'\nescape = 'jsn'\nbuffer = '2m'\n",
            &[],
        );
        for expected in [
            "ringway.toml:2:10: log.format: unknown variable $statsu\n    did you mean $status?",
            "ringway.toml:2:10: log.format: unknown variable $zzzzz\n",
            "ringway.toml:3:10: log.escape: \"jsn\" is not one of default, json\n    did you mean \"json\"?",
            "ringway.toml:4:10: log.buffer: \"2m\" is not within the bounds\n    between 0 and 1m",
        ] {
            assert!(said.contains(expected), "{said}");
        }
        let said = problems("[log]\nformat = 'mian'\nescape = 'json'\n", &[]);
        assert!(
            said.contains("\"mian\" is not a format\n    did you mean \"main\"?"),
            "{said}"
        );
        assert!(
            said.contains("log.escape: only a template has a choice"),
            "{said}"
        );
    }
}
