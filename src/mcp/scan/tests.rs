//! Tests of the scanner.

use proptest::prelude::*;

use super::*;
use crate::mcp::method::Method;

const CALL: &str = r#" { "jsonrpc" : "2.0", "id":"a\"1" ,"method":"tools/call",
 "params":{"name":"echo","arguments":{"text":"x","deep":[1,{"name":"no"}]},
 "_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28",
 "io.modelcontextprotocol/clientCapabilities":{},"other/key":null}}} "#;

fn error(text: &str) -> ScanError {
    Message::scan(text.as_bytes()).unwrap_err().error
}

#[test]
fn finds_the_parts_of_a_modern_call() {
    let bytes = CALL.as_bytes();
    let message = Message::scan(bytes).unwrap();
    assert_eq!(message.kind, Kind::Request);
    assert_eq!(message.method, Some(Method::ToolsCall));
    assert_eq!(message.id.of(bytes), br#""a\"1""#);
    assert_eq!(message.name.of(bytes), br#""echo""#);
    assert_eq!(Message::text(bytes, message.name), "echo");
    assert_eq!(
        message.arguments.of(bytes),
        br#"{"text":"x","deep":[1,{"name":"no"}]}"#
    );
    assert_eq!(message.progress_token.of(bytes), b"7");
    assert_eq!(message.version.of(bytes), br#""2026-07-28""#);
    assert_eq!(message.client_capabilities.of(bytes), b"{}");
    assert!(!message.client_info.is_some());
    assert!(message.params.of(bytes).ends_with(b"null}}"));
}

#[test]
fn tells_the_kinds_apart() {
    for (text, kind) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#, Kind::Request),
        (r#"{"jsonrpc":"2.0","method":"x"}"#, Kind::Notification),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Kind::Result),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Kind::Error),
        (r#"{"jsonrpc":"2.0","error":{"code":1}}"#, Kind::Error),
    ] {
        assert_eq!(Message::scan(text.as_bytes()).unwrap().kind, kind, "{text}");
    }
}

#[test]
fn refuses_what_parsers_disagree_about() {
    use ScanError::*;
    for (text, expected) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
            Duplicate("id"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","\u006dethod":"y"}"#,
            Duplicate("method"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}"#,
            Duplicate("params"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":"a","name":"b"}}"#,
            Duplicate("name"),
        ),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, BadId),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, BadId),
        (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, BadId),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, NotJsonRpc),
        (r#"{"id":1,"method":"x"}"#, NotJsonRpc),
        (r#"{"jsonrpc":"2.0","id":1}"#, NotMessage),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#,
            NotMessage,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            BadMember("method"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
            BadMember("method"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#,
            BadMember("params"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":1}}"#,
            BadMember("_meta"),
        ),
        ("[]", NotObject),
        ("7", NotObject),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    for text in [
        "",
        " ",
        "{",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":tru}",
        "{\"a\":nul}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":{]}",
        "{\"a\":[}}",
        "{\"a\":'x'}",
        "{} {}",
        "{\"a\":1}x",
        "{a:1}",
        "{\"a\":-}",
        "{\"a\":\"unfinished",
    ] {
        let found = error(text);
        assert!(
            matches!(found, ScanError::Syntax { .. }),
            "{text}: {found:?}"
        );
        assert_eq!(found.code(), -32700);
    }
    let bytes = b"{\"jsonrpc\":\"\xff\"}";
    assert_eq!(Message::scan(bytes).unwrap_err().error, ScanError::NotUtf8);
}

#[test]
fn depth_is_bounded_at_the_limit() {
    let nested = |depth: usize| {
        let arguments = format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"arguments":{arguments}}}}}"#)
    };
    let max = DEPTH_MAX as usize;
    assert!(Message::scan(nested(max).as_bytes()).is_ok());
    assert_eq!(error(&nested(max + 1)), ScanError::TooDeep);
    assert_eq!(error(&nested(100_000)), ScanError::TooDeep);
}

#[test]
fn a_refusal_knows_the_id_that_was_read() {
    let text = br#"{"jsonrpc":"2.0","id":77,"method":7}"#;
    let refused = Message::scan(text).unwrap_err();
    assert_eq!(refused.id.of(text), b"77");
}

#[test]
fn batches_are_split() {
    let text = br#" [ {"a":1} ,{"b":[2]},3 ] "#;
    let spans = batch(text, 3).unwrap();
    let parts: Vec<_> = spans.iter().map(|span| span.of(text)).collect();
    assert_eq!(parts, [&br#"{"a":1}"#[..], br#"{"b":[2]}"#, b"3"]);
    assert!(is_batch(text) && !is_batch(b" {"));
    assert_eq!(batch(text, 2), Err(ScanError::BatchSize));
    assert_eq!(batch(b"[]", 2), Err(ScanError::BatchSize));
    assert!(batch(b"[1,]", 2).is_err() && batch(b"[1", 2).is_err() && batch(b"[1]x", 2).is_err());
}

#[test]
fn text_is_decoded() {
    for (content, text) in [
        ("plain", "plain"),
        (r"a\n\t\/\\\u00e4", "a\n\t/\\\u{e4}"),
        (r"\ud83d\ude00!", "\u{1f600}!"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ude00\n", "\u{fffd}\n"),
        (r"\ud83d\u0041", "\u{fffd}A"),
    ] {
        assert_eq!(decode(content.as_bytes()), text, "{content}");
        assert!(same_text(content.as_bytes(), text));
    }
    assert!(!same_text(b"ab", "a"));
}

#[test]
fn members_and_elements() {
    let object = br#"{"a":1,"\u0062":[true],"c":{}}"#;
    assert_eq!(member(object, "b").unwrap().of(object), b"[true]");
    assert_eq!(member(object, "z"), None);
    let mut found = Vec::new();
    elements(b"[1, \"x\" ,{}]", |span| found.push(span)).unwrap();
    assert_eq!(found.len(), 3);
    elements(b" [ ] ", |_| panic!("no elements")).unwrap();
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        ".*".prop_map(|text| sonic_rs::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|parts| format!("[{}]", parts.join(" , "))),
            prop::collection::vec((".{0,20}", inner), 0..6).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| format!("{}: {value}", sonic_rs::to_string(key).unwrap()))
                    .collect();
                format!("{{{}}}", members.join("\n,"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn takes_all_json_and_keeps_arguments_whole(arguments in json(), id in any::<i64>()) {
        let text = format!(
            r#"{{"id":{id},"params":{{"arguments":{arguments},"name":"n"}},{}}}"#,
            r#""method":"m","jsonrpc":"2.0""#
        );
        let message = Message::scan(text.as_bytes()).unwrap();
        prop_assert_eq!(message.arguments.of(text.as_bytes()), arguments.as_bytes());
        prop_assert_eq!(message.name.of(text.as_bytes()), b"\"n\"");
    }

    #[test]
    fn agrees_with_another_parser_on_any_text(text in "[\\[\\]{}:,\"\\\\ a0-9.eE+\\-tfnul]{0,24}") {
        let ours = Reader::new(text.as_bytes()).value_alone();
        let theirs = sonic_rs::from_str::<sonic_rs::Value>(&text);
        // sonic refuses numbers that do not fit a double; JSON does not.
        if theirs.is_ok() || !text.contains(['e', 'E']) {
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        }
    }

    #[test]
    fn cut_or_damaged_messages_never_panic(at in 0..CALL.len(), byte in any::<u8>()) {
        let mut damaged = CALL.as_bytes().to_vec();
        damaged[at] = byte;
        let _ = Message::scan(&damaged);
        let _ = Message::scan(&damaged[..at]);
    }
}

impl Reader<'_> {
    fn value_alone(mut self) -> Result<(), ScanError> {
        self.value()?;
        self.finish()
    }
}
