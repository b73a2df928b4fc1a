//! What Headroom tells its operators: metrics and log lines, without any business data of callers. An ERROR line means
//! that someone should wake up. The binary calls [`init`] once, which sets where lines go and in which format;
//! libraries and tests only write lines.

mod access;
mod access_log;
mod attributes;
mod canary;
mod catalogue;
mod clock;
mod disk;
mod http;
mod lines;
mod memory;
mod metrics;
mod partitions;
mod recent;
mod register;
mod report;
mod sample;
mod scrape;
mod spans;
mod stages;
mod tls;
mod traces;
mod watched;

pub use canary::CanaryMetrics;
pub use catalogue::{Described, Kind, table};
pub use disk::Disk;
pub use metrics::Metrics;
pub use traces::TraceExport;
pub use watched::Pace;

use crate::config::LogFormat;
use std::panic::PanicHookInfo;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Sends log lines that pass `filter` to standard error, and makes a panic an ERROR line. To be called once in a
/// process.
///
/// # Errors
/// When the filter is not valid, or when log lines already have a destination.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log level {filter}: {error}"))?;
    let lines = fmt::layer().with_writer(lines::Lines);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let shown = filter_fn(is_shown).with_max_level_hint(LevelFilter::TRACE);
    tracing_subscriber::registry()
        .with(filter)
        .with(shown)
        .with(lines)
        .try_init()
        .map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Whether a line may be written at all, whatever the setting says. Below INFO, libraries write bytes and headers as they
/// come, and those hold tokens and the data of callers. So only lines of our own may be below it.
fn is_shown(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target() == "headroom" || line.target().starts_with("headroom::")
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
