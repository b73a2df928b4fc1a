//! Pages of the reservations of a pool: what is there all the while is on one page, whatever comes and goes in between and
//! whichever process is asked; a page is as its state is; and the owner waits for a bounded look.

use crate::fixtures::{NOW, open_pool, orders, pool_id};
use headroom::domain::route::pool_hash;
use headroom::domain::*;
use headroom::limits::FORGET_SPAN_MS;
use headroom::replica::reservations::LOOKED_AT_MAX;
use headroom::replica::{PartitionState, ReservationPage, Reservations};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// How long what has ended is known.
const KNOWN_MS: u64 = FORGET_SPAN_MS;

fn id(pool: &str, n: u64) -> ReservationId {
    ReservationId::new(pool_hash(&pool_id(pool)), *blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().unwrap())
}

fn put(state: &mut PartitionState, pool: &str) {
    let pool = Pool { id: pool_id(pool), spec: open_pool(orders(1_000_000)), used: orders(0), version: 1 };
    state.put_pool(pool);
}

/// What becomes of a reservation with the event `seq` at `now`.
fn set(state: &mut PartitionState, pool: &str, n: u64, status: Status, (seq, now): (u64, Micros)) {
    state.update_reservation(&pool_id(pool), id(pool, n), |of| {
        of.demand = orders(1);
        of.status = status;
        of.seq = seq;
        of.decided_seq = if of.decided_seq == 0 { seq } else { of.decided_seq };
        of.until = if status == Status::Confirmed { Micros(0) } else { now.plus_ms(KNOWN_MS) };
    });
}

fn asked(pool: &str, status: Option<Status>, from: Option<ReservationId>, limit: usize) -> ReservationPage {
    ReservationPage { pool: pool_id(pool), status, from, limit }
}

fn page(state: &PartitionState, asked: &ReservationPage, now: Micros) -> Reservations {
    let page = state.reservations(asked, now).unwrap();
    assert!(page.reservations.len() <= asked.limit && page.looked_at <= LOOKED_AT_MAX, "{} looked at", page.looked_at);
    assert!(page.reservations.is_sorted_by(|(a, _), (b, _)| a < b));
    let range =
        |id: &ReservationId| asked.from.is_none_or(|from| *id >= from) && page.next.is_none_or(|next| *id < next);
    for (id, known) in &page.reservations {
        assert!(range(id) && known.pool == asked.pool && asked.status.is_none_or(|status| known.status == status));
        assert_eq!(state.reservation(id), Some(known), "as a read of one has it");
    }
    page
}

/// All pages of a state that does not change.
fn pages(state: &PartitionState, pool: &str, status: Option<Status>, limit: usize) -> Vec<Reservations> {
    let mut all = vec![page(state, &asked(pool, status, None, limit), NOW)];
    while let Some(next) = all.last().unwrap().next {
        all.push(page(state, &asked(pool, status, Some(next), limit), NOW));
    }
    all
}

/// Something that happens while pages are read.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A reservation of the pool, or of another one, comes.
    Reserve(bool, u64),
    /// It is released.
    Release(bool, u64),
    /// Time passes, and what ended long ago is forgotten.
    Pass(u64),
    /// Another pool comes.
    Put(u64),
    /// It retires with what is in it.
    Retire(u64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<bool>(), 0..3_000u64).prop_map(|(is_own, n)| Change::Reserve(is_own, n)),
        4 => (any::<bool>(), 0..3_000u64).prop_map(|(is_own, n)| Change::Release(is_own, n)),
        1 => (1..3 * KNOWN_MS).prop_map(Change::Pass),
        1 => (0..8u64).prop_map(Change::Put),
        1 => (0..8u64).prop_map(Change::Retire),
    ]
}

/// Numbers of reservations that come and go; the others stay.
const PASSING: std::ops::Range<u64> = 0..3_000;
const STAYING: std::ops::Range<u64> = 3_000..5_000;

/// Two processes with one state: their reservations do not lie in the same places.
struct Both {
    states: [PartitionState; 2],
    seq: u64,
    now: Micros,
}

impl Both {
    fn new() -> Both {
        let mut states = [PartitionState::new(0), PartitionState::new(0)];
        let all = |state: &mut PartitionState, numbers: &mut dyn Iterator<Item = u64>| {
            put(state, "p");
            put(state, "other");
            for n in numbers {
                set(state, "p", n, Status::Confirmed, (1, NOW));
                set(state, "other", n, Status::Confirmed, (1, NOW));
            }
        };
        let mut some = PASSING.step_by(2).chain(STAYING);
        all(&mut states[0], &mut some.clone());
        all(&mut states[1], &mut some.by_ref().collect::<Vec<_>>().into_iter().rev());
        Both { states, seq: 2, now: NOW }
    }

