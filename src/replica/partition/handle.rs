//! One partition as all threads of the process see it. It has one writer, its owner or its follower; readers take the
//! lock for as long as it takes to look at one pool or reservation, or to copy the references of all pools.

use super::super::clock_set::ClockRequest;
use super::super::state::PartitionState;
use crate::domain::Micros;
use crate::limits::{CLOCK_TOLD_MAX_MS, DEADLINE_MAX_MS, FRESH_WAITERS_MAX};
use crate::time::{Clock, LogClock, Offset, Stamp};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What a partition's thread is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartitionStatus {
    /// It reads checkpoint and log; nobody answers for the partition yet.
    Restoring,
    /// Another process decides; this one folds what is committed, and could go on from there.
    Standby,
    /// It is being taken over by this process.
    Claiming,
    /// It decides.
    Active,
    /// Its log failed, for this reason, and is opened again when it can be: nothing is decided meanwhile. What was committed
    /// before can be read.
    Reopening(String),
    /// It has stopped for good, and this is why. What was committed before can be read.
    Failed(String),
    /// Its state could not be rebuilt, and this is why: nothing may be read of it.
    Unreadable(String),
    /// It has stopped because it was asked to.
    Stopped,
}

/// The state is read from checkpoint and log.
pub const RESTORING: &str = "restoring";
/// It is whole, and holds that fell due before are expired.
pub const EXPIRING: &str = "expiring";

/// One partition of the log in this process.
pub struct PartitionHandle {
    id: u32,
    state: RwLock<PartitionState>,
    status: RwLock<PartitionStatus>,
    /// When the turn under way began, [`IDLE`] when none is.
    turn_since_us: AtomicU64,
    /// Why this process does not own the partition although it should, or owns it and decides nothing.
    trouble: Mutex<Option<String>>,
    /// Why this process cannot follow the partition now.
    unread: Mutex<Option<String>>,
    /// Whether the state goes on from a checkpoint's, and no owner has taken it over yet.
    is_restored: AtomicBool,
    /// Moving average of a turn's length.
    turn_us: AtomicU64,
    /// Turns that ended, and what the last of them took.
    turns: AtomicU64,
    last_turn_us: AtomicU64,
    /// Whether others may own the partition, so that an owner has to prove that it still does.
    is_contested: bool,
    /// What [`PartitionHandle::folds`] answers, for who holds a lock that a fold needs.
    folds: AtomicBool,
    /// When the state was last known to be that of the log's end. Never later than that: who asks for a time first and then
    /// finds out may have been stopped in between, but not the other way round.
    current_at: AtomicU64,
    /// The partition's time, which owner, readers and gateway share.
    time: Mutex<LogClock>,
    /// What the clock of its broker showed, where it has one that says.
    stamp: Mutex<Option<Stamp>>,
    /// Whether an owner of this process ended because its clock is far from that one, and none has begun since.
    is_clock_refused: AtomicBool,
    /// What its owner, if that is another process, noted last to show that it is there, and how often that was news.
    beat: Mutex<(Option<u64>, u64)>,
    /// The number of the next event, for who must not wait for the state.
    next_seq: AtomicU64,
    /// Where the log ended when restoring began, [`IDLE`] when that is not known.
    goal: AtomicU64,
    /// Whether its state is whole and holds that fell due before are being expired.
    is_expiring: AtomicBool,
    /// Whether its log was asked and has not answered, and how often it has.
    is_log_asked: AtomicBool,
    log_answers: AtomicU64,
    waiting: Mutex<Vec<Waiter>>,
    /// Whether an operator wants the clock to be set, for the owner.
    clock_request: Mutex<Option<ClockRequest>>,
}

/// Who waits for a sequence number.
struct Waiter {
    next_seq: u64,
    wake: Box<dyn FnOnce() + Send>,
}

const IDLE: u64 = u64::MAX;

