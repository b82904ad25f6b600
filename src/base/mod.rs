//! Things every layer may use: bounds, the clock, dates, logging, queues inside one shard.
#![forbid(unsafe_code)]

pub mod base64;
pub mod channel;
pub mod civil;
pub mod clock;
pub mod driver;
pub mod glob;
pub mod hash;
pub mod ids;
pub mod json;
pub mod limits;
pub mod log;
pub mod log_file;
pub mod nearest;
pub mod network;
pub mod open_file;
pub mod owner;
pub mod version;
pub mod writer;
