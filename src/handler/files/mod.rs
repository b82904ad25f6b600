//! Static files: what nginx does with `root`, `alias`, `index`, `expires` and `gzip_static`,
//! without a way out of the root.
//!
//! ```text
//! path -> kept and fresh ----------------------------------------> conditions, ranges -> response
//!          `-> judge the name -> open below the root -> unchanged? --^
//!                                                        `-> read, with its siblings --^
//! ```
//!
//! Small files are kept in memory with the encodings made of them, large ones by their
//! descriptor. Nothing here waits for a disk on the shard's thread.

mod answer;
mod cache;
mod entry;
mod expiry;
mod listing;
mod path;
mod site;
mod types;

use std::rc::Rc;
use std::sync::Arc;

use crate::base::log::Logger;
use crate::config::{self, Config};
use crate::handler::Incoming;
use crate::handler::files::site::{Fault, Found, Site};
use crate::handler::problem::Problem;
use crate::http::{Known, Method, Response, Shelf};
use crate::metrics::{Counter, Recorder};
use crate::net::buffers::Buffers;
use crate::net::disk::Disk;
use crate::net::files::{Refused, Root};

/// Methods that files answer.
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// What the files of one shard are made with.
#[derive(Debug)]
pub struct Shared {
    /// The way to the threads that wait for disks.
    pub disk: Disk,
    /// Where encodings of files are kept.
    pub shelf: Shelf,
    /// The shard's buffers.
    pub buffers: Buffers,
    /// The shard's figures.
    pub recorder: Rc<Recorder>,
    /// Diagnostics.
    pub log: Logger,
}

/// Every route with files, on one shard.
#[derive(Debug)]
pub struct Files {
    sites: Vec<Site>,
    shared: Shared,
}

impl Files {
    /// The files of a configuration.
    #[must_use]
    pub fn new(config: &Config, shared: Shared) -> Self {
        let mut sites: Vec<Site> = Vec::new();
        for route in &config.routes {
            if let config::Handler::Files(files) = &route.handler {
                debug_assert_eq!(files.id, sites.len(), "routes are numbered in order");
                sites.push(Site::new(files));
            }
        }
        Self { sites, shared }
    }

    /// Answers a request for a file of that route if that takes no wait; `false` if it does:
    /// [`look_up`](Self::look_up) then. Allocates nothing.
    pub fn serve_kept(
        &self,
        files: &config::Files,
        request: &Incoming<'_>,
        response: &mut Response,
    ) -> bool {
        match request.head.method {
            Method::Get | Method::Head => {}
            Method::Options => {
                response.status = 204;
                response.headers.push(b"Allow", ALLOW.as_bytes());
                return true;
            }
            _ => {
                *response = Problem::MethodNotAllowed { allow: ALLOW }.response();
                return true;
            }
        }
        let Some(site) = self.sites.get(files.id) else {
            *response = Problem::Unavailable.response();
            return true;
        };
        let Some(entry) = site.fresh(site.path(request), request.now.mono) else {
            return false;
        };
        self.shared.recorder.count(Counter::FileCacheHits);
        answer::respond((&entry, &site.expiry), request, response);
        true
    }

    /// Answers a GET or HEAD with what the disk says.
    pub async fn look_up(
        &self,
        files: &config::Files,
        request: Incoming<'_>,
        response: &mut Response,
    ) {
        let Some(site) = self.sites.get(files.id) else {
            *response = Problem::Unavailable.response();
            return;
        };
        let (path, request) = (site.path(&request), &request);
        match site.find(&self.shared, path, request.now.mono).await {
            Ok(Found::File(entry)) => {
                answer::respond((&entry, &site.expiry), request, response);
            }
            Ok(Found::MissingSlash) => {
                let location = path::with_slash(request.head.route_path(), request.head.query());
                response.status = 301;
                response.headers.push_known(Known::Location, &location);
            }
            Ok(Found::Listing(root)) => {
                let listed = self.list(site, root, path, request, response).await;
                if let Err(fault) = listed {
                    self.refuse(&fault, request, response);
                }
            }
            Err(fault) => self.refuse(&fault, request, response),
        }
    }

    async fn list(
        &self,
        site: &Site,
        root: Arc<Root>,
        path: &str,
        request: &Incoming<'_>,
        response: &mut Response,
    ) -> Result<(), Fault> {
        let name = path.trim_matches('/').to_owned();
        let list = move || root.list(&name, listing::ENTRIES_MAX);
        let (entries, is_whole) = self.shared.disk.run(list).await??;
        listing::respond(
            (request.head.route_path(), entries, is_whole),
            site.settings.hidden,
            &request.head.headers,
            response,
        );
        Ok(())
    }

    fn refuse(&self, fault: &Fault, request: &Incoming<'_>, response: &mut Response) {
        let problem = match fault {
            Fault::Busy => Problem::Busy,
            Fault::Refused(Refused::Absent) => Problem::NoSuchFile,
            Fault::Refused(Refused::Forbidden | Refused::Special) => Problem::FileForbidden,
            Fault::Refused(Refused::NotCached) => Problem::Busy,
            Fault::Refused(Refused::Failed(error)) => {
                let path = request.head.route_path().escape_debug();
                self.shared
                    .log
                    .error("files", format_args!("{path}: {error}"));
                Problem::Internal
            }
        };
        *response = problem.response();
    }
}

#[cfg(test)]
mod tests;
