//! HTTP semantics and wire formats. Sans-io: bytes in, events and bytes out.
#![forbid(unsafe_code)]

mod body;
mod headers;
mod request;
mod response;

pub use body::{Body, BodyError, Frame};
pub use headers::{HeaderList, Known};
pub use request::{Method, RequestHead, Version};
pub use response::Response;
