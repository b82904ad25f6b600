//! The built-in pages: health, version, configuration, catalogue, metrics, documentation, echo.
//! Each page is a file; this one chooses, checks the method and writes JSON.

mod catalogue;
mod configuration;
mod configuration_proxy;
mod echo;
mod events;
mod health;
mod html;
mod json;
mod kept;
mod limits;
mod live;
mod metrics;
mod openapi;
mod scraper;
mod ui;
mod version;

pub use catalogue::{Catalogue, PublicTool};
pub use scraper::{Scrape, Scraper, Wanted};

use core::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::base::clock::Now;
use crate::config::{Builtin, Config, Handler};
use crate::handler::Incoming;
use crate::handler::builtin::kept::Kept;
use crate::handler::problem::Problem;
use crate::http::{Body, HeaderList, Known, Method, RequestHead, Response, Shelf};
use crate::metrics::{Recorder, RuntimeInfo};
use crate::route::Router;

/// What the pages of one shard need to know.
#[derive(Debug)]
pub struct Setup {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// Which generation of it this is, from 1.
    pub generation: u64,
    /// When it was read, since the Unix epoch.
    pub loaded: Duration,
    /// When the process started.
    pub started: Now,
    /// How many shards run.
    pub shards: usize,
    /// What they run on.
    pub runtime: RuntimeInfo,
    /// This shard's figures.
    pub recorder: Rc<Recorder>,
    /// Set when the shard stops taking new work.
    pub draining: Rc<Cell<bool>>,
    /// The gateway's view of its servers.
    pub catalogue: Rc<dyn Catalogue>,
    /// Where merged figures come from.
    pub scraper: Scraper,
    /// Where encodings of pages are kept.
    pub shelf: Shelf,
}

/// The pages of one shard.
#[derive(Debug)]
pub struct Pages {
    setup: Setup,
    /// Path and handler of each route, for `/openapi.json`.
    routes: Vec<(String, Handler)>,
    json_fields: HeaderList,
    health: RefCell<health::Cache>,
    kept: Kept,
    echoed: Cell<u64>,
    hub: Rc<events::Hub>,
}

/// Methods of every page but `echo`.
const ALLOW: &str = "GET, HEAD, OPTIONS";

impl Pages {
    /// The pages of one shard with that router.
    #[must_use]
    pub fn new(setup: Setup, router: &Router) -> Self {
        let mut json_fields = HeaderList::new();
        json_fields.push_known(Known::ContentType, b"application/json");
        json_fields.push_known(Known::CacheControl, b"no-store");
        let routes = router.endpoints();
        Self {
            kept: Kept::new(setup.shelf.clone()),
            setup,
            routes: routes
                .map(|(path, _, endpoint)| (path.to_owned(), endpoint.handler.clone()))
                .collect(),
            json_fields,
            health: RefCell::default(),
            echoed: Cell::new(0),
            hub: Rc::default(),
        }
    }

    /// Makes a page's response.
    pub async fn serve(&self, page: Builtin, request: Incoming<'_>, response: &mut Response) {
        if self.serve_at_once(page, &request, response) {
            return;
        }
        // Boxed, so that this future stays small: an idle connection keeps room for it.
        match page {
            Builtin::Metrics => Box::pin(self.metrics(request.head, response)).await,
            Builtin::Upstreams => Box::pin(self.upstreams(request.head, response)).await,
            _ => Box::pin(self.echo(request, response)).await,
        }
    }

    /// Makes a page's response if that takes neither a wait nor the request's content; says
    /// whether it did.
    pub fn serve_at_once(
        &self,
        page: Builtin,
        request: &Incoming<'_>,
        response: &mut Response,
    ) -> bool {
        if page == Builtin::Echo {
            return false;
        }
        let head = request.head;
        match head.method {
            Method::Get | Method::Head => {}
            Method::Options => {
                options(response);
                return true;
            }
            _ => {
                *response = Problem::MethodNotAllowed { allow: ALLOW }.response();
                return true;
            }
        }
        if page == Builtin::Health {
            self.health(request, response);
            return true;
        }
        if !request.found.below.trim_end_matches('/').is_empty() {
            *response = Problem::NotFound.response();
            return true;
        }
        match page {
            Builtin::Index | Builtin::Docs => self.html(page, head, response),
            Builtin::Ui => self.live_page(request, response),
            Builtin::Version => self.version(head, response),
            Builtin::Config => {
                let view = || Some(configuration::view(&self.setup.config));
                self.fixed_json(page, head, view, response);
            }
            Builtin::Servers => self.servers(head, response),
            Builtin::Tools => self.tools(head, response),
            Builtin::OpenApi => self.openapi(head, response),
            Builtin::Events => self.events(head, response),
            // Health was answered above.
            Builtin::Health | Builtin::Echo | Builtin::Metrics | Builtin::Upstreams => {
                return page == Builtin::Health;
            }
        }
        true
    }

    /// 200 with that value: compact, or indented for `?pretty` and in development.
    fn json(&self, head: &RequestHead, value: &impl Serialize, response: &mut Response) {
        match written(value, self.is_pretty(head)) {
            Some(text) => self.json_body(text, response),
            None => *response = Problem::Internal.response(),
        }
    }

    /// The same for a page that says the same until the configuration changes.
    fn fixed_json<T: Serialize>(
        &self,
        page: Builtin,
        head: &RequestHead,
        make: impl FnOnce() -> Option<T>,
        response: &mut Response,
    ) {
        let key = (page, self.is_pretty(head));
        let found = self.kept.find(key);
        let stored = found.or_else(|| {
            let text = written(&make()?, key.1)?;
            Some(self.kept.keep(key, text))
        });
        match stored {
            Some(stored) => self.json_body(stored, response),
            None => *response = Problem::Internal.response(),
        }
    }

    /// The same for a page that seldom changes.
    fn steady_json(
        &self,
        page: Builtin,
        head: &RequestHead,
        value: &impl Serialize,
        response: &mut Response,
    ) {
        let key = (page, self.is_pretty(head));
        match written(value, key.1) {
            Some(text) => self.json_body(self.kept.keep(key, text), response),
            None => *response = Problem::Internal.response(),
        }
    }

    fn is_pretty(&self, head: &RequestHead) -> bool {
        self.setup.config.development || wants_pretty(head.query())
    }

    fn json_bytes(&self, text: Bytes, response: &mut Response) {
        self.json_body(text, response);
    }

    fn json_body(&self, body: impl Into<Body>, response: &mut Response) {
        response.status = 200;
        response.headers.append(&self.json_fields);
        response.body = body.into();
    }
}

/// The value's JSON text; `None` only if a value could not be written.
fn written(value: &impl Serialize, is_pretty: bool) -> Option<Vec<u8>> {
    if !is_pretty {
        return sonic_rs::to_vec(value).ok();
    }
    let mut text = sonic_rs::to_vec_pretty(value).ok()?;
    text.push(b'\n');
    Some(text)
}

fn options(response: &mut Response) {
    response.status = 204;
    response.headers.push(b"Allow", ALLOW.as_bytes());
}

/// Whether a query asks for indented JSON: `pretty`, with any value but `false` and `0`.
fn wants_pretty(query: &str) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        name == "pretty" && !matches!(value, "false" | "0")
    })
}

#[cfg(test)]
mod tests;
