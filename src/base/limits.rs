//! Every fixed bound of the program, each with its reason, and the relations between them.
//! Bounds that an operator may set live in the configuration; these are the ones they may not.

/// Hex digits accepted in one chunk-size line (RFC 9112 §7.1 sets none; we must).
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// Chunk extensions plus trailers accepted over one whole body. Both are bytes that cost
/// us work and carry nothing we use, so they share a budget.
pub const CHUNK_OVERHEAD_BYTES_MAX: u32 = 8 * 1024;
/// Header fields in one message. nginx has no count limit, only bytes; a count bounds our spans.
pub const HEADER_FIELDS_MAX: usize = 128;

// A size that fits the digit bound fits `u64`, so the decoder never has to check overflow.
const _: () = assert!(CHUNK_SIZE_DIGITS_MAX as u32 * 4 <= u64::BITS);
