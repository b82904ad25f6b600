//! TLS without sockets: what a client greets with, certificates and their names, suites, ticket
//! keys, OCSP responses, and the rustls configuration made of them. Never waits.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod client;
pub mod hello;
pub mod ocsp;
pub mod seen;
pub mod settings;
pub mod suites;
pub mod tickets;

mod names;
