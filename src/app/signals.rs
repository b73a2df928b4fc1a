//! Signals that ask a process to stop, for processes that have something to finish first.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for signals: they no longer end the process by themselves.
pub struct Signals(Vec<Signal>);

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
