//! The client against scripted servers on loopback: which era it finds, what it sends, what it
//! says when things go wrong.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::*;
use crate::cli::terminal::Terminal;

/// Answers one request after the other, each from its own rule.
struct Script {
    url: String,
    requests: mpsc::Receiver<String>,
    thread: JoinHandle<()>,
}

/// What a script does with a request: the bytes of the response. `{id}` stands for the request's.
type Rule = Box<dyn Fn(&str) -> String + Send>;

impl Script {
    /// Serves one connection and one request after the other with the rules in order.
    fn new(rules: Vec<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for rule in rules {
                let (mut stream, _) = listener.accept().unwrap();
                let request = read_request(&mut stream);
                let id = request.split("\"id\":").nth(1).unwrap_or("0");
                let id: String = id.chars().take_while(char::is_ascii_digit).collect();
                let response = rule(&request).replace("{id}", &id);
                stream.write_all(response.as_bytes()).unwrap();
                sender.send(request).unwrap();
            }
        });
        Self {
            url,
            requests,
            thread,
        }
    }

    fn open(&self, era: EraChoice) -> Result<Session, ClientError> {
        let settings = Settings {
            endpoint: Endpoint::parse(&self.url).unwrap(),
            headers: vec![("X-Key".to_owned(), "k".to_owned())],
            era,
            timeout: Duration::from_secs(5),
        };
        Session::open(&settings, &mut attendant(&[]))
    }

    /// Every request, once the script is through.
    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap();
        self.requests.iter().collect()
    }
}

fn attendant(answers: &[(&str, &str)]) -> Attendant {
    let answers = answers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Attendant::new(Terminal::default(), answers.collect(), false)
}

fn read_request(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap_or("0");
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return text;
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "{text}");
        bytes.extend_from_slice(&buffer[..count]);
    }
}

fn response(status: &str, fields: &str, body: &str) -> Rule {
    let (status, fields, body) = (status.to_owned(), fields.to_owned(), body.to_owned());
    Box::new(move |request| {
        let id = request.split("\"id\":").nth(1).unwrap_or("0");
        let id: String = id.chars().take_while(char::is_ascii_digit).collect();
        let body = body.replace("{id}", &id);
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n\
             {body}"
        )
    })
}

fn json(result: &str) -> Rule {
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{{id}},\"result\":{result}}}");
    response("200 OK", "Content-Type: application/json\r\n", &body)
}

fn error(status: &str, code: i64, data: &str) -> Rule {
    let error = format!("{{\"code\":{code},\"message\":\"no\"{data}}}");
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{{id}},\"error\":{error}}}");
    response(status, "Content-Type: application/json\r\n", &body)
}

fn events(text: &str) -> Rule {
    response("200 OK", "Content-Type: text/event-stream\r\n", text)
}

fn accepted() -> Rule {
    response("202 Accepted", "", "")
}

const DISCOVERED: &str = "{\"resultType\":\"complete\",\"supportedVersions\":[\"2026-07-28\"],\
     \"capabilities\":{},\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"s\",\
     \"version\":\"1\"}}}";
const INITIALIZED: &str =
    "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"serverInfo\":{\"name\":\"old\"}}";

fn ask<'a>(method: &'a str, members: &str) -> Ask<'a> {
    Ask {
        method,
        members: members.to_owned(),
        ..Ask::default()
    }
}

