//! What each call that asks something asks, and what it says in the end.

use sonic_rs::{JsonValueTrait, Value};

use super::arguments::Arguments;
use super::questions::{Answers, Form, Question, Questions};
use super::state::Memory;
use crate::mcp::vocabulary::ClientCapabilities;

/// A call that asks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    AskUser,
    AskModel,
    ListRoots,
    TestSampling,
    TestElicitation,
    TestDefaults,
    TestEnums,
    TestStreaming,
    TestName,
    TestCapital,
    TestRoots,
    TestState,
    TestThree,
    TestRounds,
    TestTampering,
    TestCapabilities,
    TestPrompt,
}

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// Ask, and remember if there is something to remember.
    Ask(Questions, Option<Memory>),
    /// Finish.
    Say(String),
}

impl Topic {
    pub(super) fn of_tool(name: &str) -> Option<Self> {
        Some(match name {
            "ask_user" => Self::AskUser,
            "ask_model" => Self::AskModel,
            "list_roots" => Self::ListRoots,
            "test_sampling" => Self::TestSampling,
            "test_elicitation" => Self::TestElicitation,
            "test_elicitation_sep1034_defaults" => Self::TestDefaults,
            "test_elicitation_sep1330_enums" => Self::TestEnums,
            "test_streaming_elicitation" => Self::TestStreaming,
            "test_input_required_result_elicitation" => Self::TestName,
            "test_input_required_result_sampling" => Self::TestCapital,
            "test_input_required_result_list_roots" => Self::TestRoots,
            "test_input_required_result_request_state" => Self::TestState,
            "test_input_required_result_multiple_inputs" => Self::TestThree,
            "test_input_required_result_multi_round" => Self::TestRounds,
            "test_input_required_result_tampered_state" => Self::TestTampering,
            "test_input_required_result_capabilities" => Self::TestCapabilities,
            _ => return None,
        })
    }

    pub(super) fn of_prompt(name: &str) -> Option<Self> {
        (name == "test_input_required_result_prompt").then_some(Self::TestPrompt)
    }

    pub(super) const fn is_prompt(self) -> bool {
        matches!(self, Self::TestPrompt)
    }

    /// The one argument that its questions are made of.
    pub(super) fn input(self, arguments: &Arguments<'_>) -> String {
        let name = match self {
            Self::AskModel => "question",
            Self::TestSampling => "prompt",
            Self::TestElicitation => "message",
            _ => return String::new(),
        };
        arguments.text(name).to_owned()
    }
}

/// The forms, compact: they are sent as they stand.
const NAME: &str = include_str!("catalog/forms/name.json");
const COLOUR: &str = include_str!("catalog/forms/colour.json");
const COLOR: &str = include_str!("catalog/forms/color.json");
const CONFIRM: &str = include_str!("catalog/forms/confirm.json");
const CONTEXT: &str = include_str!("catalog/forms/context.json");
const VALUE: &str = include_str!("catalog/forms/value.json");
const CONTACT: &str = include_str!("catalog/forms/contact.json");
const DEFAULTS: &str = include_str!("catalog/forms/defaults.json");
const ENUMS: &str = include_str!("catalog/forms/enums.json");

