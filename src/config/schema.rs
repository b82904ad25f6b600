//! The JSON Schema of ringway.toml, for editors (`ringway config schema`).

use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{Schema, generate::SchemaSettings};

use super::sections::RawConfig;

/// The schema (draft 2020-12), indented.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<RawConfig>();
    schema.insert("title".to_owned(), "ringway.toml".into());
    // Optional keys are left out in TOML; there is no null.
    RecursiveTransform(without_null).transform(&mut schema);
    format!("{:#}\n", schema.as_value())
}

fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let one = match object.get_mut("type") {
        Some(serde_json::Value::Array(types)) => {
            types.retain(|kind| kind != "null");
            match types.as_slice() {
                [one] => Some(one.clone()),
                _ => None,
            }
        }
        _ => None,
    };
    if let Some(one) = one {
        object.insert("type".to_owned(), one);
    }
    if let Some(serde_json::Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let is_null = |schema: &serde_json::Value| schema.get("type").is_some_and(|t| t == "null");
    let only = match object.get_mut("anyOf") {
        Some(serde_json::Value::Array(any)) => {
            any.retain(|schema| !is_null(schema));
            match any.as_slice() {
                [serde_json::Value::Object(only)] => Some(only.clone()),
                _ => None,
            }
        }
        _ => None,
    };
    if let Some(only) = only {
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}