impl PartitionHandle {
    /// A partition before its first event. `is_contested` says whether other processes may own it, too.
    pub(in crate::replica) fn new(id: u32, is_contested: bool) -> PartitionHandle {
        PartitionHandle {
            id,
            state: RwLock::new(PartitionState::new(id)),
            status: RwLock::new(PartitionStatus::Restoring),
            turn_since_us: AtomicU64::new(IDLE),
            trouble: Mutex::new(None),
            unread: Mutex::new(None),
            is_restored: AtomicBool::new(false),
            turn_us: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            last_turn_us: AtomicU64::new(0),
            is_contested,
            folds: AtomicBool::new(false),
            current_at: AtomicU64::new(0),
            time: Mutex::default(),
            stamp: Mutex::default(),
            is_clock_refused: AtomicBool::new(false),
            beat: Mutex::default(),
            next_seq: AtomicU64::new(0),
            goal: AtomicU64::new(IDLE),
            is_expiring: AtomicBool::new(false),
            is_log_asked: AtomicBool::new(false),
            log_answers: AtomicU64::new(0),
            waiting: Mutex::new(Vec::new()),
            clock_request: Mutex::default(),
        }
    }

    /// The number of the partition, from 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Reads the state.
    pub fn read<T>(&self, f: impl FnOnce(&PartitionState) -> T) -> T {
        f(&self.state.read())
    }

    /// Changes the state, then wakes whoever waited for what it has become. For its one writer.
    pub fn write<T>(&self, f: impl FnOnce(&mut PartitionState) -> T) -> T {
        let (result, next_seq) = {
            let mut state = self.state.write();
            let result = f(&mut state);
            self.time.lock().saw(state.position().decided_at);
            self.next_seq.store(state.position().next_seq, Relaxed);
            (result, state.position().next_seq)
        };
        let mut waiting = self.waiting.lock();
        let due: Vec<_> = waiting.extract_if(.., |waiter| waiter.next_seq <= next_seq).collect();
        drop(waiting);
        due.into_iter().for_each(|waiter| (waiter.wake)());
        result
    }

    /// Calls `wake` once the state has folded every event before `next_seq`; at once when it has. Drops it uncalled when
    /// nobody folds any more, or too many wait.
    pub fn when_at(&self, next_seq: u64, wake: impl FnOnce() + Send + 'static) {
        let mut waiting = self.waiting.lock();
        // Under the lock that a writer takes after its write: either the writer sees this waiter, or this sees the write.
        if self.state.read().position().next_seq >= next_seq {
            drop(waiting);
            wake();
        } else if self.folds() && waiting.len() < FRESH_WAITERS_MAX {
            waiting.push(Waiter { next_seq, wake: Box::new(wake) });
        }
    }

    /// The partition's time: what its owner decides by, and its readers judge by. See [`LogClock`].
    pub fn time(&self, clock: &dyn Clock) -> Micros {
        // Read under the lock, so that whoever is told later is told no earlier time.
        let mut time = self.time.lock();
        let (wall, now) = (clock.wall(), clock.now());
        let told = time.tell(wall, now);
        let is_vouched = || self.clock_offset(clock).is_some_and(|offset| !offset.is_far());
        if told.ms_since(wall) > CLOCK_TOLD_MAX_MS && is_vouched() { time.tell_vouched(wall, now) } else { told }
    }

    /// The clock of the partition's broker has shown this. For whoever looks again and again.
    pub fn set_stamp(&self, stamp: Option<Stamp>) {
        *self.stamp.lock() = stamp;
    }

    /// How far the wall clock is from that of the partition's broker, where that is known.
    pub fn clock_offset(&self, clock: &dyn Clock) -> Option<Offset> {
        self.stamp.lock().map(|stamp| clock.offset(&stamp))
    }

    /// Whether an owner of this process ended because its clock is far from the broker's, and none has begun since.
    pub fn is_clock_refused(&self) -> bool {
        self.is_clock_refused.load(Relaxed)
    }

    /// For whoever tries to own it. Answers whether that is news.
    pub fn set_clock_refused(&self, is_refused: bool) -> bool {
        self.is_clock_refused.swap(is_refused, Relaxed) != is_refused
    }

    /// Its time was set back by an event. For its owner.
    pub fn clock_was_set(&self) {
        self.time.lock().begin_anew();
    }

