//! A connection: TCP, or TLS over it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::TcpStream;
use monoio_rustls::{ClientTlsStream, TlsConnector};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Where connections go.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Target {
    /// Resolves the address and, for https, reads the certificate that the server must show.
    pub(crate) fn new(uri: &Uri, cacert: Option<&Path>) -> Result<Self, String> {
        let host = uri.host().ok_or("the URL has no host")?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("the URL must begin with http:// or https://".to_owned()),
        };
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut found = (host, port)
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?;
        let address = found
            .next()
            .ok_or_else(|| format!("{host} has no address"))?;
        let tls = if is_tls {
            let path = cacert.ok_or("https:// needs --cacert FILE")?;
            let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
            Some((Arc::new(trusting(path)?), name))
        } else {
            None
        };
        Ok(Self { address, tls })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<Wire> {
        let stream = TcpStream::connect_addr(self.address).await?;
        stream.set_nodelay(true)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Wire::Plain(stream));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector
            .connect(name.clone(), stream)
            .await
            .map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(stream)))
    }
}

fn trusting(path: &Path) -> Result<ClientConfig, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| told(&error))? {
        let certificate = certificate.map_err(|error| told(&error))?;
        roots.add(certificate).map_err(|error| told(&error))?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// An open connection.
pub(crate) enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<ClientTlsStream<TcpStream>>),
}

impl AsyncReadRent for Wire {
    async fn read<T: IoBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        match self {
            Self::Plain(stream) => stream.read(buf).await,
            Self::Tls(stream) => stream.read(buf).await,
        }
    }

    async fn readv<T: IoVecBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        match self {
            Self::Plain(stream) => stream.readv(buf).await,
            Self::Tls(stream) => stream.readv(buf).await,
        }
    }
}

impl AsyncWriteRent for Wire {
    async fn write<T: IoBuf>(&mut self, buf: T) -> BufResult<usize, T> {
        match self {
            Self::Plain(stream) => stream.write(buf).await,
            Self::Tls(stream) => stream.write(buf).await,
        }
    }

    async fn writev<T: IoVecBuf>(&mut self, buf: T) -> BufResult<usize, T> {
        match self {
            Self::Plain(stream) => stream.writev(buf).await,
            Self::Tls(stream) => stream.writev(buf).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush().await,
            Self::Tls(stream) => stream.flush().await,
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}
