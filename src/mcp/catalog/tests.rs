//! Tests of the merged lists.

use super::*;
use crate::mcp::scan::{Message, decode, elements};

fn tool(name: &str) -> Item {
    Item {
        key: name.into(),
        raw: format!(r#"{{ "title":"T", "name" : "{name}", "inputSchema":{{"name":1}} }}"#).into(),
    }
}

fn resource(uri: &str) -> Item {
    Item {
        key: uri.into(),
        raw: format!(r#"{{"uri":"{uri}"}}"#).into(),
    }
}

#[derive(Default)]
struct Server {
    tools: Vec<Item>,
    resources: Vec<Item>,
    templates: Vec<Item>,
    ttl_ms: u64,
    public: bool,
}

fn catalog(servers: &[Server], policy: Policy, page_items_max: usize) -> Catalog {
    let names = ["one", "two", "three"];
    let sources: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(at, server)| Source {
            server: at as u16,
            name: names[at],
            tools: &server.tools,
            prompts: &[],
            resources: &server.resources,
            templates: &server.templates,
            reads: !server.resources.is_empty() || !server.templates.is_empty(),
            ttl_ms: server.ttl_ms,
            public: server.public,
        })
        .collect();
    Catalog::merge(
        &sources,
        Making {
            policy,
            sealer: &Sealer::new(&[1; 32]),
            scope: "",
            server_info: r#"{"name":"ringway"}"#,
            page_items_max,
        },
    )
}

fn answer(catalog: &Catalog, era: Era, cursor: Option<&str>) -> String {
    let bytes = catalog
        .answer(List::Tools, era, b"1", cursor, &Sealer::new(&[1; 32]))
        .unwrap();
    assert!(Message::scan(&bytes).is_ok());
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn items_stay_byte_for_byte_but_for_their_name() {
    let servers = [
        Server {
            tools: vec![tool("x"), tool("s")],
            ..Server::default()
        },
        Server {
            tools: vec![tool("s")],
            ..Server::default()
        },
    ];
    let catalog = catalog(&servers, Policy::Auto, 100);
    assert_eq!(
        answer(&catalog, Era::Legacy, None),
        concat!(
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":["#,
            r#"{ "title":"T", "name" : "x", "inputSchema":{"name":1} },"#,
            r#"{ "title":"T", "name" : "one_s", "inputSchema":{"name":1} },"#,
            r#"{ "title":"T", "name" : "two_s", "inputSchema":{"name":1} }]}}"#
        )
    );
    assert_eq!(&*catalog.tools().find("two_s").unwrap().own, "s");
    assert_eq!(catalog.tools().find("two_s").unwrap().server, 1);
    assert!(catalog.tools().find("s").is_none());
    let renamed: Vec<_> = catalog.tools().renamed().collect();
    assert_eq!(renamed, [(0, "s", "one_s"), (1, "s", "two_s")]);
}

#[test]
fn modern_lists_say_how_long_they_last() {
    let server = |ttl_ms, public| Server {
        tools: vec![tool("x")],
        ttl_ms,
        public,
        ..Server::default()
    };
    for (servers, end) in [
        (
            vec![server(9, true), server(5, true)],
            r#""ttlMs":5,"cacheScope":"public""#,
        ),
        (
            vec![server(9, true), server(5, false)],
            r#""ttlMs":5,"cacheScope":"private""#,
        ),
        (
            vec![server(9, true), Server::default()],
            r#""ttlMs":9,"cacheScope":"public""#,
        ),
        (vec![], r#""ttlMs":0,"cacheScope":"private""#),
    ] {
        let text = answer(&catalog(&servers, Policy::Auto, 10), Era::Modern, None);
        assert!(
            text.contains(end) && text.contains(r#""resultType":"complete""#),
            "{text}"
        );
        assert!(!answer(&catalog(&servers, Policy::Auto, 10), Era::Legacy, None).contains("ttlMs"));
    }
}

#[test]
fn pages_give_every_item_once() {
    let tools: Vec<_> = (0..7).map(|n| tool(&format!("t{n}"))).collect();
    let catalog = catalog(
        &[Server {
            tools,
            ..Server::default()
        }],
        Policy::Auto,
        3,
    );
    let (mut cursor, mut seen, mut pages) = (None::<String>, Vec::new(), 0);
    loop {
        let text = answer(&catalog, Era::Modern, cursor.as_deref());
        let bytes = text.as_bytes();
        let result = Message::scan(bytes).unwrap().result.of(bytes);
        let list = member(result, "tools").unwrap().of(result);
        elements(list, |item| {
            let item = item.of(list);
            seen.push(String::from_utf8(member(item, "name").unwrap().of(item).to_vec()).unwrap());
        })
        .unwrap();
        pages += 1;
        let next = member(result, "nextCursor").map(|span| span.of(result));
        cursor = next.map(|quoted| decode(&quoted[1..quoted.len() - 1]).into_owned());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (3, 7));
    assert_eq!(seen[6], "\"t6\"");
}

#[test]
fn foreign_cursors_are_refused() {
    let tools: Vec<_> = (0..3).map(|n| tool(&format!("t{n}"))).collect();
    let catalog = catalog(
        &[Server {
            tools,
            ..Server::default()
        }],
        Policy::Auto,
        2,
    );
    let sealer = Sealer::new(&[1; 32]);
    let ask = |list, cursor: &str| catalog.answer(list, Era::Legacy, b"1", Some(cursor), &sealer);
    let good = seal_cursor(&sealer, List::Tools, "", 1).unwrap();
    assert!(ask(List::Tools, &good).is_ok());
    assert_eq!(ask(List::Prompts, &good), Err(BadCursor));
    let other = seal_cursor(&sealer, List::Tools, "two", 1).unwrap();
    let gone = seal_cursor(&sealer, List::Tools, "", 2).unwrap();
    for cursor in ["", "2", &other, &gone] {
        assert_eq!(ask(List::Tools, cursor), Err(BadCursor), "{cursor}");
    }
}

#[test]
fn resources_find_their_server() {
    let servers = [
        Server {
            resources: vec![resource("a://1"), resource("a://2")],
            templates: vec![resource("t://{x}")],
            ..Server::default()
        },
        Server {
            resources: vec![resource("a://2"), resource("b://1")],
            templates: vec![resource("t://deep/{x}")],
            ..Server::default()
        },
    ];
    let both = catalog(&servers, Policy::Auto, 10);
    for (uri, server) in [
        ("a://1", Some(0)),
        ("a://2", Some(0)),
        ("b://1", Some(1)),
        ("t://9", Some(0)),
        ("t://deep/9", Some(1)),
        ("a://unlisted", Some(0)),
        ("b://unlisted", Some(1)),
        ("c://unlisted", None),
    ] {
        assert_eq!(both.reader(uri), server, "{uri}");
    }
    assert_eq!(both.template("t://deep/{x}"), Some(1));
    let one = catalog(&servers[..1], Policy::Auto, 10);
    assert_eq!(one.reader("c://unlisted"), Some(0));
}
