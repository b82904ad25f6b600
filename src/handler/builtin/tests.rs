//! The pages as clients see them, each answer checked against what `/openapi.json` promises.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::*;
use crate::base::channel;
use crate::base::ids::Ids;
use crate::config::{McpServer, McpTarget, PathRule, Route, Ui};
use crate::filter::{Client, RequestId};
use crate::handler::Handlers;
use crate::handler::mcp::link::{Item, ServerId, ServerState, Status, Transport};
use crate::http::{Body, BodyError, Frame, Hints};
use crate::mcp::revision::Revision;
use crate::metrics::{Beat, Collector, Process};
use crate::net::across;
use crate::net::runtime::{Driver, Runtime};

#[derive(Debug)]
struct TwoServers;

impl Catalogue for TwoServers {
    fn servers(&self) -> Vec<Arc<ServerState>> {
        let server = |id, name: &str, status| ServerState {
            id: ServerId(id),
            name: name.into(),
            transport: Transport::Stdio,
            status,
            revisions: vec![Revision::LATEST],
            capabilities: Bytes::from_static(br#"{"tools":{}}"#),
            info: Bytes::new(),
            instructions: Some("ask \"me\"".into()),
            tools: vec![Item {
                key: "now".into(),
                raw: Bytes::from_static(b"{}"),
            }],
            prompts: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            restarts: 3,
            caching: Default::default(),
        };
        vec![
            Arc::new(server(0, "time", Status::Ready)),
            Arc::new(server(1, "gone", Status::Down("no such program".into()))),
        ]
    }

    fn tools(&self) -> Vec<PublicTool> {
        let tool = |name: &str, server: &str| PublicTool {
            name: name.into(),
            server: server.into(),
            own_name: "now".into(),
            raw: Bytes::from_static(br#"{"name":"now","inputSchema":{"type":"object"}}"#),
        };
        vec![tool("time_now", "time"), tool("gone_now", "gone")]
    }
}

/// One shard's handlers without a server around them.
struct Shard {
    router: Router,
    handlers: Handlers,
    draining: Rc<Cell<bool>>,
    asks: across::Receiver<Scrape>,
    started: Now,
}

impl Shard {
    fn new(mut config: Config) -> Self {
        config.routes.push(Route::new(
            PathRule::Prefix("/echo/".into()),
            Handler::Builtin(Builtin::Echo),
        ));
        let router = Router::new(&config.routes);
        let recorder = Rc::new(Recorder::new(0, router.labels(), true));
        let (scraper, asks) = Scraper::channel();
        let (draining, started) = (Rc::new(Cell::new(false)), Now::read());
        let setup = Setup {
            config: Arc::new(config),
            generation: 1,
            loaded: std::time::Duration::ZERO,
            started,
            shards: 2,
            runtime: RuntimeInfo::default(),
            recorder,
            draining: Rc::clone(&draining),
            catalogue: Rc::new(TwoServers),
            scraper,
            shelf: Shelf::new(1 << 20),
        };
        let pages = Pages::new(setup, &router);
        Self {
            handlers: Handlers {
                pages,
                gateway: None,
                files: None,
                proxy: None,
                caches: None,
            },
            router,
            draining,
            asks,
            started,
        }
    }

    fn ask(&self, method: &str, target: &str) -> Answer {
        self.ask_with(method, target, Body::Empty, self.started)
    }

    fn ask_with(&self, method: &str, target: &str, body: Body, now: Now) -> Answer {
        on_a_runtime(self.exchange(method, target, body, now))
    }

    async fn exchange(&self, method: &str, target: &str, body: Body, now: Now) -> Answer {
        let mut head = RequestHead::default();
        let path_end = target.find('?').unwrap_or(target.len());
        let query = (path_end + 1).min(target.len())..target.len();
        head.set_line(method.as_bytes(), target.as_bytes(), 0..path_end, query);
        head.headers.push(b"Host", b"a.test");
        head.headers.push(b"X-Odd", b"\"\xe9\"");
        let mut response = Response::default();
        match self.router.find(&target.as_bytes()[..path_end]) {
            None => self.handlers.not_found(&head, &mut response),
            Some(found) => {
                let request = Incoming {
                    client: &Client::direct(([127, 0, 0, 1], 9).into()),
                    tls: None,
                    head: &head,
                    found,
                    body,
                    now,
                    id: &RequestId::new(&head, false, &mut Ids::new(1), now.unix),
                    hints: &Hints::default(),
                };
                self.handlers.handle(request, &mut response).await;
            }
        }
        Answer(response)
    }
}

fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    Runtime::build(Some(Driver::Epoll))
        .unwrap()
        .block_on(future)
}

struct Answer(Response);

impl Answer {
    fn text(&self) -> String {
        let bytes = match &self.0.body {
            Body::Empty => b"",
            Body::Static(bytes) => *bytes,
            Body::Full(bytes) => &bytes[..],
            Body::Stored(stored) => stored.identity(),
            _ => panic!("a stream"),
        };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn json(&self) -> Value {
        sonic_rs::from_str(&self.text()).unwrap()
    }

    fn field(&self, name: &str) -> &str {
        let value = self.0.headers.get_by_name(name.as_bytes());
        str::from_utf8(value.unwrap_or_else(|| panic!("no {name}"))).unwrap()
    }
}

fn shard() -> Shard {
    Shard::new(Config::default())
}

#[test]
fn health_counts_up_and_says_when_it_drains() {
    let shard = shard();
    let later = Now {
        mono: shard.started.mono + Duration::from_millis(61_999),
        ..shard.started
    };
    let health = |now| shard.ask_with("GET", "/health", Body::Empty, now);
    let fresh = r#"{"status":"healthy","uptime_seconds":0,"shards":2}"#;
    assert_eq!(health(shard.started).text(), fresh);
    let aged = r#"{"status":"healthy","uptime_seconds":61,"shards":2}"#;
    assert_eq!(health(later).text(), aged);
    assert_eq!(shard.ask("GET", "/health/ready").0.status, 200);

    shard.draining.set(true);
    let draining = health(later);
    assert_eq!(draining.0.status, 503);
    assert_eq!(draining.json()["status"].as_str(), Some("draining"));
    assert_eq!(shard.ask("GET", "/health/ready").0.status, 503);
    assert_eq!(shard.ask("GET", "/health/live").0.status, 200);
}

#[test]
fn health_under_a_prefix_route_knows_its_own_pages_alone() {
    let mut config = Config::default();
    config.routes.push(Route::new(
        PathRule::Prefix("/h".into()),
        Handler::Builtin(Builtin::Health),
    ));
    let shard = Shard::new(config);
    for (path, status) in [("/h", 200), ("/h/", 200), ("/h/ready", 200), ("/hx", 404)] {
        assert_eq!(shard.ask("GET", path).0.status, status, "{path}");
    }
}

#[test]
fn json_is_compact_unless_asked_otherwise() {
    let plain = shard();
    assert!(!plain.ask("GET", "/version").text().contains(['\n', ' ']));
    for target in [
        "/version?pretty",
        "/health?a=1&pretty=1",
        "/openapi.json?pretty",
    ] {
        assert!(plain.ask("GET", target).text().contains("\n  "), "{target}");
    }
    assert!(
        !plain
            .ask("GET", "/version?pretty=false")
            .text()
            .contains('\n')
    );
    let development = Shard::new(Config {
        development: true,
        ..Config::default()
    });
    for target in ["/version", "/health", "/openapi.json"] {
        assert!(
            development.ask("GET", target).text().contains("\n  "),
            "{target}"
        );
    }
}

#[test]
fn every_page_knows_its_methods() {
    let shard = shard();
    let paths: Vec<String> = shard
        .router
        .endpoints()
        .filter(|(.., e)| {
            !matches!(
                e.handler,
                Handler::Mcp | Handler::McpSse | Handler::Builtin(Builtin::Echo)
            )
        })
        .map(|(path, ..)| path.to_owned())
        .collect();
    assert!(paths.len() >= 12, "{paths:?}");
    for path in paths {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let answer = shard.ask(method, &path);
            assert_eq!(answer.0.status, 405, "{method} {path}");
            assert_eq!(answer.field("Allow"), ALLOW);
            assert_eq!(answer.field("Content-Type"), "application/problem+json");
        }
        let options = shard.ask("OPTIONS", &path);
        assert_eq!((options.0.status, options.field("Allow")), (204, ALLOW));
    }
    assert_eq!(shard.ask("GET", "/nowhere").0.status, 404);
    assert_eq!(shard.ask("OPTIONS", "*").0.status, 204);
    assert_eq!(shard.ask("GET", "*").0.status, 404);
}

#[test]
fn echo_describes_what_arrived() {
    let shard = shard();
    let body = Body::Full(Bytes::from_static(b"a\"\\\n\xff"));
    let answer = shard.ask_with("BREW", "/echo/x?y", body, shard.started);
    assert_eq!(
        answer.text(),
        r#"{"n":1,"line":"BREW /echo/x?y HTTP/1.1","headers":["Host: a.test","X-Odd: \"\u00e9\""],"#
            .to_owned() + r#""body":"a\"\\\u000a\u00ff"}"#
    );
    assert_eq!(shard.ask("OPTIONS", "/echo/").json()["n"].as_u64(), Some(2));
}

#[test]
fn echo_reads_streams_and_is_bounded() {
    let shard = shard();
    let stream = |frames: Vec<Result<Frame, BodyError>>| {
        let (sender, receiver) = channel::bounded(frames.len());
        for frame in frames {
            assert!(sender.try_send(frame).is_ok());
        }
        let body = Body::Stream(receiver);
        drop(sender);
        shard.ask_with("POST", "/echo/", body, shard.started)
    };
    let data = |bytes: &'static [u8]| Ok(Frame::Data(Bytes::from_static(bytes)));
    let whole = stream(vec![
        data(b"ab"),
        data(b"c"),
        Ok(Frame::Trailers(HeaderList::new())),
    ]);
    assert_eq!(whole.json()["body"].as_str(), Some("abc"));
    let large = Bytes::from(vec![b'x'; 600 * 1024]);
    let frames = [large.clone(), large].map(|piece| Ok(Frame::Data(piece)));
    assert_eq!(stream(frames.into()).0.status, 413);
    for (error, status) in [
        (BodyError::Incomplete, 400),
        (BodyError::Malformed, 400),
        (BodyError::TooLarge, 413),
        (BodyError::TimedOut, 408),
    ] {
        assert_eq!(stream(vec![data(b"a"), Err(error)]).0.status, status);
    }
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let secret = |name: &str| (name.to_owned(), "swordfish".to_owned());
    let mut config = Config::default();
    let server = |name: &str, target| McpServer::new(name, target);
    config.mcp.servers = vec![
        server(
            "far",
            McpTarget::Http {
                url: "https://u:swordfish@a.test/mcp?key=swordfish".into(),
                headers: vec![secret("Authorization")],
                sse: false,
            },
        ),
        server(
            "near",
            McpTarget::Stdio {
                command: "tool".into(),
                args: vec!["--token".into(), "swordfish".into()],
                env: [secret("TOKEN")].into(),
                cwd: None,
            },
        ),
    ];
    config.mcp.secret = Some(*b"swordfishswordfishswordfishswor!");
    let text = Shard::new(config).ask("GET", "/api/v1/config").text();
    assert!(!text.contains("swordfish"), "{text}");
    for shown in [
        "a.test/mcp",
        "Authorization",
        "TOKEN",
        "keepalive_timeout",
        "65s",
    ] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
}

#[test]
fn servers_and_tools_come_from_the_catalogue() {
    let mut config = Config::default();
    config.mcp.refused = vec![("bad".into(), "VAR is not set".into())];
    let shard = Shard::new(config);
    let servers = shard.ask("GET", "/api/v1/servers").json();
    let servers = servers["servers"].as_array().unwrap();
    let field = |at: usize, name: &str| servers[at][name].as_str().unwrap().to_owned();
    assert_eq!(field(0, "status"), "ready");
    assert_eq!(field(1, "reason"), "no such program");
    assert_eq!(
        (field(2, "name"), field(2, "status")),
        ("bad".into(), "refused".into())
    );
    let names = |target: &str| {
        let tools = shard.ask("GET", target).json();
        let tools = tools["tools"].as_array().unwrap();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("/api/v1/tools"), ["time_now", "gone_now"]);
    assert_eq!(names("/api/v1/tools?server=gone"), ["gone_now"]);
}

/// Answers every scrape as the supervisor does.
async fn supervise(asks: across::Receiver<Scrape>) {
    while let Ok(scrape) = asks.recv().await {
        let mut collector = Collector::new(1);
        collector.update(Recorder::new(0, &["/health".into()], true).snapshot());
        let merged = collector.merged(Process::default(), &RuntimeInfo::default());
        match scrape.wanted {
            Wanted::Figures(reply) => reply.try_send(Box::new(merged)).unwrap(),
            Wanted::Beat(reply) => {
                let beat = Beat::between(None, merged, Duration::ZERO);
                reply.try_send(Arc::new(beat)).unwrap();
            }
        }
    }
}

#[test]
fn metrics_come_from_the_supervisor() {
    let shard = shard();
    let answer = on_a_runtime(async {
        crate::net::spawn(supervise(shard.asks.clone()));
        shard
            .exchange("GET", "/metrics", Body::Empty, shard.started)
            .await
    });
    assert_eq!(answer.0.status, 200);
    assert!(
        answer
            .field("Content-Type")
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        answer
            .text()
            .contains("\nringway_shard_up{shard=\"0\"} 1\n")
    );
}

#[test]
fn metrics_without_a_supervisor_are_refused_at_once() {
    let shard = shard();
    shard.asks.close();
    let answer = shard.ask("GET", "/metrics");
    assert_eq!((answer.0.status, answer.field("Retry-After")), (503, "1"));
    let off = Shard::new(Config {
        metrics: false,
        ..Config::default()
    });
    assert_eq!(off.ask("GET", "/metrics").0.status, 404);
    assert_eq!(off.ask("GET", "/api/v1/sse").0.status, 404);
}

#[test]
fn the_event_stream_speaks_at_once_and_ends_with_its_client_or_the_shard() {
    let shard = shard();
    on_a_runtime(async {
        crate::net::spawn(supervise(shard.asks.clone()));
        let open = || shard.handlers.pages.hub.watchers();
        let stream = || async {
            let asked = shard.exchange("GET", "/api/v1/sse", Body::Empty, shard.started);
            let answer = asked.await;
            assert_eq!(answer.field("Content-Type"), "text/event-stream");
            let Body::Stream(frames) = answer.0.body else {
                panic!("no stream");
            };
            frames
        };
        let mut left = stream().await;
        let mut kept = stream().await;
        for frames in [&mut left, &mut kept] {
            let Some(Ok(Frame::Data(event))) = frames.recv().await else {
                panic!("no event");
            };
            let text = str::from_utf8(&event).unwrap();
            assert!(
                text.starts_with("event: metrics\ndata: {\"time\":"),
                "{text}"
            );
            assert!(text.ends_with("}\n\n"), "{text}");
        }
        assert_eq!(open(), 2);
        drop(left);
        shard.draining.set(true);
        // Ends when the shard drains, after what was sent before.
        while kept.recv().await.is_some() {}
        crate::net::sleep(Duration::from_millis(20)).await;
        assert_eq!(open(), 0);
    });
}

#[test]
fn pages_for_people_need_nothing_from_outside() {
    let shard = shard();
    for path in ["/", "/docs"] {
        let page = shard.ask("GET", path);
        assert_eq!(page.field("Content-Type"), "text/html; charset=utf-8");
        let text = page.text();
        for outside in ["src=", "href=\"http", "href=\"//", "@import", "url("] {
            assert!(!text.contains(outside), "{outside} in {path}");
        }
        let linked = text.split("href=\"").skip(1);
        let linked: Vec<_> = linked
            .filter_map(|rest| rest.split(['"', '?']).next())
            .collect();
        assert!(!linked.is_empty());
        for link in linked {
            assert!(
                shard.router.find(link.as_bytes()).is_some(),
                "{path} links {link}"
            );
        }
    }
}

#[test]
fn openapi_and_router_name_the_same_paths() {
    let shard = shard();
    let api = shard.ask("GET", "/openapi.json").json();
    assert_eq!(api["openapi"].as_str(), Some("3.1.0"));
    let described: Vec<String> = api["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, _)| path.to_owned())
        .collect();
    let mut routed: Vec<String> = Vec::new();
    for (path, _, endpoint) in shard.router.endpoints() {
        if endpoint.handler == Handler::McpSse {
            continue;
        }
        routed.push(path.to_owned());
        if endpoint.handler == Handler::Mcp {
            routed.push(format!("{path}/{{server}}"));
        }
    }
    assert_eq!(described, routed);
    let of_one_server = &api["paths"]["/mcp/{server}"]["delete"]["parameters"];
    let of_one_server = of_one_server.as_array().unwrap();
    let names = of_one_server
        .iter()
        .map(|p| follow(&api, p)["name"].as_str());
    assert!(names.eq([Some("server"), Some("Mcp-Session-Id")]));
}

#[test]
fn the_live_page_offers_calls_where_they_are_allowed() {
    let page = |ui: Ui| {
        let shard = Shard::new(Config {
            ui,
            ..Config::default()
        });
        shard.ask("GET", "/ui")
    };
    let open = page(Ui::default());
    assert_eq!(open.0.status, 200);
    assert_eq!(open.field("Cache-Control"), "private, no-cache");
    let policy = open.field("Content-Security-Policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    let text = open.text();
    assert!(text.contains("data-calls=\"yes\"") && text.contains("data-mcp=\"/mcp\""));
    assert!(!text.contains("{{") && !text.contains("src=\""));
    let closed = page(Ui {
        calls: Vec::new(),
        ..Ui::default()
    });
    assert!(closed.text().contains("data-calls=\"no\""));
    let gone = page(Ui {
        enabled: false,
        ..Ui::default()
    });
    assert_eq!(gone.0.status, 404);
}

#[test]
fn every_answer_is_what_openapi_promises() {
    let shard = shard();
    let api = shard.ask("GET", "/openapi.json").json();
    let mut checked = 0;
    for draining in [false, true] {
        shard.draining.set(draining);
        for (path, _, endpoint) in shard.router.endpoints() {
            let Handler::Builtin(page) = endpoint.handler else {
                continue;
            };
            if matches!(
                page,
                Builtin::Metrics | Builtin::Events | Builtin::Upstreams
            ) {
                continue; // tested above, with a supervisor
            }
            let answer = shard.ask("GET", path);
            let responses = &api["paths"][path]["get"]["responses"];
            let status = answer.0.status.to_string();
            let described = follow(&api, &responses[status.as_str()]);
            assert!(described.is_object(), "{path} answers {status}");
            let media = answer.field("Content-Type").split(';').next().unwrap();
            let schema = &described["content"][media]["schema"];
            assert!(schema.is_object(), "{path} answers {media}");
            if media == "application/json" {
                check(&api, schema, &answer.json(), path);
                checked += 1;
            }
        }
    }
    assert!(checked >= 18, "{checked}");
}

fn follow<'a>(api: &'a Value, node: &'a Value) -> &'a Value {
    let Some(reference) = node["$ref"].as_str() else {
        return node;
    };
    let path = reference.strip_prefix("#/").unwrap().split('/');
    path.fold(api, |at, key| &at[key])
}

/// The part of JSON Schema that the description uses.
fn check(api: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = follow(api, schema);
    assert!(schema.is_object(), "{at}: no schema");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.iter().any(|one| one == value), "{at}: {value:?}");
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_str(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: type {other}"),
    };
    let kinds = &schema["type"];
    let fits = match kinds.as_array() {
        Some(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        None => kinds.as_str().is_none_or(is),
    };
    assert!(fits, "{at}: {value:?} is not {kinds:?}");
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            check(api, &schema["items"], item, &format!("{at}[{index}]"));
        }
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    for name in schema["required"].as_array().unwrap().iter() {
        let name = name.as_str().unwrap();
        assert!(object.contains_key(&name), "{at}: lacks {name}");
    }
    for (name, inner) in object.iter() {
        let known = properties.get(&name);
        let known = known.unwrap_or_else(|| panic!("{at}: {name} is not described"));
        check(api, known, inner, &format!("{at}.{name}"));
    }
}

#[test]
fn the_checker_bites() {
    let api: Value = sonic_rs::from_str(include_str!("openapi.json")).unwrap();
    let schema = &api["components"]["schemas"]["Health"];
    for bad in [
        r#"{"status":"healthy","uptime_seconds":1}"#,
        r#"{"status":"healthy","uptime_seconds":"1","shards":1}"#,
        r#"{"status":"well","uptime_seconds":1,"shards":1}"#,
        r#"{"status":"healthy","uptime_seconds":1,"shards":1,"more":1}"#,
    ] {
        let value: Value = sonic_rs::from_str(bad).unwrap();
        let checked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            check(&api, schema, &value, "");
        }));
        assert!(checked.is_err(), "{bad}");
    }
}

#[test]
fn listeners_are_shown() {
    let mut config = Config::default();
    config.listeners[0].address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4321));
    let shown = Shard::new(config).ask("GET", "/api/v1/config").json();
    let address = shown["listeners"][0]["address"].as_str();
    assert_eq!(address, Some("127.0.0.1:4321"));
}

#[test]
fn a_handlers_future_stays_small() {
    let shard = shard();
    let (head, mut response) = (RequestHead::default(), Response::default());
    let request = Incoming {
        client: &Client::direct(([127, 0, 0, 1], 9).into()),
        tls: None,
        head: &head,
        found: shard.router.find(b"/health").unwrap(),
        body: Body::Empty,
        now: shard.started,
        id: &RequestId::new(&head, false, &mut Ids::new(1), shard.started.unix),
        hints: &Hints::default(),
    };
    let future = shard.handlers.handle(request, &mut response);
    let bytes = size_of_val(&future);
    assert!(bytes <= 640, "{bytes} bytes are moved for each request");
}
