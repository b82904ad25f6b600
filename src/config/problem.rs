//! What is wrong with the configuration, where, and what to write instead. Problems are gathered
//! and shown all at once; none of them holds a secret.

use std::fmt;
use std::sync::Arc;

/// One thing that is wrong, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, or the name of the variable or flag.
    pub place: String,
    /// Dotted path of the key; empty where no key is concerned.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// Position in the file, to put problems in its order.
    pub(super) offset: usize,
}

impl Problem {
    pub(super) fn new(at: &At, key: &str, message: impl Into<String>) -> Self {
        Self {
            place: at.to_string(),
            key: key.to_owned(),
            message: message.into(),
            hint: None,
            offset: at.offset,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is wrong without the place, on one line.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut line = String::new();
        if !self.key.is_empty() {
            line.push_str(&self.key);
            line.push_str(": ");
        }
        line.push_str(&self.message);
        if let Some(hint) = &self.hint {
            line.push_str(" (");
            line.push_str(hint);
            line.push(')');
        }
        line
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    {hint}")?;
        }
        Ok(())
    }
}

/// Everything found while reading: what forbids the start, and what only deserves a word.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Values that cannot be used.
    pub(super) errors: Vec<Problem>,
    /// Keys that nobody knows. Errors in our own file, warnings in other programs' files.
    pub(super) unknown: Vec<Problem>,
    /// Worth a word at start.
    pub(super) warnings: Vec<Problem>,
}

impl Findings {
    /// Unknown keys of another program's file become warnings, one for each name: a field that
    /// its author uses stands in every entry.
    pub(super) fn excuse(&mut self, unknown: Vec<Problem>) {
        let name = |problem: &Problem| problem.key.rsplit('.').next().map(str::to_owned);
        for problem in unknown {
            let is_known =
                |known: &Problem| known.message == problem.message && name(known) == name(&problem);
            if !self.warnings.iter().any(is_known) {
                self.warnings.push(problem);
            }
        }
    }
}

/// A file, a variable or a flag that values come from.
#[derive(Debug)]
pub(super) struct Source {
    kind: Kind,
    name: String,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    File,
    Variable,
    Flag,
}

/// Where in a source a value stands.
#[derive(Clone, Debug)]
pub(super) struct At {
    source: Arc<Source>,
    offset: usize,
}

impl At {
    /// The start of a file.
    pub(super) fn file(name: &str, text: &str) -> Self {
        Self::new(Kind::File, name, text)
    }

    /// A value from the environment.
    pub(super) fn variable(name: &str) -> Self {
        Self::new(Kind::Variable, name, "")
    }

    /// A value from the command line.
    pub(super) fn flag(name: &str) -> Self {
        Self::new(Kind::Flag, name, "")
    }

    fn new(kind: Kind, name: &str, text: &str) -> Self {
        Self {
            source: Arc::new(Source {
                kind,
                name: name.to_owned(),
                text: text.to_owned(),
            }),
            offset: 0,
        }
    }

    /// Another place of the same source.
    pub(super) fn at(&self, offset: usize) -> Self {
        Self {
            source: Arc::clone(&self.source),
            offset,
        }
    }

    /// Position in the source, for putting things in the order they were written.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// Whether the value is plain text that stands for any type: from a variable or a flag.
    pub(super) fn is_text(&self) -> bool {
        self.source.kind != Kind::File
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.source.name;
        match self.source.kind {
            Kind::File => {
                let before = self
                    .source
                    .text
                    .as_bytes()
                    .get(..self.offset)
                    .unwrap_or(&[]);
                let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
                let start = before.iter().rposition(|&byte| byte == b'\n');
                let column = before.get(start.map_or(0, |at| at + 1)..).unwrap_or(&[]);
                // Columns count characters: continuation bytes of UTF-8 are no characters.
                let column = 1 + column.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
                write!(f, "{name}:{line}:{column}")
            }
            Kind::Variable => write!(f, "environment variable {name}"),
            Kind::Flag => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let start = At::file("a.toml", "x = 1\n\"ü\" = 2\n");
        assert_eq!(start.to_string(), "a.toml:1:1");
        assert_eq!(start.at(4).to_string(), "a.toml:1:5");
        assert_eq!(start.at(6).to_string(), "a.toml:2:1");
        assert_eq!(start.at(13).to_string(), "a.toml:2:7");
        assert_eq!(start.at(999).to_string(), "a.toml:1:1");
        assert_eq!(
            At::variable("PORT").to_string(),
            "environment variable PORT"
        );
    }
}
