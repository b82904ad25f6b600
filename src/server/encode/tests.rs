//! Large content beside everything else of a shard.

use std::cell::Cell;

use super::*;
use crate::base::clock;
use crate::config::Compression;
use crate::filter::compress::Desk;
use crate::http::Shelf;
use crate::net::runtime::{Driver, Runtime};

fn encoding() -> Rc<Encoding> {
    let config = Compression::default();
    let compressor = Compressor::new(&config, &Shelf::new(8 << 20), Desk::new(None));
    Rc::new(Encoding::new(
        compressor,
        Rc::new(Recorder::new(0, &[], true)),
        (None, Buffers::new()),
    ))
}

fn text(bytes: usize) -> Bytes {
    let mut text = Vec::with_capacity(bytes + 64);
    let mut number = 7_u64;
    while text.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.extend_from_slice(
            format!("{{\"id\":{},\"tool\":\"search\"}},", number >> 44).as_bytes(),
        );
    }
    text.truncate(bytes);
    text.into()
}

fn request(accept: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_target("GET", "/").unwrap();
    head.headers.push(b"Accept-Encoding", accept.as_bytes());
    head
}

fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    Runtime::build(Some(Driver::Epoll))
        .unwrap()
        .block_on(future)
}

/// Encodes content as the response to one request, and reads it to its end.
async fn answered(encoding: &Rc<Encoding>, accept: &str, content: impl Into<Body>) -> usize {
    let mut response = Response::json(200, "");
    response.body = content.into();
    let request = request(accept);
    let plan = encoding.compressor().decide(&request, &mut response);
    if let Some(plan) = plan {
        encoding.encode(&request, &mut response, plan).await;
    }
    match response.body {
        Body::Full(bytes) => bytes.len(),
        Body::Stream(mut frames) => {
            let mut total = 0;
            while let Some(frame) = frames.recv().await {
                match frame.unwrap() {
                    Frame::Data(bytes) => total += bytes.len(),
                    Frame::Trailers(_) => {}
                }
            }
            total
        }
        body => panic!("{body:?}"),
    }
}

/// How long a millisecond's sleep takes while `busy` goes on: the longest but one in a hundred,
/// and how long `busy` took.
async fn beside(busy: impl Future<Output = ()>) -> (Duration, Duration) {
    let over = Rc::new(Cell::new(false));
    let (sender, mut receiver) = bounded(1);
    let is_over = Rc::clone(&over);
    spawn(async move {
        let mut waits = Vec::new();
        while !is_over.get() {
            let before = clock::mono();
            sleep(Duration::from_millis(1)).await;
            waits.push(clock::mono() - before);
        }
        waits.sort();
        let at = waits.len() * 99 / 100;
        let _ = sender.send(waits.get(at).copied()).await;
    });
    let start = clock::mono();
    busy.await;
    let took = clock::mono() - start;
    over.set(true);
    (receiver.recv().await.flatten().unwrap(), took)
}

#[test]
fn others_have_their_turn_while_50_mb_are_encoded() {
    for coding in ["gzip", "br", "zstd"] {
        let content = text(50_000_000);
        let (p99, took) = on_a_runtime(beside(async {
            let encoded = answered(&encoding(), coding, content).await;
            assert!((1..25_000_000).contains(&encoded), "{encoded}");
        }));
        // On an idle machine it is 2 to 3 ms, two of which are the sleep's own; a loaded one may
        // take the thread's core away for a while. Whole, the content would take seconds.
        assert!(p99 < took / 8, "{coding}: {p99:?} of {took:?}");
        assert!(
            p99 < Duration::from_millis(60),
            "{coding}: {p99:?} of {took:?}"
        );
    }
}

#[test]
fn many_at_once_take_no_more_of_each_turn() {
    let (p99, took) = on_a_runtime(beside(async {
        let encoding = encoding();
        let (sender, mut finished) = bounded(16);
        let content = text(900_000);
        for _ in 0..16 {
            let (sender, content) = (sender.clone(), content.clone());
            let encoding = Rc::clone(&encoding);
            spawn(async move {
                answered(&encoding, "gzip", content).await;
                let _ = sender.send(()).await;
            });
        }
        drop(sender);
        while finished.recv().await.is_some() {}
    }));
    assert!(p99 < took / 8, "{p99:?} of {took:?}");
}

#[test]
fn a_kept_encoding_is_made_once_however_many_ask() {
    on_a_runtime(async {
        let encoding = encoding();
        let stored = encoding.compressor().shelf().store(text(300_000));
        let (sender, mut sizes) = bounded(8);
        for _ in 0..8 {
            let (sender, stored) = (sender.clone(), Rc::clone(&stored));
            let encoding = Rc::clone(&encoding);
            spawn(async move {
                let size = answered(&encoding, "br", stored).await;
                let _ = sender.send(size).await;
            });
        }
        drop(sender);
        let first = sizes.recv().await.unwrap();
        let mut count = 1;
        while let Some(size) = sizes.recv().await {
            assert_eq!(size, first);
            count += 1;
        }
        assert_eq!(count, 8);
        assert_eq!(encoding.recorder.value(Counter::BrotliInput), 300_000);
    });
}

#[test]
fn a_client_that_leaves_ends_the_work() {
    on_a_runtime(async {
        let encoding = encoding();
        // While the head waits: the whole future is dropped.
        let mut waiting = Box::pin(answered(&encoding, "gzip", text(900_000)));
        let is_waiting = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
        assert!(is_waiting);
        drop(waiting);
        // While the content is sent: the receiver is dropped.
        let mut response = Response::json(200, text(5_000_000));
        let request = request("gzip");
        let plan = encoding
            .compressor()
            .decide(&request, &mut response)
            .unwrap();
        encoding.encode(&request, &mut response, plan).await;
        drop(response);
        sleep(Duration::from_millis(50)).await;
        let encoded = encoding.recorder.value(Counter::GzipInput);
        assert!(encoded < 2_000_000, "{encoded}");
        // What both held is free again.
        let encoders = encoding.compressor().encoders();
        let lent: Vec<_> = (0..64)
            .map_while(|_| encoders.lend(Coding::Gzip, plan.shape))
            .collect();
        assert_eq!(lent.len(), 64);
    });
}

#[test]
fn without_an_encoder_content_goes_out_as_it_is() {
    on_a_runtime(async {
        let encoding = encoding();
        let encoders = encoding.compressor().encoders();
        let shape = crate::filter::compress::Shape::Stream;
        let lent: Vec<_> = core::iter::from_fn(|| encoders.lend(Coding::Gzip, shape)).collect();
        assert_eq!(answered(&encoding, "gzip", text(5000)).await, 5000);
        assert_eq!(encoding.recorder.value(Counter::EncodersBusy), 1);
        drop(lent);
        assert!(answered(&encoding, "gzip", text(5000)).await < 5000);
    });
}
