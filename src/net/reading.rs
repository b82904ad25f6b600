//! Reading open files without holding up the shard: what the kernel has in memory at once, the
//! rest through the ring, or by the disk threads where there is no ring.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use monoio::buf::IoBufMut;
use monoio::fs::File;

use crate::base::open_file::{OpenFile, PART_BYTES};
use crate::net::buffers::{Buffers, LARGE_BYTES};
use crate::net::disk::{Disk, Undone};
use crate::net::{runtime, sys};

/// Reads a span of a file from its start to its end, one piece ahead where the disk is slow.
pub struct Reader {
    file: Rc<OpenFile>,
    way: Option<Way>,
    disk: Disk,
    buffers: Buffers,
    offset: u64,
    left: u64,
    ahead: Option<Reading>,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>>>>;

/// How bytes come that are not in memory.
#[derive(Clone)]
enum Way {
    Ring(Rc<File>),
    Threads(Arc<OwnedFd>),
}

impl Reader {
    /// A reader of the `len` bytes from `offset` on.
    #[must_use]
    pub fn new(
        file: &Rc<OpenFile>,
        (offset, len): (u64, u64),
        disk: &Disk,
        buffers: &Buffers,
    ) -> Self {
        Self {
            file: Rc::clone(file),
            way: None,
            disk: disk.clone(),
            buffers: buffers.clone(),
            offset,
            left: len,
            ahead: None,
        }
    }

    /// The next piece in a buffer of the pool, at most [`LARGE_BYTES`]; `None` at the end of the
    /// span. May be dropped: what was read of the piece is read again.
    ///
    /// # Errors
    /// The disk's, or `UnexpectedEof` if the file has become shorter than the span.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let reading = match self.ahead.take() {
            Some(ahead) => ahead,
            None => match self.cached()? {
                Some(piece) => {
                    self.pass(piece.len());
                    return Ok(Some(piece));
                }
                None => self.start()?,
            },
        };
        // Kept here while it is waited for, so that nothing is lost if nobody waits any more.
        let piece = self.ahead.insert(reading).await;
        self.ahead = None;
        let piece = piece?;
        self.pass(piece.len());
        if !is_cached(self.file.as_fd(), self.offset, self.piece_bytes() as u64) {
            self.begin_ahead().await?;
        }
        Ok(Some(piece))
    }

    /// Goes on behind bytes that were sent in another way.
    pub fn skip(&mut self, count: u64) {
        self.ahead = None;
        self.offset += count;
        self.left = self.left.saturating_sub(count);
    }

    /// How many bytes of the span are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Where in the file the rest of the span begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How many bytes from here on, up to `max`, the kernel has in memory, as far as is known.
    /// It is asked for each mebibyte at most once in a `second`: what it forgets meanwhile is
    /// waited for.
    #[must_use]
    pub fn cached_bytes(&self, max: u64, second: u64) -> u64 {
        let end = self.offset + self.left.min(max);
        let mut at = self.offset;
        while at < end {
            let part = at - at % PART_BYTES;
            let part_end = (part + PART_BYTES).min(self.offset + self.left);
            if !self.file.was_seen(at, second) {
                if !is_cached(self.file.as_fd(), at, part_end - at) {
                    break;
                }
                if at == part {
                    self.file.note_seen(at, second);
                }
            }
            at = part_end;
        }
        at.min(end) - self.offset
    }

    fn pass(&mut self, count: usize) {
        self.offset += count as u64;
        self.left = self.left.saturating_sub(count as u64);
    }

    fn piece_bytes(&self) -> usize {
        usize::try_from(self.left).map_or(LARGE_BYTES, |left| left.min(LARGE_BYTES))
    }

    /// The next piece, or its beginning, if the kernel has it in memory.
    fn cached(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = self.buffers.large();
        let span = (self.offset, self.piece_bytes());
        match sys::read_cached(self.file.as_fd(), &mut buffer, span) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(buffer)),
            // WouldBlock, or a filesystem that cannot tell.
            Err(_) => {
                self.buffers.give_back(buffer);
                Ok(None)
            }
        }
    }

    /// Reads the piece after this one meanwhile: nobody waits for it yet.
    async fn begin_ahead(&mut self) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let mut reading = self.start()?;
        // The first poll hands it to the kernel.
        let begun = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
        self.ahead = Some(match begun {
            Poll::Ready(piece) => Box::pin(core::future::ready(piece)),
            Poll::Pending => reading,
        });
        Ok(())
    }

    /// A read of the next piece that waits for the disk.
    fn start(&mut self) -> io::Result<Reading> {
        let way = match &self.way {
            Some(way) => way.clone(),
            None => self.way.insert(Way::of(self.file.fd())?).clone(),
        };
        let (offset, len) = (self.offset, self.piece_bytes());
        let buffer = self.buffers.large();
        Ok(match way {
            Way::Ring(file) => Box::pin(async move {
                let (read, slice) = file.read_at(buffer.slice_mut(..len), offset).await;
                whole(read, slice.into_inner())
            }),
            Way::Threads(file) => {
                let disk = self.disk.clone();
                Box::pin(async move {
                    let read = disk.run(move || {
                        let mut buffer = buffer;
                        let read = rustix::io::pread(
                            &file,
                            rustix::buffer::spare_capacity(&mut buffer),
                            offset,
                        );
                        buffer.truncate(len);
                        whole(read.map_err(io::Error::from), buffer)
                    });
                    read.await.unwrap_or_else(|undone| Err(busy(undone)))
                })
            }
        })
    }
}

impl core::fmt::Debug for Reader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reader")
            .field("offset", &self.offset)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Way {
    fn of(file: &OwnedFd) -> io::Result<Self> {
        let file = file.try_clone()?;
        if runtime::is_epoll() {
            return Ok(Self::Threads(Arc::new(file)));
        }
        Ok(Self::Ring(Rc::new(File::from_std(file.into())?)))
    }
}

fn whole(read: io::Result<usize>, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    match read? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(buffer),
    }
}

fn busy(undone: Undone) -> io::Error {
    io::Error::other(undone)
}

/// Whether the kernel has a whole span in memory, so that sending it would not wait for the disk.
#[must_use]
pub fn is_cached(file: BorrowedFd<'_>, offset: u64, len: u64) -> bool {
    let Some(last) = len.checked_sub(1).map(|back| offset + back) else {
        return true;
    };
    let has_byte = |at| {
        let mut byte = Vec::with_capacity(1);
        sys::read_cached(file, &mut byte, (at, 1))
    };
    let page = rustix::param::page_size() as u64;
    match sys::cached_pages(file, offset, len) {
        Ok(pages) if pages < last / page - offset / page + 1 => false,
        // Pages that are still on their way are counted as well; the last comes last.
        Ok(_) => !matches!(has_byte(last), Err(error) if error.kind() == io::ErrorKind::WouldBlock),
        // Linux before 6.5: the ends tell for what lies between.
        Err(_) => has_byte(offset).is_ok() && has_byte(last).is_ok(),
    }
}

#[cfg(test)]
mod tests;
