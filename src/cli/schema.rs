//! As much of JSON Schema as is needed to read typed text and to tell slips before a call is
//! made. What it does not understand it lets pass: the server has the last word.

use sonic_rs::{JsonContainerTrait as _, JsonType, JsonValueTrait as _, Value};

use super::client::quoted;
use crate::base::nearest::nearest;

/// Schemas nested deeper than this are not looked into.
const DEPTH_MAX: usize = 24;

/// A property of an object.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) is_required: bool,
    pub(super) schema: Value,
}

impl Field {
    /// The properties of an object's schema, in its order.
    pub(super) fn of_object(schema: &Value) -> Vec<Self> {
        let required = strings(schema.get("required"));
        let properties = schema
            .get("properties")
            .and_then(|fields| fields.as_object());
        let properties = properties.map(|fields| fields.iter()).into_iter().flatten();
        properties
            .map(|(name, schema)| {
                let text = |key: &str| schema.get(key)?.as_str().map(str::to_owned);
                Self {
                    name: name.to_owned(),
                    title: text("title"),
                    description: text("description"),
                    is_required: required.contains(&name),
                    schema: schema.clone(),
                }
            })
            .collect()
    }

    /// What the field takes, in few words.
    pub(super) fn kind(&self) -> String {
        kind(&self.schema, 0)
    }
}

fn kind(schema: &Value, depth: usize) -> String {
    if depth > 3 {
        return "…".to_owned();
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        return choices.join("|");
    }
    if let Some(reference) = schema.get("$ref").and_then(|reference| reference.as_str()) {
        return reference.rsplit('/').next().unwrap_or(reference).to_owned();
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(any) = schema.get(key).and_then(|any| any.as_array()) {
            let mut kinds: Vec<String> = any.iter().map(|one| kind(one, depth + 1)).collect();
            kinds.retain(|kind| kind != "null");
            kinds.dedup();
            return kinds.join(" or ");
        }
    }
    let types = types(schema);
    match types.as_slice() {
        [] => "any".to_owned(),
        ["array"] => match schema.get("items") {
            Some(items) => format!("list of {}", kind(items, depth + 1)),
            None => "list".to_owned(),
        },
        types => types.join(" or "),
    }
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    let list = list.and_then(|list| list.as_array());
    list.map(|list| list.iter().filter_map(|item| item.as_str()).collect())
        .unwrap_or_default()
}

/// `type`, which is a word or a list of words.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(kind) if kind.is_str() => kind.as_str().into_iter().collect(),
        kind => strings(kind),
    }
}

/// The values of `enum`, or of `oneOf`/`anyOf` made of `const`, as JSON; strings bare.
fn choices(schema: &Value) -> Vec<String> {
    let shown = |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => sonic_rs::to_string(value).unwrap_or_default(),
    };
    if let Some(list) = schema.get("enum").and_then(|list| list.as_array()) {
        return list.iter().map(shown).collect();
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(list) = schema.get(key).and_then(|list| list.as_array()) {
            let constants: Option<Vec<String>> =
                list.iter().map(|one| one.get("const").map(shown)).collect();
            return constants.unwrap_or_default();
        }
    }
    match schema.get("const") {
        Some(value) => vec![shown(value)],
        None => Vec::new(),
    }
}

/// Reads typed text as a value of that schema; gives JSON.
///
/// # Errors
/// What the text should have been.
pub(super) fn coerce(text: &str, schema: &Value) -> Result<String, String> {
    let json = coerce_kind(text, schema)?;
    let value = sonic_rs::from_str::<Value>(&json).map_err(|error| error.to_string())?;
    let mut problems = Vec::new();
    check(&value, schema, "", &mut problems);
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(json),
    }
}

fn coerce_kind(text: &str, schema: &Value) -> Result<String, String> {
    let known = choices(schema);
    if !known.is_empty() {
        return if known.iter().any(|choice| choice == text) {
            Ok(as_choice(text, schema))
        } else {
            let near = nearest(text, known.iter().map(String::as_str));
            let near = near
                .map(|near| format!(" (did you mean {near}?)"))
                .unwrap_or_default();
            Err(format!(
                "{} is not one of {}{near}",
                quoted(text),
                known.join(", ")
            ))
        };
    }
    let mut wanted = types(schema);
    for key in ["anyOf", "oneOf"] {
        let any = schema.get(key).and_then(|any| any.as_array());
        wanted.extend(
            any.map(|any| any.iter().flat_map(types))
                .into_iter()
                .flatten(),
        );
    }
    if wanted.is_empty() {
        let is_json = sonic_rs::from_str::<Value>(text).is_ok();
        return Ok(if is_json {
            text.to_owned()
        } else {
            quoted(text)
        });
    }
    let fits = wanted
        .iter()
        .filter(|kind| **kind != "string")
        .find_map(|kind| coerce_type(text, kind, schema));
    match fits {
        Some(json) => Ok(json),
        None if wanted.contains(&"string") => Ok(quoted(text)),
        None => Err(format!(
            "{} is not {}",
            quoted(text),
            a(&wanted.join(" or "))
        )),
    }
}

