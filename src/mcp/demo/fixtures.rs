//! The tools that the conformance suite calls, with the texts it expects.

use std::time::Duration;

use super::arguments::Arguments;
use super::script::{Cue, Script};
use super::tools::{block, finish_text, log_message, progress};
use super::{Handled, List, MISSING_CAPABILITY, Request, answer, media};
use crate::mcp::revision::Era;
use crate::mcp::vocabulary::LogLevel;

/// Between two notifications, so that a client that buffers can be told from one that streams.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for a client to notice that its stream was closed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The picture of every fixture that shows one.
pub(super) fn picture() -> Vec<u8> {
    media::gradient("red", 1)
}

pub(super) fn run(
    request: &Request<'_>,
    name: &str,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Handled {
    let era = request.era();
    let finished = match name {
        "test_simple_text" => answer::text(out, era, "This is a simple text response for testing."),
        "test_image_content" => {
            answer::result(out, era, block("image", "image/png", &picture()).as_bytes())
        }
        "test_audio_content" => {
            let wav = media::tone(440, 1);
            answer::result(out, era, block("audio", "audio/wav", &wav).as_bytes())
        }
        "test_embedded_resource" => answer::result(out, era, EMBEDDED.as_bytes()),
        "test_multiple_content_types" => answer::result(out, era, mixed().as_bytes()),
        "test_error_handling" => answer::tool_error(
            out,
            era,
            "This tool intentionally returns an error for testing",
        ),
        "test_missing_capability" => missing_capability(request, out),
        "test_header_parameter" => answer::text(out, era, arguments.text("region")),
        "test_dynamic_tool" => answer::text(out, era, "The dynamic tool is here."),
        "json_schema_2020_12_tool" => {
            let given = sonic_rs::to_string(arguments.object()).unwrap_or_default();
            answer::text(out, era, &format!("Called with {given}"))
        }
        name => return script(request, name, out),
    };
    Handled::Finished(finished)
}

const EMBEDDED: &str = "\"content\":[{\"type\":\"resource\",\"resource\":{\
    \"uri\":\"test://embedded-resource\",\"mimeType\":\"text/plain\",\
    \"text\":\"This is an embedded resource content.\"}}]";

fn mixed() -> String {
    format!(
        "\"content\":[{{\"type\":\"text\",\"text\":\"Multiple content types test:\"}},\
         {{\"type\":\"image\",\"mimeType\":\"image/png\",\"data\":\"{}\"}},\
         {{\"type\":\"resource\",\"resource\":{{\"uri\":\"test://mixed-content-resource\",\
         \"mimeType\":\"application/json\",\"text\":\"{{\\\"test\\\":\\\"data\\\",\
         \\\"value\\\":123}}\"}}}}]",
        media::base64(&picture())
    )
}

/// Modern clients are told which capability is missing by a code of its own; legacy ones were
/// asked at `initialize` and have no such code.
fn missing_capability(request: &Request<'_>, out: &mut Vec<u8>) -> super::Outcome {
    let message = "This tool needs a client that offers sampling";
    match (request.capabilities.sampling, request.era()) {
        (true, era) => answer::text(out, era, "The client offers sampling."),
        (false, Era::Legacy) => answer::tool_error(out, Era::Legacy, message),
        (false, Era::Modern) => answer::error_with(
            out,
            MISSING_CAPABILITY,
            message,
            b"{\"requiredCapabilities\":{\"sampling\":{}}}",
        ),
    }
}

fn script(request: &Request<'_>, name: &str, out: &mut Vec<u8>) -> Handled {
    let info = |text| log_message(request, LogLevel::Info, text);
    let step = |done| progress(request, done, 100, &format!("{done} of 100"));
    let mut cues = Vec::new();
    let text = match name {
        "test_tool_with_logging" => {
            cues.extend(info("Tool execution started"));
            cues.push(Cue::Sleep(PAUSE));
            cues.extend(info("Tool processing data"));
            cues.push(Cue::Sleep(PAUSE));
            cues.extend(info("Tool execution completed"));
            "Tool with logging executed successfully"
        }
        "test_logging_tool" => {
            cues.extend(info("A message of level info"));
            "Logging evaluated"
        }
        "test_tool_with_progress" => {
            cues.extend(step(0));
            cues.push(Cue::Sleep(PAUSE));
            cues.extend(step(50));
            cues.push(Cue::Sleep(PAUSE));
            cues.extend(step(100));
            "Tool with progress executed successfully"
        }
        "test_reconnection" => {
            if request.era() == Era::Legacy {
                cues.push(Cue::CloseStream);
            }
            cues.push(Cue::Sleep(RECONNECT_PAUSE));
            "The call has ended; a client that reads this came back for it."
        }
        "test_trigger_tool_change" => {
            cues.push(Cue::Changed(List::Tools));
            "The list of tools has changed."
        }
        "test_trigger_prompt_change" => {
            cues.push(Cue::Changed(List::Prompts));
            "The list of prompts has changed."
        }
        name => {
            debug_assert!(false, "{name} is listed but does nothing");
            let finished = answer::invalid(out, &format!("Unknown tool: {name}"));
            return Handled::Finished(finished);
        }
    };
    cues.push(finish_text(request, text));
    Handled::Running(Box::new(Script::planned(cues)))
}
