//! A process on the embedded log: it owns every partition, from its start to its end.

use super::archive::KeeperThread;
use super::owner::{OwnerContext, Served, set_status};
use super::snapshots::{SnapshotThread, Snapshots};
use super::swapping::Swapping;
use super::witness::{Flushing, open};
use super::{LogRuntime, StartError, draw, draw_wide, level, spawn};
use crate::config::Config;
use crate::gateway::{CallReport, Gateway};
use crate::log::embedded::{Embedded, OpenError, Options, Reopened};
use crate::log::{
    ClaimError, CommandSink, CommittedTail, FeatureLevel, LogError, LogErrorKind, Manifest, Opening, PartitionLog,
    ReplyChannel, known_embedded_level,
};
use crate::owner::Report;
use crate::owner::checkpointer::Checkpointer;
use crate::owner::shell::End;
use crate::replica::{PartitionHandle, PartitionStatus, Replica, StatusKind};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::telemetry::Metrics;
use crate::time::{Clock, Stopwatch, pause, retry_ms};
use crate::trace::Tracing;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause between two checks whether a failed log accepts turns again.
const REOPEN_LOOK: Duration = Duration::from_millis(10);
/// Pause between two checks whether a command still reads the log.
const READERS_LOOK: Duration = Duration::from_millis(100);
/// After so many milliseconds without an event the owner of a bounded log writes a Tick.
const QUIET_TICK_MS: u64 = 6 * 3_600_000;
/// Pause before a partition looks again for what covers the events that have left its log, or for what a disk did not give, in
/// milliseconds.
const UNSERVED_LOOK_MS: u64 = 5_000;
/// Longest such pause. It grows where each look reads much: all events before one that the disk does not give, or snapshots that
/// turn out to be bad.
const UNSERVED_LOOK_MAX_MS: u64 = 60_000;

pub(super) fn start(
    config: &Config,
    clock: Arc<dyn Clock>,
    (metrics, tracing): (Arc<Metrics>, Arc<Tracing>),
    opening: &Arc<Opening>,
) -> Result<LogRuntime, StartError> {
    let options = Options { partitions: config.partitions, log_id: draw_wide(), now: clock.now() };
    level::check(&config.data_dir)?;
    let store = Arc::new(SledStore::open(&config.data_dir));
    let log = once_nobody_reads(|| open(&config.data_dir, options, &store, opening), opening)?;
    let Manifest { log_id, partitions, .. } = log.manifest();
    let flushing = {
        let log = Arc::clone(&log);
        Flushing::start(&store, (log_id, partitions), move || log.look())?
    };
    let (sink, tail) = (Arc::clone(&log) as Arc<dyn CommandSink>, Arc::clone(&log) as Arc<dyn CommittedTail>);
    let replica = Arc::new(Replica::new(log.partitions()));
    let gateway =
        Gateway::new(draw(), config.deadline_default_ms, Arc::clone(&sink), Arc::clone(&replica), Arc::clone(&clock));
    let level = FeatureLevel::at(known_embedded_level());
    let gateway = Arc::new(gateway.reporting(Arc::clone(&metrics) as Arc<dyn CallReport>).writing(level));
    metrics.watch(&gateway, sink);
    let (checkpointer, work) = Checkpointer::new(log_id);
    let snapshots = Snapshots::of_server(config, &metrics, partitions)?;
    let context = Arc::new(OwnerContext {
        partitions,
        log_id,
        tail: Arc::clone(&tail),
        store: Arc::clone(&store) as Arc<dyn Store>,
        snapshots: snapshots.as_ref().map(|snapshots| snapshots.reader(log_id)),
        clock,
        replies: Arc::clone(&gateway) as Arc<dyn ReplyChannel>,
        checkpointer: checkpointer.noting(store),
        metrics,
        tracing,
        // Every decision is made in this process, and its caller gets it as a reply.
        on_committed: Box::new(|_| {}),
        // A partition that nobody calls gets snapshots that cover what leaves the log.
        tick_after_ms: config.log_keep.map(|_| QUIET_TICK_MS),
    });
    let checkpoints = context.write_checkpoints(work)?;
    let snapshots = snapshots.map(|snapshots| snapshots.write(&context, &replica)).transpose()?;
    let keeper = KeeperThread::start(config, &context, (&log, &replica))?;
    let mut owners = Vec::new();
    for handle in replica.partitions() {
        let (context, log, handle) = (Arc::clone(&context), Arc::clone(&log), Arc::clone(handle));
        owners.push(spawn(&format!("owner-{}", owners.len()), move || own(&context, &log, &handle))?);
    }
    let swapping = Swapping::new(&context, &replica);
    drop(context);
    let swaps = Arc::clone(&swapping);
    let end = move || {
        // The threads that bound the log and replace a state read snapshots: a place that hangs would keep them.
        snapshots.iter().for_each(SnapshotThread::close);
        let is_swap_over = swaps.end();
        let keeper_ended = keeper.is_none_or(KeeperThread::end);
        let snapshots_ended = snapshots.is_none_or(SnapshotThread::end);
        log.close();
        let owners_ended = owners.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        let is_written = checkpoints.join().is_ok();
        flushing.end() && is_written && keeper_ended && snapshots_ended && owners_ended == 0 && is_swap_over
    };
    Ok(LogRuntime { gateway, log_id, tail, swapping, end: Box::new(end) })
}

