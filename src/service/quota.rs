//! Quotas: how often each caller may call. Every caller has a bucket of calls for each kind of call that is counted; a
//! call takes one out of it, and they come back with time. Confirms, extends and releases are not counted: they work on
//! what their caller already has. Each process counts for itself.
//!
//! A caller that goes on calling beyond its quota would take the time of the processor from all others. So as many refusals
//! are answered at once as its quota has calls, and further ones only after a pause, during which its connection is idle.
//!
//! Names of callers may come from an issuer that makes as many of them as it likes, so the number of buckets is bounded.
//! Only full buckets are dropped: a full bucket is the same as a new one, so nobody gains by having it dropped. While
//! there is no room, callers without a bucket share one.

use crate::access::{Quota, Rate};
use crate::domain::{Micros, Name};
use crate::limits::{QUOTA_BUCKETS_MAX, QUOTA_REFUSAL_PAUSE_MS};
use crate::time::Clock;
use governor::RateLimiter;
use governor::clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Shortest time between two searches for buckets that can be dropped, in milliseconds.
const QUOTA_SWEEP_MS: u64 = 1_000;

/// The kinds of calls that are counted, each with a bucket of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Charge {
    /// Calls that take capacity, or change what there is to take.
    Take,
    /// Calls that read.
    Read,
}

impl Charge {
    /// Every kind, once.
    pub const ALL: [Charge; 2] = [Charge::Take, Charge::Read];

    /// The stable name, in metrics and in what callers read.
    pub fn name(self) -> &'static str {
        match self {
            Charge::Take => "take",
            Charge::Read => "read",
        }
    }
}

/// What a caller's bucket holds after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The kind of calls that the bucket is for.
    pub charge: Charge,
    /// How large it is, and how fast it fills.
    pub rate: Rate,
    /// How many more calls it holds now.
    pub remaining: u32,
}

/// A call beyond its caller's quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// The bucket, which is empty.
    pub standing: Standing,
    /// How long the refusal is held back.
    pub pause: Duration,
}

/// Whose bucket it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// Everybody who has no name.
    Nameless,
    /// Everybody for whose own bucket there is no room.
    Crowd,
    Named(Name),
}

/// A bucket belongs to a rate, too: a caller whose rate is changed gets another one, and gains nothing by changing back.
type Key = (Holder, Charge, Rate);

type Limiter = RateLimiter<NotKeyed, InMemoryState, Monotonic, StateInformationMiddleware>;

struct Bucket {
    limiter: Limiter,
    /// The refusals that are answered at once.
    refusals: Limiter,
    /// From then on it is full, and not before.
    full_at: Micros,
}

struct Monotonic(Arc<dyn Clock>);

impl clock::Clock for Monotonic {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now().0.saturating_mul(1_000))
    }
}

/// The buckets of all callers.
pub(super) struct Quotas {
    quota: Quota,
    clock: Arc<dyn Clock>,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    of: BTreeMap<Key, Bucket>,
    /// Until then full buckets are not looked for again.
    sweep_at: Micros,
}

impl Quotas {
    pub(super) fn new(quota: Quota, clock: Arc<dyn Clock>) -> Quotas {
        Quotas { quota, clock, buckets: Mutex::default() }
    }

    /// Takes one call out of the bucket of the caller with this name; `None` when its calls of this kind have no bound.
    ///
    /// # Errors
    /// When the bucket is empty: the call is not to be done.
    pub(super) fn charge(&self, name: Option<&Name>, charge: Charge) -> Result<Option<Standing>, Exceeded> {
        let rates = match charge {
            Charge::Take => &self.quota.takes,
            Charge::Read => &self.quota.reads,
        };
        let Some(rate) = rates.of(name) else { return Ok(None) };
        let holder = name.map_or(Holder::Nameless, |name| Holder::Named(name.clone()));
        let mut buckets = self.buckets.lock();
        let bucket = buckets.bucket((holder, charge, rate), &self.clock);
        let Ok(state) = bucket.limiter.check() else {
            let is_prompt = bucket.refusals.check().is_ok();
            let pause = if is_prompt { Duration::ZERO } else { Duration::from_millis(QUOTA_REFUSAL_PAUSE_MS) };
            return Err(Exceeded { standing: Standing { charge, rate, remaining: 0 }, pause });
        };
        let remaining = state.remaining_burst_capacity();
        let missing = u64::from(rate.burst().get().saturating_sub(remaining));
        let refill_us = 1_000_000u64.div_ceil(u64::from(rate.per_second().get())).saturating_mul(missing);
        bucket.full_at = Micros(self.clock.now().0.saturating_add(refill_us));
        Ok(Some(Standing { charge, rate, remaining }))
    }
}

