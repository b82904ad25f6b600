//! The keys of a `[[route]]` that serves files.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Around;
use super::route::{PathRule, RawRoute};
use crate::config::kinds::{Count, Period, Size, words};
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::{Placed, section};
use crate::config::units::{GIB, HOUR_MS, parse_duration, to_usize};
use crate::http::{is_field_value, is_token};

section! {
    /// What each shard keeps of the files it has served.
    RawFileCache {
        /// Files remembered; those longer than max_file keep a descriptor open. 0 is off.
        entries: Count<0, 1_000_000>,
        /// Bytes of content kept.
        size: Size<0, { 64 * GIB }>,
        /// Files up to this size are kept in memory, larger ones are sent from the disk.
        max_file: Size<0, { 1 << 30 }>,
        /// How long a file is served without a look whether it changed.
        valid: Period<0, HOUR_MS>,
    }
}

words! {
    /// `symlinks`
    SymlinksWord(Symlinks) {
        "inside" => Symlinks::Inside,
        "off" => Symlinks::Off,
        "any" => Symlinks::Any,
    }
}

/// Files below a directory, as one route serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Number of this route among those that serve files, from 0.
    pub id: usize,
    /// Absolute path of the directory; of the file itself if `is_single`.
    pub root: PathBuf,
    /// The route is one file.
    pub is_single: bool,
    /// The whole path is looked up below `root`, and not just what follows the route's.
    pub is_whole_path: bool,
    /// The route's own path is the directory without its slash: `/x` and not `/x/`.
    pub lacks_slash: bool,
    /// What answers for a directory, in this order.
    pub index: Vec<String>,
    /// `Expires` and the `max-age` that goes with it.
    pub expires: Expires,
    /// Further directives of Cache-Control.
    pub cache_control: Option<String>,
    /// Whether siblings with `.br`, `.zst` and `.gz` are sent to clients that take them.
    pub precompressed: bool,
    /// Whether directories without an index are listed.
    pub autoindex: bool,
    /// Whether names that begin with a dot are served.
    pub hidden: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// Media type of names without a known one.
    pub default_type: String,
    /// `charset` of text types; `None` names none.
    pub charset: Option<String>,
    /// Media types by extension in lower case, before the built-in ones.
    pub types: Vec<(String, String)>,
    /// What is served, below the root, when there is nothing at a path.
    pub fallback: Option<String>,
    /// What each shard keeps.
    pub cache: FileCache,
}

/// `file_cache`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCache {
    /// Files remembered.
    pub entries: usize,
    /// Bytes of content kept.
    pub bytes: u64,
    /// Largest file whose content is kept.
    pub file_bytes_max: u64,
    /// How long a file is served without a look.
    pub valid: Duration,
}

impl Default for FileCache {
    fn default() -> Self {
        Self {
            entries: 1024,
            bytes: 32 << 20,
            file_bytes_max: 256 << 10,
            valid: Duration::from_secs(1),
        }
    }
}

/// `expires`, as nginx has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// Nothing is said.
    Off,
    /// The first second of 1970, and `no-cache`.
    Epoch,
    /// The end of 2037, and ten years.
    Max,
    /// So long after the response.
    After(Duration),
    /// So long before it, and `no-cache`.
    Before(Duration),
}

/// `symlinks`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// Those that lead to a place below the root.
    Inside,
    /// None.
    Off,
    /// All, wherever they lead.
    Any,
}

/// The files of a route, if it has any. `None` after a problem was told.
pub(super) fn resolve(
    raw: &mut RawRoute,
    rule: &PathRule,
    id: usize,
    around: &Around<'_>,
    found: &mut Findings,
) -> Option<Arc<Files>> {
    let is_whole_path = raw.files.is_none();
    let directory = raw.files.take().or_else(|| raw.root.take())?;
    let key = if is_whole_path {
        "route.root"
    } else {
        "route.files"
    };
    let (root, is_single) = match place(&directory, rule, is_whole_path, around) {
        Ok(place) => place,
        Err(Refusal { message, hint }) => {
            let problem = Problem::new(&directory.at, key, message);
            found.errors.push(problem.hint(hint));
            return None;
        }
    };
    let cache = raw.file_cache.take().unwrap_or_default();
    let kept = FileCache::default();
    Some(Arc::new(Files {
        id,
        root,
        is_single,
        is_whole_path,
        lacks_slash: matches!(rule, PathRule::Prefix(path) if !path.ends_with('/')),
        index: index(raw, found),
        expires: raw.expires.take().map_or(Expires::Off, |text| {
            checked(&text, "route.expires", parse_expires(&text.value), found)
                .unwrap_or(Expires::Off)
        }),
        cache_control: header(raw.cache_control.take(), "route.cache_control", found),
        precompressed: raw.precompressed.unwrap_or(false),
        autoindex: raw.autoindex.unwrap_or(false),
        hidden: raw.hidden.unwrap_or(false),
        symlinks: raw
            .symlinks
            .as_ref()
            .map_or(Symlinks::Inside, |word| word.0),
        default_type: media_type(raw.default_type.take(), found)
            .unwrap_or_else(|| "application/octet-stream".to_owned()),
        charset: charset(raw.charset.take(), found),
        types: types(raw, found),
        fallback: fallback(raw.fallback.take(), found),
        cache: FileCache {
            entries: cache
                .entries
                .map_or(kept.entries, |count| to_usize(count.0)),
            bytes: cache.size.map_or(kept.bytes, |size| size.0),
            file_bytes_max: cache.max_file.map_or(kept.file_bytes_max, |size| size.0),
            valid: cache.valid.map_or(kept.valid, |period| period.0),
        },
    }))
}

