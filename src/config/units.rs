//! Sizes and durations as nginx writes them.

use std::fmt::Write as _;
use std::time::Duration;

/// A gibibyte, in bytes.
pub(super) const GIB: u64 = 1 << 30;
/// An hour in milliseconds.
pub(super) const HOUR_MS: u64 = 3_600_000;
/// A day in milliseconds.
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;

/// A number that a `Count` or `Size` has bounded, as a `usize`.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a size looks like.
pub const SIZE_HINT: &str = "write bytes, or a number with k, m or g: 4096, \"16k\", \"10m\"";
/// What a duration looks like.
pub const DURATION_HINT: &str = "write a number with a unit: \"500ms\", \"10s\", \"5m\", \"1h30m\"";

/// Reads a size in bytes: `1024`, `16k`, `10m`, `1g`; also `16kb`, `16KiB`. All are powers
/// of 1024, as in nginx.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Writes a size the shortest way that [`parse_size`] reads back.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("g", 30), ("m", 20), ("k", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Reads a duration: numbers with units, largest first: `500ms`, `10s`, `1.5s`, `1h30m`, `7d`.
/// A number without a unit is refused (`0` is fine), because programs disagree about its unit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut last_rank = usize::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == ' ')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let (rank, nanos) = unit_nanos(unit)?;
        if rank >= last_rank {
            return None;
        }
        last_rank = rank;
        total = total.checked_add(scale(number, nanos)?)?;
        rest = tail.trim_start();
    }
    (last_rank != usize::MAX).then_some(total)
}

/// Writes a duration the shortest way that [`parse_duration`] reads back.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut text = String::new();
    let mut left = duration.as_nanos();
    for unit in ["d", "h", "m", "s", "ms", "us", "ns"] {
        let nanos = unit_nanos(unit).map_or(1, |(_, nanos)| nanos);
        if left >= nanos {
            let _ = write!(text, "{}{unit}", left / nanos);
            left %= nanos;
        }
    }
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
}

/// Order of a unit and its length in nanoseconds.
fn unit_nanos(unit: &str) -> Option<(usize, u128)> {
    Some(match unit {
        "ns" => (0, 1),
        "us" | "µs" => (1, 1_000),
        "ms" => (2, 1_000_000),
        "s" | "sec" => (3, 1_000_000_000),
        "m" | "min" => (4, 60_000_000_000),
        "h" => (5, 3_600_000_000_000),
        "d" => (6, 86_400_000_000_000),
        _ => return None,
    })
}

/// Decimal digits times a unit, exactly.
fn scale(number: &str, unit_nanos: u128) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return None;
    }
    let mut nanos = whole.parse::<u128>().ok()?.checked_mul(unit_nanos)?;
    let mut digit_nanos = unit_nanos;
    for digit in fraction.bytes() {
        digit_nanos /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * digit_nanos)?;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("16k", Some(16 << 10)),
            ("10m", Some(10 << 20)),
            ("1G", Some(1 << 30)),
            ("16 KiB", Some(16 << 10)),
            ("64mb", Some(64 << 20)),
            ("", None),
            ("k", None),
            ("-1", None),
            ("1.5m", None),
            ("10x", None),
            ("99999999999999999999", None),
            ("18446744073709551615k", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        for (text, duration) in [
            ("0", Some(ms(0))),
            ("0s", Some(ms(0))),
            ("500ms", Some(ms(500))),
            ("10s", Some(ms(10_000))),
            ("1.5s", Some(ms(1_500))),
            ("1h30m", Some(ms(5_400_000))),
            ("1h 30m", Some(ms(5_400_000))),
            ("7d", Some(ms(604_800_000))),
            ("5min", Some(ms(300_000))),
            ("10", None),
            ("", None),
            ("s", None),
            ("10 s", None),
            ("1m1h", None),
            ("1s1s", None),
            ("1..5s", None),
            ("1.s", None),
            (".5s", None),
            ("10y", None),
            ("99999999999999999999999999d", None),
            ("1s ü", None),
        ] {
            assert_eq!(parse_duration(text), duration, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sizes_read_back(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }

        #[test]
        fn durations_read_back(seconds in 0..u64::MAX / 4, nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }

        #[test]
        fn near_durations_do_not_panic(text in "[0-9.]{0,30}(ms|s|h|d|m|µs)?[0-9 ]{0,5}(s)?") {
            let _ = parse_duration(&text);
        }
    }
}
