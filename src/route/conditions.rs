//! What a request has to be, besides its path, for a route to take it.

use crate::config::{HeaderCondition, HeaderTest, RouteConditions};
use crate::http::RequestHead;

/// Whether a request meets a route's conditions.
pub(super) fn meets(conditions: &RouteConditions, head: &RequestHead) -> bool {
    let methods = &conditions.methods;
    let is_method = methods.is_empty() || methods.iter().any(|one| **one == *head.method_token());
    is_method && conditions.headers.iter().all(|one| has(one, head))
}

fn has(condition: &HeaderCondition, head: &RequestHead) -> bool {
    let value = head.headers.get_by_name(condition.name.as_bytes());
    match (&condition.test, value) {
        (HeaderTest::Absent, value) => value.is_none(),
        (_, None) => false,
        (HeaderTest::Present, Some(_)) => true,
        (HeaderTest::Equals(wanted), Some(value)) => wanted.as_bytes() == value,
        (HeaderTest::Matches(pattern), Some(value)) => {
            core::str::from_utf8(value).is_ok_and(|value| pattern.0.is_match(value))
        }
    }
}
