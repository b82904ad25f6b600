//! Questions to the client and its answers.

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::prompts::quoted;
use super::schema;
use crate::mcp::vocabulary::ClientCapabilities;

/// The questions of one round.
pub(super) type Questions = Vec<Question>;

/// One question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What its answer is called.
    pub(super) key: &'static str,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A form for the user; the schema is JSON.
    Elicit {
        message: String,
        schema: &'static str,
    },
    /// A prompt for the client's model.
    Sample { prompt: String, tokens_max: u32 },
    /// Which folders the client opens.
    Roots,
}

impl Question {
    /// Asks the user to fill in a form.
    pub(super) fn elicit(key: &'static str, message: &str, schema: &'static str) -> Self {
        let message = message.to_owned();
        Self {
            key,
            kind: Kind::Elicit { message, schema },
        }
    }

    /// Asks the client's model.
    pub(super) fn sample(key: &'static str, prompt: &str, tokens_max: u32) -> Self {
        let prompt = prompt.to_owned();
        Self {
            key,
            kind: Kind::Sample { prompt, tokens_max },
        }
    }

    /// Asks for the client's roots.
    pub(super) const fn roots(key: &'static str) -> Self {
        Self {
            key,
            kind: Kind::Roots,
        }
    }

    pub(super) const fn method(&self) -> &'static str {
        match self.kind {
            Kind::Elicit { .. } => "elicitation/create",
            Kind::Sample { .. } => "sampling/createMessage",
            Kind::Roots => "roots/list",
        }
    }

    /// Appends `"method":…,"params":…`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let params = match &self.kind {
            Kind::Elicit { message, schema } => {
                format!(
                    "{{\"message\":{},\"requestedSchema\":{schema}}}",
                    quoted(message)
                )
            }
            Kind::Sample { prompt, tokens_max } => format!(
                "{{\"messages\":[{{\"role\":\"user\",\"content\":{{\"type\":\"text\",\
                 \"text\":{}}}}}],\"maxTokens\":{tokens_max}}}",
                quoted(prompt)
            ),
            Kind::Roots => "{}".to_owned(),
        };
        let method = self.method();
        out.extend_from_slice(format!("\"method\":\"{method}\",\"params\":{params}").as_bytes());
    }

    /// The capability it needs, if the client lacks it.
    pub(super) const fn missing(&self, offered: ClientCapabilities) -> Option<&'static str> {
        let (capability, is_offered) = match self.kind {
            Kind::Elicit { .. } => ("elicitation", offered.elicitation_form),
            Kind::Sample { .. } => ("sampling", offered.sampling),
            Kind::Roots => ("roots", offered.roots),
        };
        if is_offered { None } else { Some(capability) }
    }
}

/// A `ClientCapabilities` object of all that the questions need and the client lacks.
pub(super) fn missing_capabilities(
    questions: &[Question],
    offered: ClientCapabilities,
) -> Option<String> {
    let mut names: Vec<&str> = questions
        .iter()
        .filter_map(|question| question.missing(offered))
        .collect();
    names.sort_unstable();
    names.dedup();
    let members: Vec<String> = names
        .iter()
        .map(|name| format!("\"{name}\":{{}}"))
        .collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// The client's answers by key. What nobody asked for is ignored.
#[derive(Clone, Debug)]
pub(super) struct Answers(Value);

/// What became of a form.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    /// Not answered, or not as the form wanted it: ask again.
    Open,
    /// The user declined or closed it.
    Refused,
    /// Filled in.
    Filled(&'a Value),
}

impl Answers {
    /// `None` unless every answer is an object.
    pub(super) fn checked(answers: Value) -> Option<Self> {
        if answers.is_null() {
            return Some(Self(Value::new_object()));
        }
        let is_sound = answers
            .as_object()?
            .iter()
            .all(|(_, answer)| answer.is_object());
        is_sound.then_some(Self(answers))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_object().is_none_or(sonic_rs::Object::is_empty)
    }

    pub(super) fn raw(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The form `key`, checked against its schema.
    pub(super) fn form(&self, key: &str, wanted: &str) -> Form<'_> {
        let answer = self.0.get(key);
        let action = answer
            .and_then(|answer| answer.get("action"))
            .and_then(|it| it.as_str());
        let content = answer.and_then(|answer| answer.get("content"));
        match (action, content) {
            (Some("accept"), Some(content)) => match sonic_rs::from_str(wanted) {
                Ok(wanted) if schema::check(&wanted, content).is_ok() => Form::Filled(content),
                _ => Form::Open,
            },
            (Some("decline" | "cancel"), _) => Form::Refused,
            _ => Form::Open,
        }
    }

    /// What the model said: its first text block.
    pub(super) fn sampled(&self, key: &str) -> Option<&str> {
        let content = self.0.get(key)?.get("content")?;
        let text = |block: &'_ Value| block.get("text").is_some_and(|text| text.is_str());
        let block = match content.as_array() {
            Some(blocks) => blocks.iter().find(|block| text(block))?,
            None => content,
        };
        block.get("text")?.as_str()
    }

    /// The URIs of the client's roots.
    pub(super) fn roots(&self, key: &str) -> Option<Vec<&str>> {
        let roots = self.0.get(key)?.get("roots")?.as_array()?;
        Some(
            roots
                .iter()
                .filter_map(|root| root.get("uri")?.as_str())
                .collect(),
        )
    }
}
