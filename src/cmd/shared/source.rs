//! Opens the log that a command reads: the data directory, the running server that has the directory open, or the
//! Kafka cluster.

use super::stderr;
use crate::app::{self, ADDRESS_FILE, Hold, Location, StartError};
use crate::client::running::RunningServer;
use crate::cmd::Failure;
use crate::cmd::shared::certificate::Certificate;
use crate::cmd::shared::flags::token_of_environment;
use crate::config::Config;
use crate::log::embedded::{Archive, EmbeddedReader, OpenError, WithArchive};
use crate::log::kafka::Kafka;
use crate::log::kafka::ops::admin::Admin;
use crate::log::{ClusterLog, CommittedTail, EndOffsets, LogError, LogErrorKind};
use crate::store::sled::SledStore;
use crate::time::pause;
use crate::tls;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Attempts to open a log that another process has open and no server serves.
const TRIES: u32 = 10;
/// Pause between two attempts.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for any of the brokers, over a connection that has to be made first.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// An open log.
pub(in crate::cmd) enum Source {
    /// The files of a stopped server, with what has left them. A server that is started waits while they are open.
    Directory(WithArchive<EmbeddedReader>),
    /// A running server, asked over HTTP, with what has left its log.
    Server(Box<WithArchive<RunningServer>>),
    /// The topics of a Kafka cluster, which servers may be using.
    Cluster(Box<Kafka>),
}

impl Source {
    /// The log of this configuration. To a server that asks for a certificate, `own` is shown.
    pub(in crate::cmd) fn open(config: &Config, own: Option<&Certificate>) -> Result<Source, Failure> {
        let Some(kafka) = &config.kafka else { return Source::of_directory(config, own) };
        let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
        Ok(Source::Cluster(Box::new(log)))
    }

    fn of_directory(config: &Config, own: Option<&Certificate>) -> Result<Source, Failure> {
        let dir = &config.data_dir;
        is_known(dir)?;
        let mut tries = TRIES;
        loop {
            tries = tries.saturating_sub(1);
            match EmbeddedReader::open(dir) {
                Ok(reader) => {
                    let log_id = reader.manifest().log_id;
                    return Ok(Source::Directory(with_archive(reader, config, log_id)?));
                }
                // A server has the log open for a moment before it can be called, and after it can be.
                Err(OpenError::InUse { .. }) => match running_server(dir, own) {
                    Err(why) if tries > 0 && !why.needs_operator() => pause(TRY_EVERY),
                    Err(why) => return Err(not_answering(dir, &why)),
                    Ok(server) => {
                        let log_id = server.log_id();
                        return Ok(Source::Server(Box::new(with_archive(server, config, log_id)?)));
                    }
                },
                Err(error) => return Err(cannot_open(&gone(dir, error))),
            }
        }
    }

    /// Whether this error shows a fault of the log: the log still answers, and no place withholds what was asked for. A partition
    /// of a cluster may be slow, or have no leader for a while, when others answer.
    pub(in crate::cmd) fn is_at_fault(&self, error: &LogError) -> bool {
        let may_pass = matches!(self, Source::Cluster(_)) && error.kind == LogErrorKind::Transient;
        !may_pass && !error.is_withheld() && self.is_there()
    }

    fn is_there(&self) -> bool {
        match self {
            Source::Directory(_) => true,
            Source::Server(server) => server.log().is_there(),
            Source::Cluster(log) => log.end_offset(0).is_ok(),
        }
    }

    /// Why none of the cluster's brokers answers any more, when that may be what this error comes from; `None` when one does, and
    /// of a log that is on no cluster.
    pub(in crate::cmd) fn unanswered(&self, error: &LogError) -> Option<String> {
        let Source::Cluster(log) = self else { return None };
        if error.kind != LogErrorKind::Transient {
            return None;
        }
        let answered = Admin::new(log.cluster().clone()).and_then(|admin| admin.answers(ANSWER_LIMIT));
        answered.err().map(|error| error.to_string())
    }

