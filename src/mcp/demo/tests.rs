//! Tests of the demo as a whole: what goes in, what comes out.

use std::time::Duration;

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value, json};

use super::*;
use crate::base::clock::Now;

const EVERYTHING: ClientCapabilities = ClientCapabilities {
    roots: true,
    sampling: true,
    sampling_tools: false,
    elicitation_form: true,
    elicitation_url: false,
};

/// A client, and what its requests have in common.
struct Client {
    demo: Demo,
    revision: Revision,
    capabilities: ClientCapabilities,
    log_level: Option<LogLevel>,
    token: Option<&'static [u8]>,
    unix: u64,
    /// Answers to the server's questions, by method.
    answers: fn(&str) -> Option<&'static str>,
}

/// Everything that came of one request.
#[derive(Debug, Default)]
struct Seen {
    notifications: Vec<Value>,
    asked: Vec<Value>,
    slept: Duration,
    changed: Vec<List>,
    closed: usize,
    /// The member as an object: `{"result":…}` or `{"error":…}`.
    answer: Value,
    outcome: Option<Outcome>,
}

impl Seen {
    fn result(&self) -> &Value {
        self.answer
            .get("result")
            .unwrap_or_else(|| panic!("{:?}", self.answer))
    }

    fn text(&self) -> &str {
        let content = self.result().get("content").unwrap();
        content[0].get("text").unwrap().as_str().unwrap()
    }

    fn is_error(&self) -> bool {
        self.result().get("isError").and_then(|flag| flag.as_bool()) == Some(true)
    }

    fn code(&self) -> i64 {
        let error = self
            .answer
            .get("error")
            .unwrap_or_else(|| panic!("{:?}", self.answer));
        let code = error.get("code").unwrap().as_i64().unwrap();
        assert_eq!(self.outcome, Some(Outcome::Error(code as i32)));
        code
    }
}

impl Client {
    fn new(revision: Revision) -> Self {
        Self {
            demo: Demo::new(&[9; 32]),
            revision,
            capabilities: EVERYTHING,
            log_level: None,
            token: None,
            unix: 1_795_000_000,
            answers: |_| None,
        }
    }

    fn modern() -> Self {
        Self::new(Revision::V2026_07_28)
    }

    fn legacy() -> Self {
        Self::new(Revision::V2025_11_25)
    }

    fn send(&self, method: &str, params: &str) -> Seen {
        let request = Request {
            method,
            params: params.as_bytes(),
            revision: self.revision,
            capabilities: self.capabilities,
            log_level: self.log_level,
            progress_token: self.token,
            principal: b"",
            now: Now {
                unix: Duration::from_secs(self.unix),
                ..Now::read()
            },
        };
        let mut out = Vec::new();
        let mut seen = Seen::default();
        let outcome = match self.demo.handle(&request, &mut out) {
            Handled::Finished(outcome) => outcome,
            Handled::Running(mut script) => self.drive(&mut script, &mut out, &mut seen),
        };
        seen.answer = object(&out);
        seen.outcome = Some(outcome);
        assert_eq!(
            outcome == Outcome::Result,
            seen.answer.get("result").is_some(),
            "{:?}",
            seen.answer
        );
        seen
    }

    fn drive(&self, script: &mut Script, out: &mut Vec<u8>, seen: &mut Seen) -> Outcome {
        let mut answer: Option<&str> = None;
        let mut is_answer = false;
        for _ in 0..10_000 {
            out.clear();
            let input = match (is_answer, answer.take()) {
                (false, _) => Input::Done,
                (true, Some(json)) => Input::Answer(json.as_bytes()),
                (true, None) => Input::Refused("not supported"),
            };
            is_answer = false;
            match script.next(input, out) {
                Step::Notify => seen.notifications.push(sonic_rs::from_slice(out).unwrap()),
                Step::Sleep(pause) => seen.slept += pause,
                Step::Ask => {
                    assert_eq!(self.revision.era(), Era::Legacy);
                    let asked = object(out);
                    let method = asked.get("method").unwrap().as_str().unwrap();
                    answer = (self.answers)(method);
                    is_answer = true;
                    seen.asked.push(asked);
                }
                Step::CloseStream => seen.closed += 1,
                Step::Changed(list) => seen.changed.push(list),
                Step::Finish(outcome) => return outcome,
            }
        }
        panic!("the script does not end");
    }

    fn call(&self, tool: &str, arguments: &str) -> Seen {
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        self.send("tools/call", &params)
    }

