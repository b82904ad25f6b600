//! HTTP semantics and wire formats. Sans-io: bytes in, events and bytes out.
#![forbid(unsafe_code)]

pub mod accept;
mod body;
pub mod cache_control;
mod coding;
pub mod conditional;
pub mod date;
pub mod endpoint;
pub mod freshness;
pub mod h1;
pub mod h2;
mod headers;
mod hints;
mod known;
pub mod proxy_line;
pub mod range;
mod request;
mod response;
mod source;
pub mod sse;
mod status;
mod stored;
mod tunnel;
pub mod uri;

pub use body::{Body, BodyError, FileSpan, Frame, Piece};
pub use coding::Coding;
pub use headers::{HeaderList, InvalidField, is_field_value, is_token};
pub use hints::{Hint, Hints};
pub use known::Known;
pub use request::{Method, RequestHead, Version};
pub use response::{AskedServer, Response, ResponseHead, UpstreamTimes};
pub use source::Source;
pub use status::reason;
pub use stored::{Claim, Maker, Shelf, Stored};
pub use tunnel::Tunnel;
