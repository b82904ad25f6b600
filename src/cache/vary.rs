//! Which of a key's responses fits a request: Vary, with the values of the fields that it names
//! in a normal form (RFC 9111 §4.1).

use smallvec::SmallVec;

use super::key::fields;
use crate::http::accept::weighted;
use crate::http::{HeaderList, Known};

/// More names than that are as good as `*`.
const NAMES_MAX: usize = 16;

/// The fields that a response's Vary names, and what they were in its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting {
    /// Names in lower case, sorted, and the values in their normal form; `None` where there was
    /// no such field.
    fields: Vec<Named>,
}

/// A field's name and value.
type Named = (Box<[u8]>, Option<Box<[u8]>>);

/// No other request may be answered with the response: `Vary: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unselectable;

impl Selecting {
    /// Of a response, to that request.
    ///
    /// # Errors
    /// [`Unselectable`].
    pub fn of(response: &HeaderList, request: &HeaderList) -> Result<Self, Unselectable> {
        let mut selecting = Self::default();
        if !response.contains(Known::Vary) {
            return Ok(selecting);
        }
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for value in response.all(Known::Vary) {
            for name in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                match name {
                    b"" => {}
                    b"*" => return Err(Unselectable),
                    name => names.push(name.to_ascii_lowercase().into()),
                }
            }
        }
        names.sort();
        names.dedup();
        if names.len() > NAMES_MAX {
            return Err(Unselectable);
        }
        for name in names {
            let value = normal(&name, request).map(|value| value.into_vec().into());
            selecting.fields.push((name, value));
        }
        Ok(selecting)
    }

    /// Whether the response fits a request.
    #[must_use]
    pub fn fits(&self, request: &HeaderList) -> bool {
        self.fields
            .iter()
            .all(|(name, value)| normal(name, request).as_deref() == value.as_deref())
    }

    /// Whether two requests are the same as far as these fields go.
    #[must_use]
    pub fn is_same_for(&self, one: &HeaderList, other: &HeaderList) -> bool {
        let mut names = self.fields.iter().map(|(name, _)| name);
        names.all(|name| normal(name, one) == normal(name, other))
    }

    /// Whether every request fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Names and values, for what is written down.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.fields
            .iter()
            .map(|(name, value)| (&**name, value.as_deref()))
    }

    /// Made of what was written down.
    pub fn push(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.fields.push((name.into(), value.map(Into::into)));
    }

    /// Bytes it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let field = |(name, value): (&[u8], Option<&[u8]>)| {
            name.len() + value.map_or(0, <[u8]>::len) + 2 * size_of::<Box<[u8]>>()
        };
        self.fields().map(field).sum()
    }
}

/// A field's value in a form that is the same for requests that mean the same; `None` if there
/// is none.
fn normal(name: &[u8], request: &HeaderList) -> Option<SmallVec<[u8; 64]>> {
    match Known::of(name) {
        Known::AcceptEncoding => Some(SmallVec::from_slice(encodings(request).as_bytes())),
        Known::AcceptLanguage => languages(request),
        _ => joined(name, request),
    }
}

/// All values as one list, without what has no meaning between its elements (RFC 9110 §5.3).
fn joined(name: &[u8], request: &HeaderList) -> Option<SmallVec<[u8; 64]>> {
    let mut joined: Option<SmallVec<[u8; 64]>> = None;
    fields(request, name, |value| {
        let out = match &mut joined {
            Some(out) => {
                out.push(b',');
                out
            }
            None => joined.insert(SmallVec::new()),
        };
        let mut is_quoted = false;
        let mut start = 0;
        for (at, &byte) in value.iter().enumerate() {
            match byte {
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    let element = value.get(start..at).unwrap_or_default();
                    out.extend_from_slice(element.trim_ascii());
                    out.push(b',');
                    start = at + 1;
                }
                _ => {}
            }
        }
        out.extend_from_slice(value.get(start..).unwrap_or_default().trim_ascii());
    });
    joined
}

/// Languages in lower case with their weights; the order has no meaning (RFC 9110 §12.5.4).
fn languages(request: &HeaderList) -> Option<SmallVec<[u8; 64]>> {
    if !request.contains(Known::AcceptLanguage) {
        return None;
    }
    let values = request.all(Known::AcceptLanguage).flat_map(weighted);
    let mut ranges: Vec<(Vec<u8>, u16)> = values
        .map(|(range, quality)| (range.to_ascii_lowercase(), quality))
        .collect();
    ranges.sort();
    let mut out = SmallVec::new();
    for (range, quality) in ranges {
        out.extend_from_slice(&range);
        out.push(b';');
        out.extend_from_slice(itoa::Buffer::new().format(quality).as_bytes());
        out.push(b',');
    }
    Some(out)
}

