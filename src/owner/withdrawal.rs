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
//! has covers them, leaves partitions to the others in the group, whoever they are. So does one that makes a state anew which was
//! found to be wrong, until that is done.
//!
//! - It does not enter a group that has members. If it is a member and is given such a partition, it leaves as soon as there is
//!   another member, who as a rule can serve more.
//! - It enters a group without members, so that what can be served is served. Several of them come after different waits, which
//!   are drawn anew each time and grow: the first one that enters keeps the others out.
//! - It enters beside others where it has the states of more partitions than have an owner. Then it is the others who lack more, and
//!   they leave. The next such try comes only after a rest, and each that soon follows another is twice as long.
//!
//! Where nobody has all states, one process serves all that it can, and stays. The others do not come to share the load: nobody knows
//! what the others lack, and the group may give a partition that nobody can restore to any of its members. Each would leave because
//! of it in its turn, and with each that leaves or comes back the partitions that can be served would move as well. So they are
//! spread again as processes get all states.

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
/// Least wait of a process that lacks a state before it enters a group without members, in milliseconds: a restart of the only
/// other process is over by then, and one answer that shows nobody is not enough.
const WAIT_MIN_MS: u64 = 2 * ASK_EVERY_MS;
/// Longest time beyond that, in milliseconds. Several such processes find a group empty at the same moment. It doubles when it
/// leaves again soon.
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
    /// Whether it left last because of its link or its clock.
    left_for_link: bool,
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
            left_for_link: false,
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
        self.left_for_link = !matches!(why, Why::State { .. });
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
        let drawn_ms = (self.seed >> 33).checked_rem(spread_ms).unwrap_or_default();
        self.wait_ms = WAIT_MIN_MS.saturating_add(drawn_ms);
    }

    fn may_return(&mut self, others: Others, now: Micros) -> bool {
        let is_alone = others == Others::Nobody;
        if !self.lack.is_any {
            let is_near = !self.left_for_link || self.is_far() == Some(false);
            return is_alone || (now >= self.rest_over && is_near && !self.is_clock_wrong);
        }
        match others {
            Others::Nobody => self.alone = self.alone.or(Some(now)),
            // It is not known that somebody is there.
            Others::Unknown => {}
            Others::NoneBetter | Others::Better => self.alone = None,
        }
        let is_far = self.left_for_link && self.is_far() == Some(true);
        let is_held_back = self.is_clock_wrong || is_far || now < self.more_over;
        let is_better = others != Others::Unknown && !is_held_back && has_lasted(self.more, UNSERVED_MS, now);
        is_alone && has_lasted(self.alone, self.wait_ms, now) || is_better
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
mod tests;
