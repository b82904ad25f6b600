//! The methods' shares, and when a server is left alone.

use super::*;
use crate::base::clock;

const FAIL_TIMEOUT: Duration = Duration::from_secs(30);
const NO_EJECTION: Ejection = Ejection {
    consecutive_errors: 0,
    base: Duration::from_secs(30),
    max: Duration::from_secs(300),
    max_percent: 50,
};

fn spec(name: &str, weight: u32) -> Spec {
    Spec {
        weight,
        max_fails: 1,
        fail_timeout: FAIL_TIMEOUT,
        backup: false,
        max_conns: 0,
        slow_start: Duration::ZERO,
        down: false,
        name: name.to_owned(),
    }
}

fn group(method: Method, weights: &[u32]) -> Balancer {
    let named = |(index, &weight): (usize, &u32)| spec(&format!("s{index}"), weight);
    let specs = weights.iter().enumerate().map(named).collect();
    Balancer::new(method, NO_EJECTION, specs)
}

/// Whom `count` requests go to, each ended at once.
fn served(balancer: &mut Balancer, count: u64, now: Instant) -> Vec<usize> {
    (0..count)
        .map(|turn| {
            let chance = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let index = balancer.begin(turn, chance, &Tried::new(), now).unwrap();
            balancer.end(index, Outcome::Answered, now);
            index
        })
        .collect()
}

fn counts(served: &[usize], servers: usize) -> Vec<usize> {
    (0..servers)
        .map(|server| served.iter().filter(|&&index| index == server).count())
        .collect()
}

#[test]
fn turns_are_spread_evenly() {
    let mut balancer = group(Method::RoundRobin, &[5, 1, 1]);
    // The order that nginx's documentation of the algorithm shows.
    assert_eq!(
        served(&mut balancer, 7, clock::mono()),
        [0, 0, 1, 0, 2, 0, 0]
    );
}

#[test]
fn every_method_keeps_to_the_weights() {
    for method in [Method::RoundRobin, Method::LeastConn, Method::PowerOfTwo] {
        let mut balancer = group(method, &[3, 1]);
        let counts = counts(&served(&mut balancer, 4000, clock::mono()), 2);
        assert!((2700..=3300).contains(&counts[0]), "{method:?} {counts:?}");
    }
    let mut balancer = group(Method::Hash, &[3, 1]);
    let counts = counts(&served(&mut balancer, 4000, clock::mono()), 2);
    assert!((2800..=3200).contains(&counts[0]), "{counts:?}");
}

#[test]
fn the_least_busy_gets_the_next() {
    let now = clock::mono();
    for method in [Method::LeastConn, Method::PowerOfTwo] {
        let mut balancer = group(method, &[1, 1]);
        for _ in 0..3 {
            balancer.begin(0, 0, &Tried::new(), now);
        }
        let (busy, idle) = match balancer.active(0) {
            2.. => (0, 1),
            _ => (1, 0),
        };
        assert!(balancer.active(busy) - balancer.active(idle) == 1);
        assert_eq!(balancer.begin(0, 1 << 40, &Tried::new(), now), Some(idle));
    }
    // By weight: 3 of 4 on the first is as busy as 1 on the second.
    let mut balancer = group(Method::LeastConn, &[4, 1]);
    for _ in 0..10 {
        balancer.begin(0, 0, &Tried::new(), now);
    }
    assert_eq!((balancer.active(0), balancer.active(1)), (8, 2));
}

#[test]
fn a_key_stays_where_it_is() {
    let now = clock::mono();
    let mut three = group(Method::Hash, &[1, 1, 1]);
    let before = served(&mut three, 3000, now);
    assert_eq!(before, served(&mut three, 3000, now));
    // Taken out: only its own keys move.
    let index = three.begin(0, 0, &Tried::from_slice(&[0, 1]), now);
    three.end(index.unwrap(), Outcome::Failed, now);
    let after = served(&mut three, 3000, now);
    for (before, after) in before.iter().zip(&after) {
        assert!(*before == 2 || before == after);
        assert_ne!(*after, 2);
    }
}

#[test]
fn failures_take_a_server_out_for_a_time() {
    let now = clock::mono();
    let mut balancer = group(Method::RoundRobin, &[1, 1]);
    let index = balancer.begin(0, 0, &Tried::new(), now).unwrap();
    assert!(balancer.end(index, Outcome::Failed, now));
    assert_eq!(counts(&served(&mut balancer, 100, now), 2)[index], 0);
    // One request tries it when the time is over; the others wait for its end.
    let later = now + FAIL_TIMEOUT;
    let others = Tried::from_slice(&[1 - index]);
    assert_eq!(balancer.begin(0, 0, &others, later), Some(index));
    assert_eq!(balancer.begin(0, 0, &others, later), None);
    balancer.end(index, Outcome::Answered, later);
    assert_eq!(counts(&served(&mut balancer, 100, later), 2)[index], 50);
}

#[test]
fn failures_far_apart_do_not_add_up() {
    let mut now = clock::mono();
    let mut specs = vec![spec("a", 1), spec("b", 1)];
    specs[0].max_fails = 3;
    let mut balancer = Balancer::new(Method::RoundRobin, NO_EJECTION, specs);
    let only_a = Tried::from_slice(&[1]);
    for _ in 0..6 {
        balancer.begin(0, 0, &only_a, now).unwrap();
        assert!(!balancer.end(0, Outcome::Failed, now));
        now += FAIL_TIMEOUT / 2 + Duration::from_secs(1);
        assert!(balancer.is_available(0, now));
    }
    for _ in 0..3 {
        now += Duration::from_secs(1);
        balancer.begin(0, 0, &only_a, now);
        balancer.end(0, Outcome::Failed, now);
    }
    assert!(!balancer.is_available(0, now));
}

