//! Which of a server's tools are offered: the allow and deny lists of the configuration.

use crate::config::ToolFilter;

/// Whether the lists let a tool through. Deny wins; an empty allow list allows everything.
pub(crate) fn allows(filter: &ToolFilter, name: &str) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
    (filter.allow.is_empty() || any(&filter.allow)) && !any(&filter.deny)
}

/// `*` stands for any run of characters, also none; everything else for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // Taking the earliest place for each middle part leaves the most for those after it.
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or("");
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_run() {
        for (pattern, name, expected) in [
            ("echo", "echo", true),
            ("echo", "echo2", false),
            ("*", "", true),
            ("*", "anything", true),
            ("search_*", "search_", true),
            ("search_*", "search_code", true),
            ("search_*", "research_code", false),
            ("*_code", "search_code", true),
            ("a*b*c", "a__b__c", true),
            ("a*b*c", "a__c__b", false),
            ("ab*ba", "aba", false),
            ("*a*a*", "aa", true),
            ("*a*a*", "a", false),
            ("*\u{e4}*", "x\u{e4}y", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

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