    /// How far the partition's time is ahead of the wall clock, in microseconds: where a clock was wrong, it may be.
    pub fn ahead_us(&self, clock: &dyn Clock) -> u64 {
        self.time(clock).0.saturating_sub(clock.wall().0)
    }

    /// The number of the next event.
    pub fn next_seq(&self) -> u64 {
        self.next_seq.load(Relaxed)
    }

    /// Where the log ended when restoring began, if that is known.
    pub fn goal(&self) -> Option<u64> {
        Some(self.goal.load(Relaxed)).filter(|goal| *goal != IDLE)
    }

    /// For whoever rebuilds the state up to there.
    pub fn set_goal(&self, next_seq: u64) {
        self.goal.store(next_seq, Relaxed);
    }

    /// Whether its state is whole and holds that fell due before are being expired.
    pub fn is_expiring(&self) -> bool {
        self.is_expiring.load(Relaxed)
    }

    /// For its owner.
    pub fn set_expiring(&self, is_expiring: bool) {
        self.is_expiring.store(is_expiring, Relaxed);
    }

    /// The partition's log is asked. For whoever asks it again and again.
    pub fn ask_log(&self) {
        self.is_log_asked.store(true, Relaxed);
    }

    /// It has answered.
    pub fn log_answers(&self) {
        self.log_answers.fetch_add(1, Relaxed);
        self.is_log_asked.store(false, Relaxed);
    }

    /// Whether its log was asked and has not answered, and how often it has.
    pub fn log_asked(&self) -> (bool, u64) {
        (self.is_log_asked.load(Relaxed), self.log_answers.load(Relaxed))
    }

    /// Its owner, whoever that is, has noted this to show that it is there; nothing where that is not known.
    pub fn set_beat(&self, beat: Option<u64>) {
        let mut kept = self.beat.lock();
        *kept = (beat, kept.1.saturating_add(u64::from(kept.0 != beat)));
    }

    /// How often another process has shown that it owns the partition; nothing where that is not known, and where this
    /// process is the owner.
    pub fn beats(&self) -> Option<u64> {
        let (beat, count) = *self.beat.lock();
        beat.filter(|_| *self.status.read() != PartitionStatus::Active).map(|_| count)
    }

    /// Asks the owner to set the clock back. Whoever asked before is told nothing any more.
    pub fn ask_to_set_clock(&self, request: ClockRequest) {
        let mut asked = self.clock_request.lock();
        // Under the lock that a status takes which decides no more: nobody waits for an owner that is gone.
        if *self.status.read() == PartitionStatus::Active {
            *asked = Some(request);
        }
    }

    /// What the owner was asked. For its thread.
    pub fn clock_request(&self) -> Option<ClockRequest> {
        self.clock_request.lock().take()
    }

    /// What its thread is doing.
    pub fn status(&self) -> PartitionStatus {
        self.status.read().clone()
    }

    /// Why nothing of the partition is decided through this process, if its thread says so: in words.
    pub fn stopped(&self) -> Option<String> {
        match self.status() {
            PartitionStatus::Active | PartitionStatus::Claiming | PartitionStatus::Standby => None,
            PartitionStatus::Restoring if self.is_expiring() => Some(EXPIRING.to_owned()),
            PartitionStatus::Restoring => Some(self.not_followed().unwrap_or_else(|| RESTORING.to_owned())),
            PartitionStatus::Reopening(why) => Some(format!("waits for its log: {why}")),
            PartitionStatus::Failed(why) => Some(format!("failed: {why}")),
            PartitionStatus::Unreadable(why) => Some(format!("unreadable: {why}")),
            PartitionStatus::Stopped => Some("stopped".to_owned()),
        }
    }

    /// [`PartitionHandle::unread`], in words.
    pub fn not_followed(&self) -> Option<String> {
        self.unread().map(|why| format!("not followed: {why}"))
    }

    /// Whether the state goes on with the log, so that commands may be sent and what is committed will be seen.
    pub fn folds(&self) -> bool {
        self.folds.load(Relaxed)
    }

