//! Which template a URI may have come from (RFC 6570, matched loosely).
//!
//! Only the literal parts count; an expression stands for any text. The server that gets the
//! request decides for itself, so a match too many costs an error answer, not more.

/// Whether expanding the template could give the URI. `Some` with the number of literal bytes,
/// so that the most specific of several templates can be chosen.
#[must_use]
pub fn matches(template: &str, uri: &str) -> Option<usize> {
    let mut literals = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        literals.push(literal);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    let Some((first, middle)) = literals.split_first() else {
        return (template == uri).then_some(template.len());
    };
    let mut left = uri.strip_prefix(first)?;
    for literal in middle {
        let at = left.find(literal)?;
        left = left.get(at + literal.len()..)?;
    }
    left.ends_with(rest)
        .then(|| literals.iter().map(|literal| literal.len()).sum::<usize>() + rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_must_fit() {
        for (template, uri, score) in [
            ("file:///{path}", "file:///a/b", Some(8)),
            ("test://t/{id}/data", "test://t/123/data", Some(14)),
            ("test://t/{id}/data", "test://t/123/date", None),
            ("a{x}b{y}c", "a1b2c", Some(3)),
            ("a{x}b{y}c", "a1c", None),
            ("plain", "plain", Some(5)),
            ("plain", "plain2", None),
            ("{+all}", "anything", Some(0)),
            ("a{?q,r}", "a?q=1", Some(1)),
            ("a{broken", "a", Some(1)),
        ] {
            assert_eq!(matches(template, uri), score, "{template} {uri}");
        }
    }
}
