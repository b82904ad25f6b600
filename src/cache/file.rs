//! How a response is written to a file: a head of fixed length, what describes it, its content,
//! each with a checksum. A file that is cut short, from another version or damaged anywhere is
//! none.
//!
//! ```text
//!  magic 8 | description length u32 | content length u64 | CRC-32 of these u32
//!  description: key, status, freshness, selecting fields, header fields | CRC-32 u32
//!  content                                                              | CRC-32 u32
//! ```
//!
//! Numbers are little-endian; texts have their length before them as u32.

use std::sync::Arc;

use bytes::Bytes;

use super::entry::{Draft, Parcel};
use super::vary::Selecting;
use crate::http::freshness::Freshness;
use crate::http::{HeaderList, is_field_value, is_token};

/// Changes with the form, so that files of other versions are no responses.
const MAGIC: [u8; 8] = *b"RWCACHE\x01";
/// Length of the head.
pub const HEAD_BYTES: usize = 24;
/// Length of a checksum.
const SUM_BYTES: usize = 4;
/// The longest description that is read: header fields are bounded well below.
const DESCRIPTION_BYTES_MAX: usize = 1 << 20;

/// What a file is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It does not begin as one of ours.
    #[error("not a cache file of this version")]
    Head,
    /// It ends before its end, or goes on behind it.
    #[error("the file has another length than it says")]
    Length,
    /// A checksum is wrong.
    #[error("a checksum is wrong")]
    Sum,
    /// It says what no response says.
    #[error("the file describes no response")]
    Description,
}

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the description.
    pub description: usize,
    /// Length of the content.
    pub content: usize,
}

impl Head {
    /// Length of the whole file.
    #[must_use]
    pub const fn file_bytes(self) -> u64 {
        (HEAD_BYTES + self.description + self.content + 2 * SUM_BYTES) as u64
    }

    /// Length of the file's part before its content.
    #[must_use]
    pub const fn front_bytes(self) -> usize {
        HEAD_BYTES + self.description + SUM_BYTES
    }
}

/// What a file says before its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The key.
    pub key: Box<[u8]>,
    /// The response.
    pub draft: Draft,
}

/// Writes the part before the content, and the content's checksum, which follows it.
#[must_use]
pub fn encode(key: &[u8], parcel: &Parcel) -> (Vec<u8>, [u8; SUM_BYTES]) {
    let Draft {
        status,
        headers,
        selecting,
        freshness,
    } = &parcel.draft;
    let mut out = vec![0; HEAD_BYTES];
    put(&mut out, key);
    out.extend_from_slice(&status.to_le_bytes());
    for number in freshness.numbers() {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let fields = selecting.fields();
    out.push(fields.len() as u8);
    for (name, value) in fields {
        put(&mut out, name);
        out.push(u8::from(value.is_some()));
        put(&mut out, value.unwrap_or_default());
    }
    for (_, name, value) in headers.iter() {
        put(&mut out, name);
        put(&mut out, value);
    }
    let description = out.len() - HEAD_BYTES;
    let sum = crc32fast::hash(out.get(HEAD_BYTES..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&(description as u32).to_le_bytes());
    head.extend_from_slice(&(parcel.body.len() as u64).to_le_bytes());
    let sum = crc32fast::hash(&head);
    head.extend_from_slice(&sum.to_le_bytes());
    if let Some(front) = out.get_mut(..HEAD_BYTES) {
        front.copy_from_slice(&head);
    }
    (out, crc32fast::hash(&parcel.body).to_le_bytes())
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

/// Reads a head.
///
/// # Errors
/// What is wrong with it.
pub fn read_head(bytes: &[u8]) -> Result<Head, Damaged> {
    let mut reader = Reader(bytes.get(..HEAD_BYTES).ok_or(Damaged::Length)?);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Damaged::Head);
    }
    let description = u32::from_le_bytes(reader.array()?) as usize;
    let content = u64::from_le_bytes(reader.array()?);
    let sum = u32::from_le_bytes(reader.array()?);
    let summed = bytes.get(..HEAD_BYTES - SUM_BYTES).ok_or(Damaged::Length)?;
    if crc32fast::hash(summed) != sum {
        return Err(Damaged::Sum);
    }
    if description > DESCRIPTION_BYTES_MAX {
        return Err(Damaged::Head);
    }
    let content = usize::try_from(content).map_err(|_| Damaged::Length)?;
    Ok(Head {
        description,
        content,
    })
}

/// Reads what stands before the content; `bytes` begin with the file's.
///
/// # Errors
/// What is wrong with it.
pub fn read_front(bytes: &[u8]) -> Result<(Head, Description), Damaged> {
    let head = read_head(bytes)?;
    let end = HEAD_BYTES + head.description;
    let description = bytes.get(HEAD_BYTES..end).ok_or(Damaged::Length)?;
    check(description, bytes.get(end..end + SUM_BYTES))?;
    Ok((head, describe(description)?))
}

/// Reads a whole file.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &Bytes) -> Result<(Box<[u8]>, Arc<Parcel>), Damaged> {
    let (head, Description { key, draft }) = read_front(bytes)?;
    if head.file_bytes() != bytes.len() as u64 {
        return Err(Damaged::Length);
    }
    let start = head.front_bytes();
    let end = start + head.content;
    let body = bytes.slice(start..end);
    check(&body, bytes.get(end..))?;
    Ok((key, Arc::new(Parcel { draft, body })))
}

