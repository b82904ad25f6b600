//! `[compression]`: which responses are compressed, and how hard.

use crate::config::kinds::{Count, Size, words};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};
use crate::http::Coding;

section! {
    /// Which responses are compressed, and how hard.
    RawCompression {
        /// Whether anything is compressed; a route may switch it off for itself.
        enabled: bool,
        /// Encodings on offer, the best first: "br", "zstd", "gzip". Of those that a client
        /// likes equally the first is taken.
        encodings: Placed<Vec<CodingWord>>,
        /// Shorter content goes out as it is. Content of unknown length is compressed.
        min_length: Size<0, { 1 << 30 }>,
        /// Media types that are compressed: "type/subtype", "type/*" or "*".
        types: Placed<Vec<String>>,
        /// Whether event streams are compressed too, with a flush after each event.
        event_streams: bool,
        /// Memory for encodings of pages, files and cached responses, in each shard.
        keep: Size<0, { 64 << 30 }>,
        /// Whether what is kept is compressed again at the highest level when a core is idle.
        recompress: bool,
        /// Brotli.
        brotli: RawBrotli,
        /// gzip.
        gzip: RawGzip,
        /// Zstandard.
        zstd: RawZstd,
    }
}

section! {
    /// Brotli.
    RawBrotli {
        /// 0 (fast) to 11 (small).
        quality: Count<0, 11>,
        /// Largest window, as a power of two.
        lgwin: Count<10, 24>,
    }
}

section! {
    /// gzip.
    RawGzip {
        /// 1 (fast) to 9 (small).
        level: Count<1, 9>,
    }
}

section! {
    /// Zstandard.
    RawZstd {
        /// 1 (fast) to 19 (small).
        level: Count<1, 19>,
    }
}

words! {
    /// `encodings`
    CodingWord(Coding) {
        "br" | "brotli" => Coding::Br,
        "zstd" => Coding::Zstd,
        "gzip" | "x-gzip" => Coding::Gzip,
    }
}

/// `[compression]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Encodings on offer, the best first; empty switches compression off.
    pub encodings: Vec<Coding>,
    /// Shorter content of known length is left as it is.
    pub min_length: u64,
    /// Media types in lower case: `type/subtype`, `type/*` or `*`.
    pub types: Vec<String>,
    /// Whether event streams are compressed as well.
    pub event_streams: bool,
    /// Bytes of encodings that each shard keeps.
    pub keep: usize,
    /// Whether kept encodings are made again at the highest level.
    pub recompress: bool,
    /// How hard.
    pub levels: Levels,
}

/// How hard each encoder tries while a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 0 to 11.
    pub brotli_quality: u8,
    /// 10 to 24.
    pub brotli_lgwin: u8,
    /// 1 to 9.
    pub gzip: u8,
    /// 1 to 19.
    pub zstd: u8,
}

/// nginx's list in the seed, HTML (which nginx always compresses), and what the gateway's own
/// pages have besides.
const TYPES: [&str; 13] = [
    "text/html",
    "text/plain",
    "text/css",
    "text/xml",
    "text/javascript",
    "application/json",
    "application/javascript",
    "application/xml+rss",
    "application/rss+xml",
    "application/atom+xml",
    "image/svg+xml",
    "application/problem+json",
    "application/openmetrics-text",
];

impl Default for Compression {
    fn default() -> Self {
        Self {
            encodings: Coding::ALL.to_vec(),
            min_length: 1024,
            types: TYPES.iter().map(|&text| text.to_owned()).collect(),
            event_streams: false,
            keep: 32 << 20,
            recompress: true,
            levels: Levels {
                brotli_quality: 4,
                brotli_lgwin: 22,
                gzip: 6,
                zstd: 3,
            },
        }
    }
}

pub(super) fn resolve(raw: RawCompression, found: &mut Findings) -> Compression {
    let defaults = Compression::default();
    let encodings = match raw.encodings {
        _ if raw.enabled == Some(false) => Vec::new(),
        Some(encodings) => each_once(&encodings, found),
        None => defaults.encodings,
    };
    let small = |count: u64| u8::try_from(count).unwrap_or(u8::MAX);
    let brotli = raw.brotli.unwrap_or_default();
    let gzip = raw.gzip.unwrap_or_default();
    let zstd = raw.zstd.unwrap_or_default();
    let levels = defaults.levels;
    let level_of = |given: Option<u64>, default| given.map_or(default, small);
    Compression {
        encodings,
        min_length: raw.min_length.map_or(defaults.min_length, |size| size.0),
        types: raw
            .types
            .map_or(defaults.types, |types| media_types(&types, found)),
        event_streams: raw.event_streams.unwrap_or(defaults.event_streams),
        keep: raw.keep.map_or(defaults.keep, |size| {
            usize::try_from(size.0).unwrap_or(usize::MAX)
        }),
        recompress: raw.recompress.unwrap_or(defaults.recompress),
        levels: Levels {
            brotli_quality: level_of(brotli.quality.map(|c| c.0), levels.brotli_quality),
            brotli_lgwin: level_of(brotli.lgwin.map(|c| c.0), levels.brotli_lgwin),
            gzip: level_of(gzip.level.map(|c| c.0), levels.gzip),
            zstd: level_of(zstd.level.map(|c| c.0), levels.zstd),
        },
    }
}

fn each_once(encodings: &Placed<Vec<CodingWord>>, found: &mut Findings) -> Vec<Coding> {
    let mut codings = Vec::new();
    for CodingWord(coding) in &encodings.value {
        if codings.contains(coding) {
            let message = format!("\"{}\" stands twice", coding.name());
            let problem = Problem::new(&encodings.at, "compression.encodings", message);
            found.errors.push(problem);
        } else {
            codings.push(*coding);
        }
    }
    codings
}

fn media_types(types: &Placed<Vec<String>>, found: &mut Findings) -> Vec<String> {
    let mut known = Vec::new();
    for text in &types.value {
        let text = text.trim().to_ascii_lowercase();
        let is_part = |part: &str| crate::http::is_token(part.as_bytes());
        let is_type = text.split_once('/').is_some_and(|(kind, subtype)| {
            is_part(kind) && !kind.contains('*') && (subtype == "*" || is_part(subtype))
        });
        if text == "*" || is_type {
            known.push(text);
        } else {
            let message = format!("\"{}\" is not a media type", text.escape_debug());
            let problem = Problem::new(&types.at, "compression.types", message);
            let hint = "for example \"application/json\", \"text/*\" or \"*\"";
            found.errors.push(problem.hint(hint));
        }
    }
    known
}
