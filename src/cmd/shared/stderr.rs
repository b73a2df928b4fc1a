//! What a command says beside its output. Standard error may be closed or full, which ends no command.

use std::fmt::Display;
use std::io::{self, Write};

/// Says something that somebody should know.
pub(in crate::cmd) fn note(what: impl Display) {
    line(format_args!("headroom: {what}"));
}

/// Writes a line to standard error, if it takes one.
pub(in crate::cmd) fn line(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}
