//! When the next turn may begin. A transaction that begins before the coordinator is done with the one before pays a
//! fixed wait of 20 ms in the client, so that the same load runs at a cycle of 8 ms or of 30. How long the coordinator
//! takes depends on the cluster, on its settings and on what else it does, and a longer pause is not always a better
//! one: what helps is measured, not guessed.
//!
//! The pacer holds a few pauses and what a turn cost under each: the pause and the time to its first delivery. It stays
//! with one while nearly all of its turns go without the wait. Otherwise it tries the others, for a short while each,
//! and takes the cheapest. What was learnt is forgotten after a while. No clock and no thread: the shell says what a
//! turn took and waits as told.

use std::time::Duration;

/// The pauses that are tried, in microseconds.
const PAUSES_US: [u64; 7] = [0, 1_000, 2_000, 3_500, 5_000, 8_000, 12_000];
/// Turns of one trial.
const TRIAL_TURNS: u32 = 12;
/// Turns after which what was learnt of a pause is tried anew, if it is needed.
const STALE_TURNS: u64 = 4_000;
/// A turn paid the wait when its first delivery took this much longer than the fastest lately.
const PENALTY_US: u64 = 12_000;
/// By how much the fastest delivery is forgotten with every turn.
const FASTEST_DECAY_US: u64 = 20;
/// A delivery this slow is not taken for one that went without the wait, even if none was faster: it may be that all of
/// them paid.
const FASTEST_MAX_US: u64 = 6_000;
/// A turn that begins this long after it might says nothing of how fast turns can follow each other.
const AT_ONCE: Duration = Duration::from_millis(3);
/// A pause is good when fewer than one in so many turns of its trial paid.
const GOOD_ONE_IN: u32 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    cost_us: u64,
    at_turn: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    current: usize,
    known: [Option<Known>; PAUSES_US.len()],
    turns: u64,
    fastest_us: u64,
    trial_turns: u32,
    trial_paid: u32,
    trial_cost_us: u64,
}

impl Pacer {
    /// Begins without a pause.
    pub(super) fn new() -> Pacer {
        Pacer {
            current: 0,
            known: [None; PAUSES_US.len()],
            turns: 0,
            fastest_us: FASTEST_MAX_US,
            trial_turns: 0,
            trial_paid: 0,
            trial_cost_us: 0,
        }
    }

