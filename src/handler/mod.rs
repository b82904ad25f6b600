//! What makes a response: the MCP gateway and the built-in pages.
//!
//! Handlers fill a [`Response`] that the connection keeps and reuses; they never see the HTTP
//! version and never write framing fields.
#![forbid(unsafe_code)]

pub mod builtin;
pub mod cache;
pub mod files;
pub mod mcp;
pub mod problem;
pub mod proxy;

use std::rc::Rc;

use crate::base::clock::Now;
use crate::config;
use crate::filter::{Client, RequestId};
use crate::handler::builtin::Pages;
use crate::handler::cache::Caches;
use crate::handler::files::Files;
use crate::handler::mcp::{Gateway, HttpRequest};
use crate::handler::problem::Problem;
use crate::handler::proxy::Proxy;
use crate::http::{Body, Hints, Known, Method, RequestHead, Response};
use crate::route::{Match, redirected};
use crate::tls::seen::SeenTls;

/// Every handler of one shard.
#[derive(Debug)]
pub struct Handlers {
    /// The built-in pages.
    pub pages: Pages,
    /// The MCP gateway; without one its routes answer 503.
    pub gateway: Option<Rc<Gateway>>,
    /// Files; `None` where no route has any.
    pub files: Option<Files>,
    /// The proxy; `None` where there is no upstream.
    pub proxy: Option<Rc<Proxy>>,
    /// What is kept of its answers; `None` where there is no cache.
    pub caches: Option<Rc<Caches>>,
}

/// A request as handlers see it.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Method, target and fields.
    pub head: &'a RequestHead,
    /// The route that took it, and what follows the route's path.
    pub found: Match<'a>,
    /// Who asks.
    pub client: &'a Client,
    /// Its id in logs and towards upstreams.
    pub id: &'a RequestId,
    /// Where interim answers go.
    pub hints: &'a Hints,
    /// The TLS it came through, if any.
    pub tls: Option<&'a SeenTls>,
    /// The content. Dropping it unread is allowed.
    pub body: Body,
    /// When the head was complete.
    pub now: Now,
}

impl Handlers {
    /// Makes the response to a request that a route took. `response` is empty at first.
    pub async fn handle(&self, request: Incoming<'_>, response: &mut Response) {
        match &request.found.endpoint.handler {
            config::Handler::Builtin(page) => self.pages.serve(*page, request, response).await,
            config::Handler::Files(settings) => match &self.files {
                Some(files) if files.serve_kept(settings, &request, response) => {}
                // Boxed like the gateway below.
                Some(files) => Box::pin(files.look_up(settings, request, response)).await,
                None => *response = Problem::Unavailable.response(),
            },
            config::Handler::Redirect(redirect) => redirect_to(redirect, &request, response),
            config::Handler::Proxy(settings) => {
                match (&self.proxy, &settings.cache, &self.caches) {
                    // Boxed like the gateway below.
                    (Some(_), Some(rules), Some(caches)) => {
                        Box::pin(caches.serve((settings, rules), request, response)).await;
                    }
                    (Some(proxy), _, _) => Box::pin(proxy.serve(settings, request, response)).await,
                    (None, _, _) => *response = Problem::Unavailable.response(),
                }
            }
            config::Handler::Mcp | config::Handler::McpSse => match &self.gateway {
                Some(gateway) => {
                    let request = HttpRequest {
                        head: request.head,
                        below: request.found.below,
                        body: request.body,
                        body_bytes_max: request.found.endpoint.settings.max_body_size,
                        now: request.now,
                        is_former: request.found.endpoint.handler == config::Handler::McpSse,
                    };
                    // In a box of its own: inside this future its 3 KiB would be moved about
                    // for every health check and kept for every idle connection.
                    Box::pin(gateway.handle(request, response)).await;
                }
                None => *response = Problem::Unavailable.response(),
            },
        }
    }

    /// Makes the response if that takes neither a wait nor the request's content; says whether
    /// it did. If not, [`handle`](Self::handle) does.
    pub fn answer_at_once(&self, request: &Incoming<'_>, response: &mut Response) -> bool {
        match &request.found.endpoint.handler {
            config::Handler::Builtin(page) => self.pages.serve_at_once(*page, request, response),
            config::Handler::Proxy(settings) => match (&settings.cache, &self.caches) {
                (Some(rules), Some(caches)) => caches.serve_at_once(rules, request, response),
                _ => false,
            },
            _ => false,
        }
    }

    /// Makes the response to a request that no route took.
    pub fn not_found(&self, head: &RequestHead, response: &mut Response) {
        if head.method == Method::Options && head.path() == "*" {
            // RFC 9110 §9.3.7: about the server as a whole.
            response.status = 204;
            return;
        }
        *response = Problem::NotFound.response();
    }
}

fn redirect_to(redirect: &config::Redirect, request: &Incoming<'_>, response: &mut Response) {
    let address = redirected(
        redirect,
        &request.found,
        request.head,
        request.tls.is_some(),
    );
    response.status = redirect.status;
    response
        .headers
        .push_known(Known::Location, address.as_bytes());
}
