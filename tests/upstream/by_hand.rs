//! Tries with real servers, by hand: `UPSTREAM_TARGET='{"command": …}'` or a URL.