/// One turn: from what is remembered and what was answered to what happens next.
pub(super) fn turn(
    topic: Topic,
    input: &str,
    memory: &Memory,
    answers: &Answers,
    capabilities: ClientCapabilities,
) -> Turn {
    match topic {
        Topic::AskUser => ask_user(memory, answers),
        Topic::AskModel => match answers.sampled("answer") {
            Some(text) => Turn::Say(text.to_owned()),
            None => ask(Question::sample("answer", input, 1_000)),
        },
        Topic::ListRoots | Topic::TestRoots => list_roots(answers),
        Topic::TestSampling => match answers.sampled("sample") {
            Some(text) => Turn::Say(format!("LLM response: {text}")),
            None => ask(Question::sample("sample", input, 100)),
        },
        Topic::TestElicitation => verbatim(answers, "User response", input, CONTACT),
        Topic::TestDefaults => {
            let message = "Please review and update the form fields with defaults";
            verbatim(answers, "Elicitation completed", message, DEFAULTS)
        }
        Topic::TestEnums => {
            let message = "Please select options from the enum fields";
            verbatim(answers, "Elicitation completed", message, ENUMS)
        }
        Topic::TestStreaming => verbatim(answers, "Streaming complete", "Please confirm", CONFIRM),
        Topic::TestName => one_form(answers, NAME_FORM, |name| format!("Hello, {name}!")),
        Topic::TestPrompt => one_form(answers, CONTEXT_FORM, |context| {
            format!("Prompt with context: {context}")
        }),
        Topic::TestCapital => match answers.sampled("capital_question") {
            Some(text) => Turn::Say(format!("Sampling result: {text}")),
            None => {
                let prompt = "What is the capital of France?";
                ask(Question::sample("capital_question", prompt, 100))
            }
        },
        Topic::TestState => confirmed(memory, answers, "state-ok: requestState validated"),
        Topic::TestTampering => confirmed(memory, answers, "integrity-ok: state verified"),
        Topic::TestThree => three(memory, answers),
        Topic::TestRounds => rounds(memory, answers),
        Topic::TestCapabilities => what_is_offered(answers, capabilities),
    }
}

fn ask(question: Question) -> Turn {
    Turn::Ask(vec![question], None)
}

/// A form with one text field.
#[derive(Clone, Copy)]
struct OneField {
    key: &'static str,
    message: &'static str,
    schema: &'static str,
    field: &'static str,
}

const NAME_FORM: OneField = OneField {
    key: "user_name",
    message: "What is your name?",
    schema: NAME,
    field: "name",
};
const CONTEXT_FORM: OneField = OneField {
    key: "user_context",
    message: "What context should the prompt use?",
    schema: CONTEXT,
    field: "context",
};

fn one_form(answers: &Answers, form: OneField, say: fn(&str) -> String) -> Turn {
    match answers.form(form.key, form.schema) {
        Form::Open => ask(Question::elicit(form.key, form.message, form.schema)),
        Form::Refused => Turn::Say("The form was not filled in.".into()),
        Form::Filled(content) => Turn::Say(say(text(content, form.field))),
    }
}

fn ask_user(memory: &Memory, answers: &Answers) -> Turn {
    let declined = || Turn::Say("You chose not to answer; that is fine.".into());
    if memory.round == 0 {
        return match answers.form("name", NAME) {
            Form::Open => ask(Question::elicit("name", "What is your name?", NAME)),
            Form::Refused => declined(),
            Form::Filled(content) => {
                let name = text(content, "name");
                let question = format!("Hello, {name}! What is your favourite colour?");
                Turn::Ask(
                    vec![Question::elicit("colour", &question, COLOUR)],
                    Some(remember(1, name)),
                )
            }
        };
    }
    let name = &memory.text;
    match answers.form("colour", COLOUR) {
        Form::Open => {
            let question = format!("{name}, what is your favourite colour?");
            Turn::Ask(
                vec![Question::elicit("colour", &question, COLOUR)],
                Some(memory.clone()),
            )
        }
        Form::Refused => declined(),
        Form::Filled(content) => {
            let colour = text(content, "colour");
            Turn::Say(format!(
                "Pleased to meet you, {name}. A fine colour, {colour}."
            ))
        }
    }
}

fn list_roots(answers: &Answers) -> Turn {
    match answers.roots("client_roots") {
        Some(roots) => {
            let mut text = format!("Found {} root(s)", roots.len());
            for root in roots {
                text.push('\n');
                text.push_str(root);
            }
            Turn::Say(text)
        }
        None => ask(Question::roots("client_roots")),
    }
}

