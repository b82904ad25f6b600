//! Each test names the kernel or runtime behaviour that it checks, on all four drivers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use super::listener::{Accepted, BoundListener, Listener};
use super::process::{Grace, Program, Spawner};
use super::runtime::{Driver, Runtime};
use super::{Plain, Stream, across, give_way, mailbox, sleep, spawn, timer};
use crate::base::clock;

/// Runs the test once on each driver that this kernel has, each time on a thread of its own.
pub(super) fn on_every_driver<F>(test: impl Fn() -> F + Send + Sync + Copy + 'static)
where
    F: Future<Output = ()>,
{
    for driver in Driver::ALL {
        let thread = std::thread::spawn(move || match Runtime::build(Some(driver)) {
            Ok(mut runtime) => {
                assert_eq!(runtime.driver(), driver);
                runtime.block_on(async {
                    timer::within(Duration::from_secs(30), test())
                        .await
                        .unwrap_or_else(|_| panic!("{driver}: stuck"));
                });
            }
            Err(refusal) => {
                assert_ne!(driver, Driver::Epoll, "{refusal}");
                eprintln!("skipped: {refusal}");
            }
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A connected pair: our end registered, the other blocking and for another thread.
fn pair() -> (Plain, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    (Plain::new(ours.into()).unwrap(), theirs)
}

#[test]
fn the_ladder_reports_the_best_driver() {
    let runtime = Runtime::build(None).unwrap();
    assert_eq!(
        runtime.refused().len(),
        Driver::ALL
            .iter()
            .position(|&d| d == runtime.driver())
            .unwrap()
    );
}

#[test]
fn bytes_go_both_ways() {
    on_every_driver(|| async {
        let (ours, mut theirs) = pair();
        let mut stream = Stream::Tcp(ours);
        theirs.write_all(b"ping").unwrap();
        let mut buffer = Vec::with_capacity(16);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 4);
        stream
            .write_all_vectored(&[b"po", b"", b"ng"])
            .await
            .unwrap();
        stream.finish().await.unwrap();
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).unwrap();
        assert_eq!((buffer.as_slice(), answer.as_str()), (&b"ping"[..], "pong"));
        drop(theirs);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    });
}

#[test]
fn a_dropped_read_loses_no_byte() {
    on_every_driver(|| async {
        const TOTAL: usize = 20_000;
        let (ours, mut theirs) = pair();
        let writer = std::thread::spawn(move || {
            for byte in 0..TOTAL {
                theirs.write_all(&[byte as u8]).unwrap();
                if byte % 64 == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        let (mut got, mut dropped) = (Vec::new(), 0);
        loop {
            let mut buffer = Vec::with_capacity(100);
            let limit = Duration::from_millis(1);
            match timer::within(limit, ours.read(&mut buffer)).await {
                Ok(Ok(0)) => break,
                Ok(read) => {
                    read.unwrap();
                    got.extend_from_slice(&buffer);
                }
                Err(timer::Elapsed) => dropped += 1,
            }
            // Dropped while in the ring and woken at once: the race that loses bytes elsewhere.
            let waiting = timer::race(ours.readable(), std::future::ready(())).await;
            dropped += usize::from(matches!(waiting, timer::Either::Second(())));
        }
        writer.join().unwrap();
        assert!(dropped > 10, "only {dropped} reads were dropped");
        assert!(got.iter().enumerate().all(|(at, &byte)| byte == at as u8));
        assert_eq!(got.len(), TOTAL);
    });
}

#[test]
fn a_full_peer_holds_the_writer_and_a_reading_one_lets_it_go() {
    on_every_driver(|| async {
        let (ours, mut theirs) = pair();
        let bytes = vec![7; 16 << 20];
        assert!(
            timer::within(Duration::from_millis(50), ours.write_all(&bytes))
                .await
                .is_err()
        );
        let reader = std::thread::spawn(move || {
            let mut sink = Vec::new();
            theirs.read_to_end(&mut sink).unwrap();
            sink.len()
        });
        ours.write_all(&bytes).await.unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(reader.join().unwrap() > bytes.len());
    });
}

#[test]
fn shutting_the_reading_side_down_ends_a_wait_and_still_lets_us_answer() {
    on_every_driver(|| async {
        let (ours, mut theirs) = pair();
        let note = ours.note();
        spawn(async move {
            sleep(Duration::from_millis(20)).await;
            note.shutdown(std::net::Shutdown::Read);
        });
        let mut buffer = Vec::with_capacity(8);
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 0);
        ours.write_all(b"408").await.unwrap();
        drop(ours);
        let mut answer = String::new();
        // A dropped descriptor is closed when the runtime parks next, so not while we block it.
        let reader = std::thread::spawn(move || theirs.read_to_string(&mut answer).map(|_| answer));
        sleep(Duration::from_millis(10)).await;
        assert_eq!(reader.join().unwrap().unwrap(), "408");
    });
}

#[test]
fn a_wait_that_moves_to_another_task_wakes_that_one() {
    on_every_driver(|| async {
        for moved in 0..2 {
            let mut waiting = Box::pin(async move {
                match moved {
                    0 => sleep(Duration::from_millis(5)).await,
                    _ => {
                        sleep(Duration::from_millis(2)).await;
                        give_way().await;
                    }
                }
            });
            // Polled once here, with the waker of a task that does not look at it again.
            let first =
                core::future::poll_fn(|cx| core::task::Poll::Ready(waiting.as_mut().poll(cx)));
            assert!(first.await.is_pending());
            let (sender, mut over) = crate::base::channel::bounded(1);
            spawn(async move {
                waiting.await;
                let _ = sender.try_send(());
            });
            over.recv().await.unwrap();
        }
    });
}

#[test]
fn dropped_accepts_leak_nothing_and_lose_no_connection() {
    on_every_driver(|| async {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        let address = bound.address();
        let mut listener = Listener::new(bound).unwrap();
        let (mut clients, mut accepted, mut dropped) = (Vec::new(), Vec::new(), 0);
        while accepted.len() < 20 {
            match timer::within(Duration::from_millis(1), listener.accept()).await {
                Ok(Ok(Accepted::Connection(plain, peer))) => accepted.push((plain, peer)),
                Ok(other) => panic!("{other:?}"),
                Err(timer::Elapsed) => {
                    dropped += 1;
                    clients.push(TcpStream::connect(address).unwrap());
                }
            }
        }
        assert!(dropped >= 20);
        assert_eq!(accepted[3].1, clients[3].local_addr().unwrap());
        drop(accepted);
        // Had a dropped accept kept a descriptor, its client would never see the end.
        for mut client in clients {
            client
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let closed = std::thread::spawn(move || client.read(&mut [0; 8]));
            sleep(Duration::from_millis(5)).await;
            assert_eq!(closed.join().unwrap().unwrap(), 0);
        }
    });
}

#[test]
fn accepted_sockets_are_not_inherited_by_children() {
    on_every_driver(|| async {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        let client = TcpStream::connect(bound.address()).unwrap();
        let mut listener = Listener::new(bound).unwrap();
        let accepted = listener.accept().await.unwrap();
        let note = match &accepted {
            Accepted::Connection(plain, _) => format!("{:?}", plain.note()),
            Accepted::Starved { error, .. } => panic!("{error}"),
        };
        let number: u32 = note
            .replace(|c: char| !c.is_ascii_digit(), "")
            .parse()
            .unwrap();
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let flags = about
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0);
        drop(client);
    });
}

#[test]
fn a_busy_task_and_a_message_from_another_thread_reach_a_parked_runtime() {
    on_every_driver(|| async {
        let (address, inbox) = mailbox::mailbox(4);
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            address.send(42).unwrap();
        });
        assert_eq!(inbox.receive().await, Some(42));
        sender.join().unwrap();
        assert_eq!(inbox.receive().await, None);
    });
}

/// About a millisecond of work that never waits.
fn slice_of_work(seed: u64) -> u64 {
    (0..300_000u64).fold(seed, |sum, step| {
        std::hint::black_box(sum.rotate_left(5) ^ step).wrapping_mul(0x9E37_79B9)
    })
}

/// Who has made progress: sockets, timers, messages.
type Progress = Rc<std::cell::Cell<[bool; 3]>>;

fn made_progress(progress: &Progress, part: usize) {
    let mut parts = progress.get();
    parts[part] = true;
    progress.set(parts);
}

/// An echo over a socket, each round begun by a byte that comes while the reader waits.
fn echo_rounds(progress: Progress) -> std::thread::JoinHandle<()> {
    let (ours, mut theirs) = pair();
    spawn(async move {
        let mut buffer = Vec::with_capacity(16);
        while ours.read(&mut buffer).await.unwrap() > 0 {
            ours.write_all(&buffer).await.unwrap();
            buffer.clear();
        }
        made_progress(&progress, 0);
    });
    std::thread::spawn(move || {
        for round in 0..20u8 {
            std::thread::sleep(Duration::from_millis(3));
            theirs.write_all(&[round]).unwrap();
            let mut back = [0];
            theirs.read_exact(&mut back).unwrap();
            assert_eq!(back, [round]);
        }
    })
}

/// Messages from another thread, as fast as they are taken, until that thread is stopped.
fn message_rounds(
    progress: Progress,
    stopped: std::sync::Arc<std::sync::atomic::AtomicBool>,
    pause: Duration,
) -> std::thread::JoinHandle<()> {
    let (address, inbox) = mailbox::mailbox(1);
    spawn(async move {
        let mut messages = 0;
        while inbox.receive().await.is_some() {
            messages += 1;
            if messages == 20 {
                made_progress(&progress, 2);
            }
        }
    });
    std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = address.send(());
            std::thread::sleep(pause);
        }
    })
}

