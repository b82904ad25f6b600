//! TLS against rustls's own server side on a thread, with certificates made for each run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{TlsConnector, TlsError};
use crate::net::Stream;
use crate::net::connect::connect_addr;
use crate::net::runtime::{Driver, Runtime};
use crate::net::timer::within;

/// An authority, and a server's certificate that it signed.
struct Made {
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let params = CertificateParams::new(names).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Made {
        authority: issuer.der().clone(),
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
    }
});

type Peer = StreamOwned<ServerConnection, TcpStream>;

/// Trusts the authority of these tests.
pub(super) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(MADE.authority.clone()).unwrap();
    roots
}

fn connector() -> TlsConnector {
    TlsConnector::with_roots(roots()).unwrap()
}

/// A server with the certificate of these tests.
pub(super) fn server_config() -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![MADE.certificate.clone()], MADE.key.clone_key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Accepts one connection and hands it to `serve`.
fn server(serve: impl FnOnce(Peer) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let session = ServerConnection::new(server_config()).unwrap();
        serve(StreamOwned::new(session, socket));
    });
    (address, thread)
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

#[test]
fn large_transfers_arrive_whole_in_both_directions() {
    on_every_driver(|| async {
        const TOTAL: usize = 3_000_000;
        let (address, thread) = server(|mut peer| {
            let mut got = vec![0; TOTAL];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(peer.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(peer.conn.server_name(), Some("localhost"));
            // Many small records in one read, then large ones.
            for piece in got.chunks(100).take(500) {
                peer.write_all(piece).unwrap();
            }
            peer.write_all(&got[50_000..]).unwrap();
            peer.conn.send_close_notify();
            peer.flush().unwrap();
        });
        let plain = connect_addr(address).await.unwrap();
        let tls = connector().connect("localhost", plain).await.unwrap();
        let mut stream = Stream::Tls(Box::new(tls));
        let sent: Vec<u8> = (0..TOTAL).map(|at| (at * 7 / 3) as u8).collect();
        stream.write_all(&sent).await.unwrap();
        let mut got = Vec::with_capacity(8192);
        loop {
            // Dropped reads lose nothing here either.
            let _ = within(Duration::ZERO, stream.readable()).await;
            got.reserve(8192);
            if stream.read(&mut got).await.unwrap() == 0 {
                break;
            }
        }
        assert!(got == sent, "{} of {TOTAL} bytes", got.len());
        thread.join().unwrap();
    });
}

#[test]
fn a_cut_connection_is_told_from_an_ended_one() {
    on_every_driver(|| async {
        let (address, thread) = server(|mut peer| {
            peer.write_all(b"half").unwrap();
            peer.flush().unwrap();
        });
        let plain = connect_addr(address).await.unwrap();
        let tls = connector().connect("127.0.0.1", plain).await.unwrap();
        let mut stream = Stream::Tls(Box::new(tls));
        let mut got = Vec::with_capacity(64);
        stream.read(&mut got).await.unwrap();
        let error = stream.read(&mut got).await.unwrap_err();
        assert_eq!(
            (got.as_slice(), error.kind()),
            (&b"half"[..], std::io::ErrorKind::UnexpectedEof)
        );
        thread.join().unwrap();
    });
}

#[test]
fn a_stranger_and_a_wrong_name_are_refused() {
    on_every_driver(|| async {
        let nobody = TlsConnector::trusting_nobody().unwrap();
        for (connector, host) in [(nobody, "localhost"), (connector(), "example.com")] {
            let (address, thread) = server(|mut peer| {
                let _ = peer.read(&mut [0; 8]);
            });
            let plain = connect_addr(address).await.unwrap();
            let refused = connector.connect(host, plain).await;
            assert!(matches!(refused, Err(TlsError::Handshake(_))), "{host}");
            thread.join().unwrap();
        }
        let (address, thread) = server(|_| {});
        let plain = connect_addr(address).await.unwrap();
        let refused = connector().connect("not a name", plain).await;
        assert!(matches!(refused, Err(TlsError::ServerName(_))));
        thread.join().unwrap();
    });
}
