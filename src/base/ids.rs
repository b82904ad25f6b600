//! Ids that must be unique and need not be secret: request ids. From a seeded generator of one
//! shard, never from the operating system at each request.

use std::time::Duration;

use crate::base::hash;

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

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        hash::next(&mut self.state)
    }

    /// A UUID of version 7 (RFC 9562 §5.7) as text: milliseconds since the epoch, then 74
    /// random bits, so that ids sort by time.
    pub fn uuid(&mut self, unix: Duration) -> [u8; UUID_BYTES] {
        let millis = unix.as_secs() * 1000 + u64::from(unix.subsec_millis());
        let high = (millis << 16) | 0x7000 | (self.next_u64() & 0x0fff);
        let low = (self.next_u64() >> 2) | (1 << 63);
        text(high, low)
    }
}

fn text(high: u64, low: u64) -> [u8; UUID_BYTES] {
    let mut out = [b'-'; UUID_BYTES];
    // Dashes stand at 8, 13, 18 and 23.
    let [a, b, c, d] = [high >> 32, high, low >> 32, low].map(hex_digits);
    put(&mut out, 0, a);
    let ([b1, b2], [c1, c2]) = (halves(b), halves(c));
    put(&mut out, 9, b1);
    put(&mut out, 14, b2);
    put(&mut out, 19, c1);
    put(&mut out, 24, c2);
    put(&mut out, 28, d);
    out
}

#[inline]
fn put<const N: usize>(out: &mut [u8; UUID_BYTES], at: usize, digits: [u8; N]) {
    if let Some(place) = out.get_mut(at..at + N) {
        place.copy_from_slice(&digits);
    }
}

const fn halves([a, b, c, d, e, f, g, h]: [u8; 8]) -> [[u8; 4]; 2] {
    [[a, b, c, d], [e, f, g, h]]
}

/// The eight hex digits of the low half, all at once: an id is made for every request.
const fn hex_digits(value: u64) -> [u8; 8] {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // Spread the eight nibbles over the bytes, the highest into the highest byte.
    let mut nibbles = value & 0xffff_ffff;
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Adding 6 carries into the fifth bit from ten on; `a` stands 39 behind the digit.
    let letters = (nibbles + EACH * 6) >> 4 & EACH;
    (nibbles + EACH * (b'0' as u64) + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
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
