//! Calendar dates in UTC from seconds since the Unix epoch, without leap seconds. For log lines
//! and date fields; the program never asks for the machine's time zone.

use core::fmt;

/// A moment as a calendar shows it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year of the Gregorian calendar.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 is Sunday.
    pub weekday: u8,
}

impl Civil {
    /// The date of that many seconds since the epoch.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let of_day = seconds % 86_400;
        // Years are counted from 1 March 0000, so that the leap day is the last of its year
        // and month lengths follow one formula; 719468 days lie between then and 1970.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u8,
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            weekday: ((days + 4) % 7) as u8,
        }
    }

    /// English abbreviation of the month (`Jan` … `Dec`).
    #[must_use]
    pub fn month_name(&self) -> &'static str {
        const NAMES: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        NAMES
            .get(usize::from(self.month).wrapping_sub(1))
            .copied()
            .unwrap_or("Jan")
    }
}

/// RFC 3339 without fractions: `2026-11-24T08:00:00Z`.
impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text, weekday) in [
            (0, "1970-01-01T00:00:00Z", 4),
            (951_782_399, "2000-02-28T23:59:59Z", 1),
            (951_782_400, "2000-02-29T00:00:00Z", 2),
            (951_868_800, "2000-03-01T00:00:00Z", 3),
            (1_795_507_200, "2026-11-24T08:00:00Z", 2),
            (4_107_542_400, "2100-03-01T00:00:00Z", 1),
        ] {
            let civil = Civil::from_unix(seconds);
            assert_eq!(civil.to_string(), text);
            assert_eq!(civil.weekday, weekday, "{text}");
        }
    }

    #[test]
    fn days_follow_one_another_for_a_whole_cycle() {
        let mut last = Civil::from_unix(0);
        for day in 1..146_097 {
            let next = Civil::from_unix(day * 86_400);
            let next_day = next.month == last.month && next.day == last.day + 1;
            let next_month = next.day == 1 && next.month == last.month % 12 + 1 && last.day >= 28;
            assert!(next_day || next_month, "{last:?} then {next:?}");
            assert_eq!(next.weekday, (last.weekday + 1) % 7);
            last = next;
        }
    }
}
