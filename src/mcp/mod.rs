//! The Model Context Protocol without I/O: messages, eras, names, sealed ids.
#![forbid(unsafe_code)]

pub mod method;
pub mod revision;
pub mod scan;
pub mod vocabulary;
