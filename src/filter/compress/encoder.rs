//! One encoder of each coding behind one face: bytes in, bytes out, as they come.
//!
//! Brotli is C's: the Rust port takes twice the time for the same bytes (DECISIONS.md). gzip is
//! zlib-rs, which takes two thirds of zlib's time, and Zstandard is C's.

use brotlic::encode::{BrotliEncoderOptions, BrotliOperation};
use brotlic::{BrotliEncoder, CompressionMode, Quality, WindowSize};
use flate2::{Compress, Compression as GzipLevel, FlushCompress, Status};
use zstd::zstd_safe::{
    CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective,
};

use crate::config::Levels;
use crate::http::Coding;

/// Room made in the output at a time.
const STEP_BYTES: usize = 16 * 1024;
/// Largest window for content of unknown length, as a power of two: 1 MiB. What an encoder holds
/// grows to a few times that.
const STREAM_WINDOW: u8 = 20;
/// The same for event streams, which are many and last: 64 KiB.
const EVENTS_WINDOW: u8 = 16;
/// gzip's window always; smaller saves nothing worth having.
const GZIP_WINDOW: u8 = 15;
/// Quality and level of event streams: their encoders live long, so their tables stay small.
const EVENTS_LEVEL: u8 = 3;

/// A Zstandard encoder that has grown beyond this is not kept for the next body.
const ZSTD_KEPT_BYTES_MAX: usize = 4 << 20;

/// Brotli collects up to 8 MiB before it looks for the best way to write them, and that takes
/// 100 ms in one call. Made to write after so many bytes it takes one or two, for 1 % of size.
const BROTLI_BLOCK_BYTES: usize = 128 * 1024;
/// From this quality on each call takes long anyway, and size is all that counts.
const BROTLI_SLOW: u8 = 10;

/// What is to be encoded; decides how large an encoder gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Content of that many bytes.
    Whole(u64),
    /// Content of unknown length.
    Stream,
    /// Small pieces with long waits.
    Events,
}

/// The library could not go on; there is no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {} encoder failed", .0.name())]
pub struct EncodeError(pub Coding);

/// Encodes one body.
pub struct Encoder {
    machine: Machine,
    /// Bytes since the last flush.
    since_flush: usize,
    /// A flush comes after so many.
    block: usize,
}

enum Machine {
    Br(BrotliEncoder),
    Gzip(Box<Compress>),
    Zstd(CCtx<'static>),
}

impl core::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Encoder({})", self.coding().name())
    }
}

impl Encoder {
    /// An encoder for one body.
    ///
    /// # Errors
    /// The library refused its settings or found no memory.
    pub fn new(coding: Coding, levels: Levels, shape: Shape) -> Result<Self, EncodeError> {
        let machine = match coding {
            Coding::Br => Machine::Br(brotli(levels, shape).ok_or(EncodeError(coding))?),
            Coding::Gzip => {
                let level = GzipLevel::new(u32::from(levels.gzip));
                Machine::Gzip(Box::new(Compress::new_gzip(level, GZIP_WINDOW)))
            }
            Coding::Zstd => Machine::Zstd(CCtx::try_create().ok_or(EncodeError(coding))?),
        };
        let is_brotli = coding == Coding::Br && levels.brotli_quality < BROTLI_SLOW;
        let mut encoder = Self {
            machine,
            since_flush: 0,
            block: if is_brotli {
                BROTLI_BLOCK_BYTES
            } else {
                usize::MAX
            },
        };
        if let Machine::Zstd(cctx) = &mut encoder.machine {
            set_zstd(cctx, levels, shape).ok_or(EncodeError(coding))?;
        }
        Ok(encoder)
    }

    /// Makes an encoder that has finished, or was left in the middle, ready for another body.
    /// `false` if this kind cannot be used twice; it is to be dropped.
    #[must_use]
    pub fn renew(&mut self, levels: Levels, shape: Shape) -> bool {
        match &mut self.machine {
            Machine::Br(_) => false,
            Machine::Gzip(compress) => {
                compress.reset();
                true
            }
            Machine::Zstd(cctx) => set_zstd(cctx, levels, shape).is_some(),
        }
    }

