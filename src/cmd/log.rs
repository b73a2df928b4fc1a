//! `headroom log accept-loss`: an operator accepts that a log holds fewer events than its data directory has seen. Until
//! then the log is not served. An event records the decision, and the files that show the loss are kept.

use super::shared::flags::{Flags, LostLog};
use super::shared::fold::Folding;
use super::shared::operator_turn::{claim_until_committed, commit_barrier, commit_event, reason};
use super::shared::source::{archive, cannot_open, damage, in_use, is_known, with_archive};
use super::shared::stderr;
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::config::{Config, Kafka};
use crate::crash;
use crate::domain::hex128;
use crate::log::embedded::{Archive, EmbeddedReader, OpenError, Options, WithArchive, continue_after};
use crate::log::{
    ClaimError, ClusterLog, CommittedTail, Fold, LogError, LogErrorKind, PartitionLog, ReadBy, StoredEvent,
};
use crate::owner::begin::Moment;
use crate::owner::losses::Loss;
use crate::owner::moment::Then;
use crate::replica::PartitionState;
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError};
use crate::time::{Clock, SystemClock};
use clap::Subcommand;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// The subcommands of `log`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Accept for good that events are gone which the data directory has seen as committed
    ///
    /// An event in each partition that has lost some records it. The notes and checkpoints that have seen the lost events
    /// are moved to the directory lost-1 (lost-2, ...) beside the log, which can then be served again. Callers keep nothing
    /// of what the lost events promised them. Of a bounded log, name its archive: what has left the log is not lost.
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

/// What a log has lost.
struct Lost {
    log_id: u128,
    losses: Vec<Loss>,
    /// Whether its files are all gone, and the number of partitions that were seen then, if it is known.
    is_gone: bool,
    partitions: Option<u32>,
    /// The partitions of which the log has no event since it goes on behind its archive.
    bare: Vec<u32>,
}

impl Lost {
    /// The losses of a log that is there.
    fn of(log_id: u128, losses: Vec<Loss>) -> Lost {
        Lost { log_id, losses, is_gone: false, partitions: None, bare: Vec::new() }
    }

    /// The partitions without an event that have lost nothing.
    fn unharmed(&self) -> impl Iterator<Item = u32> {
        let has_lost = |partition: &u32| self.losses.iter().any(|loss| loss.partition == *partition);
        self.bare.iter().copied().filter(move |partition| !has_lost(partition))
    }
}

/// What the events of a partition up to the end of its log lead to.
type StateAt<'a> = dyn Fn(u32, u64) -> Result<PartitionState, Failure> + 'a;

/// How a partition is claimed, as by [`PartitionLog::claim`].
type ClaimBy<'a, O> = dyn Fn(u32, u64, &mut Fold<'_>) -> Result<O, ClaimError> + 'a;

fn of_directory(config: &Config, id: u128, because: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (dir, store) = (&config.data_dir, SledStore::open(&config.data_dir));
    is_known(dir)?;
    let mut lost = looked(config, id, &store)?;
    if !is_to_accept(id, &lost, out)? {
        // Who comes here was told that something is wrong.
        return damage(dir).map_or(Ok(Verdict::Fine), |damage| {
            Err(Failure::Wrong(format!(
                "{damage}; that is no loss that can be accepted: bring the file back, or restore a backup"
            )))
        });
    }
    let is_archived = config.log_archive.is_some();
    if lost.is_gone {
        if goes_on(dir, id, archive(config, id)?.as_deref(), out)? {
            lost = looked(config, id, &store)?;
        }
    } else if is_archived {
        is_newest(&with_archive(opened(dir)?, config, id)?, dir)?;
    }
    let options = Options { partitions: lost.partitions, log_id: id, now: SystemClock::new().now() };
    let log = app::open_as_it_is(dir, options).map_err(|error| cannot_open(&error))?;
    if let Some(why) = log.refuses_turns() {
        return Err(why.into());
    }
    let read = |partition, from_seq, bytes_max| log.read(partition, from_seq, bytes_max);
    let whole = with_archive(ReadBy { tail: &*log, read }, config, id)?;
    let folding = is_archived.then(|| Folding::new(config, &whole, id)).transpose()?;
    let alone = Folding::new(config, &*log, id)?;
    let state = |partition, end| -> Result<PartitionState, Failure> {
        match (alone.state(partition, end), &folding) {
            (Err(ClaimError::Log(error)), Some(folding)) if error.is_without_cover() => {
                let Then { state, passed_over, .. } = folding.then(partition, Moment::Before(end), end, &mut |_| {})?;
                let told = |why: &String| stderr::note(format_args!("snapshots of partition {partition}: {why}"));
                passed_over.iter().for_each(told);
                Ok(state)
            }
            (Err(ClaimError::Log(error)), None) if error.kind == LogErrorKind::Uncovered => Err(Failure::Unusable(
                format!("{error}; or name the place of what has left the log with --log-archive"),
            )),
            (state, _) => state.map_err(Failure::from),
        }
    };
    let claim = |partition: u32, from: u64, fold: &mut Fold<'_>| log.claim(partition, from, fold);
    let accepted = accept(&*log, &state, &claim, &lost, because, &store, out);
    if let Some(lacks) = whole.lacks() {
        stderr::note(lacks);
    }
    accepted
}

