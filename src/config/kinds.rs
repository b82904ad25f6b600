//! The kinds of values that have bounds or a form of their own: counts, sizes, durations, words,
//! addresses.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Node, Value};
use super::problem::Findings;
use super::read::{Read, mismatch};
use super::units::{
    DURATION_HINT, SIZE_HINT, format_duration, format_size, parse_duration, parse_size,
};
use crate::base::nearest::nearest;

/// A whole number within bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Read for Count<MIN, MAX> {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let digits = match &node.value {
            Value::Number(digits) => digits.as_str(),
            Value::Text(text) if node.at.is_text() => text.filled.trim(),
            _ => "",
        };
        match digits.parse::<u64>() {
            Ok(count) if (MIN..=MAX).contains(&count) => Some(Self(count)),
            Ok(_) => {
                let hint = format!("between {MIN} and {MAX}");
                mismatch(node, key, "within the bounds", &hint, found);
                None
            }
            Err(_) => {
                let hint = format!("write a number between {MIN} and {MAX}");
                mismatch(node, key, "a whole number", &hint, found);
                None
            }
        }
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Count<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Count_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A number of bytes within bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Read for Size<MIN, MAX> {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let parsed = match &node.value {
            Value::Number(digits) => parse_size(digits),
            Value::Text(text) => parse_size(&text.filled),
            _ => None,
        };
        match parsed {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Some(Self(bytes)),
            Some(_) => {
                let hint = format!("between {} and {}", format_size(MIN), format_size(MAX));
                mismatch(node, key, "within the bounds", &hint, found);
                None
            }
            None => {
                mismatch(node, key, "a size", SIZE_HINT, found);
                None
            }
        }
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Size_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": MIN, "maximum": MAX },
                { "type": "string", "pattern": "^[0-9]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?$" },
            ],
        })
    }
}

/// A duration within bounds, given in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period<const MIN_MS: u64, const MAX_MS: u64>(pub(super) Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Read for Period<MIN_MS, MAX_MS> {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let (min, max) = (Duration::from_millis(MIN_MS), Duration::from_millis(MAX_MS));
        let parsed = node.as_text().and_then(|text| parse_duration(&text.filled));
        match parsed {
            Some(period) if (min..=max).contains(&period) => Some(Self(period)),
            Some(_) => {
                let hint = format!(
                    "between {} and {}",
                    format_duration(min),
                    format_duration(max)
                );
                mismatch(node, key, "within the bounds", &hint, found);
                None
            }
            None => {
                mismatch(node, key, "a duration", DURATION_HINT, found);
                None
            }
        }
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> JsonSchema for Period<MIN_MS, MAX_MS> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Period_{MIN_MS}_{MAX_MS}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(0|([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|sec|m|min|h|d) ?)+)$",
        })
    }
}

/// One of a few words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident($target:ty) {
        $($word:literal $(| $more:literal)* => $value:expr,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub(in crate::config) struct $name(pub(in crate::config) $target);

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::node::Node,
                key: &str,
                found: &mut $crate::config::problem::Findings,
            ) -> Option<Self> {
                let word = node.as_text().map(|text| text.filled.to_ascii_lowercase());
                match word.as_deref() {
                    $(Some($word $(| $more)*) => Some(Self($value)),)*
                    word => {
                        let known = [$($word),*];
                        $crate::config::kinds::unknown_word(node, word, key, &known, found);
                        None
                    }
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}
pub(super) use words;

pub(super) fn unknown_word(
    node: &Node,
    word: Option<&str>,
    key: &str,
    known: &[&str],
    found: &mut Findings,
) {
    let list = format!("one of {}", known.join(", "));
    let near = word.and_then(|word| nearest(word, known.iter().copied()));
    let hint = near.map(|name| format!("did you mean \"{name}\"?"));
    mismatch(node, key, &list, hint.as_deref().unwrap_or(""), found);
}

/// Where to listen: an address of this machine and a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(pub(super) SocketAddr);

const ADDRESS_HINT: &str =
    "write \"127.0.0.1:4444\" (this machine only), \"0.0.0.0:4444\" (everyone) or \"[::1]:4444\"";

impl Read for Address {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
        let text = node.as_text().map_or("", |text| text.filled.trim());
        let parsed = if let Some(port) = text.strip_prefix("localhost:") {
            format!("127.0.0.1:{port}").parse()
        } else if text.starts_with(':') {
            format!("0.0.0.0{text}").parse()
        } else {
            text.parse::<SocketAddr>()
        };
        match parsed {
            Ok(address) => Some(Self(address)),
            Err(_) => {
                mismatch(node, key, "an address with a port", ADDRESS_HINT, found);
                None
            }
        }
    }
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["127.0.0.1:4444", "0.0.0.0:4444"] })
    }
}
