//! The lists of all servers as one: names that clients use and the way back, pages that are
//! written once and answered many times.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::jsonrpc;
use super::namespace::{Names, Offer, Policy};
use super::revision::Era;
use super::scan::member;
use super::seal::{Purpose, Sealer};
use super::vocabulary::Item;
use super::{splice, uri_template};

/// Items on one page. Many clients read only the first, so pages are as large as is decent.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// Bytes on one page, unless a single item is larger.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What one server contributes.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Index of the server.
    pub server: u16,
    /// Its configured name.
    pub name: &'a str,
    /// Tools.
    pub tools: &'a [Item],
    /// Prompts.
    pub prompts: &'a [Item],
    /// Resources.
    pub resources: &'a [Item],
    /// Resource templates.
    pub templates: &'a [Item],
    /// Whether it may have resources that it does not list.
    pub reads: bool,
    /// `ttlMs` of its lists.
    pub ttl_ms: u64,
    /// Whether its lists are public.
    pub public: bool,
}

/// One of the four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the list of that name")]
pub enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// What a catalogue is made with.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// How names are made unique.
    pub policy: Policy,
    /// Seals cursors.
    pub sealer: &'a Sealer,
    /// Which catalogue this is; cursors of one do not work in another.
    pub scope: &'a str,
    /// `serverInfo` of the gateway, JSON.
    pub server_info: &'a str,
    /// [`PAGE_ITEMS_MAX`], or less for tests.
    pub page_items_max: usize,
}

/// The merged lists.
#[derive(Debug)]
pub struct Catalog {
    scope: String,
    tools: Pages,
    prompts: Pages,
    resources: Pages,
    templates: Pages,
    tool_names: Names,
    prompt_names: Names,
    resource_owners: HashMap<Arc<str>, u16>,
    template_owners: Vec<(Box<str>, u16)>,
    readers: Vec<u16>,
}

/// A list's pages. Each is `{"tools":[…]` and perhaps `,"nextCursor":"…"`: the rest depends on
/// who asks.
#[derive(Debug, Default)]
struct Pages {
    pages: Vec<Bytes>,
    /// `,"resultType":…}` for modern clients.
    modern_end: Bytes,
}

/// The cursor is not one of ours, or its page is gone (-32602).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid cursor")]
pub struct BadCursor;