#[test]
fn a_modern_server_is_asked_in_the_modern_way() {
    let script = Script::new(vec![
        json(DISCOVERED),
        json("{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"\\\"2\"}"),
        json("{\"tools\":[{\"name\":\"b\", \"x\": 1.50}]}"),
        json("{\"content\":[]}"),
    ]);
    let mut session = script.open(EraChoice::Auto).unwrap();
    assert_eq!(
        (session.revision(), session.server.as_str()),
        ("2026-07-28", "s 1")
    );
    let tools = session
        .list("tools/list", "tools", &mut attendant(&[]))
        .unwrap();
    assert_eq!(tools, ["{\"name\":\"a\"}", "{\"name\":\"b\", \"x\": 1.50}"]);
    let call = Ask {
        name: Some("grüße"),
        mirrored: vec![("Mcp-Param-A".to_owned(), b"1".to_vec())],
        ..ask(
            "tools/call",
            "\"name\":\"grüße\",\"arguments\":{ \"n\": 1e999 }",
        )
    };
    session.complete(&call, &mut attendant(&[])).unwrap();
    session.close();
    let requests = script.requests();
    assert!(requests[0].contains("Mcp-Method: server/discover\r\n"));
    for request in &requests {
        assert!(
            request.contains("MCP-Protocol-Version: 2026-07-28\r\n"),
            "{request}"
        );
        assert!(request.contains("X-Key: k\r\n"));
        let meta = "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"";
        assert!(request.contains(meta), "{request}");
    }
    assert!(
        requests[2].contains("\"cursor\":\"\\\"2\""),
        "{}",
        requests[2]
    );
    assert!(requests[3].contains("Mcp-Name: =?base64?Z3LDvMOfZQ==?=\r\nMcp-Param-A: 1\r\n"));
    // Arguments go through byte for byte.
    assert!(requests[3].contains("\"arguments\":{ \"n\": 1e999 }"));
}

#[test]
fn refusals_of_legacy_servers_lead_to_initialize() {
    for refusal in [
        response(
            "400 Bad Request",
            "Content-Type: text/plain\r\n",
            "Bad Request: No session",
        ),
        response("404 Not Found", "", ""),
        error("400 Bad Request", -32000, ""),
        error("200 OK", -32601, ""),
        error(
            "400 Bad Request",
            -32022,
            ",\"data\":{\"supported\":[\"2025-11-25\"]}",
        ),
        json("{\"supportedVersions\":[\"2025-11-25\"]}"),
        response("500 Internal Server Error", "", "oops"),
    ] {
        let initialized = format!("{{\"jsonrpc\":\"2.0\",\"id\":{{id}},\"result\":{INITIALIZED}}}");
        let fields = "Content-Type: application/json\r\nMcp-Session-Id: s1\r\n";
        let script = Script::new(vec![
            refusal,
            response("200 OK", fields, &initialized),
            accepted(),
            json("{\"tools\":[]}"),
            response("200 OK", "", ""),
        ]);
        let mut session = script.open(EraChoice::Auto).unwrap();
        assert_eq!(session.revision(), "2025-06-18");
        session
            .list("tools/list", "tools", &mut attendant(&[]))
            .unwrap();
        session.close();
        let requests = script.requests();
        assert!(
            !requests[1].contains("MCP-Protocol-Version"),
            "{}",
            requests[1]
        );
        assert!(requests[2].contains("notifications/initialized"));
        assert!(requests[3].contains("Mcp-Session-Id: s1\r\nMCP-Protocol-Version: 2025-06-18\r\n"));
        assert!(!requests[3].contains("_meta"));
        assert!(requests[4].starts_with("DELETE /mcp "));
    }
}

#[test]
fn refusals_that_are_about_the_user_end_it() {
    let challenge = "WWW-Authenticate: Bearer realm=\"x\"\r\n";
    let script = Script::new(vec![response("401 Unauthorized", challenge, "")]);
    let error = script.open(EraChoice::Auto).err().unwrap();
    let hint = error.hint(&script.url, false).unwrap();
    assert_eq!(error.to_string(), "the server answered 401 Unauthorized");
    assert!(hint.contains("-H \"Authorization: Bearer …\"") && hint.contains("realm=\"x\""));
    let script = Script::new(vec![error_of_version()]);
    let error = script.open(EraChoice::Auto).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the server speaks 2027-01-01, which this client does not"
    );
}

fn error_of_version() -> Rule {
    error(
        "400 Bad Request",
        -32022,
        ",\"data\":{\"supported\":[\"2027-01-01\"]}",
    )
}

