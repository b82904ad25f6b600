//! The codec against h11, another HTTP/1.1 parser: whatever we accept, h11 must see as the same
//! messages that end at the same bytes. Being stricter is fine, and counted.
//!
//! Runs the Python named by `RINGWAY_TEST_PYTHON`, which must have h11 (`make test` sees to
//! both); without it the test says that it did nothing. `FUZZ_SEED` and `FUZZ_ITERS` as in
//! tests/fuzz.rs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod wire {
    pub(crate) use ringway::http::h1::{
        BodyKind, ClientConn, ClientEvent, Error, Event, Limits, Next, RequestLine, ServerConn,
    };
    pub(crate) use ringway::http::{HeaderList, RequestHead, Response, ResponseHead, Version};
}

#[path = "support/h1_drive.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its half")]
mod drive;

#[path = "support/mutate.rs"]
#[allow(dead_code, reason = "inputs are not cut here")]
mod mutate;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use drive::{Fields, Message, Received, Served, receive, serve};
use mutate::{CHUNKED, REQUESTS, RESPONSES, Random, mutate, number, seed};
use ringway::http::Known;
use ringway::http::h1::Limits;
use serde::Deserialize;

const ITERS_DEFAULT: u64 = 6_000;

/// What the oracle says of one message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Oracle {
    kind: String,
    why: String,
    method: String,
    target: String,
    status: u16,
    version: String,
    headers: Vec<(String, String)>,
    body: String,
    trailers: Vec<(String, String)>,
    end: usize,
}

/// What one side made of an input, message by message.
#[derive(Debug)]
enum Ours {
    Message(Message),
    Interim(u16),
    Refused(String),
    CutShort,
}

/// An input, and how it was fed.
struct Case {
    input: Vec<u8>,
    /// The request's method, for bytes that a client receives.
    method: Option<&'static str>,
}

impl Case {
    fn ours(&self) -> Vec<Ours> {
        match self.method {
            None => serve(&[&self.input], Limits::default())
                .into_iter()
                .map(|served| match served {
                    Served::Request(message) => Ours::Message(message),
                    Served::Refused(error) => Ours::Refused(error.to_string()),
                    Served::CutShort => Ours::CutShort,
                })
                .collect(),
            Some(method) => receive(&[&self.input], &[method], Limits::default())
                .into_iter()
                .map(|received| match received {
                    Received::Response(message) => Ours::Message(message),
                    Received::Interim(status) => Ours::Interim(status),
                    Received::Refused(error) => Ours::Refused(error.to_string()),
                    Received::CutShort => Ours::CutShort,
                })
                .collect(),
        }
    }

    fn record(&self) -> Vec<u8> {
        let mut record = match self.method {
            None => b"R".to_vec(),
            Some(method) => format!("P{method}\n").into_bytes(),
        };
        record.extend_from_slice(&(self.input.len() as u32).to_be_bytes());
        record.extend_from_slice(&self.input);
        record
    }
}

#[test]
fn whatever_we_accept_h11_sees_the_same_way() {
    let Some(python) = std::env::var_os("RINGWAY_TEST_PYTHON") else {
        eprintln!(
            "SKIPPED: the differential test did nothing. Set RINGWAY_TEST_PYTHON to a Python \
             with h11, or run `make test`."
        );
        return;
    };
    let seed = seed();
    let cases: Vec<Case> = (0..number("FUZZ_ITERS").unwrap_or(ITERS_DEFAULT))
        .map(|iteration| case(&mut Random(seed.wrapping_add(iteration))))
        .collect();
    let (mut agreed, mut messages) = (0, 0);
    let mut stricter = BTreeMap::<String, usize>::new();
    for (case, theirs) in cases.iter().zip(ask(&python, &cases)) {
        match compare(case, &theirs, &mut messages) {
            Ok(None) => agreed += 1,
            Ok(Some(reason)) => *stricter.entry(reason).or_default() += 1,
            Err(problem) => panic!(
                "{problem}\nseed {seed}, method {:?}\ninput: {}\nours: {:#?}\nh11: {theirs:#?}",
                case.method,
                case.input.escape_ascii(),
                case.ours(),
            ),
        }
    }
    println!(
        "{agreed} inputs seen alike, {messages} messages in them; stricter than h11 (seed {seed}):"
    );
    for (reason, count) in &stricter {
        println!("{count:6} {reason}");
    }
    // An oracle that refuses everything, or is never asked, would prove nothing.
    let asked = cases.len();
    assert!(
        messages * 4 > asked,
        "only {messages} messages in {asked} inputs could be compared"
    );
}

fn case(random: &mut Random) -> Case {
    const CHUNKED_HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (front, seeds, method) = match random.below(4) {
        0 => (
            &b""[..],
            RESPONSES,
            Some(["GET", "HEAD", "POST"][random.below(3)]),
        ),
        1 => (CHUNKED_HEAD, CHUNKED, None),
        _ => (&b""[..], REQUESTS, None),
    };
    let mut input = random.pick(seeds).to_vec();
    mutate(&mut input, seeds, random);
    Case {
        input: [front, &input].concat(),
        method,
    }
}

fn ask(python: &std::ffi::OsStr, cases: &[Case]) -> Vec<Vec<Oracle>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/h11_oracle.py");
    let mut oracle = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RINGWAY_TEST_PYTHON starts");
    let mut stdin = oracle.stdin.take().unwrap();
    let stdout = BufReader::new(oracle.stdout.take().unwrap());
    let records: Vec<u8> = cases.iter().flat_map(Case::record).collect();
    let writer = std::thread::spawn(move || stdin.write_all(&records));
    let answers: Vec<Vec<Oracle>> = stdout
        .lines()
        .map(|line| sonic_rs::from_str(&line.unwrap()).expect("the oracle answers JSON"))
        .collect();
    writer.join().unwrap().unwrap();
    assert!(oracle.wait().unwrap().success(), "the oracle failed");
    assert_eq!(answers.len(), cases.len(), "the oracle left inputs out");
    answers
}