    /// Calls until the server has what it wants, answering each question by its method.
    fn converse(&self, tool: &str, arguments: &str) -> (Seen, usize) {
        let mut extra = String::new();
        for round in 0..10 {
            let params = format!(r#"{{"name":"{tool}","arguments":{arguments}{extra}}}"#);
            let seen = self.send("tools/call", &params);
            if seen.result().get("resultType").unwrap().as_str() != Some("input_required") {
                return (seen, round);
            }
            extra = self.answered(seen.result());
        }
        panic!("{tool} never has enough");
    }

    fn answered(&self, result: &Value) -> String {
        let requests = result.get("inputRequests").unwrap().as_object().unwrap();
        let answers: Vec<String> = requests
            .iter()
            .map(|(key, request)| {
                let method = request.get("method").unwrap().as_str().unwrap();
                format!("\"{key}\":{}", (self.answers)(method).unwrap())
            })
            .collect();
        let mut extra = format!(",\"inputResponses\":{{{}}}", answers.join(","));
        if let Some(state) = result.get("requestState") {
            extra.push_str(&format!(
                ",\"requestState\":{}",
                sonic_rs::to_string(state).unwrap()
            ));
        }
        extra
    }
}

fn object(members: &[u8]) -> Value {
    let json = format!("{{{}}}", std::str::from_utf8(members).unwrap());
    sonic_rs::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn willing(method: &str) -> Option<&'static str> {
    Some(match method {
        "elicitation/create" => {
            concat!(
                r#"{"action":"accept","content":{"name":"Ada","colour":"teal","color":"teal","#,
                r#""ok":true}}"#
            )
        }
        "sampling/createMessage" => {
            r#"{"role":"assistant","model":"m","content":{"type":"text","text":"Paris"}}"#
        }
        "roots/list" => r#"{"roots":[{"uri":"file:///a"},{"uri":"file:///b","name":"b"}]}"#,
        _ => return None,
    })
}

/// Arguments that each tool accepts.
fn arguments(tool: &str) -> &'static str {
    match tool {
        "echo" => r#"{"message":"hi"}"#,
        "add" => r#"{"a":1,"b":2.5}"#,
        "ask_model" => r#"{"question":"Why?"}"#,
        "test_sampling" => r#"{"prompt":"Why?"}"#,
        "test_elicitation" => r#"{"message":"Who?"}"#,
        "json_schema_2020_12_tool" => r#"{"contactMethod":"phone","phone":"1"}"#,
        _ => "{}",
    }
}

#[test]
fn every_listed_entry_has_its_fields_and_a_name_clients_accept() {
    let lists = Demo::new(&[0; 32]).lists(Generation {
        tools: 1,
        prompts: 1,
    });
    let mut keys: Vec<&str> = lists.tools.iter().map(|tool| &*tool.key).collect();
    for tool in &lists.tools {
        let value: Value = sonic_rs::from_slice(&tool.raw).unwrap();
        assert!(
            value.get("description").is_some_and(|text| text.is_str()),
            "{}",
            tool.key
        );
        assert_eq!(
            value
                .get("inputSchema")
                .unwrap()
                .get("type")
                .unwrap()
                .as_str(),
            Some("object")
        );
        assert!(tool.key.len() <= 64);
        assert!(
            tool.key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        );
        assert!(!tool.raw.contains(&b'\n'), "compact");
    }
    let first_fixture = keys
        .iter()
        .position(|key| key.starts_with("test_"))
        .unwrap();
    assert_eq!(first_fixture, 13, "what people try comes first");
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), lists.tools.len(), "names are unique");
    assert_eq!(lists.prompts.len(), 8);
    assert_eq!(lists.resources.len(), 6);
    assert_eq!(lists.templates.len(), 2);
}

#[test]
fn entries_stand_as_in_their_file_whenever_they_are_asked_for() {
    let compact = |text: &str| text.split_whitespace().collect::<String>();
    let file = compact(include_str!("catalog/tools.json"));
    for _ in 0..3 {
        let lists = Demo::new(&[0; 32]).lists(Generation::default());
        let tools: Vec<&str> = lists.tools[..13]
            .iter()
            .map(|tool| std::str::from_utf8(&tool.raw).unwrap())
            .collect();
        assert_eq!(compact(&format!("[{}]", tools.join(","))), file);
        assert!(
            tools[0].contains("\"Returns the message unchanged."),
            "texts keep their spaces"
        );
    }
}

