//! A fresh state of a partition is folded from the log beside the living one, and takes its place when both have folded the
//! same events. The owner or the follower goes on meanwhile. First the fresh state is compared with a copy of the living one, which
//! shares what does not change, once both have folded the same events. At the end the thread that writes the living state, which
//! is the owner's between two turns or the follower's between two events, holds still for at most [`PAUSE_MAX`], until the
//! fresh state has its last event as well; then the fresh one is the living one. Only where the two were not the same are they
//! compared once more in that pause, which then takes as long as the state is large. So no turn is decided
//! from a state that is not at the end of what its owner has committed. If another owner has written meanwhile, the commit of
//! the next turn says so, as at any other time. A fresh state that was not taken, because the partition was claimed or lost
//! in that moment, is folded further and brought again. From the moment at which the living state was found to be wrong, its owner
//! decides nothing from it: it waits for the fresh one, and stops where none takes its place. A follower begins anew then.

use super::begin::{Beginning, Looked, Prefer};
use super::checkpointer::Checkpointer;
use super::recover::replay_from;
use super::report::Report;
use crate::crash;
use crate::domain::Breach;
use crate::log::{ClaimError, CommittedTail, LogError, LogErrorKind, ReadBy};
use crate::replica::state::Frozen;
use crate::replica::{
    Brought, Compared, PartitionHandle, PartitionState, PartitionStatus, Seal, StatusKind, SwapRequest, Swapped,
};
use crate::time::{Stopwatch, pause_unless};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Builder};
use std::time::Duration;

/// Longest pause of an owner or a follower until the fresh state has its last event.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Most pauses of one swap, and how long the owner or the follower goes on between two.
const PAUSES_MAX: u32 = 8;
const BETWEEN_PAUSES: Duration = Duration::from_secs(1);
/// Longest wait for an owner to end its turn, or for a follower to come to this partition.
const TURN_LIMIT: Duration = Duration::from_secs(10);
/// Once the log is folded, the fresh state has to take its place within this time.
const PLACED_WITHIN: Duration = Duration::from_secs(60);
/// Pause before it is tried again.
const LOOK: Duration = Duration::from_millis(20);
/// The same in a pause.
const SHORT_LOOK: Duration = Duration::from_millis(1);

/// How far a fresh state is folded. One thread writes it, everybody may read it.
#[derive(Default)]
pub struct Course {
    first: AtomicU64,
    reached: AtomicU64,
    end: AtomicU64,
    bytes: AtomicU64,
}

/// What [`Course`] says at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// The sequence number of the first event that is read.
    pub first: u64,
    /// The sequence number after the last event that is folded.
    pub reached: u64,
    /// The sequence number after the last event of the log.
    pub end: u64,
    /// Bytes of events that were read.
    pub bytes: u64,
}

impl Course {
    /// How far it is.
    pub fn now(&self) -> Reached {
        let [first, reached, end, bytes] =
            [&self.first, &self.reached, &self.end, &self.bytes].map(|number| number.load(Relaxed));
        Reached { first, reached, end, bytes }
    }

    /// The log, of which is counted here what is read of it. It reads nothing more once `is_over` holds.
    pub fn counting<'a>(
        &'a self,
        tail: &'a dyn CommittedTail,
        is_over: &'a AtomicBool,
    ) -> impl CommittedTail + use<'a> {
        let read = |partition, from_seq, bytes_max| {
            if is_over.load(Relaxed) {
                return Err(LogError::superseded("the process ends"));
            }
            let events = tail.read(partition, from_seq, bytes_max)?;
            let bytes: usize = events.iter().map(|event| event.bytes.len()).fold(0, usize::saturating_add);
            self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Relaxed);
            Ok(events)
        };
        ReadBy { tail, read }
    }
}

/// Why the living state is still there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotSwapped {
    /// The partition has stopped in this process: only a new process begins again.
    Stopped(String),
    /// The log breaks a law, or the living state does and could not be replaced.
    Broken(Breach),
    /// The log, or the place of snapshots, cannot be read.
    Unread(LogError),
    /// There was no moment at which both states had folded the same events.
    Never(String),
}