#[test]
fn the_transport_of_2024_is_the_last_resort() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let refuse = |listener: &TcpListener| {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            let refusal = "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\
                           Connection: close\r\n\r\n";
            stream.write_all(refusal.as_bytes()).unwrap();
        };
        refuse(&listener);
        refuse(&listener);
        let (mut events, _) = listener.accept().unwrap();
        read_request(&mut events);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
                    event: endpoint\ndata: /messages?s=1\n\n";
        events.write_all(head.as_bytes()).unwrap();
        for answer in [Some(INITIALIZED), None, Some("{\"tools\":[]}")] {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            assert!(request.starts_with("POST /messages?s=1 "), "{request}");
            let taken = "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\nConnection: close\r\n\r\n\
                         Accepted";
            stream.write_all(taken.as_bytes()).unwrap();
            let id = request
                .split("\"id\":")
                .nth(1)
                .unwrap_or("")
                .split(',')
                .next()
                .unwrap();
            if let Some(result) = answer {
                let event = format!(
                    ": hello\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\
                     \"result\":{result}}}\n\n"
                );
                events.write_all(event.as_bytes()).unwrap();
            }
        }
    });
    let settings = Settings {
        endpoint: Endpoint::parse(&format!("http://{address}/sse")).unwrap(),
        headers: Vec::new(),
        era: EraChoice::Auto,
        timeout: Duration::from_secs(5),
    };
    let mut session = Session::open(&settings, &mut attendant(&[])).unwrap();
    let tools = session
        .list("tools/list", "tools", &mut attendant(&[]))
        .unwrap();
    assert!(tools.is_empty() && session.server == "old");
    server.join().unwrap();
}

