//! A directory's listing, for people and for programs.

use core::fmt::Write as _;

use sonic_rs::{JsonValueTrait, json};

use super::path::encode;
use crate::base::civil::Civil;
use crate::http::accept::media_quality;
use crate::http::{HeaderList, Known, Response};
use crate::net::files::Entry;

/// Entries shown; a directory with more says so.
pub(super) const ENTRIES_MAX: usize = 10_000;

/// Makes the response: JSON if the client likes it better than HTML.
pub(super) fn respond(
    (path, mut entries, is_whole): (&str, Vec<Entry>, bool),
    shows_hidden: bool,
    request: &HeaderList,
    response: &mut Response,
) {
    entries.retain(|entry| shows_hidden || !entry.name.starts_with('.'));
    entries.sort_by(|one, other| {
        let by_kind = other.is_directory.cmp(&one.is_directory);
        by_kind.then_with(|| one.name.cmp(&other.name))
    });
    response.status = 200;
    response
        .headers
        .push_known(Known::CacheControl, b"no-cache");
    response.headers.push_known(Known::Vary, b"Accept");
    let html = media_quality(request, "text", "html");
    if media_quality(request, "application", "json") > html {
        let kind = b"application/json";
        response.headers.push_known(Known::ContentType, kind);
        response.body = as_json(&entries, is_whole).into();
    } else {
        let kind = b"text/html; charset=utf-8";
        response.headers.push_known(Known::ContentType, kind);
        response.headers.push(
            b"Content-Security-Policy",
            b"default-src 'none'; style-src 'unsafe-inline'",
        );
        response.body = as_html(path, &entries, is_whole).into_bytes().into();
    }
}

fn as_json(entries: &[Entry], is_whole: bool) -> Vec<u8> {
    let rows: Vec<sonic_rs::Value> = entries
        .iter()
        .map(|entry| {
            let kind = if entry.is_directory {
                "directory"
            } else {
                "file"
            };
            let modified = Civil::from_unix(entry.modified).to_string();
            json!({ "name": entry.name, "type": kind, "size": entry.len, "modified": modified })
        })
        .collect();
    let value = json!({ "entries": rows, "complete": is_whole });
    debug_assert!(value.is_object());
    sonic_rs::to_vec(&value).unwrap_or_default()
}

fn as_html(path: &str, entries: &[Entry], is_whole: bool) -> String {
    let title = escape(path);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Index of {title}</title>\
         <style>body{{font:1rem/1.5 monospace;margin:2rem}}td{{padding-right:2rem}}\
         td:nth-child(2){{text-align:right}}</style></head>\n\
         <body><h1>Index of {title}</h1><table>\n\
         <tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n"
    );
    for entry in entries {
        let slash = if entry.is_directory { "/" } else { "" };
        // `./`, or a name with a colon would be a scheme.
        let mut link = b"./".to_vec();
        encode(&entry.name, &mut link);
        let link = String::from_utf8(link).unwrap_or_default();
        let size = match entry.is_directory {
            true => "-".to_owned(),
            false => entry.len.to_string(),
        };
        let _ = writeln!(
            page,
            "<tr><td><a href=\"{}{slash}\">{}{slash}</a></td><td>{size}</td><td>{}</td></tr>",
            escape(&link),
            escape(&entry.name),
            Civil::from_unix(entry.modified),
        );
    }
    page.push_str("</table>");
    if !is_whole {
        let _ = write!(page, "<p>Only the first {ENTRIES_MAX} are shown.</p>");
    }
    page.push_str("</body></html>\n");
    page
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    fn entry(name: &str, is_directory: bool) -> Entry {
        Entry {
            name: name.into(),
            is_directory,
            len: 7,
            modified: 784_111_777,
        }
    }

    fn listed(accept: &str, names: &[(&str, bool)]) -> (HeaderList, String) {
        let mut request = HeaderList::new();
        request.push_known(Known::Accept, accept.as_bytes());
        let entries = names.iter().map(|&(name, is)| entry(name, is)).collect();
        let mut response = Response::default();
        respond(("/a<b/", entries, true), false, &request, &mut response);
        let Body::Full(text) = response.body else {
            panic!("a listing has content")
        };
        (response.headers, String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn names_are_text_and_not_markup() {
        let names = [("<script>x</script>", false), ("javascript:1", false)];
        let (_, page) = listed("text/html", &names);
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&lt;script&gt;x&lt;/script&gt;"), "{page}");
        assert!(page.contains("href=\"./javascript:1\""), "{page}");
        assert!(page.contains("Index of /a&lt;b/"), "{page}");
    }

    #[test]
    fn programs_get_json_and_nobody_sees_hidden_names() {
        let names = [("b", false), (".git", true), ("c", true), ("a", false)];
        let (headers, text) = listed("application/json", &names);
        let kind = headers.get_str(Known::ContentType);
        assert_eq!(kind, Some("application/json"));
        let value: sonic_rs::Value = sonic_rs::from_str(&text).unwrap();
        let text = value.to_string();
        let places: Vec<_> = ["\"c\"", "\"a\"", "\"b\""]
            .map(|name| text.find(name).unwrap())
            .to_vec();
        assert!(places.is_sorted(), "{text}");
        assert!(!text.contains(".git") && text.contains("1994-11-06T08:49:37Z"));
        let (headers, _) = listed("*/*", &names);
        let kind = headers.get_str(Known::ContentType);
        assert_eq!(kind, Some("text/html; charset=utf-8"));
    }
}
