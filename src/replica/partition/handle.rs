//! One partition as all threads of the process see it. The state has one writer, the follower or the owner, as the
//! status says; readers take the lock for as long as it takes to look at one pool or reservation, or to copy the
//! references of all pools.
//!
//! Locks are taken in this order: status, state, and then those of the parts, none of which takes another.

use super::super::state::PartitionState;
use super::freshness::Freshness;
use super::liveness::Liveness;
use super::load::Load;
use super::progress::RestoreProgress;
use super::status::{PartitionStatus, StatusKind, TransitionRefused};
use super::swap::SwapRequest;
use super::time::{ClockRequest, PartitionTime};
use crate::domain::{Breach, Micros};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Readiness says this while the state is read from checkpoint and log.
pub const RESTORING: &str = "restoring";
/// Readiness says this while the state is complete, and its owner expires the holds that became due before.
pub const EXPIRING: &str = "expiring";

/// Readiness says this of a partition whose state cannot be restored where it was given to.
const GIVEN_HERE: &str = "the group of owners has given the partition to this process";

/// Why a partition cannot be read now.
struct ReadError {
    why: String,
    /// Whether what is lacking is a state to begin with, and not an answer of the log.
    is_of_state: bool,
}

/// One partition of the log in this process: its state, its status, and what is known beside them.
pub struct PartitionHandle {
    id: u32,
    /// Whether other processes may own the partition, so that an owner has to prove that it still does.
    is_contested: bool,
    state: RwLock<PartitionState>,
    /// The number of the next event, for readers that must not wait for the state.
    next_seq: AtomicU64,
    status: RwLock<PartitionStatus>,
    /// [`StatusKind::folds`] of the status, for readers that must not wait for a fold to end.
    folds: AtomicBool,
    owner_error: Mutex<Option<String>>,
    read_error: Mutex<Option<ReadError>>,
    /// Whether an owner of this process waits for the state.
    is_awaited: AtomicBool,
    /// Whether the state was found to be wrong, and one that is right is not there yet.
    is_distrusted: AtomicBool,
    freshness: Freshness,
    load: Load,
    time: PartitionTime,
    progress: RestoreProgress,
    liveness: Liveness,
    /// The request for another state, and the status of whoever was asked.
    swap: Mutex<Option<(StatusKind, SwapRequest)>>,
    /// Whether a fresh state is on its way.
    is_replacing: AtomicBool,
}

impl PartitionHandle {
    /// A partition before its first event, in [`PartitionStatus::Restoring`]. `is_contested` says whether other
    /// processes may own it, too.
    pub(in crate::replica) fn new(id: u32, is_contested: bool) -> PartitionHandle {
        PartitionHandle {
            id,
            is_contested,
            state: RwLock::new(PartitionState::new(id)),
            next_seq: AtomicU64::new(0),
            status: RwLock::new(PartitionStatus::Restoring),
            folds: AtomicBool::new(false),
            owner_error: Mutex::default(),
            read_error: Mutex::default(),
            is_awaited: AtomicBool::new(false),
            is_distrusted: AtomicBool::new(false),
            freshness: Freshness::default(),
            load: Load::default(),
            time: PartitionTime::default(),
            progress: RestoreProgress::default(),
            liveness: Liveness::default(),
            swap: Mutex::default(),
            is_replacing: AtomicBool::new(false),
        }
    }

    /// The number of the partition, from 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How busy the partition's owner is.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// The partition's time, and its broker's clock.
    pub fn time(&self) -> &PartitionTime {
        &self.time
    }

    /// How far the state is rebuilt.
    pub fn progress(&self) -> &RestoreProgress {
        &self.progress
    }

    /// Whether the partition's log answers.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Reads the state. Waits for a write that is under way.
    pub fn read<T>(&self, f: impl FnOnce(&PartitionState) -> T) -> T {
        f(&self.state.read())
    }

    /// Changes the state, then wakes the callers that wait for an event that it holds now. For the state's one writer.
    pub fn write<T>(&self, f: impl FnOnce(&mut PartitionState) -> T) -> T {
        let (result, next_seq) = {
            let mut state = self.state.write();
            let result = f(&mut state);
            self.time.folded(state.position().decided_at);
            self.next_seq.store(state.position().next_seq, Relaxed);
            (result, state.position().next_seq)
        };
        self.freshness.folded(next_seq);
        result
    }

