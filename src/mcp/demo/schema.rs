//! Checks values against the JSON Schemas of the demo: the part of 2020-12 that they use.
//!
//! Schemas are ours, so an unknown keyword is a mistake of ours and not of a client; a test
//! walks through them all. References go to `#/$defs/…` only and never round in circles.

use sonic_rs::{JsonContainerTrait, JsonType, JsonValueTrait, Value};

/// Keywords that constrain, and those that only describe.
#[cfg(test)]
pub(super) const KEYWORDS: &[&str] = &[
    "$ref",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "then",
    "else",
    "$schema",
    "$defs",
    "$anchor",
    "title",
    "description",
    "default",
    "format",
    "enumNames",
    "x-mcp-header",
];

/// A check of one value.
#[derive(Clone, Copy)]
struct Check<'a> {
    root: &'a Value,
    value: &'a Value,
    path: &'a str,
}

/// What is wrong with `value`, as a sentence that names the place; `Ok` if nothing is.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let check = Check {
        root: schema,
        value,
        path: "",
    };
    check.against(schema)
}

impl Check<'_> {
    fn against(self, schema: &Value) -> Result<(), String> {
        if let Some(target) = schema.get("$ref").and_then(|name| name.as_str()) {
            let name = target.strip_prefix("#/$defs/").unwrap_or_default();
            if let Some(definition) = self.root.get("$defs").and_then(|defs| defs.get(name)) {
                self.against(definition)?;
            }
        }
        self.kind(schema)?;
        self.listed(schema)?;
        self.size(schema)?;
        self.members(schema)?;
        self.elements(schema)?;
        self.combined(schema)
    }

    fn is_valid(self, schema: &Value) -> bool {
        self.against(schema).is_ok()
    }

    fn place(self) -> String {
        match self.path {
            "" => "The value".into(),
            path => format!("\"{path}\""),
        }
    }

    fn kind(self, schema: &Value) -> Result<(), String> {
        let Some(wanted) = schema.get("type").and_then(|kind| kind.as_str()) else {
            return Ok(());
        };
        let is_wanted = match wanted {
            "integer" => self
                .value
                .as_f64()
                .is_some_and(|number| number.fract() == 0.0),
            other => other == kind_name(self.value),
        };
        if is_wanted {
            return Ok(());
        }
        let article = if matches!(wanted, "object" | "array" | "integer") {
            "an"
        } else {
            "a"
        };
        let found = kind_name(self.value);
        Err(format!(
            "{} must be {article} {wanted}, not {found}",
            self.place()
        ))
    }

    fn listed(self, schema: &Value) -> Result<(), String> {
        if let Some(allowed) = schema.get("enum").and_then(|list| list.as_array())
            && !allowed.iter().any(|one| one == self.value)
        {
            let allowed: Vec<String> = allowed.iter().map(shown).collect();
            return Err(format!(
                "{} must be one of {}",
                self.place(),
                allowed.join(", ")
            ));
        }
        match schema.get("const") {
            Some(only) if only != self.value => {
                Err(format!("{} must be {}", self.place(), shown(only)))
            }
            _ => Ok(()),
        }
    }

    fn size(self, schema: &Value) -> Result<(), String> {
        let limit = |key: &str| schema.get(key).and_then(|limit| limit.as_f64());
        let measured = if let Some(text) = self.value.as_str() {
            (
                text.chars().count() as f64,
                "minLength",
                "maxLength",
                " characters long",
            )
        } else if let Some(list) = self.value.as_array() {
            (list.len() as f64, "minItems", "maxItems", " items long")
        } else if let Some(number) = self.value.as_f64() {
            (number, "minimum", "maximum", "")
        } else {
            return Ok(());
        };
        let (size, least, most, unit) = measured;
        if let Some(least) = limit(least).filter(|least| size < *least) {
            return Err(format!("{} must be at least {least}{unit}", self.place()));
        }
        if let Some(most) = limit(most).filter(|most| size > *most) {
            return Err(format!("{} must be at most {most}{unit}", self.place()));
        }
        Ok(())
    }

    fn members(self, schema: &Value) -> Result<(), String> {
        let Some(object) = self.value.as_object() else {
            return Ok(());
        };
        let required = schema.get("required").and_then(|list| list.as_array());
        for name in required.into_iter().flat_map(|list| list.iter()) {
            let name = name.as_str().unwrap_or_default();
            if object.get(&name).is_none() {
                return Err(format!("\"{}\" is missing", self.below(name)));
            }
        }
        let properties = schema.get("properties");
        let is_closed = schema
            .get("additionalProperties")
            .and_then(|flag| flag.as_bool())
            == Some(false);
        for (name, value) in object.iter() {
            let path = self.below(name);
            match properties.and_then(|properties| properties.get(name)) {
                Some(property) => {
                    let member = Check {
                        value,
                        path: &path,
                        ..self
                    };
                    member.against(property)?;
                }
                None if is_closed => return Err(format!("\"{path}\" is not a known argument")),
                None => {}
            }
        }
        Ok(())
    }

    fn elements(self, schema: &Value) -> Result<(), String> {
        let (Some(list), Some(element)) = (self.value.as_array(), schema.get("items")) else {
            return Ok(());
        };
        for (index, value) in list.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            let member = Check {
                value,
                path: &path,
                ..self
            };
            member.against(element)?;
        }
        Ok(())
    }

    fn combined(self, schema: &Value) -> Result<(), String> {
        let list = |key: &str| schema.get(key).and_then(|list| list.as_array());
        for part in list("allOf").into_iter().flat_map(|parts| parts.iter()) {
            self.against(part)?;
        }
        if let Some(parts) = list("anyOf")
            && !parts.iter().any(|part| self.is_valid(part))
        {
            let reasons: Vec<String> = parts
                .iter()
                .filter_map(|part| self.against(part).err())
                .collect();
            return Err(reasons.join(", or "));
        }
        if let Some(parts) = list("oneOf")
            && parts.iter().filter(|part| self.is_valid(part)).count() != 1
        {
            return Err(format!("{} must match one of the choices", self.place()));
        }
        let Some(condition) = schema.get("if") else {
            return Ok(());
        };
        let branch = if self.is_valid(condition) {
            "then"
        } else {
            "else"
        };
        schema
            .get(branch)
            .map_or(Ok(()), |branch| self.against(branch))
    }

    fn below(self, name: &str) -> String {
        match self.path {
            "" => name.into(),
            path => format!("{path}.{name}"),
        }
    }
}

