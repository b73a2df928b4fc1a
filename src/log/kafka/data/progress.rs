//! What this process has seen of a partition: how far its commands go, how many of them were taken by an owner, and the
//! offsets of some events. All of it is a hint that saves questions. Where it matters, the cluster is asked.

use crate::limits::SHUTDOWN_REST_MS;
use crate::log::StopWhen;
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Marks of a partition. At twice as many, every other one is dropped.
const MARKS: usize = 1_024;

/// The event with this sequence number has this offset, or a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mark {
    pub(in crate::log::kafka) seq: u64,
    pub(in crate::log::kafka) offset: i64,
}

#[derive(Default)]
struct State {
    /// Commands handed to the client and not known to be in the log.
    unacked: usize,
    /// The offset after the last command known to be in the log.
    end: u64,
    /// The offset after the last command that an owner is known to have taken; `None` until one is known.
    taken: Option<u64>,
    /// The offset of the first command of this process. Until `taken` is known, commands count as waiting from here on: those
    /// before it may have been taken long ago.
    first: Option<u64>,
    /// The offsets of this process's commands that are in the log and that no owner is known to have taken.
    own: VecDeque<u64>,
    /// Time since a command waits and none was taken.
    stalled: Option<Stopwatch>,
    /// The end of what is committed, if the last turn was written by this process and nobody has written since.
    written: Option<i64>,
    marks: BTreeMap<u64, i64>,
    /// Sequence numbers between two marks.
    spacing: u64,
    /// The number of the last event, when it was last asked for. Reading never begins there.
    last_seq: Option<u64>,
    /// Events from this number on were written by an owner in this process, and others have written beside them. Nobody in
    /// this process has read the log there yet, so reading must not begin behind it.
    unread_from: Option<u64>,
    /// The offset of an open turn that was waited for in vain the last time.
    open: Option<i64>,
    /// Whether the partition had lost all its events when somebody last looked for one.
    is_emptied: bool,
    /// How many claims of the partition this process has begun.
    generation: u64,
    /// Set while the owner in this process is to stop.
    stop: Option<Stop>,
    /// Whether the owner in this process is to stop when it sees that another owner has written.
    is_yielding: bool,
}

/// A request to stop.
#[derive(Clone, Copy)]
struct Stop {
    /// When it has taken the commands before this offset.
    at: u64,
    /// Or after a while: where they cannot be read, it would wait for ever.
    since: Stopwatch,
}

impl Stop {
    fn is_over(self, next: u64, elapsed: Duration) -> bool {
        next >= self.at || elapsed >= Duration::from_millis(SHUTDOWN_REST_MS)
    }
}

/// What this process has seen of one partition.
#[derive(Default)]
pub(in crate::log::kafka) struct Progress(Mutex<State>);

impl Progress {
    /// Counts a command that is handed to the client. Counts nothing and returns false when `is_full` says so of the number
    /// of commands that wait, and of how many of them are this process's own.
    pub(in crate::log::kafka) fn hand_over(&self, is_full: impl FnOnce(usize, usize) -> bool) -> bool {
        let mut state = self.0.lock();
        let refused = is_full(state.waiting(), state.unacked.saturating_add(state.own.len()));
        if !refused {
            state.unacked = state.unacked.saturating_add(1);
            state.stalled.get_or_insert_with(Stopwatch::start);
        }
        !refused
    }

    /// A command that was handed to the client is in the log at this offset; `None` when it was not written.
    pub(in crate::log::kafka) fn arrived(&self, offset: Option<u64>) {
        let mut state = self.0.lock();
        state.unacked = state.unacked.saturating_sub(1);
        if let Some(offset) = offset {
            state.end = state.end.max(offset.saturating_add(1));
            state.first = Some(state.first.map_or(offset, |first| first.min(offset)));
            if state.taken.is_none_or(|taken| offset >= taken) {
                state.own.push_back(offset);
            }
        }
        if state.waiting() == 0 {
            state.stalled = None;
        }
    }

