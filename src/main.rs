//! The `ringway` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway::cli::main(ringway::supervisor::run)
}