fn check(bytes: &[u8], sum: Option<&[u8]>) -> Result<(), Damaged> {
    let sum = sum.and_then(|sum| sum.try_into().ok());
    let sum = sum.map(u32::from_le_bytes).ok_or(Damaged::Length)?;
    if crc32fast::hash(bytes) == sum {
        Ok(())
    } else {
        Err(Damaged::Sum)
    }
}

fn describe(bytes: &[u8]) -> Result<Description, Damaged> {
    let mut reader = Reader(bytes);
    let key = reader.text()?.into();
    let status = u16::from_le_bytes(reader.array()?);
    let mut numbers = [0; 6];
    for number in &mut numbers {
        *number = u64::from_le_bytes(reader.array()?);
    }
    let mut selecting = Selecting::default();
    let [count] = reader.array()?;
    for _ in 0..count {
        let name = reader.text()?;
        let [is_there] = reader.array()?;
        let value = reader.text()?;
        selecting.push(name, (is_there == 1).then_some(value));
    }
    let mut headers = HeaderList::new();
    while !reader.0.is_empty() {
        let (name, value) = (reader.text()?, reader.text()?);
        if !is_token(name) || !is_field_value(value) {
            return Err(Damaged::Description);
        }
        headers.push(name, value);
    }
    if !(200..600).contains(&status) {
        return Err(Damaged::Description);
    }
    Ok(Description {
        key,
        draft: Draft {
            status,
            headers,
            selecting,
            freshness: Freshness::of_numbers(numbers),
        },
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged::Description)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Damaged::Description)
    }

    fn text(&mut self) -> Result<&'a [u8], Damaged> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        self.take(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parcel(body: &[u8]) -> Parcel {
        let mut selecting = Selecting::default();
        selecting.push(b"accept-encoding", Some(b"br"));
        selecting.push(b"x-a", None);
        let mut headers = HeaderList::new();
        headers.push(b"Content-Type", b"text/plain");
        headers.push(b"X-Empty", b"");
        let draft = Draft {
            status: 203,
            headers,
            selecting,
            freshness: Freshness::of_numbers([1, 2, 3, 3, 5, 6]),
        };
        Parcel {
            draft,
            body: Bytes::copy_from_slice(body),
        }
    }

    fn file(body: &[u8]) -> Vec<u8> {
        let parcel = parcel(body);
        let (mut bytes, sum) = encode(b"key\0", &parcel);
        bytes.extend_from_slice(&parcel.body);
        bytes.extend_from_slice(&sum);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        for body in [&b""[..], b"x", &[7; 100_000]] {
            let bytes = Bytes::from(file(body));
            let (key, read) = decode(&bytes).unwrap();
            assert_eq!(&*key, b"key\0");
            assert_eq!(read.draft, parcel(b"").draft);
            assert_eq!(read.body, body);
            let (head, description) = read_front(&bytes).unwrap();
            assert_eq!(head.file_bytes(), bytes.len() as u64);
            assert_eq!(description.draft, read.draft);
        }
    }

    #[test]
    fn damage_anywhere_is_found() {
        let whole = file(b"some content");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged.into()).is_err(), "byte {at}");
            let cut = whole[..at].to_vec();
            assert!(decode(&cut.into()).is_err(), "cut at {at}");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(decode(&longer.into()).unwrap_err(), Damaged::Length);
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_beyond_their_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            keep in 0_usize..40,
        ) {
            let mut mixed = file(b"x")[..keep].to_vec();
            mixed.extend_from_slice(&bytes);
            prop_assert!(decode(&mixed.into()).is_err());
        }
    }
}
