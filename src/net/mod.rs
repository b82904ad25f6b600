//! Bytes, descriptors, time and threads: the only folder that names the runtime. Knows no
//! protocol and no configuration.
//!
//! Invariants: a runtime is built on the thread that runs it; every future may be dropped without
//! losing a byte or a descriptor; the kernel never holds a buffer to fill; descriptors are CLOEXEC
//! from birth; `unsafe` is in `sys` alone.

pub mod across;
pub mod affinity;
pub mod batches;
pub mod buffers;
pub mod connect;
pub mod deadlines;
pub mod disk;
mod fd;
pub mod files;
mod give_way;
pub mod link;
pub mod listener;
pub mod mailbox;
pub mod process;
pub mod reading;
pub mod resolve;
pub mod runtime;
pub mod signals;
mod stream;
pub mod sys;
pub mod timer;
pub mod tls;
mod transport;

pub use give_way::give_way;
pub use runtime::spawn;
pub use stream::{Plain, Stream};
pub use timer::sleep;
pub use transport::Transport;

#[cfg(test)]
mod tests;
