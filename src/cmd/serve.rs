//! `headroom serve`: the service, until it is told to stop.

use super::shared::source::cannot_open;
use super::{Failure, Verdict};
use crate::app::signals::Signals;
use crate::app::{App, StartError};
use crate::config::{Config, LogFormat};
use crate::telemetry::Metrics;
use crate::time::SystemClock;
use std::io::Write;
use std::sync::Arc;

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let is_json = config.log_format == LogFormat::Json;
    match serve(config, out) {
        // Whoever reads JSON reads nothing else.
        Err(failure) if is_json => {
            tracing::error!("{failure}");
            Err(Failure::Logged { is_wrong: matches!(failure, Failure::Wrong(_)) })
        }
        ended => ended,
    }
}

fn serve(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unusable(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(async {
        let cannot = |error| Failure::Unusable(format!("cannot listen for signals: {error}"));
        let mut interrupts = Signals::interrupts().map_err(cannot)?;
        let app = App::start(config, Arc::new(SystemClock::new()), Arc::new(Metrics::new())).await;
        let app = app.map_err(cannot_start)?;
        // Whoever asked for port 0 reads here which one it is; nobody has to.
        let address = app.address();
        match config.log_format {
            LogFormat::Text => drop(writeln!(out, "headroom listens on http://{address}").and_then(|()| out.flush())),
            LogFormat::Json => tracing::info!(url = format!("http://{address}"), "headroom listens"),
        }
        let shutdown = async move {
            interrupts.received().await;
            tracing::info!("shutting down");
        };
        let ended = app.run(shutdown).await;
        tracing::info!(is_clean = ended.is_ok(), "stopped");
        ended.map(|()| Verdict::Fine).map_err(|why| Failure::Wrong(why.to_owned()))
    });
    // What still asks the log asks for callers who are gone.
    runtime.shutdown_background();
    ended
}

fn cannot_start(error: StartError) -> Failure {
    match error {
        StartError::Log(error) => cannot_open(&error),
        StartError::OtherLog(_) => Failure::Wrong(error.to_string()),
        other => Failure::Unusable(other.to_string()),
    }
}
