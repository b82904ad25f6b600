//! What is to be asked of a server for a key. Crosses threads.

use std::sync::Arc;

use super::Caches;
use crate::base::owner::Hashing;
use crate::cache::key::holds;
use crate::cache::vary::encodings;
use crate::config::{ProxyRoute, RouteCache};
use crate::handler::Incoming;
use crate::handler::proxy::Ask;
use crate::http::cache_control::CacheControl;
use crate::http::{HeaderList, Known, Method};

/// A question: one that all who ask for the same may share.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// What tells it from others.
    pub(super) key: Arc<[u8]>,
    /// The key's hash.
    pub(super) hash: u64,
    /// Whom to ask.
    pub(super) settings: Arc<ProxyRoute>,
    /// The client's fields.
    pub(super) fields: HeaderList,
    /// Its Cache-Control, if that counts.
    pub(super) control: CacheControl,
    /// Path and query for the server.
    pub(super) target: String,
    /// Fields for the server.
    pub(super) sent: HeaderList,
    /// What the balancer goes by.
    pub(super) balance: u64,
    /// What is kept may answer it.
    pub(super) is_read: bool,
    /// The answer may be kept.
    pub(super) keeps: bool,
}

/// A client's Cache-Control, if that counts.
pub(super) fn control(rules: &RouteCache, fields: &HeaderList) -> CacheControl {
    if rules.client_control {
        CacheControl::of_request(fields)
    } else {
        CacheControl::default()
    }
}

impl Order {
    /// The owner's number.
    pub(super) fn owner(&self, shards: u16) -> u16 {
        Hashing::owner(self.hash, shards)
    }

    /// The rules of its route.
    pub(super) fn rules(&self) -> Option<&RouteCache> {
        self.settings.cache.as_ref()
    }

    /// What is sent to the server.
    pub(super) fn ask(&self) -> Ask {
        let parts = (self.target.clone(), self.sent.clone());
        Ask::get(&self.settings, parts, self.balance)
    }
}

impl Caches {
    /// The question that a client's request is.
    pub(super) fn order(
        &self,
        (settings, rules): (&Arc<ProxyRoute>, &RouteCache),
        request: &Incoming<'_>,
        is_read: bool,
    ) -> Order {
        let key: Arc<[u8]> = {
            let mut scratch = self.scratch.borrow_mut();
            super::write_key(rules, request, &mut scratch);
            Arc::from(scratch.as_slice())
        };
        let mut ask = self.parts.proxy.ask(settings, request);
        ask.method = Method::Get;
        let sent = &mut ask.headers;
        // They are about this client's copy; the answer is for all.
        for field in [
            Known::Range,
            Known::IfRange,
            Known::IfNoneMatch,
            Known::IfModifiedSince,
        ] {
            sent.remove(field);
        }
        if sent.contains(Known::AcceptEncoding) {
            let taken = encodings(sent);
            sent.remove(Known::AcceptEncoding);
            sent.push_known(Known::AcceptEncoding, taken.as_bytes());
        }
        Order {
            hash: self.office.hashing.hash(&key),
            key,
            settings: Arc::clone(settings),
            fields: request.head.headers.clone(),
            control: control(rules, &request.head.headers),
            target: core::mem::take(&mut ask.target),
            sent: core::mem::take(&mut ask.headers),
            balance: ask.key,
            is_read,
            keeps: !holds(&rules.no_cache, request.head),
        }
    }
}
