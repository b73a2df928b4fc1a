//! Being told to stop, for tools that have something to put away first.

use std::future::poll_fn;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that no longer end the process, since somebody listens. One that cannot be listened for still does.
pub struct Listening(Vec<Signal>);

impl Listening {
    /// To what a person or a supervisor sends to end the process.
    pub fn to_interrupts() -> Listening {
        Listening::to(&[SignalKind::interrupt(), SignalKind::terminate()])
    }

    /// To what a terminal sends that is closed.
    pub fn to_hangup() -> Listening {
        Listening::to(&[SignalKind::hangup()])
    }

    fn to(kinds: &[SignalKind]) -> Listening {
        Listening(kinds.iter().filter_map(|kind| signal(*kind).ok()).collect())
    }

    /// Waits for one of them, or takes one that has come since this was made.
    pub async fn heard(&mut self) {
        poll_fn(|context| {
            let has_come = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn interrupted() {
    Listening::to_interrupts().heard().await;
}
