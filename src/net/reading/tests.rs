//! Spans of files, read on all four drivers.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::*;
use crate::net::tests::on_every_driver;

/// A file without a name that holds so many bytes.
fn file(len: usize) -> Rc<OpenFile> {
    use std::io::Write;
    let path = std::env::temp_dir().join(format!(
        "ringway-reading-{}-{:?}-{len}",
        std::process::id(),
        std::thread::current().id()
    ));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&content(0, len)).unwrap();
    file.sync_all().unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Rc::new(OpenFile::new(file.into()))
}

fn content(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|at| (at / 251 + at) as u8).collect()
}

/// Makes the kernel forget what it has in memory of the file, as far as it will.
fn forget(file: &OwnedFd) {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

async fn read(reader: &mut Reader) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty() && piece.len() <= LARGE_BYTES);
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

fn disk() -> Disk {
    Disk::start().unwrap()
}

#[test]
fn a_span_is_read_whole_from_memory_and_from_the_disk() {
    on_every_driver(|| async {
        let (disk, buffers) = (disk(), Buffers::new());
        let file = file(300_000);
        for (from, to) in [(0, 300_000), (70_001, 70_002), (65_536, 299_999), (5, 5)] {
            for is_cold in [false, true] {
                if is_cold {
                    forget(file.fd());
                }
                let span = (from as u64, (to - from) as u64);
                let mut reader = Reader::new(&file, span, &disk, &buffers);
                let bytes = read(&mut reader).await.unwrap();
                assert!(bytes == content(from, to), "{from}..{to}");
            }
        }
    });
}

#[test]
fn a_file_that_is_shorter_than_promised_is_an_error() {
    on_every_driver(|| async {
        let (disk, buffers) = (disk(), Buffers::new());
        let file = file(100_000);
        for is_cold in [false, true] {
            if is_cold {
                forget(file.fd());
            }
            let mut reader = Reader::new(&file, (0, 200_000), &disk, &buffers);
            let error = read(&mut reader).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn a_wait_that_is_dropped_loses_nothing() {
    on_every_driver(|| async {
        let (disk, buffers) = (disk(), Buffers::new());
        let file = file(200_000);
        forget(file.fd());
        let mut reader = Reader::new(&file, (0, 200_000), &disk, &buffers);
        let mut whole = Vec::new();
        loop {
            // Polled once and dropped, each time.
            let first = {
                let mut next = core::pin::pin!(reader.next());
                poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await
            };
            let piece = match first {
                Poll::Ready(piece) => piece,
                Poll::Pending => reader.next().await,
            };
            match piece.unwrap() {
                Some(piece) => whole.extend_from_slice(&piece),
                None => break,
            }
        }
        assert!(whole == content(0, 200_000));
    });
}

#[test]
fn what_is_in_memory_is_known() {
    let file = file(1 << 20);
    let mut byte = [0];
    rustix::io::pread(file.fd(), &mut byte, 0).unwrap();
    let all = std::fs::read(format!("/proc/self/fd/{}", {
        use std::os::fd::AsRawFd;
        file.fd().as_raw_fd()
    }))
    .unwrap();
    assert_eq!(all.len(), 1 << 20);
    assert!(is_cached(file.as_fd(), 0, 1 << 20));
    assert!(is_cached(file.as_fd(), 4_095, 2));
    assert!(is_cached(file.as_fd(), 7, 0));
    forget(file.fd());
    // A filesystem that lives in memory has nothing to forget.
    let is_memory = rustix::fs::fstatfs(file.fd()).unwrap().f_type == 0x0102_1994;
    assert_eq!(is_cached(file.as_fd(), 0, 1 << 20), is_memory);
}
