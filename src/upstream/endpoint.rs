//! Where an HTTP server is: the URL taken apart (RFC 3986, RFC 9110 §4.2). No names are
//! resolved here.

/// Scheme, host and port: what connections may be shared within.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `https`
    pub is_tls: bool,
    /// A DNS name in lower case or an address; IPv6 without its brackets.
    pub host: Box<str>,
    /// The port, the scheme's own if the URL names none.
    pub port: u16,
}

/// An origin and the target within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Path and query, as a request line has them; starts with `/`.
    pub target: Box<str>,
}

/// Why a URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    /// No host, or one with forbidden characters.
    #[error("the URL has no usable host")]
    Host,
    /// Not a number up to 65535.
    #[error("the port of the URL is not a number up to 65535")]
    Port,
    /// A name and password before the host.
    #[error("the URL holds credentials; put them into an Authorization header instead")]
    Credentials,
    /// Spaces, control characters or non-ASCII text in path or query.
    #[error("the URL holds characters that must be percent-encoded")]
    Target,
}

impl Endpoint {
    /// Takes a URL apart. A fragment is left out.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let is_tls = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return Err(UrlError::Scheme);
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = match target.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{target}"),
            Some(_) => target.to_owned(),
        };
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Target);
        }
        Ok(Self {
            origin: Origin::parse(authority, is_tls)?,
            target: target.into(),
        })
    }

    /// Follows a reference as `Location` or an `endpoint` event give it, within the same origin.
    /// `None` for another origin or something unreadable: a server must not send the gateway,
    /// and the credentials it holds, elsewhere.
    #[must_use]
    pub fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim();
        let joined = if reference.contains("://") {
            Self::parse(reference).ok()?
        } else if let Some(rest) = reference.strip_prefix("//") {
            let scheme = if self.origin.is_tls { "https" } else { "http" };
            Self::parse(&format!("{scheme}://{rest}")).ok()?
        } else {
            let path = self.target.split('?').next().unwrap_or("/");
            let target = match reference.as_bytes().first()? {
                b'/' => reference.to_owned(),
                b'?' => format!("{path}{reference}"),
                _ => {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    format!("{folder}/{reference}")
                }
            };
            let target = target.split('#').next().unwrap_or("/").to_owned();
            if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            Self {
                origin: self.origin.clone(),
                target: target.into(),
            }
        };
        (joined.origin == self.origin).then_some(joined)
    }
}

impl Origin {
    fn parse(authority: &str, is_tls: bool) -> Result<Self, UrlError> {
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| UrlError::Host)?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or(UrlError::Host)?),
                };
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_named) {
            return Err(UrlError::Host);
        }
        let own = if is_tls { 443 } else { 80 };
        let port = match port {
            None | Some("") => own,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| UrlError::Port)?
            }
            Some(_) => return Err(UrlError::Port),
        };
        Ok(Self {
            is_tls,
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }

    /// The value of the `Host` field: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_string()
        };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        for (url, is_tls, host, port, target, authority) in [
            ("http://a.b/mcp", false, "a.b", 80, "/mcp", "a.b"),
            ("HTTPS://A.b", true, "a.b", 443, "/", "a.b"),
            ("https://a:8443?x=1#f", true, "a", 8443, "/?x=1", "a:8443"),
            ("http://[::1]:90/p", false, "::1", 90, "/p", "[::1]:90"),
            (
                "http://127.0.0.1:/p",
                false,
                "127.0.0.1",
                80,
                "/p",
                "127.0.0.1",
            ),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.origin.is_tls, is_tls, "{url}");
            assert_eq!(&*endpoint.origin.host, host, "{url}");
            assert_eq!(endpoint.origin.port, port, "{url}");
            assert_eq!(&*endpoint.target, target, "{url}");
            assert_eq!(endpoint.origin.authority(), authority, "{url}");
        }
    }

    #[test]
    fn unusable_urls_say_why() {
        for (url, error) in [
            ("ftp://a", UrlError::Scheme),
            ("a/b", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http://a b/", UrlError::Host),
            ("http://[::g]/", UrlError::Host),
            ("http://a:99999/", UrlError::Port),
            ("http://a:+1/", UrlError::Port),
            ("http://u:p@a/", UrlError::Credentials),
            ("http://a/b c", UrlError::Target),
            ("http://a/\r\nx: y", UrlError::Target),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn references_stay_within_the_origin() {
        let base = Endpoint::parse("https://a.b/x/y?z=1").unwrap();
        for (reference, target) in [
            ("/messages?s=1", Some("/messages?s=1")),
            ("w", Some("/x/w")),
            ("?q", Some("/x/y?q")),
            ("https://a.b:443/n", Some("/n")),
            ("//a.b/m", Some("/m")),
            ("https://a.b.evil/n", None),
            ("http://a.b/n", None),
            ("//evil/n", None),
            ("/a b", None),
            ("", None),
        ] {
            let joined = base.join(reference).map(|endpoint| endpoint.target);
            assert_eq!(joined.as_deref(), target, "{reference}");
        }
    }
}
