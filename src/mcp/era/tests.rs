//! Tests of telling the eras apart: one line for each case of the table.

use super::*;

const META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientCapabilities":{}"#
);

/// Headers `version|method|name`, `-` for an absent one.
fn headers(text: &str) -> Headers<'_> {
    let field =
        |value: Option<&'static str>| value.map_or(Field::Absent, |v| Field::Value(v.as_bytes()));
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    let mut parts = text.split('|').map(|part| (part != "-").then_some(part));
    Headers {
        version: field(parts.next().flatten()),
        method: field(parts.next().flatten()),
        name: field(parts.next().flatten()),
    }
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
}

fn meta(more: &str) -> String {
    format!(r#"{more}"_meta":{{{META}}}"#)
}

#[test]
fn the_opening_shows_the_era() {
    use Era::{Legacy, Modern};
    for (header, method, params, era) in [
        ("-", "tools/list", meta(""), Modern),
        ("2026-07-28", "tools/list", String::new(), Modern),
        ("2025-11-25", "tools/list", meta(""), Modern),
        ("1999-01-01", "tools/list", String::new(), Modern),
        (
            "-",
            "tools/list",
            r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{}}"#.into(),
            Modern,
        ),
        ("-", "initialize", String::new(), Legacy),
        ("2026-07-28", "initialize", String::new(), Legacy),
        ("2026-07-28", "initialize", meta(""), Modern),
        ("2025-11-25", "tools/list", String::new(), Legacy),
        ("-", "tools/list", String::new(), Legacy),
        (
            "-",
            "tools/list",
            r#""_meta":{"progressToken":1}"#.into(),
            Legacy,
        ),
    ] {
        let text = request(method, &params);
        let message = Message::scan(text.as_bytes()).unwrap();
        assert_eq!(
            of(&headers(&format!("{header}|-|-")), &message),
            era,
            "{header} {text}"
        );
    }
}

