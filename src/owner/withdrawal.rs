//! Whether this process should leave its partitions to others: a sans-IO machine beside [`super::ownership`]. An owner
//! on a slow link keeps partitions that it cannot serve, because its heartbeats still reach the group in time. Its
//! callers miss their deadlines while another process is idle.
//!
//! Twice a second the shell reports how long the turns of each owned partition and a round trip to the cluster take.
//! When turns have been too long for callers' deadlines for a while, and the link is the cause, the machine asks who
//! else is in the group. If another process is better off, this one leaves the group, serves on until its successors
//! fence it, and rests. It comes back after the rest, once its link is fast again. When no other process is left, it
//! comes back at once. A rest that follows soon on the one before is twice as long, so that an unstable link does not
//! move partitions back and forth.
//!
//! A cluster that is slow for every process is no reason to leave: then no other process has reported a better link.
//!
//! A process that cannot restore the state of a partition, as where a log has lost its first events and nothing that this process
//! has covers them, leaves partitions to the others in the group, whoever they are:
//!
//! - It does not enter a group that has members. If it is a member and is given such a partition, it leaves as soon as there is
//!   another member: whoever enters beside it can serve more.
//! - It enters a group without members, so that what can be served is served. Several of them come after different waits, which
//!   are drawn anew each time and grow: the first one that enters keeps the others out.
//! - It enters beside others where it has the states of more partitions than have an owner. Then it is the others who lack more, and
//!   they leave. The next such try comes only after a rest, and each that soon follows another is twice as long.
//!
//! Where nobody has all states, one process serves all that it can, and stays.

use crate::domain::Micros;
use crate::limits::{SLOW_FORGOTTEN_MS, SLOW_MS, SLOW_REST_MAX_MS, SLOW_REST_MS, SLOW_TURNS, UNRESTORED_MS};
use std::collections::{BTreeMap, VecDeque};

/// How many of the last round trips are kept. The shortest of them counts, because any of them may have met a busy
/// moment.
const TRIPS: usize = 4;
/// Round trips of one turn: one brings its commands, one adds its partition, one writes its records, and one commits
/// it.
const TRIPS_OF_TURN: u64 = 4;
/// Time between two questions about the group, in milliseconds.
const ASK_EVERY_MS: u64 = 1_000;
/// Time without a turn after which a partition does not count as slow any more, in milliseconds: it may have moved
/// away.
const STALE_MS: u64 = 10_000;
/// Longest wait of a process that lacks a state before it enters a group without members, in milliseconds. Several such
/// processes find a group empty at the same moment. It doubles when it leaves again soon.
const SPREAD_MS: u64 = 3_000;
/// How often it doubles at most.
const DOUBLINGS_MAX: u32 = 4;
/// Partitions without an owner are no matter of a moment after so many milliseconds: longer than the session of a process that was
/// killed, and the claim of who follows.
const UNSERVED_MS: u64 = 15_000;

/// The turns of one partition since the last look. At least one has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TurnTimes {
    /// The number of turns that ended since the last look.
    pub ended: u64,
    /// The length of the last one, in milliseconds.
    pub last_ms: u64,
}

/// Who else is in the group of owners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// The cluster did not answer.
    Unknown,
    /// This process is alone in the group.
    Nobody,
    /// There are other processes, and none of them has a better link than this one.
    NoneBetter,
    /// There is a process with a better link, or one that has said nothing about its link.
    Better,
}

/// Which states cannot be restored here, and what follows from that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lack {
    /// Whether there is a partition whose state cannot be restored here.
    pub is_any: bool,
    /// Such a partition that the group has given to this process, so that nobody decides it.
    pub given: Option<u32>,
    /// Whether this process has the states of more partitions than show an owner.
    pub could_serve_more: bool,
    /// Whether this process has never been in the group, because of what it lacks.
    pub is_kept_out: bool,
}

/// What the shell sees twice a second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// What turns took, for each partition on which at least one has ended here since the last look.
    pub turns: BTreeMap<u32, TurnTimes>,
    /// A round trip to the cluster, in milliseconds; none when the cluster did not answer.
    pub trip_ms: Option<u64>,
    /// Whether partitions cannot be decided here because this machine's clock is wrong.
    pub is_clock_wrong: bool,
    /// What cannot be restored here.
    pub lack: Lack,
}

