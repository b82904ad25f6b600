//! Several shards and the messages between them, without threads: whatever order things come
//! in, what is admitted is what one bucket would admit.

use proptest::prelude::*;

use super::*;
use crate::base::owner::Hashing;

const BYTES: usize = 1 << 20;

fn rate(per_second: u64, burst: u64) -> Rate {
    Rate {
        per_second: per_second * 1000,
        burst: burst * 1000,
        undelayed: u64::MAX,
    }
}

struct World {
    hashing: Hashing,
    shards: Vec<RateLimits>,
}

impl World {
    fn new(shards: u16, rate: Rate) -> Self {
        let shard = |own| RateLimits::new(own, shards, [(rate, BYTES)]);
        Self {
            hashing: Hashing::default(),
            shards: (0..shards).map(shard).collect(),
        }
    }

    /// One request on one shard, its question answered at once.
    fn request(&mut self, shard: usize, key: &Key, now_ms: u64) -> bool {
        let key = (self.hashing.hash(key), key);
        match self.shards[shard].decide(0, key, now_ms) {
            Decision::Admit { .. } => true,
            Decision::Refuse { .. } => false,
            Decision::Ask { owner, wanted } => {
                let verdict = self.shards[usize::from(owner)].answer(0, key, (wanted, now_ms));
                self.shards[shard].learn(0, key, (verdict, now_ms));
                matches!(verdict, Verdict::Admit { .. })
            }
        }
    }