fn kind_name(value: &Value) -> &'static str {
    match value.get_type() {
        JsonType::Null => "null",
        JsonType::Boolean => "boolean",
        JsonType::Number => "number",
        JsonType::String => "string",
        JsonType::Object => "object",
        JsonType::Array => "array",
    }
}

fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.into(),
        None => sonic_rs::to_string(value).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(schema: &str, value: &str) -> Result<(), String> {
        let schema = sonic_rs::from_str(schema).unwrap();
        check(&schema, &sonic_rs::from_str(value).unwrap())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let schema = r##"{"type":"object","required":["a"],"additionalProperties":false,
            "$defs":{"city":{"type":"string","minLength":2}},
            "properties":{"a":{"type":"integer","minimum":1,"maximum":9},
                "b":{"type":"array","maxItems":2,"items":{"enum":["x","y"]}},
                "c":{"type":"object","properties":{"city":{"$ref":"#/$defs/city"}}},
                "d":{"const":true}}}"##;
        for (value, expected) in [
            (r#"{"a":1}"#, None),
            (
                r#"{"a":2.0,"b":["x","y"],"c":{"city":"Oslo","more":1},"d":true}"#,
                None,
            ),
            ("[]", Some("The value must be an object, not array")),
            ("{}", Some("\"a\" is missing")),
            (r#"{"a":"1"}"#, Some("\"a\" must be an integer, not string")),
            (r#"{"a":1.5}"#, Some("\"a\" must be an integer, not number")),
            (r#"{"a":0}"#, Some("\"a\" must be at least 1")),
            (r#"{"a":10}"#, Some("\"a\" must be at most 9")),
            (r#"{"a":1,"e":1}"#, Some("\"e\" is not a known argument")),
            (
                r#"{"a":1,"b":["x","z"]}"#,
                Some("\"b[1]\" must be one of x, y"),
            ),
            (
                r#"{"a":1,"b":["x","x","x"]}"#,
                Some("\"b\" must be at most 2 items long"),
            ),
            (
                r#"{"a":1,"c":{"city":"O"}}"#,
                Some("\"c.city\" must be at least 2 characters long"),
            ),
            (r#"{"a":1,"d":false}"#, Some("\"d\" must be true")),
        ] {
            let found = verdict(schema, value).err();
            assert_eq!(found.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn combinations_hold() {
        let one_of = r#"{"oneOf":[{"type":"integer"},{"type":"number"}]}"#;
        assert!(verdict(one_of, "1.5").is_ok());
        assert!(verdict(one_of, "1").is_err(), "both match");
        let any_of = r#"{"anyOf":[{"required":["p"]},{"required":["e"]}]}"#;
        assert!(verdict(any_of, r#"{"e":1}"#).is_ok());
        assert_eq!(
            verdict(any_of, "{}").unwrap_err(),
            "\"p\" is missing, or \"e\" is missing"
        );
        let branches = r#"{"if":{"type":"string"},"then":{"minLength":2},"else":{"minimum":2}}"#;
        assert!(verdict(branches, "\"ab\"").is_ok());
        assert!(verdict(branches, "\"a\"").is_err());
        assert!(verdict(branches, "2").is_ok());
        assert!(verdict(branches, "1").is_err());
    }
}
