//! The tools that people try, and the way of every tool call.

use std::fmt::Write as _;
use std::time::Duration;

use sonic_rs::Value;

use super::arguments::Arguments;
use super::dialogue::{self, Call};
use super::params::{Params, exactly, value};
use super::script::{Cue, Script};
use super::{Demo, Handled, Outcome, Request, answer, fixtures, media};
use crate::base::civil::Civil;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::vocabulary::LogLevel;

/// `tools/call`
pub(super) fn call(demo: &Demo, request: &Request<'_>, out: &mut Vec<u8>) -> Handled {
    let Some(params) = Params::read(request.params) else {
        return Handled::Finished(answer::invalid(out, "params must be an object"));
    };
    let Some(name) = params.name() else {
        return Handled::Finished(answer::invalid(out, "params.name must name a tool"));
    };
    if let Some(finished) = quick(request.era(), &name, params.arguments, out) {
        return Handled::Finished(finished);
    }
    let Some(schema) = demo.catalog.input_schema(&name) else {
        return Handled::Finished(answer::invalid(out, &format!("Unknown tool: {name}")));
    };
    let given = match params.arguments {
        None => Some(Value::new_object()),
        Some(json) => value(json),
    };
    let Some(given) = given else {
        return Handled::Finished(answer::invalid(out, "params.arguments must be an object"));
    };
    let arguments = match Arguments::checked(given, schema) {
        Ok(arguments) => arguments,
        Err(reason) => return Handled::Finished(wrong_arguments(request, &name, &reason, out)),
    };
    if let Some(topic) = dialogue::Topic::of_tool(&name) {
        let call = Call {
            topic,
            name: &name,
            arguments: &arguments,
            params: &params,
        };
        return dialogue::start(demo, request, &call, out);
    }
    run(request, &name, &arguments, out)
}

/// `echo` and `add` with the arguments they want: no tree, no copy but the one into the answer.
/// Everything else, mistakes included, goes the long way.
fn quick(era: Era, name: &str, arguments: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Outcome> {
    let arguments = arguments?;
    match name {
        "echo" => {
            // Already a JSON string, escaped as its sender liked it.
            let [message] = exactly(arguments, ["message"])?;
            message.starts_with(b"\"").then(|| {
                answer::begin(out, era, "complete");
                out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
                out.extend_from_slice(message);
                out.extend_from_slice(b"}]}");
                Outcome::Result
            })
        }
        "add" => {
            let number = |json| core::str::from_utf8(json).ok()?.parse::<f64>().ok();
            let [a, b] = exactly(arguments, ["a", "b"])?;
            let sum = number(a)? + number(b)?;
            if !sum.is_finite() {
                return Some(answer::tool_error(
                    out,
                    era,
                    "The sum is too large for a number",
                ));
            }
            let shown = sum.to_string();
            Some(structured(
                out,
                era,
                &shown,
                &format!("{{\"sum\":{shown}}}"),
            ))
        }
        _ => None,
    }
}

/// A result with structured content: for people, and the JSON as text for clients that know no
/// structured content (server/tools §Structured Content).
fn structured(out: &mut Vec<u8>, era: Era, shown: &str, json: &str) -> Outcome {
    answer::begin(out, era, "complete");
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    answer::string(out, shown);
    out.extend_from_slice(b"},{\"type\":\"text\",\"text\":");
    answer::string(out, json);
    out.extend_from_slice(b"}],\"structuredContent\":");
    out.extend_from_slice(json.as_bytes());
    out.push(b'}');
    Outcome::Result
}

/// Since 2025-11-25 wrong arguments are for the model to correct; before, a protocol error
/// (server/tools §Error Handling of each revision).
fn wrong_arguments(request: &Request<'_>, tool: &str, reason: &str, out: &mut Vec<u8>) -> Outcome {
    let message = format!("Invalid arguments for {tool}: {reason}");
    if request.revision >= Revision::V2025_11_25 {
        answer::tool_error(out, request.era(), &message)
    } else {
        answer::invalid(out, &message)
    }
}

fn run(request: &Request<'_>, name: &str, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Handled {
    let era = request.era();
    let finished = match name {
        "time" => time(request, arguments, out),
        "slow" => return slow(request, arguments),
        "large" => large(era, arguments, out),
        "image" => {
            let size = u16::try_from(arguments.integer("size")).unwrap_or(1);
            let png = media::gradient(arguments.text("colour"), size);
            answer::result(out, era, block("image", "image/png", &png).as_bytes())
        }
        "sound" => {
            let number = |name| u32::try_from(arguments.integer(name)).unwrap_or(1);
            let wav = media::tone(number("hertz"), number("milliseconds"));
            answer::result(out, era, block("audio", "audio/wav", &wav).as_bytes())
        }
        "links" => links(request, out),
        "fail" => {
            let given = arguments.text("message");
            let message = if given.is_empty() {
                "This tool always fails"
            } else {
                given
            };
            answer::tool_error(out, era, message)
        }
        "log" => return log(request, arguments),
        name => return fixtures::run(request, name, arguments, out),
    };
    Handled::Finished(finished)
}

/// `"content":[…]` of one block of binary data.
pub(super) fn block(kind: &str, media_type: &str, bytes: &[u8]) -> String {
    format!(
        "\"content\":[{{\"type\":\"{kind}\",\"mimeType\":\"{media_type}\",\"data\":\"{}\"}}]",
        media::base64(bytes)
    )
}

fn time(request: &Request<'_>, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Outcome {
    let minutes = arguments.integer("offset_minutes");
    let unix = request.now.unix.as_secs();
    let shown = timestamp(unix, minutes);
    let json = format!("{{\"time\":\"{shown}\",\"unix_seconds\":{unix}}}");
    structured(out, request.era(), &shown, &json)
}

/// RFC 3339, in UTC or at a fixed offset.
pub(super) fn timestamp(unix_seconds: u64, offset_minutes: i64) -> String {
    let civil = Civil::from_unix(unix_seconds.saturating_add_signed(offset_minutes * 60));
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second
    );
    if offset_minutes == 0 {
        text.push('Z');
    } else {
        let sign = if offset_minutes < 0 { '-' } else { '+' };
        let minutes = offset_minutes.unsigned_abs();
        // Writing to a string cannot fail.
        let _ = write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
    }
    text
}