    /// The owner in this process has taken every command before `next`.
    pub(in crate::log::kafka) fn taken(&self, next: u64) {
        self.0.lock().take(next);
    }

    /// Some owner has decided everything before `next`.
    pub(in crate::log::kafka) fn decided(&self, next: u64) {
        let mut state = self.0.lock();
        if state.taken.is_none_or(|taken| next > taken) {
            state.take(next);
        }
    }

    /// For how long commands have been waiting without any being taken.
    pub(super) fn stalled(&self) -> Duration {
        self.0.lock().stalled.as_ref().map(Stopwatch::elapsed).unwrap_or_default()
    }

    /// Takes the end of the partition behind a turn of this process.
    pub(in crate::log::kafka) fn wrote(&self, end: i64) {
        self.0.lock().written = Some(end);
    }

    /// The offset of an open turn that was waited for in vain the last time.
    pub(in crate::log::kafka) fn open(&self) -> Option<i64> {
        self.0.lock().open
    }

    /// Takes the offset of a turn that was waited for in vain; `None` when every turn has ended.
    pub(super) fn set_open(&self, place: Option<i64>) {
        self.0.lock().open = place;
    }

    /// Whether the partition had lost all its events when somebody last looked for one.
    pub(super) fn is_emptied(&self) -> bool {
        self.0.lock().is_emptied
    }

    /// Takes whether the partition has lost all its events.
    pub(super) fn set_emptied(&self, is_emptied: bool) {
        self.0.lock().is_emptied = is_emptied;
    }

    /// The end of what is committed, as the last turn of this process left it.
    pub(in crate::log::kafka) fn written(&self) -> Option<i64> {
        self.0.lock().written
    }

    /// Commands that no owner is known to have taken.
    pub(in crate::log::kafka) fn waiting(&self) -> usize {
        self.0.lock().waiting()
    }

    /// Commands handed to the client and not known to be in the log.
    pub(super) fn unacked(&self) -> usize {
        self.0.lock().unacked
    }

    /// Takes that others have written beside the events from this number on, which an owner in this process wrote. Until they
    /// were read in order, reading begins before them. Otherwise a claim would pass a fork over.
    pub(in crate::log::kafka) fn written_beside(&self, seq: u64) {
        let mut state = self.0.lock();
        let from = state.unread_from.map_or(seq, |from| from.min(seq));
        state.unread_from = Some(from);
        // Nobody begins to read there.
        drop(state.marks.split_off(&from));
    }

    /// Takes that the event of this number was read, and everything before it from a mark on.
    pub(in crate::log::kafka) fn read_in_order(&self, seq: u64) {
        self.0.lock().unread_from.take_if(|from| seq >= *from);
    }

    /// Whether somebody has written beside the event of this number, or before it, and nobody has read there yet.
    pub(super) fn is_unread(&self, seq: u64) -> bool {
        self.0.lock().unread_from.is_some_and(|from| seq >= from)
    }

    /// Takes the offset of an event, unless [`Progress::is_unread`].
    pub(in crate::log::kafka) fn mark(&self, seq: u64, offset: i64) {
        let mut state = self.0.lock();
        if state.unread_from.is_some_and(|from| seq >= from) {
            return;
        }
        let spacing = state.spacing;
        let is_far = state.marks.range(..=seq).next_back().is_none_or(|(last, _)| seq.saturating_sub(*last) >= spacing);
        if is_far {
            state.marks.insert(seq, offset);
        }
        if state.marks.len() >= 2 * MARKS {
            let mut keep = false;
            state.marks.retain(|_, _| {
                keep = !keep;
                keep
            });
            state.spacing = state.spacing.max(1).saturating_mul(2);
        }
    }

    /// The last mark that is not after this number, and the first one after it.
    pub(super) fn around(&self, seq: u64) -> (Mark, Option<Mark>) {
        let state = self.0.lock();
        let mark = |(seq, offset): (&u64, &i64)| Mark { seq: *seq, offset: *offset };
        let before = state.marks.range(..=seq).next_back().map(mark).unwrap_or_default();
        (before, state.marks.range(seq.saturating_add(1)..).next().map(mark))
    }