    /// What the archive has lost, in words, as far as it was looked at.
    pub(in crate::cmd) fn lacks(&self) -> Option<String> {
        match self {
            Source::Directory(reader) => reader.lacks(),
            Source::Server(server) => server.lacks(),
            Source::Cluster(_) => None,
        }
    }

    /// Tells with which segment the archive begins, on standard error, where that is not the first one of the log.
    pub(in crate::cmd) fn tell_beginning(&self) {
        let begins_later = match self {
            Source::Directory(reader) => reader.begins_later(),
            Source::Server(server) => server.begins_later(),
            Source::Cluster(_) => None,
        };
        if let Some(begins_later) = begins_later {
            stderr::note(begins_later);
        }
    }

    /// Tells what the archive has lost, on standard error, and where it begins; answers whether it has lost anything.
    pub(in crate::cmd) fn tell_lacks(&self) -> bool {
        self.tell_beginning();
        self.lacks().inspect(|lacks| stderr::note(lacks)).is_some()
    }

    /// Where the processes are connected from that serve the log of a cluster now; `None` where no processes share it. One that
    /// was killed counts for some seconds more.
    pub(in crate::cmd) fn processes(&self) -> Option<Result<Vec<String>, LogError>> {
        let Source::Cluster(log) = self else { return None };
        let processes = Admin::new(log.cluster().clone()).and_then(|admin| admin.processes(self.log_id()));
        Some(processes.map(|processes| processes.into_iter().map(|process| process.host).collect()))
    }

    /// The id of the log.
    pub(in crate::cmd) fn log_id(&self) -> u128 {
        match self {
            Source::Directory(reader) => reader.log_id(),
            Source::Server(server) => server.log_id(),
            Source::Cluster(log) => log.manifest().log_id,
        }
    }

    /// The partitions that a command is about: the one that was named, or all of them.
    pub(in crate::cmd) fn partitions(&self, named: Option<u32>) -> Result<Range<u32>, Failure> {
        let count = self.tail().partitions();
        match named {
            None => Ok(0..count),
            Some(partition) if partition < count => Ok(partition..partition.saturating_add(1)),
            Some(partition) => Err(Failure::Unusable(format!(
                "there is no partition {partition}: the log has {count}, numbered from 0"
            ))),
        }
    }

    pub(in crate::cmd) fn tail(&self) -> &dyn CommittedTail {
        match self {
            Source::Directory(reader) => reader,
            Source::Server(server) => &**server,
            Source::Cluster(log) => &**log,
        }
    }
}

/// A log together with what has left it, where a place of that is set.
pub(in crate::cmd) fn with_archive<L: CommittedTail>(
    log: L,
    config: &Config,
    log_id: u128,
) -> Result<WithArchive<L>, Failure> {
    Ok(WithArchive::new(log, log_id, archive(config, log_id)?))
}

/// The place of what has left a log, if one is set.
pub(in crate::cmd) fn archive(config: &Config, log_id: u128) -> Result<Option<Box<dyn Archive>>, Failure> {
    app::archive(config, log_id).map_err(|error| Failure::Unusable(error.to_string()))
}

/// The server that runs on this data directory; the error says why it cannot be called. It knows the command as an operator
/// by the token in its directory. Whoever may not read that file sends a token of its own, which the environment holds. To a
/// server that asks for a certificate, `own` is shown.
pub(in crate::cmd) fn running_server(dir: &Path, own: Option<&Certificate>) -> Result<RunningServer, LogError> {
    let file = dir.join(ADDRESS_FILE);
    let no_address =
        |error| LogError::transient(format!("{} does not say where its server is: {error}", file.display()));
    let Location { address, certificate } = app::read_address(dir).map_err(no_address)?;
    let tls = certificate.map(|pin| tls::pinned(pin, own.map(Certificate::parts))).transpose();
    let tls = tls.map_err(LogError::transient)?;
    let token = app::read_local_token(dir).ok().or_else(token_of_environment);
    let may_ask_for_one = tls.is_some() && own.is_none();
    RunningServer::at(address, tls, token.as_deref()).map_err(|error| {
        let detail = match token {
            // It has answered.
            _ if error.needs_operator() => error.to_string(),
            None => format!("{error}; the server's token cannot be read, and HEADROOM_TOKEN is not set"),
            Some(_) if may_ask_for_one => {
                format!(
                    "{error}; where the server asks for a client certificate, name one: --certificate, --certificate-key"
                )
            }
            Some(_) => error.to_string(),
        };
        LogError { detail, ..error }
    })
}

