//! The id that ties a request's answer, its access log line and its upstream calls together.

use std::time::Duration;

use crate::base::ids::{Ids, UUID_BYTES};
use crate::http::{Known, RequestHead};

/// Longest id taken over from a client; ids are copied into log lines and upstream requests.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// A request's id: the client's `X-Request-Id` where it is well formed, else a new UUID.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    /// In the request's head; kept there to spare a copy.
    Client,
    Generated([u8; UUID_BYTES]),
}

impl RequestId {
    /// Takes the client's id, if it is acceptable from that client at all, or makes one.
    #[must_use]
    pub fn new(head: &RequestHead, accepts: bool, ids: &mut Ids, unix: Duration) -> Self {
        if accepts && client_id(head).is_some() {
            Self(Source::Client)
        } else {
            Self(Source::Generated(ids.uuid(unix)))
        }
    }

    /// The id. `head` is the one it was made from.
    #[must_use]
    pub fn as_bytes<'a>(&'a self, head: &'a RequestHead) -> &'a [u8] {
        match &self.0 {
            Source::Generated(text) => text,
            Source::Client => client_id(head).unwrap_or(b"-"),
        }
    }
}

/// Letters, digits and the punctuation that trace ids use; nothing that needs escaping anywhere.
fn client_id(head: &RequestHead) -> Option<&[u8]> {
    let value = head.header(Known::XRequestId)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    let is_sound = !value.is_empty() && value.len() <= CLIENT_ID_BYTES_MAX;
    (is_sound && value.iter().all(is_plain)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sent: Option<&[u8]>) -> Vec<u8> {
        let mut head = RequestHead::default();
        if let Some(value) = sent {
            head.headers.push(b"X-Request-ID", value);
        }
        let id = RequestId::new(&head, true, &mut Ids::new(3), Duration::from_secs(9));
        id.as_bytes(&head).to_vec()
    }

    #[test]
    fn a_well_formed_id_is_kept() {
        assert_eq!(id(Some(b"abc-1.2:3")), b"abc-1.2:3");
    }

    #[test]
    fn whoever_is_not_believed_gets_a_new_one() {
        let mut head = RequestHead::default();
        head.headers.push(b"X-Request-ID", b"abc");
        let id = RequestId::new(&head, false, &mut Ids::new(3), Duration::from_secs(9));
        assert_eq!(id.as_bytes(&head).len(), UUID_BYTES);
    }

    #[test]
    fn anything_else_is_replaced() {
        for bad in [
            None,
            Some(&b""[..]),
            Some(b"a b"),
            Some(b"a\"b"),
            Some(&[b'x'; 129]),
        ] {
            assert_eq!(id(bad).len(), UUID_BYTES, "{bad:?}");
        }
    }
}
