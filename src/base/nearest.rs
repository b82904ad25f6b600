//! "Did you mean …?": the nearest of some known names.

/// The known name that `given` is most likely a slip of, if any is near enough.
///
/// Case, `-` and `_` do not count; one edit in three characters may differ.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(given);
    known
        .into_iter()
        .map(|name| (distance(&wanted, &fold(name)), name))
        .filter(|&(edits, name)| {
            let longest = wanted.len().max(name.chars().count());
            edits * 3 <= longest || is_part(&wanted, &fold(name))
        })
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, name)| name)
}

/// Whether one is the other plus some words: `max_body` and `max_body_size`.
fn is_part(left: &[char], right: &[char]) -> bool {
    let (short, long) = if left.len() < right.len() {
        (left, right)
    } else {
        (right, left)
    };
    short.len() >= 4 && (long.starts_with(short) || long.ends_with(short))
}

fn fold(name: &str) -> Vec<char> {
    name.chars()
        .filter(|character| !matches!(character, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Edits between two words: insert, delete, replace, swap of two neighbours.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, &a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX);
            let replaced = at(&row, j) + usize::from(a != b);
            let mut best = replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(&b) && right.get(j - 1) == Some(&a);
            if swapped {
                best = best.min(at(&before, j - 1).saturating_add(1));
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_name() {
        let known = ["keepalive_timeout", "max_body_size", "backlog", "pidfile"];
        for (given, expected) in [
            ("keepalive_timout", Some("keepalive_timeout")),
            ("keepAliveTimeout", Some("keepalive_timeout")),
            ("max-body-size", Some("max_body_size")),
            ("max_body", Some("max_body_size")),
            ("bcaklog", Some("backlog")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), expected, "{given}");
        }
    }

    #[test]
    fn a_swap_is_one_edit() {
        let word = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&word("abcd"), &word("acbd")), 1);
        assert_eq!(distance(&word("kitten"), &word("sitting")), 3);
        assert_eq!(distance(&word(""), &word("abc")), 3);
    }
}