/// Work in slices that gives way between them, beside sockets, timers and messages that come
/// with this pause, until each has made progress.
async fn work_beside_everything_else(pause: Duration) {
    let progress = Progress::default();
    let stop = std::sync::Arc::default();
    let client = echo_rounds(Rc::clone(&progress));
    let sender = message_rounds(Rc::clone(&progress), std::sync::Arc::clone(&stop), pause);
    let ticked = Rc::clone(&progress);
    spawn(async move {
        for _ in 0..20 {
            sleep(Duration::from_millis(1)).await;
        }
        made_progress(&ticked, 1);
    });
    let work = async |progress: Progress| {
        let mut slices = 0;
        while progress.get() != [true; 3] && slices < 5_000 {
            std::hint::black_box(slice_of_work(slices));
            give_way().await;
            slices += 1;
        }
    };
    // Two that work: they must not hand the thread to one another for ever.
    spawn(work(Rc::clone(&progress)));
    work(Rc::clone(&progress)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(progress.get(), [true; 3], "[sockets, timers, messages]");
    client.join().unwrap();
    sender.join().unwrap();
}

#[test]
fn giving_way_keeps_no_descriptor() {
    on_every_driver(|| async {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for round in 0..100 {
            std::hint::black_box(slice_of_work(round));
            give_way().await;
        }
        sleep(Duration::from_millis(5)).await;
        // Other tests of this process open some, too, but not as many as there were rounds.
        assert!(
            open() < before + 80,
            "{before} descriptors before, {} after",
            open()
        );
    });
}

#[test]
fn long_work_gives_way_to_sockets_timers_and_messages() {
    on_every_driver(|| work_beside_everything_else(Duration::from_millis(5)));
}

#[test]
fn long_work_gives_way_although_other_threads_wake_the_loop_all_the_time() {
    on_every_driver(|| work_beside_everything_else(Duration::from_micros(20)));
}

#[test]
fn a_panic_ends_its_task_alone() {
    on_every_driver(|| async {
        let alive = Rc::new(std::cell::Cell::new(0));
        for index in 0..10 {
            let alive = Rc::clone(&alive);
            spawn(async move {
                sleep(Duration::from_millis(5)).await;
                assert!(index % 2 == 0, "this panic is part of the test");
                alive.set(alive.get() + 1);
            });
        }
        sleep(Duration::from_millis(50)).await;
        assert_eq!(alive.get(), 5);
    });
}

#[test]
fn many_crashes_leave_no_zombie() {
    let spawner = Spawner::start(None).unwrap();
    let mut runtime = Runtime::build(None).unwrap();
    let pids = runtime.block_on(async {
        let mut pids = Vec::new();
        for index in 0..1000 {
            let program = Program {
                command: "/bin/false".to_owned(),
                ..Program::default()
            };
            let mut child = spawner.spawn(program).await.unwrap();
            pids.push(child.id());
            if index % 2 == 0 {
                assert_eq!(child.wait().await.unwrap().code(), Some(1));
            }
        }
        pids
    });
    let deadline = clock::mono() + Duration::from_secs(10);
    while pids
        .iter()
        .any(|&pid| std::path::Path::new(&format!("/proc/{pid}")).exists())
    {
        assert!(clock::mono() < deadline, "zombies are left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_child_talks_and_ends_with_its_group() {
    on_every_driver(|| async {
        let spawner = Spawner::start(Some(256)).unwrap();
        let script =
            "ulimit -n; trap '' TERM; sleep 1000 & while read x; do echo got $x; done; wait";
        let program = Program {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            ..Program::default()
        };
        let mut child = spawner.spawn(program).await.unwrap();
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"one\n")
            .await
            .unwrap();
        let mut said = Vec::with_capacity(100);
        while said.iter().filter(|&&byte| byte == b'\n').count() < 2 {
            child
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut said)
                .await
                .unwrap();
        }
        assert_eq!(said, b"256\ngot one\n");
        // It ignores the end of its input (it waits for its own child) and SIGTERM.
        let grace = Grace {
            after_close: Duration::from_millis(50),
            after_term: Duration::from_millis(50),
        };
        let status = child.stop(grace).await.unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
        let mut rest = Vec::with_capacity(100);
        // The grandchild held the pipe open; it is gone too.
        assert_eq!(
            child
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut rest)
                .await
                .unwrap(),
            0
        );
    });
}

