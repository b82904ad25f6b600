//! A configuration file as a tree that remembers where each value stands, the same for TOML and
//! for JSON with comments.

use jsonc_parser::ast;
use toml::de::{DeTable, DeValue};

use super::expand::{Scope, expand};
use super::problem::{At, Problem};

/// Deeper nesting is no configuration. Both parsers stop deeper recursion by themselves.
const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Decimal digits as written.
    Number(String),
    Text(Text),
    List(Vec<Node>),
    Table(Table),
}

/// A string before and after `${VAR}` was filled in.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// As the file has it: may be shown.
    pub(super) written: String,
    /// As it counts: may hold a secret.
    pub(super) filled: String,
}

/// Keys and values in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) node: Node,
}

impl Table {
    /// The value of a key; the last one where a file has several.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries.iter().rev().find(|entry| entry.key == key);
        entry.map(|entry| &entry.node)
    }

    /// Puts a value in the place of that key, or at the end.
    pub(super) fn set(&mut self, key: &str, node: Node) {
        match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.node = node,
            None => self.entries.push(Entry {
                key: key.to_owned(),
                at: node.at.clone(),
                node,
            }),
        }
    }

    /// Puts a value at a dotted path, making the tables on the way.
    pub(super) fn set_path(&mut self, path: &str, node: Node) {
        let Some((head, tail)) = path.split_once('.') else {
            return self.set(path, node);
        };
        if !matches!(
            self.get(head).map(|node| &node.value),
            Some(Value::Table(_))
        ) {
            let value = Value::Table(Self::default());
            let at = node.at.clone();
            self.set(head, Node { at, value });
        }
        let entry = self.entries.iter_mut().find(|entry| entry.key == head);
        if let Some(Value::Table(table)) = entry.map(|entry| &mut entry.node.value) {
            table.set_path(tail, node);
        }
    }
}

impl Node {
    /// A text from a variable or a flag.
    pub(super) fn text(at: At, text: &str) -> Self {
        Self {
            at,
            value: Value::Text(Text::plain(text)),
        }
    }

    pub(super) fn as_text(&self) -> Option<&Text> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What the value is, for messages. Holds no value.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The value as written, short, for messages. A text from `${VAR}` shows the form.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Bool(value) => value.to_string(),
            Value::Number(digits) => digits.clone(),
            Value::Text(text) => {
                let short: String = text.written.chars().take(40).collect();
                let dots = if short.len() < text.written.len() {
                    "…"
                } else {
                    ""
                };
                format!("\"{}{dots}\"", short.escape_debug())
            }
            _ => self.kind().to_owned(),
        }
    }

    /// Fills in `${VAR}` in every text below.
    pub(super) fn expand(&mut self, key: &str, scope: &Scope<'_>, errors: &mut Vec<Problem>) {
        match &mut self.value {
            Value::Text(text) => match expand(&text.written, scope) {
                Ok(Some(filled)) => text.filled = filled,
                Ok(None) => {}
                Err(error) => {
                    let problem = Problem::new(&self.at, key, error.to_string());
                    errors.push(problem.hint(error.hint()));
                }
            },
            Value::List(nodes) => {
                for node in nodes {
                    node.expand(key, scope, errors);
                }
            }
            Value::Table(table) => {
                for entry in &mut table.entries {
                    entry.node.expand(&join(key, &entry.key), scope, errors);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Text {
    pub(super) fn plain(text: &str) -> Self {
        Self {
            written: text.to_owned(),
            filled: text.to_owned(),
        }
    }
}

/// A key below another.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let quoted = if key.chars().all(bare) && !key.is_empty() {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug())
    };
    if path.is_empty() {
        quoted
    } else {
        format!("{path}.{quoted}")
    }
}

/// Reads TOML, as much of it as can be read, and every syntax error.
pub(super) fn parse_toml(start: &At, text: &str, errors: &mut Vec<Problem>) -> Table {
    let (table, found) = DeTable::parse_recoverable(text);
    for error in found {
        let at = start.at(error.span().map_or(0, |span| span.start));
        errors.push(Problem::new(&at, "", error.message()));
    }
    toml_table(start, table.get_ref(), 0)
}

/// Reads one TOML value: what a variable may hold for a key that takes lists or tables.
pub(super) fn parse_toml_value(at: &At, text: &str) -> Result<Node, String> {
    let value = DeValue::parse(text).map_err(|error| error.message().to_owned())?;
    Ok(toml_node(at, 0, value.get_ref(), 0))
}

fn toml_table(start: &At, table: &DeTable<'_>, depth: usize) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: start.at(key.span().start),
            node: toml_node(start, value.span().start, value.get_ref(), depth + 1),
        })
        .collect();
    // The parser sorts by key; people expect the order they wrote.
    entries.sort_by_key(|entry| entry.at.offset());
    Table { entries }
}