/// Header fields, method, params and how it is refused. `META` stands for a whole `_meta`,
/// `VERSION` and `CAPS` for one with that member alone, `FUTURE` for one of an unknown version.
type Case = (&'static str, &'static str, &'static str, Option<(u16, i32)>);

const CASES: &[Case] = &[
    (
        "2026-07-28|tools/call|echo",
        "tools/call",
        r#""name":"echo",META"#,
        None,
    ),
    ("2026-07-28|tools/list|-", "tools/list", "META", None),
    (
        "2026-07-28|tools/call|=?base64?ZWNobw==?=",
        "tools/call",
        r#""name":"echo",META"#,
        None,
    ),
    (
        "2026-07-28|resources/read|=?base64?YTrDpA==?=",
        "resources/read",
        r#""uri":"a:\u00e4",META"#,
        None,
    ),
    ("-|tools/list|-", "tools/list", "META", Some((400, -32020))),
    (
        "2025-11-25|tools/list|-",
        "tools/list",
        "META",
        Some((400, -32020)),
    ),
    ("2026-07-28|-|-", "tools/list", "META", Some((400, -32020))),
    (
        "2026-07-28|TOOLS/LIST|-",
        "tools/list",
        "META",
        Some((400, -32020)),
    ),
    (
        "2026-07-28|prompts/list|-",
        "tools/list",
        "META",
        Some((400, -32020)),
    ),
    (
        "2026-07-28|tools/call|-",
        "tools/call",
        r#""name":"echo",META"#,
        Some((400, -32020)),
    ),
    (
        "2026-07-28|tools/call|x",
        "tools/call",
        r#""name":"echo",META"#,
        Some((400, -32020)),
    ),
    (
        "2026-07-28|tools/call|=?base64?ZWNobw?=",
        "tools/call",
        r#""name":"echo",META"#,
        Some((400, -32020)),
    ),
    (
        "2026-07-28|tools/call|echo",
        "tools/call",
        "META",
        Some((400, -32602)),
    ),
    (
        "2026-07-28|tools/list|-",
        "tools/list",
        "",
        Some((400, -32602)),
    ),
    (
        "2026-07-28|tools/list|-",
        "tools/list",
        "CAPS",
        Some((400, -32602)),
    ),
    (
        "2026-07-28|tools/list|-",
        "tools/list",
        "VERSION",
        Some((400, -32602)),
    ),
    (
        "2026-07-28|tools/list|-",
        "tools/list",
        "LOUD",
        Some((400, -32602)),
    ),
    (
        "v999|tools/list|-",
        "tools/list",
        "FUTURE",
        Some((400, -32022)),
    ),
    (
        "2026-07-28|tools/list|-",
        "tools/list",
        "FUTURE",
        Some((400, -32020)),
    ),
    ("2026-07-28|ping|-", "ping", "META", Some((404, -32601))),
    (
        "2026-07-28|initialize|-",
        "initialize",
        "META",
        Some((404, -32601)),
    ),
    ("2026-07-28|x/y|-", "x/y", "META", Some((404, -32601))),
    (
        "2026-07-28|roots/list|-",
        "roots/list",
        "META",
        Some((404, -32601)),
    ),
];

#[test]
fn modern_requests_are_checked_against_their_headers() {
    let (version, caps) = META.split_once(',').unwrap();
    for &(fields, method, params, expected) in CASES {
        let params = params
            .replace("META", &meta(""))
            .replace("VERSION", &format!(r#""_meta":{{{version}}}"#))
            .replace("CAPS", &format!(r#""_meta":{{{caps}}}"#))
            .replace(
                "LOUD",
                &format!(r#""_meta":{{{META},"io.modelcontextprotocol/logLevel":"loud"}}"#),
            )
            .replace("FUTURE", &meta("").replace("2026-07-28", "v999"));
        let text = request(method, &params);
        let message = Message::scan(text.as_bytes()).unwrap();
        let refused = modern(&headers(fields), &message, text.as_bytes()).err();
        let found = refused.map(|refusal| (refusal.status, refusal.code));
        assert_eq!(found, expected, "{fields} {text}");
    }
    let text = request("tools/list", &meta(""));
    let message = Message::scan(text.as_bytes()).unwrap();
    let twice = Headers {
        method: Field::Conflicting,
        ..headers("2026-07-28|-|-")
    };
    assert_eq!(
        modern(&twice, &message, text.as_bytes()).unwrap_err().code,
        -32020
    );
}

#[test]
fn an_unsupported_version_is_told_what_is() {
    let text = request(
        "tools/list",
        &format!(
            r#""_meta":{{{}}}"#,
            META.replace("2026-07-28", "1900-01-01")
        ),
    );
    let message = Message::scan(text.as_bytes()).unwrap();
    let refusal = modern(
        &headers("1900-01-01|tools/list|-"),
        &message,
        text.as_bytes(),
    )
    .unwrap_err();
    assert_eq!(
        refusal.data.unwrap(),
        concat!(
            r#"{"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","#,
            r#""2024-11-05"],"requested":"1900-01-01"}"#
        )
    );
}

#[test]
fn legacy_versions() {
    let version = |text: &'static str| legacy(Field::Value(text.as_bytes()));
    assert_eq!(legacy(Field::Absent), Ok(Revision::V2025_03_26));
    assert_eq!(version("2025-06-18"), Ok(Revision::V2025_06_18));
    assert_eq!(version("bogus").unwrap_err().status, 400);
    for (offered, answered) in [
        ("2024-11-05", Revision::V2024_11_05),
        ("2025-03-26", Revision::V2025_03_26),
        ("2025-06-18", Revision::V2025_06_18),
        ("2025-11-25", Revision::V2025_11_25),
        ("2026-07-28", Revision::V2025_11_25),
        ("2030-01-01", Revision::V2025_11_25),
        ("", Revision::V2025_11_25),
    ] {
        assert_eq!(negotiate(offered), answered, "{offered}");
    }
}

#[test]
fn capabilities_are_read() {
    let flags = |text: &str| {
        let found = capabilities(text.as_bytes());
        [
            found.roots,
            found.sampling,
            found.sampling_tools,
            found.elicitation_form,
            found.elicitation_url,
        ]
        .map(u8::from)
    };
    assert_eq!(flags("{}"), [0, 0, 0, 0, 0]);
    assert_eq!(
        flags(r#"{"roots":{"listChanged":true},"sampling":{"tools":{}}}"#),
        [1, 1, 1, 0, 0]
    );
    assert_eq!(flags(r#"{"elicitation":{}}"#), [0, 0, 0, 1, 0]);
    assert_eq!(flags(r#"{"elicitation":{"url":{}}}"#), [0, 0, 0, 0, 1]);
    assert_eq!(
        flags(r#"{"elicitation":{"form":{},"url":{}},"x":1}"#),
        [0, 0, 0, 1, 1]
    );
}
