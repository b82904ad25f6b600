//! Field names the program looks at, found by a perfect hash that the compiler checks.

/// Defines [`Known`] and its table of names from one list, so that they cannot disagree.
macro_rules! known_fields {
    ($($variant:ident = $name:literal,)*) => {
        /// Field names the program looks at, so that a look-up is an index and not a
        /// comparison. This list is the only place that spells them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "each variant is the field of that name")]
        pub enum Known {
            $($variant,)*
            /// Any other name.
            Other,
        }

        const NAMES: [(&str, Known); Known::COUNT - 1] = [$(($name, Known::$variant),)*];

        impl Known {
            /// Every known name, by index.
            pub const ALL: [Self; Self::COUNT - 1] = [$(Self::$variant,)*];
        }
    };
}

known_fields! {
    Host = "Host",
    Connection = "Connection",
    ContentLength = "Content-Length",
    ContentType = "Content-Type",
    TransferEncoding = "Transfer-Encoding",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptRanges = "Accept-Ranges",
    Age = "Age",
    Allow = "Allow",
    Authorization = "Authorization",
    CacheControl = "Cache-Control",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLocation = "Content-Location",
    ContentRange = "Content-Range",
    Cookie = "Cookie",
    Date = "Date",
    Etag = "ETag",
    Expect = "Expect",
    Expires = "Expires",
    Forwarded = "Forwarded",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    IfRange = "If-Range",
    IfUnmodifiedSince = "If-Unmodified-Since",
    KeepAlive = "Keep-Alive",
    LastEventId = "Last-Event-ID",
    LastModified = "Last-Modified",
    Location = "Location",
    MaxForwards = "Max-Forwards",
    McpMethod = "Mcp-Method",
    McpName = "Mcp-Name",
    McpProtocolVersion = "Mcp-Protocol-Version",
    McpSessionId = "Mcp-Session-Id",
    Origin = "Origin",
    Pragma = "Pragma",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyConnection = "Proxy-Connection",
    Range = "Range",
    Referer = "Referer",
    RetryAfter = "Retry-After",
    Server = "Server",
    SetCookie = "Set-Cookie",
    Te = "TE",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    UserAgent = "User-Agent",
    Vary = "Vary",
    Via = "Via",
    WwwAuthenticate = "WWW-Authenticate",
    XAccelBuffering = "X-Accel-Buffering",
    XForwardedFor = "X-Forwarded-For",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedProto = "X-Forwarded-Proto",
    XRealIp = "X-Real-IP",
    XRequestId = "X-Request-Id",
}

impl Known {
    /// How many names there are, `Other` included.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// A bit of its own, for sets of names.
    #[must_use]
    pub const fn bit(self) -> u128 {
        1 << self as u8
    }

    /// Which known name this is, without regard to case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let near_end = name.get(name.len().saturating_sub(2));
        let (Some(&first), Some(&near_end)) = (name.first(), near_end) else {
            return Self::Other;
        };
        match SLOTS.get(slot(name.len(), first, near_end)) {
            Some(Some((spelling, known))) if is_same(name, spelling.as_bytes()) => *known,
            _ => Self::Other,
        }
    }

    /// The usual spelling; empty for `Other`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(name, _)| name)
    }

    /// Whether the field concerns this connection alone, so that it is never forwarded
    /// (RFC 9110 §7.6.1), or is one the codec writes itself.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether the field may not come in a trailer section (RFC 9110 §6.5.1): it frames,
    /// routes or authenticates the message, and those decisions were made before the body.
    #[must_use]
    pub const fn is_forbidden_in_trailers(self) -> bool {
        self.is_hop_by_hop()
            || matches!(
                self,
                Self::Host
                    | Self::ContentLength
                    | Self::ContentType
                    | Self::ContentEncoding
                    | Self::ContentRange
                    | Self::IfMatch
                    | Self::IfModifiedSince
                    | Self::IfNoneMatch
                    | Self::IfRange
                    | Self::IfUnmodifiedSince
                    | Self::Range
                    | Self::Authorization
                    | Self::CacheControl
                    | Self::Cookie
                    | Self::Expect
                    | Self::Forwarded
                    | Self::MaxForwards
                    | Self::Origin
                    | Self::ProxyAuthorization
                    | Self::SetCookie
                    | Self::XForwardedFor
                    | Self::XForwardedHost
                    | Self::XForwardedProto
                    | Self::McpMethod
                    | Self::McpName
                    | Self::McpProtocolVersion
                    | Self::McpSessionId
            )
    }
}

