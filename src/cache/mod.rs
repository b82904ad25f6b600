//! A shared cache of HTTP responses (RFC 9111) with nginx's controls on top: what is kept, what
//! answers what, how long, and what goes. Values in, decisions out: who asks the server, waits
//! and streams is `handler/cache`.
//!
//! ```text
//!  request --> KeyTemplate --> Table --> Resource --> Entry that its Vary selects
//!                                                       |
//!                     Use | UseAndRenew | Ask <-- judge(entry, rules, now)
//!                                          |
//!  response of the server --> draft() --> Draft --> Parcel --> Entry, in the Table
//!  304                    --> renew() ----------------^
//! ```
//!
//! A [`Parcel`](entry::Parcel) is immutable and may cross threads; an [`Entry`](entry::Entry) is
//! one shard's, with the encodings that this shard has made of it.
#![forbid(unsafe_code)]

pub mod entry;
pub mod file;
pub mod index;
pub mod judge;
mod kept;
pub mod key;
pub mod status;
pub mod store;
pub mod table;
pub mod vary;