#[test]
fn a_single_server_is_never_taken_out() {
    let now = clock::mono();
    let mut balancer = group(Method::LeastConn, &[1]);
    for _ in 0..10 {
        let index = balancer.begin(0, 0, &Tried::new(), now).unwrap();
        assert!(!balancer.end(index, Outcome::Failed, now));
    }
}

#[test]
fn a_backup_serves_when_nobody_else_can() {
    let now = clock::mono();
    let mut specs = vec![spec("a", 1), spec("b", 1)];
    specs[1].backup = true;
    let mut balancer = Balancer::new(Method::RoundRobin, NO_EJECTION, specs);
    assert_eq!(counts(&served(&mut balancer, 10, now), 2), [10, 0]);
    balancer.begin(0, 0, &Tried::new(), now);
    balancer.end(0, Outcome::Failed, now);
    assert_eq!(counts(&served(&mut balancer, 10, now), 2), [0, 10]);
    assert_eq!(balancer.begin(0, 0, &Tried::from_slice(&[1]), now), None);
}

#[test]
fn full_unhealthy_and_down_servers_get_nothing() {
    let now = clock::mono();
    let mut specs = vec![spec("a", 1), spec("b", 1), spec("c", 1)];
    specs[0].max_conns = 1;
    specs[1].down = true;
    let mut balancer = Balancer::new(Method::RoundRobin, NO_EJECTION, specs);
    balancer.set_healthy(2, false, now);
    assert_eq!(balancer.begin(0, 0, &Tried::new(), now), Some(0));
    assert_eq!(balancer.begin(0, 0, &Tried::new(), now), None);
    balancer.set_healthy(2, true, now);
    assert_eq!(balancer.begin(0, 0, &Tried::new(), now), Some(2));
    balancer.end(0, Outcome::Unused, now);
    assert!(balancer.is_available(0, now));
}

#[test]
fn one_that_comes_back_starts_slowly() {
    let now = clock::mono();
    let mut specs = vec![spec("a", 1), spec("b", 1)];
    specs[0].slow_start = Duration::from_secs(100);
    let mut balancer = Balancer::new(Method::RoundRobin, NO_EJECTION, specs);
    balancer.set_healthy(0, false, now);
    balancer.set_healthy(0, true, now);
    let at = |balancer: &mut Balancer, seconds| {
        let now = now + Duration::from_secs(seconds);
        counts(&served(balancer, 1000, now), 2)[0]
    };
    assert!(at(&mut balancer, 1) < 30);
    assert!((200..=300).contains(&at(&mut balancer, 33)));
    assert!((490..=510).contains(&at(&mut balancer, 100)));
}

#[test]
fn outliers_are_ejected_longer_each_time_and_never_too_many() {
    let mut now = clock::mono();
    let ejection = Ejection {
        consecutive_errors: 3,
        base: Duration::from_secs(10),
        max: Duration::from_secs(15),
        max_percent: 50,
    };
    let specs = ["a", "b", "c"].map(|name| spec(name, 1)).to_vec();
    let mut balancer = Balancer::new(Method::RoundRobin, ejection, specs);
    let fail = |balancer: &mut Balancer, index: usize, now| {
        let others: Tried = (0..3).filter(|&other| other != index).collect();
        (0..3).any(|_| {
            balancer.begin(0, 0, &others, now) == Some(index)
                && balancer.end(index, Outcome::ServerError, now)
        })
    };
    assert!(fail(&mut balancer, 0, now));
    // A second of three would be more than half.
    assert!(!fail(&mut balancer, 1, now));
    now += Duration::from_secs(10);
    assert!(balancer.is_available(0, now));
    assert!(fail(&mut balancer, 0, now));
    assert!(!balancer.is_available(0, now + Duration::from_secs(14)));
    assert!(balancer.is_available(0, now + Duration::from_secs(15)));
}

proptest::proptest! {
    /// Whatever happens, requests under way are counted right and nobody is chosen twice.
    #[test]
    fn counts_add_up(
        method in 0..4_u8,
        steps in proptest::collection::vec((0..4_u8, 0..8_u64, 0..40_u64), 1..200),
    ) {
        let method = [
            Method::RoundRobin,
            Method::LeastConn,
            Method::PowerOfTwo,
            Method::Hash,
        ][usize::from(method)];
        let mut balancer = group(method, &[1, 2, 3, 1]);
        let mut now = clock::mono();
        let mut under_way = Vec::new();
        for (kind, key, seconds) in steps {
            now += Duration::from_secs(seconds);
            let tried: Tried = (0..(key as usize % 4)).collect();
            if let Some(index) = balancer.begin(key, key << 31, &tried, now) {
                assert!(!tried.contains(&index));
                under_way.push(index);
            }
            if kind > 0 && !under_way.is_empty() {
                let index = under_way.swap_remove(key as usize % under_way.len());
                let outcomes = [Outcome::Answered, Outcome::ServerError, Outcome::Failed];
                balancer.end(index, outcomes[usize::from(kind) - 1], now);
            }
            for index in 0..4 {
                let own = under_way.iter().filter(|&&other| other == index).count();
                assert_eq!(balancer.active(index) as usize, own);
            }
        }
    }
}
