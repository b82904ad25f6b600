//! Completion of prompt and template arguments.

use sonic_rs::{JsonValueTrait, Value};

use super::catalog::Catalog;
use super::params::{Params, value};
use super::prompts::{STYLES, quoted};
use super::resources::GREETINGS;
use super::{Outcome, Request, answer};

/// What the arguments of the fixtures complete to.
const WORDS: &[&str] = &["paris", "park", "party", "test", "testing"];

/// `completion/complete`
pub(super) fn complete(catalog: &Catalog, request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    let params = Params::read(request.params);
    let field = |pick: fn(&Params<'_>) -> Option<Value>| params.as_ref().and_then(pick);
    let reference = field(|params| params.reference.and_then(value));
    let argument = field(|params| params.argument.and_then(value));
    let (Some(reference), Some(argument)) = (reference, argument) else {
        return answer::invalid(out, "params must have ref and argument");
    };
    let text = |object: &'_ Value, key: &str| {
        object
            .get(key)
            .and_then(|value| value.as_str())
            .map(str::to_owned)
    };
    let (Some(name), Some(typed)) = (text(&argument, "name"), text(&argument, "value")) else {
        return answer::invalid(out, "argument must have a name and a value, both strings");
    };
    let known = match text(&reference, "type").as_deref() {
        Some("ref/prompt") => {
            let prompt = text(&reference, "name").unwrap_or_default();
            of_prompt(catalog, &prompt, &name)
        }
        Some("ref/resource") => of_template(&text(&reference, "uri").unwrap_or_default(), &name),
        _ => return answer::invalid(out, "ref.type must be ref/prompt or ref/resource"),
    };
    match known {
        Ok(words) => {
            let starts = |word: &&str| word.starts_with(&typed.to_lowercase());
            write(
                request,
                &words.into_iter().filter(starts).collect::<Vec<_>>(),
                out,
            )
        }
        Err(reason) => answer::invalid(out, &reason),
    }
}

fn of_prompt(catalog: &Catalog, prompt: &str, name: &str) -> Result<Vec<&'static str>, String> {
    let Some(arguments) = catalog.prompt_arguments(prompt) else {
        return Err(format!("Unknown prompt: {prompt}"));
    };
    if !arguments.iter().any(|(known, _)| &**known == name) {
        return Err(format!("The prompt {prompt} has no argument {name}"));
    }
    Ok(match (prompt, name) {
        ("summarize", "style") => STYLES.iter().map(|(style, _)| *style).collect(),
        ("test_prompt_with_arguments", _) => WORDS.to_vec(),
        ("test_prompt_with_embedded_resource", _) => vec!["test://static-text"],
        _ => Vec::new(),
    })
}

fn of_template(template: &str, name: &str) -> Result<Vec<&'static str>, String> {
    match (template, name) {
        ("demo://greeting/{language}", "language") => {
            Ok(GREETINGS.iter().map(|(language, _)| *language).collect())
        }
        ("test://template/{id}/data", "id") => Ok(Vec::new()),
        ("demo://greeting/{language}" | "test://template/{id}/data", _) => {
            Err(format!("The template {template} has no argument {name}"))
        }
        _ => Err(format!("Unknown template: {template}")),
    }
}

fn write(request: &Request<'_>, words: &[&str], out: &mut Vec<u8>) -> Outcome {
    let values: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let members = format!(
        "\"completion\":{{\"values\":[{}],\"total\":{},\"hasMore\":false}}",
        values.join(","),
        values.len()
    );
    answer::result(out, request.era(), members.as_bytes())
}