/// Says what the client answered, whatever it was.
fn verbatim(answers: &Answers, intro: &str, message: &str, schema: &'static str) -> Turn {
    let Some(answer) = answers.raw("form") else {
        return ask(Question::elicit("form", message, schema));
    };
    let action = text(answer, "action");
    let content = answer.get("content").map(sonic_rs::to_string);
    let content = content.and_then(Result::ok).unwrap_or_else(|| "{}".into());
    Turn::Say(format!("{intro}: action={action}, content={content}"))
}

fn confirmed(memory: &Memory, answers: &Answers, said: &str) -> Turn {
    match answers.form("confirm", CONFIRM) {
        Form::Filled(content) if memory.round == 1 => {
            let ok = content.get("ok").and_then(|ok| ok.as_bool()) == Some(true);
            Turn::Say(if ok {
                said.into()
            } else {
                "Not confirmed.".into()
            })
        }
        Form::Refused => Turn::Say("Not confirmed.".into()),
        Form::Filled(_) | Form::Open => Turn::Ask(
            vec![Question::elicit("confirm", "Please confirm", CONFIRM)],
            Some(remember(1, "")),
        ),
    }
}

fn three(memory: &Memory, answers: &Answers) -> Turn {
    let name = match answers.form("user_name", NAME) {
        Form::Open => None,
        Form::Refused => Some("nobody"),
        Form::Filled(content) => Some(text(content, "name")),
    };
    let greeting = answers.sampled("greeting");
    let roots = answers.roots("client_roots");
    if let (Some(name), Some(greeting), Some(roots), 1) = (name, greeting, roots, memory.round) {
        let count = roots.len();
        return Turn::Say(format!(
            "Name: {name}; Greeting: {greeting}; Roots: {count}"
        ));
    }
    Turn::Ask(
        vec![
            Question::elicit("user_name", "What is your name?", NAME),
            Question::sample("greeting", "Generate a greeting", 50),
            Question::roots("client_roots"),
        ],
        Some(remember(1, "")),
    )
}

fn rounds(memory: &Memory, answers: &Answers) -> Turn {
    let second = |name: &str| {
        let message = "Step 2: What is your favorite color?";
        Turn::Ask(
            vec![Question::elicit("step2", message, COLOR)],
            Some(remember(2, name)),
        )
    };
    match memory.round {
        1 => match answers.form("step1", NAME) {
            Form::Filled(content) => return second(text(content, "name")),
            Form::Refused => return Turn::Say("Stopped after the first step.".into()),
            Form::Open => {}
        },
        2 => match answers.form("step2", COLOR) {
            Form::Filled(content) => {
                let (name, colour) = (&memory.text, text(content, "color"));
                return Turn::Say(format!(
                    "Multi-round complete for {name} who likes {colour}"
                ));
            }
            Form::Refused => return Turn::Say("Stopped after the second step.".into()),
            Form::Open => return second(&memory.text),
        },
        _ => {}
    }
    let message = "Step 1: What is your name?";
    Turn::Ask(
        vec![Question::elicit("step1", message, NAME)],
        Some(remember(1, "")),
    )
}

fn what_is_offered(answers: &Answers, capabilities: ClientCapabilities) -> Turn {
    if !answers.is_empty() {
        return Turn::Say("capabilities-ok: the client answered".into());
    }
    let mut questions = vec![
        Question::elicit("elicit_input", "Elicitation input", VALUE),
        Question::sample("sample_input", "Sample request", 50),
    ];
    questions.retain(|question| question.missing(capabilities).is_none());
    if questions.is_empty() {
        return Turn::Say("The client offers neither elicitation nor sampling.".into());
    }
    Turn::Ask(questions, None)
}

fn remember(round: u8, text: &str) -> Memory {
    Memory {
        round,
        text: text.to_owned(),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .get(key)
        .and_then(|value| value.as_str())
        .unwrap_or_default()
}