const SLOT_COUNT: usize = 256;

/// The slot of a name; the multipliers were searched for so that no two known names share one.
const fn slot(len: usize, first: u8, near_end: u8) -> usize {
    let sum = len * 2 + (first | 0x20) as usize * 23 + (near_end | 0x20) as usize * 37;
    sum % SLOT_COUNT
}

/// Whether a token equals a spelling without regard to case, some bytes at a time. Between a
/// letter and its other case lies the bit 0x20, and no token byte but those two becomes the
/// letter, or `-`, when it is cleared.
fn is_same(name: &[u8], spelling: &[u8]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    if name.len() != spelling.len() {
        return false;
    }
    if let (Some(head), Some(tail), Some(head_wanted), Some(tail_wanted)) = (
        name.first_chunk(),
        name.last_chunk(),
        spelling.first_chunk(),
        spelling.last_chunk(),
    ) {
        let differ = (u64::from_ne_bytes(*head) ^ u64::from_ne_bytes(*head_wanted))
            | (u64::from_ne_bytes(*tail) ^ u64::from_ne_bytes(*tail_wanted));
        let middle = |bytes: &[u8]| -> Option<u64> {
            Some(u64::from_ne_bytes(*bytes.get(8..)?.first_chunk()?))
        };
        return differ & !CASE == 0
            && (name.len() <= 16
                || middle(name)
                    .zip(middle(spelling))
                    .is_some_and(|(a, b)| (a ^ b) & !CASE == 0));
    }
    if let (Some(head), Some(tail), Some(head_wanted), Some(tail_wanted)) = (
        name.first_chunk(),
        name.last_chunk(),
        spelling.first_chunk(),
        spelling.last_chunk(),
    ) {
        let differ = (u32::from_ne_bytes(*head) ^ u32::from_ne_bytes(*head_wanted))
            | (u32::from_ne_bytes(*tail) ^ u32::from_ne_bytes(*tail_wanted));
        return differ & !(CASE as u32) == 0;
    }
    name.eq_ignore_ascii_case(spelling)
}

static SLOTS: [Option<(&str, Known)>; SLOT_COUNT] = slots();

#[allow(
    clippy::indexing_slicing,
    reason = "runs in the compiler, where an index out of bounds is a build error"
)]
const fn slots() -> [Option<(&'static str, Known)>; SLOT_COUNT] {
    let mut slots = [None; SLOT_COUNT];
    let mut index = 0;
    while index < NAMES.len() {
        let (name, known) = NAMES[index];
        let bytes = name.as_bytes();
        assert!(bytes.len() <= 24, "is_same() compares three words at most");
        let slot = slot(bytes.len(), bytes[0], bytes[bytes.len() - 2]);
        assert!(
            slots[slot].is_none(),
            "two names share a slot: search other multipliers for slot()"
        );
        slots[slot] = Some((name, known));
        index += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_nothing_near_it_is() {
        for (index, &(name, known)) in NAMES.iter().enumerate() {
            assert_eq!(known as usize, index);
            assert_eq!(known.name(), name);
            assert_eq!(Known::of(name.as_bytes()), known);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), known);
            assert_eq!(Known::of(name.to_ascii_lowercase().as_bytes()), known);
            assert_eq!(Known::of(format!("{name}x").as_bytes()), Known::Other);
            assert_eq!(Known::of(&name.as_bytes()[1..]), Known::Other);
            for at in 0..name.len() {
                let mut near = name.as_bytes().to_vec();
                near[at] = b'!';
                assert_eq!(Known::of(&near), Known::Other);
            }
            let underscored = name.replace('-', "_");
            if underscored != name {
                assert_eq!(Known::of(underscored.as_bytes()), Known::Other);
            }
        }
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(b"Accept\xe9"), Known::Other);
    }
}