impl Catalog {
    /// Merges the sources, which are in the order of the configuration.
    #[must_use]
    pub fn merge(sources: &[Source<'_>], making: Making<'_>) -> Self {
        let names = |items: Part| {
            let offers: Vec<_> = sources
                .iter()
                .map(|source| Offer {
                    server: source.server,
                    name: source.name,
                    items: items(source),
                })
                .collect();
            Names::assign(making.policy, &offers)
        };
        let tool_names = names(|source| source.tools);
        let prompt_names = names(|source| source.prompts);
        let write = |list, items: Vec<Bytes>, part: Part| {
            let hint = hint(sources, part);
            Pages::write(list, &items, hint, making)
        };
        let (resources, resource_owners) = by_uri(sources, |source| source.resources);
        let (templates, template_owners) = by_uri(sources, |source| source.templates);
        Self {
            tools: write(
                List::Tools,
                renamed(&tool_names, sources, |source| source.tools),
                |source| source.tools,
            ),
            prompts: write(
                List::Prompts,
                renamed(&prompt_names, sources, |source| source.prompts),
                |source| source.prompts,
            ),
            resources: write(List::Resources, resources, |source| source.resources),
            templates: write(List::Templates, templates, |source| source.templates),
            scope: making.scope.to_owned(),
            tool_names,
            prompt_names,
            resource_owners: resource_owners.into_iter().collect(),
            template_owners: template_owners
                .into_iter()
                .map(|(template, server)| (Box::from(&*template), server))
                .collect(),
            readers: sources
                .iter()
                .filter(|source| source.reads)
                .map(|source| source.server)
                .collect(),
        }
    }

    /// The whole response to a list request. `cursor` is the client's, decoded.
    pub fn answer(
        &self,
        list: List,
        era: Era,
        id: &[u8],
        cursor: Option<&str>,
        sealer: &Sealer,
    ) -> Result<Bytes, BadCursor> {
        let pages = match list {
            List::Tools => &self.tools,
            List::Prompts => &self.prompts,
            List::Resources => &self.resources,
            List::Templates => &self.templates,
        };
        let number = match cursor {
            None => 0,
            Some(cursor) => read_cursor(sealer, list, &self.scope, cursor)?,
        };
        let page = pages.pages.get(number).ok_or(BadCursor)?;
        let end: &[u8] = match era {
            Era::Modern => &pages.modern_end,
            Era::Legacy => b"}",
        };
        let mut out = Vec::with_capacity(48 + id.len() + page.len() + end.len());
        jsonrpc::begin(&mut out, id);
        out.extend_from_slice(br#","result":"#);
        out.extend_from_slice(page);
        out.extend_from_slice(end);
        out.push(b'}');
        Ok(out.into())
    }

    /// Tools by the name that clients use.
    #[must_use]
    pub const fn tools(&self) -> &Names {
        &self.tool_names
    }

    /// Prompts by the name that clients use.
    #[must_use]
    pub const fn prompts(&self) -> &Names {
        &self.prompt_names
    }

    /// Which server to ask for a resource: who lists it; else whose template fits best; else
    /// the only one, or the first with a resource of that scheme, that may have unlisted ones.
    #[must_use]
    pub fn reader(&self, uri: &str) -> Option<u16> {
        if let Some(&server) = self.resource_owners.get(uri) {
            return Some(server);
        }
        let mut best = None;
        for (template, server) in &self.template_owners {
            let score = uri_template::matches(template, uri);
            if score.is_some() && score > best.map(|(score, _)| score) {
                best = score.map(|score| (score, *server));
            }
        }
        best.map(|(_, server)| server)
            .or_else(|| match &*self.readers {
                [only] => Some(*only),
                _ => self.same_scheme(uri),
            })
    }

    /// Which server has that template (`completion/complete` names templates).
    #[must_use]
    pub fn template(&self, template: &str) -> Option<u16> {
        self.template_owners
            .iter()
            .find(|(known, _)| **known == *template)
            .map(|&(_, server)| server)
            .or_else(|| self.reader(template))
    }

    fn same_scheme(&self, uri: &str) -> Option<u16> {
        let (scheme, _) = uri.split_once(':')?;
        let fits = |known: &str| {
            known
                .split_once(':')
                .is_some_and(|(known, _)| known == scheme)
        };
        let listed = self
            .resource_owners
            .iter()
            .filter(|(known, _)| fits(known))
            .map(|(_, &server)| server);
        let templated = self
            .template_owners
            .iter()
            .filter(|(known, _)| fits(known))
            .map(|&(_, server)| server);
        listed.chain(templated).min()
    }
}

impl List {
    /// The member that holds the items.
    const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}

impl Pages {
    fn write(list: List, items: &[Bytes], hint: (u64, bool), making: Making<'_>) -> Self {
        let mut pages = Vec::new();
        let mut rest = items;
        loop {
            let (now, later) = rest.split_at(page_len(rest, making.page_items_max));
            let mut page = format!("{{\"{}\":[", list.member()).into_bytes();
            for (at, item) in now.iter().enumerate() {
                if at > 0 {
                    page.push(b',');
                }
                page.extend_from_slice(item);
            }
            page.push(b']');
            let next = pages.len() + 1;
            if !later.is_empty()
                && let Some(cursor) = seal_cursor(making.sealer, list, making.scope, next)
            {
                page.extend_from_slice(br#","nextCursor":"#);
                jsonrpc::push_string(&mut page, &cursor);
            }
            pages.push(page.into());
            if later.is_empty() {
                break;
            }
            rest = later;
        }
        let (ttl_ms, public) = hint;
        let scope = if public { "public" } else { "private" };
        let modern_end = format!(
            concat!(
                r#","resultType":"complete","ttlMs":{},"cacheScope":"{}","#,
                r#""_meta":{{"io.modelcontextprotocol/serverInfo":{}}}}}"#
            ),
            ttl_ms, scope, making.server_info
        );
        Self {
            pages,
            modern_end: modern_end.into(),
        }
    }
}

/// How many items fit the next page.
fn page_len(items: &[Bytes], max: usize) -> usize {
    let mut bytes = 0;
    let fitting = items.iter().take(max.max(1)).take_while(|item| {
        bytes += item.len();
        bytes <= PAGE_BYTES_MAX
    });
    fitting.count().max(1).min(items.len())
}

/// The most cautious hint of those who contribute (server/utilities/caching): the shortest
/// time, and private as soon as one is.
fn hint(sources: &[Source<'_>], part: Part) -> (u64, bool) {
    let mut contributing = sources.iter().filter(|source| !part(source).is_empty());
    let Some(first) = contributing.next() else {
        return (0, false);
    };
    contributing.fold((first.ttl_ms, first.public), |(ttl_ms, public), source| {
        (ttl_ms.min(source.ttl_ms), public && source.public)
    })
}

/// The items under their exposed names, otherwise byte for byte.
fn renamed(names: &Names, sources: &[Source<'_>], part: Part) -> Vec<Bytes> {
    let mut written = Vec::new();
    for entry in names.entries() {
        let source = sources.iter().find(|source| source.server == entry.server);
        let Some(item) = source.and_then(|source| part(source).get(entry.place)) else {
            continue;
        };
        if entry.own == entry.exposed {
            written.push(item.raw.clone());
        } else if let Some(span) = member(&item.raw, "name") {
            let name = jsonrpc::string(&entry.exposed);
            written.push(splice::replace(&item.raw, &[(span, name.as_bytes())]).into());
        }
    }
    written
}

/// One of a source's lists.
type Part = for<'a> fn(&Source<'a>) -> &'a [Item];
type Owners = Vec<(Arc<str>, u16)>;

/// Items that are known by their URI: the first server that lists one has it.
fn by_uri(sources: &[Source<'_>], part: Part) -> (Vec<Bytes>, Owners) {
    let mut seen = std::collections::HashSet::new();
    let (mut items, mut owners) = (Vec::new(), Vec::new());
    for source in sources {
        for item in part(source) {
            if seen.insert(&item.key) {
                items.push(item.raw.clone());
                owners.push((Arc::from(&*item.key), source.server));
            }
        }
    }
    (items, owners)
}

fn cursor_binding(list: List, scope: &str) -> String {
    format!("{} {scope}", list.member())
}

fn seal_cursor(sealer: &Sealer, list: List, scope: &str, page: usize) -> Option<String> {
    let page = u32::try_from(page).ok()?.to_be_bytes();
    let binding = cursor_binding(list, scope);
    sealer.seal(Purpose::Cursor, binding.as_bytes(), &page).ok()
}

fn read_cursor(sealer: &Sealer, list: List, scope: &str, cursor: &str) -> Result<usize, BadCursor> {
    let binding = cursor_binding(list, scope);
    let state = sealer
        .open(Purpose::Cursor, binding.as_bytes(), cursor.as_bytes())
        .map_err(|_| BadCursor)?;
    let page = <[u8; 4]>::try_from(state.as_slice()).map_err(|_| BadCursor)?;
    Ok(u32::from_be_bytes(page) as usize)
}

#[cfg(test)]
mod tests;
