//! The lists of a server: asking for all their pages and cutting them into items.

use std::collections::HashSet;

use bytes::Bytes;

use super::json;
use crate::handler::mcp::link::Caching;
use crate::mcp::vocabulary::Item;

/// Items of one list. The longest known in the wild holds some thousand tools.
const ITEMS_MAX: usize = 20_000;
/// Pages of one list; a server that hands out cursors for ever is stopped here.
const PAGES_MAX: usize = 2_000;

/// The four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the list of that name")]
pub(crate) enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] =
        [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The capability without which the list is not asked for.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// Why a list could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListError {
    /// The server answered with a JSON-RPC error.
    #[error("{method} was answered with error {code}: {message}")]
    Refused {
        method: &'static str,
        code: i64,
        message: String,
    },
    /// The answer has another shape than the protocol's.
    #[error("the answer to {0} is not a list")]
    Shape(&'static str),
    /// More than we keep.
    #[error("{0} has too many pages or items")]
    TooLong(&'static str),
}

/// A list that is being fetched page by page.
#[derive(Debug)]
pub(crate) struct Listing {
    kind: Kind,
    items: Vec<Item>,
    keys: HashSet<Box<str>>,
    cursors: HashSet<Bytes>,
    caching: Option<Caching>,
}

impl Listing {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            items: Vec::new(),
            keys: HashSet::new(),
            cursors: HashSet::new(),
            caching: None,
        }
    }

    /// Takes the answer to one page. `Some` is the cursor of the next, a JSON string verbatim
    /// (an empty string is a valid cursor). Of two items with one key the first counts.
    pub(crate) fn take(&mut self, message: &Bytes) -> Result<Option<Bytes>, ListError> {
        let method = self.kind.method();
        if let Some(code) = json::integer(message, &["error", "code"]) {
            let message = json::text(message, &["error", "message"]).unwrap_or_default();
            return Err(ListError::Refused {
                method,
                code,
                message,
            });
        }
        let result = json::raw(message, &["result"]).ok_or(ListError::Shape(method))?;
        let page = json::raw(&result, &[self.kind.field()])
            .and_then(|array| json::elements(&array))
            .ok_or(ListError::Shape(method))?;
        for raw in page {
            // An item without its key cannot be called; the others still can.
            let Some(key) = json::text(&raw, &[self.kind.key()]) else {
                continue;
            };
            let key = key.into_boxed_str();
            if self.keys.insert(key.clone()) {
                self.items.push(Item { key, raw });
            }
        }
        self.caching = Some(merged(self.caching, caching(&result)));
        let next = json::raw(&result, &["nextCursor"]).filter(|next| next.starts_with(b"\""));
        if self.items.len() > ITEMS_MAX || self.cursors.len() > PAGES_MAX {
            return Err(ListError::TooLong(method));
        }
        // A cursor that comes back would go round for ever.
        Ok(next.filter(|cursor| self.cursors.insert(cursor.clone())))
    }

    /// The items, and what the server said about keeping them.
    pub(crate) fn finish(self) -> (Vec<Item>, Caching) {
        (self.items, self.caching.unwrap_or_default())
    }
}

/// The caching hint of one page (2026-07-28 server/utilities/caching); none promises nothing.
fn caching(result: &Bytes) -> Caching {
    let ttl_ms = json::integer(result, &["ttlMs"]).and_then(|ttl| u64::try_from(ttl).ok());
    Caching {
        ttl_ms: ttl_ms.unwrap_or(0),
        public: json::text(result, &["cacheScope"]).is_some_and(|scope| scope == "public"),
    }
}

/// What holds for two lists together: the shorter time, and public only if both are.
pub(crate) fn merged(first: Option<Caching>, second: Caching) -> Caching {
    match first {
        None => second,
        Some(first) => Caching {
            ttl_ms: first.ttl_ms.min(second.ttl_ms),
            public: first.public && second.public,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn pages_add_up_and_items_stay_verbatim() {
        let mut listing = Listing::new(Kind::Tools);
        let next = listing.take(&bytes(
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"a", "x": 1.0} ,
            {"title":"nameless"}],"nextCursor":"","ttlMs":500,"cacheScope":"public"}}"#,
        ));
        assert_eq!(next.unwrap().unwrap(), "\"\"");
        let next = listing.take(&bytes(
            r#"{"result":{"tools":[{"name":"b"},{"name":"a","again":true}],"ttlMs":90,
            "cacheScope":"public"}}"#,
        ));
        assert_eq!(next.unwrap(), None);
        let (items, caching) = listing.finish();
        assert!(caching.ttl_ms == 90 && caching.public);
        let raws: Vec<_> = items.iter().map(|item| item.raw.clone()).collect();
        assert_eq!(raws, [r#"{"name":"a", "x": 1.0}"#, r#"{"name":"b"}"#]);
    }

    #[test]
    fn a_cursor_that_repeats_ends_the_list() {
        let mut listing = Listing::new(Kind::Resources);
        let page = bytes(r#"{"result":{"resources":[{"uri":"u:1"}],"nextCursor":"again"}}"#);
        assert_eq!(listing.take(&page).unwrap().unwrap(), "\"again\"");
        assert_eq!(listing.take(&page).unwrap(), None);
        assert_eq!(listing.finish().0.len(), 1);
    }

    #[test]
    fn errors_and_other_shapes_are_told_apart() {
        let mut listing = Listing::new(Kind::Templates);
        let refused = listing.take(&bytes(r#"{"error":{"code":-32601,"message":"no"}}"#));
        assert!(matches!(
            refused,
            Err(ListError::Refused { code: -32601, .. })
        ));
        for text in [
            r#"{"result":{"resourceTemplates":{}}}"#,
            r#"{"result":{}}"#,
            "[]",
            "<html>",
            r#"{"result":{"resourceTemplates":[{"uriTemplate":"x"}"#,
        ] {
            let shape = listing.take(&bytes(text));
            assert!(
                matches!(shape, Err(ListError::Shape(_))),
                "{text}: {shape:?}"
            );
        }
    }
}