/// An input of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The shell has looked.
    Look(Look),
    /// The answer to [`Output::Ask`].
    Group(Others),
}

/// Why this process leaves the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The cluster is too far for the turns of a partition to fit callers' deadlines.
    Far {
        /// The partition that has been slow for longest.
        partition: u32,
        /// For how long, in milliseconds.
        slow_ms: u64,
    },
    /// This machine's clock is far from the brokers'.
    Clock,
    /// The state of this partition, which was given to this process, cannot be restored here.
    State {
        /// The partition that nobody decides meanwhile.
        partition: u32,
    },
}

/// What the shell is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Find out who else is in the group, and answer with [`Input::Group`].
    Ask,
    /// Leave the group of owners, for this reason.
    Leave(Why),
    /// Enter the group, again or for the first time.
    Return,
}

#[derive(Clone, Copy, Debug)]
struct Slow {
    since: Micros,
    last: Micros,
    turns: u64,
}

/// The state of the machine: what the last looks said, and the last rest.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    deadline_ms: u64,
    trips: VecDeque<u64>,
    slow: BTreeMap<u32, Slow>,
    is_resting: bool,
    /// Whether the clock was wrong at the last look.
    is_clock_wrong: bool,
    /// When the last rest is over. Before that it does not leave again, even if it came back early because nobody else
    /// was there.
    rest_over: Micros,
    rest_ms: u64,
    /// When it came back last.
    back: Option<Micros>,
    asked: Option<Micros>,
    /// What was lacking at the last look.
    lack: Lack,
    /// Since when a partition that cannot be restored here has been given to this process.
    given: Option<Micros>,
    /// Since when this process could serve more than is served.
    more: Option<Micros>,
    /// Since when it has been known that nobody is in the group, for a process that lacks a state.
    alone: Option<Micros>,
    /// How often it left soon after it had come, because of a state that it lacks.
    soon: u32,
    /// Before this time it does not enter beside others again while it lacks a state.
    more_over: Micros,
    /// From which waits are drawn.
    seed: u64,
    wait_ms: u64,
}

impl Withdrawal {
    /// The machine of a process whose callers wait for this long. The seed is another number in each process.
    pub fn new(deadline_ms: u64, seed: u64) -> Withdrawal {
        let mut withdrawal = Withdrawal {
            deadline_ms,
            trips: VecDeque::new(),
            slow: BTreeMap::new(),
            is_resting: false,
            is_clock_wrong: false,
            rest_over: Micros(0),
            rest_ms: 0,
            back: None,
            asked: None,
            lack: Lack::default(),
            given: None,
            more: None,
            alone: None,
            soon: 0,
            more_over: Micros(0),
            seed,
            wait_ms: 0,
        };
        withdrawal.draw();
        withdrawal
    }

    /// Whether it has left the group.
    pub fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// Whether it is not in the group, because it has left, or has not been let in.
    pub fn is_out(&self) -> bool {
        self.is_resting || self.lack.is_kept_out
    }

    /// Takes an input; answers what is to be done.
    pub fn handle(&mut self, input: Input, now: Micros) -> Option<Output> {
        match input {
            Input::Look(Look { turns, trip_ms, is_clock_wrong, lack }) => {
                self.is_clock_wrong = is_clock_wrong;
                self.look(&turns, trip_ms, now);
                self.lacks(lack, now);
                let may_go = is_clock_wrong || self.slowest(now).is_some();
                let is_wanted = self.is_out() || self.stuck(now).is_some() || (now >= self.rest_over && may_go);
                let is_due = self.asked.is_none_or(|asked| now.ms_since(asked) >= ASK_EVERY_MS);
                (is_wanted && is_due).then(|| {
                    self.asked = Some(now);
                    Output::Ask
                })
            }
            Input::Group(others) if self.is_out() => self.may_return(others, now).then(|| self.comes_back(now)),
            Input::Group(others) => {
                let why = self.may_leave(others, now)?;
                self.goes(why, now);
                Some(Output::Leave(why))
            }
        }
    }

