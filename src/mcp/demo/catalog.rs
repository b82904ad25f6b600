//! What the demo offers. The entries stand in JSON files as clients see them; the input schemas
//! in them are also what arguments are checked against.

use std::collections::HashMap;

use bytes::Bytes;
use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::Generation;
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
        let tools: Vec<Value> = TOOLS.into_iter().flat_map(entries).collect();
        let prompts = entries(PROMPTS);
        Self {
            schemas: tools
                .iter()
                .filter_map(|tool| Some((text(tool, "name")?, tool.get("inputSchema")?.clone())))
                .collect(),
            arguments: prompts
                .iter()
                .filter_map(|prompt| Some((text(prompt, "name")?, prompt_arguments(prompt))))
                .collect(),
            all: Lists {
                tools: items(&tools, "name"),
                prompts: items(&prompts, "name"),
                resources: items(&entries(RESOURCES), "uri"),
                templates: items(&entries(TEMPLATES), "uriTemplate"),
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

fn entries(file: &str) -> Vec<Value> {
    let list: Option<Value> = sonic_rs::from_str(file).ok();
    let entries = list.as_ref().and_then(|list| list.as_array());
    debug_assert!(entries.is_some(), "a file of the catalogue is not a list");
    entries
        .map(|list| list.iter().cloned().collect())
        .unwrap_or_default()
}

fn items(entries: &[Value], key: &str) -> Vec<Item> {
    let item = |entry: &Value| {
        Some(Item {
            key: text(entry, key)?,
            raw: Bytes::from(sonic_rs::to_vec(entry).ok()?),
        })
    };
    entries.iter().filter_map(item).collect()
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