const FORM: &str = "{\"method\":\"elicitation/create\",\"params\":{\"message\":\"Who?\",\
     \"requestedSchema\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":\
     {\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\"}}}}}";

#[test]
fn rounds_of_input_are_answered_until_the_result_is_complete() {
    let first = format!(
        "{{\"resultType\":\"input_required\",\"inputRequests\":{{\"q\\n1\":{FORM}}},\
         \"requestState\":\"s\\\"1\"}}"
    );
    let script = Script::new(vec![
        json(DISCOVERED),
        json(&first),
        json("{\"resultType\":\"input_required\",\"requestState\":\"s2\"}"),
        json("{\"resultType\":\"complete\",\"content\":[]}"),
    ]);
    let mut session = script.open(EraChoice::Auto).unwrap();
    let call = ask("tools/call", "\"name\":\"t\",\"arguments\":{}");
    let mut user = attendant(&[("name", "Ada"), ("age", "36")]);
    session.complete(&call, &mut user).unwrap();
    let requests = script.requests();
    let content = "{\"action\":\"accept\",\"content\":{\"name\":\"Ada\",\"age\":36}}";
    assert!(requests[2].contains(&format!("\"inputResponses\":{{\"q\\n1\":{content}}}")));
    assert!(
        requests[2].contains("\"requestState\":\"s\\\"1\""),
        "{}",
        requests[2]
    );
    assert!(requests[3].contains("\"requestState\":\"s2\""));
    assert!(!requests[3].contains("inputResponses"), "{}", requests[3]);
}

#[test]
fn without_a_terminal_a_question_is_told_and_not_guessed() {
    let question =
        format!("{{\"resultType\":\"input_required\",\"inputRequests\":{{\"q\":{FORM}}}}}");
    let script = Script::new(vec![json(DISCOVERED), json(&question)]);
    let mut session = script.open(EraChoice::Auto).unwrap();
    let error = session
        .complete(&ask("tools/call", ""), &mut attendant(&[]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tool asks for input, and there is no terminal to ask on: Who?\n    give the answers \
         with --answer NAME=VALUE: name (string), age (integer)"
    );
}

#[test]
fn a_legacy_stream_asks_and_is_resumed() {
    let ask_user = FORM.replacen('{', "{\"jsonrpc\":\"2.0\",\"id\":\"e-1\",", 1);
    let script = Script::new(vec![
        json(INITIALIZED),
        accepted(),
        events(&format!(
            "id: 1\ndata: {ask_user}\n\nid: 2\nretry: 10\ndata:\n\n"
        )),
        accepted(),
        events(
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":\
             {\"progress\":1}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\
             {\"content\":[]}}\n\n",
        ),
    ]);
    let legacy = EraChoice::Only(crate::mcp::revision::Era::Legacy);
    let mut session = script.open(legacy).unwrap();
    let call = ask("tools/call", "\"name\":\"t\"");
    session
        .complete(&call, &mut attendant(&[("name", "Ada")]))
        .unwrap();
    let requests = script.requests();
    assert!(requests[3].contains("\"id\":\"e-1\",\"result\":{\"action\":\"accept\""));
    assert!(requests[4].starts_with("GET /mcp ") && requests[4].contains("Last-Event-ID: 2\r\n"));
}

#[test]
fn answers_that_are_no_mcp_are_told_apart() {
    let cases: Vec<(Rule, &str)> = vec![
        (
            response("200 OK", "Content-Type: text/html\r\n", "<html>hi</html>"),
            "the server's answer is not MCP: text/html instead of JSON: <html>hi</html>",
        ),
        (
            response("200 OK", "Content-Type: application/json\r\n", "{\"a\":"),
            "the server's answer is not MCP: application/json instead of JSON: {\\\"a\\\":",
        ),
        (
            json("{\"tools\":5}"),
            "the server's answer is not MCP: `tools` is no list",
        ),
        (
            json("{}"),
            "the server's answer is not MCP: tools/list without `tools`",
        ),
        (
            events(": nothing\n\n"),
            "the server's answer is not MCP: the stream ended before the answer",
        ),
        (
            error("200 OK", -32603, ""),
            "the server refused: no (code -32603)",
        ),
        (
            response("503 Service Unavailable", "", "try later"),
            "the server answered 503 Service Unavailable: try later",
        ),
        (
            response(
                "301 Moved Permanently",
                "Location: https://b.example/mcp\r\n",
                "",
            ),
            "the server redirects to https://b.example/mcp",
        ),
        (
            Box::new(|_| "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_owned()),
            "the server closed the connection before its answer was complete",
        ),
        (
            Box::new(|_| "SSH-2.0-x\r\n".to_owned()),
            "the server broke HTTP",
        ),
    ];
    for (rule, expected) in cases {
        let script = Script::new(vec![json(DISCOVERED), rule]);
        let mut session = script.open(EraChoice::Auto).unwrap();
        let error = session
            .list("tools/list", "tools", &mut attendant(&[]))
            .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        script.requests();
    }
}

#[test]
fn a_redirect_within_the_origin_is_followed() {
    let script = Script::new(vec![
        response("307 Temporary Redirect", "Location: /mcp/\r\n", ""),
        json(DISCOVERED),
        json("{\"tools\":[]}"),
    ]);
    let mut session = script.open(EraChoice::Auto).unwrap();
    session
        .list("tools/list", "tools", &mut attendant(&[]))
        .unwrap();
    let requests = script.requests();
    assert!(requests[1].starts_with("POST /mcp/ ") && requests[2].starts_with("POST /mcp/ "));
}

#[test]
fn nobody_there_says_how_to_start() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}/mcp");
    let endpoint = Endpoint::parse(&url).unwrap();
    let error = page(&endpoint, Duration::from_secs(1), Manner::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("nothing listens on 127.0.0.1:{port}")
    );
    assert!(
        error
            .hint(&url, true)
            .unwrap()
            .starts_with("start the gateway with `ringway`")
    );
    assert!(
        error
            .hint(&url, false)
            .unwrap()
            .starts_with("is the server running")
    );
}

#[test]
fn a_silent_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let error = page(&endpoint, Duration::from_millis(50), Manner::default()).unwrap_err();
    assert_eq!(error.to_string(), "nothing came for 50ms");
}

#[test]
fn what_a_server_says_cannot_steer_the_terminal() {
    assert_eq!(
        plain("a\x1b[2Jb\u{202e}c\nd\te"),
        "a\u{fffd}[2Jb\u{fffd}c\nd\te"
    );
}