    /// For its thread. Returns when nobody folds any more who was allowed to by the status before.
    pub fn set_status(&self, status: PartitionStatus) {
        // Whatever a turn under way leaves behind, readers are told since when.
        if status != PartitionStatus::Active {
            let since = self.turn_since_us.swap(IDLE, Relaxed);
            self.current_at.fetch_min(since, Relaxed);
        }
        let folds = matches!(status, PartitionStatus::Active | PartitionStatus::Claiming | PartitionStatus::Standby);
        if status == PartitionStatus::Active {
            self.set_trouble(None);
        }
        let is_owning = status == PartitionStatus::Active;
        *self.status.write() = status;
        if !is_owning {
            drop(self.clock_request());
        }
        self.folds.store(folds, Relaxed);
        if !folds {
            self.waiting.lock().clear();
        }
    }

    /// Folds on behalf of a follower; `None` when the state is another's to change.
    pub fn follow<T>(&self, f: impl FnOnce(&mut PartitionState) -> T) -> Option<T> {
        // Held for as long as the fold takes: an owner that is made meanwhile waits for its end.
        let status = self.status.read();
        matches!(*status, PartitionStatus::Standby | PartitionStatus::Restoring).then(|| self.write(f))
    }

    /// A follower that began to look at `asked` has come to the end of what readers see. More may be hidden behind an open
    /// transaction: until it is known that nothing was, the state is as old as its last event.
    pub fn caught_up(&self, asked: Micros) {
        let mut status = self.status.write();
        if *status == PartitionStatus::Restoring {
            self.is_current(self.time.lock().decided_at().min(asked));
            *status = PartitionStatus::Standby;
            self.folds.store(true, Relaxed);
        }
    }

    /// A followed state is of no use: it begins anew, and nobody reads it until it is whole again. Answers whether it is
    /// so; not when the state is another's to change.
    pub fn begin_anew(&self) -> bool {
        self.stop_following(PartitionStatus::Restoring, || {
            // Before the state: who reads an empty one and asks afterwards how old it is hears that nobody knows.
            self.current_at.store(0, Relaxed);
            self.set_restored(false);
            self.write(|state| *state = PartitionState::new(self.id));
        })
    }

    /// A followed partition stops for good, and this is why. Answers whether it does; not when the state is another's to
    /// change: a claim meets what its follower has met.
    pub fn fail(&self, why: &str) -> bool {
        self.stop_following(PartitionStatus::Failed(why.to_owned()), || {})
    }

    fn stop_following(&self, then: PartitionStatus, change: impl FnOnce()) -> bool {
        let mut status = self.status.write();
        if !matches!(*status, PartitionStatus::Standby | PartitionStatus::Restoring) {
            return false;
        }
        *status = then;
        self.folds.store(false, Relaxed);
        change();
        self.waiting.lock().clear();
        true
    }

    /// The state has been that of the log's end at `asked`, which was read before the log was asked.
    pub fn is_current(&self, asked: Micros) {
        self.current_at.fetch_max(asked.0, Relaxed);
    }

    /// For how long the state may have been behind the log.
    pub fn staleness_us(&self, now: Micros) -> u64 {
        match *self.status.read() {
            PartitionStatus::Restoring | PartitionStatus::Active if !self.is_contested => self.turn_age_us(now),
            _ => now.0.saturating_sub(self.current_at.load(Relaxed)),
        }
    }

    /// Why this process does not own the partition although it should, or why it decides nothing as its owner, if that is
    /// so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// For whoever tries to own it.
    pub fn set_trouble(&self, why: Option<String>) {
        *self.trouble.lock() = why;
    }

    /// Why this process cannot follow the partition now, if that is so: it is tried again.
    pub fn unread(&self) -> Option<String> {
        self.unread.lock().clone()
    }

    /// For its follower.
    pub fn set_unread(&self, why: Option<String>) {
        *self.unread.lock() = why;
    }

    /// Whether the state goes on from a checkpoint's: where it turns out broken, that may be the checkpoint's fault.
    pub fn is_restored(&self) -> bool {
        self.is_restored.load(Relaxed)
    }