    fn look(&mut self, turns: &BTreeMap<u32, TurnTimes>, trip_ms: Option<u64>, now: Micros) {
        match trip_ms {
            Some(trip_ms) => self.trips.push_back(trip_ms),
            // The length of a round trip is not known now.
            None => self.trips.clear(),
        }
        if self.trips.len() > TRIPS {
            self.trips.pop_front();
        }
        self.slow.retain(|_, slow| now.ms_since(slow.last) < STALE_MS);
        for (&partition, &TurnTimes { ended, last_ms }) in turns {
            if last_ms < self.deadline_ms {
                self.slow.remove(&partition);
                continue;
            }
            let begun = Micros(now.0.saturating_sub(last_ms.saturating_mul(1_000)));
            let slow = self.slow.entry(partition).or_insert(Slow { since: begun, last: now, turns: 0 });
            (slow.last, slow.turns) = (now, slow.turns.saturating_add(ended));
        }
    }

    fn lacks(&mut self, lack: Lack, now: Micros) {
        self.lack = lack;
        self.given = lack.given.and(self.given.or(Some(now)));
        self.more = if lack.could_serve_more { self.more.or(Some(now)) } else { None };
        if !lack.is_any {
            self.alone = None;
        }
    }

    /// The partition that was given to this process, and has waited for long for a state that cannot be restored here.
    fn stuck(&self, now: Micros) -> Option<u32> {
        self.lack.given.filter(|_| has_lasted(self.given, UNRESTORED_MS, now))
    }

    /// Whether the link alone makes turns too long for a deadline; none before enough round trips are known.
    fn is_far(&self) -> Option<bool> {
        let trip_ms = self.trips.iter().min().filter(|_| self.trips.len() == TRIPS)?;
        Some(trip_ms.saturating_mul(TRIPS_OF_TURN) >= self.deadline_ms)
    }

    /// The partition that has been slow for longest, and since when, if that is long enough and the link is the cause.
    fn slowest(&self, now: Micros) -> Option<(u32, Micros)> {
        let lasting = |slow: &Slow| slow.turns >= SLOW_TURNS && now.ms_since(slow.since) >= SLOW_MS;
        let slow = self.slow.iter().filter(|(_, slow)| lasting(slow));
        let slowest = slow.min_by_key(|(_, slow)| slow.since).map(|(partition, slow)| (*partition, slow.since));
        slowest.filter(|_| self.is_far() == Some(true))
    }

    fn may_leave(&self, others: Others, now: Micros) -> Option<Why> {
        if matches!(others, Others::Unknown | Others::Nobody) {
            return None;
        }
        // Whoever entered beside this process can serve more, and is not kept from it by a rest that is not over.
        if let Some(partition) = self.stuck(now) {
            return Some(Why::State { partition });
        }
        // A wrong clock is a reason to leave even if the others have no better link.
        let why = if self.is_clock_wrong {
            Some(Why::Clock)
        } else if others == Others::Better {
            self.slowest(now).map(|(partition, since)| Why::Far { partition, slow_ms: now.ms_since(since) })
        } else {
            None
        };
        why.filter(|_| now >= self.rest_over)
    }

    fn goes(&mut self, why: Why, now: Micros) {
        let is_soon = self.back.is_some_and(|back| now.ms_since(back) < SLOW_FORGOTTEN_MS);
        self.is_resting = true;
        self.slow.clear();
        (self.given, self.more, self.alone) = (None, None, None);
        if matches!(why, Why::State { .. }) {
            self.soon = if is_soon { self.soon.saturating_add(1).min(DOUBLINGS_MAX) } else { 0 };
            let rest_ms = SLOW_REST_MS.saturating_mul(1 << self.soon).min(SLOW_REST_MAX_MS);
            self.more_over = now.plus_ms(rest_ms);
            self.draw();
            return;
        }
        let doubled = self.rest_ms.saturating_mul(2).min(SLOW_REST_MAX_MS);
        self.rest_ms = if is_soon { doubled } else { SLOW_REST_MS };
        self.rest_over = now.plus_ms(self.rest_ms);
    }

