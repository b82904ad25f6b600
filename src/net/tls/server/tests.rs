//! The server's side against rustls's buffered client on a thread.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};

use super::*;
use crate::net::Transport;
use crate::net::runtime::{Driver, Runtime};
use crate::net::timer::within;
use crate::net::tls::tests::{roots, server_config};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

type Peer = StreamOwned<ClientConnection, TcpStream>;

fn client(socket: TcpStream, version: &'static SupportedProtocolVersion) -> Peer {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(session, socket)
}

/// A connection whose other end `drive` has on a thread of its own.
fn accepted(
    buffers: &Buffers,
    drive: impl FnOnce(TcpStream) + Send + 'static,
) -> (ServerTls, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let socket = TcpStream::connect(address).unwrap();
        // Whoever waits for the thread waits on the runtime's, which no limit can end.
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        drive(socket);
    });
    let (socket, _) = listener.accept().unwrap();
    // As accepted sockets are: see `BoundListener`.
    socket.set_nodelay(true).unwrap();
    let plain = Plain::new(socket.into()).unwrap();
    let tls = ServerTls::new(plain, server_config(), buffers).unwrap();
    (tls, thread)
}

fn on_every_driver<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for driver in Driver::ALL {
        let Ok(mut runtime) = Runtime::build(Some(driver)) else {
            continue;
        };
        let ended = runtime.block_on(async { within(Duration::from_secs(20), test()).await });
        assert!(ended.is_ok(), "{driver}: stuck");
    }
}

