//! `[headers]`: fields of every response.

use crate::config::node::join;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Hidden, Map};
use crate::config::server_entry::check_header;

pub(super) fn resolve(raw: Map<Hidden>, found: &mut Findings) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in raw.0 {
        match check_header(&name.value, &value.0) {
            Ok(()) => headers.push((name.value, value.0)),
            Err(why) => {
                let key = join("headers", &name.value);
                found.errors.push(Problem::new(&name.at, &key, why));
            }
        }
    }
    headers
}
