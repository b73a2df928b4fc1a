//! Runs the ownership machine: receives changes from the group and from the owners, and starts and stops owners as the
//! machine decides.

use super::owner::{OwnerContext, Served, set_status};
use super::process::Process;
use super::spawn;
use crate::log::{ClaimError, ClusterLog, CommandSink, LogError, MembershipChange, StopWhen};
use crate::owner::Report;
use crate::owner::ownership::{Ended, Input, Output, Ownership};
use crate::owner::shell::End;
use crate::replica::{PartitionHandle, PartitionStatus, Replica, StatusKind};
use crate::time::{Stopwatch, pause};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest pause between two checks for due work.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two checks whether a state is rebuilt.
const REBUILD_LOOK: Duration = Duration::from_millis(5);

/// The thread that makes and stops the owners of this process.
pub(super) struct Owning<L> {
    log: Arc<L>,
    context: Arc<OwnerContext>,
    replica: Arc<Replica>,
    /// The sink, which counts the commands of this process that wait.
    sink: Arc<dyn CommandSink>,
    machine: Ownership,
    /// The clock for pauses. Pauses concern only this process, so that they do not use the time of decisions.
    since: Stopwatch,
    owners: BTreeMap<u32, JoinHandle<()>>,
    /// The channel on which owners send how they ended; `ended` is its receiver.
    end: Sender<(u32, Ended)>,
    ended: Receiver<(u32, Ended)>,
    /// Revocations that are not yet reported to the group as done.
    releases: Vec<Release>,
    is_closing: bool,
}

/// The group takes partitions away, and waits until all of them are given up.
struct Release {
    /// The partitions that are not given up yet.
    left: BTreeSet<u32>,
    done: Sender<()>,
}

impl<L: ClusterLog> Owning<L> {
    pub(super) fn new(process: &Process<L>) -> Owning<L> {
        let Process { log, context, replica, sink, .. } = process;
        let (log, context) = (Arc::clone(log), Arc::clone(context));
        let (replica, sink) = (Arc::clone(replica), Arc::clone(sink));
        let (end, ended) = bounded(usize::try_from(replica.partition_count()).unwrap_or(usize::MAX));
        let machine = Ownership::new(replica.partition_count());
        let (owners, releases) = (BTreeMap::new(), Vec::new());
        let since = Stopwatch::start();
        Owning { log, context, replica, sink, machine, since, owners, end, ended, releases, is_closing: false }
    }

    /// Runs until the shutdown has begun and every owner has ended.
    pub(super) fn run(mut self, changes: &Receiver<MembershipChange>, shutdown: &Receiver<()>) {
        let (closed, nobody, mut changes, mut shutdown) = (never(), never(), changes, shutdown);
        while !(self.is_closing && self.machine.is_idle()) {
            let now = self.since.now();
            let wait = self.machine.next_due().map_or(LOOK, |due| Duration::from_millis(due.ms_since(now) + 1));
            let ended = self.ended.clone();
            select! {
                recv(changes) -> change => match change {
                    Ok(MembershipChange::Assigned(list)) => {
                        tracing::info!(partitions = ?list, "the group gives partitions to this process");
                        // An empty assignment may be followed by another one in a moment, so presumed partitions are
                        // kept. A new owner of them would fence this process.
                        let presumed = if list.is_empty() { Vec::new() } else { self.machine.presumed() };
                        let others = presumed.into_iter().filter(|p| !list.contains(p));
                        others.for_each(|p| self.revoke(p));
                        list.into_iter().for_each(|p| self.take(Input::Assigned(p)));
                    }
                    Ok(MembershipChange::Lost(list)) => {
                        tracing::warn!(partitions = ?list, "cannot reach the group: keeping its last assignment");
                        list.into_iter().for_each(|p| self.take(Input::Lost(p)));
                    }
                    Ok(MembershipChange::Revoked { partitions: list, released }) => {
                        tracing::info!(partitions = ?list, "the group takes partitions from this process");
                        self.releases.push(Release { left: list.iter().copied().collect(), done: released });
                        list.into_iter().for_each(|p| self.revoke(p));
                    }
                    Err(_) => changes = &nobody,
                },
                recv(ended) -> ended => if let Ok((partition, how)) = ended {
                    self.joined(partition);
                    self.take(Input::Ended(partition, how));
                },
                recv(shutdown) -> _ => {
                    shutdown = &closed;
                    self.is_closing = true;
                    self.take(Input::Shutdown);
                },
                default(wait) => self.take(Input::Tick),
            }
        }
    }

    fn take(&mut self, input: Input) {
        for output in self.machine.handle(input, self.since.now()) {
            match output {
                Output::Claim(partition) => self.claim(partition),
                Output::Stop(partition) => {
                    let when = if self.is_closing { StopWhen::OwnCommandsPolled } else { StopWhen::Now };
                    self.log.stop(partition, when);
                }
                Output::Yield(partition) => self.log.step_down_when_fenced(partition),
                Output::Released(partition) => self.released(partition),
                Output::Unknown(partition) => self.is_unknown(partition),
            }
        }
    }

    fn revoke(&mut self, partition: u32) {
        let is_served =
            self.replica.partition(partition).is_some_and(|handle| handle.status_kind() == StatusKind::Active);
        self.take(Input::Revoked { partition, is_served });
    }

