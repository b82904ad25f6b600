//! Where text goes: standard output and standard error, colour and width. A reader that went
//! away (`ringway tools | head`) is no failure.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

/// What the process's own terminal can do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terminal {
    /// Standard output takes colours.
    has_colour: bool,
    /// Standard error takes colours.
    errors_have_colour: bool,
    /// Someone can be asked: standard input and standard error are a terminal.
    pub(super) is_interactive: bool,
    /// Columns to write within.
    pub(super) columns: usize,
}

/// Text of this width reads well where nothing is known.
const COLUMNS_DEFAULT: usize = 80;
/// Longer lines do not read well.
const COLUMNS_MAX: usize = 120;
const COLUMNS_MIN: usize = 40;

impl Terminal {
    /// Looks at the standard streams, NO_COLOR and COLUMNS.
    pub(super) fn of_process() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let is_terminal = std::io::stdout().is_terminal();
        Self {
            has_colour: !no_colour && is_terminal,
            errors_have_colour: !no_colour && std::io::stderr().is_terminal(),
            is_interactive: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            columns: columns(is_terminal),
        }
    }

    /// Writes to standard output.
    pub(super) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    /// Writes a line to standard error.
    pub(super) fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Writes a question to standard error and stays on its line.
    pub(super) fn prompt(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    /// Writes over the current line of standard error.
    pub(super) fn rewrite(&self, line: &str) {
        let line: String = line.chars().take(self.columns.saturating_sub(1)).collect();
        self.prompt(&format!("\r\x1b[K{line}"));
    }

    /// Writes a warning to standard error.
    pub(super) fn warn(&self, text: &str) {
        self.note(&self.marked("33", "warning: ", text));
    }

    /// Writes an error to standard error.
    pub(super) fn complain(&self, text: &str) {
        self.note(&self.marked("31", "error: ", text));
    }

    fn marked(&self, colour: &str, mark: &str, text: &str) -> String {
        if self.errors_have_colour {
            format!("\x1b[{colour};1m{mark}\x1b[0m{text}")
        } else {
            format!("{mark}{text}")
        }
    }

    /// `text` in bold on a terminal.
    pub(super) fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// `text` less bright on a terminal.
    pub(super) fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.has_colour {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// COLUMNS, else what the terminal says, else 80.
fn columns(is_terminal: bool) -> usize {
    let named = std::env::var("COLUMNS").ok();
    let named = named.and_then(|columns| columns.parse::<usize>().ok());
    let columns = match named {
        None if is_terminal => terminal_columns(),
        named => named,
    };
    columns.map_or(COLUMNS_DEFAULT, |columns| {
        columns.clamp(COLUMNS_MIN, COLUMNS_MAX)
    })
}

/// Asks `stty`: the system call itself would need unsafe code for a nicety.
fn terminal_columns() -> Option<usize> {
    let terminal = std::fs::File::open("/dev/tty").ok()?;
    let output = Command::new("stty")
        .arg("size")
        .stdin(terminal)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let size = String::from_utf8(output.stdout).ok()?;
    let columns = size.split_whitespace().nth(1)?.parse().ok()?;
    (columns > 0).then_some(columns)
}

/// Breaks text into lines of at most `width` characters, at spaces where there are any. Lines of
/// the text stay apart, blank ones included.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let indent: String = paragraph
            .chars()
            .take_while(|c| *c == ' ')
            .take(width / 2)
            .collect();
        let mut line = indent.clone();
        let mut length = indent.len();
        let mut is_empty = true;
        for word in paragraph.split_whitespace() {
            let word_length = word.chars().count();
            if !is_empty && length + 1 + word_length > width {
                lines.push(std::mem::replace(&mut line, indent.clone()));
                length = indent.len();
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += word_length;
            is_empty = false;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  one two\n\nx", 6), ["  one", "  two", "", "x"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
        assert!(wrap("", 10).is_empty());
    }
}