/// What the log in the data directory of these settings has lost. Opening the log for writing repairs what it can, so that has
/// to be known before.
fn looked(config: &Config, id: u128, store: &SledStore) -> Result<Lost, Failure> {
    let (dir, cannot) = (&config.data_dir, |error: StoreError| Failure::Unusable(error.detail));
    match EmbeddedReader::open(dir) {
        Ok(reader) => {
            let (log_id, bare) = (reader.manifest().log_id, bare(&reader)?);
            if log_id != id || bare.is_empty() {
                return Ok(Lost::of(log_id, app::losses(&reader, store, log_id)?));
            }
            // The last events of these partitions are in the archive.
            let archive = archive(config, id)?.ok_or_else(|| {
                Failure::Unusable(format!(
                    "the log has no event of partition {}, and earlier ones have left it: name the place to which they have \
                     gone with --log-archive",
                    bare.first().copied().unwrap_or_default()
                ))
            })?;
            let ends = Ends(WithArchive::new(reader, id, Some(archive)));
            Ok(Lost { bare, ..Lost::of(id, app::losses(&ends, store, id)?) })
        }
        // The file is missing: a new one is made, with the partitions that were seen.
        Err(OpenError::Io { path, .. }) if dir.is_dir() && !path.exists() => {
            let partitions = store.witness().partitions().map_err(cannot)?;
            let partitions = Some(partitions).filter(|partitions| *partitions > 0).or(config.partitions);
            let (log_id, losses) = app::seen(store).map_err(cannot)?.unwrap_or((id, Vec::new()));
            Ok(Lost { is_gone: true, partitions, ..Lost::of(log_id, losses) })
        }
        Err(error) => Err(cannot_open(&error)),
    }
}

/// A log and the last event of each partition, wherever that is. No more of the archive is read: it may be long, and its old objects
/// may be in a store that takes hours to give them.
struct Ends(WithArchive<EmbeddedReader>);

impl CommittedTail for Ends {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.0.log().first(partition)?.min(self.0.end(partition)?.saturating_sub(1)))
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.0.end(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.0.read(partition, from_seq, bytes_max)
    }
}

fn opened(dir: &Path) -> Result<EmbeddedReader, Failure> {
    EmbeddedReader::open(dir).map_err(|error| cannot_open(&error))
}

/// The partitions of which a log has no event, while earlier ones have left it.
fn bare(log: &EmbeddedReader) -> Result<Vec<u32>, LogError> {
    let mut bare = Vec::new();
    for partition in 0..log.partitions() {
        let first = log.first(partition)?;
        if first > 0 && first == log.end(partition)? {
            bare.push(partition);
        }
    }
    Ok(bare)
}

/// Makes the file in which a log goes on whose own files are gone, behind what had left it: only what came after that is lost.
/// Returns whether anything had.
fn goes_on(dir: &Path, id: u128, archive: Option<&dyn Archive>, out: &mut impl Write) -> Result<bool, Failure> {
    let raise = || app::raise_level(dir).map_err(|error| error.to_string());
    let Some(number) = continue_after(dir, id, archive, &raise)? else { return Ok(false) };
    crash::point("log-continued");
    writeln!(out, "the log goes on behind its archive, with segment {number}")?;
    Ok(true)
}

