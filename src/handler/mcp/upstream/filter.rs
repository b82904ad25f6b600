//! Which of a server's tools are offered: the allow and deny lists of the configuration.

use crate::base::glob::matches;
use crate::config::ToolFilter;

/// Whether the lists let a tool through. Deny wins; an empty allow list allows everything.
pub(crate) fn allows(filter: &ToolFilter, name: &str) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
    (filter.allow.is_empty() || any(&filter.allow)) && !any(&filter.deny)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_and_an_empty_allow_list_allows() {
        let filter = |allow: &[&str], deny: &[&str]| ToolFilter {
            allow: allow.iter().map(|s| (*s).to_owned()).collect(),
            deny: deny.iter().map(|s| (*s).to_owned()).collect(),
        };
        assert!(allows(&filter(&[], &[]), "x"));
        assert!(!allows(&filter(&["y"], &[]), "x"));
        assert!(allows(&filter(&["x", "y"], &[]), "x"));
        assert!(!allows(&filter(&["x*"], &["xy"]), "xy"));
    }
}
