//! Where text goes: standard output and standard error, colour and width. A reader that went
//! away (`ringway tools | head`) is no failure.

use std::io::{IsTerminal as _, Write as _};

/// What the process's own terminal can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// Standard error takes colours.
    errors_have_colour: bool,
}

impl Terminal {
    /// Looks at the standard streams, NO_COLOR and COLUMNS.
    pub(super) fn of_process() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            errors_have_colour: !no_colour && std::io::stderr().is_terminal(),
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
}