impl NotSwapped {
    /// The stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            NotSwapped::Stopped(_) => "stopped",
            NotSwapped::Broken(_) => "broken",
            NotSwapped::Unread(_) => "unread",
            NotSwapped::Never(_) => "not_in_time",
        }
    }

    /// The reason in words.
    pub fn why(&self) -> String {
        match self {
            NotSwapped::Stopped(why) | NotSwapped::Never(why) => why.clone(),
            NotSwapped::Broken(breach) => breach.to_string(),
            NotSwapped::Unread(error) => error.reason(),
        }
    }
}

impl From<ClaimError> for NotSwapped {
    fn from(error: ClaimError) -> NotSwapped {
        match error {
            ClaimError::Breach(breach) => NotSwapped::Broken(breach),
            ClaimError::Log(error) => NotSwapped::Unread(error),
        }
    }
}

impl From<LogError> for NotSwapped {
    fn from(error: LogError) -> NotSwapped {
        match error.kind {
            LogErrorKind::Breach(breach) => NotSwapped::Broken(*breach),
            _ => NotSwapped::Unread(error),
        }
    }
}

/// All that a swap of one partition needs.
pub struct Swap<'a> {
    /// The log's own id, which a snapshot must name, the log, and its snapshots.
    pub beginning: Beginning<'a>,
    /// The partition whose state is replaced.
    pub handle: &'a Arc<PartitionHandle>,
    /// Receives what is wrong with the log, for metrics and log lines.
    pub report: &'a dyn Report,
    /// Where it says how far it is.
    pub course: &'a Course,
    /// Whether the process ends.
    pub is_over: &'a AtomicBool,
}

/// The fresh state has taken its place, or has to be folded further.
type Placed = Result<Swapped, Box<PartitionState>>;

/// What the partition was when a fresh state was compared with the living one, and how they compared; none before that.
type Comparison = Option<(StatusKind, Compared)>;