/// What a request takes of the encodings that are told apart, as an Accept-Encoding field for
/// the server. The order and weights of those it takes do not count: one representation for all
/// who take the same is worth more.
#[must_use]
pub fn encodings(request: &HeaderList) -> &'static str {
    if !request.contains(Known::AcceptEncoding) {
        return "identity";
    }
    let (mut brotli, mut zstd, mut gzip, mut any) = (None, None, None, None);
    for (name, quality) in request.all(Known::AcceptEncoding).flat_map(weighted) {
        let place = match name.to_ascii_lowercase().as_slice() {
            b"br" => &mut brotli,
            b"zstd" => &mut zstd,
            b"gzip" | b"x-gzip" => &mut gzip,
            b"*" => &mut any,
            _ => continue,
        };
        place.get_or_insert(quality > 0);
    }
    let takes = |place: Option<bool>| place.or(any).unwrap_or(false);
    match (takes(brotli), takes(zstd), takes(gzip)) {
        (true, true, true) => "br, zstd, gzip",
        (true, true, false) => "br, zstd",
        (true, false, true) => "br, gzip",
        (true, false, false) => "br",
        (false, true, true) => "zstd, gzip",
        (false, true, false) => "zstd",
        (false, false, true) => "gzip",
        (false, false, false) => "identity",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn fits(vary: &str, stored: &[(&str, &str)], asked: &[(&str, &str)]) -> bool {
        let selecting = Selecting::of(&list(&[("Vary", vary)]), &list(stored)).unwrap();
        selecting.fits(&list(asked))
    }

    #[test]
    fn named_fields_have_to_be_the_same() {
        let en = [("Accept-Language", "en")];
        for (vary, stored, asked, expected) in [
            ("Foo", &[("Foo", "1")][..], &[("foo", "1")][..], true),
            ("foo", &[("Foo", "1")], &[("Foo", "2")], false),
            ("Foo", &[("Foo", "1")], &[], false),
            ("Foo", &[], &[("Foo", "")], false),
            ("Foo", &[("Foo", "1")], &[("Foo", "1"), ("Bar", "2")], true),
            (
                "Foo, Bar",
                &[("Foo", "1")],
                &[("Foo", "1"), ("Bar", "2")],
                false,
            ),
            (
                "Foo",
                &[("Foo", "1, 2")],
                &[("Foo", "1"), ("Foo", "2")],
                true,
            ),
            ("Foo", &[("Foo", "1,2")], &[("Foo", " 1 ,  2")], true),
            ("Foo", &[("Foo", "\"a,b\"")], &[("Foo", "\"a, b\"")], false),
            ("Foo", &[("Foo", "A")], &[("Foo", "a")], false),
            ("Accept-Language", &en, &[("Accept-Language", "EN")], true),
            (
                "Accept-Language",
                &en,
                &[("Accept-Language", "en;q=0.5")],
                false,
            ),
            ("", &en, &[], true),
        ] {
            assert_eq!(
                fits(vary, stored, asked),
                expected,
                "{vary} {stored:?} {asked:?}"
            );
        }
        assert!(fits(
            "Accept-Language",
            &[("Accept-Language", "en, de")],
            &[("Accept-Language", "de,EN")]
        ));
    }

    #[test]
    fn star_selects_nothing() {
        for value in ["*", "*, Foo", "Foo, *", ", *"] {
            let selecting = Selecting::of(&list(&[("Vary", value)]), &list(&[]));
            assert_eq!(selecting, Err(Unselectable), "{value}");
        }
        let many: Vec<String> = (0..=NAMES_MAX).map(|number| format!("x{number}")).collect();
        let vary = list(&[("Vary", &many.join(","))]);
        assert_eq!(Selecting::of(&vary, &list(&[])), Err(Unselectable));
    }

    #[test]
    fn encodings_in_one_form() {
        for (value, expected) in [
            ("gzip, deflate, br", "br, gzip"),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br, zstd, gzip"),
            ("gzip, br;q=0", "gzip"),
            ("*", "br, zstd, gzip"),
            ("*;q=0, x-gzip", "gzip"),
            ("identity", "identity"),
            ("", "identity"),
            ("deflate", "identity"),
            ("ZSTD", "zstd"),
        ] {
            let request = list(&[("Accept-Encoding", value)]);
            assert_eq!(encodings(&request), expected, "{value}");
        }
        assert_eq!(encodings(&list(&[])), "identity");
        assert!(fits(
            "Accept-Encoding",
            &[("Accept-Encoding", "gzip,br")],
            &[("Accept-Encoding", "br, gzip;q=0.9, deflate")]
        ));
    }
}