    fn claim(&mut self, partition: u32) {
        let Some(handle) = self.replica.partition(partition).cloned() else { return };
        self.log.allow(partition);
        let (log, context, ended) = (Arc::clone(&self.log), Arc::clone(&self.context), self.end.clone());
        let owner = spawn(&format!("owner-{partition}"), move || {
            let how = own(&context, &*log, &handle);
            // The channel has room for one end of every partition: sending never fails.
            let _ = ended.send((partition, how));
        });
        match owner {
            Ok(owner) => drop(self.owners.insert(partition, owner)),
            Err(error) => {
                tracing::error!(partition, %error, "cannot start the thread of the owner");
                let _ = self.end.try_send((partition, Ended::Retry));
            }
        }
    }

    fn joined(&mut self, partition: u32) {
        // The owner has sent its result: its thread ends within moments, and aborts the process if it panics.
        let _ = self.owners.remove(&partition).map(JoinHandle::join);
        let left = self.sink.waiting(partition);
        if self.is_closing && left > 0 {
            tracing::warn!(partition, left, "commands of this process are left to the partition's next owner");
        }
    }

    /// Nobody owns a partition that the manifest does not count: no pool of this log is in it.
    fn is_unknown(&self, partition: u32) {
        self.replica.set_unknown(partition, true);
        let partitions = self.replica.partition_count();
        tracing::error!(
            partition,
            partitions,
            "the topic of commands has a partition that the log's manifest does not count: nobody owns it"
        );
    }

    fn released(&mut self, partition: u32) {
        self.replica.set_unknown(partition, false);
        // The partition belongs to another process now. An owner that goes on here until that process fences it still says what
        // it waits for.
        let is_over = !self.owners.contains_key(&partition);
        if let Some(handle) = self.replica.partition(partition).filter(|_| is_over) {
            handle.set_owner_error(None);
            if handle.time().set_clock_refused(false) {
                tracing::info!(partition, "a partition that this machine's clock kept undecided is given up");
            }
        }
        self.releases.retain_mut(|Release { left, done }| {
            left.remove(&partition);
            if left.is_empty() {
                // The receiver may have stopped waiting.
                let _ = done.try_send(());
            }
            !left.is_empty()
        });
    }
}

/// Waits until the partition has its state, and begins to claim it. Or how its owner ends before that.
///
/// The follower reads the log up to the last visible record; meanwhile another process may serve. It does not wait for a turn that
/// an earlier owner left open, because the claim ends that turn. It waits only for transactions of other programs, and a claim
/// would have to wait for those, too. A state that is known to be wrong is replaced, or made anew. Where that takes long, or the
/// state cannot be restored, this process leaves the group, if there are others (`app/withdrawal.rs`).
fn awaits<L: ClusterLog>(log: &L, handle: &PartitionHandle) -> Result<(), Ended> {
    let claims = || handle.try_transition(&[StatusKind::Standby], PartitionStatus::Claiming).is_ok();
    while handle.wrong().is_some() || handle.is_unrestorable() || !claims() {
        if !matches!(handle.status_kind(), StatusKind::Restoring | StatusKind::Standby) {
            return Err(Ended::Failed);
        }
        if log.is_to_stop(handle.id()) {
            return Err(Ended::Stopped);
        }
        pause(REBUILD_LOOK);
    }
    Ok(())
}

/// One owner, from the claim to its end; then the partition is followed again.
fn own<L: ClusterLog>(context: &OwnerContext, log: &L, handle: &Arc<PartitionHandle>) -> Ended {
    let partition = handle.id();
    handle.set_awaited(true);
    let awaited = awaits(log, handle);
    handle.set_awaited(false);
    if let Err(how) = awaited {
        return how;
    }
    let fail = |why: String| {
        context.metrics.failed(partition, &why);
        set_status(handle, &StatusKind::OWNED, PartitionStatus::Failed { why });
        Ended::Failed
    };
    let served = context.serve(log, handle, handle.progress().is_from_checkpoint());
    let trouble = |what: &str, error: &LogError| {
        let why = error.reason();
        // The claim is repeated until it succeeds: an error for the operator is logged once for each reason.
        if !error.needs_operator() {
            tracing::warn!(partition, why, "{what}; trying again");
        } else if handle.owner_error().as_ref() != Some(&why) {
            tracing::error!(partition, why, "{what}; trying again");
        }
        handle.set_owner_error(Some(why));
    };
    let how = match served {
        Served::NotClaimed(ClaimError::Breach(breach)) | Served::Ended(End::Breach(breach) | End::Forked(breach)) => {
            return fail(breach.to_string());
        }
        // The follower makes the state anew from the log, which every process has. The partition is claimed again once that is
        // done, and other processes need not wait for it (`app/withdrawal.rs`).
        Served::Ended(End::WrongState(breach)) => {
            let why = breach.to_string();
            tracing::error!(partition, why, "the state in memory is wrong: it is made anew from the log");
            handle.set_owner_error(Some(why));
            Ended::Retry
        }
        Served::NotClaimed(ClaimError::Log(error)) => {
            trouble("the partition cannot be claimed", &error);
            Ended::Retry
        }
        Served::Ended(End::Closed) => Ended::Stopped,
        Served::Ended(End::Fenced) => {
            let why = "another owner has taken the partition";
            tracing::info!(partition, "another owner has taken the partition");
            handle.set_owner_error(Some(why.to_owned()));
            Ended::Fenced
        }
        Served::Ended(End::WrongClock(offset)) => {
            let why = offset.to_string();
            if handle.time().set_clock_refused(true) {
                tracing::error!(
                    partition,
                    why,
                    "nothing is decided by this machine's clock: correct it, or the clock of the broker"
                );
            }
            handle.set_owner_error(Some(why));
            Ended::Retry
        }
        Served::Ended(End::Unknown(error)) => {
            trouble("the outcome of the last commit is not known", &error);
            Ended::Retry
        }
    };
    set_status(handle, &StatusKind::OWNED, PartitionStatus::Standby);
    how
}