#[test]
fn schemas_use_no_keyword_that_is_not_checked() {
    fn walk(schema: &Value, at: &str) {
        for (key, value) in schema.as_object().unwrap().iter() {
            assert!(schema::KEYWORDS.contains(&key), "{at}: {key}");
            match key {
                "properties" | "$defs" => {
                    for (name, inner) in value.as_object().unwrap().iter() {
                        walk(inner, &format!("{at}/{name}"));
                    }
                }
                "items" | "if" | "then" | "else" => walk(value, &format!("{at}/{key}")),
                "allOf" | "anyOf" | "oneOf" => {
                    for inner in value.as_array().unwrap().iter() {
                        walk(inner, &format!("{at}/{key}"));
                    }
                }
                _ => {}
            }
        }
    }
    let lists = Demo::new(&[0; 32]).lists(Generation {
        tools: 1,
        prompts: 1,
    });
    for tool in &lists.tools {
        let value: Value = sonic_rs::from_slice(&tool.raw).unwrap();
        walk(value.get("inputSchema").unwrap(), &tool.key);
    }
}

#[test]
fn every_listed_tool_answers_every_revision_with_a_result() {
    for revision in Demo::REVISIONS {
        let mut client = Client::new(revision);
        client.answers = willing;
        client.token = Some(b"\"t\"");
        client.log_level = Some(LogLevel::Debug);
        for tool in client
            .demo
            .lists(Generation {
                tools: 1,
                prompts: 1,
            })
            .tools
        {
            let seen = client.call(&tool.key, arguments(&tool.key));
            let expected = matches!(&*tool.key, "fail" | "test_error_handling");
            assert_eq!(
                seen.is_error(),
                expected,
                "{} {}: {:?}",
                tool.key,
                revision.as_str(),
                seen.answer
            );
            let result_type = seen.result().get("resultType");
            assert_eq!(result_type.is_some(), revision.era() == Era::Modern);
            if revision.era() == Era::Legacy {
                assert!(seen.result().get("content").unwrap().is_array());
            }
        }
    }
}