fn as_choice(text: &str, schema: &Value) -> String {
    let is_string = |value: &Value| value.as_str() == Some(text);
    let list = schema.get("enum").and_then(|list| list.as_array());
    let is_listed = list.is_some_and(|list| list.iter().any(is_string));
    let is_json = sonic_rs::from_str::<Value>(text).is_ok();
    if is_listed || !is_json {
        quoted(text)
    } else {
        text.to_owned()
    }
}

fn coerce_type(text: &str, kind: &str, schema: &Value) -> Option<String> {
    let parsed = || sonic_rs::from_str::<Value>(text).ok();
    match kind {
        "integer" => parsed()
            .filter(|value| value.is_number() && !text.contains(['.', 'e', 'E']))
            .map(|_| text.trim().to_owned()),
        "number" => parsed()
            .filter(|value| value.is_number())
            .map(|_| text.trim().to_owned()),
        "boolean" => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "1" | "on" => Some("true".to_owned()),
            "false" | "no" | "n" | "0" | "off" => Some("false".to_owned()),
            _ => None,
        },
        "null" => (text.trim() == "null").then(|| "null".to_owned()),
        "object" => parsed()
            .filter(|value| value.is_object())
            .map(|_| text.to_owned()),
        "array" => match parsed() {
            Some(value) if value.is_array() => Some(text.to_owned()),
            _ => {
                let any = Value::new();
                let items = schema.get("items").unwrap_or(&any);
                let words = text
                    .split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty());
                let items: Result<Vec<String>, String> =
                    words.map(|word| coerce(word, items)).collect();
                items.ok().map(|items| format!("[{}]", items.join(",")))
            }
        },
        _ => None,
    }
}

/// Compares a value with a schema and says what does not fit, with the path to it.
pub(super) fn check(value: &Value, schema: &Value, path: &str, problems: &mut Vec<String>) {
    check_at(value, schema, path, 0, problems);
}

fn check_at(value: &Value, schema: &Value, path: &str, depth: usize, problems: &mut Vec<String>) {
    if depth > DEPTH_MAX || schema.as_object().is_none() {
        return;
    }
    let at = |text: String| {
        if path.is_empty() {
            text
        } else {
            format!("{path}: {text}")
        }
    };
    let wanted = types(schema);
    if !wanted.is_empty() && !wanted.iter().any(|kind| is_type(value, kind)) {
        let found = a(type_name(value));
        problems.push(at(format!(
            "expected {}, found {found}",
            a(&wanted.join(" or "))
        )));
        return;
    }
    if let Some(list) = schema.get("enum").and_then(|list| list.as_array())
        && !list.iter().any(|known| known == value)
    {
        let shown = sonic_rs::to_string(value).unwrap_or_default();
        let known = choices(schema).join(", ");
        problems.push(at(format!("{shown} is not one of {known}")));
    }
    check_bounds(value, schema, &at, problems);
    if let (Some(list), Some(items)) = (value.as_array(), schema.get("items")) {
        for (index, item) in list.iter().enumerate() {
            check_at(
                item,
                items,
                &format!("{path}[{index}]"),
                depth + 1,
                problems,
            );
        }
    }
    if value.is_object() {
        check_object(value, schema, path, depth, problems);
    }
}

fn check_bounds(
    value: &Value,
    schema: &Value,
    at: &dyn Fn(String) -> String,
    problems: &mut Vec<String>,
) {
    let bound = |key: &str| schema.get(key).and_then(|bound| bound.as_f64());
    if let Some(number) = value.as_f64() {
        if let Some(least) = bound("minimum").filter(|&least| number < least) {
            problems.push(at(format!("{number} is less than {least}")));
        }
        if let Some(most) = bound("maximum").filter(|&most| number > most) {
            problems.push(at(format!("{number} is more than {most}")));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as f64;
        if let Some(least) = bound("minLength").filter(|&least| length < least) {
            problems.push(at(format!("shorter than {least} characters")));
        }
        if let Some(most) = bound("maxLength").filter(|&most| length > most) {
            problems.push(at(format!("longer than {most} characters")));
        }
    }
}

fn check_object(
    value: &Value,
    schema: &Value,
    path: &str,
    depth: usize,
    problems: &mut Vec<String>,
) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let fields = Field::of_object(schema);
    for field in &fields {
        match value.get(&field.name) {
            Some(inner) => {
                let path = below(&field.name);
                check_at(inner, &field.schema, &path, depth + 1, problems);
            }
            None if field.is_required => {
                problems.push(format!(
                    "{}: missing ({})",
                    below(&field.name),
                    field.kind()
                ));
            }
            None => {}
        }
    }
    let is_closed = schema
        .get("additionalProperties")
        .is_some_and(|more| more.is_false());
    if !is_closed {
        return;
    }
    let members = value
        .as_object()
        .map(|members| members.iter())
        .into_iter()
        .flatten();
    for (name, _) in members {
        if fields.iter().all(|field| field.name != name) {
            let known = fields.iter().map(|field| field.name.as_str());
            let near = nearest(name, known).map(|near| format!(" (did you mean {near}?)"));
            let near = near.unwrap_or_default();
            problems.push(format!("{}: unknown parameter{near}", below(name)));
        }
    }
}

