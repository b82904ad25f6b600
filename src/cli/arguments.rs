//! The arguments of a call as typed: one JSON object, or `key=value` pairs read by the tool's
//! schema. `key:=JSON` takes the value as it is, `-` reads the object from standard input.

use std::io::Read as _;

use sonic_rs::{JsonValueTrait as _, Value};

use super::client::quoted;
use super::schema::{Field, check, coerce};
use crate::base::nearest::nearest;

/// More standard input than this is no arguments.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// Reads `words` for a tool with that `inputSchema`; gives the text of a JSON object.
///
/// # Errors
/// Everything that does not fit.
pub(super) fn read(words: &[String], schema: Option<&Value>) -> Result<String, Vec<String>> {
    let any = Value::new();
    let schema = schema.unwrap_or(&any);
    let json = match words {
        [] => "{}".to_owned(),
        [word] if word == "-" => stdin().map_err(|error| vec![error])?,
        [word] if word.trim_start().starts_with('{') => word.clone(),
        words => pairs(words, schema)?,
    };
    let value = sonic_rs::from_str::<Value>(&json).map_err(|error| vec![not_json(&error)])?;
    if !value.is_object() {
        return Err(vec!["the arguments must be a JSON object".to_owned()]);
    }
    let mut problems = Vec::new();
    check(&value, schema, "", &mut problems);
    if problems.is_empty() {
        Ok(json)
    } else {
        Err(problems)
    }
}

fn not_json(error: &sonic_rs::Error) -> String {
    // The library adds a picture of the text below its first line.
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    format!("the arguments are not JSON: {line} (quote them for the shell: '{{\"a\": 1}}')")
}

fn stdin() -> Result<String, String> {
    let mut text = String::new();
    let input = std::io::stdin().lock();
    match input.take(STDIN_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read standard input: {error}")),
    }
}

fn pairs(words: &[String], schema: &Value) -> Result<String, Vec<String>> {
    let fields = Field::of_object(schema);
    let mut members: Vec<(String, String)> = Vec::new();
    let mut problems = Vec::new();
    for word in words {
        match pair(word, &fields) {
            Ok((name, _)) if members.iter().any(|(known, _)| *known == name) => {
                problems.push(format!("{name}: given twice"));
            }
            Ok(member) => members.push(member),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", quoted(name)))
        .collect();
    Ok(format!("{{{}}}", members.join(",")))
}

fn pair(word: &str, fields: &[Field]) -> Result<(String, String), String> {
    let Some((name, value)) = word.split_once('=') else {
        return Err(match fields.first() {
            Some(field) => format!(
                "{} is neither JSON nor NAME=VALUE, for example {}=…",
                quoted(word),
                field.name
            ),
            None => format!("{} is neither JSON nor NAME=VALUE", quoted(word)),
        });
    };
    if let Some(name) = name.strip_suffix(':') {
        return match sonic_rs::from_str::<Value>(value) {
            Ok(_) => Ok((name.to_owned(), value.to_owned())),
            Err(_) => Err(format!("{name}: {} is not JSON", quoted(value))),
        };
    }
    match fields.iter().find(|field| field.name == name) {
        Some(field) => match coerce(value, &field.schema) {
            Ok(json) => Ok((name.to_owned(), json)),
            Err(why) => Err(format!("{name}: {why}")),
        },
        None => {
            let near = nearest(name, fields.iter().map(|field| field.name.as_str()));
            match near {
                Some(near) => Err(format!("{name}: unknown parameter (did you mean {near}?)")),
                // The tool may take more than its schema names.
                None => Ok((name.to_owned(), coerce(value, &Value::new())?)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        sonic_rs::from_str(
            r#"{"type":"object","required":["city"],"properties":{
                "city":{"type":"string"},"days":{"type":"integer"},"units":{"enum":["C","F"]}}}"#,
        )
        .unwrap()
    }

    fn given(words: &[&str]) -> Result<String, Vec<String>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read(&words, Some(&schema()))
    }

    #[test]
    fn json_goes_through_byte_for_byte() {
        let json = r#"{ "city": "Zürich", "days": 10000000000000000000000, "x":1e3 }"#;
        assert_eq!(given(&[json]).as_deref(), Ok(json));
    }

    #[test]
    fn pairs_are_typed_by_the_schema() {
        assert_eq!(
            given(&["city=5", "days=3", "extra=true", "raw:=[1]"]).as_deref(),
            Ok(r#"{"city":"5","days":3,"extra":true,"raw":[1]}"#)
        );
    }

    #[test]
    fn every_slip_is_told() {
        assert_eq!(
            given(&["cty=Bern", "days=x", "Bern"]).unwrap_err(),
            [
                "cty: unknown parameter (did you mean city?)",
                "days: \"x\" is not an integer",
                "\"Bern\" is neither JSON nor NAME=VALUE, for example city=…",
            ]
        );
        assert_eq!(given(&[]).unwrap_err(), ["city: missing (string)"]);
        assert_eq!(
            given(&["city=a", "city=b"]).unwrap_err(),
            ["city: given twice"]
        );
        assert!(given(&["{city: 1}"]).unwrap_err()[0].starts_with("the arguments are not JSON"));
        assert_eq!(
            given(&["{\"city\": 1}"]).unwrap_err(),
            ["city: expected a string, found a number"]
        );
    }
}
