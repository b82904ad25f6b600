//! The Model Context Protocol without I/O: messages, eras, names, sealed ids.
#![forbid(unsafe_code)]

pub mod catalog;
pub mod demo;
pub mod era;
pub mod jsonrpc;
pub mod method;
pub mod namespace;
pub mod revision;
pub mod scan;
pub mod seal;
pub mod session;
pub mod splice;
pub mod uri_template;
pub mod vocabulary;
