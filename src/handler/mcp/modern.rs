//! Requests of modern clients (2026-07-28): each says everything about itself.

use std::rc::Rc;

use bytes::Bytes;

use super::Scope;
use super::dispatch::Asked;
use super::endpoint::{Accept, headers, json, refuse};
use super::gateway::Gateway;
use super::link::Client;
use crate::base::clock::Now;
use crate::http::{RequestHead, Response};
use crate::mcp::era::{self, Headers, Refusal};
use crate::mcp::jsonrpc::{self, HEADER_MISMATCH};
use crate::mcp::method::Method;
use crate::mcp::revision::Era;
use crate::mcp::scan::{Kind, Message, is_batch};

impl Gateway {
    /// Takes the body of a POST and answers it as its era wants.
    pub(super) async fn take(
        self: &Rc<Self>,
        scope: Scope,
        (head, accept, now): (&RequestHead, Accept, Now),
        bytes: Bytes,
        response: &mut Response,
    ) {
        let headers = headers(head);
        if is_batch(&bytes) {
            return self
                .batch(scope, (head, accept, now), bytes, response)
                .await;
        }
        let parts = match Message::scan(&bytes) {
            Ok(parts) => parts,
            Err(refused) => {
                let id = refused.id.of(&bytes);
                let why = refused.error.to_string();
                let error = jsonrpc::error(id, refused.error.code(), &why, None);
                return json(response, 400, error);
            }
        };
        match era::of(&headers, &parts) {
            Era::Modern => {
                self.modern(scope, (head, &headers, accept), (bytes, parts), response)
                    .await;
            }
            Era::Legacy => {
                self.legacy(scope, (head, accept, now), (bytes, parts), response)
                    .await;
            }
        }
    }

    async fn modern(
        self: &Rc<Self>,
        scope: Scope,
        (head, headers, accept): (&RequestHead, &Headers<'_>, Accept),
        (bytes, parts): (Bytes, Message),
        response: &mut Response,
    ) {
        match parts.kind {
            Kind::Request => {}
            // This revision has no notifications over HTTP but says how to take one.
            Kind::Notification => {
                response.status = 202;
                return;
            }
            Kind::Result | Kind::Error => {
                return refuse(response, 400, "Clients of this revision send no responses");
            }
        }
        let said = match era::modern(headers, &parts, &bytes) {
            Ok(said) => said,
            Err(refusal) => return refused(response, parts.id.of(&bytes), &refusal),
        };
        if said.method == Method::ToolsCall
            && let Some(what) = self
                .view(scope)
                .mirror_mismatch(&head.headers, &bytes, &parts)
        {
            let why = format!("Header mismatch: {what}");
            let error = jsonrpc::error(parts.id.of(&bytes), HEADER_MISMATCH, &why, None);
            return json(response, 400, error);
        }
        let client = Rc::new(Client {
            revision: said.revision,
            capabilities: said.capabilities,
            session: None,
            info: bytes.slice(parts.client_info.range()),
            log_level: said.log_level,
        });
        match said.method {
            Method::Discover => {
                self.settle(scope).await;
                let view = self.view(scope);
                let id = parts.id.of(&bytes);
                if view.about.is_legacy_only {
                    return refused(response, id, &era::legacy_only());
                }
                json(response, 200, view.about.discover(id));
            }
            Method::Listen if accept.events => {
                self.listen(scope, client, (&bytes, &parts), response);
            }
            Method::Listen => refuse(response, 406, "Accept must allow text/event-stream"),
            method => {
                let asked = Asked {
                    bytes,
                    parts,
                    method,
                    client,
                    scope,
                };
                self.answer(asked, accept, response).await;
            }
        }
    }
}

fn refused(response: &mut Response, id: &[u8], refusal: &Refusal) {
    let data = refusal.data.as_deref();
    let error = jsonrpc::error(id, refusal.code, &refusal.message, data);
    json(response, refusal.status, error);
}