impl Swap<'_> {
    /// Folds a fresh state, and puts it in the place of the living one. `begun` gets what it begins with.
    ///
    /// # Errors
    /// [`NotSwapped`], and the living state is still there.
    pub fn run(&self, begun: impl FnOnce(&Looked)) -> Result<Swapped, NotSwapped> {
        let partition = self.handle.id();
        self.stopped()?;
        let looked = self.beginning.covering(partition, Prefer::Oldest)?;
        begun(&looked);
        let (state, _) = looked.state(partition);
        self.course.first.store(state.position().next_seq, Relaxed);
        self.handle.set_replacing(true);
        let mut wrong = None;
        let swapped = self.fold_on(state).and_then(|fresh| self.place(fresh, &mut wrong));
        let ended = match (swapped, wrong) {
            // Whoever has put a right state in the place of the wrong one: that it was wrong is told.
            (Ok(Swapped { is_owner, compared }), Some(wrong)) if compared.is_same() => {
                Ok(Swapped { is_owner, compared: wrong })
            }
            (Err(not), Some(wrong)) => Err(wrong.breach(partition).map_or(not, NotSwapped::Broken)),
            (swapped, None) => {
                let told = match &swapped {
                    Ok(Swapped { compared, .. }) => compared.breach(partition),
                    Err(NotSwapped::Broken(breach)) => Some(breach.clone()),
                    Err(_) => None,
                };
                told.iter().for_each(|breach| self.report.breach(breach));
                swapped
            }
            (swapped, Some(_)) => swapped,
        };
        self.handle.set_replacing(false);
        ended
    }

    /// Puts the fresh state in the place of the living one. `wrong` gets how they compared where the living one was wrong: that
    /// is not forgotten, whatever the log answers from then on, and whoever replaces it.
    fn place(&self, fresh: PartitionState, wrong: &mut Option<Compared>) -> Result<Swapped, NotSwapped> {
        let (mut fresh, mut compared): (_, Comparison) = (fresh, None);
        let (mut placing, mut pauses) = (Stopwatch::start(), 0u32);
        while placing.elapsed() < PLACED_WITHIN && pauses < PAUSES_MAX && !self.is_over.load(Relaxed) {
            fresh = self.fold_on(fresh)?;
            self.stopped()?;
            let mut rest = LOOK;
            // Another status has another living state, perhaps.
            let is_compared = compared.is_some_and(|(status, _)| status == self.handle.status_kind());
            if !is_compared && self.can_be_reached(&fresh) {
                let (state, anew) = self.compared(fresh)?;
                compared = anew.or(compared.filter(|(_, compared)| !compared.is_same()));
                if let Some((status, found)) = anew.filter(|(_, found)| !found.is_same()) {
                    self.is_wrong(status, found, wrong.is_none());
                    wrong.get_or_insert(found);
                }
                fresh = self.fold_on(state)?;
                if anew.is_some() {
                    placing = Stopwatch::start();
                }
            }
            if let Some((_, compared)) = compared
                && self.can_be_reached(&fresh)
            {
                fresh = match self.bring(Brought { state: fresh, compared })? {
                    Ok(swapped) => return Ok(swapped),
                    Err(fresh) => *fresh,
                };
                (rest, pauses) = (BETWEEN_PAUSES, pauses.saturating_add(1));
            }
            pause_unless(rest, || self.is_over.load(Relaxed));
        }
        if self.is_over.load(Relaxed) {
            return Err(NotSwapped::Stopped("the process ends".to_owned()));
        }
        let (status, at) = (self.handle.status_kind().label(), self.handle.next_seq());
        let reached = fresh.position().next_seq;
        Err(NotSwapped::Never(format!(
            "the partition is {status} and the next event of its state is seq {at}, that of the fresh one seq {reached}; the fresh one could not be brought"
        )))
    }

    /// The living state was found to be wrong: its owner holds still from now on, and nobody claims the partition with it.
    fn is_wrong(&self, status: StatusKind, found: Compared, is_first: bool) {
        let Some(breach) = found.breach(self.handle.id()) else { return };
        if is_first {
            self.report.breach(&breach);
        }
        // In another status it may be another state.
        if status == self.handle.status_kind() {
            self.handle.distrust(breach);
        }
    }

    /// Whether the living state has a writer that can hold still, and is not behind the fresh one for good: an owner may only
    /// have to end its turn.
    fn can_be_reached(&self, fresh: &PartitionState) -> bool {
        match self.handle.status_kind() {
            StatusKind::Active => true,
            StatusKind::Standby => self.handle.next_seq() >= fresh.position().next_seq,
            _ => false,
        }
    }

    /// Folds the fresh state up to where the living one is, and compares them there; not at all where the living one does not come
    /// as far soon. The living one goes on meanwhile.
    fn compared(&self, fresh: PartitionState) -> Result<(PartitionState, Comparison), NotSwapped> {
        let (status, waiting) = (self.handle.status_kind(), Stopwatch::start());
        // A turn is in the log a moment before its owner has folded it.
        let is_behind = || self.handle.next_seq() < fresh.position().next_seq;
        while is_behind() && waiting.elapsed() < PAUSE_MAX && !self.is_over.load(Relaxed) {
            pause_unless(SHORT_LOOK, || false);
        }
        let living = self.handle.read(PartitionState::freeze);
        let next_seq = living.position().next_seq;
        if fresh.position().next_seq > next_seq || self.end_at(next_seq)? < next_seq {
            return Ok((fresh, None));
        }
        let fresh = self.fold(fresh, next_seq)?;
        let compared = compare(&living, &fresh);
        Ok((fresh, Some((status, compared))))
    }

    /// Asks the owner or the follower for its next pause, and brings it the fresh state.
    fn bring(&self, Brought { state: fresh, compared }: Brought) -> Result<Placed, NotSwapped> {
        // The state is handed over hand to hand: one that nobody takes is still there.
        let ((at, is_at), (hand, handed), (told, heard)) = (bounded(1), bounded(0), bounded(1));
        let asked = self.handle.ask_to_swap(SwapRequest {
            bring: Box::new(move |next_seq| {
                at.send(next_seq).ok()?;
                handed.recv_timeout(PAUSE_MAX).ok()
            }),
            told: Box::new(move |replaced| {
                // The receiver may have stopped waiting.
                let _ = told.send(replaced);
            }),
        });
        let Some(next_seq) = self.answered(&is_at) else { return Ok(Err(Box::new(fresh))) };
        let is_owner = asked == Some(StatusKind::Active);
        let end = self.end_at(next_seq)?;
        // With more in the log than its owner has committed, another process owns the partition.
        if end < next_seq || (is_owner && end != next_seq) || fresh.position().next_seq > next_seq {
            return Ok(Err(Box::new(fresh)));
        }
        let fresh = self.fold(fresh, next_seq)?;
        if let Err(not_taken) = hand.send(Brought { state: fresh, compared }) {
            return Ok(Err(Box::new(not_taken.into_inner().state)));
        }
        // The old state is dropped here: that takes a while, and nobody who writes the state waits for it.
        match heard.recv() {
            Ok(Ok((compared, _))) => Ok(Ok(Swapped { is_owner, compared })),
            Ok(Err(fresh)) => Ok(Err(fresh)),
            Err(_) => Err(NotSwapped::Never("the thread that writes the state has ended".to_owned())),
        }
    }

    /// The end of the log, once it is not before `next_seq` or the pause is over.
    fn end_at(&self, next_seq: u64) -> Result<u64, NotSwapped> {
        let pausing = Stopwatch::start();
        loop {
            let end = self.beginning.tail.end(self.handle.id())?;
            if end >= next_seq || pausing.elapsed() >= PAUSE_MAX || self.is_over.load(Relaxed) {
                return Ok(end);
            }
            pause_unless(SHORT_LOOK, || false);
        }
    }

    /// Where the owner or the follower pauses; none when it has ended or lost the partition, when that takes too long, or when
    /// this process ends.
    fn answered(&self, is_at: &Receiver<u64>) -> Option<u64> {
        let asked = Stopwatch::start();
        while asked.elapsed() < TURN_LIMIT && !self.is_over.load(Relaxed) {
            match is_at.recv_timeout(LOOK) {
                Ok(next_seq) => return Some(next_seq),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        None
    }

    /// Folds the state up to the end of the log, or to where a followed state is: the fresh one must not get ahead of it.
    fn fold_on(&self, state: PartitionState) -> Result<PartitionState, NotSwapped> {
        let end = self.beginning.tail.end(self.handle.id())?;
        let is_followed = self.handle.status_kind() == StatusKind::Standby;
        self.fold(state, if is_followed { end.min(self.handle.next_seq()) } else { end })
    }

    fn fold(&self, state: PartitionState, until: u64) -> Result<PartitionState, NotSwapped> {
        self.course.end.store(until.max(state.position().next_seq), Relaxed);
        self.course.reached.store(state.position().next_seq, Relaxed);
        let tail = self.beginning.tail;
        Ok(replay_from(tail, state, until, &mut |reached| self.course.reached.store(reached, Relaxed))?)
    }

    /// # Errors
    /// Why the partition is not served any more by this process, if that is so.
    fn stopped(&self) -> Result<(), NotSwapped> {
        match self.handle.status() {
            PartitionStatus::Failed { why } | PartitionStatus::Unreadable { why } => Err(NotSwapped::Stopped(why)),
            PartitionStatus::Stopped => Err(NotSwapped::Stopped("the process ends".to_owned())),
            _ => Ok(()),
        }
    }
}

/// The moment of a swap, for the thread that writes the living state, between two folds.
pub(super) struct Exchange<'a> {
    pub(super) handle: &'a PartitionHandle,
    pub(super) checkpointer: &'a Checkpointer,
}

