//! Expires and Cache-Control of a route's files, as nginx's `expires` makes them.

use std::cell::RefCell;

use crate::config::{self, Expires};
use crate::http::date::write_date;
use crate::http::{HeaderList, Known};

/// nginx's end of time for `max`, and its ten years.
const MAX_EXPIRES: &[u8] = b"Thu, 31 Dec 2037 23:55:55 GMT";
const MAX_AGE: u64 = 315_360_000;
const EPOCH: &[u8] = b"Thu, 01 Jan 1970 00:00:01 GMT";

/// What a route says of how long its files are good.
#[derive(Debug)]
pub(super) struct Expiry {
    cache_control: String,
    expires: Expires,
    /// The date of the second it was last written for: many responses fall into one.
    written: RefCell<(u64, Vec<u8>)>,
}

impl Expiry {
    pub(super) fn new(files: &config::Files) -> Self {
        let own = files.cache_control.as_deref().unwrap_or("");
        let says_age = own.to_ascii_lowercase().contains("max-age=");
        let age = match files.expires {
            Expires::Max if !says_age => format!("max-age={MAX_AGE}"),
            Expires::After(time) if !says_age => format!("max-age={}", time.as_secs()),
            Expires::Off | Expires::Max | Expires::After(_) => String::new(),
            Expires::Epoch | Expires::Before(_) => "no-cache".to_owned(),
        };
        let comma = if age.is_empty() || own.is_empty() {
            ""
        } else {
            ", "
        };
        Self {
            cache_control: format!("{age}{comma}{own}"),
            expires: files.expires,
            written: RefCell::default(),
        }
    }

    /// Adds what is the same in every response.
    pub(super) fn announce(&self, fields: &mut HeaderList) {
        if !self.cache_control.is_empty() {
            fields.push_known(Known::CacheControl, self.cache_control.as_bytes());
        }
        match self.expires {
            Expires::Epoch => fields.push_known(Known::Expires, EPOCH),
            Expires::Max => fields.push_known(Known::Expires, MAX_EXPIRES),
            Expires::Off | Expires::After(_) | Expires::Before(_) => {}
        }
    }

    /// Adds what depends on the time, in seconds since the Unix epoch.
    pub(super) fn date(&self, fields: &mut HeaderList, now: u64) {
        let at = match self.expires {
            Expires::After(time) => now.saturating_add(time.as_secs()),
            Expires::Before(time) => now.saturating_sub(time.as_secs()),
            Expires::Off | Expires::Epoch | Expires::Max => return,
        };
        let mut written = self.written.borrow_mut();
        if written.0 != at || written.1.is_empty() {
            written.0 = at;
            written.1.clear();
            write_date(at, &mut written.1);
        }
        fields.push_known(Known::Expires, &written.1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::handler::files::tests::settings;

    fn fields(expires: Expires, own: &str) -> String {
        let mut files = settings();
        files.expires = expires;
        files.cache_control = Some(own.to_owned()).filter(|own| !own.is_empty());
        let expiry = Expiry::new(&files);
        let mut list = HeaderList::new();
        expiry.announce(&mut list);
        expiry.date(&mut list, 784_111_777);
        String::from_utf8(list.wire().to_vec()).unwrap()
    }

    #[test]
    fn fields_are_those_of_nginx() {
        let hour = Duration::from_secs(3_600);
        for (expires, own, expected) in [
            (Expires::Off, "", ""),
            (Expires::Off, "no-store", "Cache-Control: no-store\r\n"),
            (
                Expires::Epoch,
                "",
                "Cache-Control: no-cache\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\n",
            ),
            (
                Expires::Max,
                "",
                "Cache-Control: max-age=315360000\r\nExpires: Thu, 31 Dec 2037 23:55:55 GMT\r\n",
            ),
            (
                Expires::After(hour),
                "public, immutable",
                "Cache-Control: max-age=3600, public, immutable\r\n\
                 Expires: Sun, 06 Nov 1994 09:49:37 GMT\r\n",
            ),
            (
                Expires::After(hour),
                "max-age=60",
                "Cache-Control: max-age=60\r\nExpires: Sun, 06 Nov 1994 09:49:37 GMT\r\n",
            ),
            (
                Expires::Before(hour),
                "",
                "Cache-Control: no-cache\r\nExpires: Sun, 06 Nov 1994 07:49:37 GMT\r\n",
            ),
        ] {
            assert_eq!(fields(expires, own), expected);
        }
    }
}