    /// How long after the end of a turn the next one may begin.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us())
    }

    /// A turn began this long after the end of the one before, and its first record was delivered `first` after that.
    /// Answers whether it paid the wait.
    pub(super) fn turn(&mut self, rest: Option<Duration>, first: Duration) -> bool {
        let took_us = u64::try_from(first.as_micros()).unwrap_or(u64::MAX);
        self.fastest_us = self.fastest_us.saturating_add(FASTEST_DECAY_US).min(FASTEST_MAX_US).min(took_us);
        let has_paid = took_us >= self.fastest_us.saturating_add(PENALTY_US);
        // One that began much later than it might says nothing of the pause.
        if rest.is_none_or(|rest| rest > self.pause() + AT_ONCE) {
            return has_paid;
        }
        self.turns = self.turns.saturating_add(1);
        self.trial_turns = self.trial_turns.saturating_add(1);
        self.trial_paid = self.trial_paid.saturating_add(u32::from(has_paid));
        self.trial_cost_us = self.trial_cost_us.saturating_add(took_us).saturating_add(self.pause_us());
        if self.trial_turns >= TRIAL_TURNS {
            self.judge();
        }
        has_paid
    }

    fn judge(&mut self) {
        let cost_us = self.trial_cost_us / u64::from(self.trial_turns.max(1));
        let is_good = self.trial_paid.saturating_mul(GOOD_ONE_IN) <= self.trial_turns;
        self.known[self.current] = Some(Known { cost_us, at_turn: self.turns });
        (self.trial_turns, self.trial_paid, self.trial_cost_us) = (0, 0, 0);
        if !is_good {
            self.current = self.untried().unwrap_or_else(|| self.cheapest());
        }
    }

    /// The nearest pause of which nothing is known that still holds.
    fn untried(&self) -> Option<usize> {
        let is_stale =
            |known: Option<Known>| known.is_none_or(|known| self.turns.saturating_sub(known.at_turn) > STALE_TURNS);
        let untried = (0..PAUSES_US.len()).filter(|other| is_stale(self.known[*other]));
        untried.min_by_key(|other| (other.abs_diff(self.current), *other))
    }

    fn cheapest(&self) -> usize {
        let cost = |other: &usize| self.known[*other].map_or(u64::MAX, |known| known.cost_us);
        (0..PAUSES_US.len()).min_by_key(cost).unwrap_or_default()
    }

    fn pause_us(&self) -> u64 {
        PAUSES_US[self.current]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A coordinator whose wait is met unless the pause lies within `good`; one turn in `noise` pays at random.
    struct Coordinator {
        good: std::ops::Range<u64>,
        noise: u64,
        turns: u64,
    }

    impl Coordinator {
        fn first_delivery(&mut self, pause: Duration) -> Duration {
            self.turns += 1;
            let is_good = self.good.contains(&u64::try_from(pause.as_micros()).unwrap());
            let pays = !is_good || self.turns.is_multiple_of(self.noise);
            // No two deliveries are the same.
            let jitter = self.turns * 7_919 % 1_500;
            Duration::from_micros(2_500 + jitter + if pays { 20_000 } else { 0 })
        }
    }

    /// Turns until the last of two in a row that paid, over how many; and how long that took.
    fn settles(good: std::ops::Range<u64>, pacer: &mut Pacer) -> (u64, Duration, u64) {
        let mut coordinator = Coordinator { good, noise: 40, turns: 0 };
        let (mut took, mut settled_after, mut settled_at, mut last_paid) = (Duration::ZERO, Duration::ZERO, 0, false);
        for turn in 0..3_000 {
            let pause = pacer.pause();
            let first = coordinator.first_delivery(pause);
            took += pause + first + Duration::from_millis(3);
            let paid = first > Duration::from_millis(15);
            if paid && last_paid {
                (settled_after, settled_at) = (took, turn);
            }
            last_paid = paid;
            pacer.turn(Some(pause), first);
        }
        (settled_at, settled_after, 3_000)
    }

    #[test]
    fn the_fast_mode_is_found_wherever_it_lies_and_kept() {
        for good in [0..20_000, 900..20_000, 4_000..6_000, 7_000..9_000, 11_000..13_000, 0..500] {
            let mut pacer = Pacer::new();
            let (settled_at, after, of) = settles(good.clone(), &mut pacer);
            assert!(after < Duration::from_secs(10), "{good:?}: settled after {after:?}");
            assert!(settled_at < of / 10, "{good:?}: settled at turn {settled_at}");
            assert!(good.contains(&pacer.pause_us()), "{good:?}: {}", pacer.pause_us());
        }
    }

    #[test]
    fn a_cluster_that_changes_is_followed() {
        let mut pacer = Pacer::new();
        settles(4_000..6_000, &mut pacer);
        let (_, after, _) = settles(7_000..9_000, &mut pacer);
        assert!(after < Duration::from_secs(10), "settled after {after:?}");
        assert!((7_000..9_000).contains(&pacer.pause_us()));
    }

    #[test]
    fn where_nothing_helps_the_shortest_cycle_is_kept() {
        let mut pacer = Pacer::new();
        settles(90_000..90_001, &mut pacer);
        assert!(pacer.pause_us() <= 1_000, "{}", pacer.pause_us());
    }

    #[test]
    fn turns_that_did_not_follow_at_once_teach_nothing() {
        let mut pacer = Pacer::new();
        let (late, slow, quick) = (Duration::from_millis(40), Duration::from_millis(25), Duration::from_millis(2));
        assert!((0..100).all(|_| pacer.turn(Some(late), slow) && pacer.turn(None, slow)));
        assert!(!pacer.turn(Some(late), quick));
        assert_eq!((pacer.turns, pacer.pause()), (0, Duration::ZERO));
    }
}
