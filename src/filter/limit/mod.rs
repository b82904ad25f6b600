//! Limits by key that hold over all shards: how often (`[rate_limit]`), how many at once
//! (`[connection_limit]`). No I/O and no clock: messages and `now` in, decisions out.
//!
//! Each key has one owner, the shard that its hash names. The owner alone keeps the key's state,
//! so that no lock is needed and the arithmetic is that of one process. Others ask it by
//! message, and remember of its answers what stays true without it:
//!
//! - **refused until**: nothing but time empties a bucket, so nobody can be admitted earlier.
//!   Under attack nearly all requests are refused without a message.
//! - **a lease**: some admissions in advance, already counted by the owner, for keys that are
//!   asked for often and far from their limit. All leases together are below 2 % of what is
//!   left of the burst, run out after a tenth of a second, and what was not used is given back.

mod bucket;
mod kept;
mod key;
mod message;
mod rates;
mod slots;
mod table;

pub use bucket::{Bucket, Left, Over, Rate};
pub use kept::{Allowance, Decided, Home, Keeper, Passed, Place};
pub use key::Key;
pub use message::{Item, Verdict};
pub use rates::{Decision, RateLimits, Refund};
pub use slots::{Entered, SlotLimits};
