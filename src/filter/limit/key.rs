//! What requests are counted by.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use smallvec::SmallVec;

use crate::config::LimitKey;
use crate::filter::Client;
use crate::http::{Known, RequestHead};

/// Longer keys are counted by their digest, so that no client makes the table's entries large.
const KEY_BYTES_MAX: usize = 64;

/// A key. Short ones take no heap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(SmallVec<[u8; 16]>);

impl Key {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() > KEY_BYTES_MAX {
            return Self(SmallVec::from_slice(digest(&SHA256, bytes).as_ref()));
        }
        Self(SmallVec::from_slice(bytes))
    }

    /// The key of a request; `None` if it is not limited.
    #[must_use]
    pub fn of(source: &LimitKey, client: &Client, head: &RequestHead) -> Option<Self> {
        match source {
            LimitKey::ClientIp { v6_prefix } => Some(Self::of_address(client.address, *v6_prefix)),
            LimitKey::Header(name) => {
                let value = head.headers.get_by_name(name.as_bytes())?;
                (!value.is_empty()).then(|| Self::new(value))
            }
            LimitKey::Principal { v6_prefix } => Some(credentials(head).map_or_else(
                || Self::of_address(client.address, *v6_prefix),
                Self::of_secret,
            )),
        }
    }

    /// The key of credentials: their digest, since nothing that a client is known by belongs
    /// into a table. Half of it is enough to tell them apart, and takes no heap.
    #[must_use]
    pub fn of_secret(bytes: &[u8]) -> Self {
        let digest = digest(&SHA256, bytes);
        let half = digest.as_ref().get(..16).unwrap_or_default();
        Self(SmallVec::from_slice(half))
    }

    /// The key of an address; of an IPv6 address its first bits.
    #[must_use]
    pub fn of_address(address: IpAddr, v6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::new(&address.octets()),
            IpAddr::V6(address) => {
                let kept = match v6_prefix {
                    0 => 0,
                    bits => u128::MAX << (128 - u32::from(bits.min(128))),
                };
                Self::new(&(address.to_bits() & kept).to_be_bytes())
            }
        }
    }

    /// Heap bytes it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity()
        } else {
            0
        }
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What a request says who it is for. Ringway checks none of it: what stands behind does.
fn credentials(head: &RequestHead) -> Option<&[u8]> {
    let authorization = head.header(Known::Authorization);
    let given = authorization.or_else(|| head.headers.get_by_name(b"x-api-key"));
    given.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str, prefix: u8) -> Key {
        Key::of_address(address.parse().unwrap(), prefix)
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        assert_eq!(key("2001:db8:1:2::1", 64), key("2001:db8:1:2:ffff::9", 64));
        assert_ne!(key("2001:db8:1:2::1", 64), key("2001:db8:1:3::1", 64));
        assert_ne!(key("2001:db8:1:2::1", 128), key("2001:db8:1:2::2", 128));
        assert_eq!(key("2001:db8::", 0), key("::1", 0));
        assert_eq!(key("::ffff:192.0.2.1", 64), key("192.0.2.1", 64));
        assert_ne!(key("192.0.2.1", 64), key("192.0.2.2", 64));
    }

    #[test]
    fn long_keys_stay_small_and_differ() {
        let (a, b) = (Key::new(&[b'a'; 5000]), Key::new(&[b'a'; 5001]));
        assert_ne!(a, b);
        assert!(a.heap_bytes() <= KEY_BYTES_MAX);
        assert_eq!(Key::new(b"short").heap_bytes(), 0);
    }

    #[test]
    fn a_field_is_a_key_only_if_it_is_there() {
        let client = Client::direct(([127, 0, 0, 1], 1).into());
        let source = LimitKey::Header("X-Api-Key".to_owned());
        let mut head = RequestHead::default();
        assert_eq!(Key::of(&source, &client, &head), None);
        head.headers.push(b"x-api-key", b"abc");
        assert_eq!(Key::of(&source, &client, &head), Some(Key::new(b"abc")));
    }

    #[test]
    fn a_principal_is_its_credentials_or_its_address() {
        let client = Client::direct(([127, 0, 0, 1], 1).into());
        let source = LimitKey::Principal { v6_prefix: 64 };
        let mut head = RequestHead::default();
        let of = |head: &RequestHead| Key::of(&source, &client, head).unwrap();
        assert_eq!(of(&head), Key::of_address(client.address, 64));
        head.headers.push(b"x-api-key", b"abc");
        assert_eq!(of(&head), Key::of_secret(b"abc"));
        head.headers.push(b"Authorization", b"Bearer t");
        assert_eq!(of(&head), Key::of_secret(b"Bearer t"));
        assert_eq!(of(&head).heap_bytes(), 0);
        assert_ne!(
            of(&head),
            Key::new(b"Bearer t"),
            "no secret stands in a table"
        );
    }
}
