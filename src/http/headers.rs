//! Header fields in order, in one buffer (RFC 9110 §5). Names keep their spelling and compare
//! without case.

use core::ops::Range;

/// Field names the program looks at, so that a look-up is an index and not a comparison.
/// [`Known::of`] is the only place that spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the field of that name")]
pub enum Known {
    Host,
    Connection,
    ContentLength,
    ContentType,
    TransferEncoding,
    Accept,
    AcceptEncoding,
    Authorization,
    Expect,
    Origin,
    UserAgent,
    Referer,
    XForwardedFor,
    XRequestId,
    LastEventId,
    McpSessionId,
    McpProtocolVersion,
    McpMethod,
    McpName,
    Te,
    Trailer,
    Upgrade,
    KeepAlive,
    Date,
    Server,
    RetryAfter,
    CacheControl,
    /// Any other name.
    Other,
}

impl Known {
    /// How many names there are, `Other` included.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// Which known name this is, without regard to case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        const NAMES: &[(&[u8], Known)] = &[
            (b"host", Known::Host),
            (b"connection", Known::Connection),
            (b"content-length", Known::ContentLength),
            (b"content-type", Known::ContentType),
            (b"transfer-encoding", Known::TransferEncoding),
            (b"accept", Known::Accept),
            (b"accept-encoding", Known::AcceptEncoding),
            (b"authorization", Known::Authorization),
            (b"expect", Known::Expect),
            (b"origin", Known::Origin),
            (b"user-agent", Known::UserAgent),
            (b"referer", Known::Referer),
            (b"x-forwarded-for", Known::XForwardedFor),
            (b"x-request-id", Known::XRequestId),
            (b"last-event-id", Known::LastEventId),
            (b"mcp-session-id", Known::McpSessionId),
            (b"mcp-protocol-version", Known::McpProtocolVersion),
            (b"mcp-method", Known::McpMethod),
            (b"mcp-name", Known::McpName),
            (b"te", Known::Te),
            (b"trailer", Known::Trailer),
            (b"upgrade", Known::Upgrade),
            (b"keep-alive", Known::KeepAlive),
            (b"date", Known::Date),
            (b"server", Known::Server),
            (b"retry-after", Known::RetryAfter),
            (b"cache-control", Known::CacheControl),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |&(_, known)| known)
    }
}

/// An ordered list of header fields.
#[derive(Clone, Debug, Default)]
pub struct HeaderList {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    known: Known,
    start: u32,
    name_end: u32,
    end: u32,
}

impl Field {
    fn name(self) -> Range<usize> {
        self.start as usize..self.name_end as usize
    }
    fn value(self) -> Range<usize> {
        self.name_end as usize..self.end as usize
    }
}

impl HeaderList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field. The caller vouches that name and value hold no CR, LF or NUL.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        let name_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        let end = self.bytes.len() as u32;
        self.fields.push(Field {
            known: Known::of(name),
            start,
            name_end,
            end,
        });
    }

    /// Appends every field of another list; one copy, whatever their number.
    pub fn append(&mut self, other: &Self) {
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes);
        self.fields.extend(other.fields.iter().map(|field| Field {
            known: field.known,
            start: field.start + base,
            name_end: field.name_end + base,
            end: field.end + base,
        }));
    }

    /// Forgets every field and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    /// The first value of a known field.
    #[must_use]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| field.known == known)?;
        self.bytes.get(field.value())
    }

    /// Every value of a known field.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| field.known == known)
            .filter_map(|field| self.bytes.get(field.value()))
    }

    /// The first value of a field by name, without regard to case.
    #[must_use]
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find(|(_, field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, _, value)| value)
    }

    /// Every field in order: which known name, its spelling, its value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.fields.iter().filter_map(|field| {
            Some((
                field.known,
                self.bytes.get(field.name())?,
                self.bytes.get(field.value())?,
            ))
        })
    }

    /// Removes every field of that known name.
    pub fn remove(&mut self, known: Known) {
        self.fields.retain(|field| field.known != known);
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_keeps_order_names_and_values() {
        let mut list = HeaderList::new();
        list.push(b"Host", b"a.test");
        let mut more = HeaderList::new();
        more.push(b"X-A", b"1");
        more.push(b"content-type", b"text/plain");
        list.append(&more);
        list.push(b"Date", b"now");
        let seen: Vec<_> = list.iter().collect();
        assert_eq!(
            seen,
            [
                (Known::Host, &b"Host"[..], &b"a.test"[..]),
                (Known::Other, b"X-A", b"1"),
                (Known::ContentType, b"content-type", b"text/plain"),
                (Known::Date, b"Date", b"now"),
            ]
        );
        assert_eq!(list.get_by_name(b"x-a"), Some(&b"1"[..]));
    }
}