    /// Takes the number of the last event. It tells where others may lie, and is no mark: what lies before it was not read.
    pub(super) fn ended(&self, last_seq: u64) {
        self.0.lock().last_seq = Some(last_seq);
    }

    /// The number that the event after the last one has, if it is after this one.
    pub(super) fn end_after(&self, seq: u64) -> Option<u64> {
        self.0.lock().last_seq.map(|last| last.saturating_add(1)).filter(|end| *end > seq)
    }

    /// The mark at this offset.
    pub(super) fn at_offset(&self, offset: i64) -> Option<Mark> {
        let state = self.0.lock();
        let found = state.marks.iter().find(|(_, marked)| **marked == offset);
        found.map(|(seq, _)| Mark { seq: *seq, offset })
    }

    /// Takes the first event that the partition still has: nothing before it can be read.
    pub(super) fn begins(&self, head: Mark) {
        let mut state = self.0.lock();
        state.marks = state.marks.split_off(&head.seq);
        if state.unread_from.is_none_or(|from| head.seq < from) {
            state.marks.insert(head.seq, head.offset);
        }
    }

    /// The mark of the last event that was seen.
    pub(super) fn last(&self) -> Mark {
        self.around(u64::MAX).0
    }

    /// Begins a claim. Returns the generation of the owner that it will make.
    pub(in crate::log::kafka) fn claim(&self) -> u64 {
        let mut state = self.0.lock();
        state.generation = state.generation.saturating_add(1);
        state.generation
    }

    /// Whether this is the generation of the latest claim.
    pub(in crate::log::kafka) fn is_current(&self, generation: u64) -> bool {
        self.0.lock().generation == generation
    }

    /// The owner is to stop now, or when it has taken all that is known to be in the log, within a bounded time.
    pub(in crate::log::kafka) fn stop(&self, when: StopWhen) {
        let mut state = self.0.lock();
        let at = match when {
            StopWhen::Now => 0,
            StopWhen::OwnCommandsPolled => state.end,
        };
        state.stop = Some(Stop { at, since: Stopwatch::start() });
    }

    /// The owner is to stop when it sees that another one has written.
    pub(in crate::log::kafka) fn step_down_when_fenced(&self) {
        self.0.lock().is_yielding = true;
    }

    /// Whether the owner is to stop when it sees that another owner has written.
    pub(in crate::log::kafka) fn is_yielding(&self) -> bool {
        self.0.lock().is_yielding
    }

    /// Takes back requests to stop, before the partition is claimed again.
    pub(in crate::log::kafka) fn allow(&self) {
        let mut state = self.0.lock();
        (state.stop, state.is_yielding) = (None, false);
    }

    /// Whether an owner that polls from `next` on has to stop.
    pub(in crate::log::kafka) fn is_over(&self, next: u64) -> bool {
        self.0.lock().stop.is_some_and(|stop| stop.is_over(next, stop.since.elapsed()))
    }
}

impl State {
    fn take(&mut self, next: u64) {
        self.taken = Some(next);
        while self.own.front().is_some_and(|offset| *offset < next) {
            self.own.pop_front();
        }
        self.stalled = (self.waiting() > 0).then(Stopwatch::start);
    }

