//! Ownership's shell: hears the group and the owners, and makes and stops owners as the machine says.

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

/// Longest time between two looks at what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at whether a state is rebuilt.
const REBUILD_LOOK: Duration = Duration::from_millis(5);

/// The thread that makes and stops the owners of this process.
pub(super) struct Owning<L> {
    log: Arc<L>,
    context: Arc<OwnerContext>,
    replica: Arc<Replica>,
    /// Counts the commands of this process that wait.
    sink: Arc<dyn CommandSink>,
    machine: Ownership,
    /// What its pauses go by: they are this process's affair, and a decision's time is not.
    since: Stopwatch,
    owners: BTreeMap<u32, JoinHandle<()>>,
    /// Where owners say how they end, ended, and where that is heard.
    end: Sender<(u32, Ended)>,
    ended: Receiver<(u32, Ended)>,
    /// Revocations of which the group does not know yet that they are done.
    releases: Vec<Release>,
    is_closing: bool,
}

/// The group takes partitions away, and waits until all of them are given up.
struct Release {
    /// Those that are not given up yet.
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

    /// Until the shutdown is told and every owner has ended.
    pub(super) fn run(mut self, changes: &Receiver<MembershipChange>, told: &Receiver<()>) {
        let (closed, nobody, mut changes, mut told) = (never(), never(), changes, told);
        while !(self.is_closing && self.machine.is_idle()) {
            let now = self.since.now();
            let wait = self.machine.next_due().map_or(LOOK, |due| Duration::from_millis(due.ms_since(now) + 1));
            let ended = self.ended.clone();
            select! {
                recv(changes) -> change => match change {
                    Ok(MembershipChange::Assigned(list)) => {
                        tracing::info!(partitions = ?list, "the group gives partitions to this process");
                        // Who is given nothing may be given it in a moment; if it is another's, that one will fence.
                        let presumed = if list.is_empty() { Vec::new() } else { self.machine.presumed() };
                        let others = presumed.into_iter().filter(|p| !list.contains(p));
                        others.for_each(|p| self.revoke(p));
                        list.into_iter().for_each(|p| self.take(Input::Assigned(p)));
                    }
                    Ok(MembershipChange::Lost(list)) => {
                        tracing::warn!(partitions = ?list, "the group is out of reach: its last word is presumed to hold");
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
                recv(told) -> _ => {
                    told = &closed;
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
            // As many may end as there are partitions: there is always a place.
            let _ = ended.send((partition, how));
        });
        match owner {
            Ok(owner) => drop(self.owners.insert(partition, owner)),
            Err(error) => {
                tracing::error!(partition, %error, "no owner can be made");
                let _ = self.end.try_send((partition, Ended::Retry));
            }
        }
    }

    fn joined(&mut self, partition: u32) {
        // Its last word was heard: it ends within moments, and it aborts the process if it panics.
        let _ = self.owners.remove(&partition).map(JoinHandle::join);
        let left = self.sink.waiting(partition);
        if self.is_closing && left > 0 {
            tracing::warn!(partition, left, "commands of this process are left to the partition's next owner");
        }
    }

    /// What the manifest does not count is nobody's: no pool of this log lies there.
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
        // Another's now.
        if let Some(handle) = self.replica.partition(partition) {
            handle.set_owner_error(None);
            if handle.time().set_clock_refused(false) {
                tracing::info!(partition, "a partition that this machine's clock kept undecided is given up");
            }
        }
        self.releases.retain_mut(|Release { left, done }| {
            left.remove(&partition);
            if left.is_empty() {
                // Whoever waited may have stopped waiting.
                let _ = done.try_send(());
            }
            !left.is_empty()
        });
    }
}

/// One owner, from the claim to its end; then the partition is followed again.
fn own<L: ClusterLog>(context: &OwnerContext, log: &L, handle: &Arc<PartitionHandle>) -> Ended {
    let partition = handle.id();
    // A follower reads the log up to what can be seen of it first: others may serve meanwhile. A turn that an earlier
    // owner left open is no end of that, but ends with the claim. What the follower waits for otherwise is a stranger's
    // transaction, which a claim would wait for as well.
    while let Err(refused) = handle.try_transition(&[StatusKind::Standby], PartitionStatus::Claiming) {
        if refused.found != StatusKind::Restoring {
            return Ended::Failed;
        }
        if log.is_to_stop(partition) {
            return Ended::Stopped;
        }
        pause(REBUILD_LOOK);
    }
    let fail = |why: String| {
        context.metrics.failed(partition, &why);
        set_status(handle, &StatusKind::OWNED, PartitionStatus::Failed { why });
        Ended::Failed
    };
    let served = context.serve(log, handle, handle.progress().is_from_checkpoint());
    let trouble = |what: &str, error: &LogError| {
        let why = error.reason();
        // The partition is claimed again and again: whoever has to act is told once for each reason.
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
        Served::NotClaimed(ClaimError::Log(error)) => {
            trouble("the partition was not claimed", &error);
            Ended::Retry
        }
        Served::Ended(End::Closed) => Ended::Stopped,
        Served::Ended(End::Fenced) => {
            let why = "another owner fenced it";
            tracing::info!(partition, "the partition's owner is another one now");
            handle.set_owner_error(Some(why.to_owned()));
            Ended::Fenced
        }
        Served::Ended(End::WrongClock(offset)) => {
            let why = offset.to_string();
            if handle.time().set_clock_refused(true) {
                tracing::error!(
                    partition,
                    why,
                    "nothing is decided by this machine's clock: set it right, or its broker's"
                );
            }
            handle.set_owner_error(Some(why));
            Ended::Retry
        }
        Served::Ended(End::Unknown(error)) => {
            trouble("the owner does not know where the log stands", &error);
            Ended::Retry
        }
    };
    set_status(handle, &StatusKind::OWNED, PartitionStatus::Standby);
    how
}
