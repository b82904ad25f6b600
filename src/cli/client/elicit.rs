//! Elicitation (client/elicitation): a form of flat fields asked one after the other, or a URL
//! that the user opens by himself. Nothing is fetched or opened here.

use std::io::BufRead as _;

use sonic_rs::{JsonValueTrait as _, Value};

use super::attendant::plain;
use super::message::quoted;
use crate::cli::schema::{Field, coerce};
use crate::cli::terminal::Terminal;
use crate::http::endpoint::Endpoint;

const DECLINE: &str = "{\"action\":\"decline\"}";
const CANCEL: &str = "{\"action\":\"cancel\"}";
/// Wrong answers to one question before the whole is cancelled.
const TRIES_MAX: usize = 5;

fn text<'a>(value: Option<&'a Value>, key: &str) -> Option<&'a str> {
    value?.get(key)?.as_str()
}

fn fields(params: Option<&Value>) -> Vec<Field> {
    let schema = params.and_then(|params| params.get("requestedSchema"));
    schema.map(Field::of_object).unwrap_or_default()
}

/// What a form asks for, on one line.
pub(super) fn wanted(params: Option<&Value>) -> String {
    if text(params, "mode") == Some("url") {
        return "a page to open; run this at a terminal".to_owned();
    }
    let names: Vec<String> = fields(params)
        .iter()
        .map(|field| format!("{} ({})", plain(&field.name), field.kind()))
        .collect();
    names.join(", ")
}

/// The answer made of `--answer`; `None` if that leaves something required open.
pub(super) fn from_answers(params: Option<&Value>, answers: &[(String, String)]) -> Option<String> {
    if text(params, "mode") == Some("url") {
        return None;
    }
    let mut members = Vec::new();
    for field in fields(params) {
        let given = answers.iter().rev().find(|(name, _)| *name == field.name);
        match given {
            Some((name, value)) => {
                let value = coerce(value, &field.schema).ok()?;
                members.push(format!("{}:{value}", quoted(name)));
            }
            None if field.is_required => return None,
            None => {}
        }
    }
    if members.is_empty() && answers.is_empty() {
        return None;
    }
    Some(accepted(&members))
}

fn accepted(members: &[String]) -> String {
    format!(
        "{{\"action\":\"accept\",\"content\":{{{}}}}}",
        members.join(",")
    )
}

/// Asks at the terminal. End of input cancels.
pub(super) fn at_terminal(server: &str, params: Option<&Value>, terminal: &Terminal) -> String {
    let message = plain(text(params, "message").unwrap_or("(no message)"));
    terminal.note(&format!("\n{server} asks: {message}"));
    if text(params, "mode") == Some("url") {
        return at_page(params, terminal);
    }
    let mut members = Vec::new();
    for field in fields(params) {
        match ask(&field, terminal) {
            Answer::Value(value) => members.push(format!("{}:{value}", quoted(&field.name))),
            Answer::Left => {}
            Answer::Ended => return CANCEL.to_owned(),
        }
    }
    match line(terminal, "Send this? [Y/n] ")
        .as_deref()
        .map(str::trim)
    {
        Some("" | "y" | "Y" | "yes") => accepted(&members),
        Some(_) => DECLINE.to_owned(),
        None => CANCEL.to_owned(),
    }
}

fn at_page(params: Option<&Value>, terminal: &Terminal) -> String {
    let url = text(params, "url").unwrap_or_default();
    let host = match Endpoint::parse(url) {
        Ok(endpoint) => endpoint.origin.host.to_string(),
        Err(_) => {
            terminal.note("it names a page that cannot be opened: declined");
            return DECLINE.to_owned();
        }
    };
    terminal.note(&format!(
        "It wants you to open a page on {}:\n  {}",
        plain(&host),
        plain(url)
    ));
    let question = "Open it in your browser yourself. Go on? [y/N] ";
    match line(terminal, question).as_deref().map(str::trim) {
        Some("y" | "Y" | "yes") => "{\"action\":\"accept\"}".to_owned(),
        Some(_) => DECLINE.to_owned(),
        None => CANCEL.to_owned(),
    }
}

enum Answer {
    Value(String),
    Left,
    Ended,
}

fn ask(field: &Field, terminal: &Terminal) -> Answer {
    let mut prompt = format!("  {}", plain(field.title.as_deref().unwrap_or(&field.name)));
    if let Some(about) = &field.description {
        prompt.push_str(&format!(" — {}", plain(about)));
    }
    prompt.push_str(&format!(" ({}", field.kind()));
    let default = field.schema.get("default");
    let default = default.map(|value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => sonic_rs::to_string(value).unwrap_or_default(),
    });
    match &default {
        Some(default) => prompt.push_str(&format!(", default {}", plain(default))),
        None if !field.is_required => prompt.push_str(", may be left empty"),
        None => {}
    }
    prompt.push_str("): ");
    for _ in 0..TRIES_MAX {
        let Some(typed) = line(terminal, &prompt) else {
            return Answer::Ended;
        };
        let typed = match (typed.trim(), &default) {
            ("", Some(default)) => default.clone(),
            ("", None) if !field.is_required => return Answer::Left,
            (typed, _) => typed.to_owned(),
        };
        match coerce(&typed, &field.schema) {
            Ok(value) => return Answer::Value(value),
            Err(why) => terminal.note(&format!("    {why}")),
        }
    }
    Answer::Ended
}

/// A line typed by the user; `None` at the end of input.
fn line(terminal: &Terminal, prompt: &str) -> Option<String> {
    terminal.prompt(prompt);
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line),
    }
}