fn is_type(value: &Value, kind: &str) -> bool {
    match kind {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_str(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        // A word we do not know forbids nothing.
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value.get_type() {
        JsonType::Null => "null",
        JsonType::Boolean => "boolean",
        JsonType::Number => "number",
        JsonType::String => "string",
        JsonType::Object => "object",
        JsonType::Array => "array",
    }
}

/// A type with its article.
fn a(kind: &str) -> String {
    let article = match kind.as_bytes().first() {
        _ if kind == "null" => "",
        Some(b'a' | b'e' | b'i' | b'o' | b'u') => "an ",
        _ => "a ",
    };
    format!("{article}{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        sonic_rs::from_str(text).unwrap()
    }

    #[test]
    fn typed_text_becomes_what_the_schema_wants() {
        for (text, schema, expected) in [
            ("5", r#"{"type":"string"}"#, Ok("\"5\"")),
            ("5", r#"{"type":"integer"}"#, Ok("5")),
            ("5.5", r#"{"type":"number"}"#, Ok("5.5")),
            ("yes", r#"{"type":"boolean"}"#, Ok("true")),
            (
                "a, b",
                r#"{"type":"array","items":{"type":"string"}}"#,
                Ok(r#"["a","b"]"#),
            ),
            ("[1]", r#"{"type":"array"}"#, Ok("[1]")),
            ("{\"a\":1}", r#"{"type":"object"}"#, Ok("{\"a\":1}")),
            (
                "7",
                r#"{"anyOf":[{"type":"integer"},{"type":"null"}]}"#,
                Ok("7"),
            ),
            (
                "x",
                r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
                Ok("\"x\""),
            ),
            ("null", r#"{"type":["string","null"]}"#, Ok("null")),
            ("true", "{}", Ok("true")),
            ("a \"b\"", "{}", Ok(r#""a \"b\"""#)),
            ("2", r#"{"enum":[1,2]}"#, Ok("2")),
            (
                "red",
                r#"{"oneOf":[{"const":"red"},{"const":"blue"}]}"#,
                Ok("\"red\""),
            ),
            (
                "5.5",
                r#"{"type":"integer"}"#,
                Err("\"5.5\" is not an integer"),
            ),
            ("x", r#"{"type":"object"}"#, Err("\"x\" is not an object")),
            (
                "-1",
                r#"{"type":"integer","minimum":0}"#,
                Err("-1 is less than 0"),
            ),
            (
                "gren",
                r#"{"type":"string","enum":["red","green"]}"#,
                Err("\"gren\" is not one of red, green (did you mean green?)"),
            ),
        ] {
            let result = coerce(text, &json(schema));
            let result = result.as_deref().map_err(String::as_str);
            assert_eq!(result, expected, "{text} {schema}");
        }
    }

    #[test]
    fn a_value_is_checked_all_the_way_down() {
        let schema = json(
            r#"{"type":"object","required":["a","b"],"additionalProperties":false,"properties":{
                "a":{"type":"integer"},
                "b":{"type":"array","items":{"type":"object","required":["c"]}},
                "mode":{"enum":["x","y"]}}}"#,
        );
        let mut problems = Vec::new();
        let value = json(r#"{"a":"1","b":[{}, 5],"mod":"x","mode":"z"}"#);
        check(&value, &schema, "", &mut problems);
        assert_eq!(
            problems,
            [
                "a: expected an integer, found a string",
                "b[1]: expected an object, found a number",
                "mode: \"z\" is not one of x, y",
                "mod: unknown parameter (did you mean mode?)",
            ]
        );
        problems.clear();
        check(&json("{}"), &schema, "", &mut problems);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn kinds_are_short() {
        for (schema, expected) in [
            (r#"{"type":"string"}"#, "string"),
            (
                r#"{"type":"array","items":{"type":"number"}}"#,
                "list of number",
            ),
            (
                r#"{"anyOf":[{"type":"integer"},{"type":"null"}]}"#,
                "integer",
            ),
            (r#"{"enum":["a","b"]}"#, "a|b"),
            ("{\"$ref\":\"#/$defs/Point\"}", "Point"),
            ("{}", "any"),
        ] {
            assert_eq!(kind(&json(schema), 0), expected);
        }
    }
}
