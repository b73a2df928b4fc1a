//! The binary: parse, run one command, exit code. Everything else is the library's.

use clap::Parser;
use headroom::cmd::{Cli, run};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(Cli::parse())
}
