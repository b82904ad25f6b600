//! Things every layer may use: bounds, the clock, queues inside one shard.
#![forbid(unsafe_code)]

pub mod channel;
pub mod clock;
pub mod limits;
