//! From what is kept to a response: conditions, ranges, HEAD, Age, and what the cache did.

use std::rc::Rc;

use crate::cache::entry::{Draft, Entry};
use crate::cache::status::{Account, Outcome};
use crate::config::RouteCache;
use crate::handler::problem::Problem;
use crate::http::conditional::{self, Verdict};
use crate::http::range::{self, Selection};
use crate::http::{Body, HeaderList, Known, Method, RequestHead, Response};

/// Fields that a request with a condition or a range may have.
const CONDITIONS: u128 = Known::IfNoneMatch.bit() | Known::IfModifiedSince.bit();

/// Answers from a whole response.
pub(super) fn entry(
    (rules, head): (&RouteCache, &RequestHead),
    entry: &Rc<Entry>,
    account: &Account,
    now: u64,
    response: &mut Response,
) {
    entry.touch(now);
    let draft = entry.draft();
    fields(rules, draft, account, now, response);
    let asked = &head.headers;
    if draft.status != 200 {
        response.body = Body::Stored(Rc::clone(&entry.stored));
        return;
    }
    let validators = draft.validators();
    if asked.contains_any(CONDITIONS)
        && conditional::evaluate(head.method, asked, &validators) == Verdict::NotModified
    {
        not_modified(response);
        return;
    }
    let selection = conditional::range_of(head.method, asked, &validators, now)
        .map_or(Selection::Whole, |field| {
            range::select(field, entry.stored.identity().len() as u64)
        });
    match selection {
        // Several ranges are answered with all (RFC 9110 §15.3.7.2).
        Selection::Whole | Selection::Many(_) => {
            response.body = Body::Stored(Rc::clone(&entry.stored));
        }
        Selection::One(range) => part(entry, &range, response),
        Selection::Unsatisfiable => {
            let length = entry.stored.identity().len() as u64;
            *response = Problem::RangeNotSatisfiable.response();
            let mut text = Vec::new();
            range::write_unsatisfied(length, &mut text);
            response.headers.push_known(Known::ContentRange, &text);
        }
    }
}

fn part(entry: &Entry, range: &core::ops::Range<u64>, response: &mut Response) {
    let whole = entry.stored.identity();
    let within = |place: u64| {
        usize::try_from(place)
            .unwrap_or(usize::MAX)
            .min(whole.len())
    };
    let mut text = Vec::new();
    range::write_content_range(range, whole.len() as u64, &mut text);
    response.headers.remove(Known::ContentRange);
    response.headers.push_known(Known::ContentRange, &text);
    response.status = 206;
    response.body = Body::Full(whole.slice(within(range.start)..within(range.end)));
}

/// Status and fields of a kept response.
pub(super) fn fields(
    rules: &RouteCache,
    draft: &Draft,
    account: &Account,
    now: u64,
    response: &mut Response,
) {
    response.status = draft.status;
    response.headers.append(&draft.headers);
    let age = draft.freshness.age(now);
    let is_from_server = matches!(account.outcome, Outcome::Miss | Outcome::Expired);
    if age > 0 || !is_from_server {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(age);
        response.headers.push_known(Known::Age, digits.as_bytes());
    }
    if rules.status_headers {
        account.add_to(&mut response.headers);
    }
    response.cache = Some(account.outcome.name());
}

/// Makes a 304 of a response: the fields that a client may renew its copy with stay
/// (RFC 9110 §15.4.5).
pub(super) fn not_modified(response: &mut Response) {
    response.status = 304;
    response.body = Body::Empty;
    response.headers.retain(|known, _, _| {
        !matches!(
            known,
            Known::ContentType
                | Known::ContentEncoding
                | Known::ContentLanguage
                | Known::ContentLength
                | Known::ContentRange
        )
    });
}

/// Whether a response that streams would be a 304 or a part for this request; it is then waited
/// for as a whole, or answered without content.
pub(super) fn wants_whole(head: &RequestHead) -> bool {
    head.method == Method::Get && head.headers.contains(Known::Range)
}

/// Whether a client's copy will do.
pub(super) fn is_not_modified(head: &RequestHead, draft: &Draft) -> bool {
    draft.status == 200
        && head.headers.contains_any(CONDITIONS)
        && conditional::evaluate(head.method, &head.headers, &draft.validators())
            == Verdict::NotModified
}

/// What the cache did with a request that it had nothing to do with.
pub(super) fn tell(rules: &RouteCache, outcome: Outcome, headers: &mut HeaderList) -> &'static str {
    if rules.status_headers {
        Account::of(outcome).add_to(headers);
    }
    outcome.name()
}

/// What a kept response tells about itself.
pub(super) fn account(entry: &Entry, outcome: Outcome, now: u64) -> Account {
    let left = entry.draft().freshness.remaining(now);
    Account {
        ttl: Some(i64::try_from(left).unwrap_or(i64::MAX)),
        ..Account::of(outcome)
    }
}
