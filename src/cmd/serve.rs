//! `headroom serve`: runs the service until SIGTERM or SIGINT.

use super::shared::source::cannot_make;
use super::{Failure, Verdict};
use crate::app::signals::Signals;
use crate::app::{App, StartError};
use crate::config::{Config, LogFormat, Problems};
use crate::limits::{LEAVE_MS, SHUTDOWN_MS};
use crate::log::Opening;
use crate::telemetry::{self, Metrics};
use crate::time::SystemClock;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a start may take to end that was given up: a disk may not answer.
const STARTING_LIMIT: Duration = Duration::from_millis(LEAVE_MS + SHUTDOWN_MS);

/// Tells why the settings cannot be used, in the format of the log lines.
pub(super) fn refused(problems: &Problems) -> Failure {
    let failure = Failure::Unusable(problems.to_string());
    let is_json = problems.log_format == Some(LogFormat::Json);
    if is_json && telemetry::init(LogFormat::Json, "error").is_ok() { logged(&failure) } else { failure }
}

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let is_json = config.log_format == LogFormat::Json;
    serve(config, out).map_err(|failure| if is_json { logged(&failure) } else { failure })
}

/// Standard error holds JSON lines only: the error is one of them.
fn logged(failure: &Failure) -> Failure {
    tracing::error!("{failure}");
    Failure::Logged { is_wrong: matches!(failure, Failure::Wrong(_)) }
}

fn serve(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unusable(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(async {
        let cannot = |error| Failure::Unusable(format!("cannot listen for signals: {error}"));
        let mut interrupts = Signals::interrupts().map_err(cannot)?;
        let metrics = Arc::new(Metrics::new().access_log(config.access_log));
        let (opening, clock) = (Arc::<Opening>::default(), Arc::new(SystemClock::new()));
        let mut starting = pin!(App::start(config, clock, metrics, &opening));
        let mut is_over = false;
        let app = tokio::select! {
            biased;
            app = &mut starting => app,
            () = interrupts.received() => {
                tracing::info!("shutting down before the log is open");
                is_over = true;
                opening.give_up();
                timeout(STARTING_LIMIT, starting).await.map_err(|_| {
                    Failure::Wrong("the log is still being opened, and the process does not wait for it".to_owned())
                })?
            }
        };
        let app = match app {
            Err(StartError::GivenUp) => {
                tracing::info!("stopped before the log was open; it was left as it was");
                return Ok(Verdict::Fine);
            }
            app => app.map_err(cannot_start)?,
        };
        // With port 0 this line tells the port. Nobody has to read it: a closed output is no error.
        let url = app.url();
        match config.log_format {
            LogFormat::Text => drop(writeln!(out, "headroom listens on {url}").and_then(|()| out.flush())),
            LogFormat::Json => tracing::info!(url, "headroom listens"),
        }
        let shutdown = async move {
            if !is_over {
                interrupts.received().await;
            }
            tracing::info!("shutting down");
        };
        let ended = app.run(shutdown).await;
        tracing::info!(is_clean = ended.is_ok(), "stopped");
        ended.map(|()| Verdict::Fine).map_err(|why| Failure::Wrong(why.to_owned()))
    });
    // Tasks that are still running work for callers who are gone.
    runtime.shutdown_background();
    ended
}

fn cannot_start(error: StartError) -> Failure {
    match error {
        StartError::Log(error) => cannot_make(&error),
        StartError::OtherLog(_) => Failure::Wrong(error.to_string()),
        other => Failure::Unusable(other.to_string()),
    }
}
