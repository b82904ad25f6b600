//! The lists of one server as they are offered.

use std::collections::HashMap;

use bytes::Bytes;

use super::listing::{self, Kind, ListError, Listing};
use super::mirror::{self, MirroredParam};
use super::owner::{Owner, Stale};
use super::way::{Trouble, Way};
use super::{filter, json, requests};
use crate::handler::mcp::link::Caching;
use crate::mcp::revision::Era;
use crate::mcp::vocabulary::Item;

/// What a server offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    pub(crate) tools: Vec<Item>,
    pub(crate) prompts: Vec<Item>,
    pub(crate) resources: Vec<Item>,
    pub(crate) templates: Vec<Item>,
    /// What holds for all of them together.
    pub(crate) caching: Caching,
    /// Parameters that are mirrored into headers, by tool (modern HTTP).
    pub(crate) mirrored: HashMap<Box<str>, Vec<MirroredParam>>,
    /// By list; what was not asked for hinders nobody.
    hints: [Option<Caching>; 4],
}

impl Lists {
    /// Fetches the lists that are stale and that the server has. A list that the server fails
    /// to give stays as it was.
    pub(crate) async fn fetch(
        &mut self,
        owner: &Owner,
        way: &Way,
        capabilities: &Bytes,
        which: Stale,
    ) -> Result<(), Trouble> {
        for (kind, hint) in Kind::ALL.into_iter().zip(0..) {
            let is_stale = match kind {
                Kind::Tools => which.tools,
                Kind::Prompts => which.prompts,
                Kind::Resources | Kind::Templates => which.resources,
            };
            if !is_stale {
                continue;
            }
            let has_it = json::raw(capabilities, &[kind.capability()]).is_some();
            let (items, caching) = if has_it {
                match list(way, kind).await {
                    Ok((items, caching)) => (items, Some(caching)),
                    Err(Failure::Trouble(trouble)) => return Err(trouble),
                    Err(Failure::List(ListError::Refused { code: -32601, .. })) => {
                        (Vec::new(), None)
                    }
                    Err(Failure::List(error)) => {
                        let name = &owner.config.name;
                        owner
                            .shard
                            .log()
                            .warn("mcp", format_args!("server {name}: {error}"));
                        continue;
                    }
                }
            } else {
                (Vec::new(), None)
            };
            if let Some(slot) = self.hints.get_mut(hint) {
                *slot = caching;
            }
            self.put(owner, way, kind, items);
        }
        let hints = self.hints.into_iter().flatten();
        let merged = hints.fold(None, |all, hint| Some(listing::merged(all, hint)));
        self.caching = merged.unwrap_or_default();
        Ok(())
    }

    fn put(&mut self, owner: &Owner, way: &Way, kind: Kind, items: Vec<Item>) {
        match kind {
            Kind::Tools => self.put_tools(owner, way, items),
            Kind::Prompts => self.prompts = items,
            Kind::Resources => self.resources = items,
            Kind::Templates => self.templates = items,
        }
    }

    fn put_tools(&mut self, owner: &Owner, way: &Way, mut tools: Vec<Item>) {
        tools.retain(|tool| filter::allows(&owner.config.tools, &tool.key));
        self.mirrored.clear();
        // Channels have no headers, and legacy servers do not know the annotation.
        if way.era() == Era::Modern && !matches!(way, Way::Duplex { .. }) {
            tools.retain(|tool| match mirror::mirrored(&tool.raw) {
                Ok(params) => {
                    if !params.is_empty() {
                        self.mirrored.insert(tool.key.clone(), params);
                    }
                    true
                }
                Err(reason) => {
                    let name = &owner.config.name;
                    owner.shard.log().warn(
                        "mcp",
                        format_args!("server {name}: tool {} is left out: {reason}", tool.key),
                    );
                    false
                }
            });
        }
        self.tools = tools;
    }
}

enum Failure {
    Trouble(Trouble),
    List(ListError),
}

/// All pages of one list.
async fn list(way: &Way, kind: Kind) -> Result<(Vec<Item>, Caching), Failure> {
    let is_modern = way.era() == Era::Modern;
    let mut listing = Listing::new(kind);
    let mut cursor: Option<Bytes> = None;
    loop {
        let build = |id| requests::list(id, kind.method(), cursor.as_deref(), is_modern);
        let answer = way.ask(kind.method(), build).await;
        let answer = answer.map_err(Failure::Trouble)?;
        cursor = listing.take(&answer).map_err(Failure::List)?;
        if cursor.is_none() {
            return Ok(listing.finish());
        }
    }
}