    fn sweep(&mut self, now_ms: u64) {
        for at in 0..self.shards.len() {
            while let Some(refund) = self.shards[at].expire(now_ms) {
                let owner = Hashing::owner(refund.hash, self.shards.len() as u16);
                self.shards[usize::from(owner)].refund(&refund, now_ms);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Under overload the total is that of one bucket within 2 %, however requests are spread.
    #[test]
    fn overload_admits_what_one_bucket_admits(
        shards in 1_u16..5,
        per_second in prop::sample::select(vec![10_u64, 100, 1000, 20_000]),
        burst in 0_u64..3000,
        spread in prop::collection::vec(0_usize..4, 40),
        seed in 0_u32..1000,
    ) {
        let mut world = World::new(shards, rate(per_second, burst));
        let key = Key::new(&seed.to_be_bytes());
        let span_ms = 1000;
        let (mut admitted, mut asked) = (0_u64, 0);
        let each_ms = (per_second / 1000 + burst / 500 + 2) * 2;
        for now_ms in 0..span_ms {
            for request in 0..each_ms {
                asked += 1;
                let shard = spread[(now_ms * 7 + request) as usize % spread.len()];
                let shard = shard % world.shards.len();
                admitted += u64::from(world.request(shard, &key, now_ms + 1));
            }
            if now_ms % 250 == 0 {
                world.sweep(now_ms + 1);
            }
        }
        let allowed = per_second * span_ms / 1000 + burst + 1;
        prop_assert!(asked > allowed);
        prop_assert!(admitted <= allowed, "{} > {}", admitted, allowed);
        prop_assert!(admitted * 100 >= allowed * 98 - 200, "{} of {}", admitted, allowed);
    }

    /// In no window is more admitted than the limit and 2 % of its burst, also after pauses in
    /// which leases lie about.
    #[test]
    fn no_window_admits_more_than_the_limit(
        shards in 2_u16..5,
        burst in 0_u64..2000,
        runs in prop::collection::vec((0_usize..4, 1_u64..600, 0_u64..150), 1..30),
    ) {
        let rate = rate(500, burst);
        let mut world = World::new(shards, rate);
        let key = Key::new(b"k");
        let mut now_ms = 1;
        let mut times = Vec::new();
        for (shard, requests, pause_ms) in runs {
            now_ms += pause_ms;
            for request in 0..requests {
                let shard = (shard + request as usize % 2) % world.shards.len();
                if world.request(shard, &key, now_ms) {
                    times.push(now_ms);
                }
                now_ms += u64::from(request % 8 == 0);
            }
        }
        for (at, first) in times.iter().enumerate().step_by(17) {
            for (count, last) in times[at..].iter().enumerate().step_by(13) {
                let allowed = 500 * (last - first) / 1000 + burst + 1;
                prop_assert!(count as u64 <= allowed + burst / 50 + 1, "{} {}", count, allowed);
            }
        }
    }

    /// A client that stays below its limit is never refused, whichever shards it meets.
    #[test]
    fn whoever_keeps_to_the_limit_is_served(
        shards in 1_u16..5,
        burst in 5_u64..2000,
        spread in prop::collection::vec(0_usize..4, 20),
    ) {
        let mut world = World::new(shards, rate(100, burst));
        let key = Key::new(b"k");
        for step in 0..500_u64 {
            let now_ms = 1 + step * 11;
            let shard = spread[step as usize % spread.len()] % world.shards.len();
            prop_assert!(world.request(shard, &key, now_ms), "at {}", now_ms);
            world.sweep(now_ms);
        }
    }
}

#[test]
fn a_hot_key_far_from_its_limit_needs_few_questions() {
    let mut world = World::new(2, rate(100_000, 100_000));
    let key = Key::new(b"hot");
    let pair = (world.hashing.hash(&key), &key);
    let owner = Hashing::owner(pair.0, 2);
    let other = usize::from(1 - owner);
    let mut questions = 0;
    for request in 0..10_000_u64 {
        let now_ms = 1 + request / 50;
        if let Decision::Ask { wanted, .. } = world.shards[other].decide(0, pair, now_ms) {
            questions += 1;
            let verdict = world.shards[usize::from(owner)].answer(0, pair, (wanted, now_ms));
            world.shards[other].learn(0, pair, (verdict, now_ms));
        }
    }
    assert!(questions < 1000, "{questions} questions");
}

#[test]
fn while_refused_nobody_is_asked() {
    let mut world = World::new(2, rate(1, 0));
    let key = Key::new(b"k");
    let pair = (world.hashing.hash(&key), &key);
    let other = usize::from(1 - Hashing::owner(pair.0, 2));
    assert!(world.request(other, &key, 10));
    assert!(!world.request(other, &key, 11));
    for now_ms in 12..1010 {
        let decision = world.shards[other].decide(0, pair, now_ms);
        assert_eq!(decision, Decision::Refuse { until_ms: 1010 });
    }
    assert!(world.request(other, &key, 1010));
}

#[test]
fn tables_stay_within_their_bytes_and_tell_what_they_forget() {
    let hashing = Hashing::default();
    let mut limits = RateLimits::new(0, 1, [(rate(1, 5), 10_000)]);
    for number in 0..10_000_u32 {
        let key = Key::new(&number.to_be_bytes());
        let _ = limits.decide(0, (hashing.hash(&key), &key), 5 + u64::from(number) * 1000);
    }
    let (keys, bytes) = limits.size();
    assert!(bytes <= 10_000 && keys > 50, "{keys} keys, {bytes} bytes");
    // Each was empty again when it was forgotten, so nothing was lost.
    assert_eq!(limits.take_evicted(), 0);
    for number in 0..10_000_u32 {
        let key = Key::new(&number.to_be_bytes());
        let pair = (hashing.hash(&key), &key);
        let _ = limits.decide(0, pair, 10_000_000);
    }
    assert!(limits.take_evicted() > 9_000);
    assert_eq!(limits.take_evicted(), 0);
}

#[test]
fn long_empty_buckets_go_by_themselves() {
    let hashing = Hashing::default();
    let mut limits = RateLimits::new(0, 1, [(rate(100, 5), BYTES)]);
    for number in 0..100_u32 {
        let key = Key::new(&number.to_be_bytes());
        let _ = limits.decide(0, (hashing.hash(&key), &key), 5);
    }
    for number in 100..150_u32 {
        let key = Key::new(&number.to_be_bytes());
        let _ = limits.decide(0, (hashing.hash(&key), &key), 5 + FORGET_MS + 1);
    }
    assert_eq!(limits.size().0, 50);
}
