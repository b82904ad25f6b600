//! `/version`: what this is and what it runs on.

use super::json::{Json, object};

use super::Pages;
use crate::base::civil::Civil;
use crate::base::version;
use crate::config::{Builtin, LogTarget};
use crate::http::{RequestHead, Response};
use crate::mcp::revision::Revision;

impl Pages {
    pub(super) fn version(&self, head: &RequestHead, response: &mut Response) {
        self.fixed_json(Builtin::Version, head, || Some(self.describe()), response);
    }

    fn describe(&self) -> Json {
        let setup = &self.setup;
        let runtime = &setup.runtime;
        let revisions = Revision::ALL.map(Revision::as_str);
        object! {
            "name": version::NAME,
            "version": version::VERSION,
            "git": version::GIT,
            "protocols": object! {
                "mcp": Json::list(revisions),
                "http": Json::list(["1.0", "1.1", "2"]),
            },
            "runtime": object! {
                "driver": runtime.driver.as_str(),
                "flags": runtime.flags.as_str(),
                "reason": runtime.reason.as_str(),
                "kernel": runtime.kernel.as_str(),
                "shards": setup.shards,
            },
            "configuration": object! {
                "generation": setup.generation,
                "loaded": Civil::from_unix(setup.loaded.as_secs()).to_string(),
            },
            "features": self.features(),
        }
    }

    /// What is switched on.
    fn features(&self) -> Vec<&'static str> {
        let config = &self.setup.config;
        let optional = [
            (config.metrics, "metrics"),
            (config.log.access != LogTarget::Off, "access-log"),
            (config.mcp.demo, "demo-server"),
            (config.development, "development"),
        ];
        let mut features = vec!["mcp-legacy", "mcp-modern"];
        features.extend(
            optional
                .iter()
                .filter(|(is_on, _)| *is_on)
                .map(|(_, name)| *name),
        );
        features
    }
}
