//! Servers that are this gateway itself: a client's file often holds the gateway's own entry,
//! and starting from that file must not make it call itself for ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::McpTarget;
use crate::base::base64;
use crate::http::endpoint::Endpoint;

/// Why `target` is ourselves, if it is.
pub(super) fn find(target: &McpTarget, listeners: &[SocketAddr]) -> Option<String> {
    match target {
        McpTarget::Http { url, .. } => own_address(url, listeners)
            .map(|address| format!("its url is this gateway ({address})")),
        McpTarget::Stdio { command, args, .. } => {
            let program = command.rsplit(['/', '\\']).next().unwrap_or(command);
            if program == "ringway" || program == "ringway.exe" {
                return Some("its command is this gateway".to_owned());
            }
            // A bridge such as mcp-remote, pointed at us.
            args.iter()
                .filter(|arg| arg.starts_with("http://") || arg.starts_with("https://"))
                .find_map(|arg| own_address(arg, listeners))
                .map(|address| format!("its arguments point at this gateway ({address})"))
        }
    }
}

fn own_address(url: &str, listeners: &[SocketAddr]) -> Option<SocketAddr> {
    let origin = Endpoint::parse(url).ok()?.origin;
    let addresses: Vec<IpAddr> = match &*origin.host {
        "localhost" | "host.docker.internal" => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        host => host.parse().into_iter().collect(),
    };
    listeners.iter().copied().find(|listener| {
        listener.port() == origin.port
            && addresses.iter().any(|address| {
                // Connecting to the unspecified address reaches this machine.
                *address == listener.ip()
                    || address.is_unspecified()
                    || (listener.ip().is_unspecified() && address.is_loopback())
            })
    })
}

/// Takes `user:password@` out of a URL; the second is the `Authorization` value it stands for
/// (RFC 7617).
pub(super) fn split_credentials(url: &str) -> (String, Option<String>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else {
        return whole();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let Some((credentials, host)) = authority.rsplit_once('@') else {
        return whole();
    };
    let mut value = b"Basic ".to_vec();
    base64::encode(
        base64::Alphabet::Standard,
        &percent_decode(credentials),
        &mut value,
    );
    let value = String::from_utf8(value).unwrap_or_default();
    (format!("{scheme}://{host}{tail}"), Some(value))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (byte == b'%').then(|| [ahead.next(), ahead.next()]);
        let value = digits.and_then(|digits| match digits {
            [Some(high), Some(low)] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(high)? << 4 | digit(low)?).ok()
            }
            _ => None,
        });
        out.push(value.unwrap_or(byte));
        if value.is_some() {
            bytes = ahead;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(url: &str) -> McpTarget {
        McpTarget::Http {
            url: url.to_owned(),
            headers: Vec::new(),
            sse: false,
        }
    }

    fn stdio(line: &str) -> McpTarget {
        let mut words = line.split(' ').map(str::to_owned);
        McpTarget::Stdio {
            command: words.next().unwrap(),
            args: words.collect(),
            env: [].into(),
            cwd: None,
        }
    }

    #[test]
    fn our_own_addresses_are_found() {
        let local = ["127.0.0.1:4444".parse().unwrap()];
        let open = ["0.0.0.0:4444".parse().unwrap()];
        for (url, of_local, of_open) in [
            ("http://localhost:4444/mcp", true, true),
            ("http://127.0.0.1:4444/x", true, true),
            ("http://0.0.0.0:4444/mcp", true, true),
            ("http://127.0.0.2:4444/mcp", false, true),
            ("http://127.0.0.1:4445/mcp", false, false),
            ("https://example.com:4444/mcp", false, false),
        ] {
            assert_eq!(find(&http(url), &local).is_some(), of_local, "{url}");
            assert_eq!(find(&http(url), &open).is_some(), of_open, "{url}");
        }
    }

    #[test]
    fn our_own_commands_are_found() {
        let local = ["127.0.0.1:4444".parse().unwrap()];
        for (line, expected) in [
            ("/usr/bin/ringway serve", true),
            ("npx -y mcp-remote http://localhost:4444/mcp", true),
            ("npx -y mcp-remote http://localhost:4445/mcp", false),
            ("ringway-tools x", false),
        ] {
            assert_eq!(find(&stdio(line), &local).is_some(), expected, "{line}");
        }
    }

    #[test]
    fn credentials_leave_the_url() {
        assert_eq!(
            split_credentials("https://joe:p%40ss@a.b/x?y=@"),
            (
                "https://a.b/x?y=@".to_owned(),
                Some("Basic am9lOnBAc3M=".to_owned())
            )
        );
        assert_eq!(
            split_credentials("https://a.b/@x"),
            ("https://a.b/@x".to_owned(), None)
        );
        assert_eq!(percent_decode("%4"), b"%4");
        assert_eq!(percent_decode("%zz"), b"%zz");
    }
}
