//! The binary: reads the arguments, runs one command, and ends with its exit code. Everything else is in the library.

use headroom::cmd::{Cli, run};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(Cli::read())
}
