//! From the tree to typed values: one `Read` for each kind of value, and the `section!` macro
//! that makes a table with known keys out of a struct. The doc comments of its fields become the
//! descriptions in the JSON Schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Entry, Node, Table, Value, join, parse_toml_value};
use super::problem::{At, Findings, Problem};
use crate::base::nearest::nearest;

/// A value that can be read from the tree.
pub(super) trait Read: Sized {
    /// Reads `node`, which stands at `key`. Says what is wrong and gives `None` if it cannot.
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self>;

    /// The dotted paths of the keys that one variable each may set.
    fn variables(path: &str, paths: &mut Vec<String>) {
        paths.push(path.to_owned());
    }
}

/// A value and where it stands, for checks that need more than one value.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) at: At,
    pub(super) value: T,
}

impl<T: Read> Read for Placed<T> {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        Some(Self {
            at: node.at.clone(),
            value: T::read(node, key, found)?,
        })
    }

    fn variables(path: &str, paths: &mut Vec<String>) {
        T::variables(path, paths);
    }
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A struct whose fields are the keys of a table.
macro_rules! section {
    ($(#[$about:meta])* $name:ident {
        $($(#[$field_about:meta])* $field:ident: $kind:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(in crate::config) struct $name {
            $($(#[$field_about])* pub(in crate::config) $field: Option<$kind>,)*
            /// Keys whose values could not be read; that was told.
            #[schemars(skip)]
            #[allow(dead_code, reason = "few sections ask")]
            pub(in crate::config) unread: Vec<&'static str>,
        }

        impl $name {
            /// Every key, in the order of the documentation.
            pub(in crate::config) const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Reads the keys of `table`, which stands at `path`.
            pub(in crate::config) fn read_table(
                table: &$crate::config::node::Table,
                path: &str,
                found: &mut $crate::config::problem::Findings,
            ) -> Self {
                let mut section = Self::default();
                for entry in &table.entries {
                    let key = $crate::config::node::join(path, &entry.key);
                    match entry.key.as_str() {
                        $(stringify!($field) => {
                            section.$field =
                                $crate::config::read::Read::read(&entry.node, &key, found);
                            if section.$field.is_none() {
                                section.unread.push(stringify!($field));
                            }
                        })*
                        _ => $crate::config::read::unknown_key(entry, &key, Self::KEYS, found),
                    }
                }
                section
            }
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::node::Node,
                key: &str,
                found: &mut $crate::config::problem::Findings,
            ) -> Option<Self> {
                let table = $crate::config::read::table(node, key, found)?;
                Some(Self::read_table(&table, key, found))
            }

            fn variables(path: &str, paths: &mut Vec<String>) {
                $(<$kind as $crate::config::read::Read>::variables(
                    &$crate::config::node::join(path, stringify!($field)),
                    paths,
                );)*
            }
        }
    };
}
pub(super) use section;

/// Sections of the design that this version does not have yet: better than "unknown key".
const PLANNED: &[&str] = &["virtual"];

/// A longer list of known keys helps nobody.
const LISTED_MAX: usize = 12;

pub(super) fn unknown_key(entry: &Entry, key: &str, known: &[&str], found: &mut Findings) {
    let problem = if PLANNED.contains(&entry.key.as_str()) {
        Problem::new(
            &entry.at,
            key,
            "this version of Ringway does not support this key yet",
        )
    } else {
        let problem = Problem::new(&entry.at, key, "unknown key");
        match nearest(&entry.key, known.iter().copied()) {
            Some(name) => problem.hint(format!("did you mean `{name}`?")),
            None if known.len() <= LISTED_MAX => {
                problem.hint(format!("known here: {}", known.join(", ")))
            }
            None => problem,
        }
    };
    found.unknown.push(problem);
}

/// Says that a value is not what the key takes.
pub(super) fn mismatch(node: &Node, key: &str, wanted: &str, hint: &str, found: &mut Findings) {
    let message = match node.value {
        Value::Text(_) | Value::Number(_) | Value::Bool(_) => {
            format!("{} is not {wanted}", node.shown())
        }
        _ => format!("expected {wanted}, found {}", node.kind()),
    };
    let problem = Problem::new(&node.at, key, message);
    found.errors.push(if hint.is_empty() {
        problem
    } else {
        problem.hint(hint)
    });
}

/// The table at `key`; from a variable, a TOML table in text.
pub(super) fn table(node: &Node, key: &str, found: &mut Findings) -> Option<Table> {
    match &composite(node, key, found)?.value {
        Value::Table(table) => Some(table.clone()),
        _ => {
            mismatch(node, key, "a table", "", found);
            None
        }
    }
}

/// The node itself, or the TOML value that a variable holds in text.
fn composite(node: &Node, key: &str, found: &mut Findings) -> Option<Node> {
    let Some(text) = node.as_text().filter(|_| node.at.is_text()) else {
        return Some(node.clone());
    };
    match parse_toml_value(&node.at, &text.filled) {
        Ok(value) => Some(value),
        Err(error) => {
            let problem = Problem::new(&node.at, key, format!("not a TOML value: {error}"));
            found.errors.push(problem);
            None
        }
    }
}

impl<T: Read> Read for Vec<T> {
    /// A list; from a variable, words with commas between them or a TOML list.
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let words = node.as_text().filter(|_| node.at.is_text());
        let words = words.filter(|text| !text.filled.trim_start().starts_with('['));
        let list = match words {
            Some(text) => text
                .filled
                .split(',')
                .map(|word| Node::text(node.at.clone(), word.trim()))
                .filter(|word| word.as_text().is_some_and(|text| !text.filled.is_empty()))
                .collect(),
            None => match composite(node, key, found)?.value {
                Value::List(list) => list,
                _ => {
                    mismatch(node, key, "a list", "", found);
                    return None;
                }
            },
        };
        // Every element is read, so that every wrong one is told.
        let read: Vec<Option<T>> = list.iter().map(|node| T::read(node, key, found)).collect();
        read.into_iter().collect()
    }
}

impl Read for bool {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let loose = node.as_text().filter(|_| node.at.is_text());
        let word = loose.map(|text| text.filled.to_ascii_lowercase());
        match (&node.value, word.as_deref()) {
            (Value::Bool(value), _) => Some(*value),
            (_, Some("true" | "1" | "yes" | "on")) => Some(true),
            (_, Some("false" | "0" | "no" | "off")) => Some(false),
            _ => {
                mismatch(node, key, "a boolean", "write true or false", found);
                None
            }
        }
    }
}

impl Read for String {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.filled.clone()),
            _ => {
                mismatch(node, key, "a string", "put it in quotes", found);
                None
            }
        }
    }
}