#[test]
fn a_missing_command_is_named() {
    let spawner = Spawner::start(None).unwrap();
    let mut runtime = Runtime::build(None).unwrap();
    let program = Program {
        command: "no-such-command".to_owned(),
        ..Program::default()
    };
    let error = runtime.block_on(spawner.spawn(program)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`no-such-command` was not found"),
        "{error}"
    );
}

/// Ends a runtime of each kind while a task of it waits, then has another thread do `act`, which
/// must neither hang nor crash. `make` gives what that thread acts on, and the task.
pub(super) fn after_the_end_of_a_runtime<T: Send + 'static, F: Future<Output = ()> + 'static>(
    make: impl Fn() -> (T, Box<dyn FnOnce() -> F + Send>),
    act: impl Fn(T) + Send + Sync + Copy + 'static,
) {
    for driver in Driver::ALL {
        let (ours, theirs) = make();
        let ended = std::thread::spawn(move || {
            let Ok(mut runtime) = Runtime::build(Some(driver)) else {
                return;
            };
            runtime.block_on(async {
                spawn(theirs());
                sleep(Duration::from_millis(5)).await;
            });
        });
        ended.join().unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            act(ours);
            done.send(()).unwrap();
        });
        is_done
            .recv_timeout(Duration::from_secs(10))
            .unwrap_or_else(|_| panic!("{driver}: the thread hangs"));
    }
}

#[test]
fn room_for_a_task_of_an_ended_runtime_hangs_nobody() {
    after_the_end_of_a_runtime(
        || {
            let (sender, receiver) = across::bounded::<u8>(1);
            let wait = move || async move { while sender.send(1).await.is_ok() {} };
            (receiver, Box::new(wait) as Box<dyn FnOnce() -> _ + Send>)
        },
        |receiver| {
            receiver.recv_blocking().unwrap();
            assert!(receiver.try_recv().is_err(), "who waited is gone");
        },
    );
}

#[test]
fn a_message_for_a_task_of_an_ended_runtime_hangs_nobody() {
    after_the_end_of_a_runtime(
        || {
            let (sender, receiver) = across::bounded::<u8>(4);
            let wait = move || async move {
                let _ = receiver.recv().await;
            };
            (sender, Box::new(wait))
        },
        |sender| {
            let _ = sender.try_send(1);
            drop(sender);
        },
    );
}
