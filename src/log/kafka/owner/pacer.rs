//! Chooses the pause between two turns. A transaction that begins before the coordinator has finished the last one waits
//! 20 ms in the client library, so the same load runs at a cycle of 8 ms or of 30 ms. How long the coordinator takes depends
//! on the cluster, its settings and its load, and a longer pause is not always better. So the pacer measures.
//!
//! It knows a few pauses and what a turn cost with each: the pause and the time to the first delivery. It keeps the cheapest
//! pause with which nearly all turns avoid the wait. When there is none, it tries the others. What it has learnt expires
//! after a number of turns, and the next shorter pause is tried again. A trial is a few turns, and fewer when the first of
//! them wait. There is no clock and no thread in here: the owner reports what a turn took, and makes the pause.

use std::ops::RangeBounds;
use std::time::Duration;

/// The pauses that are tried, in microseconds.
const PAUSES_US: [u64; 7] = [0, 1_000, 2_000, 3_500, 5_000, 8_000, 12_000];
/// Turns of one trial.
const TRIAL_TURNS: u32 = 12;
/// For how many turns a pause counts as good.
const GOOD_TURNS: u64 = 4_000;
/// For how many turns a pause counts as bad.
const BAD_TURNS: u64 = 500;
/// A turn has paid the wait when its first delivery took this much longer than the fastest of the last turns.
const PENALTY_US: u64 = 12_000;
/// How much is added to the fastest delivery with every turn, so that it is forgotten.
const FASTEST_DECAY_US: u64 = 20;
/// The fastest delivery is never taken for slower than this: perhaps all of them paid the wait.
const FASTEST_MAX_US: u64 = 6_000;
/// A turn that begins this much later than the pause allows does not count: it shows nothing about how fast turns can follow
/// each other.
const AT_ONCE: Duration = Duration::from_millis(3);
/// A pause is good when at most so many turns of its trial paid the wait.
const GOOD_PAID_MAX: u32 = 1;

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_good: bool,
    cost_us: u64,
    at_turn: u64,
}

/// The pacer of one partition's owner.
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
    /// Begins with no pause.
    pub(in crate::log::kafka) fn new() -> Pacer {
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
    pub(in crate::log::kafka) fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us())
    }

    /// Takes a turn that began `rest` after the end of the one before, and whose first record was delivered `first` after its
    /// begin. Returns whether the turn paid the wait.
    pub(in crate::log::kafka) fn turn(&mut self, rest: Option<Duration>, first: Duration) -> bool {
        let took_us = u64::try_from(first.as_micros()).unwrap_or(u64::MAX);
        self.fastest_us = self.fastest_us.saturating_add(FASTEST_DECAY_US).min(FASTEST_MAX_US).min(took_us);
        let has_paid = took_us >= self.fastest_us.saturating_add(PENALTY_US);
        // A turn that began much later than the pause allows shows nothing.
        if rest.is_none_or(|rest| rest > self.pause() + AT_ONCE) {
            return has_paid;
        }
        self.turns = self.turns.saturating_add(1);
        self.trial_turns = self.trial_turns.saturating_add(1);
        self.trial_paid = self.trial_paid.saturating_add(u32::from(has_paid));
        self.trial_cost_us = self.trial_cost_us.saturating_add(took_us).saturating_add(self.pause_us());
        if self.trial_turns >= TRIAL_TURNS || self.trial_paid > GOOD_PAID_MAX {
            self.judge();
        }
        has_paid
    }

    fn judge(&mut self) {
        let cost_us = self.trial_cost_us / u64::from(self.trial_turns.max(1));
        let is_good = self.trial_paid <= GOOD_PAID_MAX;
        self.known[self.current] = Some(Known { is_good, cost_us, at_turn: self.turns });
        (self.trial_turns, self.trial_paid, self.trial_cost_us) = (0, 0, 0);
        let best = self.cheapest(|known| known.is_good);
        let shorter = best.and_then(|best| self.untried(best.saturating_sub(1)..best, best));
        let next = shorter.or(best).or_else(|| self.untried(.., self.current)).or_else(|| self.cheapest(|_| true));
        self.current = next.unwrap_or_default();
    }

    /// Of these pauses, the untried or expired one that is nearest to the pause `to`.
    fn untried(&self, among: impl RangeBounds<usize>, to: usize) -> Option<usize> {
        let untried = (0..PAUSES_US.len()).filter(|other| among.contains(other) && self.known(*other).is_none());
        untried.min_by_key(|other| (other.abs_diff(to), *other))
    }

    fn cheapest(&self, among: impl Fn(&Known) -> bool) -> Option<usize> {
        let known = (0..PAUSES_US.len()).filter_map(|other| Some((other, self.known(other)?)));
        known.filter(|(_, known)| among(known)).min_by_key(|(_, known)| known.cost_us).map(|(other, _)| other)
    }

    /// What is known of a pause, unless it has expired.
    fn known(&self, pause: usize) -> Option<Known> {
        let holds = |known: &Known| if known.is_good { GOOD_TURNS } else { BAD_TURNS };
        self.known[pause].filter(|known| self.turns.saturating_sub(known.at_turn) <= holds(known))
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

    /// Time until nine of ten turns go without the wait, and the part of all turns from then on that do.
    fn settles(good: std::ops::Range<u64>, pacer: &mut Pacer) -> (Duration, f64) {
        const LATELY: usize = 50;
        let mut coordinator = Coordinator { good, noise: 40, turns: 0 };
        let (mut took, mut settled, mut fast) = (Duration::ZERO, None, Vec::new());
        for _ in 0..12_000 {
            let pause = pacer.pause();
            let first = coordinator.first_delivery(pause);
            took += pause + first + Duration::from_millis(3);
            assert_eq!(pacer.turn(Some(pause), first), first > Duration::from_millis(15));
            fast.push(first < Duration::from_millis(15));
            let lately = fast.iter().rev().take(LATELY).filter(|fast| **fast).count();
            if settled.is_none() && lately * 10 >= LATELY * 9 {
                settled = Some((took, fast.len()));
            }
        }
        let (after, from) = settled.unwrap_or((Duration::MAX, 0));
        (after, fast[from..].iter().filter(|fast| **fast).count() as f64 / (fast.len() - from) as f64)
    }

    #[test]
    fn the_fast_mode_is_found_wherever_it_lies_and_kept() {
        for good in [0..20_000, 900..20_000, 4_000..6_000, 7_000..9_000, 11_000..13_000, 0..500] {
            let mut pacer = Pacer::new();
            let (after, fast) = settles(good.clone(), &mut pacer);
            assert!(after < Duration::from_secs(10), "{good:?}: settled after {after:?}");
            assert!(fast > 0.95, "{good:?}: {fast}");
            assert!(good.contains(&pacer.pause_us()), "{good:?}: {}", pacer.pause_us());
        }
    }

    #[test]
    fn a_pause_is_no_longer_than_it_has_to_be() {
        let mut pacer = Pacer::new();
        settles(11_000..13_000, &mut pacer);
        settles(900..20_000, &mut pacer);
        assert_eq!(pacer.pause_us(), 1_000);
    }

    #[test]
    fn a_cluster_that_changes_is_followed() {
        let mut pacer = Pacer::new();
        settles(4_000..6_000, &mut pacer);
        let (after, fast) = settles(7_000..9_000, &mut pacer);
        assert!(after < Duration::from_secs(10) && fast > 0.95, "settled after {after:?}: {fast}");
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
