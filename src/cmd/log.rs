//! `headroom log accept-loss`: an operator accepts that a log holds fewer events than its data directory has seen. Until
//! then the log is not served. An event records the decision, and the files that show the loss are kept.

use super::shared::flags::{Flags, LostLog};
use super::shared::fold::Folding;
use super::shared::operator_turn::{claim_until_committed, commit_event, reason};
use super::shared::source::{cannot_open, in_use, is_known};
use super::shared::stderr;
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::config::{Config, Kafka};
use crate::domain::hex128;
use crate::log::embedded::{Archive, EmbeddedReader, OpenError, Options, WithArchive, continue_after};
use crate::log::{ClaimError, ClusterLog, CommittedTail, Fold, LogErrorKind, PartitionLog, ReadBy};
use crate::owner::begin::Moment;
use crate::owner::losses::Loss;
use crate::owner::moment::Then;
use crate::replica::PartitionState;
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError};
use crate::time::{Clock, SystemClock};
use clap::Subcommand;
use std::fmt::Display;
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
    /// Whether the log goes on in a new file, behind what had left it.
    is_continued: bool,
}

impl Lost {
    /// The losses of a log that is there.
    fn of(log_id: u128, losses: Vec<Loss>) -> Lost {
        Lost { log_id, losses, is_gone: false, partitions: None, is_continued: false }
    }
}

/// What the events of a partition up to the end of its log lead to.
type StateAt<'a> = dyn Fn(u32, u64) -> Result<PartitionState, Failure> + 'a;

fn of_directory(config: &Config, id: u128, because: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (dir, store) = (&config.data_dir, SledStore::open(&config.data_dir));
    is_known(dir)?;
    let mut lost = looked(config, id, &store)?;
    if !is_to_accept(id, lost.log_id, &lost.losses, out)? {
        return Ok(Verdict::Fine);
    }
    let archived = || app::archive(config, id).map_err(|error| Failure::Unusable(error.to_string()));
    let archive = archived()?;
    let is_archived = archive.is_some();
    if lost.is_gone {
        go_on_after(dir, &mut lost, archive.as_deref(), &store, out)?;
    } else if is_archived {
        is_newest(&WithArchive::new(opened(dir)?, id, archive), dir)?;
    }
    let options = Options { partitions: lost.partitions, log_id: id, now: SystemClock::new().now() };
    let log = app::open_as_it_is(dir, options).map_err(|error| cannot_open(&error))?;
    let read = |partition, from_seq, bytes_max| log.read(partition, from_seq, bytes_max);
    let whole = WithArchive::new(ReadBy { tail: &*log, read }, id, archived()?);
    let whole = is_archived.then(|| Folding::new(config, &whole, id)).transpose()?;
    let alone = Folding::new(config, &*log, id)?;
    let state = |partition, end| -> Result<PartitionState, Failure> {
        match (alone.state(partition, end), &whole) {
            (Err(ClaimError::Log(error)), Some(whole))
                if error.is_withheld() || error.kind == LogErrorKind::Uncovered =>
            {
                let Then { state, passed_over, .. } = whole.then(partition, Moment::Before(end), end, &mut |_| {})?;
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
    accept(&*log, &state, &lost, because, &store, out)
}

/// What the log in the data directory of these settings has lost. Opening the log for writing repairs what it can, so that has
/// to be known before.
fn looked(config: &Config, id: u128, store: &SledStore) -> Result<Lost, Failure> {
    let (dir, cannot) = (&config.data_dir, |error: StoreError| Failure::Unusable(error.detail));
    match EmbeddedReader::open(dir) {
        Ok(reader) => {
            let log_id = reader.manifest().log_id;
            Ok(Lost::of(log_id, app::losses(&reader, store, log_id)?))
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

fn opened(dir: &Path) -> Result<EmbeddedReader, Failure> {
    EmbeddedReader::open(dir).map_err(|error| cannot_open(&error))
}

/// Makes the file in which a log goes on whose own files are gone, behind what had left it: only what came after that is lost.
fn go_on_after(
    dir: &Path,
    lost: &mut Lost,
    archive: Option<&dyn Archive>,
    store: &SledStore,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let raise = || app::raise_level(dir).map_err(|error| error.to_string());
    let Some(number) = continue_after(dir, lost.log_id, archive, &raise)? else { return Ok(()) };
    writeln!(out, "the log goes on behind its archive, with segment {number}")?;
    *lost = Lost { is_continued: true, ..Lost::of(lost.log_id, app::losses(&opened(dir)?, store, lost.log_id)?) };
    Ok(())
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
    let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    let (store, log_id) = (SledStore::open(dir), log.manifest().log_id);
    let lost = Lost::of(log_id, app::losses(&log, &store, log_id)?);
    if !is_to_accept(id, log_id, &lost.losses, out)? {
        return Ok(Verdict::Fine);
    }
    let folding = Folding::new(config, &log, log_id)?;
    accept(&log, &|partition, end| folding.state(partition, end).map_err(Failure::from), &lost, because, &store, out)
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
    state: &StateAt<'_>,
    lost: &Lost,
    because: &str,
    store: &SledStore,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let mut states = Vec::new();
    let has_lost = |partition: &u32| lost.losses.iter().any(|loss| loss.partition == *partition);
    let others = (0..log.partitions()).filter(|partition| lost.is_continued && !has_lost(partition));
    // Nothing is recorded before all of them are known.
    for (partition, loss) in
        lost.losses.iter().map(|loss| (loss.partition, Some(loss))).chain(others.map(|p| (p, None)))
    {
        states.push((state(partition, log.end(partition)?)?, loss));
    }
    for (state, loss) in states.iter_mut().filter_map(|(state, loss)| Some((state, (*loss)?))) {
        let Range { start: from, end: until } = loss.events();
        let detail = format!("{because}: {}", loss.what);
        let claim = |from: u64, fold: &mut Fold<'_>| log.claim(loss.partition, from, fold);
        claim_until_committed(state, claim, |owned, state| {
            commit_event(owned, (log.partitions(), log.level()), state, |owner, state, now| {
                owner.events_lost(state, (from, until), &detail, (loss.last(), now))
            })
        })?;
        writeln!(out, "{loss}; recorded in the log as accepted")?;
    }
    let cannot = |why: &str, error: &dyn Display| Failure::Unusable(format!("{why}: {error}"));
    if !lost.losses.is_empty() {
        let aside = store.set_aside(lost.losses.iter().map(|loss| loss.partition));
        let aside = aside
            .map_err(|error| cannot("the notes and checkpoints that have seen the events cannot be moved", &error))?;
        writeln!(out, "the notes and checkpoints that have seen the events are now in {}", aside.display())?;
    }
    for (state, _) in &mut states {
        let partition = state.partition();
        // Where the first events have left the log, snapshots that would cover them may hold what is lost.
        if log.first(partition)? > 0 {
            let kept = store.wipe(partition, "a loss was accepted");
            kept.and_then(|()| store.apply(&state.draft_checkpoint(lost.log_id).encode())).map_err(|error| {
                cannot("the loss is accepted, and headroom rebuild has to make the checkpoints", &error)
            })?;
        }
    }
    Ok(Verdict::Fine)
}

fn id(text: &str) -> Result<u128, String> {
    hex128(text.to_ascii_lowercase()).ok_or_else(|| "the id of a log has 32 hexadecimal digits".to_owned())
}
