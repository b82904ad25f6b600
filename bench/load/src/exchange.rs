//! One request and its answer on a connection, by monoio-http's decoder.
//!
//! The decoder trusts its peer: a head may be as long as it likes, a body with Content-Length is
//! held whole. This program only talks to servers that its user started for it.

use std::io;

use bytes::Bytes;
use http::header::CONNECTION;
use monoio::io::AsyncWriteRentExt;
use monoio::io::stream::Stream;
use monoio_codec::FramedRead;
use monoio_http::h1::codec::decoder::{DirectHeadDecoder, PayloadDecoder};

use crate::wire::{Target, Wire};

/// What went wrong with a request, by the step at which it did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No connection.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// The request could not be written.
    #[error("write: {0}")]
    Write(io::Error),
    /// The answer did not come, or not whole.
    #[error("read: {0}")]
    Read(String),
    /// Not 2xx.
    #[error("status {0}")]
    Status(u16),
    /// An answer with something else in it.
    #[error("answer: {0}")]
    Answer(String),
}

/// The head of an answer, and what must still be read of it.
pub(crate) struct Head {
    /// Status and headers.
    pub(crate) response: http::Response<()>,
    body: Body,
}

/// The rest of an answer.
pub(crate) type Body = PayloadDecoder<
    monoio_http::h1::codec::decoder::FixedBodyDecoder,
    monoio_http::h1::codec::decoder::ChunkedBodyDecoder,
>;

impl Head {
    /// The server will close after this answer.
    pub(crate) fn closes(&self) -> bool {
        let value = self.response.headers().get(CONNECTION);
        value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
    }
}

/// A connection that stays open from answer to answer.
pub(crate) struct Connection {
    framed: FramedRead<Wire, DirectHeadDecoder>,
}

impl Connection {
    /// Opens one.
    pub(crate) async fn open(target: &Target) -> Result<Self, Fault> {
        let wire = target.connect().await.map_err(Fault::Connect)?;
        Ok(Self {
            framed: FramedRead::new(wire, DirectHeadDecoder::default()),
        })
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn ask(&mut self, request: Bytes) -> Result<Head, Fault> {
        let wire = self.framed.get_mut();
        wire.write_all(request).await.0.map_err(Fault::Write)?;
        monoio::io::AsyncWriteRent::flush(wire)
            .await
            .map_err(Fault::Write)?;
        match self.framed.next().await {
            Some(Ok((head, body))) => Ok(Head {
                response: http::Response::from_parts(head, ()),
                body,
            }),
            // Never cloned, never compared: this error's `clone` does not come back.
            Some(Err(error)) => Err(Fault::Read(error.to_string())),
            None => Err(Fault::Read("closed before an answer".to_owned())),
        }
    }

    /// Reads the body, piece by piece as the server framed it; returns its length.
    pub(crate) async fn rest(
        &mut self,
        head: &mut Head,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<u64, Fault> {
        let fault = |error: &dyn std::fmt::Display| Fault::Read(error.to_string());
        let cut = || Fault::Read("closed within an answer".to_owned());
        match &mut head.body {
            PayloadDecoder::None => Ok(0),
            PayloadDecoder::Fixed(decoder) => {
                let body = self.framed.next_with(decoder).await.ok_or_else(cut)?;
                let body = body.map_err(|error| fault(&error))?;
                piece(&body);
                Ok(body.len() as u64)
            }
            PayloadDecoder::Streamed(decoder) => {
                let mut length = 0;
                loop {
                    let part = self.framed.next_with(decoder).await.ok_or_else(cut)?;
                    let Some(part) = part.map_err(|error| fault(&error))? else {
                        return Ok(length);
                    };
                    piece(&part);
                    length += part.len() as u64;
                }
            }
        }
    }
}