    /// Puts another state in the place of this one, which it answers: dropping a large one takes long, and whoever reads the
    /// partition would wait for it if that were done here.
    #[must_use]
    pub fn replace(&self, state: PartitionState) -> PartitionState {
        self.write(|living| {
            self.is_distrusted.store(false, Relaxed);
            std::mem::replace(living, state)
        })
    }

    /// Changes the state on behalf of a follower; none when the state is an owner's to change, or has stopped.
    pub fn follow<T>(&self, f: impl FnOnce(&mut PartitionState) -> T) -> Option<T> {
        // The lock is held until the fold ends: a claim that begins meanwhile waits for it.
        let status = self.status.read();
        StatusKind::FOLLOWED.contains(&status.kind()).then(|| self.write(f))
    }

    /// Runs `f` in the partition's status, which does not change before `f` has ended: a claim that begins meanwhile waits.
    /// `f` must not ask for the status.
    pub fn holding_status<T>(&self, f: impl FnOnce(StatusKind) -> T) -> T {
        let status = self.status.read();
        f(status.kind())
    }

    /// The sequence number of the next event. Never waits.
    pub fn next_seq(&self) -> u64 {
        self.next_seq.load(Relaxed)
    }

    /// Calls `wake` once the state has folded every event before `next_seq`; at once when it has. Drops it uncalled
    /// when nobody folds any more, or when too many callers wait.
    pub fn when_at(&self, next_seq: u64, wake: impl FnOnce() + Send + 'static) {
        // Not from the state: a fold may take long, and whoever changes the status waits for the list of those who wait.
        self.freshness.wait(next_seq, || self.next_seq() >= next_seq, || self.folds(), wake);
    }

    /// What the partition's thread is doing.
    pub fn status(&self) -> PartitionStatus {
        self.status.read().clone()
    }

    /// The same without the reason.
    pub fn status_kind(&self) -> StatusKind {
        self.status.read().kind()
    }

    /// Moves the partition to `to` if it is in one of the statuses `from`, and the diagram of [`super::status`] leads
    /// from there to `to`. It returns when every fold that the previous status allowed has ended.
    ///
    /// # Errors
    /// [`TransitionRefused`], and nothing has changed.
    pub fn try_transition(&self, from: &[StatusKind], to: PartitionStatus) -> Result<(), TransitionRefused> {
        self.transition(from, to, || {})
    }

    /// The same, and runs `change` before anybody sees the new status.
    fn transition(
        &self,
        from: &[StatusKind],
        to: PartitionStatus,
        change: impl FnOnce(),
    ) -> Result<(), TransitionRefused> {
        let mut status = self.status.write();
        let (found, kind) = (status.kind(), to.kind());
        if !from.contains(&found) || !found.leads_to(kind) {
            return Err(TransitionRefused { found, to: kind });
        }
        change();
        *status = to;
        self.folds.store(kind.folds(), Relaxed);
        if kind == StatusKind::Active {
            self.set_owner_error(None);
            self.set_read_error(None);
        } else {
            // A turn under way may have left more in the log than in the state.
            if let Some(since) = self.load.drop_turn() {
                self.freshness.may_lag_since(since);
            }
            drop((self.time.take_request(), self.swap.lock().take()));
        }
        if !kind.folds() {
            self.freshness.drop_waiters();
        }
        Ok(())
    }

    /// A follower that began to look at `asked` has come to the end of what readers see: the partition is in Standby.
    /// More may be hidden behind an open transaction, so the state counts as no younger than its last event.
    pub fn caught_up(&self, asked: Micros) {
        let current = || {
            self.freshness.was_current_at(self.time.decided_at().min(asked));
            self.is_distrusted.store(false, Relaxed);
        };
        // Refused where the follower had caught up before, or an owner has the state: then nothing is to be done.
        let _ = self.transition(&[StatusKind::Restoring], PartitionStatus::Standby, current);
    }

    /// Empties a followed state that cannot be used. Nobody reads it before it is complete again.
    ///
    /// # Errors
    /// [`TransitionRefused`] when the state is an owner's to change, or has stopped.
    pub fn begin_anew(&self) -> Result<(), TransitionRefused> {
        let mut old = None;
        let begun = self.transition(&StatusKind::FOLLOWED, PartitionStatus::Restoring, || {
            // The age is cleared before the state: a reader that sees the empty state and then asks for its age learns
            // that it is not known.
            self.freshness.forget();
            self.progress.set_from_checkpoint(false);
            // Not by `replace`: no state that is right has taken the place of one that was wrong.
            old = Some(self.write(|state| std::mem::replace(state, PartitionState::new(self.id))));
        });
        // Not under the lock of the status either.
        drop(old);
        begun
    }

