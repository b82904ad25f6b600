//! What the demo offers. The entries stand in JSON files as clients see them; the input schemas
//! in them are also what arguments are checked against.

use std::collections::HashMap;

use bytes::Bytes;
use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::Generation;
use super::params::{compact, value};
use crate::mcp::scan;
use crate::mcp::vocabulary::Item;

/// Tools that show features to people come first, fixtures of the conformance suite after.
const TOOLS: [&str; 2] = [
    include_str!("catalog/tools.json"),
    include_str!("catalog/test_tools.json"),
];
const PROMPTS: &str = include_str!("catalog/prompts.json");
const RESOURCES: &str = include_str!("catalog/resources.json");
const TEMPLATES: &str = include_str!("catalog/templates.json");

/// Entries that are there only in odd generations.
const DYNAMIC_TOOL: &str = "test_dynamic_tool";
const DYNAMIC_PROMPT: &str = "test_dynamic_prompt";

/// The four lists at one moment.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each field is the list of that name")]
pub struct Lists {
    pub tools: Vec<Item>,
    pub prompts: Vec<Item>,
    pub resources: Vec<Item>,
    pub templates: Vec<Item>,
}

/// Everything the demo may offer.
#[derive(Debug)]
pub(super) struct Catalog {
    all: Lists,
    schemas: HashMap<Box<str>, Value>,
    /// Names of each prompt's arguments, and whether they are required.
    arguments: HashMap<Box<str>, Vec<(Box<str>, bool)>>,
}

impl Catalog {
    pub(super) fn new() -> Self {
        let tools: Vec<Entry> = TOOLS.into_iter().flat_map(entries).collect();
        let prompts = entries(PROMPTS);
        let schema =
            |(tool, _): &Entry| Some((text(tool, "name")?, tool.get("inputSchema")?.clone()));
        let arguments =
            |(prompt, _): &Entry| Some((text(prompt, "name")?, prompt_arguments(prompt)));
        Self {
            schemas: tools.iter().filter_map(schema).collect(),
            arguments: prompts.iter().filter_map(arguments).collect(),
            all: Lists {
                tools: items(tools, "name"),
                prompts: items(prompts, "name"),
                resources: items(entries(RESOURCES), "uri"),
                templates: items(entries(TEMPLATES), "uriTemplate"),
            },
        }
    }

    pub(super) fn lists(&self, generation: Generation) -> Lists {
        let mut lists = self.all.clone();
        if generation.tools.is_multiple_of(2) {
            lists.tools.retain(|tool| &*tool.key != DYNAMIC_TOOL);
        }
        if generation.prompts.is_multiple_of(2) {
            lists
                .prompts
                .retain(|prompt| &*prompt.key != DYNAMIC_PROMPT);
        }
        lists
    }

    /// The input schema of a tool; `None` if there is no such tool.
    pub(super) fn input_schema(&self, tool: &str) -> Option<&Value> {
        self.schemas.get(tool)
    }

    /// The arguments of a prompt; `None` if there is no such prompt.
    pub(super) fn prompt_arguments(&self, prompt: &str) -> Option<&[(Box<str>, bool)]> {
        self.arguments.get(prompt).map(Vec::as_slice)
    }
}

/// An entry as a tree, to be read, and as its compact text, to be shown: a tree forgets the
/// order of members, and lists must not change from start to start.
type Entry = (Value, Bytes);

fn entries(file: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let outcome = scan::elements(file.as_bytes(), |entry| {
        let json = entry.of(file.as_bytes());
        entries.extend(value(json).map(|tree| (tree, compact(json).into())));
    });
    debug_assert!(outcome.is_ok(), "a file of the catalogue is not a list");
    entries
}

fn items(entries: Vec<Entry>, key: &str) -> Vec<Item> {
    let item = |(tree, raw)| {
        Some(Item {
            key: text(&tree, key)?,
            raw,
        })
    };
    entries.into_iter().filter_map(item).collect()
}

fn prompt_arguments(prompt: &Value) -> Vec<(Box<str>, bool)> {
    let argument = |entry: &Value| {
        let required = entry.get("required").and_then(|flag| flag.as_bool());
        Some((text(entry, "name")?, required.unwrap_or(false)))
    };
    let list = prompt.get("arguments").and_then(|list| list.as_array());
    list.map(|list| list.iter().filter_map(argument).collect())
        .unwrap_or_default()
}

fn text(entry: &Value, key: &str) -> Option<Box<str>> {
    entry
        .get(key)
        .and_then(|value| value.as_str())
        .map(Box::from)
}
