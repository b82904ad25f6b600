//! The response that a found file makes: conditions, ranges, whole.

use core::ops::Range;

use bytes::Bytes;

use super::entry::{Content, Entry, Form};
use super::expiry::Expiry;
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::conditional::{Validators, Verdict, evaluate, range_of};
use crate::http::range::{Selection, select, write_content_range, write_unsatisfied};
use crate::http::{Body, FileSpan, Known, Piece, Response};

/// Answers with a file.
pub(super) fn respond(
    (entry, expiry): (&Entry, &Expiry),
    request: &Incoming<'_>,
    response: &mut Response,
) {
    let head = request.head;
    let Some(form) = entry.choose(&head.headers) else {
        *response = Problem::Internal.response();
        return;
    };
    let now = request.now.unix.as_secs();
    let known = Validators {
        etag: Some(&form.etag),
        last_modified: Some(form.facts.modified),
    };
    match evaluate(head.method, &head.headers, &known) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            response.status = 304;
            response.headers.append(&form.unchanged);
            return expiry.date(&mut response.headers, now);
        }
        Verdict::Failed => {
            *response = Problem::PreconditionFailed.response();
            return;
        }
    }
    let len = form.facts.len;
    let range = range_of(head.method, &head.headers, &known, now);
    match range.map_or(Selection::Whole, |range| select(range, len)) {
        Selection::Whole => {
            begin(form, expiry, (200, now), response);
            response.body = whole(form);
            if len == 0 {
                // Also told to HEAD, where no content tells of it.
                response.headers.push_known(Known::ContentLength, b"0");
            }
        }
        Selection::One(range) => {
            begin(form, expiry, (206, now), response);
            let mut field = Vec::with_capacity(64);
            write_content_range(&range, len, &mut field);
            response.headers.push_known(Known::ContentRange, &field);
            response.body = match part(form, &range) {
                Piece::Bytes(bytes) => Body::Full(bytes),
                span @ Piece::File(_) => Body::Pieces(vec![span]),
            };
        }
        Selection::Many(ranges) => {
            let mut random = [0; 16];
            if aws_lc_rs::rand::fill(&mut random).is_err() {
                *response = Problem::Internal.response();
                return;
            }
            begin(form, expiry, (206, now), response);
            several(form, &ranges, u128::from_ne_bytes(random), response);
        }
        Selection::Unsatisfiable => {
            *response = Problem::RangeNotSatisfiable.response();
            let mut field = Vec::with_capacity(32);
            write_unsatisfied(len, &mut field);
            response.headers.push_known(Known::ContentRange, &field);
        }
    }
}

fn begin(form: &Form, expiry: &Expiry, (status, now): (u16, u64), response: &mut Response) {
    response.status = status;
    response.headers.append(&form.fields);
    expiry.date(&mut response.headers, now);
}

fn whole(form: &Form) -> Body {
    match &form.content {
        Content::Stored(stored) => Body::Stored(stored.clone()),
        Content::File(_) if form.facts.len == 0 => Body::Empty,
        Content::File(_) => Body::Pieces(vec![part(form, &(0..form.facts.len))]),
    }
}

fn part(form: &Form, range: &Range<u64>) -> Piece {
    let slice = |bytes: &Bytes| {
        let at = |place: u64| {
            usize::try_from(place)
                .unwrap_or(usize::MAX)
                .min(bytes.len())
        };
        Piece::Bytes(bytes.slice(at(range.start)..at(range.end)))
    };
    match &form.content {
        Content::Stored(stored) => slice(stored.identity()),
        Content::File(file) => Piece::File(FileSpan {
            file: file.clone(),
            offset: range.start,
            len: range.end - range.start,
        }),
    }
}

/// multipart/byteranges (RFC 9110 §14.6), laid out as nginx does.
fn several(form: &Form, ranges: &[Range<u64>], random: u128, response: &mut Response) {
    // Whoever wrote the file must not have known it, or a part could pretend to be two.
    let boundary = format!("{random:032x}");
    let kind = form.fields.get(Known::ContentType).unwrap_or_default();
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let mut lines = format!("\r\n--{boundary}\r\nContent-Type: ").into_bytes();
        lines.extend_from_slice(kind);
        lines.extend_from_slice(b"\r\nContent-Range: ");
        write_content_range(range, form.facts.len, &mut lines);
        lines.extend_from_slice(b"\r\n\r\n");
        pieces.push(Piece::Bytes(lines.into()));
        pieces.push(part(form, range));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    pieces.push(Piece::Bytes(end.into_bytes().into()));
    let kind = format!("multipart/byteranges; boundary={boundary}");
    response.set(Known::ContentType.name(), &kind);
    response.body = Body::Pieces(pieces);
}
