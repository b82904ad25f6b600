//! Prompts.

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::dialogue::{self, Call, Topic};
use super::params::{Params, value};
use super::{Demo, Handled, Outcome, Request, answer, arguments::Arguments, fixtures, media};

/// Styles of `summarize`, in the order in which they complete.
pub(super) const STYLES: &[(&str, &str)] = &[
    ("brief", "in one sentence"),
    ("bullets", "as a list of at most five points"),
    ("formal", "in one formal paragraph"),
];

/// `prompts/get`
pub(super) fn get(demo: &Demo, request: &Request<'_>, out: &mut Vec<u8>) -> Handled {
    let Some(params) = Params::read(request.params) else {
        return Handled::Finished(answer::invalid(out, "params must be an object"));
    };
    let Some(name) = params.name() else {
        return Handled::Finished(answer::invalid(out, "params.name must name a prompt"));
    };
    let Some(known) = demo.catalog.prompt_arguments(&name) else {
        return Handled::Finished(answer::invalid(out, &format!("Unknown prompt: {name}")));
    };
    let given = params
        .arguments
        .map_or_else(|| Some(Value::new_object()), value);
    let given = match checked(given, known) {
        Ok(given) => given,
        Err(reason) => {
            let message = format!("Invalid arguments for {name}: {reason}");
            return Handled::Finished(answer::invalid(out, &message));
        }
    };
    if let Some(topic) = Topic::of_prompt(&name) {
        let call = Call {
            topic,
            name: &name,
            arguments: &Arguments::unchecked(given),
            params: &params,
        };
        return dialogue::start(demo, request, &call, out);
    }
    Handled::Finished(write(request, &name, &given, out))
}

/// Prompt arguments are texts; those that are required must be there.
fn checked(given: Option<Value>, known: &[(Box<str>, bool)]) -> Result<Value, String> {
    let given = given.filter(|value| value.is_object());
    let Some(given) = given else {
        return Err("arguments must be an object".into());
    };
    for (name, value) in given
        .as_object()
        .into_iter()
        .flat_map(|object| object.iter())
    {
        if !known.iter().any(|(known, _)| **known == *name) {
            return Err(format!("\"{name}\" is not a known argument"));
        }
        if !value.is_str() {
            return Err(format!("\"{name}\" must be a string"));
        }
    }
    match known
        .iter()
        .find(|(name, required)| *required && given.get(&**name).is_none())
    {
        Some((name, _)) => Err(format!("\"{name}\" is missing")),
        None => Ok(given),
    }
}

fn write(request: &Request<'_>, name: &str, given: &Value, out: &mut Vec<u8>) -> Outcome {
    let argument = |name: &str| {
        given
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or("")
    };
    let blocks = match name {
        "summarize" => {
            let style = argument("style");
            let how = STYLES.iter().find(|(known, _)| *known == style);
            let how = how.map_or("briefly", |(_, how)| how);
            vec![text(&format!(
                "Summarize this text {how}:\n\n{}",
                argument("text")
            ))]
        }
        "explain_ringway" => vec![
            resource("demo://about", "text/markdown", super::resources::ABOUT),
            text("Explain what this server offers and suggest three things to try first."),
        ],
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (first, second) = (argument("arg1"), argument("arg2"));
            vec![text(&format!(
                "Prompt with arguments: arg1='{first}', arg2='{second}'"
            ))]
        }
        "test_prompt_with_embedded_resource" => vec![
            resource(
                argument("resourceUri"),
                "text/plain",
                "Embedded resource content for testing.",
            ),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![
            image(&fixtures::picture()),
            text("Please analyze the image above."),
        ],
        "test_dynamic_prompt" => vec![text("The dynamic prompt is here.")],
        name => return answer::invalid(out, &format!("Unknown prompt: {name}")),
    };
    answer::result(out, request.era(), messages(&blocks).as_bytes())
}

/// `"messages":[…]`, one message of the user for each block.
pub(super) fn messages(blocks: &[String]) -> String {
    let messages: Vec<String> = blocks
        .iter()
        .map(|block| format!("{{\"role\":\"user\",\"content\":{block}}}"))
        .collect();
    format!("\"messages\":[{}]", messages.join(","))
}

/// A text block.
pub(super) fn text(text: &str) -> String {
    format!("{{\"type\":\"text\",\"text\":{}}}", quoted(text))
}

fn image(png: &[u8]) -> String {
    let data = media::base64(png);
    format!("{{\"type\":\"image\",\"mimeType\":\"image/png\",\"data\":\"{data}\"}}")
}

fn resource(uri: &str, media_type: &str, text: &str) -> String {
    format!(
        "{{\"type\":\"resource\",\"resource\":{{\"uri\":{},\"mimeType\":\"{media_type}\",\
         \"text\":{}}}}}",
        quoted(uri),
        quoted(text)
    )
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    answer::string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}
