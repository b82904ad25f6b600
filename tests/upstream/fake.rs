//! Scripted servers: an HTTP one in threads, and stdio ones as small Python programs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway::config::{McpServer, McpTarget};

/// A request as the fake server sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The JSON-RPC method of the body.
    pub(crate) fn rpc(&self) -> String {
        field(&self.body, "method").trim_matches('"').to_owned()
    }

    /// The JSON-RPC id of the body, as JSON.
    pub(crate) fn id(&self) -> String {
        field(&self.body, "id")
    }
}

/// A top-level member of a JSON object, as it stands there; `null` if absent.
pub(crate) fn field(json: &str, name: &str) -> String {
    sonic_rs::get(json, &[name]).map_or_else(|_| "null".to_owned(), |v| v.as_raw_str().to_owned())
}

/// A server that has been started; it ends with the test process.
pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Answers each request with `answer`, one thread per connection.
    pub(crate) fn http(
        answer: impl Fn(&Seen, &mut TcpStream) -> Keep + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                let stream = stream.unwrap();
                std::thread::spawn(move || serve(stream, &kept, &*answer));
            }
        });
        Self { url, seen }
    }

    /// A legacy server that hands out the sessions `s0`, `s1` … and answers every call with the
    /// session it came in.
    pub(crate) fn with_sessions() -> Self {
        let sessions = AtomicUsize::new(0);
        Self::http(move |seen, stream| {
            let session = match seen.rpc().as_str() {
                "initialize" => format!("s{}", sessions.fetch_add(1, SeqCst)),
                _ => String::new(),
            };
            legacy_basics(seen, stream, &session).unwrap_or_else(|| {
                let session = seen.header("mcp-session-id").unwrap_or("none");
                json(
                    stream,
                    &result(&seen.id(), &format!("{{\"s\":\"{session}\"}}")),
                )
            })
        })
    }

    pub(crate) fn server(&self, name: &str) -> McpServer {
        let target = McpTarget::Http {
            url: self.url.clone(),
            headers: vec![("X-Key".to_owned(), "k".to_owned())],
            sse: false,
        };
        let mut server = McpServer::new(name, target);
        server.timeouts.connect = Duration::from_secs(2);
        server.timeouts.first_byte = Duration::from_secs(2);
        server.timeouts.idle = Duration::from_secs(2);
        server.timeouts.total = Duration::from_secs(10);
        server
    }

    /// The requests with that JSON-RPC method.
    pub(crate) fn of(&self, rpc: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.rpc() == rpc)
            .cloned()
            .collect()
    }
}

/// Whether the connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Open,
    Close,
}

fn serve(
    stream: TcpStream,
    kept: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen, &mut TcpStream) -> Keep + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(seen) = read_request(&mut reader) {
        kept.lock().unwrap().push(seen.clone());
        if answer(&seen, &mut writer) == Keep::Close {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut words = line.split_whitespace();
    let mut seen = Seen {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        ..Seen::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        seen.headers.insert(name, value);
    }
    let length = seen
        .header("content-length")
        .unwrap_or("0")
        .parse()
        .unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

/// Writes a whole response.
pub(crate) fn respond(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> Keep {
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let sent = stream.write_all((head + body).as_bytes());
    if sent.is_ok() {
        Keep::Open
    } else {
        Keep::Close
    }
}

pub(crate) fn json(stream: &mut TcpStream, body: &str) -> Keep {
    respond(stream, 200, "Content-Type: application/json\r\n", body)
}

/// Begins an event stream.
pub(crate) fn begin_events(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
}

/// Writes bytes of an event stream as one chunk.
pub(crate) fn chunk(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
}

/// Ends an event stream.
pub(crate) fn end_events(stream: &mut TcpStream) -> Keep {
    let _ = stream.write_all(b"0\r\n\r\n");
    Keep::Open
}

/// A JSON-RPC result.
pub(crate) fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A JSON-RPC error.
pub(crate) fn error(id: &str, code: i64, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
}

/// The parts of a legacy server that are the same in every test: the handshake with a session
/// id (empty for none), one tool, no GET stream. `None` for everything else.
pub(crate) fn legacy_basics(seen: &Seen, stream: &mut TcpStream, session: &str) -> Option<Keep> {
    if seen.method == "GET" || seen.method == "DELETE" {
        return Some(respond(stream, 405, "", ""));
    }
    let header = if session.is_empty() {
        String::new()
    } else {
        format!("Mcp-Session-Id: {session}\r\n")
    };
    let json_type = "Content-Type: application/json\r\n";
    match seen.rpc().as_str() {
        "server/discover" => Some(respond(
            stream,
            400,
            json_type,
            &error("null", -32000, "Bad Request: Server not initialized"),
        )),
        "initialize" => Some(respond(
            stream,
            200,
            &(header + json_type),
            &result(
                &seen.id(),
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},
                "serverInfo":{"name":"fake","version":"1"}}"#,
            ),
        )),
        "notifications/initialized" | "notifications/cancelled" => {
            Some(respond(stream, 202, "", ""))
        }
        "ping" => Some(json(stream, &result(&seen.id(), "{}"))),
        "tools/list" => Some(json(
            stream,
            &result(
                &seen.id(),
                r#"{"tools":[{"name":"echo", "inputSchema":{} }]}"#,
            ),
        )),
        _ => None,
    }
}

/// A stdio server: a Python program with `say(id, result)` and a loop over its input.
pub(crate) fn python(name: &str, body: &str) -> McpServer {
    let program = format!(
        r#"
import sys, json, os, time
def send(m):
    sys.stdout.write(json.dumps(m) + "\n"); sys.stdout.flush()
def say(i, r):
    send({{"jsonrpc": "2.0", "id": i, "result": r}})
def fail(i, c, t):
    send({{"jsonrpc": "2.0", "id": i, "error": {{"code": c, "message": t}}}})
def basics(m):
    if m.get("method") == "initialize":
        say(m["id"], {{"protocolVersion": "2025-06-18", "capabilities": {{"tools": {{}}}},
            "serverInfo": {{"name": "py", "version": "1"}}}})
    elif m.get("method") == "tools/list":
        say(m["id"], {{"tools": [{{"name": "echo", "inputSchema": {{}}}}]}})
    elif m.get("method") == "server/discover":
        fail(m["id"], -32601, "no such method")
    elif m.get("method") == "ping":
        say(m["id"], {{}})
    else:
        return False
    return True
for line in sys.stdin:
    m = json.loads(line)
    {}
"#,
        body.replace('\n', "\n    ")
    );
    let target = McpTarget::Stdio {
        command: "python3".to_owned(),
        args: vec!["-c".to_owned(), program],
        env: std::collections::BTreeMap::new(),
        cwd: None,
    };
    let mut server = McpServer::new(name, target);
    server.timeouts.connect = Duration::from_secs(5);
    server.timeouts.first_byte = Duration::from_secs(5);
    server.timeouts.idle = Duration::from_secs(5);
    server.timeouts.total = Duration::from_secs(10);
    server
}
