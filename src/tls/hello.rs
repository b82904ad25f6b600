//! What must be known of a client's first bytes before rustls gets them: whether they are TLS at
//! all, whether the ClientHello is whole, and the name in it (RFC 8446 §4.1.2, RFC 6066 §3).
//! rustls's unbuffered interface does not tell the name. Whatever is odd here is left for rustls
//! to refuse.

/// Type of a record that carries handshake messages.
const RECORD_HANDSHAKE: u8 = 22;
/// Type of the ClientHello message.
const MESSAGE_CLIENT_HELLO: u8 = 1;
/// Extension number of server_name, and the one kind of name in it.
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_TYPE_HOST: u8 = 0;
/// Longest DNS name.
const NAME_BYTES_MAX: usize = 255;
/// Longest run of capital letters that an HTTP method has, and then some.
const METHOD_BYTES_MAX: usize = 20;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Not enough to say.
    Partial,
    /// An HTTP request without TLS.
    PlainHttp,
    /// A whole ClientHello, or something that only rustls can answer. The name is in lower case
    /// and without a final dot.
    Tls(Option<Box<str>>),
}

/// Looks at the bytes received so far.
#[must_use]
pub fn read(bytes: &[u8]) -> Greeting {
    match bytes.first() {
        None => Greeting::Partial,
        Some(&RECORD_HANDSHAKE) => match message(bytes) {
            Assembled::Partial => Greeting::Partial,
            Assembled::Odd => Greeting::Tls(None),
            Assembled::One(body) => Greeting::Tls(server_name(body)),
            Assembled::Several(body) => Greeting::Tls(server_name(&body)),
        },
        Some(first) if first.is_ascii_uppercase() => plain_http(bytes),
        Some(_) => Greeting::Tls(None),
    }
}

fn plain_http(bytes: &[u8]) -> Greeting {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    match method.count() {
        length if length > METHOD_BYTES_MAX => Greeting::Tls(None),
        length if length == bytes.len() => Greeting::Partial,
        length if bytes.get(length) == Some(&b' ') => Greeting::PlainHttp,
        _ => Greeting::Tls(None),
    }
}

/// The body of the first handshake message.
enum Assembled<'a> {
    Partial,
    Odd,
    /// In one record, as nearly all are.
    One(&'a [u8]),
    Several(Vec<u8>),
}

fn message(bytes: &[u8]) -> Assembled<'_> {
    let mut rest = Fields(bytes);
    let mut gathered = Vec::new();
    loop {
        let Some(kind) = rest.number(1) else {
            return Assembled::Partial;
        };
        if kind != usize::from(RECORD_HANDSHAKE) {
            return Assembled::Odd;
        }
        if rest.take(2).is_none() {
            return Assembled::Partial;
        }
        let Some(fragment) = rest.block(2) else {
            return Assembled::Partial;
        };
        if gathered.is_empty()
            && let Some(body) = whole(fragment)
        {
            return body.map_or(Assembled::Odd, Assembled::One);
        }
        gathered.extend_from_slice(fragment);
        if let Some(body) = whole(&gathered) {
            return body.map_or(Assembled::Odd, |body| Assembled::Several(body.to_vec()));
        }
    }
}

/// The body of a ClientHello if all of it is here; `Some(None)` if it is another message.
fn whole(bytes: &[u8]) -> Option<Option<&[u8]>> {
    let mut fields = Fields(bytes);
    if fields.number(1)? != usize::from(MESSAGE_CLIENT_HELLO) {
        return Some(None);
    }
    fields.block(3).map(Some)
}

fn server_name(body: &[u8]) -> Option<Box<str>> {
    let mut hello = Fields(body);
    hello.take(2 + 32)?; // version, random
    hello.block(1)?; // session id
    hello.block(2)?; // cipher suites
    hello.block(1)?; // compression methods
    let mut extensions = Fields(hello.block(2)?);
    loop {
        let kind = extensions.number(2)?;
        let content = extensions.block(2)?;
        if kind != usize::from(EXTENSION_SERVER_NAME) {
            continue;
        }
        let mut names = Fields(Fields(content).block(2)?);
        if names.number(1)? != usize::from(NAME_TYPE_HOST) {
            return None;
        }
        let name = core::str::from_utf8(names.block(2)?).ok()?;
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
            return None;
        }
        return Some(name.to_ascii_lowercase().into());
    }
}

/// Fields of TLS's presentation language, taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let digits = self.take(bytes)?;
        Some(
            digits
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
        )
    }

    /// A block behind its length of so many bytes.
    fn block(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(length_bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        let mut bytes = length[length.len() - length_bytes..].to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    fn hello(name: Option<&[u8]>) -> Vec<u8> {
        let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
        if let Some(name) = name {
            let list = [vec![0], block(2, name)].concat();
            extensions.extend([vec![0, 0], block(2, &block(2, &list))].concat());
        }
        let body = [
            vec![3, 3],
            vec![7; 32],
            block(1, &[9; 32]),
            block(2, &[0x13, 1]),
            block(1, &[0]),
            block(2, &extensions),
        ]
        .concat();
        [vec![1], block(3, &body)].concat()
    }

    fn records(message: &[u8], fragment: usize) -> Vec<u8> {
        message
            .chunks(fragment)
            .flat_map(|chunk| [vec![22, 3, 1], block(2, chunk)].concat())
            .collect()
    }

    fn name(text: &str) -> Greeting {
        Greeting::Tls(Some(text.into()))
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut() {
        let message = hello(Some(b"Www.Example.com."));
        for fragment in [1, 5, 100, message.len()] {
            let bytes = records(&message, fragment);
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Greeting::Partial, "{fragment} {end}");
            }
            assert_eq!(read(&bytes), name("www.example.com"), "{fragment}");
        }
        assert_eq!(read(&records(&hello(None), 4000)), Greeting::Tls(None));
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        for odd in [&b""[..], b"a b", b"a\nb", b"\xff", &[b'a'; 300]] {
            assert_eq!(read(&records(&hello(Some(odd)), 4000)), Greeting::Tls(None));
        }
    }

    #[test]
    fn plain_http_is_told_apart() {
        assert_eq!(read(b""), Greeting::Partial);
        assert_eq!(read(b"GET"), Greeting::Partial);
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Greeting::PlainHttp);
        assert_eq!(read(b"PRI * HTTP/2.0\r\n"), Greeting::PlainHttp);
        assert_eq!(read(b"GETX-"), Greeting::Tls(None));
        assert_eq!(read(b"\x80\x2e\x01"), Greeting::Tls(None));
        assert_eq!(read(&[b'A'; 21]), Greeting::Tls(None));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[&[22, 3, 1][..], &bytes].concat());
            let _ = server_name(&bytes);
        }

        #[test]
        fn a_damaged_hello_does_not_panic(at in 0_usize..120, byte: u8) {
            let mut bytes = records(&hello(Some(b"example.com")), 4000);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
