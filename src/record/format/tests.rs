//! Lines as an operator's tools read them, and what an attacker would like them to read.

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::*;
use crate::base::ids::Ids;
use crate::config::tests::good;
use crate::filter::limit::{Decided, Passed};
use crate::http::UpstreamTimes;
use crate::record::SeenTls;
use crate::tls::seen::ClientCertificate;

const END: Duration = Duration::from_millis(1_795_507_200_042);

fn head(fields: &[(&str, &[u8])]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_line(b"POST", b"/mcp?x=%22", 0..4, 5..10);
    for (name, value) in fields {
        head.headers.push(name.as_bytes(), value);
    }
    head
}

/// What `log.format` of that text is compiled to.
fn format(text: &str) -> LogFormat {
    good(&format!("[log]\nformat = '''{text}'''"), &[])
        .log
        .format
}

fn seen<'a>() -> Seen<'a> {
    Seen {
        connection: 77,
        requests: 3,
        request_bytes: 300,
        is_pipelined: true,
        tls: None,
    }
}

fn line_of(head: &RequestHead, response: &Response, seen: Seen<'_>, format: &LogFormat) -> String {
    let id = RequestId::new(head, true, &mut Ids::new(1), END);
    let passed = Passed::default();
    Decided::Delayed.note(&passed.rate);
    Decided::Passed.note(&passed.rate);
    let line = Line {
        head,
        response,
        client: Client {
            names_requests: true,
            address: [192, 0, 2, 7].into(),
            peer: ([10, 0, 0, 1], 4711).into(),
        },
        seen,
        route: "/mcp",
        status: 200,
        body_bytes: 153,
        sent_bytes: 353,
        is_complete: true,
        passed: &passed,
        elapsed: Duration::from_micros(12_905),
        unix: END,
        id: &id,
    };
    let mut out = Vec::new();
    line.write(format, &mut DateCache::default(), &mut out);
    String::from_utf8(out).unwrap()
}

fn line(head: &RequestHead, name: &str) -> String {
    line_of(head, &Response::new(200), seen(), &format(name))
}

#[test]
fn main_is_the_seeds_format() {
    let fields: [(&str, &[u8]); 2] = [("User-Agent", b"curl/8"), ("X-Forwarded-For", b"10.1.1.1")];
    assert_eq!(
        line(&head(&fields), "main"),
        "192.0.2.7 - - [24/Nov/2026:08:00:00 +0000] \"POST /mcp?x=%22 HTTP/1.1\" 200 153 \"-\" \
         \"curl/8\" \"10.1.1.1\" rt=0.012 uct=\"-\" uht=\"-\" urt=\"-\"\n"
    );
    let mut response = Response::new(200);
    response.upstream = Some(UpstreamTimes {
        connect: Some(Duration::from_millis(1)),
        header: Duration::from_millis(2),
        response: None,
    });
    let with_upstream = line_of(&head(&[]), &response, seen(), &format("main"));
    let tail = " \"-\" rt=0.012 uct=\"0.001\" uht=\"0.002\" urt=\"0.012\"\n";
    assert!(with_upstream.ends_with(tail), "{with_upstream}");
}

#[test]
fn combined_stops_after_the_user_agent() {
    let fields: [(&str, &[u8]); 2] = [("Referer", b"http://a.test/"), ("User-Agent", b"")];
    assert_eq!(
        line(&head(&fields), "combined"),
        "192.0.2.7 - - [24/Nov/2026:08:00:00 +0000] \"POST /mcp?x=%22 HTTP/1.1\" 200 153 \
         \"http://a.test/\" \"\"\n"
    );
}

#[test]
fn gunicorn_is_the_seeds_format() {
    let fields: [(&str, &[u8]); 1] = [("User-Agent", b"curl/8")];
    assert_eq!(
        line(&head(&fields), "gunicorn"),
        "192.0.2.7 - - [24/Nov/2026:08:00:00 +0000] \"POST /mcp?x=%22 HTTP/1.1\" 200 153 \"-\" \
         \"curl/8\" 12905\n"
    );
}

