//! Drives the HTTP/1.1 codec the way a server or a client would, over input cut into pieces,
//! and checks on the way what must hold whatever the bytes are. Whoever includes this file
//! offers the codec's names in a sibling module `wire`.

use super::wire::{
    BodyKind, ClientConn, ClientEvent, Error, Event, HeaderList, Limits, Next, RequestHead,
    RequestLine, Response, ResponseHead, ServerConn, Version,
};

/// Fields in order, as received.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What a server made of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// A whole request.
    Request(Message),
    /// The protocol was broken; the connection is over.
    Refused(Error),
    /// The input ended inside a message.
    CutShort,
}

/// What a client made of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Interim(u16),
    Response(Message),
    Refused(Error),
    CutShort,
}

/// A whole message; those parts are set that its kind has.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub method: String,
    pub target: String,
    pub path_and_query: String,
    pub status: u16,
    pub is_http10: bool,
    pub headers: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub expect_continue: bool,
    /// Where in the whole input the message ended.
    pub end: usize,
}

impl core::fmt::Debug for Message {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let shown = |list: &Fields| -> Vec<String> {
            list.iter()
                .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()))
                .collect()
        };
        f.debug_struct("Message")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("status", &self.status)
            .field("headers", &shown(&self.headers))
            .field("body", &format_args!("{}", self.body.escape_ascii()))
            .field("trailers", &shown(&self.trailers))
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The unread bytes, and how many were discarded before them.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    discarded: usize,
}

impl Window {
    fn discard(&mut self, consumed: usize) {
        assert!(consumed <= self.bytes.len(), "consumed more than was given");
        self.bytes.drain(..consumed);
        self.discarded += consumed;
    }
}

pub fn fields(list: &HeaderList) -> Fields {
    let mut wire = Vec::new();
    for (known, name, value) in list.iter() {
        assert!(
            !name.is_empty() && name.iter().all(u8::is_ascii_graphic),
            "a name that is no token: {}",
            name.escape_ascii()
        );
        assert!(
            !value.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f),
            "a control byte in a value: {}",
            value.escape_ascii()
        );
        assert!(list.all(known).any(|other| other == value));
        assert!(list.get_by_name(name).is_some());
        wire.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    assert_eq!(list.wire(), wire, "the list is not its own wire form");
    list.iter()
        .map(|(_, n, v)| (n.to_vec(), v.to_vec()))
        .collect()
}

/// Serves `pieces` in turn, answering each request with 200, up to the end of the input, the
/// first refusal, or the exchange after which the codec closes.
pub fn serve(pieces: &[&[u8]], limits: Limits) -> Vec<Served> {
    let mut conn = ServerConn::new(limits);
    let (mut head, mut window) = (RequestHead::default(), Window::default());
    let (mut served, mut message) = (Vec::new(), None::<Message>);
    let mut pieces = pieces.iter();
    loop {
        let event = match conn.poll(&window.bytes, &mut head) {
            Ok(event) => event,
            Err(error) => {
                assert!((400..600).contains(&error.status()));
                refuse(&mut conn, error);
                served.push(Served::Refused(error));
                return served;
            }
        };
        match event {
            Event::NeedMore { consumed } => {
                window.discard(consumed);
                if let Some(piece) = pieces.next() {
                    window.bytes.extend_from_slice(piece);
                    continue;
                }
                if conn.end_of_input().is_err() || message.is_some() {
                    served.push(Served::CutShort);
                }
                return served;
            }
            Event::Request {
                consumed,
                body,
                expect_continue,
            } => {
                assert!(message.is_none() && consumed > 0);
                window.discard(consumed);
                message = Some(request(&head, expect_continue));
                if body != BodyKind::None {
                    assert_ne!(body, BodyKind::UntilClose);
                    continue;
                }
            }
            Event::Body { span, consumed } => {
                assert!(!span.is_empty() && span.end <= consumed);
                let taken = window.bytes.get(span).expect("the span lies in the input");
                let body = &mut message.as_mut().expect("a head came first").body;
                body.extend_from_slice(taken);
                window.discard(consumed);
                continue;
            }
            Event::End { consumed } => window.discard(consumed),
        }
        let mut done = message.take().expect("a head came first");
        done.end = window.discarded;
        done.trailers = conn
            .take_trailers()
            .map_or(Vec::new(), |list| fields(&list));
        served.push(Served::Request(done));
        let mut out = Vec::new();
        let sent = conn.respond(&Response::new(200), b"", &mut out);
        assert!(out.starts_with(b"HTTP/1.1 200 OK\r\n") && out.ends_with(b"\r\n\r\n"));
        let next = conn.finish();
        assert_eq!(sent.persists, next == Next::Request, "kept what it said");
        if next == Next::Close {
            return served;
        }
    }
}

