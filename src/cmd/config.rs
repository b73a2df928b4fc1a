//! `headroom config`: prints the settings in force, as a file that means the same.

use super::{Failure, Verdict};
use crate::config::Config;
use std::io::Write;

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    out.write_all(config.dump().as_bytes())?;
    Ok(Verdict::Fine)
}