    fn make(&mut self, change: Change) {
        let (seq, now) = (self.seq, self.now);
        let pool = |is_own| if is_own { "p" } else { "other" };
        for state in &mut self.states {
            match change {
                Change::Reserve(is_own, n) => set(state, pool(is_own), n, Status::Confirmed, (seq, now)),
                Change::Release(is_own, n) => set(state, pool(is_own), n, Status::Released, (seq, now)),
                Change::Pass(ms) => (0..200).for_each(|_| state.forget(now.plus_ms(ms))),
                Change::Put(n) => {
                    put(state, &format!("q-{n}"));
                    set(state, &format!("q-{n}"), n, Status::Confirmed, (seq, now));
                }
                Change::Retire(n) => state.retire(&pool_id(&format!("q-{n}")), seq, now),
            }
        }
        self.seq += 1;
        if let Change::Pass(ms) = change {
            self.now = now.plus_ms(ms);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.min(24), ..ProptestConfig::default() })]

    #[test]
    fn what_is_there_all_the_while_is_seen_once_whatever_comes_and_goes(
        changes in vec(vec(change(), 0..60), 1..24),
        limits in vec(1..600usize, 1..8),
    ) {
        let mut both = Both::new();
        let (mut seen, mut from) = (Vec::new(), None);
        for (turn, limit) in limits.iter().cycle().enumerate() {
            let (state, now) = (&both.states[turn % 2], both.now);
            let page = page(state, &asked("p", None, from, *limit), now);
            seen.extend(page.reservations.iter().map(|(id, _)| *id));
            from = page.next;
            if from.is_none() {
                break;
            }
            changes[turn % changes.len()].iter().for_each(|change| both.make(*change));
        }
        prop_assert!(seen.is_sorted_by(|a, b| a < b), "one is seen twice, or out of order");
        let seen: BTreeSet<_> = seen.into_iter().collect();
        prop_assert!(STAYING.map(|n| id("p", n)).all(|id| seen.contains(&id)));
        prop_assert!(seen.len() <= (PASSING.count() + STAYING.count()));
    }
}

/// As much as the index of a large state divides: the cost of a page follows the pool, and not the partition.
#[test]
fn a_look_is_bounded_however_many_reservations_there_are() {
    const LARGE: u64 = 20_000;
    const SMALL_POOLS: u64 = 500;
    const OF_SMALL: u64 = 20;
    let mut state = PartitionState::new(0);
    put(&mut state, "large");
    for n in 0..LARGE {
        let status = if n == LARGE / 2 { Status::Released } else { Status::Confirmed };
        set(&mut state, "large", n, status, (1, NOW));
    }
    for pool in 0..SMALL_POOLS {
        put(&mut state, &format!("small-{pool}"));
        (0..OF_SMALL).for_each(|n| set(&mut state, &format!("small-{pool}"), n, Status::Confirmed, (1, NOW)));
    }
    let looked_at = |pages: &[Reservations]| pages.iter().map(|page| page.looked_at).sum::<usize>();
    let mut most = 0;
    for pool in 0..SMALL_POOLS {
        let found = pages(&state, &format!("small-{pool}"), None, 100);
        assert_eq!((found.len(), found[0].reservations.len()), (1, OF_SMALL as usize));
        most = most.max(looked_at(&found));
    }
    assert!(most <= LOOKED_AT_MAX / 2, "{most} are looked at for a pool of {OF_SMALL}");

    let found = pages(&state, "large", None, 500);
    let ids: BTreeSet<_> = found.iter().flat_map(|page| &page.reservations).map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), LARGE as usize);
    assert!(found.iter().rev().skip(1).all(|page| page.reservations.len() == 500), "no page is shorter than it may be");
    assert!(looked_at(&found) <= 4 * LARGE as usize, "{} are looked at for {LARGE}", looked_at(&found));

    // Few are asked for among many: pages are short, and a walk looks at each reservation about once.
    let found = pages(&state, "large", Some(Status::Released), 500);
    assert_eq!(found.iter().map(|page| page.reservations.len()).sum::<usize>(), 1);
    assert!(found.len() > 1 && found.iter().rev().skip(1).all(|page| page.looked_at > LOOKED_AT_MAX / 2));
    assert!(looked_at(&found) <= LARGE as usize + LOOKED_AT_MAX / 2);
}

/// A page shows what a read of one reservation would show, and nothing else.
#[test]
fn what_was_never_admitted_or_has_ended_with_its_pool_or_is_forgotten_is_not_listed() {
    let mut state = PartitionState::new(0);
    put(&mut state, "p");
    let statuses = [
        Status::Held,
        Status::Confirmed,
        Status::Released,
        Status::Expired,
        Status::Refused { reason: Reason::Closed, binding: None },
    ];
    (0..).zip(statuses).for_each(|(n, status)| set(&mut state, "p", n, status, (1, NOW)));
    let listed = |state: &PartitionState, status: Option<Status>, now: Micros| -> BTreeMap<ReservationId, Status> {
        let found = page(state, &asked("p", status, None, 10), now);
        found.reservations.iter().map(|(id, of)| (*id, of.status)).collect()
    };
    let admitted = |numbers: std::ops::Range<u64>| -> BTreeMap<_, _> {
        numbers.map(|n| (id("p", n), statuses[n as usize])).collect()
    };
    assert_eq!(listed(&state, None, NOW), admitted(0..4));
    for n in 0..4 {
        assert_eq!(listed(&state, Some(statuses[n as usize]), NOW), admitted(n..n + 1));
    }
    assert_eq!(listed(&state, None, NOW.plus_ms(KNOWN_MS)), admitted(0..2), "what has ended is known for a while");

    state.retire(&pool_id("p"), 2, NOW.plus_ms(1));
    assert!(state.reservations(&asked("p", None, None, 10), NOW).is_none(), "the pool is unknown");
    put(&mut state, "p");
    set(&mut state, "p", 7, Status::Confirmed, (3, NOW));
    let now = NOW.plus_ms(KNOWN_MS);
    let expected = BTreeMap::from([(id("p", 7), Status::Confirmed)]);
    assert_eq!(listed(&state, None, now), expected, "nothing of the former life is listed in the new one");
}
