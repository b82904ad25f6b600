//! Parses whole heads into the reusable head types. `httparse` knows the syntax; what it is
//! lenient about (bare LF, line lengths) is checked here, in time that does not depend on how
//! long the lines are.

use core::mem::MaybeUninit;

use httparse::{Header, Status};

use crate::base::limits::HEADER_FIELDS_MAX;
use crate::http::h1::framing::{Framing, imitates_framing};
use crate::http::h1::{Error, Limits};
use crate::http::{HeaderList, Known, RequestHead, ResponseHead, Version};

/// A head that was parsed.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// Where it ends in the input.
    pub(super) end: usize,
    pub(super) framing: Framing<'a>,
}

/// Parses the request head at `start`. `Ok(None)` if it is not whole there.
pub(super) fn parse_request<'a>(
    input: &'a [u8],
    start: usize,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<Parsed<'a>>, Error> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADER_FIELDS_MAX];
    let slots = slots(&mut storage, limits);
    let mut request = httparse::Request::new(&mut []);
    let text = input.get(start..).unwrap_or_default();
    let end = match request.parse_with_uninit_headers(text, slots) {
        Ok(Status::Complete(len)) => start + len,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(syntax(error)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Error::StartLine);
    };
    if !target.is_ascii() {
        return Err(Error::StartLine);
    }
    head.clear();
    head.version = version(minor);
    let authority = head.set_target(method, target).ok_or(Error::Target)?;
    let mut framing = Framing::default();
    let layout = Layout {
        input,
        start,
        end,
        limits: *limits,
    };
    layout.fill(&mut head.headers, request.headers, |known, name, value| {
        if known == Known::Other && imitates_framing(name) {
            return Err(Error::FieldImitation);
        }
        framing.note(known, value)
    })?;
    if !authority.is_empty() {
        // The target's authority outweighs Host, whatever that says (RFC 9112 §3.2.2).
        let authority = target.get(authority).unwrap_or_default();
        head.headers.set(b"Host", authority.as_bytes());
    }
    Ok(Some(Parsed { end, framing }))
}

/// Parses the response head at `start`. `Ok(None)` if it is not whole there.
pub(super) fn parse_response<'a>(
    input: &'a [u8],
    start: usize,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<Parsed<'a>>, Error> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADER_FIELDS_MAX];
    let slots = slots(&mut storage, limits);
    let mut response = httparse::Response::new(&mut []);
    let text = input.get(start..).unwrap_or_default();
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        text,
        slots,
    );
    let end = match parsed {
        Ok(Status::Complete(len)) => start + len,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(syntax(error)),
    };
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err(Error::StartLine);
    };
    if !(100..=599).contains(&status) {
        return Err(Error::Status);
    }
    head.headers.clear();
    head.version = version(minor);
    head.status = status;
    let mut framing = Framing::default();
    let layout = Layout {
        input,
        start,
        end,
        limits: *limits,
    };
    layout.fill(&mut head.headers, response.headers, |known, _, value| {
        framing.note_response(known, value)
    })?;
    Ok(Some(Parsed { end, framing }))
}

fn slots<'s, 'h>(
    storage: &'s mut [MaybeUninit<Header<'h>>],
    limits: &Limits,
) -> &'s mut [MaybeUninit<Header<'h>>] {
    let count = limits.fields_max.min(storage.len());
    storage.get_mut(..count).unwrap_or_default()
}

fn version(minor: u8) -> Version {
    match minor {
        0 => Version::Http10,
        _ => Version::Http11,
    }
}

fn syntax(error: httparse::Error) -> Error {
    match error {
        httparse::Error::TooManyHeaders => Error::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Error::Field
        }
        httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => {
            Error::StartLine
        }
    }
}

/// Where a parsed head lies in the input.
struct Layout<'a> {
    input: &'a [u8],
    start: usize,
    end: usize,
    limits: Limits,
}

impl<'a> Layout<'a> {
    /// Copies the fields into `list` after checking what `httparse` does not: line endings and
    /// lengths. Fields written the usual way (`Name: value`) are copied in one piece.
    fn fill(
        &self,
        list: &mut HeaderList,
        fields: &[Header<'a>],
        mut note: impl FnMut(Known, &[u8], &'a [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let first = fields
            .first()
            .map_or(self.end - 2, |f| self.offset(f.name.as_bytes()));
        self.check_line(
            self.start,
            first,
            self.limits.line_bytes_max,
            Error::LineTooLong,
        )?;
        if self.end > self.limits.head_bytes_max {
            return Err(Error::HeadTooLarge);
        }
        if self.input.get(self.end.saturating_sub(2)..self.end) != Some(b"\r\n") {
            return Err(Error::LineEnding);
        }
        let mut is_canonical = true;
        let (mut rest, mut start) = (fields, first);
        while let [field, later @ ..] = rest {
            let name = field.name.as_bytes();
            let next = later
                .first()
                .map_or(self.end - 2, |f| self.offset(f.name.as_bytes()));
            self.check_line(
                start,
                next,
                self.limits.field_bytes_max,
                Error::FieldTooLong,
            )?;
            if name.len() > usize::from(u16::MAX) {
                return Err(Error::FieldTooLong);
            }
            let known = Known::of(name);
            note(known, name, field.value)?;
            let colon = start + name.len();
            is_canonical &= next - start == name.len() + field.value.len() + 4
                && self.input.get(colon + 1) == Some(&b' ');
            if is_canonical {
                list.add_wire_field(known, start - first, name.len(), field.value.len());
            }
            (rest, start) = (later, next);
        }
        if is_canonical {
            list.add_wire_bytes(self.input.get(first..self.end - 2).unwrap_or_default());
        } else {
            list.clear();
            for field in fields {
                list.push(field.name.as_bytes(), field.value);
            }
        }
        Ok(())
    }

    /// `httparse` takes a bare LF for a line end; nobody else should.
    #[inline]
    fn check_line(&self, start: usize, next: usize, max: usize, long: Error) -> Result<(), Error> {
        if next - start > max {
            return Err(long);
        }
        let line_end = self.input.get(..next).and_then(|lines| lines.last_chunk());
        if line_end != Some(b"\r\n") {
            return Err(Error::LineEnding);
        }
        Ok(())
    }

    /// Where a part that `httparse` found lies in the input.
    fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.input.as_ptr().addr()
    }
}