    fn waiting(&self) -> usize {
        let from = self.taken.or(self.first).unwrap_or(self.end);
        let in_log = usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX);
        self.unacked.saturating_add(in_log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_what_is_on_its_way_and_what_nobody_took() {
        let progress = Progress::default();
        let two = |waiting: usize, _: usize| waiting >= 2;
        assert!(progress.hand_over(two) && progress.hand_over(two) && !progress.hand_over(two));
        assert_eq!((progress.waiting(), progress.unacked()), (2, 2));
        progress.taken(10);
        progress.arrived(Some(10));
        progress.arrived(None);
        assert_eq!((progress.waiting(), progress.unacked()), (1, 0));
        assert!(progress.0.lock().stalled.is_some());
        progress.decided(11);
        progress.decided(5);
        assert_eq!((progress.waiting(), progress.stalled()), (0, Duration::ZERO));
    }

    #[test]
    fn what_lies_before_the_first_command_does_not_wait_until_an_owner_is_heard_of() {
        let progress = Progress::default();
        assert!(progress.hand_over(|_, _| false) && progress.hand_over(|_, _| false));
        progress.arrived(Some(1_000_000));
        assert_eq!((progress.waiting(), progress.unacked()), (2, 1));
        progress.arrived(Some(1_000_003));
        assert_eq!(progress.waiting(), 4);
        // An owner is behind, and then is not.
        progress.decided(999_990);
        assert_eq!(progress.waiting(), 14);
        progress.decided(1_000_004);
        progress.decided(1_000_001);
        assert_eq!(progress.waiting(), 0);
    }

    #[test]
    fn what_others_have_waiting_takes_no_place_of_this_processs_own() {
        let progress = Progress::default();
        progress.taken(0);
        let own = || {
            let mut own = 0;
            assert!(!progress.hand_over(|_, count| {
                own = count;
                true
            }));
            own
        };
        for offset in [20_000, 20_001, 40_000] {
            assert!(progress.hand_over(|_, _| false));
            progress.arrived(Some(offset));
        }
        assert_eq!((progress.waiting(), own()), (40_001, 3));
        progress.decided(20_001);
        assert!(progress.hand_over(|_, _| false));
        assert_eq!((progress.waiting(), own()), (20_001, 3));
        progress.taken(50_000);
        assert_eq!(own(), 1);
    }

    #[test]
    fn marks_stay_few_and_stay_true() {
        let progress = Progress::default();
        for seq in 0..100_000 {
            progress.mark(seq, i64::try_from(seq * 2).unwrap());
        }
        assert!(progress.0.lock().marks.len() < 2 * MARKS);
        for seq in [0, 1, 777, 50_000, 99_999] {
            let (before, after) = progress.around(seq);
            assert!(before.seq <= seq && seq - before.seq <= 512, "{seq}: {before:?}");
            assert_eq!(before.offset, i64::try_from(before.seq * 2).unwrap());
            assert!(after.is_none_or(|after| after.seq > seq));
        }
    }

    #[test]
    fn reading_begins_before_what_others_wrote_until_that_was_read() {
        let progress = Progress::default();
        (0..10).for_each(|seq| progress.mark(seq, 2 * i64::try_from(seq).unwrap()));
        let before = |seq| progress.around(seq).0.seq;
        progress.written_beside(8);
        progress.written_beside(7);
        progress.written_beside(9);
        progress.mark(10, 20);
        assert_eq!((before(10), before(6), progress.last().seq), (6, 6, 6));
        assert!(!progress.is_unread(6) && progress.is_unread(7) && progress.is_unread(10));
        progress.read_in_order(6);
        assert!(progress.is_unread(7), "it was not reached");
        progress.read_in_order(7);
        progress.mark(10, 20);
        assert_eq!((progress.is_unread(7), before(10)), (false, 10));
    }

    #[test]
    fn an_owner_is_told_to_stop_at_once_or_after_the_rest() {
        let progress = Progress::default();
        progress.arrived(Some(4));
        let generation = progress.claim();
        assert!(progress.is_current(generation) && !progress.is_over(0));
        progress.stop(StopWhen::OwnCommandsPolled);
        assert!(!progress.is_over(4) && progress.is_over(5));
        let stop = progress.0.lock().stop.unwrap();
        let limit = Duration::from_millis(SHUTDOWN_REST_MS);
        assert!(!stop.is_over(4, limit - Duration::from_millis(1)), "what is left is waited for");
        assert!(stop.is_over(4, limit), "and not for ever: it may be unreadable");
        progress.stop(StopWhen::Now);
        assert!(progress.is_over(0));
        progress.step_down_when_fenced();
        assert!(progress.is_yielding());
        progress.allow();
        assert!(!progress.is_yielding());
        assert!(progress.claim() > generation && !progress.is_current(generation) && !progress.is_over(9));
    }
}
