//! Two shards without threads: what each has for the other moves when the test lets it.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::config::{ConnectionLimit, LimitKey, Limited, OnError};
use crate::filter::limit::{Keeper, Key, Passed};
use crate::filter::{Client, Guard};
use crate::http::RequestHead;

struct World {
    shards: Vec<Rc<Counting>>,
    origin: Instant,
    guard: Guard,
    head: RequestHead,
    passed: Passed,
    /// A client whose key shard 1 owns.
    client: Client,
}

impl World {
    fn new(on_error: OnError, max: u32) -> Self {
        let common = |name: &str| Limited {
            name: name.into(),
            key: LimitKey::ClientIp { v6_prefix: 64 },
            status: 429,
            size: 1 << 20,
            dry_run: false,
            on_error,
        };
        let config = Arc::new(Config {
            rate_limits: vec![RateLimit {
                common: common("r"),
                requests: 1,
                seconds: 60,
                burst: 1,
                undelayed: None,
                headers: true,
            }],
            connection_limits: vec![ConnectionLimit {
                common: common("c"),
                max,
            }],
            ..Config::default()
        });
        let origin = clock::mono();
        let links = Links::connect(2, origin).into_iter();
        let recorder = |own| Rc::new(Recorder::new(own, &["none".into()], true));
        let shards: Vec<Rc<Counting>> = links
            .map(|links| {
                let recorder = recorder(links.ends.own());
                Rc::new(Counting::new(links, &config, &recorder, 7))
            })
            .collect();
        let client = (1..)
            .map(|last| Client::direct((Ipv4Addr::new(192, 0, 2, last), 9).into()))
            .find(|client| {
                let hash = shards[0].hashing.hash(Key::of_address(client.address, 64));
                Hashing::owner(hash, 2) == 1
            })
            .unwrap();
        Self {
            shards,
            origin,
            guard: Guard {
                access: None,
                methods: None,
                rate_limits: [0].into(),
                connection_limits: [].into(),
            },
            head: RequestHead::default(),
            passed: Passed::default(),
            client,
        }
    }

    fn counting_places(mut self) -> Self {
        self.guard.rate_limits = [].into();
        self.guard.connection_limits = [0].into();
        self
    }

    fn passing(&self) -> Passing<'_> {
        Passing {
            guard: &self.guard,
            head: &self.head,
            client: &self.client,
            passed: &self.passed,
            now: self.origin + Duration::from_millis(5),
        }
    }

    /// Lets a shard send and take what there is.
    fn turn(&self, shard: usize) {
        assert!(poll(pin!(self.shards[shard].work())).is_pending());
    }

    /// A request on shard 0, both shards at work.
    fn request(&self, kept: &Keeper) -> Passage {
        assert!(matches!(
            self.shards[0].pass(self.passing(), kept),
            Passage::Ask
        ));
        let mut asking = pin!(self.shards[0].pass_asking(self.passing(), kept));
        assert!(poll(asking.as_mut()).is_pending());
        for shard in [0, 1, 0] {
            self.turn(shard);
        }
        match poll(asking) {
            Poll::Ready(passage) => passage,
            Poll::Pending => panic!("no answer"),
        }
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_owner_counts_for_both() {
    let world = World::new(OnError::Deny, 1);
    let kept = Keeper::default();
    assert!(matches!(world.request(&kept), Passage::Open));
    let own = world.shards[1].pass(world.passing(), &kept);
    assert!(matches!(own, Passage::Open), "the owner asks nobody");
    let Passage::Refused(refused) = world.request(&kept) else {
        panic!("one too many");
    };
    assert_eq!(refused.status, 429);
    // Remembered: no question any more.
    let again = world.shards[0].pass(world.passing(), &kept);
    assert!(matches!(again, Passage::Refused(_)));
}

#[test]
fn an_owner_that_is_silent_keeps_nobody_waiting() {
    for (on_error, status) in [(OnError::Allow, None), (OnError::Deny, Some(503))] {
        for world in [
            World::new(on_error, 1),
            World::new(on_error, 1).counting_places(),
        ] {
            let kept = Keeper::default();
            let mut asking = pin!(world.shards[0].pass_asking(world.passing(), &kept));
            assert!(poll(asking.as_mut()).is_pending());
            world.turn(0);
            world.shards[0].sweep(world.origin + Duration::from_millis(500));
            assert!(poll(asking.as_mut()).is_pending());
            world.shards[0].sweep(world.origin + Duration::from_millis(2 * PATIENCE_MS));
            match (poll(asking), status) {
                (Poll::Ready(Passage::Open), None) => {}
                (Poll::Ready(Passage::Refused(refused)), Some(status)) => {
                    assert_eq!(refused.status, status);
                }
                (passage, _) => panic!("{passage:?}"),
            }
        }
    }
}

#[test]
fn a_full_mailbox_keeps_nobody_waiting_either() {
    let world = World::new(OnError::Deny, 1);
    let kept = Keeper::default();
    let mut questions = Vec::new();
    for _ in 0..OUTBOX_MAX + 1 {
        let mut asking = Box::pin(world.shards[0].pass_asking(world.passing(), &kept));
        match poll(asking.as_mut()) {
            Poll::Pending => questions.push(asking),
            Poll::Ready(Passage::Refused(refused)) => {
                assert_eq!(refused.status, 503);
                return;
            }
            Poll::Ready(passage) => panic!("{passage:?}"),
        }
    }
    panic!("questions without bound");
}

#[test]
fn places_come_back_also_from_those_who_left() {
    let world = World::new(OnError::Deny, 1).counting_places();
    let kept = Keeper::default();
    assert!(matches!(world.request(&kept), Passage::Open));
    let Passage::Refused(refused) = world.request(&Keeper::default()) else {
        panic!("one too many");
    };
    assert_eq!(refused.status, 429);
    drop(kept);
    world.turn(0);
    world.turn(1);
    assert!(world.shards[1].slots.borrow().is_empty());
    {
        // This one leaves before its answer comes.
        let kept = Keeper::default();
        let mut asking = pin!(world.shards[0].pass_asking(world.passing(), &kept));
        assert!(poll(asking.as_mut()).is_pending());
        world.turn(0);
        world.turn(1);
        assert!(!world.shards[1].slots.borrow().is_empty());
    }
    for shard in [0, 0, 1] {
        world.turn(shard);
    }
    assert!(world.shards[1].slots.borrow().is_empty());
}

#[test]
fn a_shard_that_starts_again_holds_no_places() {
    let world = World::new(OnError::Deny, 5).counting_places();
    let kept = Keeper::default();
    assert!(matches!(world.request(&kept), Passage::Open));
    assert!(
        poll(pin!(world.shards[0].serve())).is_pending(),
        "a new life"
    );
    world.turn(1);
    assert!(world.shards[1].slots.borrow().is_empty());
}