impl Exchange<'_> {
    /// Puts a fresh state in the place of the living one, which has folded as many events, and answers the old one. The caller
    /// reports it: whoever holds the status must not ask for it, which a report does.
    pub(super) fn run(self, Brought { state: fresh, compared }: Brought) -> (Compared, PartitionState) {
        let partition = self.handle.id();
        let is_proven = compared.is_same() && self.handle.read(|living| living.position() == fresh.position());
        let compared = if is_proven { compared } else { compare(&self.handle.read(PartitionState::freeze), &fresh) };
        crash::point("swap-proven");
        if let Some(breach) = compared.breach(partition) {
            // A process that dies from here on must not begin with the checkpoint of a wrong state.
            self.checkpointer.forget(partition, breach.to_string());
            crash::point("swap-forgotten");
        }
        let living = self.handle.replace(fresh);
        crash::point("swap-done");
        (compared, living)
    }
}

/// Compares two states. Their digests are made at the same time, because the writer of the living one may be waiting.
fn compare(living: &Frozen, fresh: &PartitionState) -> Compared {
    thread::scope(|scope| {
        let beside = Builder::new().name("digest".to_owned()).spawn_scoped(scope, || Seal::of(fresh));
        let living = Seal::of_frozen(living);
        let fresh = beside.ok().and_then(|digest| digest.join().ok()).unwrap_or_else(|| Seal::of(fresh));
        Compared { living, fresh }
    })
}