    /// For whoever puts a checkpoint in, or has taken the state over.
    pub fn set_restored(&self, is_restored: bool) {
        self.is_restored.store(is_restored, Relaxed);
    }

    /// Whether it is served here no more, before the process is started again.
    pub fn has_stopped(&self) -> bool {
        matches!(*self.status.read(), PartitionStatus::Failed(_) | PartitionStatus::Unreadable(_))
    }

    /// Whether its state could not be made.
    pub fn is_lost(&self) -> bool {
        matches!(*self.status.read(), PartitionStatus::Unreadable(_))
    }

    /// Whether the partition has its state, or cannot have it now for a reason of the log's.
    pub fn is_as_warm_as_can_be(&self) -> bool {
        self.status() != PartitionStatus::Restoring || self.unread.lock().is_some()
    }

    /// A turn begins. For its thread.
    pub fn turn_begins(&self, now: Micros) {
        self.turn_since_us.store(now.0, Relaxed);
    }

    /// The turn is over, and its commit was asked for at `asked`. For its thread.
    pub fn turn_ends(&self, asked: Micros, now: Micros) {
        self.is_current(asked);
        // A machine that slept through a turn must not be taken for a slow log for long after.
        let since = self.turn_since_us.swap(IDLE, Relaxed);
        let took = now.0.saturating_sub(since).min(DEADLINE_MAX_MS * 1_000);
        if since != IDLE {
            self.last_turn_us.store(took, Relaxed);
            self.turns.fetch_add(1, Relaxed);
        }
        let average = self.turn_us.load(Relaxed);
        self.turn_us.store((average.saturating_mul(7)).saturating_add(took) / 8, Relaxed);
    }

    /// For how long the turn under way has been going; 0 when none is.
    pub fn turn_age_us(&self, now: Micros) -> u64 {
        match self.turn_since_us.load(Relaxed) {
            IDLE => 0,
            since => now.0.saturating_sub(since),
        }
    }

    /// Whether a turn is under way.
    pub fn is_in_turn(&self) -> bool {
        self.turn_since_us.load(Relaxed) != IDLE
    }

    /// How many turns of commands have ended, and what the last of them took.
    pub fn turns(&self) -> (u64, u64) {
        (self.turns.load(Relaxed), self.last_turn_us.load(Relaxed))
    }

    /// How long a turn takes, as a moving average.
    pub fn turn_us(&self) -> u64 {
        self.turn_us.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Replica;

    #[test]
    fn what_is_claimed_is_not_its_followers_to_stop() {
        for status in [
            PartitionStatus::Claiming,
            PartitionStatus::Active,
            PartitionStatus::Failed("before".to_owned()),
            PartitionStatus::Stopped,
        ] {
            let replica = Replica::shared(1);
            let handle = replica.partition(0).unwrap();
            handle.set_status(status.clone());
            assert!(!handle.fail("a breach") && !handle.begin_anew() && handle.follow(|_| ()).is_none());
            assert_eq!(handle.status(), status);
        }
        for status in [PartitionStatus::Restoring, PartitionStatus::Standby] {
            let replica = Replica::shared(1);
            let handle = replica.partition(0).unwrap();
            handle.set_status(status.clone());
            assert!(handle.begin_anew() && handle.status() == PartitionStatus::Restoring && !handle.folds());
            handle.set_status(status);
            assert!(handle.fail("a breach") && handle.has_stopped() && !handle.folds());
        }
    }

    #[test]
    fn a_state_that_begins_anew_is_of_no_age_and_who_waits_for_it_is_told_nothing() {
        let replica = Replica::shared(1);
        let handle = replica.partition(0).unwrap();
        handle.caught_up(Micros(5));
        handle.is_current(Micros(7));
        assert_eq!(handle.staleness_us(Micros(9)), 2);
        let (wake, woken) = std::sync::mpsc::channel();
        handle.when_at(3, move || wake.send(()).unwrap());
        assert!(handle.begin_anew());
        assert_eq!((woken.recv(), handle.staleness_us(Micros(9))), (Err(std::sync::mpsc::RecvError), 9));
    }
}