    /// Whether [`renew`](Self::renew) can work, and the memory is worth keeping.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        match &self.machine {
            Machine::Br(_) => false,
            Machine::Gzip(_) => true,
            Machine::Zstd(cctx) => cctx.sizeof() <= ZSTD_KEPT_BYTES_MAX,
        }
    }

    /// What it makes.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        match self.machine {
            Machine::Br(_) => Coding::Br,
            Machine::Gzip(_) => Coding::Gzip,
            Machine::Zstd(_) => Coding::Zstd,
        }
    }

    /// Encodes the next bytes. Output may come later.
    ///
    /// # Errors
    /// The library failed; nothing sensible can follow.
    pub fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.since_flush = self.since_flush.saturating_add(input.len());
        if self.since_flush >= self.block {
            self.since_flush = 0;
            return self.drive(input, Operation::Flush, out);
        }
        self.drive(input, Operation::Write, out)
    }

    /// Puts out everything that came so far, so that the other side can decode it.
    ///
    /// # Errors
    /// The library failed; nothing sensible can follow.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.since_flush = 0;
        self.drive(&[], Operation::Flush, out)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The library failed; the output is not complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.drive(&[], Operation::Finish, out)
    }

    fn drive(
        &mut self,
        mut input: &[u8],
        operation: Operation,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let failed = EncodeError(self.coding());
        loop {
            if out.capacity() - out.len() < STEP_BYTES / 4 {
                out.reserve(STEP_BYTES);
            }
            let len = out.len();
            let step = match &mut self.machine {
                Machine::Br(encoder) => brotli_step(encoder, input, operation, out),
                Machine::Gzip(compress) => gzip_step(compress, input, operation, out),
                Machine::Zstd(cctx) => zstd_step(cctx, input, operation, out),
            };
            let step = step.ok_or(failed)?;
            input = input.get(step.taken..).ok_or(failed)?;
            if step.is_done && input.is_empty() {
                return Ok(());
            }
            if step.taken == 0 && out.len() == len {
                return Err(failed);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Write,
    Flush,
    Finish,
}

/// What one call of a library did.
struct Step {
    taken: usize,
    /// The operation is over, if the input is used up.
    is_done: bool,
}

fn brotli(levels: Levels, shape: Shape) -> Option<BrotliEncoder> {
    let lgwin = match shape {
        Shape::Whole(bytes) => levels.brotli_lgwin.min(window_for(bytes)),
        Shape::Stream => levels.brotli_lgwin.min(STREAM_WINDOW),
        Shape::Events => levels.brotli_lgwin.min(EVENTS_WINDOW),
    };
    let quality = match shape {
        Shape::Events => levels.brotli_quality.min(EVENTS_LEVEL),
        _ => levels.brotli_quality,
    };
    let mut options = BrotliEncoderOptions::new();
    options
        .mode(CompressionMode::Text)
        .quality(Quality::new(quality).ok()?)
        .window_size(WindowSize::new(lgwin).ok()?);
    if let Shape::Whole(bytes) = shape {
        options.size_hint(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
    options.build().ok()
}

/// The smallest window that holds so many bytes.
fn window_for(bytes: u64) -> u8 {
    // A window holds 16 bytes less than its power of two (RFC 7932 §9.1).
    let bits = u64::BITS - bytes.saturating_add(15).leading_zeros();
    u8::try_from(bits.clamp(10, 24)).unwrap_or(24)
}

fn brotli_step(
    encoder: &mut BrotliEncoder,
    input: &[u8],
    operation: Operation,
    out: &mut Vec<u8>,
) -> Option<Step> {
    let operation = match operation {
        Operation::Write => BrotliOperation::Process,
        Operation::Flush => BrotliOperation::Flush,
        Operation::Finish => BrotliOperation::Finish,
    };
    let len = out.len();
    out.resize(out.capacity().min(len + STEP_BYTES), 0);
    let room = out.get_mut(len..).unwrap_or_default();
    let result = encoder.compress(input, room, operation).ok();
    out.truncate(len + result.as_ref().map_or(0, |result| result.bytes_written));
    Some(Step {
        taken: result?.bytes_read,
        is_done: !encoder.has_output(),
    })
}

fn gzip_step(
    compress: &mut Compress,
    input: &[u8],
    operation: Operation,
    out: &mut Vec<u8>,
) -> Option<Step> {
    let flush = match operation {
        Operation::Write => FlushCompress::None,
        Operation::Flush => FlushCompress::Sync,
        Operation::Finish => FlushCompress::Finish,
    };
    let before = compress.total_in();
    let status = compress.compress_vec(input, out, flush).ok()?;
    let has_room = out.len() < out.capacity();
    Some(Step {
        taken: usize::try_from(compress.total_in() - before).ok()?,
        is_done: match operation {
            Operation::Finish => status == Status::StreamEnd,
            // Room that is left means that there was nothing more to put into it (zlib.h).
            Operation::Write | Operation::Flush => has_room,
        },
    })
}

fn set_zstd(cctx: &mut CCtx<'_>, levels: Levels, shape: Shape) -> Option<()> {
    cctx.reset(ResetDirective::SessionAndParameters).ok()?;
    let level = match shape {
        Shape::Events => levels.zstd.min(EVENTS_LEVEL),
        _ => levels.zstd,
    };
    let mut set = |parameter| cctx.set_parameter(parameter).ok();
    set(CParameter::CompressionLevel(i32::from(level)))?;
    match shape {
        Shape::Whole(bytes) => {
            // No window above what browsers must be able to hold: 8 MiB (RFC 9659).
            cctx.set_pledged_src_size(Some(bytes)).ok()?;
        }
        Shape::Stream => set(CParameter::WindowLog(u32::from(STREAM_WINDOW))).map(drop)?,
        Shape::Events => set(CParameter::WindowLog(u32::from(EVENTS_WINDOW))).map(drop)?,
    }
    Some(())
}

fn zstd_step(
    cctx: &mut CCtx<'_>,
    input: &[u8],
    operation: Operation,
    out: &mut Vec<u8>,
) -> Option<Step> {
    let directive = match operation {
        Operation::Write => ZSTD_EndDirective::ZSTD_e_continue,
        Operation::Flush => ZSTD_EndDirective::ZSTD_e_flush,
        Operation::Finish => ZSTD_EndDirective::ZSTD_e_end,
    };
    let mut given = InBuffer::around(input);
    let len = out.len();
    let mut room = OutBuffer::around_pos(out, len);
    let left = cctx
        .compress_stream2(&mut room, &mut given, directive)
        .ok()?;
    Some(Step {
        taken: given.pos(),
        is_done: operation == Operation::Write || left == 0,
    })
}

#[cfg(test)]
mod tests;