impl Buckets {
    /// The bucket with this key, or that of the crowd when there is none and no room for one.
    fn bucket(&mut self, key: Key, clock: &Arc<dyn Clock>) -> &mut Bucket {
        let (_, charge, rate) = key;
        let has_room = self.of.contains_key(&key) || self.has_room(clock.now());
        let key = if has_room { key } else { (Holder::Crowd, charge, rate) };
        self.of.entry(key).or_insert_with(|| Bucket::new(rate, Arc::clone(clock)))
    }

    /// Whether there is room for one more, after full buckets were dropped if that was needed.
    fn has_room(&mut self, now: Micros) -> bool {
        if self.of.len() >= QUOTA_BUCKETS_MAX && now >= self.sweep_at {
            self.of.retain(|_, bucket| bucket.full_at > now);
            self.sweep_at = now.plus_ms(QUOTA_SWEEP_MS);
        }
        self.of.len() < QUOTA_BUCKETS_MAX
    }
}

impl Bucket {
    fn new(rate: Rate, clock: Arc<dyn Clock>) -> Bucket {
        let quota = governor::Quota::per_second(rate.per_second()).allow_burst(rate.burst());
        let limiter = || RateLimiter::direct_with_clock(quota, Monotonic(Arc::clone(&clock))).with_middleware();
        Bucket { limiter: limiter(), refusals: limiter(), full_at: Micros(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Rates;
    use crate::time::ByHand;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    struct World {
        clock: Arc<ByHand>,
        quotas: Quotas,
    }

    impl World {
        fn new(takes: Rates, reads: Rates) -> World {
            let clock = Arc::new(ByHand(AtomicU64::new(1_000_000)));
            World { quotas: Quotas::new(Quota { takes, reads }, clock.clone()), clock }
        }

        fn later_ms(&self, ms: u64) {
            self.clock.0.fetch_add(ms.saturating_mul(1_000), Relaxed);
        }

        /// How many calls this caller may make now, one after the other.
        fn burst(&self, name: Option<&str>, charge: Charge) -> u32 {
            let name = name.map(|name| Name::new(name).unwrap());
            (0..).find(|_| self.quotas.charge(name.as_ref(), charge).is_err()).unwrap()
        }

        fn take(&self, name: &str) -> bool {
            self.quotas.charge(Some(&Name::new(name).unwrap()), Charge::Take).is_ok()
        }
    }

    fn all(per_second: u32, burst: u32) -> Rates {
        Rates { others: Rate::new(per_second, burst), named: BTreeMap::new() }
    }

    #[test]
    fn a_bucket_empties_and_fills_with_time() {
        let world = World::new(all(10, 20), Rates::default());
        let first = world.quotas.charge(None, Charge::Take).unwrap();
        assert_eq!(first.map(|standing| standing.remaining), Some(19));
        assert_eq!(world.burst(None, Charge::Take), 19);
        world.later_ms(99);
        assert_eq!(world.burst(None, Charge::Take), 0);
        world.later_ms(1);
        assert_eq!(world.burst(None, Charge::Take), 1);
        world.later_ms(1_000);
        assert_eq!(world.burst(None, Charge::Take), 10);
        world.later_ms(60_000);
        assert_eq!(world.burst(None, Charge::Take), 20);
    }

    #[test]
    fn callers_and_kinds_of_calls_have_buckets_of_their_own() {
        let mut takes = all(10, 20);
        takes.named.insert(Name::new("partner").unwrap(), Rate::new(1, 2).unwrap());
        let world = World::new(takes, all(5, 5));
        assert_eq!(world.burst(Some("a"), Charge::Take), 20);
        assert_eq!((world.burst(Some("b"), Charge::Take), world.burst(Some("a"), Charge::Read)), (20, 5));
        assert_eq!(world.burst(Some("partner"), Charge::Take), 2);
        let unbounded = World::new(Rates::default(), all(5, 5));
        assert_eq!(unbounded.quotas.charge(None, Charge::Take).unwrap(), None);
    }

    #[test]
    fn a_refusal_says_of_which_bucket_and_costs_nothing() {
        let world = World::new(all(1, 1), Rates::default());
        assert!(world.take("a"));
        for _ in 0..100 {
            let refused = world.quotas.charge(Some(&Name::new("a").unwrap()), Charge::Take);
            let standing = Standing { charge: Charge::Take, rate: Rate::new(1, 1).unwrap(), remaining: 0 };
            assert_eq!(refused.map_err(|exceeded| exceeded.standing), Err(standing));
        }
        world.later_ms(1_000);
        assert!(world.take("a"));
    }

    /// Whoever waits as it is told is never held back; whoever does not is, and nobody else.
    #[test]
    fn as_many_refusals_as_calls_are_answered_at_once() {
        let world = World::new(all(10, 3), Rates::default());
        let refused =
            |name: &str| world.quotas.charge(Some(&Name::new(name).unwrap()), Charge::Take).unwrap_err().pause;
        let held = Duration::from_millis(QUOTA_REFUSAL_PAUSE_MS);
        assert_eq!((world.burst(Some("greedy"), Charge::Take), world.burst(Some("other"), Charge::Take)), (3, 3));
        // Each was refused once already, which ended its burst.
        assert_eq!([(); 4].map(|()| refused("greedy")), [Duration::ZERO, Duration::ZERO, held, held]);
        assert_eq!(refused("other"), Duration::ZERO);
        world.later_ms(100);
        assert!(world.take("greedy"));
        assert_eq!([(); 2].map(|()| refused("greedy")), [Duration::ZERO, held]);
    }

    /// Ten seconds of one caller at a hundred times its rate, and of three others at just theirs.
    #[test]
    fn however_often_one_caller_calls_the_others_have_their_quota() {
        let world = World::new(all(100, 100), Rates::default());
        let mut greedy = 0;
        for ms in 0..10_000 {
            greedy += (0..10).filter(|_| world.take("greedy")).count();
            if ms % 10 == 0 {
                assert!(["a", "b", "c"].into_iter().all(|name| world.take(name)), "{ms}");
            }
            world.later_ms(1);
        }
        assert_eq!(greedy, 100 + 999);
    }

    /// A new name for each call makes no more buckets than there may be, and does not give an empty one back.
    #[test]
    fn many_names_neither_fill_the_memory_nor_refill_a_bucket() {
        let world = World::new(all(1, 2), Rates::default());
        assert!(world.take("spent") && world.take("spent") && !world.take("spent"));
        let made = (0..2 * QUOTA_BUCKETS_MAX).filter(|n| world.take(&format!("n{n}"))).count();
        let count = || world.quotas.buckets.lock().of.len();
        // All but the first one and the two calls of the crowd found a bucket; the crowd's comes on top.
        assert_eq!((made, count()), (QUOTA_BUCKETS_MAX - 1 + 2, QUOTA_BUCKETS_MAX + 1));
        assert!(!world.take("spent"));
        // Buckets that are not full stay, whoever comes.
        world.later_ms(QUOTA_SWEEP_MS / 2);
        assert!(!world.take("spent"));
        assert!(count() > QUOTA_BUCKETS_MAX);
        // Full ones make room.
        world.later_ms(QUOTA_SWEEP_MS * 2);
        assert!(world.take("newcomer") && world.take("newcomer"));
        assert_eq!(count(), 1);
    }
}