struct Refusal {
    message: String,
    hint: &'static str,
}

/// Where the files are, and whether that is one file.
fn place(
    directory: &Placed<String>,
    rule: &PathRule,
    is_whole_path: bool,
    around: &Around<'_>,
) -> Result<(PathBuf, bool), Refusal> {
    let path = around.path(&directory.value);
    let refuse = |why: &str, hint| {
        let message = format!("{}: {why}", path.display());
        Err(Refusal { message, hint })
    };
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok((path, false)),
        Ok(found) if !found.is_file() => refuse("neither a directory nor a file", ""),
        Ok(_) if is_whole_path || !matches!(rule, PathRule::Exact(_)) => refuse(
            "not a directory",
            "one file takes a route for one path: path = \"=/…\" with `files`",
        ),
        Ok(_) => Ok((path, true)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse("there is no such directory", "make it, or correct the path")
        }
        Err(error) => refuse(&error.to_string(), ""),
    }
}

/// Tells of a value that could not be read, with what would do.
fn checked<T>(
    text: &Placed<String>,
    key: &str,
    value: Result<T, &'static str>,
    found: &mut Findings,
) -> Option<T> {
    value
        .map_err(|hint| {
            let message = format!("\"{}\" does not fit", text.value.escape_debug());
            found
                .errors
                .push(Problem::new(&text.at, key, message).hint(hint));
        })
        .ok()
}

fn parse_expires(text: &str) -> Result<Expires, &'static str> {
    let text = text.trim();
    let period = |text: &str| {
        parse_period(text).ok_or("write \"1y\", \"12h\", \"-1h\", \"epoch\", \"max\" or \"off\"")
    };
    match text {
        "off" | "" => Ok(Expires::Off),
        "epoch" => Ok(Expires::Epoch),
        "max" => Ok(Expires::Max),
        _ => match text.strip_prefix('-') {
            Some(before) => period(before).map(Expires::Before),
            None => period(text).map(Expires::After),
        },
    }
}

/// nginx's periods: those of the other keys, and weeks, months (30 days) and years (365 days) in
/// front.
fn parse_period(text: &str) -> Option<Duration> {
    const DAY: u64 = 24 * 3600;
    /// A hundred years; nginx's own limit lies at 68.
    const PERIOD_MAX: Duration = Duration::from_secs(100 * 365 * DAY);
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    for (unit, days) in [("y", 365), ("M", 30), ("w", 7)] {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at_checked(digits)?;
        if let Some(after) = after.strip_prefix(unit)
            && let Ok(number) = number.parse::<u32>()
        {
            total = total.checked_add(Duration::from_secs(DAY * days).checked_mul(number)?)?;
            rest = after.trim_start();
        }
    }
    // A bare number is seconds to nginx.
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) {
        total = total.checked_add(Duration::from_secs(rest.parse().ok()?))?;
    } else if !rest.is_empty() {
        total = total.checked_add(parse_duration(rest)?)?;
    } else if text.trim().is_empty() {
        return None;
    }
    (total <= PERIOD_MAX).then_some(total)
}

fn index(raw: &mut RawRoute, found: &mut Findings) -> Vec<String> {
    let Some(names) = raw.index.take() else {
        return vec!["index.html".to_owned()];
    };
    for name in &names.value {
        if name.is_empty() || name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..") {
            let message = format!("\"{}\" is not the name of a file", name.escape_debug());
            let problem = Problem::new(&names.at, "route.index", message);
            found
                .errors
                .push(problem.hint("for example [\"index.html\"]"));
        }
    }
    names.value
}

