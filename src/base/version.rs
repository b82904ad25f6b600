//! What this program is: filled in when it is built.

/// Name of the program.
pub const NAME: &str = env!("CARGO_PKG_NAME");
/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Short commit hash, or `unknown` where it was built outside a checkout.
pub const GIT: &str = env!("RINGWAY_GIT");
