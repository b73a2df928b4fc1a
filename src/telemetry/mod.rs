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
mod log;
mod memory;
mod metrics;
mod partitions;
mod recent;
mod register;
mod report;
mod sample;
mod scrape;
mod sink;
mod snapshots;
mod spans;
mod stages;
mod tls;
mod traces;
mod watched;
mod watches;

pub use canary::CanaryMetrics;
pub use catalogue::{Described, Kind, table};
pub use disk::Disk;
pub use log::LogMetrics;
pub use memory::ProcessMemory;
pub use metrics::Metrics;
pub use sink::SinkMetrics;
pub use snapshots::SnapshotMetrics;
pub use traces::TraceExport;
pub use watched::Pace;

use crate::config::LogFormat;
use crate::threads;
use std::any::Any;
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
    if threads::is_guarded() {
        return;
    }
    let what = unquoted(reason(panic.payload()));
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(at, thread = thread.name().unwrap_or("unnamed"), %backtrace, "panicked: {what}");
}

fn reason(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

/// The reason of a panic without what it quotes, from the first mark of quotation to the last. What is quoted was in the
/// hands of the code that panicked, and may be a secret of a caller: a text that is cut between its bytes, or the value
/// of an error.
fn unquoted(reason: &str) -> String {
    let is_mark = |c| matches!(c, '"' | '`' | '[' | ']');
    let Some((before, rest)) = reason.split_once(is_mark) else { return reason.to_owned() };
    let after = rest.rsplit_once(is_mark).map_or("", |(_, after)| after);
    format!("{before}…{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::panic::{catch_unwind, panic_any};

    /// What is told of this panic.
    fn told(panics: fn()) -> String {
        unquoted(reason(&*catch_unwind(panics).unwrap_err()))
    }

    fn failed() -> io::Result<()> {
        Err(io::Error::other("the \"secret\" token"))
    }

    /// The reasons are those that the standard library gives.
    #[test]
    fn a_panic_is_told_without_the_values_that_were_at_hand() {
        let cut: fn() = || drop("hr_é-secret"["hr_é".len() - 1..].to_owned());
        let error: fn() = || failed().unwrap();
        let bytes: fn() = || assert_eq!(b"secret".to_vec(), b"".to_vec(), "a secret");
        let number: fn() = || assert!([1, 2].len() > 7, "a turn goes on at {:?}", Some(3));
        let value: fn() = || panic_any(7);
        for (panics, says) in [
            (cut, "is not a char boundary"),
            (error, "called …"),
            (bytes, "assertion …"),
            (number, "a turn goes on at Some(3)"),
            (value, "no reason given"),
        ] {
            let told = told(panics);
            assert!(told.contains(says) && !told.contains("secret") && !told.contains("115"), "{told}");
        }
    }
}
