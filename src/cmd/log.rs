//! `headroom log accept-loss`: an operator accepts that a log holds fewer events than its data directory has seen. Until
//! then the log is not served. An event records the decision, and the files that show the loss are kept.

use super::shared::flags::{Flags, LostLog};
use super::shared::fold::Folding;
use super::shared::operator_turn::{claim_until_committed, commit_event, reason};
use super::shared::source::{cannot_open, in_use, is_known};
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::config::{Config, Kafka};
use crate::domain::hex128;
use crate::log::embedded::{EmbeddedReader, OpenError, Options};
use crate::log::{ClusterLog, CommittedTail, Fold, PartitionLog};
use crate::owner::losses::Loss;
use crate::store::StoreError;
use crate::store::sled::SledStore;
use crate::time::{Clock, SystemClock};
use clap::Subcommand;
use std::io::Write;
use std::ops::Range;

/// The subcommands of `log`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Accept for good that events are gone which the data directory has seen as committed
    ///
    /// An event in each partition that has lost some records it. The notes and checkpoints that have seen the lost events
    /// are moved to the directory lost-1 (lost-2, ...) beside the log, which can then be served again. Callers keep nothing
    /// of what the lost events promised them.
    AcceptLoss {
        #[command(flatten)]
        flags: Flags<LostLog>,
        /// Id of the log, which the refusal to serve it names: 32 hexadecimal digits
        #[arg(long, value_name = "ID", value_parser = id)]
        log: u128,
        /// Why the events are gone, and who accepts it; recorded in the log, up to 200 characters
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        because: String,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match self {
            Action::AcceptLoss { flags, .. } => flags.load(),
        }
    }

    /// What an operator does by it, and what it is about.
    pub(super) fn act(&self) -> (&'static str, String) {
        let Action::AcceptLoss { log, because, .. } = self;
        ("log accept-loss", format!("log {log:032x}: {because}"))
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Action::AcceptLoss { log, because, .. } = action;
    match &config.kafka {
        None => of_directory(config, *log, because, out),
        Some(kafka) => of_cluster(config, kafka, *log, because, out),
    }
}

fn of_directory(config: &Config, id: u128, because: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (dir, store) = (&config.data_dir, SledStore::open(&config.data_dir));
    let cannot = |error: StoreError| Failure::Unusable(error.detail);
    let mut made_with = None;
    is_known(dir)?;
    // Opening the log for writing repairs what it can: what is lost has to be known before that.
    let (found, losses) = match EmbeddedReader::open(dir) {
        Ok(reader) => {
            let found = reader.manifest().log_id;
            (found, app::losses(&reader, &store, found)?)
        }
        // The file is missing: a new one is made, with the partitions that were seen.
        Err(OpenError::Io { path, .. }) if dir.is_dir() && !path.exists() => {
            let partitions = store.witness().partitions().map_err(cannot)?;
            made_with = Some(partitions).filter(|partitions| *partitions > 0).or(config.partitions);
            app::seen(&store).map_err(cannot)?.unwrap_or((id, Vec::new()))
        }
        Err(error) => return Err(cannot_open(&error)),
    };
    if !is_to_accept(id, found, &losses, out)? {
        return Ok(Verdict::Fine);
    }
    let options = Options { partitions: made_with, log_id: id, now: SystemClock::new().now() };
    let log = app::open_as_it_is(dir, options).map_err(|error| cannot_open(&error))?;
    accept(&*log, &Folding::new(config, &*log, found)?, &losses, because, &store, out)
}

fn of_cluster(
    config: &Config,
    kafka: &Kafka,
    id: u128,
    because: &str,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let dir = &config.data_dir;
    let cannot = |error| Failure::Unusable(format!("cannot open the data directory {}: {error}", dir.display()));
    let _hold = Hold::take(dir).map_err(cannot)?.ok_or_else(|| in_use(dir))?;
    let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    let (store, found) = (SledStore::open(dir), log.manifest().log_id);
    let losses = app::losses(&log, &store, found)?;
    if is_to_accept(id, found, &losses, out)? {
        return accept(&log, &Folding::new(config, &log, found)?, &losses, because, &store, out);
    }
    Ok(Verdict::Fine)
}

/// Whether `id` names this log, and the log has lost events that an operator may accept.
fn is_to_accept(id: u128, found: u128, losses: &[Loss], out: &mut impl Write) -> Result<bool, Failure> {
    if losses.iter().any(Loss::is_of_another_log) {
        return Err(Failure::Wrong(app::told(losses, found)));
    }
    if found != id {
        return Err(Failure::Unusable(format!(
            "the id of this log is {found:032x}, and --log names {id:032x}: give the id that the refusal names"
        )));
    }
    if losses.is_empty() {
        writeln!(out, "the log holds every event that was seen; nothing was changed")?;
    }
    Ok(!losses.is_empty())
}

fn accept<L: PartitionLog + CommittedTail>(
    log: &L,
    folding: &Folding<'_>,
    losses: &[Loss],
    because: &str,
    store: &SledStore,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    for loss in losses {
        let (partition, end) = (loss.partition, log.end(loss.partition)?);
        let mut state = folding.state(partition, end)?;
        let Range { start: from, end: until } = loss.events();
        let detail = format!("{because}: {}", loss.what);
        let claim = |from: u64, fold: &mut Fold<'_>| log.claim(partition, from, fold);
        claim_until_committed(&mut state, claim, |owned, state| {
            commit_event(owned, (log.partitions(), log.level()), state, |owner, state, now| {
                owner.events_lost(state, (from, until), &detail, (loss.last(), now))
            })
        })?;
        writeln!(out, "{loss}; recorded in the log as accepted")?;
    }
    let cannot = |error| {
        Failure::Unusable(format!("the notes and checkpoints that have seen the events cannot be moved: {error}"))
    };
    let aside = store.set_aside().map_err(cannot)?;
    writeln!(out, "the notes and checkpoints that have seen the events are now in {}", aside.display())?;
    Ok(Verdict::Fine)
}

fn id(text: &str) -> Result<u128, String> {
    hex128(text.to_ascii_lowercase()).ok_or_else(|| "the id of a log has 32 hexadecimal digits".to_owned())
}