/// Refuses to lose what the archive has.
fn is_newest(whole: &WithArchive<EmbeddedReader>, dir: &Path) -> Result<(), Failure> {
    whole.ahead()?.map_or(Ok(()), |last| {
        Err(Failure::Unusable(format!(
            "the archive has more of the log than {}, up to segment {last}, and it would be lost: move all files from there \
             to another directory, and run this again, so that the log goes on behind its archive; or move those segments \
             away from the archive that are of another course of the log",
            dir.join("log").display()
        )))
    })
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
    let log = app::look_to_write(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    let (store, log_id) = (SledStore::open(dir), log.manifest().log_id);
    let lost = Lost::of(log_id, app::losses(&log, &store, log_id)?);
    if !is_to_accept(id, &lost, out)? {
        return Ok(Verdict::Fine);
    }
    let folding = Folding::new(config, &log, log_id)?;
    let state = |partition: u32, end: u64| folding.state(partition, end).map_err(Failure::from);
    // The commands after the last event that is left may be gone as well. Which of them are to be skipped is known when the loss
    // is recorded.
    let claim = |partition: u32, from: u64, fold: &mut Fold<'_>| log.take_without_commands(partition, from, fold);
    accept(&log, &state, &claim, &lost, because, &store, out)
}

/// Whether `id` names this log, and the log has lost events that an operator may accept.
fn is_to_accept(id: u128, lost: &Lost, out: &mut impl Write) -> Result<bool, Failure> {
    let Lost { log_id: found, losses, bare, .. } = lost;
    if losses.iter().any(Loss::is_of_another_log) {
        return Err(Failure::Wrong(app::told(losses, *found)));
    }
    if *found != id {
        return Err(Failure::Unusable(format!(
            "the id of this log is {found:032x}, and --log names {id:032x}: give the id that the refusal names"
        )));
    }
    let is_whole = losses.is_empty() && bare.is_empty();
    if is_whole {
        writeln!(out, "the log holds every event that was seen; nothing was changed")?;
    }
    Ok(!is_whole)
}

fn accept<L: PartitionLog + CommittedTail>(
    log: &L,
    state: &StateAt<'_>,
    claim: &ClaimBy<'_, L::Owned>,
    lost: &Lost,
    because: &str,
    store: &SledStore,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let state = |partition| state(partition, log.end(partition)?);
    // Nothing is recorded before all of them are known.
    let unharmed = lost.unharmed().map(state).collect::<Result<Vec<_>, _>>()?;
    let states = lost.losses.iter().map(|loss| state(loss.partition)).collect::<Result<Vec<_>, _>>()?;
    let (cover, shape) = (Cover { log, store, log_id: lost.log_id }, || (log.partitions(), log.level()));
    for mut state in unharmed {
        cover.with(&mut state, "run this command again")?;
        let partition = state.partition();
        // The first event of what goes on names the digest of the last one before it, which was seen.
        let from_there = |from: u64, fold: &mut Fold<'_>| claim(partition, from, fold);
        claim_until_committed(&mut state, from_there, |owned, state| commit_barrier(owned, shape(), state))?;
        writeln!(out, "partition {partition}: the archive has every event that was seen")?;
    }
    let mut recorded = Vec::new();
    for (mut state, loss) in states.into_iter().zip(&lost.losses) {
        let Range { start: from, end: until } = loss.events();
        let detail = format!("{because}: {}", loss.what);
        let from_there = |from: u64, fold: &mut Fold<'_>| claim(loss.partition, from, fold);
        claim_until_committed(&mut state, from_there, |owned, state| {
            commit_event(owned, shape(), state, |owner, state, now| {
                owner.events_lost(state, (from, until), &detail, (loss.last(), now))
            })
        })?;
        writeln!(out, "{loss}; recorded in the log as accepted")?;
        recorded.push(state);
    }
    crash::point("loss-recorded");
    if !recorded.is_empty() {
        let aside = store.set_aside(lost.losses.iter().map(|loss| loss.partition));
        let aside = aside.map_err(|error| {
            let why = "the notes and checkpoints that have seen the events cannot be moved";
            Failure::Unusable(format!("{why}: {error}"))
        })?;
        writeln!(out, "the notes and checkpoints that have seen the events are now in {}", aside.display())?;
    }
    recorded.iter_mut().try_for_each(|state| cover.with(state, "headroom rebuild makes one"))?;
    Ok(Verdict::Fine)
}

/// Checkpoints for partitions whose first events have left the log.
struct Cover<'a, L> {
    log: &'a L,
    store: &'a SledStore,
    log_id: u128,
}

impl<L: CommittedTail> Cover<'_, L> {
    /// Keeps this state: snapshots that would cover what has left may hold what is lost. `mends` says what does where that fails.
    fn with(&self, state: &mut PartitionState, mends: &str) -> Result<(), Failure> {
        let partition = state.partition();
        if self.log.first(partition)? == 0 {
            return Ok(());
        }
        let checkpoint = state.draft_checkpoint(self.log_id).encode();
        self.store.replace(&checkpoint, "a loss was accepted").map_err(|error| {
            Failure::Unusable(format!("partition {partition}: the checkpoint cannot be written, {mends}: {error}"))
        })
    }
}

fn id(text: &str) -> Result<u128, String> {
    hex128(text.to_ascii_lowercase()).ok_or_else(|| "the id of a log has 32 hexadecimal digits".to_owned())
}