    /// Draws the next wait before it enters a group without members.
    fn draw(&mut self) {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let spread_ms = SPREAD_MS.saturating_mul(1 << self.soon);
        self.wait_ms = (self.seed >> 33).checked_rem(spread_ms).unwrap_or_default();
    }

    fn may_return(&mut self, others: Others, now: Micros) -> bool {
        let is_alone = others == Others::Nobody;
        if !self.lack.is_any {
            let is_near = self.is_far() == Some(false) && !self.is_clock_wrong;
            return is_alone || (now >= self.rest_over && is_near);
        }
        self.alone = if is_alone { self.alone.or(Some(now)) } else { None };
        let is_held_back = self.is_clock_wrong || self.is_far() == Some(true) || now < self.more_over;
        let is_better = others != Others::Unknown && !is_held_back && has_lasted(self.more, UNSERVED_MS, now);
        has_lasted(self.alone, self.wait_ms, now) || is_better
    }

    fn comes_back(&mut self, now: Micros) -> Output {
        (self.is_resting, self.back) = (false, Some(now));
        Output::Return
    }
}

/// Whether something has been so since then, for so long.
fn has_lasted(since: Option<Micros>, ms: u64, now: Micros) -> bool {
    since.is_some_and(|since| now.ms_since(since) >= ms)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use super::*;

    const DEADLINE_MS: u64 = 250;
    const LOOK_MS: u64 = 500;

    /// A process that looks twice a second.
    struct World {
        withdrawal: Withdrawal,
        now: Micros,
        turn_ms: u64,
        trip_ms: Option<u64>,
        others: Others,
        asked: u64,
        is_clock_wrong: bool,
        lack: Lack,
    }

    impl World {
        fn new() -> World {
            let withdrawal = Withdrawal::new(DEADLINE_MS, 7);
            let (now, others, lack) = (Micros(1_000_000), Others::Better, Lack::default());
            World { withdrawal, now, turn_ms: 8, trip_ms: Some(1), others, asked: 0, is_clock_wrong: false, lack }
        }

        /// Goes on for so long; answers what it did and when, in milliseconds from now.
        fn runs(&mut self, ms: u64) -> Vec<(u64, Output)> {
            let (begun, mut done) = (self.now, Vec::new());
            while self.now.ms_since(begun) < ms {
                self.now = self.now.plus_ms(LOOK_MS);
                let turns = TurnTimes { ended: (LOOK_MS / self.turn_ms).max(1), last_ms: self.turn_ms };
                // A turn ends with every look, or with every few.
                let has_ended = self.now.0 / 1_000 % self.turn_ms.max(LOOK_MS) < LOOK_MS;
                let is_seen = has_ended && !self.withdrawal.is_resting();
                let ended = is_seen.then_some((3, turns)).into_iter().collect();
                let (trip_ms, is_clock_wrong, lack) = (self.trip_ms, self.is_clock_wrong, self.lack);
                let look = Input::Look(Look { turns: ended, trip_ms, is_clock_wrong, lack });
                let mut output = self.withdrawal.handle(look, self.now);
                if output == Some(Output::Ask) {
                    self.asked += 1;
                    output = self.withdrawal.handle(Input::Group(self.others), self.now);
                }
                done.extend(output.map(|output| (self.now.ms_since(begun), output)));
            }
            done
        }

        fn slows(&mut self) {
            (self.turn_ms, self.trip_ms) = (1_800, Some(600));
        }

        fn recovers(&mut self) {
            (self.turn_ms, self.trip_ms) = (8, Some(1));
        }
    }

    #[test]
    fn an_owner_whose_turns_fit_asks_nobody() {
        let mut w = World::new();
        assert_eq!((w.runs(60_000), w.asked), (vec![], 0));
    }

    #[test]
    fn an_owner_on_a_slow_link_goes_within_seconds_and_comes_back_when_the_link_is_well() {
        let mut w = World::new();
        w.runs(5_000);
        w.slows();
        let gone = w.runs(SLOW_MS + 3_000);
        let [(after_ms, Output::Leave(Why::Far { partition: 3, slow_ms }))] = gone[..] else { panic!("{gone:?}") };
        assert!(after_ms <= SLOW_MS + 2_000 && slow_ms >= SLOW_MS, "{gone:?}");
        assert_eq!(w.runs(10 * SLOW_REST_MS), [], "while the link is slow it stays away");
        w.recovers();
        let back = w.runs(10_000);
        assert!(matches!(back[..], [(after_ms, Output::Return)] if after_ms <= 4_000), "{back:?}");
    }

    #[test]
    fn a_link_that_is_well_again_at_once_is_rested_from_all_the_same() {
        let mut w = World::new();
        w.slows();
        assert_eq!(w.runs(6_000).len(), 1);
        w.recovers();
        assert_eq!(w.runs(SLOW_REST_MS - 6_000), []);
        assert!(matches!(w.runs(6_000)[..], [(_, Output::Return)]));
    }

    #[test]
    fn who_is_alone_or_no_worse_than_the_others_stays() {
        for others in [Others::Nobody, Others::NoneBetter, Others::Unknown] {
            let mut w = World { others, ..World::new() };
            w.slows();
            assert_eq!(w.runs(60_000), [], "{others:?}");
            assert!(w.asked > 50, "it goes on asking");
        }
    }

    #[test]
    fn who_rests_comes_back_at_once_when_nobody_is_left() {
        let mut w = World::new();
        w.slows();
        assert_eq!(w.runs(6_000).len(), 1);
        w.others = Others::Nobody;
        let back = w.runs(1_500);
        assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
        assert_eq!(w.runs(60_000), [], "and stays for as long as it is alone");
    }

    #[test]
    fn turns_that_are_slow_on_a_fast_link_are_no_reason_to_go() {
        let mut w = World { turn_ms: 2_000, ..World::new() };
        assert_eq!((w.runs(60_000), w.asked), (vec![], 0), "they would be as slow elsewhere");
        // One long turn, such as one that outlasts a broker, is no reason either, and a cluster that does not answer is
        // none.
        w.slows();
        let outlasted = BTreeMap::from([(3, TurnTimes { ended: 1, last_ms: 7_000 })]);
        let mut w = World::new();
        w.runs(5_000);
        let (trip_ms, lack) = (Some(5_000), Lack::default());
        let look = Input::Look(Look { turns: outlasted, trip_ms, is_clock_wrong: false, lack });
        assert_eq!(w.withdrawal.handle(look, w.now), None);
        assert_eq!(w.runs(30_000), []);
        let mut w = World { turn_ms: 2_000, trip_ms: None, ..World::new() };
        assert_eq!(w.runs(60_000), []);
    }

    #[test]
    fn a_link_that_comes_and_goes_moves_partitions_ever_more_rarely() {
        let mut w = World::new();
        let mut rests_ms = Vec::new();
        for _ in 0..8 {
            w.slows();
            let gone = w.runs(6_000);
            assert!(matches!(gone[..], [(_, Output::Leave(..))]), "{gone:?}");
            let left = w.now;
            w.recovers();
            while w.withdrawal.is_resting() {
                w.runs(LOOK_MS);
            }
            rests_ms.push(w.now.ms_since(left) / SLOW_REST_MS);
        }
        assert_eq!(rests_ms, [0, 1, 3, 7, 15, 15, 15, 15], "in rests, less what it was slow for");
        // After a long time the next rest is a short one again.
        assert_eq!(w.runs(SLOW_FORGOTTEN_MS), []);
        w.slows();
        assert_eq!(w.runs(6_000).len(), 1);
        w.recovers();
        assert!(matches!(w.runs(SLOW_REST_MS)[..], [(_, Output::Return)]));
    }

    #[test]
    fn an_owner_whose_clock_is_wrong_goes_when_somebody_is_there_and_comes_back_when_it_is_right() {
        for others in [Others::Nobody, Others::Unknown] {
            let mut w = World { is_clock_wrong: true, others, ..World::new() };
            assert_eq!(w.runs(60_000), [], "{others:?}");
            w.others = Others::NoneBetter;
            let gone = w.runs(2 * ASK_EVERY_MS);
            assert!(matches!(gone[..], [(_, Output::Leave(Why::Clock))]), "{gone:?}");
            assert_eq!(w.runs(10 * SLOW_REST_MS), [], "while the clock is wrong it stays away");
            w.is_clock_wrong = false;
            let back = w.runs(4_000);
            assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
            // It leaves again, and comes back with its wrong clock when nobody else is left.
            w.is_clock_wrong = true;
            assert_eq!(w.runs(2_000).len(), 1);
            w.others = Others::Nobody;
            assert!(matches!(w.runs(2_000)[..], [(_, Output::Return)]));
            w.others = Others::Better;
            assert_eq!(w.runs(SLOW_REST_MS), [], "it does not go to and fro");
        }
    }

    /// However long the cluster is slow for all, and whatever the processes say of each other, none leaves more than
    /// once in a rest, and one always stays.
    #[test]
    fn a_cluster_that_is_slow_for_everybody_makes_no_ping_pong() {
        let mut worlds: Vec<_> = (0..3).map(|_| World::new()).collect();
        worlds.iter_mut().for_each(World::slows);
        let mut moves = 0;
        for _ in 0..7_200 {
            for n in 0..worlds.len() {
                let others = worlds.iter().enumerate().filter(|(m, w)| *m != n && !w.withdrawal.is_resting()).count();
                worlds[n].others = if others == 0 { Others::Nobody } else { Others::Better };
                moves += worlds[n].runs(LOOK_MS).len();
                assert!(worlds.iter().any(|w| !w.withdrawal.is_resting()), "nobody is left");
            }
        }
        assert_eq!(moves, 2, "in an hour, of three: two go, and the last stays");
    }
    /// The same when all of them look at the same moment, so that all leave and then find that nobody is left.
    #[test]
    fn who_goes_together_comes_back_together_and_not_more_than_once_in_a_rest() {
        let mut worlds: Vec<_> = (0..2).map(|_| World::new()).collect();
        worlds.iter_mut().for_each(World::slows);
        let mut left: Vec<Micros> = Vec::new();
        for _ in 0..7_200 {
            let is_resting: Vec<_> = worlds.iter().map(|w| w.withdrawal.is_resting()).collect();
            for n in 0..2 {
                worlds[n].others = if is_resting[1 - n] { Others::Nobody } else { Others::Better };
                let done = worlds[n].runs(LOOK_MS);
                if n == 0 && matches!(done[..], [(_, Output::Leave(..))]) {
                    left.push(worlds[0].now);
                }
            }
        }
        let rests_ms: Vec<_> = left.windows(2).map(|two| two[1].ms_since(two[0])).collect();
        assert!(left.len() <= 11, "{rests_ms:?}");
        let least = (0..).map(|n| (SLOW_REST_MS << n.min(16)).min(SLOW_REST_MAX_MS));
        assert!(rests_ms.iter().zip(least).all(|(rest_ms, least_ms)| *rest_ms >= least_ms), "{rests_ms:?}");
    }

    const LACKS: Lack = Lack { is_any: true, given: Some(3), could_serve_more: false, is_kept_out: false };

    #[test]
    fn a_partition_whose_state_cannot_be_restored_is_left_to_whoever_else_is_there() {
        for others in [Others::Better, Others::NoneBetter] {
            let mut w = World { lack: LACKS, others: Others::Nobody, ..World::new() };
            assert_eq!(w.runs(60_000), [], "alone it serves the others");
            w.others = others;
            let gone = w.runs(2 * ASK_EVERY_MS);
            assert!(matches!(gone[..], [(_, Output::Leave(Why::State { partition: 3 }))]), "{gone:?}");
            w.lack = Lack { given: None, ..LACKS };
            assert_eq!(w.runs(10 * SLOW_REST_MS), [], "while it lacks the state it stays away");
            // No rest keeps it away from what it can serve.
            w.lack = Lack::default();
            let back = w.runs(3_000);
            assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
            // A state that comes within seconds moves nothing.
            w.lack = LACKS;
            assert_eq!(w.runs(UNRESTORED_MS - 2 * LOOK_MS), []);
            w.lack = Lack::default();
            assert_eq!(w.runs(60_000), []);
        }
        let mut w = World { lack: LACKS, others: Others::Unknown, ..World::new() };
        assert_eq!(w.runs(60_000), [], "who else is there is not known");
    }
}
