//! Files with one `NAME=value` a line (`envFile` of VS Code and Cursor).

/// Reads every variable.
///
/// # Errors
/// A line that is none, by its number; the line itself is not shown, it may hold a secret.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty() && !name.contains(' '))
            .ok_or_else(|| format!("line {} is not NAME=value", index + 1))?;
        variables.push((name.to_owned(), unquote(value)));
    }
    Ok(variables)
}

/// A value without its quotes; a bare one ends at a comment.
fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'')
        && let Some((inner, _)) = inner.split_once('\'')
    {
        return inner.to_owned();
    }
    if let Some(inner) = value.strip_prefix('"') {
        let mut out = String::new();
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => return out,
                '\\' => match characters.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some(other) => out.push(other),
                    None => {}
                },
                other => out.push(other),
            }
        }
    }
    value
        .split(" #")
        .next()
        .unwrap_or(value)
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_all_quotes() {
        let text = "# c\n\nA=1\nexport B = two words # c\nC='a # b'\nD=\"x\\n\\\"y\\\"\" # c\nE=\n\
                    F=a=b#c\nG=\"open\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a # b"),
            ("D", "x\n\"y\""),
            ("E", ""),
            ("F", "a=b#c"),
            ("G", "\"open"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse(text), Ok(expected.to_vec()));
    }

    #[test]
    fn a_bad_line_is_told_by_number_only() {
        assert_eq!(
            parse("A=1\nhunter2\n"),
            Err("line 2 is not NAME=value".to_owned())
        );
    }
}
