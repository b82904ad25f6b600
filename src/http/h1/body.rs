//! Reads one message body, however it is framed. Spans of the caller's buffer, no copies.

use core::ops::Range;

use crate::http::HeaderList;
use crate::http::h1::chunked::{ChunkedDecoder, Step};
use crate::http::h1::{BodyKind, Error};

/// The body of the message being read.
#[derive(Debug, Default)]
pub(super) struct BodyReader {
    kind: Reading,
    chunked: ChunkedDecoder,
    /// Body bytes that may still come before [`Error::BodyTooLarge`].
    allowance: Option<u64>,
    /// Trailers of the body that ended; boxed, as almost no body has any.
    trailers: Option<Box<HeaderList>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Done,
    Length(u64),
    Chunked,
    UntilClose,
}

/// What the front of the input is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyStep {
    NeedMore { consumed: usize },
    Body { span: Range<usize> },
    End { consumed: usize },
}

impl BodyReader {
    /// Makes ready for a body of that kind.
    pub(super) fn start(&mut self, kind: BodyKind) {
        self.allowance = None;
        self.trailers = None;
        self.kind = match kind {
            BodyKind::None => Reading::Done,
            BodyKind::Length(length) => Reading::Length(length),
            BodyKind::Chunked => {
                self.chunked.reset();
                Reading::Chunked
            }
            BodyKind::UntilClose => Reading::UntilClose,
        };
    }

    /// Bounds what is still to come.
    pub(super) fn limit(&mut self, bytes_max: u64) -> Result<(), Error> {
        if matches!(self.kind, Reading::Length(left) if left > bytes_max) {
            return Err(Error::BodyTooLarge);
        }
        self.allowance = Some(bytes_max);
        Ok(())
    }

    pub(super) fn step(&mut self, input: &[u8]) -> Result<BodyStep, Error> {
        let step = match self.kind {
            Reading::Done | Reading::Length(0) => {
                self.kind = Reading::Done;
                return Ok(BodyStep::End { consumed: 0 });
            }
            _ if input.is_empty() => return Ok(BodyStep::NeedMore { consumed: 0 }),
            Reading::Length(left) => {
                let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                self.kind = Reading::Length(left - taken as u64);
                BodyStep::Body { span: 0..taken }
            }
            Reading::UntilClose => BodyStep::Body {
                span: 0..input.len(),
            },
            Reading::Chunked => self.step_chunked(input)?,
        };
        if let BodyStep::Body { span } = &step
            && let Some(allowance) = &mut self.allowance
        {
            *allowance = allowance
                .checked_sub(span.len() as u64)
                .ok_or(Error::BodyTooLarge)?;
        }
        Ok(step)
    }

    fn step_chunked(&mut self, input: &[u8]) -> Result<BodyStep, Error> {
        Ok(match self.chunked.step(input)? {
            Step::NeedMore => BodyStep::NeedMore {
                consumed: input.len(),
            },
            Step::Body { body } => BodyStep::Body { span: body },
            Step::End { consumed } => {
                let trailers = self.chunked.trailers()?;
                self.trailers = (!trailers.is_empty()).then(|| Box::new(trailers));
                self.kind = Reading::Done;
                BodyStep::End { consumed }
            }
        })
    }

    /// The peer closed: whether that is how this body ends.
    pub(super) fn end_of_input(&mut self) -> Result<(), Error> {
        match self.kind {
            Reading::Done | Reading::Length(0) | Reading::UntilClose => {
                self.kind = Reading::Done;
                Ok(())
            }
            Reading::Length(_) | Reading::Chunked => Err(Error::Incomplete),
        }
    }

    /// Bytes still to come; `None` where only the end itself will tell.
    pub(super) fn left(&self) -> Option<u64> {
        match self.kind {
            Reading::Done => Some(0),
            Reading::Length(left) => Some(left),
            Reading::Chunked | Reading::UntilClose => None,
        }
    }

    /// Trailer fields of a chunked body that has ended, if it had any.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderList> {
        self.trailers.take().map(|trailers| *trailers)
    }
}