    /// Whether the state keeps up with the log, so that commands may be sent and what is committed will be seen. Never
    /// waits.
    pub fn folds(&self) -> bool {
        self.folds.load(Relaxed)
    }

    /// Whether this process does not serve the partition any more until it is restarted.
    pub fn has_stopped(&self) -> bool {
        matches!(self.status_kind(), StatusKind::Failed | StatusKind::Unreadable)
    }

    /// Whether the state could not be rebuilt.
    pub fn is_unreadable(&self) -> bool {
        self.status_kind() == StatusKind::Unreadable
    }

    /// Whether the partition has a state from which it can be owned.
    pub fn is_warm(&self) -> bool {
        self.status_kind() != StatusKind::Restoring && !self.has_stopped() && !self.is_unrestorable()
    }

    /// Whether the partition has its state, or cannot have it now because the log cannot be read.
    pub fn is_as_warm_as_can_be(&self) -> bool {
        self.status_kind() != StatusKind::Restoring || self.read_error.lock().is_some()
    }

    /// Why nothing of the partition is decided through this process, as its thread says; none where it may be.
    pub fn why_not_served(&self) -> Option<String> {
        match self.status() {
            PartitionStatus::Standby if self.is_kept_from_others() => {
                self.why_not_followed().map(|why| format!("{why}; {GIVEN_HERE}"))
            }
            PartitionStatus::Active | PartitionStatus::Claiming | PartitionStatus::Standby => None,
            PartitionStatus::Restoring if self.progress.is_expiring() => Some(EXPIRING.to_owned()),
            PartitionStatus::Restoring => Some(match self.why_not_followed() {
                Some(why) if self.is_kept_from_others() => format!("{why}; {GIVEN_HERE}"),
                Some(why) => why,
                None => RESTORING.to_owned(),
            }),
            PartitionStatus::Reopening { why } => Some(format!("waits for its log: {why}")),
            PartitionStatus::Failed { why } => Some(format!("failed: {why}")),
            PartitionStatus::Unreadable { why } => Some(format!("unreadable: {why}")),
            PartitionStatus::Stopped => Some("stopped".to_owned()),
        }
    }

    /// [`PartitionHandle::read_error`] as readiness says it.
    pub fn why_not_followed(&self) -> Option<String> {
        self.read_error().map(|why| format!("not followed: {why}"))
    }

    /// Why this process does not own the partition although it should, or decides nothing as its owner; none where all
    /// is well.
    pub fn owner_error(&self) -> Option<String> {
        self.owner_error.lock().clone()
    }

    /// Set by the thread that tries to own the partition; becoming Active clears it.
    pub fn set_owner_error(&self, why: Option<String>) {
        *self.owner_error.lock() = why;
    }

    /// Why the partition's log cannot be read now; none where it can. It is tried again.
    pub fn read_error(&self) -> Option<String> {
        self.read_error.lock().as_ref().map(|error| error.why.clone())
    }

    /// Set by the follower, or by an owner that restores the state itself; becoming Active clears it. A state that is lacking is
    /// so until all is well.
    pub fn set_read_error(&self, why: Option<String>) {
        let mut error = self.read_error.lock();
        // A log that does not answer for a moment gives back no state.
        let is_of_state = error.as_ref().is_some_and(|error| error.is_of_state);
        *error = why.map(|why| ReadError { why, is_of_state });
    }

    /// The same where what is lacking is a state to begin with, which another process may have.
    pub fn set_unrestorable(&self, why: String) {
        *self.read_error.lock() = Some(ReadError { why, is_of_state: true });
    }

    /// Whether the state cannot be restored here, or brought on because the log has overtaken it, and it is not the log that
    /// does not answer. So it is while a state that was found to be wrong is made anew.
    pub fn is_unrestorable(&self) -> bool {
        let is_of_state = self.read_error.lock().as_ref().is_some_and(|error| error.is_of_state);
        let is_lacking = is_of_state || self.is_distrusted();
        is_lacking && StatusKind::FOLLOWED.contains(&self.status_kind())
    }

