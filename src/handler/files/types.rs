//! Media types by extension: the route's own, then `mime_guess`'s table.

use crate::config;

/// The Content-Type of a file.
pub(super) fn content_type(name: &str, files: &config::Files) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    let extension = match file.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_ascii_lowercase(),
        _ => String::new(),
    };
    let own = files.types.iter().find(|(own, _)| *own == extension);
    let kind = match own {
        Some((_, kind)) => kind.as_str(),
        None => known(&extension).unwrap_or(&files.default_type),
    };
    match &files.charset {
        Some(charset) if is_text(kind) && !kind.contains(';') => {
            format!("{kind}; charset={charset}")
        }
        _ => kind.to_owned(),
    }
}

fn known(extension: &str) -> Option<&'static str> {
    match extension {
        "" => None,
        // RFC 9239 made it the one type of JavaScript.
        "mjs" => Some("text/javascript"),
        // To the table a video format.
        "ts" => Some("application/typescript"),
        _ => mime_guess::from_ext(extension).first_raw(),
    }
}

/// Types whose text has a charset parameter. JSON has none: it is UTF-8 (RFC 8259 §8.1).
fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || matches!(
            kind,
            "application/javascript" | "application/xml" | "application/rss+xml"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::files::tests::settings;

    #[test]
    fn types_of_the_usual_names() {
        let mut files = settings();
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("data.json", "application/json"),
            ("logo.svg", "image/svg+xml"),
            ("font.woff2", "font/woff2"),
            ("code.wasm", "application/wasm"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("a.tar.gz", "application/gzip"),
            ("a.b/README", "application/octet-stream"),
            (".profile", "application/octet-stream"),
            ("x.unheardof", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name, &files), expected, "{name}");
        }
        files.types = vec![("log".into(), "text/plain".into())];
        files.charset = None;
        files.default_type = "text/plain".into();
        assert_eq!(content_type("a.LOG", &files), "text/plain");
        assert_eq!(content_type("README", &files), "text/plain");
    }
}
