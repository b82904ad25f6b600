//! What a route does to the fields of its responses (`[route.headers]`).

use crate::config::RouteHeaders;
use crate::filter::ResponseFilter;
use crate::http::{HeaderList, Response};

/// The response half of one route that has rules of its own.
#[derive(Debug)]
pub struct RouteFilter {
    /// What every response carries, without what the route leaves out or sets.
    pub common: ResponseFilter,
    out: Vec<String>,
    more: HeaderList,
}

impl RouteFilter {
    /// Compiles a route's rules.
    #[must_use]
    pub fn new(rules: &RouteHeaders, common: &ResponseFilter) -> Self {
        let mut out = rules.remove.clone();
        let mut more = HeaderList::new();
        for (name, value) in &rules.set {
            out.push(name.clone());
            more.push(name.as_bytes(), value.as_bytes());
        }
        for (name, value) in &rules.add {
            more.push(name.as_bytes(), value.as_bytes());
        }
        let names: Vec<&str> = out.iter().map(String::as_str).collect();
        Self {
            common: common.without(&names),
            out,
            more,
        }
    }

    /// Changes what a handler, or a refusal, has set.
    pub fn edit(&self, response: &mut Response) {
        let headers = &mut response.headers;
        for name in &self.out {
            headers.remove_by_name(name.as_bytes());
        }
        headers.append(&self.more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn fields_are_set_added_and_left_out() {
        let config = Config {
            headers: vec![pair("X-Frame-Options", "DENY"), pair("X-A", "common")],
            ..Config::default()
        };
        let rules = RouteHeaders {
            set: vec![pair("cache-control", "no-cache"), pair("X-B", "route")],
            add: vec![pair("Vary", "Origin")],
            remove: vec!["x-frame-options".to_owned(), "ETag".to_owned()],
        };
        let filter = RouteFilter::new(&rules, &ResponseFilter::new(&config));
        let mut response = Response::new(200)
            .with("Cache-Control", "max-age=9")
            .with("ETag", "\"1\"")
            .with("Vary", "Accept");
        filter.edit(&mut response);
        assert_eq!(
            response.headers.wire(),
            b"Vary: Accept\r\ncache-control: no-cache\r\nX-B: route\r\nVary: Origin\r\n"
        );
        let fixed: Vec<_> = filter
            .common
            .fixed
            .iter()
            .map(|(_, name, _)| name)
            .collect();
        assert_eq!(fixed, [&b"X-A"[..], b"X-Server"]);
    }
}
