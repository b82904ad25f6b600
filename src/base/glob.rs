//! Patterns of names with `*`.

/// `*` stands for any run of characters, also none; everything else for itself.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
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
}
