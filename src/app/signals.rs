//! Signals that would end a process: those that ask it to stop, for processes that have something to finish first, and the one
//! that comes with a file which may not grow.

use rustix::process::Signal as Number;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for signals: they no longer end the process by themselves.
pub struct Signals(Vec<Signal>);

/// From now on, a file that may not grow any further (`ulimit -f`) is an error of the call that writes it, as on a full disk.
/// Without that, SIGXFSZ ends the process without a word.
///
/// # Errors
/// The system does not let the process listen.
pub fn outlive_file_limits() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // The signal stays caught for as long as the process runs.
    signal(SignalKind::from_raw(Number::XFSZ.as_raw())).map(drop)
}

impl Signals {
    /// SIGINT and SIGTERM: a person or a supervisor asks the process to end.
    ///
    /// # Errors
    /// The system does not let the process listen.
    pub fn interrupts() -> io::Result<Signals> {
        Signals::listen(&[SignalKind::interrupt(), SignalKind::terminate()])
    }

    /// SIGHUP: the terminal was closed.
    ///
    /// # Errors
    /// The system does not let the process listen.
    pub fn hangup() -> io::Result<Signals> {
        Signals::listen(&[SignalKind::hangup()])
    }

    fn listen(kinds: &[SignalKind]) -> io::Result<Signals> {
        kinds.iter().map(|kind| signal(*kind)).collect::<io::Result<_>>().map(Signals)
    }

    /// Waits for one of the signals, or takes one that has arrived since this was made.
    pub async fn received(&mut self) {
        poll_fn(|context| {
            let has_come = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
