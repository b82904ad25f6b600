//! `/openapi.json`: OpenAPI 3.1 of the routes that are configured. The pages are described in
//! `openapi.json` beside this file; paths come from the router, so neither can name what the
//! other lacks.

use sonic_rs::{JsonContainerTrait, JsonValueMutTrait, JsonValueTrait, Object, Value, json};

use super::{Pages, configuration};
use crate::base::version;
use crate::config::{Builtin, Handler};
use crate::handler::problem::Problem;
use crate::http::{RequestHead, Response};

const DESCRIPTIONS: &str = include_str!("openapi.json");

impl Pages {
    pub(super) fn openapi(&self, head: &RequestHead, response: &mut Response) {
        let text = self.openapi.get_or_init(|| {
            let described = describe(&self.routes).unwrap_or_default();
            sonic_rs::to_vec(&described).unwrap_or_default().into()
        });
        if text.len() <= 2 {
            *response = Problem::Internal.response();
            return;
        }
        if self.setup.config.development || super::wants_pretty(head.query()) {
            let value: Value = sonic_rs::from_slice(text).unwrap_or_default();
            return self.json(head, &value, response);
        }
        self.json_bytes(text.clone(), response);
    }
}

/// The whole description; `None` only if the compiled-in text were broken.
fn describe(routes: &[(String, Handler)]) -> Option<Value> {
    let described: Value = sonic_rs::from_str(DESCRIPTIONS).ok()?;
    let pages = described.get("pages")?.as_object()?;
    let mut paths = Object::new();
    for (path, handler) in routes {
        match handler {
            Handler::Builtin(page) => {
                let item = pages.get(&page_name(*page, path))?;
                paths.insert(path, item.clone());
            }
            Handler::Mcp => {
                let item = pages.get(&"mcp")?;
                paths.insert(path, item.clone());
                let below = format!("{}/{{server}}", path.trim_end_matches('/'));
                paths.insert(&below, for_one_server(item)?);
            }
        }
    }
    Some(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ringway",
            "version": version::VERSION,
            "description": "MCP gateway and edge server.",
        },
        "paths": paths,
        "components": described.get("components")?.clone(),
    }))
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
fn for_one_server(item: &Value) -> Option<Value> {
    let mut operations = Object::new();
    for (method, operation) in item.as_object()? {
        let mut operation = operation.clone();
        operation.as_object_mut()?.insert(
            "parameters",
            json!([{
                "name": "server",
                "in": "path",
                "required": true,
                "description": "Name of one server; its names come untouched.",
                "schema": { "type": "string" },
            }]),
        );
        operations.insert(method, operation);
    }
    Some(operations.into())
}
