//! The directory for copies of checkpoints, which are opened in the place of the originals.

use crate::app::signals::Signals;
use crate::client::scratch::Scratch;
use crate::cmd::shared::stderr;
use crate::threads;
use std::io;
use tokio::runtime::Builder;

/// Attempts to remove the copies of a command that is interrupted: it may be making one.
const TRIES: u32 = 10;

/// An empty directory, which is removed when this is dropped. When the process is asked to end before, it removes the directory
/// and ends with exit code 2.
///
/// # Errors
/// It cannot be made, or nobody can listen for signals.
pub(super) fn scratch() -> io::Result<Scratch> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut interrupts = {
        let _entered = runtime.enter();
        Signals::interrupts()?
    };
    let scratch = Scratch::new("headroom-verify")?;
    let path = scratch.path().to_owned();
    threads::spawn("interrupts", move || {
        runtime.block_on(interrupts.received());
        for _ in 0..TRIES {
            if std::fs::remove_dir_all(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                break;
            }
        }
        stderr::note("interrupted");
        std::process::exit(2);
    })?;
    Ok(scratch)
}