fn slow(request: &Request<'_>, arguments: &Arguments<'_>) -> Handled {
    let steps = u32::try_from(arguments.integer("steps"))
        .unwrap_or(1)
        .max(1);
    let seconds = arguments.number("seconds");
    let pause = Duration::try_from_secs_f64(seconds / f64::from(steps)).unwrap_or_default();
    let mut cues = Vec::new();
    for step in 1..=steps {
        cues.push(Cue::Sleep(pause));
        cues.extend(progress(
            request,
            step,
            steps,
            &format!("Step {step} of {steps}"),
        ));
    }
    cues.push(finish_text(
        request,
        &format!("Finished after {steps} steps and {seconds} s"),
    ));
    Handled::Running(Box::new(Script::planned(cues)))
}

/// A progress notification, if the client asked for progress.
pub(super) fn progress(request: &Request<'_>, done: u32, total: u32, message: &str) -> Option<Cue> {
    let token = request.progress_token?;
    Some(Cue::Notify(answer::progress(token, done, total, message)))
}

/// A log message, if the client wants that level.
pub(super) fn log_message(request: &Request<'_>, level: LogLevel, text: &str) -> Option<Cue> {
    let wanted = request.log_level.is_some_and(|least| level >= least);
    wanted.then(|| Cue::Notify(answer::log(level, text)))
}

/// A tool result of one text as the end of a script.
pub(super) fn finish_text(request: &Request<'_>, text: &str) -> Cue {
    let mut out = Vec::new();
    let outcome = answer::text(&mut out, request.era(), text);
    Cue::Finish(outcome, out)
}

fn large(era: Era, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Outcome {
    const LINE: &[u8] = b"All work and no play makes a gateway a dull process. 0123456789 -";
    let bytes = usize::try_from(arguments.integer("bytes")).unwrap_or(1);
    out.reserve(bytes + 512);
    answer::begin(out, era, "complete");
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":\"");
    let end = out.len() + bytes;
    while out.len() < end {
        let room = end - out.len();
        out.extend_from_slice(LINE.get(..room).unwrap_or(LINE));
    }
    out.extend_from_slice(b"\"}]}");
    Outcome::Result
}

/// Links are younger than 2025-06-18's predecessors; those get the texts of the resources.
fn links(request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    let links = if request.revision >= Revision::V2025_06_18 {
        concat!(
            r#"{"type":"resource_link","uri":"demo://clock","name":"clock","title":"Clock","#,
            r#""description":"Changes every two seconds while someone subscribes to it","#,
            r#""mimeType":"text/plain"},"#,
            r#"{"type":"resource_link","uri":"demo://gradient.png","name":"gradient.png","#,
            r#""mimeType":"image/png"}"#
        )
    } else {
        r#"{"type":"text","text":"Read demo://clock and demo://gradient.png"}"#
    };
    let mut members = format!(
        "\"content\":[{links},{{\"type\":\"resource\",\"resource\":\
         {{\"uri\":\"demo://about\",\"mimeType\":\"text/markdown\",\"text\":"
    )
    .into_bytes();
    answer::string(&mut members, super::resources::ABOUT);
    members.extend_from_slice(b"}}]");
    answer::result(out, request.era(), &members)
}

fn log(request: &Request<'_>, arguments: &Arguments<'_>) -> Handled {
    let from = LogLevel::parse(arguments.text("from")).unwrap_or(LogLevel::Debug);
    let levels = LogLevel::ALL.into_iter().filter(|level| *level >= from);
    let mut cues: Vec<Cue> = levels
        .filter_map(|level| {
            let text = format!("A message of level {}", level.as_str());
            log_message(request, level, &text)
        })
        .collect();
    let summary = match cues.len() {
        0 => "Sent nothing: the client asked for no message this severe".to_owned(),
        count => format!("Sent {count} log messages"),
    };
    cues.push(finish_text(request, &summary));
    Handled::Running(Box::new(Script::planned(cues)))
}