/// The same for whoever does not know that a process has the directory open. A copy of a data directory names the server of the
/// original, and one that was killed leaves its address behind: neither is meant.
pub(in crate::cmd) fn own_server(dir: &Path, own: Option<&Certificate>) -> Result<RunningServer, String> {
    if Hold::is_free(dir) {
        return Err(format!("no server is running on {}", dir.display()));
    }
    running_server(dir, own).map_err(|error| error.detail)
}

/// A process has the data directory open, and cannot be asked.
pub(in crate::cmd) fn not_answering(dir: &Path, why: &LogError) -> Failure {
    let dir = dir.display();
    if why.needs_operator() {
        return Failure::Unusable(format!("the log in {dir} is in use: {why}"));
    }
    Failure::Unusable(format!(
        "the log in {dir} is in use and its server does not answer: {why}; it may be starting or stopping: try again"
    ))
}

/// A server runs on the data directory, and the command needs the directory for itself.
pub(in crate::cmd) fn in_use(dir: &Path) -> Failure {
    Failure::Unusable(format!("a server is running on {}: stop it and try again", dir.display()))
}

/// Refuses a log that a later version of headroom has given a feature level, and names that version.
pub(in crate::cmd) fn is_known(dir: &Path) -> Result<(), Failure> {
    match app::check_level(dir) {
        Err(error @ StartError::NewerLog { .. }) => Err(Failure::Unusable(error.to_string())),
        // A directory that cannot be read is refused by what is read in it.
        _ => Ok(()),
    }
}

/// Turns "there is no file" into "the log is lost" where the data directory has seen a log.
fn gone(dir: &Path, error: OpenError) -> OpenError {
    match (&error, app::nothing_was_seen(&SledStore::open(dir))) {
        (OpenError::Io { path, .. }, Err(LogError { kind, detail })) if dir.is_dir() && !path.exists() => match kind {
            // Nobody can tell now whether it has.
            LogErrorKind::Withheld { .. } => OpenError::Io { path: dir.to_owned(), detail },
            _ => OpenError::Behind { path: path.clone(), detail },
        },
        _ => error,
    }
}

/// Damage of any frame of a log that no server has open. Other errors are reported when it is opened for reading.
pub(in crate::cmd) fn damage(dir: &Path) -> Option<String> {
    match EmbeddedReader::check_frames(dir) {
        Err(error @ OpenError::Damaged { .. }) => Some(error.to_string()),
        _ => None,
    }
}

/// A damaged log is a result of the command (exit code 1). For any other error the log could not be looked at.
pub(in crate::cmd) fn cannot_open(error: &OpenError) -> Failure {
    match error {
        OpenError::Damaged { .. } | OpenError::Behind { .. } => Failure::Wrong(error.to_string()),
        // A path that this user may not look at says nothing of whether there is a log.
        OpenError::Io { path, .. } if matches!(path.try_exists(), Ok(false)) => Failure::Unusable(format!(
            "cannot open the log {}: there is none; name the directory of a log with --data-dir",
            path.display()
        )),
        _ => Failure::Unusable(error.to_string()),
    }
}

/// The same for a server, which makes a log where there is none: what hindered it is told.
pub(in crate::cmd) fn cannot_make(error: &OpenError) -> Failure {
    match error {
        OpenError::Io { .. } => Failure::Unusable(error.to_string()),
        _ => cannot_open(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_asked_is_not_asked_again() {
        let told = |why: LogError| match not_answering(Path::new("/data"), &why) {
            Failure::Unusable(told) => told,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(LogError::operator("it is older")), "the log in /data is in use: it is older");
        let slow = told(LogError::transient("it is slow"));
        assert!(slow.contains("does not answer: it is slow; ") && slow.ends_with("try again"), "{slow}");
    }
}