/// Opens the log, once no command reads it any more. That may take hours, and a supervisor gives up a process that ends again and
/// again. Whoever writes the log is not waited for.
fn once_nobody_reads(
    open: impl Fn() -> Result<Arc<Embedded>, OpenError>,
    opening: &Opening,
) -> Result<Arc<Embedded>, OpenError> {
    let mut is_told = false;
    loop {
        let opened = open();
        let Err(OpenError::InUse { dir, is_read: true }) = &opened else { return opened };
        if !std::mem::replace(&mut is_told, true) {
            let dir = dir.display();
            tracing::warn!(
                %dir,
                "the start waits for the end of a command that reads the log, such as headroom verify or headroom cat: end that \
                 command to start now"
            );
        }
        opening.goes_on().map_err(|_| OpenError::GivenUp)?;
        pause(READERS_LOOK);
    }
}

fn own(context: &OwnerContext, log: &Embedded, handle: &Arc<PartitionHandle>) {
    let partition = handle.id();
    let set = |status| set_status(handle, &StatusKind::SOLELY_OWNED, status);
    // No call is answered any more before a restart of the process.
    let end = |status: PartitionStatus| {
        log.close_partition(partition);
        context.metrics.failed(partition, status.why().unwrap_or_default());
        set(status);
    };
    // True when the state holds everything that was committed before the log failed: then it can be read meanwhile.
    let mut is_whole = false;
    // `is_restored` says whether the last look has made a state anew. Then what is missing are the events after it, and that is
    // told until the partition is claimed. `costly` is how many looks in a row have read much.
    let (mut unserved, mut is_restored, mut costly) = (None, false, 0u32);
    loop {
        let reopenings = log.reopenings();
        let restored = if is_whole { Ok(false) } else { context.recovery().restore(handle) };
        let was_restored = std::mem::replace(&mut is_restored, !is_whole && restored.is_ok());
        let served = match restored {
            Ok(is_of_checkpoint) => {
                if is_restored && !was_restored && unserved.is_some() {
                    handle.set_read_error(None);
                }
                context.serve(log, handle, is_of_checkpoint)
            }
            Err(error) => Served::NotClaimed(error),
        };
        let mut may_pass = false;
        let why = match served {
            Served::NotClaimed(ClaimError::Log(error)) => {
                may_pass = passes(&error, || !is_whole && log.first(partition).is_ok_and(|first| first > 0));
                let is_costly = is_restored || has_read_snapshots(context, partition, &error);
                costly = if is_costly { costly.saturating_add(1) } else { 0 };
                error.reason()
            }
            Served::NotClaimed(ClaimError::Breach(breach))
            | Served::Ended(End::Breach(breach) | End::Forked(breach) | End::WrongState(breach)) => {
                return end(PartitionStatus::Unreadable { why: breach.to_string() });
            }
            Served::Ended(End::Closed) => return set(PartitionStatus::Stopped),
            Served::Ended(End::WrongClock(offset)) => return end(PartitionStatus::Failed { why: offset.to_string() }),
            Served::Ended(End::Fenced) => {
                return end(PartitionStatus::Failed { why: "another owner has the partition".to_owned() });
            }
            Served::Ended(End::Unknown(error)) => {
                (is_whole, unserved, costly) = (true, None, 0);
                error.reason()
            }
        };
        let waits = |why| {
            if is_whole { set(PartitionStatus::Reopening { why }) } else { handle.set_read_error(Some(why)) }
        };
        let stopped = |why| match is_whole {
            true => PartitionStatus::Failed { why },
            false => PartitionStatus::Unreadable { why },
        };
        match reopened(log, partition, waits) {
            None => return set(PartitionStatus::Stopped),
            Some(Err(error)) => return end(stopped(error.reason())),
            Some(Ok(())) if log.reopenings() > reopenings => handle.set_read_error(None),
            Some(Ok(())) if may_pass => {
                waits(why.clone());
                if unserved.as_ref() != Some(&why) {
                    tracing::error!(partition, why, "the partition is not served; looking again repeatedly");
                    unserved = Some(why);
                }
                let pause_ms = retry_ms(costly.saturating_sub(1), UNSERVED_LOOK_MS, UNSERVED_LOOK_MAX_MS);
                if !rested(log, partition, Duration::from_millis(pause_ms)) {
                    return set(PartitionStatus::Stopped);
                }
            }
            // The log had not failed: a retry would fail in the same way.
            Some(Ok(())) => return end(stopped(why)),
        }
    }
}

