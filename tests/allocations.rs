//! A warm health check allocates nothing between its parsed head and its response: route, record,
//! page, filter. A binary of its own, because it replaces the allocator.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway::base::clock::Now;
use ringway::config::Config;
use ringway::filter::{Client, ResponseFilter};
use ringway::handler::builtin::{Catalogue, Pages, PublicTool, Scraper, Setup};
use ringway::handler::mcp::link::ServerState;
use ringway::handler::{Handlers, Incoming};
use ringway::http::{Body, RequestHead, Response, Shelf};
use ringway::metrics::{Recorder, RuntimeInfo};
use ringway::record::{Ended, Record, Seen};
use ringway::route::Router;

struct Counting;

thread_local! {
    /// Of this thread alone: the test runner's own thread may allocate at any time.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "an allocator cannot be written otherwise")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Fails when the thread is ending, which is no request any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above with that layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug)]
struct NoServers;

impl Catalogue for NoServers {
    fn servers(&self) -> Vec<Arc<ServerState>> {
        Vec::new()
    }
    fn tools(&self) -> Vec<PublicTool> {
        Vec::new()
    }
}

struct Shard {
    router: Router,
    handlers: Handlers,
    filter: ResponseFilter,
    record: Record,
}

impl Shard {
    fn new(now: Now) -> Self {
        let config = Arc::new(Config::default());
        let router = Router::new(&config.routes);
        let recorder = Rc::new(Recorder::new(0, router.labels(), true));
        let setup = Setup {
            config: Arc::clone(&config),
            generation: 1,
            loaded: Duration::ZERO,
            started: now,
            shards: 1,
            runtime: RuntimeInfo::default(),
            recorder: Rc::clone(&recorder),
            draining: Rc::new(Cell::new(false)),
            catalogue: Rc::new(NoServers),
            scraper: Scraper::channel().0,
            shelf: Shelf::new(1 << 20),
        };
        Self {
            handlers: Handlers {
                pages: Pages::new(setup, &router),
                gateway: None,
                files: None,
                proxy: None,
                caches: None,
            },
            filter: ResponseFilter::new(&config),
            record: Record::new(recorder, None, 7),
            router,
        }
    }

    fn exchange(&self, head: &RequestHead, now: Now, response: &mut Response) {
        let found = self.router.find(head.route_path_bytes()).unwrap();
        let client = Client::direct((Ipv4Addr::LOCALHOST, 9).into());
        let exchange = self.record.open(head, found.label, client, now);
        let request = Incoming {
            head,
            found,
            client: &client,
            tls: None,
            body: Body::Empty,
            now,
            id: &exchange.id,
            hints: &exchange.hints,
        };
        {
            let mut handling = pin!(self.handlers.handle(request, response));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(handling.as_mut().poll(&mut cx), Poll::Ready(())));
        }
        let elapsed = Duration::from_micros(3);
        self.filter.apply(response, head, &exchange.id, elapsed);
        let ended = Ended {
            status: response.status,
            body_bytes: response.body.len().unwrap(),
            framing_bytes: 0,
            is_complete: true,
            at: now.mono + elapsed,
            response,
            seen: Seen::default(),
        };
        self.record.finish(&exchange, head, "/health", ended);
        assert_eq!(ended.status, 200);
    }
}

#[test]
fn a_warm_health_check_allocates_nothing() {
    let now = Now::read();
    let shard = Shard::new(now);
    let (mut head, mut response) = (RequestHead::default(), Response::default());
    head.set_line(b"GET", b"/health", 0..7, 7..7);
    head.headers.push(b"Host", b"a.test");
    shard.exchange(&head, now, &mut response);
    response.clear();

    let before = ALLOCATIONS.get();
    for _ in 0..1_000 {
        shard.exchange(&head, now, &mut response);
        response.clear();
    }
    let made = ALLOCATIONS.get() - before;
    assert!(before > 10, "the counter does not count");
    assert_eq!(made, 0, "in 1,000 requests");
}
