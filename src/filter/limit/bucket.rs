//! The leaky bucket of nginx (ngx_http_limit_req_module.c, `ngx_http_limit_req_lookup`), unit for
//! unit: excess in thousandths of a request, time in milliseconds, the same roundings.

/// One request.
const REQUEST: u64 = 1000;

/// How fast requests may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a request that leak out in a second.
    pub per_second: u64,
    /// Excess up to which requests are admitted, in thousandths.
    pub burst: u64,
    /// Excess up to which they are not delayed, in thousandths.
    pub undelayed: u64,
}

/// The requests of one key. A new one is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// What has not leaked out yet, in thousandths.
    excess: u64,
    /// When that was, in milliseconds.
    at_ms: u64,
    /// Whether there was a request at all; the first one costs nothing.
    is_used: bool,
}

/// A request too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The first millisecond at which one would be admitted, if nothing else comes.
    pub until_ms: u64,
}

/// What a client may know about its bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Requests more that would be admitted now.
    pub requests: u32,
    /// Milliseconds until the whole burst is there again, if nothing else comes.
    pub whole_ms: u32,
}

impl Bucket {
    /// The excess with one request more.
    fn with_one(&self, rate: &Rate, now_ms: u64) -> u64 {
        if !self.is_used {
            return 0;
        }
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let leaked = rate.per_second.saturating_mul(elapsed) / 1000;
        (self.excess + REQUEST).saturating_sub(leaked)
    }

    /// Whether a request would be admitted.
    ///
    /// # Errors
    /// When it would not.
    pub fn look(&self, rate: &Rate, now_ms: u64) -> Result<(), Over> {
        if self.with_one(rate, now_ms) <= rate.burst {
            return Ok(());
        }
        let too_much = (self.excess + REQUEST).saturating_sub(rate.burst);
        // The leak is rounded down, so this many milliseconds are needed and enough.
        let needed = (too_much * 1000).div_ceil(rate.per_second.max(1));
        Err(Over {
            until_ms: self.at_ms.saturating_add(needed).max(now_ms + 1),
        })
    }

    /// Admits a request. Gives the milliseconds it has to wait.
    ///
    /// # Errors
    /// When it is one too many; the bucket stays as it is.
    pub fn take(&mut self, rate: &Rate, now_ms: u64) -> Result<u64, Over> {
        self.look(rate, now_ms)?;
        Ok(self.take_anyway(rate, now_ms))
    }

    /// Counts a request that was admitted by a look before (nginx's `account`: between the two
    /// another one may have come).
    pub fn take_anyway(&mut self, rate: &Rate, now_ms: u64) -> u64 {
        let excess = self.with_one(rate, now_ms);
        self.excess = excess;
        self.at_ms = self.at_ms.max(now_ms);
        self.is_used = true;
        excess.saturating_sub(rate.undelayed).saturating_mul(1000) / rate.per_second.max(1)
    }

    /// Admits up to `wanted` requests more at once, none of which has to wait.
    pub fn take_more(&mut self, rate: &Rate, now_ms: u64, wanted: u64) -> u64 {
        let room = rate.burst.min(rate.undelayed).saturating_sub(self.excess) / REQUEST;
        let taken = wanted.min(room);
        self.excess += taken * REQUEST;
        self.at_ms = self.at_ms.max(now_ms);
        taken
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, requests: u64) {
        self.excess = self.excess.saturating_sub(requests * REQUEST);
    }

    /// How many requests more would be admitted at once.
    #[must_use]
    pub fn room(&self, rate: &Rate) -> u64 {
        rate.burst.saturating_sub(self.excess) / REQUEST
    }

    /// What is left for the key: requests, and the time until it has all of its burst again.
    #[must_use]
    pub fn left(&self, rate: &Rate) -> Left {
        let empty_ms = self.excess.saturating_mul(1000) / rate.per_second.max(1);
        Left {
            requests: u32::try_from(self.room(rate)).unwrap_or(u32::MAX),
            whole_ms: u32::try_from(empty_ms).unwrap_or(u32::MAX),
        }
    }

    /// Whether its last request came before that.
    #[must_use]
    pub const fn was_before(&self, ms: u64) -> bool {
        self.at_ms < ms
    }

