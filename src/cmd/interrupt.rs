//! Being told to stop, for tools that have something to put away first.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT or SIGTERM. Where neither can be listened for, it waits for ever and they end the process.
pub async fn interrupted() {
    let signals = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    let Ok((mut interrupt, mut terminate)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