/// Whether what keeps a partition from being served may pass by itself.
fn passes(error: &LogError, has_left: impl FnOnce() -> bool) -> bool {
    match error.kind {
        // The disk may answer again, or the place.
        LogErrorKind::Transient | LogErrorKind::Withheld { may_pass: true } => true,
        // Snapshots that cover what has left the log may come, be brought back, or have been overtaken by what left.
        LogErrorKind::Uncovered | LogErrorKind::OutOfRange | LogErrorKind::Withheld { may_pass: false } => has_left(),
        _ => false,
    }
}

/// Whether this error came of snapshots that were read, and were of no use: each of them is as large as a state. A place that
/// does not answer, or has none, costs little.
fn has_read_snapshots(context: &OwnerContext, partition: u32, error: &LogError) -> bool {
    let is_of_them = matches!(error.kind, LogErrorKind::Uncovered | LogErrorKind::Withheld { may_pass: false });
    let Some(snapshots) = context.snapshots.as_ref().filter(|_| is_of_them) else { return false };
    let (Ok(first), Ok(end)) = (context.tail.first(partition), context.tail.end(partition)) else { return false };
    snapshots.names(partition, end).is_ok_and(|(names, _)| names.iter().any(|name| name.next_seq >= first))
}

/// Waits so long before something is looked at again; returns whether the process goes on.
fn rested(log: &Embedded, partition: u32, rest: Duration) -> bool {
    let since = Stopwatch::start();
    while since.elapsed() < rest && !log.is_closed(partition) {
        pause(REOPEN_LOOK);
    }
    !log.is_closed(partition)
}

/// Waits until the log accepts turns, or has failed for good, and calls `waits` with each reason meanwhile. `None` when
/// the process ends.
fn reopened(log: &Embedded, partition: u32, waits: impl Fn(String)) -> Option<Result<(), LogError>> {
    let mut last_error = None;
    while !log.is_closed(partition) {
        match log.reopen() {
            Reopened::Whole => return Some(Ok(())),
            Reopened::Never(error) => return Some(Err(error)),
            Reopened::Later(error) => {
                if last_error.as_ref() != Some(&error) {
                    waits(error.reason());
                    last_error = Some(error);
                }
                pause(REOPEN_LOOK);
            }
        }
    }
    None
}
