//! What Headroom tells its operators: metrics and log lines, without any business data of callers. An ERROR line means
//! that someone should wake up. The binary calls [`init`] once, which sets where lines go and in which format;
//! libraries and tests only write lines.

mod attributes;
mod clock;
mod http;
mod memory;
mod metrics;
mod register;
mod report;
mod sample;
mod scrape;
mod spans;
mod traces;
mod watched;

pub use metrics::Metrics;
pub use traces::TraceExport;
pub use watched::Pace;

use crate::config::LogFormat;
use std::panic::PanicHookInfo;
use tracing_subscriber::EnvFilter;

/// Sends log lines that pass `filter` to standard error, and makes a panic an ERROR line. To be called once in a
/// process.
///
/// # Errors
/// When the filter is not valid, or when log lines already have a destination.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log level {filter}: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    }
    .map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Logs where a panic happened. Whether the process continues depends on the thread that panicked.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let what = panic.payload().downcast_ref::<String>().map(String::as_str);
    let what = what.or_else(|| panic.payload().downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(at, thread = thread.name().unwrap_or("unnamed"), %backtrace, "panicked: {what}");
}
