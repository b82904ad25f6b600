//! TLS without sockets: what a client greets with, certificates, tickets. Never waits.
#![forbid(unsafe_code)]

pub mod hello;
