//! The user at the other end of a call: sees progress and log messages, is asked for input.

use sonic_rs::{JsonValueTrait as _, Value};

use super::elicit;
use super::error::ClientError;
use crate::cli::terminal::Terminal;

/// What the user sees and says while a request is under way.
pub(in crate::cli) struct Attendant {
    terminal: Terminal,
    /// Answers given beforehand with `--answer`.
    answers: Vec<(String, String)>,
    is_verbose: bool,
    /// Who asks, for the user to see.
    server: String,
    /// Progress is on the current line of the terminal.
    has_progress_line: bool,
}

impl Attendant {
    pub(in crate::cli) fn new(
        terminal: Terminal,
        answers: Vec<(String, String)>,
        is_verbose: bool,
    ) -> Self {
        Self {
            terminal,
            answers,
            is_verbose,
            server: "the server".to_owned(),
            has_progress_line: false,
        }
    }

    /// Learns the server's name, so that the user sees who asks.
    pub(super) fn meet(&mut self, server: &str) {
        if !server.is_empty() {
            self.server = plain(server);
        }
    }

    /// Whether log messages of the server are wanted.
    pub(super) fn wants_log(&self) -> bool {
        self.is_verbose
    }

    /// A step of the protocol, for `--verbose`.
    pub(super) fn trace(&mut self, text: &str) {
        if self.is_verbose {
            self.end_progress();
            self.terminal.note(&format!("· {text}"));
        }
    }

    /// A notification of the server.
    pub(super) fn notice(&mut self, method: &str, params: Option<&Value>) {
        let text = |key: &str| params.and_then(|params| params.get(key));
        match method {
            "notifications/progress" => {
                let number = |key| text(key).and_then(|value| value.as_f64());
                let message = text("message").and_then(|value| value.as_str());
                self.progress(number("progress"), number("total"), message);
            }
            "notifications/message" if self.is_verbose => {
                self.end_progress();
                let level = text("level")
                    .and_then(|value| value.as_str())
                    .unwrap_or("log");
                let data = match text("data") {
                    Some(data) => match data.as_str() {
                        Some(line) => line.to_owned(),
                        None => sonic_rs::to_string(data).unwrap_or_default(),
                    },
                    None => String::new(),
                };
                self.terminal
                    .note(&format!("[{}] {}", plain(level), plain(&data)));
            }
            _ => self.trace(&plain(method)),
        }
    }

    fn progress(&mut self, done: Option<f64>, total: Option<f64>, message: Option<&str>) {
        let done = done.unwrap_or(0.0);
        let mut line = match total.filter(|&total| total > 0.0) {
            Some(total) => {
                let percent = (done / total * 100.0).clamp(0.0, 100.0);
                format!("{percent:3.0} %  {done} of {total}")
            }
            None => format!("progress {done}"),
        };
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            line.push_str("  ");
            line.push_str(&plain(message));
        }
        if self.terminal.is_interactive {
            self.terminal.rewrite(&line);
            self.has_progress_line = true;
        } else {
            self.terminal.note(&line);
        }
    }

    /// Leaves the line of the progress.
    pub(super) fn end_progress(&mut self) {
        if std::mem::take(&mut self.has_progress_line) {
            self.terminal.note("");
        }
    }

    /// Answers one of the requests that a modern result carries, as JSON.
    pub(super) fn input(&mut self, request: &Value) -> Result<String, ClientError> {
        let method = request.get("method").and_then(|method| method.as_str());
        match method.unwrap_or_default() {
            "elicitation/create" if !self.can_answer(request.get("params")) => {
                let message = request
                    .get("params")
                    .and_then(|params| params.get("message"))
                    .and_then(|message| message.as_str())
                    .unwrap_or("(no message)");
                Err(ClientError::Input(format!(
                    "the tool asks for input, and there is no terminal to ask on: {}\n    \
                     give the answers with --answer NAME=VALUE: {}",
                    plain(message),
                    elicit::wanted(request.get("params"))
                )))
            }
            "elicitation/create" => Ok(self.elicit(request.get("params"))),
            "roots/list" => Ok("{\"roots\":[]}".to_owned()),
            other => Err(ClientError::Input(format!(
                "the tool asks for `{}`, which this client cannot do",
                plain(other)
            ))),
        }
    }

    /// A request of the server that this client does not serve.
    pub(super) fn refuse(&mut self, method: &str) {
        self.end_progress();
        let method = plain(method);
        self.terminal.note(&format!(
            "the server asks for {method}, which this client cannot do"
        ));
    }

    fn can_answer(&self, params: Option<&Value>) -> bool {
        self.terminal.is_interactive || elicit::from_answers(params, &self.answers).is_some()
    }

    /// Answers an elicitation as JSON: with `--answer`, at the terminal, or by declining.
    pub(super) fn elicit(&mut self, params: Option<&Value>) -> String {
        self.end_progress();
        if let Some(answer) = elicit::from_answers(params, &self.answers) {
            return answer;
        }
        if self.terminal.is_interactive {
            return elicit::at_terminal(&self.server, params, &self.terminal);
        }
        let message = params
            .and_then(|params| params.get("message"))
            .and_then(|message| message.as_str())
            .unwrap_or("(no message)");
        self.terminal.note(&format!(
            "{} asks: {}\n    declined: there is no terminal; give answers with --answer \
             NAME=VALUE: {}",
            self.server,
            plain(message),
            elicit::wanted(params)
        ));
        "{\"action\":\"decline\"}".to_owned()
    }
}

/// Text of a server without characters that would steer the terminal.
pub(in crate::cli) fn plain(text: &str) -> String {
    let is_hostile = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars()
        .map(|c| if is_hostile(c) { '\u{fffd}' } else { c })
        .collect()
}
