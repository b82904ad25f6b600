//! Ids that must be unique and need not be secret: request ids. From a seeded generator of one
//! shard, never from the operating system at each request.

use std::time::Duration;

/// Length of a UUID in text.
pub const UUID_BYTES: usize = 36;

/// A shard's generator.
#[derive(Clone, Debug)]
pub struct Ids {
    state: u64,
}

impl Ids {
    /// A generator for one shard. Seeds of different shards and processes must differ; take
    /// them from the operating system's random source once at start.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits (splitmix64: an equidistributed walk through all of them).
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A UUID of version 7 (RFC 9562 §5.7) as text: milliseconds since the epoch, then 74
    /// random bits, so that ids sort by time.
    pub fn uuid(&mut self, unix: Duration) -> [u8; UUID_BYTES] {
        let millis = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let high = (millis << 16) | 0x7000 | (self.next_u64() & 0x0fff);
        let low = (self.next_u64() >> 2) | (1 << 63);
        text(high, low)
    }
}

/// Two hex digits of each byte. One look-up a byte: an id is made for every request.
const HEX: [[u8; 2]; 256] = hex_pairs();

fn text(high: u64, low: u64) -> [u8; UUID_BYTES] {
    // Where the digits of each byte begin: dashes stand at 8, 13, 18 and 23.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut out = [b'-'; UUID_BYTES];
    let bits = (u128::from(high) << 64) | u128::from(low);
    for (place, byte) in PLACES.into_iter().zip(bits.to_be_bytes()) {
        if let (Some(digits), Some(pair)) =
            (out.get_mut(place..place + 2), HEX.get(usize::from(byte)))
        {
            digits.copy_from_slice(pair);
        }
    }
    out
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which checks it"
)]
const fn hex_pairs() -> [[u8; 2]; 256] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn text_has_version_and_variant_and_sorts_by_time() {
        let mut ids = Ids::new(7);
        let mut seen = HashSet::new();
        let mut last = String::new();
        for millis in 0..1000 {
            let unix = Duration::from_millis(1_795_507_200_000 + millis);
            let id = String::from_utf8(ids.uuid(unix).to_vec()).unwrap();
            assert_eq!(&id[14..15], "7", "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
            assert!(id[..13] > *last, "{last} then {id}");
            last = id[..13].to_owned();
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn places_follow_rfc_9562() {
        let id = text(0x0123_4567_89ab_7cde, 0x8f01_2345_6789_abcd);
        assert_eq!(&id, b"01234567-89ab-7cde-8f01-23456789abcd");
    }

    #[test]
    fn ids_of_one_millisecond_differ() {
        let mut ids = Ids::new(1);
        let unix = Duration::from_secs(1);
        let ids: HashSet<_> = (0..100_000).map(|_| ids.uuid(unix)).collect();
        assert_eq!(ids.len(), 100_000);
    }
}