async fn read(transport: &Transport, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        transport.readable().await?;
        match transport.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn write_all(transport: &mut Transport, bytes: &[u8], through_ring: bool) {
    let mut sent = 0;
    while sent < bytes.len() {
        let result = if through_ring {
            let rest = bytes[sent..].to_vec();
            transport.send(rest).await.0
        } else {
            let parts = [&bytes[..bytes.len() / 3], &bytes[bytes.len() / 3..]];
            transport.try_write_parts(&parts, sent)
        };
        match result {
            Ok(0) => transport.writable().await.unwrap(),
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                transport.writable().await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn holds_nothing(tls: &ServerTls) -> bool {
    let session = tls.session.borrow();
    let held =
        session.incoming.capacity() + session.outgoing.capacity() + session.plaintext.capacity();
    held == 0 && !session.has_more
}

#[test]
fn large_transfers_arrive_whole_in_both_directions_and_leave_no_buffer() {
    const TOTAL: usize = 3_000_000;
    for version in VERSIONS {
        for through_ring in [false, true] {
            on_every_driver(|| async move {
                let buffers = Buffers::new();
                let sent: Vec<u8> = (0..TOTAL).map(|at| (at * 7 / 3) as u8).collect();
                let theirs = sent.clone();
                let (tls, thread) = accepted(&buffers, move |socket| {
                    let mut peer = client(socket, version);
                    // Many small records, then large ones.
                    for piece in theirs.chunks(100).take(500) {
                        peer.write_all(piece).unwrap();
                    }
                    peer.write_all(&theirs[50_000..]).unwrap();
                    let mut got = vec![0; TOTAL];
                    peer.read_exact(&mut got).unwrap();
                    assert!(got == theirs);
                    assert_eq!(peer.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
                    let _ = peer.read(&mut [0; 1]);
                });
                tls.handshake().await.unwrap();
                assert_eq!(tls.facts().server_name(), Some("localhost"));
                assert!(!tls.facts().is_h2() && !tls.facts().is_resumed());
                let mut transport = Transport::Tls(Box::new(tls));
                let mut got = Vec::new();
                let mut buffer = Vec::with_capacity(8192);
                while got.len() < TOTAL {
                    // Dropped waits lose nothing.
                    let _ = within(Duration::ZERO, transport.readable()).await;
                    assert!(read(&transport, &mut buffer).await.unwrap() > 0);
                    assert!(buffer.len() <= 8192);
                    got.append(&mut buffer);
                    buffer.reserve(8192);
                }
                assert!(got == sent);
                assert!(holds_nothing(transport.tls().unwrap()));
                write_all(&mut transport, &sent, through_ring).await;
                assert!(holds_nothing(transport.tls().unwrap()));
                transport.shutdown(Shutdown::Both).unwrap();
                thread.join().unwrap();
            });
        }
    }
}

#[test]
fn a_hello_in_single_bytes_and_a_record_cut_in_two_are_understood() {
    on_every_driver(|| async {
        let buffers = Buffers::new();
        let (tls, thread) = accepted(&buffers, |mut socket| {
            socket.set_nodelay(true).unwrap();
            let mut peer = client(socket.try_clone().unwrap(), &TLS13);
            let mut hello = Vec::new();
            peer.conn.write_tls(&mut hello).unwrap();
            for byte in &hello {
                socket.write_all(&[*byte]).unwrap();
            }
            peer.conn.complete_io(&mut socket).unwrap();
            peer.conn.writer().write_all(&[5; 9000]).unwrap();
            let mut record = Vec::new();
            peer.conn.write_tls(&mut record).unwrap();
            socket.write_all(&record[..4000]).unwrap();
            // Until the server says that it waits for the rest.
            peer.read_exact(&mut [0; 4]).unwrap();
            socket.write_all(&record[4000..]).unwrap();
            peer.read_exact(&mut [0; 4]).unwrap();
        });
        tls.handshake().await.unwrap();
        let mut transport = Transport::Tls(Box::new(tls));
        let mut got = Vec::with_capacity(10_000);
        let mut kept = 0;
        while kept == 0 {
            // Some of it may have come with the end of the handshake.
            let _ = within(Duration::from_millis(5), transport.readable()).await;
            let nothing = transport.try_read(&mut got).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            let session = transport.tls().unwrap().session.borrow();
            kept = session.incoming.capacity();
        }
        // What has come of the record is kept in as many bytes.
        assert!(kept <= 4000, "{kept}");
        write_all(&mut transport, b"more", false).await;
        while got.len() < 9000 {
            read(&transport, &mut got).await.unwrap();
        }
        write_all(&mut transport, b"done", true).await;
        thread.join().unwrap();
    });
}

#[test]
fn an_ended_client_and_a_vanished_one_end_the_input() {
    on_every_driver(|| async {
        for says_so in [true, false] {
            let buffers = Buffers::new();
            let (tls, thread) = accepted(&buffers, move |socket| {
                let mut peer = client(socket, &TLS13);
                peer.write_all(b"last").unwrap();
                if says_so {
                    peer.conn.send_close_notify();
                }
                peer.flush().unwrap();
                peer.sock.shutdown(Shutdown::Write).unwrap();
                // An end is answered by an end, not by a reset.
                let mut rest = Vec::new();
                peer.read_to_end(&mut rest).unwrap();
                assert_eq!(rest, b"bye");
            });
            tls.handshake().await.unwrap();
            let mut transport = Transport::Tls(Box::new(tls));
            let mut got = Vec::with_capacity(100);
            while read(&transport, &mut got).await.unwrap() > 0 {}
            assert_eq!(got, b"last");
            assert_eq!(read(&transport, &mut got).await.unwrap(), 0);
            write_all(&mut transport, b"bye", true).await;
            transport.shutdown(Shutdown::Write).unwrap();
            thread.join().unwrap();
        }
    });
}

#[test]
fn what_is_no_tls_is_told_apart_or_refused_with_an_alert() {
    on_every_driver(|| async {
        let buffers = Buffers::new();
        let (tls, thread) = accepted(&buffers, |mut socket| {
            socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let _ = socket.read(&mut [0; 1]);
        });
        let refused = tls.handshake().await;
        assert!(matches!(refused, Err(HandshakeError::PlainHttp)));
        drop(tls);
        thread.join().unwrap();

        let (tls, thread) = accepted(&buffers, |mut socket| {
            socket.write_all(&[22, 3, 1, 0, 4, 2, 0, 0, 0]).unwrap();
            let mut alert = [0; 7];
            socket.read_exact(&mut alert).unwrap();
            assert_eq!(alert[..6], [21, 3, 3, 0, 2, 2]);
        });
        let refused = tls.handshake().await;
        assert!(matches!(refused, Err(HandshakeError::Refused(_))));
        thread.join().unwrap();

        let (tls, thread) = accepted(&buffers, drop);
        let refused = tls.handshake().await;
        assert!(matches!(refused, Err(HandshakeError::Closed)));
        thread.join().unwrap();
    });
}

#[test]
fn damaged_records_end_the_connection_and_do_not_panic() {
    on_every_driver(|| async {
        for damaged in [
            // Not authentic; a handshake message cut short; a type that is none.
            &[23, 3, 3, 0, 40][..],
            &[22, 3, 3, 0, 2, 24, 0],
            &[99, 3, 3, 0, 1, 0],
        ] {
            let buffers = Buffers::new();
            let (tls, thread) = accepted(&buffers, move |mut socket| {
                let mut peer = client(socket.try_clone().unwrap(), &TLS13);
                // Not before the handshake is over on the other side.
                peer.read_exact(&mut [0; 2]).unwrap();
                socket.write_all(&[damaged, &[0; 40]].concat()).unwrap();
                assert!(peer.read(&mut [0; 8]).is_err());
            });
            tls.handshake().await.unwrap();
            let mut transport = Transport::Tls(Box::new(tls));
            write_all(&mut transport, b"go", false).await;
            let mut got = Vec::with_capacity(100);
            let error = read(&transport, &mut got).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            // Whoever goes on all the same gets errors and ends.
            assert_eq!(transport.try_read(&mut got).unwrap(), 0);
            assert!(transport.send(b"more".to_vec()).await.0.is_err());
            assert!(transport.try_write(b"more").is_err());
            let _ = transport.shutdown(Shutdown::Write);
            drop(transport);
            thread.join().unwrap();
        }
    });
}