    /// Set by an owner of this process while it waits for the state.
    pub fn set_awaited(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Relaxed);
    }

    /// Whether the partition was given to this process, which cannot restore its state: once its earlier owner has ended, nobody
    /// decides it.
    pub fn is_kept_from_others(&self) -> bool {
        self.is_awaited.load(Relaxed) && self.is_unrestorable()
    }

    /// How often another process has shown that it owns the partition; none where that is not known, and where this
    /// process is the owner.
    pub fn owner_notes(&self) -> Option<u64> {
        self.liveness.owner_notes().filter(|_| self.status_kind() != StatusKind::Active)
    }

    /// Whether an owner of the partition has shown itself since this process began: this process is the owner, or another one
    /// has written a note after another. Where no other process may own it, there is nothing to be shown.
    pub fn has_shown_an_owner(&self) -> bool {
        !self.is_contested || self.status_kind() == StatusKind::Active || self.liveness.owner_shown_at().is_some()
    }

    /// The state was that of the log's end at `asked`, which was read before the log was asked.
    pub fn was_current_at(&self, asked: Micros) {
        self.freshness.was_current_at(asked);
    }

    /// The state of a followed partition lacked so many records of the log when the log was asked; none when it is not
    /// known how many. Set by whoever asks the log.
    pub fn set_lag(&self, records: Option<u64>) {
        self.freshness.set_lag(records);
    }

    /// How many records of the log the state lacks, as of the last time that the log was asked; none when that is not
    /// known. While the state is rebuilt, they are events.
    pub fn lag(&self) -> Option<u64> {
        match self.status_kind() {
            StatusKind::Active => Some(0),
            StatusKind::Restoring => self.progress.end_seq().map(|end| end.saturating_sub(self.next_seq())),
            _ => self.freshness.lag(),
        }
    }

    /// For how many microseconds the state may have been behind the log.
    pub fn staleness_us(&self, now: Micros) -> u64 {
        // The status is locked, as in a transition: a thread that sees the new status also sees its freshness.
        let status = self.status.read();
        match status.kind() {
            StatusKind::Restoring | StatusKind::Active if !self.is_contested => self.load.turn_age_us(now),
            _ => self.freshness.staleness_us(now),
        }
    }

    /// A turn of commands begins. For the owner's thread.
    pub fn turn_begins(&self, now: Micros) {
        self.load.turn_begins(now);
    }

    /// The turn is over, and its commit was asked for at `asked`. For the owner's thread.
    pub fn turn_ends(&self, asked: Micros, now: Micros) {
        self.freshness.was_current_at(asked);
        self.load.turn_ends(now);
    }

    /// Asks the owner to set the clock back. The request is dropped where the partition has no owner here. It replaces
    /// an earlier request, which is dropped uncalled.
    pub fn ask_to_set_clock(&self, request: ClockRequest) {
        // The status is locked, as in the transition that ends the owner: no request waits for an owner that is gone.
        let status = self.status.read();
        if *status == PartitionStatus::Active {
            self.time.request(request);
        }
    }

    /// Asks the thread that writes the state to put a fresh one in its place, and answers which one was asked: the owner
    /// (Active) or the follower (Standby). In any other status the request is dropped. It replaces an earlier request, which
    /// is dropped uncalled.
    pub fn ask_to_swap(&self, request: SwapRequest) -> Option<StatusKind> {
        // The status is locked, as in the transition that ends the owner: no request waits for an owner that is gone.
        let status = self.status.read();
        let asked = Some(status.kind()).filter(|kind| matches!(kind, StatusKind::Active | StatusKind::Standby))?;
        *self.swap.lock() = Some((asked, request));
        Some(asked)
    }

    /// The law that the state is known to break; none where nothing is known against it. An owner decides nothing from a wrong
    /// state, and a follower begins anew.
    pub fn wrong(&self) -> Option<Breach> {
        self.read(|state| state.wrong().cloned())
    }

    /// For whoever has compared the state with the log: it breaks this law. Another state that takes its place does not.
    pub fn distrust(&self, breach: Breach) {
        let mut state = self.state.write();
        state.distrust(breach);
        self.is_distrusted.store(true, Relaxed);
    }

    /// Whether the state was found to be wrong, and one that is right is not there yet.
    pub fn is_distrusted(&self) -> bool {
        self.is_distrusted.load(Relaxed)
    }

    /// Notes whether a fresh state is on its way that is to take the place of this one.
    pub fn set_replacing(&self, is_replacing: bool) {
        self.is_replacing.store(is_replacing, Relaxed);
    }

    /// Whether a fresh state is on its way.
    pub fn is_replacing(&self) -> bool {
        self.is_replacing.load(Relaxed)
    }

    /// Takes the request for another state that was made in this status, if there is one. For the thread that writes the
    /// state in this status.
    pub fn take_swap(&self, asked: StatusKind) -> Option<SwapRequest> {
        let taken = self.swap.lock().take_if(|(of, _)| *of == asked);
        taken.map(|(_, request)| request)
    }
}