fn toml_node(start: &At, offset: usize, value: &DeValue<'_>, depth: usize) -> Node {
    let value = match value {
        _ if depth > DEPTH_MAX => Value::Null,
        DeValue::String(text) => Value::Text(Text::plain(text)),
        DeValue::Integer(digits) => {
            let number = i128::from_str_radix(digits.as_str(), digits.radix());
            Value::Number(number.map_or_else(|_| digits.to_string(), |number| number.to_string()))
        }
        DeValue::Float(digits) => Value::Number(digits.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::Text(Text::plain(&date.to_string())),
        DeValue::Array(values) => Value::List(
            values
                .iter()
                .map(|value| toml_node(start, value.span().start, value.get_ref(), depth + 1))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(toml_table(start, table, depth)),
    };
    Node {
        at: start.at(offset),
        value,
    }
}

/// Reads JSON with comments and trailing commas.
pub(super) fn parse_jsonc(start: &At, text: &str) -> Result<Node, Problem> {
    let options = jsonc_parser::ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let skipped = text.len() - text.trim_start_matches('\u{feff}').len();
    let body = text.get(skipped..).unwrap_or(text);
    let parsed =
        jsonc_parser::parse_to_ast(body, &jsonc_parser::CollectOptions::default(), &options)
            .map_err(|error| {
                let at = start.at(skipped + error.range().start);
                Problem::new(&at, "", error.kind().to_string())
            })?;
    match parsed.value {
        Some(value) => Ok(json_node(start, skipped, &value, 0)),
        None => Err(Problem::new(start, "", "the file is empty")),
    }
}

fn json_node(start: &At, skipped: usize, value: &ast::Value<'_>, depth: usize) -> Node {
    use jsonc_parser::common::Ranged as _;
    let at = start.at(skipped + value.range().start);
    let value = match value {
        _ if depth > DEPTH_MAX => Value::Null,
        ast::Value::StringLit(text) => Value::Text(Text::plain(&text.value)),
        ast::Value::NumberLit(digits) => Value::Number(digits.value.to_owned()),
        ast::Value::BooleanLit(value) => Value::Bool(value.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(list) => Value::List(
            list.elements
                .iter()
                .map(|value| json_node(start, skipped, value, depth + 1))
                .collect(),
        ),
        ast::Value::Object(object) => {
            let entries = object.properties.iter().map(|property| Entry {
                key: property.name.as_str().to_owned(),
                at: start.at(skipped + property.name.range().start),
                node: json_node(start, skipped, &property.value, depth + 1),
            });
            Value::Table(Table {
                entries: entries.collect(),
            })
        }
    };
    Node { at, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_keeps_the_order_and_the_places() {
        let text = "b = 1\na = \"x\"\n[t]\nz = [1, { y = 0x10 }]\n";
        let mut errors = Vec::new();
        let table = parse_toml(&At::file("f", text), text, &mut errors);
        assert!(errors.is_empty());
        let keys: Vec<&str> = table.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "t"]);
        assert_eq!(table.entries[1].at.to_string(), "f:2:1");
        assert_eq!(table.entries[1].node.at.to_string(), "f:2:5");
        let z = table
            .get("t")
            .unwrap()
            .as_table()
            .unwrap()
            .get("z")
            .unwrap();
        let Value::List(list) = &z.value else {
            panic!("{z:?}")
        };
        assert_eq!(list[0].shown(), "1");
        let y = list[1].as_table().unwrap().get("y").unwrap();
        assert_eq!(
            (y.shown().as_str(), y.at.to_string().as_str()),
            ("16", "f:4:15")
        );
    }

    #[test]
    fn every_syntax_error_is_found() {
        let text = "a = \nb = 1\nc == 2\nd = 3\n";
        let mut errors = Vec::new();
        let table = parse_toml(&At::file("f", text), text, &mut errors);
        assert!(errors.len() >= 2, "{errors:?}");
        assert!(table.get("b").is_some() && table.get("d").is_some());
    }

    #[test]
    fn json_with_comments_trailing_commas_and_a_mark_at_the_start() {
        let text = "\u{feff}{ // c\n  \"a\": [1, 2,], /* x */ \"b\": null,\n}";
        let node = parse_jsonc(&At::file("f", text), text).unwrap();
        let table = node.as_table().unwrap();
        assert_eq!(table.get("b").unwrap().kind(), "null");
        assert_eq!(table.get("a").unwrap().at.to_string(), "f:2:8");
        let error = parse_jsonc(&At::file("f", "{\n 'a': 1}"), "{\n 'a': 1}").unwrap_err();
        assert!(error.place.starts_with("f:2:"), "{error}");
        assert!(parse_jsonc(&At::file("f", ""), "").is_err());
    }

    #[test]
    fn deep_nesting_is_bounded() {
        for depth in [60, 500, 100_000] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            let _ = parse_jsonc(&At::file("f", &text), &text);
            let mut errors = Vec::new();
            let text = format!("a = {text}");
            let _ = parse_toml(&At::file("f", &text), &text, &mut errors);
        }
    }

    #[test]
    fn a_path_makes_its_tables() {
        let mut table = Table::default();
        table.set_path("a.b.c", Node::text(At::variable("X"), "1"));
        table.set_path("a.d", Node::text(At::variable("Y"), "2"));
        let a = table.get("a").unwrap().as_table().unwrap();
        assert_eq!(a.get("d").unwrap().shown(), "\"2\"");
        let b = a.get("b").unwrap().as_table().unwrap();
        assert_eq!(b.get("c").unwrap().shown(), "\"1\"");
    }
}