#[test]
fn echo_returns_what_it_was_given() {
    let client = Client::modern();
    for message in ["", "plain", r#"quote \" slash \\ line \n"#, "é✓𝄞", r"é\/"] {
        let seen = client.call("echo", &format!("{{\"message\":\"{message}\"}}"));
        let expected: String = sonic_rs::from_str(&format!("\"{message}\"")).unwrap();
        assert_eq!(seen.text(), expected);
    }
    let legacy = Client::legacy().call("echo", r#"{ "message" : "hi" }"#);
    assert_eq!(
        legacy.answer,
        json!({"result":{"content":[{"type":"text","text":"hi"}]}})
    );
}

#[test]
fn add_gives_structured_content_and_the_same_as_text() {
    for (a, b, sum) in [("1", "2", "3"), ("0.5", "-2", "-1.5"), ("1e3", "1", "1001")] {
        let seen = Client::modern().call("add", &format!("{{\"a\":{a},\"b\":{b}}}"));
        assert_eq!(seen.text(), sum);
        let json = seen.result()["content"][1]["text"].as_str();
        assert_eq!(json, Some(&*format!("{{\"sum\":{sum}}}")));
        let structured = seen.result().get("structuredContent").unwrap();
        assert_eq!(structured.get("sum").unwrap().as_f64(), sum.parse().ok());
    }
    assert!(
        Client::modern()
            .call("add", r#"{"a":1e308,"b":1e308}"#)
            .is_error()
    );
}

#[test]
fn wrong_arguments_are_a_tool_error_since_2025_11_25_and_a_protocol_error_before() {
    for (tool, arguments, reason) in [
        ("echo", "{}", "\"message\" is missing"),
        (
            "echo",
            r#"{"message":1}"#,
            "\"message\" must be a string, not number",
        ),
        (
            "echo",
            r#"{"message":"a","x":1}"#,
            "\"x\" is not a known argument",
        ),
        (
            "add",
            r#"{"a":"1","b":2}"#,
            "\"a\" must be a number, not string",
        ),
        ("slow", r#"{"steps":0}"#, "\"steps\" must be at least 1"),
        (
            "large",
            r#"{"bytes":10485761}"#,
            "\"bytes\" must be at most 10485760",
        ),
        (
            "image",
            r#"{"colour":"mauve"}"#,
            "\"colour\" must be one of red, green, blue, grey",
        ),
        ("links", "[]", "The value must be an object, not array"),
        (
            "json_schema_2020_12_tool",
            "{}",
            "\"phone\" is missing, or \"email\" is missing",
        ),
    ] {
        let message = format!("Invalid arguments for {tool}: {reason}");
        for client in [Client::modern(), Client::legacy()] {
            let seen = client.call(tool, arguments);
            assert!(seen.is_error());
            assert_eq!(seen.text(), message);
        }
        let seen = Client::new(Revision::V2025_06_18).call(tool, arguments);
        assert_eq!(seen.code(), -32602);
        assert_eq!(seen.answer["error"]["message"].as_str(), Some(&*message));
    }
}

#[test]
fn what_is_not_there_is_said_by_its_name() {
    for client in [Client::modern(), Client::legacy()] {
        assert_eq!(client.call("nope", "{}").code(), -32602);
        assert_eq!(client.send("tools/call", "{}").code(), -32602);
        assert_eq!(client.send("tools/call", "").code(), -32602);
        assert_eq!(client.send("tools/call", r#"{"name":7}"#).code(), -32602);
        assert_eq!(
            client.send("prompts/get", r#"{"name":"nope"}"#).code(),
            -32602
        );
        assert_eq!(client.send("tools/sing", "{}").code(), -32601);
        let seen = client.send("resources/read", r#"{"uri":"test://nope\"\n"}"#);
        let expected = if client.revision.era() == Era::Modern {
            -32602
        } else {
            -32002
        };
        assert_eq!(seen.code(), expected);
        assert_eq!(
            seen.answer["error"]["data"]["uri"].as_str(),
            Some("test://nope\"\n")
        );
    }
    assert_eq!(Client::modern().send("ping", "{}").code(), -32601);
    assert_eq!(
        Client::modern()
            .send("logging/setLevel", r#"{"level":"info"}"#)
            .code(),
        -32601
    );
    assert_eq!(
        Client::legacy().send("ping", "").answer,
        json!({"result":{}})
    );
}

#[test]
fn slow_reports_each_step_to_those_who_ask() {
    let mut client = Client::legacy();
    let seen = client.call("slow", r#"{"seconds":2,"steps":4}"#);
    assert_eq!(
        (seen.notifications.len(), seen.slept),
        (0, Duration::from_secs(2))
    );
    client.token = Some(b"17");
    let seen = client.call("slow", r#"{"seconds":2,"steps":4}"#);
    let done: Vec<_> = seen
        .notifications
        .iter()
        .map(|note| note["params"]["progress"].as_u64().unwrap())
        .collect();
    assert_eq!(done, [1, 2, 3, 4]);
    assert!(
        seen.notifications
            .iter()
            .all(|note| note["params"]["progressToken"] == 17)
    );
    assert_eq!(seen.text(), "Finished after 4 steps and 2 s");
}

#[test]
fn log_messages_go_to_those_who_asked_for_their_level() {
    let mut client = Client::modern();
    for (level, count) in [
        (None, 0),
        (Some(LogLevel::Debug), 8),
        (Some(LogLevel::Error), 4),
        (Some(LogLevel::Emergency), 1),
    ] {
        client.log_level = level;
        let seen = client.call("log", "{}");
        assert_eq!(seen.notifications.len(), count, "{level:?}");
    }
    client.log_level = Some(LogLevel::Info);
    let seen = client.call("test_tool_with_logging", "{}");
    assert_eq!(seen.notifications.len(), 3);
    assert_eq!(seen.slept, Duration::from_millis(100));
    assert_eq!(
        client.call("test_logging_tool", "{}").notifications.len(),
        1
    );
}

#[test]
fn large_is_as_large_as_it_was_asked_to_be() {
    for bytes in [1, 64, 65, 65_536, 10_485_760] {
        let seen = Client::modern().call("large", &format!("{{\"bytes\":{bytes}}}"));
        assert_eq!(seen.text().len(), bytes);
    }
}

#[test]
fn time_knows_its_offset() {
    let time = |arguments| Client::modern().call("time", arguments).text().to_owned();
    assert_eq!(time("{}"), "2026-11-18T11:06:40Z");
    assert_eq!(
        time(r#"{"offset_minutes":-150}"#),
        "2026-11-18T08:36:40-02:30"
    );
    assert_eq!(
        time(r#"{"offset_minutes":345}"#),
        "2026-11-18T16:51:40+05:45"
    );
    let seen = Client::modern().call("time", "{}");
    assert_eq!(
        seen.result()["structuredContent"],
        json!({"time":"2026-11-18T11:06:40Z","unix_seconds":1_795_000_000})
    );
}

#[test]
fn modern_clients_answer_in_rounds_and_legacy_ones_while_they_wait() {
    for (tool, rounds, questions, said) in [
        (
            "ask_user",
            2,
            2,
            "Pleased to meet you, Ada. A fine colour, teal.",
        ),
        ("ask_model", 1, 1, "Paris"),
        ("list_roots", 1, 1, "Found 2 root(s)\nfile:///a\nfile:///b"),
        (
            "test_input_required_result_elicitation",
            1,
            1,
            "Hello, Ada!",
        ),
        (
            "test_input_required_result_sampling",
            1,
            1,
            "Sampling result: Paris",
        ),
        (
            "test_input_required_result_request_state",
            1,
            1,
            "state-ok: requestState validated",
        ),
        (
            "test_input_required_result_tampered_state",
            1,
            1,
            "integrity-ok: state verified",
        ),
        (
            "test_input_required_result_multiple_inputs",
            1,
            3,
            "Name: Ada; Greeting: Paris; Roots: 2",
        ),
        (
            "test_input_required_result_multi_round",
            2,
            2,
            "Multi-round complete for Ada who likes teal",
        ),
        (
            "test_input_required_result_capabilities",
            1,
            2,
            "capabilities-ok: the client answered",
        ),
        ("test_sampling", 1, 1, "LLM response: Paris"),
    ] {
        let mut client = Client::modern();
        client.answers = willing;
        let (seen, taken) = client.converse(tool, arguments(tool));
        assert_eq!((seen.text(), taken), (said, rounds), "{tool}");
        let mut client = Client::legacy();
        client.answers = willing;
        let seen = client.call(tool, arguments(tool));
        assert_eq!((seen.text(), seen.asked.len()), (said, questions), "{tool}");
    }
}

#[test]
fn a_state_is_refused_when_tampered_with_used_elsewhere_or_late() {
    let mut client = Client::modern();
    client.answers = willing;
    let tool = "test_input_required_result_tampered_state";
    let first = client.call(tool, "{}");
    let extra = client.answered(first.result());
    let state = first.result()["requestState"].as_str().unwrap().to_owned();
    let send = |client: &Client, tool: &str, extra: &str| {
        client.send(
            "tools/call",
            &format!(r#"{{"name":"{tool}","arguments":{{}}{extra}}}"#),
        )
    };
    assert_eq!(
        send(&client, tool, &extra).text(),
        "integrity-ok: state verified"
    );
    for same in [
        format!(r#"{{"name":"{tool}"{extra}}}"#),
        format!(r#"{{"name":"{tool}","arguments":{{ }}{extra}}}"#),
    ] {
        let seen = client.send("tools/call", &same);
        assert_eq!(seen.text(), "integrity-ok: state verified", "{same}");
    }
    let tampered = extra.replace(&state, &format!("{state}-TAMPERED"));
    assert_eq!(send(&client, tool, &tampered).code(), -32602);
    let not_text = extra.replace(&format!("\"{state}\""), "7");
    assert_eq!(send(&client, tool, &not_text).code(), -32602);
    let elsewhere = "test_input_required_result_request_state";
    assert_eq!(send(&client, elsewhere, &extra).code(), -32602);
    client.unix += 601;
    assert_eq!(send(&client, tool, &extra).code(), -32602);
}

#[test]
fn answers_that_do_not_fit_are_asked_for_again_or_refused() {
    let client = Client::modern();
    let tool = "test_input_required_result_elicitation";
    let send = |responses: &str| {
        let params =
            format!(r#"{{"name":"{tool}","arguments":{{}},"inputResponses":{responses}}}"#);
        client.send("tools/call", &params)
    };
    for again in [
        r#"{"wrong_key":{"action":"accept","content":{"name":"x"}}}"#,
        r#"{"user_name":{"action":"accept","content":{"name":5}}}"#,
        r#"{"user_name":{"action":"accept"}}"#,
        r#"{"user_name":{}}"#,
        "{}",
        "null",
    ] {
        let seen = send(again);
        assert_eq!(
            seen.result()["resultType"].as_str(),
            Some("input_required"),
            "{again}"
        );
        assert!(seen.result()["inputRequests"]["user_name"].is_object());
    }
    for refused in [r#"{"user_name":12345}"#, "[]", "\"x\"", "7"] {
        assert_eq!(send(refused).code(), -32602, "{refused}");
    }
    let extra = r#"{"user_name":{"action":"accept","content":{"name":"Al"}},"more":{}}"#;
    assert_eq!(send(extra).text(), "Hello, Al!");
    assert_eq!(
        send(r#"{"user_name":{"action":"decline"}}"#).text(),
        "The form was not filled in."
    );
}

#[test]
fn nothing_is_asked_that_the_client_did_not_offer() {
    let mut client = Client::modern();
    client.answers = willing;
    client.capabilities = ClientCapabilities {
        sampling: true,
        ..ClientCapabilities::default()
    };
    let seen = client.call("test_input_required_result_capabilities", "{}");
    let asked = seen.result()["inputRequests"].as_object().unwrap();
    assert_eq!(asked.len(), 1);
    assert!(asked.get(&"sample_input").is_some());
    let seen = client.call("test_input_required_result_multiple_inputs", "{}");
    assert_eq!(seen.code(), -32021);
    assert_eq!(
        seen.answer["error"]["data"],
        json!({"requiredCapabilities":{"elicitation":{},"roots":{}}})
    );
    client.capabilities = ClientCapabilities::default();
    let seen = client.call("test_missing_capability", "{}");
    assert_eq!(seen.code(), -32021);
    assert!(seen.answer["error"]["data"]["requiredCapabilities"]["sampling"].is_object());
    let mut client = Client::legacy();
    client.capabilities = ClientCapabilities::default();
    let seen = client.call("ask_user", "{}");
    assert!(seen.is_error() && seen.asked.is_empty());
}

#[test]
fn a_legacy_client_that_refuses_or_talks_nonsense_gets_a_tool_error() {
    for (answers, expected) in [
        (
            (|_| None) as fn(&str) -> Option<&'static str>,
            "not supported",
        ),
        (|_| Some("{"), "is not an object"),
        (|_| Some("7"), "is not an object"),
        (|_| Some("{}"), "do not fit"),
    ] {
        let mut client = Client::legacy();
        client.answers = answers;
        let seen = client.call("ask_user", "{}");
        assert!(
            seen.is_error() && seen.text().contains(expected),
            "{}",
            seen.text()
        );
        assert!(seen.asked.len() <= 7);
    }
}

#[test]
fn a_list_changes_and_changes_back() {
    let client = Client::modern();
    let mut generation = Generation::default();
    let count = |generation| client.demo.lists(generation).tools.len();
    let before = count(generation);
    for difference in [1, 0, 1] {
        let seen = client.call("test_trigger_tool_change", "{}");
        assert_eq!(seen.changed, [List::Tools]);
        generation = generation.after(List::Tools);
        assert_eq!(count(generation), before + difference);
    }
    let seen = client.call("test_trigger_prompt_change", "{}");
    assert_eq!(seen.changed, [List::Prompts]);
}

#[test]
fn every_resource_reads_and_says_how_long_it_keeps() {
    let client = Client::modern();
    let lists = client.demo.lists(Generation::default());
    let mut uris: Vec<String> = lists
        .resources
        .iter()
        .map(|item| item.key.to_string())
        .collect();
    uris.push("test://template/12%203/data".into());
    uris.push("demo://greeting/german".into());
    for uri in uris {
        let params = format!(r#"{{"uri":"{uri}"}}"#);
        let seen = client.send("resources/read", &params);
        let contents = &seen.result()["contents"][0];
        assert_eq!(contents["uri"].as_str(), Some(&*uri));
        assert!(contents.get("text").is_some() != contents.get("blob").is_some());
        let ttl = seen.result()["ttlMs"].as_u64().unwrap();
        assert_eq!(
            ttl == 0,
            client.demo.watch_interval(&uri).is_some(),
            "{uri}"
        );
        let legacy = Client::legacy().send("resources/read", &params);
        assert!(legacy.result().get("ttlMs").is_none());
        let subscribed = Client::legacy().send("resources/subscribe", &params);
        assert_eq!(subscribed.answer, json!({"result":{}}));
    }
    for unknown in [
        "test://template//data",
        "test://template/a/b/data",
        "demo://greeting/x",
    ] {
        let params = format!(r#"{{"uri":"{unknown}"}}"#);
        assert_eq!(
            client.send("resources/read", &params).code(),
            -32602,
            "{unknown}"
        );
    }
}

#[test]
fn what_is_watched_changes_from_tick_to_tick() {
    let mut client = Client::modern();
    for uri in ["demo://clock", "test://watched-resource"] {
        let params = format!(r#"{{"uri":"{uri}"}}"#);
        let interval = client.demo.watch_interval(uri).unwrap();
        let read = |client: &Client| {
            let seen = client.send("resources/read", &params);
            seen.result()["contents"][0]["text"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let before = read(&client);
        client.unix += interval.as_secs();
        assert_ne!(read(&client), before, "{uri}");
        let note: Value = sonic_rs::from_slice(&client.demo.updated(uri)).unwrap();
        assert_eq!(
            note["method"].as_str(),
            Some("notifications/resources/updated")
        );
        assert_eq!(note["params"]["uri"].as_str(), Some(uri));
    }
    assert_eq!(client.demo.watch_interval("demo://about"), None);
}

#[test]
fn prompts_take_their_arguments() {
    let client = Client::modern();
    let get = |name: &str, arguments: &str| {
        let params = format!(r#"{{"name":"{name}","arguments":{arguments}}}"#);
        client.send("prompts/get", &params)
    };
    let first = |seen: &Seen| {
        let content = &seen.result()["messages"][0]["content"];
        content["text"].as_str().unwrap_or_default().to_owned()
    };
    let seen = get("test_prompt_with_arguments", r#"{"arg1":"a\"","arg2":"b"}"#);
    assert_eq!(first(&seen), "Prompt with arguments: arg1='a\"', arg2='b'");
    let seen = get("summarize", r#"{"text":"T","style":"bullets"}"#);
    assert!(first(&seen).contains("at most five points"));
    let seen = get(
        "test_prompt_with_embedded_resource",
        r#"{"resourceUri":"x:y"}"#,
    );
    let resource = &seen.result()["messages"][0]["content"]["resource"];
    assert_eq!(resource["uri"].as_str(), Some("x:y"));
    for (name, arguments) in [
        ("summarize", "{}"),
        ("summarize", r#"{"text":1}"#),
        ("summarize", r#"{"text":"x","y":"z"}"#),
        ("summarize", "[]"),
    ] {
        assert_eq!(get(name, arguments).code(), -32602, "{arguments}");
    }
    let seen = client.send(
        "prompts/get",
        r#"{"name":"test_input_required_result_prompt"}"#,
    );
    assert_eq!(seen.result()["resultType"].as_str(), Some("input_required"));
    let seen = client.send(
        "prompts/get",
        r#"{"name":"test_input_required_result_prompt","inputResponses":
            {"user_context":{"action":"accept","content":{"context":"night"}}}}"#,
    );
    assert_eq!(first(&seen), "Prompt with context: night");
}

#[test]
fn every_listed_prompt_can_be_had() {
    let mut client = Client::legacy();
    client.answers = |_| Some(r#"{"action":"accept","content":{"context":"c"}}"#);
    for prompt in client
        .demo
        .lists(Generation {
            tools: 0,
            prompts: 1,
        })
        .prompts
    {
        let arguments = match &*prompt.key {
            "summarize" => r#"{"text":"t"}"#,
            "test_prompt_with_arguments" => r#"{"arg1":"a","arg2":"b"}"#,
            "test_prompt_with_embedded_resource" => r#"{"resourceUri":"u:v"}"#,
            _ => "{}",
        };
        let params = format!(r#"{{"name":"{}","arguments":{arguments}}}"#, prompt.key);
        let seen = client.send("prompts/get", &params);
        assert!(seen.result()["messages"].is_array(), "{}", prompt.key);
    }
}

#[test]
fn arguments_complete() {
    let complete = |reference: &str, name: &str, value: &str| {
        Client::legacy().send(
            "completion/complete",
            &format!(r#"{{"ref":{reference},"argument":{{"name":"{name}","value":"{value}"}}}}"#),
        )
    };
    let prompt = r#"{"type":"ref/prompt","name":"test_prompt_with_arguments"}"#;
    let seen = complete(prompt, "arg1", "par");
    assert_eq!(
        seen.result()["completion"],
        json!({"values":["paris","park","party"],"total":3,"hasMore":false})
    );
    let template = r#"{"type":"ref/resource","uri":"demo://greeting/{language}"}"#;
    let seen = complete(template, "language", "F");
    assert_eq!(
        seen.result()["completion"]["values"],
        json!(["finnish", "french"])
    );
    for (reference, name) in [
        (prompt, "arg3"),
        (template, "id"),
        (r#"{"type":"ref/prompt","name":"nope"}"#, "x"),
        (r#"{"type":"ref/tool","name":"echo"}"#, "message"),
        ("7", "x"),
    ] {
        assert_eq!(
            complete(reference, name, "").code(),
            -32602,
            "{reference} {name}"
        );
    }
}

/// Whatever comes in, an answer comes out that is JSON, and every script ends.
fn survives(client: &Client, method: &str, params: &[u8]) {
    let request = Request {
        method,
        params,
        revision: client.revision,
        capabilities: EVERYTHING,
        log_level: Some(LogLevel::Debug),
        progress_token: Some(b"1"),
        principal: b"",
        now: Now::read(),
    };
    let mut out = Vec::new();
    match client.demo.handle(&request, &mut out) {
        Handled::Finished(_) => {}
        Handled::Running(mut script) => {
            client.drive(&mut script, &mut out, &mut Seen::default());
        }
    }
    object(&out);
}

#[test]
fn deep_arguments_do_not_use_up_the_stack() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for params in [
        deep.clone(),
        format!(r#"{{"name":"echo","arguments":{{"message":{deep}}}}}"#),
        format!(r#"{{"name":"ask_user","inputResponses":{{"name":{deep}}}}}"#),
        format!(r#"{{"name":"echo","more":{deep}}}"#),
    ] {
        survives(&Client::modern(), "tools/call", params.as_bytes());
    }
    let client = Client::legacy();
    let mut script = match client.demo.handle(
        &Request {
            method: "tools/call",
            params: br#"{"name":"ask_user"}"#,
            revision: client.revision,
            capabilities: EVERYTHING,
            log_level: None,
            progress_token: None,
            principal: b"",
            now: Now::read(),
        },
        &mut Vec::new(),
    ) {
        Handled::Running(script) => script,
        Handled::Finished(outcome) => panic!("{outcome:?}"),
    };
    let mut out = Vec::new();
    assert_eq!(script.next(Input::Done, &mut out), Step::Ask);
    let answer = format!(r#"{{"content":{deep}}}"#);
    let step = script.next(Input::Answer(answer.as_bytes()), &mut out);
    assert_eq!(step, Step::Finish(Outcome::Result));
}

mod fuzz {
    use super::*;
    use proptest::prelude::*;

    /// Requests that do something, to be bent.
    const SEEDS: &[(&str, &str)] = &[
        (
            "tools/call",
            r#"{"name":"echo","arguments":{"message":"h\u00e9\n"}}"#,
        ),
        (
            "tools/call",
            r#"{"name":"add","arguments":{"a":1.5e3,"b":-0}}"#,
        ),
        (
            "tools/call",
            r#"{"name":"slow","arguments":{"seconds":0.1,"steps":2}}"#,
        ),
        (
            "tools/call",
            r#"{"name":"image","arguments":{"colour":"red","size":3}}"#,
        ),
        (
            "tools/call",
            r#"{"name":"ask_user","arguments":{},"requestState":"AAAA",
            "inputResponses":{"name":{"action":"accept","content":{"name":"x"}}}}"#,
        ),
        (
            "tools/call",
            r#"{"name":"json_schema_2020_12_tool",
            "arguments":{"contactMethod":"phone","phone":"1","address":{"city":"x"}}}"#,
        ),
        (
            "prompts/get",
            r#"{"name":"summarize","arguments":{"text":"t","style":"brief"}}"#,
        ),
        ("resources/read", r#"{"uri":"test://template/1/data"}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"summarize"},
            "argument":{"name":"style","value":"b"}}"#,
        ),
        ("logging/setLevel", r#"{"level":"info"}"#),
    ];

    proptest! {
        #[test]
        fn any_bent_request_is_answered(
            seed in 0..SEEDS.len(),
            bends in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8),
                0..4,
            ),
            era in 0..2_usize,
        ) {
            let (method, params) = SEEDS[seed];
            let mut bytes = params.as_bytes().to_vec();
            for (at, byte, how) in bends {
                let at = at.index(bytes.len().max(1));
                match how {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 => bytes.insert(at.min(bytes.len()), byte),
                    2 if at < bytes.len() => { bytes.remove(at); }
                    _ => bytes.truncate(at),
                }
            }
            // What is not UTF-8 never gets past the scan of the whole message.
            if std::str::from_utf8(&bytes).is_ok() {
                let client = [Client::modern(), Client::legacy()];
                survives(&client[era], method, &bytes);
            }
        }
    }
}
