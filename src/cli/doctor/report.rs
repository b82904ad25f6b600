//! What was found, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::terminal::{Terminal, wrap};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Works, and could be better.
    Note,
    /// Does not work, or soon will not.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Which part: `kernel`, `limits`, `sysctl`, `tls`, `mcp` …
    pub(super) area: &'static str,
    pub(super) level: Level,
    /// What is so.
    pub(super) what: String,
    /// What to do, where something is to be done.
    pub(super) advice: Option<String>,
}

/// One MCP server.
#[derive(Debug, Default, Serialize)]
pub(super) struct ServerReport {
    pub(super) name: String,
    pub(super) transport: &'static str,
    /// Command line or URL, without what is secret.
    pub(super) target: String,
    /// Where its program is.
    pub(super) program: Option<String>,
    /// Where it was looked for, if it was not found.
    pub(super) searched: Vec<String>,
    pub(super) reachable: Option<bool>,
    pub(super) era: Option<&'static str>,
    pub(super) revision: Option<String>,
    /// Its tools.
    pub(super) tools: Option<usize>,
    /// What they cost a model to be told of, about.
    pub(super) tokens: Option<usize>,
    /// Until its list had come, in milliseconds.
    pub(super) millis: Option<u64>,
}

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    findings: Vec<Finding>,
    pub(super) servers: Vec<ServerReport>,
}

impl Report {
    pub(super) fn ok(&mut self, area: &'static str, what: impl Into<String>) {
        self.push(area, Level::Ok, what.into(), None);
    }

    pub(super) fn note(&mut self, area: &'static str, what: String, advice: Option<String>) {
        self.push(area, Level::Note, what, advice);
    }

    pub(super) fn problem(
        &mut self,
        area: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.push(area, Level::Problem, what.into(), Some(advice.into()));
    }

    fn push(&mut self, area: &'static str, level: Level, what: String, advice: Option<String>) {
        self.findings.push(Finding {
            area,
            level,
            what,
            advice,
        });
    }

    pub(super) fn problems(&self) -> usize {
        self.count(Level::Problem)
    }

    fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    }

    #[cfg(test)]
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// One object.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Whole<'a> {
            ok: bool,
            problems: usize,
            notes: usize,
            #[serde(flatten)]
            report: &'a Report,
        }
        let whole = Whole {
            ok: self.problems() == 0,
            problems: self.problems(),
            notes: self.count(Level::Note),
            report: self,
        };
        let mut text = sonic_rs::to_string_pretty(&whole).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Lines for people: a mark, the area, what is so, and below it what to do.
    pub(super) fn text(&self, terminal: &Terminal) -> String {
        const INDENT: usize = 19;
        let width = terminal.columns.saturating_sub(INDENT).max(24);
        let margin = " ".repeat(INDENT);
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.level {
                Level::Ok => "ok  ",
                Level::Note => "note",
                Level::Problem => "BAD ",
            };
            let mark = if finding.level == Level::Problem {
                terminal.bold(mark)
            } else {
                mark.to_owned()
            };
            let what = wrap(&finding.what, width).join(&format!("\n{margin}"));
            let _ = writeln!(text, "{mark} {:<13} {what}", finding.area);
            if let Some(advice) = &finding.advice {
                for (at, line) in wrap(advice, width.saturating_sub(3)).iter().enumerate() {
                    let arrow = if at == 0 { "→ " } else { "  " };
                    let _ = writeln!(text, "{margin}{}", terminal.dim(&format!("{arrow}{line}")));
                }
            }
        }
        let plural = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        let problems = plural(self.problems(), "problem");
        let notes = plural(self.count(Level::Note), "note");
        let _ = writeln!(text, "{problems}, {notes}");
        text
    }
}
