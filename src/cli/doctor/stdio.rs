//! A short conversation with a child: which era, which tools. Messages are lines
//! (basic/transports/stdio). The child is ended in any case.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _, Value};

use super::servers::Heard;
use crate::base::clock;
use crate::cli::tools::Tool;
use crate::config::{McpServer, McpTarget};
use crate::mcp::revision::{Era, Revision};

/// A server of the legacy era may say nothing to a question it does not know.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A line is a message; a longer one is no list of tools.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Lines that may wait.
const LINES_MAX: usize = 64;
const PAGES_MAX: usize = 1000;
/// For a child to end once its input has ended.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// What a server's child says.
///
/// # Errors
/// Why it says nothing useful, for people.
pub(super) fn ask(server: &McpServer, timeout: Duration) -> Result<Heard, String> {
    let mut talk = Talk::start(server, timeout)?;
    let revision = match server.era {
        Some(Era::Legacy) => talk.initialize()?,
        Some(Era::Modern) => talk
            .discover(timeout)?
            .ok_or("it does not speak 2026-07-28")?,
        None => match talk.discover(SILENCE_MAX.min(timeout)) {
            Ok(Some(revision)) => revision,
            Ok(None) => talk.initialize()?,
            // One that a strange question ended gets another chance.
            Err(_) => {
                talk = Talk::start(server, timeout)?;
                talk.initialize()?
            }
        },
    };
    let tools = talk.tools(revision)?;
    Ok(Heard { revision, tools })
}

struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    next_id: u64,
    timeout: Duration,
}

impl Talk {
    fn start(server: &McpServer, timeout: Duration) -> Result<Self, String> {
        let McpTarget::Stdio {
            command,
            args,
            env,
            cwd,
        } = &server.target
        else {
            return Err("it is no program".to_owned());
        };
        let mut program = Command::new(command);
        program
            .args(args)
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(cwd) = cwd {
            program.current_dir(cwd);
        }
        let mut child = program
            .spawn()
            .map_err(|error| format!("`{command}` cannot be started: {error}"))?;
        let (sender, lines) = sync_channel(LINES_MAX);
        if let Some(output) = child.stdout.take() {
            let reading = thread::Builder::new().spawn(move || {
                let mut output = BufReader::new(output);
                loop {
                    let mut line = Vec::new();
                    let mut some = output.by_ref().take(LINE_BYTES_MAX);
                    match some.read_until(b'\n', &mut line) {
                        Ok(0) | Err(_) => return,
                        Ok(_) if sender.send(line).is_err() => return,
                        Ok(_) => {}
                    }
                }
            });
            drop(reading);
        }
        Ok(Self {
            input: child.stdin.take(),
            child,
            lines,
            next_id: 1,
            timeout,
        })
    }

    fn send(&mut self, message: &str) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("it takes no input")?;
        let line = format!("{message}\n");
        let written = input
            .write_all(line.as_bytes())
            .and_then(|()| input.flush());
        written.map_err(|_| "it ended before it answered".to_owned())
    }

    /// Asks, and waits for the response with that id. `None`: silence.
    fn request(
        &mut self,
        method: &str,
        params: &str,
        patience: Duration,
    ) -> Result<Option<(Bytes, Value)>, String> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{params}}}}}"
        ))?;
        let until = clock::mono() + patience;
        loop {
            let left = until.saturating_duration_since(clock::mono());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("it ended before it answered".to_owned());
                }
            };
            let Ok(value) = sonic_rs::from_slice::<Value>(&line) else {
                continue; // Some print to standard output what belongs on standard error.
            };
            if value.get("id").and_then(|found| found.as_u64()) == Some(id) {
                return Ok(Some((line.into(), value)));
            }
        }
    }

    fn discover(&mut self, patience: Duration) -> Result<Option<Revision>, String> {
        let params = modern_meta();
        let Some((_, answer)) = self.request("server/discover", &params, patience)? else {
            return Ok(None);
        };
        let listed = answer
            .get("result")
            .and_then(|r| r.get("supportedVersions"));
        let is_listed = listed.and_then(|list| list.as_array()).is_some_and(|list| {
            let mut texts = list.iter().filter_map(|version| version.as_str());
            texts.any(|text| text == Revision::LATEST.as_str())
        });
        Ok(is_listed.then_some(Revision::LATEST))
    }

    fn initialize(&mut self) -> Result<Revision, String> {
        let params = format!(
            "\"protocolVersion\":\"{}\",\"capabilities\":{{}},\"clientInfo\":{CLIENT}",
            Revision::LEGACY_LATEST.as_str()
        );
        let timeout = self.timeout;
        let answer = self.request("initialize", &params, timeout)?;
        let (_, answer) = answer.ok_or_else(|| format!("no answer within {timeout:?}"))?;
        let version = answer.get("result").and_then(|r| r.get("protocolVersion"));
        let version = version.and_then(|text| text.as_str()).unwrap_or_default();
        let revision = Revision::parse(version).ok_or_else(|| refusal(&answer))?;
        self.send("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}")?;
        Ok(revision)
    }

    fn tools(&mut self, revision: Revision) -> Result<Vec<Tool>, String> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let mut params = cursor.clone();
            if revision.era() == Era::Modern {
                if !params.is_empty() {
                    params.push(',');
                }
                params.push_str(&modern_meta());
            }
            let timeout = self.timeout;
            let page = self.request("tools/list", &params, timeout)?;
            let (raw, value) = page.ok_or_else(|| format!("no list within {timeout:?}"))?;
            if value
                .get("error")
                .is_some_and(|error| error.get("code").and_then(|c| c.as_i64()) == Some(-32601))
            {
                return Ok(Vec::new()); // It has no tools.
            }
            let list =
                sonic_rs::get_from_slice(&raw, ["result", "tools"]).map_err(|_| refusal(&value))?;
            for item in sonic_rs::to_array_iter(list.as_raw_str()) {
                let item = item.map_err(|error| error.to_string())?;
                items.push(Bytes::copy_from_slice(item.as_raw_str().as_bytes()));
            }
            let next = value.get("result").and_then(|r| r.get("nextCursor"));
            match next.and_then(|next| next.as_str()) {
                Some(next) => cursor = format!("\"cursor\":{}", crate::cli::client::quoted(next)),
                None => return Ok(Tool::of_list(items)),
            }
        }
        Err("its list of tools has no end".to_owned())
    }
}

const CLIENT: &str = "{\"name\":\"ringway-doctor\",\"version\":\"1\"}";

fn modern_meta() -> String {
    format!(
        "\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{}\",\
         \"io.modelcontextprotocol/clientInfo\":{CLIENT},\
         \"io.modelcontextprotocol/clientCapabilities\":{{}}}}",
        Revision::LATEST.as_str()
    )
}

fn refusal(answer: &Value) -> String {
    let message = answer.get("error").and_then(|error| error.get("message"));
    match message.and_then(|message| message.as_str()) {
        Some(message) => format!("it refused: {message}"),
        None => "its answer is not MCP".to_owned(),
    }
}

/// Closes its input, which ends a server of the protocol, and then ends it.
impl Drop for Talk {
    fn drop(&mut self) {
        self.input = None;
        let until: Instant = clock::mono() + END_PATIENCE;
        while clock::mono() < until {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