    /// Whether nothing is left in it, so that forgetting it loses nothing.
    #[must_use]
    pub fn is_empty_at(&self, rate: &Rate, now_ms: u64) -> bool {
        // One request more than nothing: only what leaks in time counts.
        self.with_one(rate, now_ms) == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// nginx's arithmetic, line by line, with its signed numbers.
    struct Nginx {
        node: Option<(i64, i64)>,
        rate: i64,
        burst: i64,
        delay: i64,
    }

    impl Nginx {
        /// `Some(delay)`, or `None` for NGX_BUSY.
        fn request(&mut self, now: i64) -> Option<i64> {
            let excess = match &mut self.node {
                None => {
                    self.node = Some((0, now));
                    0
                }
                Some((known, last)) => {
                    let ms = now - *last;
                    let mut excess = *known - self.rate * ms / 1000 + 1000;
                    if excess < 0 {
                        excess = 0;
                    }
                    if excess > self.burst {
                        return None;
                    }
                    *known = excess;
                    if ms != 0 {
                        *last = now;
                    }
                    excess
                }
            };
            Some(if excess <= self.delay {
                0
            } else {
                (excess - self.delay) * 1000 / self.rate
            })
        }
    }

    fn rate(per_second: u64, burst: u64, undelayed: u64) -> Rate {
        Rate {
            per_second,
            burst: burst * REQUEST,
            undelayed: undelayed * REQUEST,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_nginx(
            per_second in 16_u64..3_000_000,
            burst in 0_u64..40,
            undelayed in 0_u64..60,
            waits in prop::collection::vec(prop_oneof![3 => 0_u64..3, 1 => 0_u64..2000], 1..200),
        ) {
            let rate = rate(per_second, burst, undelayed);
            let mut nginx = Nginx {
                node: None,
                rate: per_second as i64,
                burst: rate.burst as i64,
                delay: rate.undelayed as i64,
            };
            let mut bucket = Bucket::default();
            let mut now = 5;
            for wait in waits {
                now += wait;
                let ours = bucket.take(&rate, now).ok().map(|delay| delay as i64);
                prop_assert_eq!(ours, nginx.request(now as i64), "at {}", now);
            }
        }

        #[test]
        fn who_is_refused_is_admitted_at_the_promised_time_and_not_before(
            per_second in 16_u64..3_000_000,
            burst in 0_u64..40,
            before in 1_u64..100,
            step in 0_u64..5,
        ) {
            let rate = rate(per_second, burst, 1_000);
            let mut bucket = Bucket::default();
            let mut now = 0;
            for _ in 0..before {
                now += step;
                let _ = bucket.take(&rate, now);
            }
            if let Err(over) = bucket.look(&rate, now) {
                prop_assert!(over.until_ms > now);
                prop_assert!(bucket.look(&rate, over.until_ms - 1).is_err());
                prop_assert!(bucket.look(&rate, over.until_ms).is_ok());
            }
        }

        #[test]
        fn many_at_once_are_one_by_one_in_the_same_millisecond(
            per_second in 16_u64..1_000_000,
            burst in 0_u64..40,
            wanted in 0_u64..60,
            before in prop::collection::vec(0_u64..50, 1..20),
        ) {
            let rate = rate(per_second, burst, 1_000);
            let mut bucket = Bucket::default();
            let mut now = 0;
            for wait in before {
                now += wait;
                let _ = bucket.take(&rate, now);
            }
            prop_assume!(bucket.take(&rate, now).is_ok());
            let mut single = bucket;
            let taken = bucket.take_more(&rate, now, wanted);
            let mut one_by_one = 0;
            while one_by_one < wanted && single.take(&rate, now).is_ok() {
                one_by_one += 1;
            }
            prop_assert_eq!((taken, bucket), (one_by_one, single));
        }
    }

    #[test]
    fn the_seeds_limits() {
        // 100r/s burst=50 nodelay: 51 at once, then one each 10 ms.
        let api = rate(100_000, 50, u64::MAX / REQUEST);
        let mut bucket = Bucket::default();
        let admitted = (0..200).filter(|_| bucket.take(&api, 7) == Ok(0)).count();
        assert_eq!(admitted, 51);
        assert_eq!(bucket.take(&api, 16), Err(Over { until_ms: 17 }));
        assert_eq!(bucket.take(&api, 17), Ok(0));
        // 10r/s burst=5, delayed: the sixth waits half a second, the seventh is refused.
        let health = rate(10_000, 5, 0);
        let mut bucket = Bucket::default();
        let delays: Vec<_> = (0..7).map(|_| bucket.take(&health, 0).ok()).collect();
        assert_eq!(
            delays,
            [
                Some(0),
                Some(100),
                Some(200),
                Some(300),
                Some(400),
                Some(500),
                None
            ]
        );
        bucket.give_back(1);
        assert_eq!(bucket.take(&health, 0), Ok(500));
    }
}
