//! Settings that a running process cannot change. A reload leaves them as they are and says so.

use crate::config::Config;

/// Puts the running values of such settings into a new configuration. Gives the keys that the
/// file would have changed.
pub(super) fn keep(running: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    macro_rules! fixed {
        ($($key:literal: $($field:ident).+;)*) => {
            $(if running.$($field).+ != new.$($field).+ {
                new.$($field).+ = running.$($field).+.clone();
                kept.push($key);
            })*
        };
    }
    fixed! {
        "server.shards": server.shards;
        "server.driver": server.driver;
        "server.backlog": server.backlog;
        "server.pidfile": server.pidfile;
        "statsd": statsd;
        "mcp.secret": mcp.secret;
        "compression.recompress": compression.recompress;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_change_stays_and_is_named() {
        let running = Config::default();
        let mut new = Config::default();
        assert!(keep(&running, &mut new).is_empty());
        new.server.shards = Some(7);
        new.server.max_connections = 3;
        assert_eq!(keep(&running, &mut new), ["server.shards"]);
        assert_eq!((new.server.shards, new.server.max_connections), (None, 3));
    }
}