#[test]
fn the_user_of_basic_credentials_is_shown_without_its_password() {
    // joe:secret, joe, :x, j"oe:x
    for (credentials, user) in [
        (&b"Basic am9lOnNlY3JldA=="[..], "joe"),
        (b"bAsIc  am9lOnNlY3JldA==", "joe"),
        (b"Basic am9l", "-"),
        (b"Basic Ong=", "-"),
        (b"Basic aiJvZTp4", "j\\x22oe"),
        (b"Basic \xff\xff", "-"),
        (b"Bearer am9lOnNlY3JldA==", "-"),
        (b"x", "-"),
    ] {
        let head = head(&[("Authorization", credentials)]);
        let text = line(&head, "gunicorn");
        let expected = format!("192.0.2.7 - {user} [");
        assert!(text.starts_with(&expected), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

fn tls() -> SeenTls {
    SeenTls {
        protocol: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        server_name: Some("shop.example.com".into()),
        is_resumed: true,
        client: Some(Box::new(ClientCertificate {
            subject: "CN=client,O=Ring\\, Way".into(),
            issuer: "CN=issuer".into(),
            serial: "AB01".into(),
            fingerprint: "00ff".into(),
        })),
    }
}

#[test]
fn every_variable_has_nginxs_form() {
    let mut response = Response::new(200).with("ETag", "\"a\"").with("X-B", "1");
    response.headers.push(b"X-B", b"2");
    let fields: [(&str, &[u8]); 8] = [
        ("Host", b"Shop.Example.COM:8443"),
        ("Content-Type", b"text/plain"),
        ("Content-Length", b"9"),
        ("Cookie", b"a=1"),
        ("Cookie", b"b=2"),
        ("X-A", b"1"),
        ("X-A", b"2"),
        ("X-Request-Id", b"id-1"),
    ];
    let tls = tls();
    let seen = Seen {
        tls: Some(&tls),
        ..seen()
    };
    for (template, expected) in [
        ("$remote_addr:$remote_port", "192.0.2.7:4711"),
        ("$realip_remote_addr", "10.0.0.1"),
        (
            "$time_iso8601 $msec",
            "2026-11-24T08:00:00+00:00 1795507200.042",
        ),
        ("$request_method $request_uri", "POST /mcp?x=%22"),
        ("$uri $args $query_string $is_args", "/mcp x=%22 x=%22 ?"),
        ("$server_protocol $scheme $https", "HTTP/1.1 https on"),
        ("$host $http_host", "shop.example.com Shop.Example.COM:8443"),
        ("$content_type $content_length", "text/plain 9"),
        ("$http_cookie|$http_x_a", "a=1; b=2|1, 2"),
        ("$sent_http_etag $sent_http_x_b", "\\x22a\\x22 1, 2"),
        ("$sent_http_x_c $http_x_c", "- -"),
        ("$status $body_bytes_sent $request_time", "200 153 0.012"),
        ("$request_id $route", "id-1 /mcp"),
        (
            "$ssl_protocol $ssl_cipher",
            "TLSv1.3 TLS_AES_128_GCM_SHA256",
        ),
        ("$ssl_server_name $ssl_session_reused", "shop.example.com r"),
        ("$ssl_client_verify $ssl_client_serial", "SUCCESS AB01"),
        (
            "$ssl_client_s_dn $ssl_client_i_dn $ssl_client_fingerprint",
            "CN=client,O=Ring\\x5C, Way CN=issuer 00ff",
        ),
        (
            "%(m)s %(U)s %(q)s %(H)s %(B)s",
            "POST /mcp x=%22 HTTP/1.1 153",
        ),
        ("%(T)s %(D)s %(M)s %(L)s", "0 12905 12 0.012905"),
        ("%({X-Request-ID}i)s %({etag}o)s", "id-1 \\x22a\\x22"),
    ] {
        let text = line_of(&head(&fields), &response, seen, &format(template));
        assert_eq!(text, format!("{expected}\n"), "{template}");
    }
    let pid = line(&head(&[]), "$pid %");
    assert_eq!(pid, format!("{} %\n", std::process::id()));
}

#[test]
fn without_tls_its_variables_have_no_value() {
    let plain = line(
        &head(&[]),
        "$scheme$https $ssl_protocol $ssl_session_reused $ssl_client_verify $ssl_client_s_dn $host",
    );
    assert_eq!(plain, "http - - - - -\n");
}

#[test]
fn no_client_can_forge_a_line() {
    let evil = b"x\" 200 0 \"\\10.0.0.1 - - \x1b[31m\x7f\xff\r\n\0";
    let template = "$http_user_agent\"$sent_http_x";
    for name in ["main", "combined", "gunicorn", "json", template] {
        let mut response = Response::new(200);
        response.headers.push(b"X", &evil[..evil.len() - 3]);
        let head = head(&[("User-Agent", &evil[..evil.len() - 3])]);
        let line = line_of(&head, &response, seen(), &format(name));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().contains(char::is_control), "{line:?}");
        if name != "json" {
            assert!(line.contains(r"x\x22 200 0 \x22\x5C10"), "{line}");
        }
    }
}

#[test]
fn a_template_of_json_stays_json() {
    let text = format!(
        "[log]\nescape = 'json'\nformat = '''{}'''",
        r#"{"ua":"$http_user_agent","none":"$http_x","status":$status,"u":"$upstream_header_time"}"#
    );
    let format = good(&text, &[]).log.format;
    let head = head(&[("User-Agent", b"a\"b\\\x01\xff\xc3\xbc")]);
    let text = line_of(&head, &Response::new(200), seen(), &format);
    let read: Value = sonic_rs::from_str(&text).unwrap();
    assert_eq!(read["ua"].as_str(), Some("a\"b\\\u{1}\u{fffd}ü"));
    assert_eq!(
        (read["none"].as_str(), read["u"].as_str()),
        (Some(""), Some(""))
    );
    assert_eq!(read["status"].as_u64(), Some(200));
}

#[test]
fn json_is_a_log_record_of_opentelemetry() {
    let fields: [(&str, &[u8]); 8] = [
        ("Host", b"a.test:80"),
        ("User-Agent", b"a\"b\\c\x01\xffd"),
        ("Referer", "ü€😀".as_bytes()),
        ("X-Forwarded-For", b"10.0.0.1"),
        ("X-Forwarded-For", b"10.0.0.2"),
        ("X-Request-Id", b"trace-1"),
        (
            "traceparent",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("X-Other", b"never shown"),
    ];
    let mut response = Response::new(200);
    response.upstream = Some(UpstreamTimes {
        connect: Some(Duration::ZERO),
        header: Duration::from_millis(2),
        response: Some(Duration::from_millis(3)),
    });
    let text = line_of(&head(&fields), &response, seen(), &LogFormat::Json);
    let expected = concat!(
        r#"{"timestamp":"2026-11-24T08:00:00.042Z","severity_text":"INFO","severity_number":9,"#,
        r#""body":"POST /mcp?x=%22 HTTP/1.1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
        r#""span_id":"00f067aa0ba902b7","attributes":{"client.address":"192.0.2.7","#,
        r#""network.peer.address":"10.0.0.1","network.peer.port":4711,"#,
        r#""http.request.method":"POST","url.scheme":"http","#,
        r#""url.path":"/mcp","url.query":"x=%22","server.address":"a.test","#,
        r#""network.protocol.version":"1.1","user_agent.original":"a\"b\\c\u0001�d","#,
        r#""http.request.header.referer":["ü€😀"],"#,
        r#""http.request.header.x-forwarded-for":["10.0.0.1","10.0.0.2"],"http.route":"/mcp","#,
        r#""http.response.status_code":200,"http.response.body.size":153,"#,
        r#""http.server.request.duration":0.012,"ringway.request_id":"trace-1","#,
        r#""ringway.upstream.connect_time":0.000,"ringway.upstream.header_time":0.002,"#,
        "\"ringway.upstream.response_time\":0.003}}\n"
    );
    assert_eq!(text, expected);
    let read: Value = sonic_rs::from_str(&text).unwrap();
    assert_eq!(read["attributes"].as_object().unwrap().len(), 20);
}

#[test]
fn json_leaves_out_what_is_not_known() {
    for bad in [
        &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"[..],
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"",
    ] {
        let text = line(&head(&[("traceparent", bad)]), "json");
        assert!(!text.contains("trace_id"), "{text}");
    }
    let mut head = RequestHead::default();
    let text = line(&head, "json");
    let read: Value = sonic_rs::from_str(&text).unwrap();
    assert_eq!(read["body"].as_str(), Some("-"));
    assert!(read["attributes"].get("url.path").is_none());
    head.set_line(b"BREW", b"/", 0..1, 1..1);
    let read: Value = sonic_rs::from_str(&line(&head, "json")).unwrap();
    assert_eq!(
        read["attributes"]["http.request.method"].as_str(),
        Some("_OTHER")
    );
    let original = &read["attributes"]["http.request.method_original"];
    assert_eq!(original.as_str(), Some("BREW"));
}

#[test]
fn a_request_that_could_not_be_read_is_a_dash() {
    let text = line(&RequestHead::default(), "combined");
    assert!(text.contains("] \"-\" 200 153 "), "{text}");
}

#[test]
fn the_date_follows_the_second() {
    let mut date = DateCache::default();
    assert_eq!(date.at(0), "01/Jan/1970:00:00:00 +0000");
    assert_eq!(date.at(86_399), "01/Jan/1970:23:59:59 +0000");
    assert_eq!(date.at(86_400), "02/Jan/1970:00:00:00 +0000");
}

#[test]
fn addresses_are_written_as_people_know_them() {
    for (address, text) in [
        ("127.0.0.1", "127.0.0.1"),
        ("255.10.0.9", "255.10.0.9"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let mut out = Vec::new();
        push_address(&mut out, address.parse().unwrap());
        assert_eq!(out, text.as_bytes());
    }
}

#[test]
fn connections_limits_servers_arguments_and_cookies_are_told() {
    let mut response = Response::new(200);
    let head = head(&[("Cookie", b"a=1"), ("Cookie", b"b=2; c3=")]);
    for (template, expected) in [
        ("$connection $connection_requests $pipe", "77 3 p"),
        ("$bytes_sent $request_length", "353 300"),
        ("$request_completion", "OK"),
        ("$limit_req_status $limit_conn_status", "DELAYED -"),
        ("$arg_x|$arg_y|$cookie_b|$cookie_c3|$cookie_c", "%22|-|2||-"),
        ("$document_uri|$http2|", "/mcp||"),
        ("$upstream_addr $upstream_status", "- -"),
    ] {
        assert_eq!(line(&head, template), format!("{expected}\n"));
    }
    let asked = |address: &str, status, times| AskedServer {
        address: address.into(),
        status,
        times,
    };
    let times = |millis| UpstreamTimes {
        connect: None,
        header: Duration::from_millis(millis),
        response: None,
    };
    response.upstream = Some(times(7));
    response.asked = vec![
        asked("a:1", None, Some(times(3))),
        asked("b:2", Some(502), None),
    ];
    let template = format("$upstream_addr|$upstream_status|$upstream_header_time");
    let got = line_of(&head, &response, seen(), &template);
    assert_eq!(got, "a:1, b:2|-, 502|0.003, 0.007\n");
    assert!(!line(&head, "$hostname!").starts_with("$"));
}