fn header(raw: Option<Placed<String>>, key: &str, found: &mut Findings) -> Option<String> {
    let raw = raw.filter(|raw| !raw.value.is_empty())?;
    let value = match is_field_value(raw.value.as_bytes()) {
        true => Ok(()),
        false => Err("it is sent as a header: no line breaks, no blanks around it"),
    };
    checked(&raw, key, value, found)?;
    Some(raw.value)
}

fn media_type(raw: Option<Placed<String>>, found: &mut Findings) -> Option<String> {
    let raw = raw?;
    is_media_type(&raw, "route.default_type", found).then_some(raw.value)
}

fn is_media_type(raw: &Placed<String>, key: &str, found: &mut Findings) -> bool {
    let essence = raw.value.split(';').next().unwrap_or("").trim_end();
    let is_one = essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind.as_bytes()) && is_token(subtype.as_bytes()));
    let value = match is_one && is_field_value(raw.value.as_bytes()) {
        true => Ok(()),
        false => Err("write a media type: \"text/plain\""),
    };
    checked(raw, key, value, found).is_some()
}

fn charset(raw: Option<Placed<String>>, found: &mut Findings) -> Option<String> {
    let Some(raw) = raw else {
        return Some("utf-8".to_owned());
    };
    if matches!(raw.value.as_str(), "off" | "") {
        return None;
    }
    let value = match is_token(raw.value.as_bytes()) {
        true => Ok(()),
        false => Err("write a name like \"utf-8\", or \"off\""),
    };
    checked(&raw, "route.charset", value, found)?;
    Some(raw.value)
}

fn types(raw: &mut RawRoute, found: &mut Findings) -> Vec<(String, String)> {
    let mut types = Vec::new();
    for (extension, kind) in raw.types.take().unwrap_or_default().0 {
        let key = format!("route.types.{}", extension.value);
        let kind = Placed {
            at: extension.at.clone(),
            value: kind,
        };
        if is_media_type(&kind, &key, found) {
            let extension = extension.value.trim_start_matches('.').to_ascii_lowercase();
            types.push((extension, kind.value));
        }
    }
    types
}

fn fallback(raw: Option<Placed<String>>, found: &mut Findings) -> Option<String> {
    let raw = raw?;
    let below = Path::new(raw.value.trim_start_matches('/'));
    let is_inside = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let value = match is_inside && below.file_name().is_some() && !raw.value.ends_with('/') {
        true => Ok(()),
        false => Err("write a file below the directory: \"/index.html\""),
    };
    checked(&raw, "route.fallback", value, found)?;
    Some(raw.value.trim_start_matches('/').to_owned())
}

/// Says of keys that only files know that this route serves none.
pub(super) fn refuse_strays(raw: &RawRoute, at: &At, found: &mut Findings) {
    let strays = [
        ("index", raw.index.is_some()),
        ("expires", raw.expires.is_some()),
        ("cache_control", raw.cache_control.is_some()),
        ("precompressed", raw.precompressed.is_some()),
        ("autoindex", raw.autoindex.is_some()),
        ("hidden", raw.hidden.is_some()),
        ("symlinks", raw.symlinks.is_some()),
        ("default_type", raw.default_type.is_some()),
        ("charset", raw.charset.is_some()),
        ("types", raw.types.is_some()),
        ("fallback", raw.fallback.is_some()),
        ("file_cache", raw.file_cache.is_some()),
    ];
    for (key, _) in strays.into_iter().filter(|(_, is_there)| *is_there) {
        let message = "this key is for routes with `files` or `root`";
        found
            .errors
            .push(Problem::new(at, &format!("route.{key}"), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_those_of_nginx() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for (text, expected) in [
            ("off", Ok(Expires::Off)),
            ("epoch", Ok(Expires::Epoch)),
            ("max", Ok(Expires::Max)),
            ("1y", Ok(Expires::After(days(365)))),
            ("1y 6M", Ok(Expires::After(days(365 + 180)))),
            ("2w", Ok(Expires::After(days(14)))),
            ("1w2d", Ok(Expires::After(days(9)))),
            ("1h30m", Ok(Expires::After(Duration::from_secs(5_400)))),
            ("3600", Ok(Expires::After(Duration::from_secs(3_600)))),
            ("0", Ok(Expires::After(Duration::ZERO))),
            ("-1h", Ok(Expires::Before(Duration::from_secs(3_600)))),
        ] {
            assert_eq!(parse_expires(text), expected, "{text}");
        }
        for text in [
            "soon",
            "-",
            "1x",
            "y",
            "1000y",
            "--1h",
            "99999999999999999999y",
        ] {
            assert!(parse_expires(text).is_err(), "{text}");
        }
    }
}
