//! What a load balancer puts in front of a connection: the PROXY protocol, versions 1 and 2
//! (HAProxy's `proxy-protocol.txt`). Type-length-values of version 2 are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest line of version 1, with its end (§2.1).
const LINE_BYTES_MAX: usize = 107;
/// What version 2 begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEADER_BYTES: usize = 16;
/// Addresses and type-length-values; balancers send at most some hundred bytes.
const CONTENT_BYTES_MAX: usize = 4096;
/// The most that has to be seen to know that nothing comes of it.
pub const BYTES_MAX: usize = HEADER_BYTES + CONTENT_BYTES_MAX;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A whole header.
    Whole {
        /// Its length in bytes.
        used: usize,
        /// The client's address; `None` where the balancer speaks for itself (health checks), or
        /// for something without an Internet address.
        source: Option<SocketAddr>,
    },
}

/// The bytes are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header, though the listener expects one")]
pub struct NoHeader;

/// Parses what has come.
///
/// # Errors
/// It cannot become a header any more.
pub fn parse(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    if bytes.first() == Some(&b'\r') {
        return binary(bytes);
    }
    let known = b"PROXY ";
    let seen = bytes.len().min(known.len());
    if bytes.get(..seen) != known.get(..seen) {
        return Err(NoHeader);
    }
    let end = memchr::memmem::find(bytes, b"\r\n");
    match end {
        Some(end) if end + 2 <= LINE_BYTES_MAX => {
            let line = bytes.get(known.len()..end).ok_or(NoHeader)?;
            let line = core::str::from_utf8(line).map_err(|_| NoHeader)?;
            Ok(Parsed::Whole {
                used: end + 2,
                source: text(line)?,
            })
        }
        None if bytes.len() < LINE_BYTES_MAX => Ok(Parsed::Partial),
        _ => Err(NoHeader),
    }
}

/// `TCP4 source destination port port`, or `UNKNOWN` and anything.
fn text(line: &str) -> Result<Option<SocketAddr>, NoHeader> {
    let mut words = line.split(' ');
    let family = words.next().ok_or(NoHeader)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut addresses = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); 2];
    for address in &mut addresses {
        let word = words.next().ok_or(NoHeader)?;
        *address = match family {
            "TCP4" => IpAddr::V4(word.parse().map_err(|_| NoHeader)?),
            "TCP6" => IpAddr::V6(word.parse().map_err(|_| NoHeader)?),
            _ => return Err(NoHeader),
        };
    }
    let mut ports = [0; 2];
    for number in &mut ports {
        *number = port(words.next().ok_or(NoHeader)?)?;
    }
    match words.next() {
        Some(_) => Err(NoHeader),
        None => Ok(Some(SocketAddr::new(addresses[0], ports[0]))),
    }
}

fn port(word: &str) -> Result<u16, NoHeader> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let has_zero = word.len() > 1 && word.starts_with('0');
    if !is_number || has_zero {
        return Err(NoHeader);
    }
    word.parse().map_err(|_| NoHeader)
}

fn binary(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes.get(..seen) != SIGNATURE.get(..seen) {
        return Err(NoHeader);
    }
    let Some(&[version, family, high, low]) = bytes.get(SIGNATURE.len()..HEADER_BYTES) else {
        return Ok(Parsed::Partial);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || length > CONTENT_BYTES_MAX {
        return Err(NoHeader);
    }
    let used = HEADER_BYTES + length;
    let Some(content) = bytes.get(HEADER_BYTES..used) else {
        return Ok(Parsed::Partial);
    };
    let source = match version & 0xf {
        0 => None,
        1 => match family >> 4 {
            1 => Some(addresses::<4>(content, Ipv4Addr::from)?),
            2 => Some(addresses::<16>(content, Ipv6Addr::from)?),
            _ => None,
        },
        _ => return Err(NoHeader),
    };
    Ok(Parsed::Whole { used, source })
}

/// Source address, destination address, source port, destination port.
fn addresses<const N: usize>(
    content: &[u8],
    address: impl FnOnce([u8; N]) -> <[u8; N] as Octets>::Address,
) -> Result<SocketAddr, NoHeader>
where
    [u8; N]: Octets,
{
    let source = content.get(..N).and_then(|bytes| bytes.try_into().ok());
    let ports = content.get(2 * N..2 * N + 4).ok_or(NoHeader)?;
    let port = ports.first_chunk::<2>().ok_or(NoHeader)?;
    let address = address(source.ok_or(NoHeader)?);
    Ok(SocketAddr::new(address.into(), u16::from_be_bytes(*port)))
}

/// Which kind of address so many bytes are.
trait Octets {
    type Address: Into<IpAddr>;
}

impl Octets for [u8; 4] {
    type Address = Ipv4Addr;
}

impl Octets for [u8; 16] {
    type Address = Ipv6Addr;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(bytes: &[u8]) -> Option<SocketAddr> {
        match parse(bytes).unwrap() {
            Parsed::Whole { used, source } => {
                assert_eq!(used, bytes.len());
                source
            }
            Parsed::Partial => panic!("partial"),
        }
    }

    fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        let head = [0x20 | command, family, length[0], length[1]];
        [&SIGNATURE[..], &head, content].concat()
    }

    fn is_partial_until_whole(bytes: &[u8]) {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Parsed::Partial), "{end}");
        }
        let more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&more), parse(bytes));
    }

    #[test]
    fn lines_of_version_1() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
        assert_eq!(source(line), Some("192.0.2.1:56324".parse().unwrap()));
        is_partial_until_whole(line);
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
        assert_eq!(source(line), Some("[2001:db8::1]:1".parse().unwrap()));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 x y z\r\n"), None);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXX",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY \xff\r\n",
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat(),
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100], b"\r\n"].concat(),
        ] {
            assert_eq!(parse(bytes), Err(NoHeader), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn headers_of_version_2() {
        let four = [
            &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 187][..],
            &[3; 9],
        ]
        .concat();
        let header = binary(1, 0x11, &four);
        assert_eq!(source(&header), Some("192.0.2.1:56324".parse().unwrap()));
        is_partial_until_whole(&header);
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 12], &[1; 16], &[0, 7, 0, 8]].concat();
        let header = binary(1, 0x21, &six);
        assert_eq!(source(&header), Some("[2001:db8::]:7".parse().unwrap()));
        // LOCAL, Unix sockets and the unspecified tell no address.
        assert_eq!(source(&binary(0, 0, b"")), None);
        assert_eq!(source(&binary(1, 0x31, &[0; 216])), None);
        assert_eq!(source(&binary(1, 0, b"xx")), None);
        for refused in [
            binary(2, 0x11, &four),
            binary(1, 0x11, &four[..11]),
            binary(1, 0x21, &four),
            binary(1, 0x11, &[0; CONTENT_BYTES_MAX + 1]),
            [&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
        ] {
            assert_eq!(parse(&refused), Err(NoHeader));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_used_beyond_the_end(
            prefix in 0_usize..3,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let prefix = [&b""[..], b"PROXY TCP4 ", SIGNATURE][prefix];
            let bytes = [prefix, &bytes].concat();
            if let Ok(Parsed::Whole { used, .. }) = parse(&bytes) {
                prop_assert!(used <= bytes.len() && used <= BYTES_MAX);
            }
        }
    }
}