/// A string whose value is never shown in messages.
#[derive(Clone)]
pub(super) struct Hidden(pub(super) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(super::redact::HIDDEN)
    }
}

impl Read for Hidden {
    /// Also takes numbers and booleans: values of variables and headers are text anyway.
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self(text.filled.clone())),
            Value::Number(digits) => Some(Self(digits.clone())),
            Value::Bool(value) => Some(Self(value.to_string())),
            _ => {
                let message = format!("expected a string, found {}", node.kind());
                found.errors.push(Problem::new(&node.at, key, message));
                None
            }
        }
    }
}

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hidden".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Any keys with values of one kind, in the order of the file.
#[derive(Debug)]
pub(super) struct Map<T>(pub(super) Vec<(Placed<String>, T)>);

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for Map<T> {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let table = table(node, key, found)?;
        let mut map = Vec::with_capacity(table.entries.len());
        // In JSON null is a way to leave a value out.
        let is_there = |entry: &&Entry| !matches!(entry.node.value, Value::Null);
        for entry in table.entries.iter().filter(is_there) {
            let name = Placed {
                at: entry.at.clone(),
                value: entry.key.clone(),
            };
            if let Some(value) = T::read(&entry.node, &join(key, &entry.key), found) {
                map.push((name, value));
            }
        }
        Some(Self(map))
    }
}

impl<T: JsonSchema> JsonSchema for Map<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": values })
    }
}