/// `Ok(None)`: alike. `Ok(Some(why))`: we were stricter. `Err`: we accepted what h11 did not,
/// or saw it otherwise.
fn compare(case: &Case, theirs: &[Oracle], messages: &mut usize) -> Result<Option<String>, String> {
    let ours = case.ours();
    let mut start = 0;
    for (index, ours) in ours.iter().enumerate() {
        let theirs = theirs.get(index);
        let kind = theirs.map_or("nothing", |theirs| theirs.kind.as_str());
        match (ours, theirs) {
            (Ours::Refused(_), _) if kind == "refused" || kind == "cut" => return Ok(None),
            (Ours::Refused(why), _) => return Ok(Some(why.clone())),
            // Neither made a message of it; h11 may have seen before us that none will come.
            (Ours::CutShort, _) if kind != "message" && kind != "interim" => return Ok(None),
            (Ours::Interim(ours), Some(theirs)) if kind == "interim" => {
                if *ours != theirs.status {
                    return Err(format!("interim {ours} and {}", theirs.status));
                }
            }
            (Ours::Message(ours), Some(theirs)) if kind == "message" => {
                alike(case, ours, theirs)?;
                *messages += 1;
                start = ours.end;
            }
            // h11 keeps no HTTP/1.0 connection and none that CONNECT may have switched.
            (Ours::Message(_) | Ours::CutShort, None) if index > 0 => return Ok(None),
            (Ours::Message(ours), Some(theirs)) if is_known_leniency(case, start, ours, theirs) => {
                return Ok(None);
            }
            _ => return Err(format!("message {index}: we accept, h11 has {kind}")),
        }
    }
    match theirs.get(ours.len()) {
        Some(more) if more.kind == "message" => Ok(Some("connection closed earlier".to_owned())),
        _ => Ok(None),
    }
}

/// Where RFC 9112 asks for more tolerance than h11 has.
fn is_known_leniency(case: &Case, start: usize, ours: &Message, theirs: &Oracle) -> bool {
    let input = &case.input[start..ours.end];
    // §2.2: empty lines before a request line are ignored.
    let empty_line = case.method.is_none() && input.starts_with(b"\r\n");
    // §7.1.1: blanks around an extension's parts are parsed and removed.
    let blank_before_extension = input.windows(2).any(|pair| {
        matches!(
            pair,
            [b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F', b' ' | b'\t']
        )
    });
    // RFC 9110 §6.5.1: framing fields in trailers are ignored; h11 still reads them.
    let text = input.to_ascii_lowercase();
    let framing_in_trailer = ["Content-Length", "Transfer-Encoding"].iter().any(|name| {
        let lower = name.to_ascii_lowercase().into_bytes();
        theirs.why.contains(name) && text.windows(lower.len()).any(|part| part == lower)
    });
    theirs.kind == "refused"
        && (empty_line
            || blank_before_extension && theirs.why.contains("illegal chunk header")
            || framing_in_trailer)
}

fn alike(case: &Case, ours: &Message, theirs: &Oracle) -> Result<(), String> {
    let differs = |what: &str, ours: &dyn core::fmt::Debug, theirs: &dyn core::fmt::Debug| {
        Err(format!("{what}: ours {ours:?}, h11's {theirs:?}"))
    };
    let their_version = theirs.version == "1.0";
    if ours.is_http10 != their_version {
        return differs("version", &ours.is_http10, &their_version);
    }
    if (&ours.method, &ours.target) != (&theirs.method, &theirs.target) {
        let pair = (&theirs.method, &theirs.target);
        return differs("request line", &(&ours.method, &ours.target), &pair);
    }
    if ours.status != theirs.status {
        return differs("status", &ours.status, &theirs.status);
    }
    if ours.body != latin1(&theirs.body) {
        return differs("body", &ours.body, &theirs.body);
    }
    // A client that reads to the end of the stream has no other end to compare.
    if ours.end != theirs.end && case.method.is_none() {
        return differs("end", &ours.end, &theirs.end);
    }
    // An absolute target's authority takes Host's place with us.
    let is_absolute = !ours.target.starts_with('/') && ours.target != "*";
    let keep = |name: &[u8]| !(is_absolute && Known::of(name) == Known::Host);
    let (mine, other) = (
        folded(&ours.headers, keep),
        their_fields(&theirs.headers, keep),
    );
    if mine != other {
        return differs("fields", &mine, &other);
    }
    let keep = |name: &[u8]| !Known::of(name).is_forbidden_in_trailers();
    let (mine, other) = (
        folded(&ours.trailers, keep),
        their_fields(&theirs.trailers, keep),
    );
    if mine != other {
        return differs("trailers", &mine, &other);
    }
    Ok(())
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| char as u8).collect()
}

fn folded(fields: &Fields, keep: impl Fn(&[u8]) -> bool) -> Fields {
    fields
        .iter()
        .filter(|(name, _)| keep(name))
        .map(|(name, value)| match Known::of(name) {
            // h11 keeps names, and the transfer coding, in lower case.
            Known::TransferEncoding => (name.to_ascii_lowercase(), value.to_ascii_lowercase()),
            _ => (name.to_ascii_lowercase(), value.clone()),
        })
        .collect()
}

fn their_fields(fields: &[(String, String)], keep: impl Fn(&[u8]) -> bool) -> Fields {
    let bytes: Fields = fields
        .iter()
        .map(|(name, value)| (latin1(name), latin1(value)))
        .collect();
    folded(&bytes, keep)
}