fn refuse(conn: &mut ServerConn, error: Error) {
    if !conn.is_answered() {
        let mut out = Vec::new();
        let sent = conn.respond(&Response::new(error.status()), b"", &mut out);
        assert!(!sent.persists);
        assert!(out.windows(19).any(|part| part == b"Connection: close\r\n"));
    }
    assert_eq!(conn.finish(), Next::Close, "a broken connection was kept");
}

fn request(head: &RequestHead, expect_continue: bool) -> Message {
    assert!(head.target().is_ascii() && !head.target().is_empty());
    assert!(!head.target().contains([' ', '\r', '\n', '\0']));
    Message {
        method: head.method_token().to_owned(),
        target: head.target().to_owned(),
        path_and_query: head.path_and_query().to_owned(),
        is_http10: head.version == Version::Http10,
        headers: fields(&head.headers),
        expect_continue,
        ..Message::default()
    }
}

/// Receives the answers to one request for each method in turn, up to the end of the input (at
/// which the server closes), the first refusal, or a connection that cannot be reused.
pub fn receive(pieces: &[&[u8]], methods: &[&str], limits: Limits) -> Vec<Received> {
    let mut conn = ClientConn::new(limits);
    let (mut head, mut window) = (ResponseHead::default(), Window::default());
    let (mut received, mut message) = (Vec::new(), None::<Message>);
    let mut pieces = pieces.iter();
    let mut methods = methods.iter();
    ask(&mut conn, methods.next().expect("at least one request"));
    loop {
        let event = match conn.poll(&window.bytes, &mut head) {
            Ok(event) => event,
            Err(error) => {
                assert!(!conn.finish(true), "a broken connection was kept");
                received.push(Received::Refused(error));
                return received;
            }
        };
        match event {
            ClientEvent::NeedMore { consumed } => {
                window.discard(consumed);
                if let Some(piece) = pieces.next() {
                    window.bytes.extend_from_slice(piece);
                    continue;
                }
                if conn.end_of_input().is_err() {
                    received.push(Received::CutShort);
                    return received;
                }
            }
            ClientEvent::Interim { consumed, status } => {
                assert!((100..200).contains(&status));
                window.discard(consumed);
                received.push(Received::Interim(status));
                continue;
            }
            ClientEvent::Response { consumed, body } => {
                assert!((200..600).contains(&head.status));
                window.discard(consumed);
                message = Some(Message {
                    status: head.status,
                    is_http10: head.version == Version::Http10,
                    headers: fields(&head.headers),
                    ..Message::default()
                });
                if body != BodyKind::None {
                    continue;
                }
            }
            ClientEvent::Body { span, consumed } => {
                assert!(!span.is_empty() && span.end <= consumed);
                let taken = window.bytes.get(span).expect("the span lies in the input");
                let body = &mut message.as_mut().expect("a head came first").body;
                body.extend_from_slice(taken);
                window.discard(consumed);
                continue;
            }
            ClientEvent::End { consumed } => window.discard(consumed),
            // Nothing here asks for a switch.
            ClientEvent::Switched { .. } => unreachable!("no switch was asked for"),
        }
        let Some(mut done) = message.take() else {
            return received;
        };
        done.end = window.discarded;
        done.trailers = conn
            .take_trailers()
            .map_or(Vec::new(), |list| fields(&list));
        received.push(Received::Response(done));
        match methods.next() {
            Some(method) if conn.finish(true) => ask(&mut conn, method),
            _ => return received,
        }
    }
}

fn ask(conn: &mut ClientConn, method: &str) {
    let mut headers = HeaderList::new();
    headers.push(b"Host", b"a.test");
    let line = RequestLine {
        method,
        target: "/",
    };
    conn.request(line, &headers, BodyKind::None, &mut Vec::new());
    assert!(conn.is_unanswered());
}
