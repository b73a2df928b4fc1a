//! This process's membership in the group of all processes that serve the log. Nobody reads by way of this group: the cluster
//! keeps a list of its live members, and the name of each says up to which feature level its process can read. So a level is
//! raised only when all can read it ([`crate::log::kafka::ops::levels`]). The same thread notices when that has happened.

use crate::log::kafka::client::callbacks::{ClientLog, LastClientError};
use crate::log::kafka::client::classify;
use crate::log::kafka::data::context::LogContext;
use crate::log::kafka::ops::manifest::{self, Pinned};
use crate::log::{LogError, known_level};
use crate::threads;
use crate::time::{Stopwatch, pause};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for one poll of the group's consumer, and so for the end of the thread.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two reads of the manifest.
const LEVEL_EVERY: Duration = Duration::from_secs(5);
/// Precedes the level in the name of a member.
const LEVEL: &str = ".level-";

/// The name of a member: what runs, and what it can read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessName {
    /// The version of the program.
    pub version: String,
    /// The newest feature level that it knows.
    pub level: u32,
}

impl ProcessName {
    /// The name of this process, in the group of owners as well.
    pub(super) fn own() -> ProcessName {
        ProcessName { version: env!("CARGO_PKG_VERSION").to_owned(), level: known_level() }
    }

    /// What a member of the group is; `None` when it is no process of ours.
    pub fn of(name: &str) -> Option<ProcessName> {
        let (version, level) = name.strip_prefix("headroom-")?.rsplit_once(LEVEL)?;
        Some(ProcessName { version: version.to_owned(), level: level.parse().ok()? })
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "headroom-{}{LEVEL}{}", self.version, self.level)
    }
}

/// Dropping it leaves the group.
pub(in crate::log::kafka) struct Presence {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Presence {
    /// Starts the thread.
    pub(in crate::log::kafka) fn start(context: &Arc<LogContext>) -> Result<Presence, LogError> {
        let cluster = &context.cluster;
        let member = cluster.process(context.manifest.log_id, &ProcessName::own().to_string());
        let member: Result<BaseConsumer<ClientLog>, _> = member.create_with_context(ClientLog::default());
        let member =
            member.map_err(|error| classify::failed("creating the member of the group of processes", &error))?;
        let subscribed = member.subscribe(&[&cluster.topics.manifest]);
        subscribed.map_err(|error| classify::failed("joining the group of processes", &error))?;
        let reader = cluster.reader_to_end().create_with_context(LastClientError::default());
        let reader = reader.map_err(|error| classify::failed("creating a reader of the manifest", &error))?;
        let is_over = Arc::<AtomicBool>::default();
        let work = Work { context: Arc::clone(context), member, reader, is_over: Arc::clone(&is_over) };
        let thread = threads::spawn("presence", move || work.run()).map_err(|error| LogError::no_thread(&error))?;
        Ok(Presence { is_over, thread: Some(thread) })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // A thread that panicked has left; the group will find out.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Work {
    context: Arc<LogContext>,
    member: BaseConsumer<ClientLog>,
    reader: BaseConsumer<LastClientError>,
    is_over: Arc<AtomicBool>,
}

impl Work {
    fn run(self) {
        let (mut read, mut told) = (Stopwatch::start(), String::new());
        while !self.is_over.load(Relaxed) {
            // The poll keeps the membership. A record of the manifest that it returns is read below with the others.
            if let Some(Err(error)) = self.member.poll(LOOK) {
                let why = error.to_string();
                if why != told {
                    tracing::warn!(
                        why,
                        "this process is not in the group of processes: headroom topics finalize misses it"
                    );
                    told = why;
                }
                pause(LOOK);
            }
            if read.elapsed() >= LEVEL_EVERY {
                read = Stopwatch::start();
                self.follow();
            }
        }
    }

    /// Takes the level that the log has now.
    fn follow(&self) {
        let topic = &self.context.cluster.topics.manifest;
        let Pinned { manifest, feature_level: level, raised_by, .. } = match manifest::read(&self.reader, topic) {
            Ok(Ok(Some(pinned))) => pinned,
            Ok(Ok(None)) => return tracing::warn!(topic, "the manifest is gone"),
            Ok(Err(problem)) => return tracing::warn!(topic, %problem, "the manifest cannot be used"),
            Err(error) => return tracing::debug!(topic, %error, "the manifest cannot be read"),
        };
        if manifest.log_id != self.context.manifest.log_id {
            return tracing::error!(topic, "the topic holds the manifest of another log: restart this process");
        }
        if !self.context.level.raise(level) {
            return;
        }
        let (version, known) = (raised_by.unwrap_or_default(), known_level());
        if level > known {
            tracing::error!(
                level,
                known,
                version,
                "the log has a feature level that this version does not know: take that version or a later one. This \
                 process stops with the first record that it cannot read"
            );
        } else {
            tracing::info!(level, version, "the log has a higher feature level from now on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_says_what_it_can_read() {
        let name = ProcessName { version: "1.2.3-rc.level-7".to_owned(), level: 12 };
        assert_eq!(ProcessName::of(&name.to_string()), Some(name));
        for other in ["headroom", "headroom-1.0.0", "headroom-1.0.0.level-x", "kcat.level-1", ""] {
            assert_eq!(ProcessName::of(other), None, "{other}");
        }
    }
}
