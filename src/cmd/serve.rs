//! `headroom serve`: the service, until it is told to stop.

use super::source::cannot_open;
use super::{Failure, Verdict};
use crate::app::{App, StartError};
use crate::config::Config;
use crate::telemetry::Metrics;
use crate::time::SystemClock;
use std::io::Write;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unusable(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(async {
        let mut terminate = listen_for(SignalKind::terminate())?;
        let mut interrupt = listen_for(SignalKind::interrupt())?;
        let app = App::start(config, Arc::new(SystemClock::new()), Arc::new(Metrics::new())).await;
        let app = app.map_err(cannot_start)?;
        // Whoever asked for port 0 reads here which one it is; nobody has to.
        let _ = writeln!(out, "headroom listens on http://{}", app.address()).and_then(|()| out.flush());
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("shutting down");
        };
        app.run(shutdown).await.map(|()| Verdict::Fine).map_err(|why| Failure::Wrong(why.to_owned()))
    });
    // What still asks the log asks for callers who are gone.
    runtime.shutdown_background();
    ended
}

fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::Unusable(format!("cannot listen for signals: {error}")))
}

fn cannot_start(error: StartError) -> Failure {
    match error {
        StartError::Log(error) => cannot_open(&error),
        StartError::OtherLog(_) => Failure::Wrong(error.to_string()),
        other => Failure::Unusable(other.to_string()),
    }
}
