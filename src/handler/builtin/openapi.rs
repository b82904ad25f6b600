//! `/openapi.json`: OpenAPI 3.1 of the routes that are configured. The pages are described in
//! `openapi.json` beside this file; paths come from the router, so neither can name what the
//! other lacks.

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::json::{Json, object};
use super::{Pages, configuration};
use crate::base::version;
use crate::config::{Builtin, Handler};
use crate::http::{RequestHead, Response};

const DESCRIPTIONS: &str = include_str!("openapi.json");

impl Pages {
    pub(super) fn openapi(&self, head: &RequestHead, response: &mut Response) {
        let describe = || describe(&self.routes);
        self.fixed_json(Builtin::OpenApi, head, describe, response);
    }
}

/// The whole description; `None` only if the compiled-in text were broken.
fn describe(routes: &[(String, Handler)]) -> Option<Json> {
    let described: Value = sonic_rs::from_str(DESCRIPTIONS).ok()?;
    let pages = described.get("pages")?;
    let mut paths = Vec::new();
    for (path, handler) in routes {
        match handler {
            Handler::Builtin(page) => {
                let item = pages.get(page_name(*page, path))?;
                paths.push((path.clone(), Json::Read(item.clone())));
            }
            // Files and what is behind are no interfaces of ours, and nobody should begin with
            // MCP's transport of 2024-11-05.
            Handler::Files(_) | Handler::Proxy(_) | Handler::Redirect(_) | Handler::McpSse => {}
            Handler::Mcp => {
                let item = pages.get("mcp")?;
                paths.push((path.clone(), Json::Read(item.clone())));
                let below = format!("{}/{{server}}", path.trim_end_matches('/'));
                paths.push((below, for_one_server(item)?));
            }
        }
    }
    Some(object! {
        "openapi": "3.1.0",
        "info": object! {
            "title": "Ringway",
            "version": version::VERSION,
            "description": "MCP gateway and edge server.",
        },
        "paths": Json::Object(paths),
        "components": Json::Read(described.get("components")?.clone()),
    })
}

/// Which description a page has at that path.
fn page_name(page: Builtin, path: &str) -> &'static str {
    match page {
        Builtin::Health if path.ends_with("/live") => "live",
        Builtin::Health if path.ends_with("/ready") => "ready",
        _ => configuration::builtin(page),
    }
}

/// The gateway's operations with the server's name as a path parameter.
fn for_one_server(item: &Value) -> Option<Json> {
    let server = object! {
        "name": "server",
        "in": "path",
        "required": true,
        "description": "Name of one server; its names come untouched.",
        "schema": object! { "type": "string" },
    };
    let with_server = |(method, operation): (&str, &Value)| {
        let members = operation.as_object()?.iter();
        let mut parameters = vec![server.clone()];
        let mut others = Vec::new();
        for (name, value) in members {
            match value.as_array().filter(|_| name == "parameters") {
                Some(more) => parameters.extend(more.iter().cloned().map(Json::Read)),
                None => others.push((name.to_owned(), Json::Read(value.clone()))),
            }
        }
        others.push(("parameters".to_owned(), Json::List(parameters)));
        Some((method.to_owned(), Json::Object(others)))
    };
    let operations = item.as_object()?.iter().map(with_server);
    operations.collect::<Option<Vec<_>>>().map(Json::Object)
}
