//! Random lives of a partition: what the domain writes is clean and comes to the domain's own state; one changed field
//! is found, or it is shown to change nothing that a log can tell.

use super::audited;
use super::owner::*;
use crate::fixtures::{amounts, dimension, open_pool, pool_of, pools_of};
use headroom::audit::PartitionAudit;
use headroom::domain::*;
use headroom::limits::RETIRE_AFTER_MIN_MS;
use headroom::replica::PartitionState;
use proptest::prelude::*;

const PARTITION: u32 = 1;
const IDS: u8 = 5;

/// One thing that happens. Which attempt a command carries is settled in [`play`]: an attempt is never used twice.
#[derive(Clone, Debug)]
enum Step {
    Reserve {
        pool: usize,
        n: u8,
        units: u64,
        hold: bool,
        is_late: bool,
        cancelled: bool,
        keyed: bool,
    },
    Abandon {
        pick: prop::sample::Index,
        is_early: bool,
    },
    Confirm {
        pool: usize,
        n: u8,
        key: u8,
    },
    Extend {
        pool: usize,
        n: u8,
        key: u8,
        ttl_ms: u64,
    },
    Amend {
        pool: usize,
        n: u8,
        key: u8,
        units: u64,
        crates: u64,
    },
    Release {
        pool: usize,
        n: u8,
        key: u8,
    },
    Define {
        pool: usize,
        limit: u64,
        crates: bool,
    },
    Adjust {
        pool: usize,
        delta: i64,
        key: u8,
    },
    Mode {
        pool: usize,
        mode: Mode,
        key: u8,
    },
    Change {
        pool: usize,
        delta: i64,
        mode: Mode,
        window_ms: Option<u64>,
        key: u8,
    },
    Retire {
        pool: usize,
        with_reservations: bool,
        key: u8,
    },
    Wait {
        ms: u64,
    },
    Skip(u64),
    Expire,
    Give(Input),
    Misrouted,
    /// The command before is decided once more.
    Copy(prop::sample::Index),
}

/// Waits are short or longer than the window: an Abandon that finds an outcome about to be forgotten cancels nothing,
/// which only deadlines (seconds, not in this test) make safe.
fn step() -> impl Strategy<Value = Step> {
    let pool = 0..2usize;
    let mode = prop_oneof![4 => Just(Mode::Open), 1 => Just(Mode::Paused), 1 => Just(Mode::Closed)];
    let reserve = (pool.clone(), 0..IDS, 1..4u64, any::<[bool; 3]>(), 0..10u8).prop_map(
        |(pool, n, units, [hold, cancelled, keyed], late)| {
            // Mostly one demand an id, so that a repeated key is mostly the same body.
            let units = if units == 3 { 2 } else { u64::from(n % 2) + 1 };
            Step::Reserve { pool, n, units, hold: hold && n % 2 == 0, is_late: late == 0, cancelled, keyed }
        },
    );
    let abandon = |(pick, is_early)| Step::Abandon { pick, is_early };
    let confirm = |(pool, n, key)| Step::Confirm { pool, n, key };
    let extend = |(pool, n, key, ttl_ms)| Step::Extend { pool, n, key, ttl_ms };
    let amend = |(pool, n, key, units, crates)| Step::Amend { pool, n, key, units, crates };
    let release = |(pool, n, key)| Step::Release { pool, n, key };
    prop_oneof![
        12 => reserve,
        6 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(abandon),
        3 => (pool.clone(), 0..IDS, 0..4u8).prop_map(confirm),
        2 => (pool.clone(), 0..IDS, 0..4u8, prop_oneof![Just(100u64), Just(900)]).prop_map(extend),
        4 => (pool.clone(), 0..IDS, 0..4u8, 1..4u64, 0..3u64).prop_map(amend),
        3 => (pool.clone(), 0..IDS, 0..4u8).prop_map(release),
        2 => (pool.clone(), 0..8u64, any::<bool>())
            .prop_map(|(pool, limit, crates)| Step::Define { pool, limit, crates }),
        2 => (pool.clone(), -3..4i64, 0..4u8).prop_map(|(pool, delta, key)| Step::Adjust { pool, delta, key }),
        2 => (pool.clone(), mode.clone(), 0..4u8).prop_map(|(pool, mode, key)| Step::Mode { pool, mode, key }),
        2 => (pool, -3..4i64, mode, prop::option::of(0..30u64), 0..4u8).prop_map(|(pool, delta, mode, hours, key)| {
            Step::Change { pool, delta, mode, window_ms: hours.map(|hours| hours * 3_600_000), key }
        }),
        2 => (0..2usize, any::<bool>(), 0..4u8)
            .prop_map(|(pool, with_reservations, key)| Step::Retire { pool, with_reservations, key }),
        4 => prop_oneof![6 => Just(1u64), 6 => Just(700), 1 => Just(25 * 3_600_000), 1 => Just(200 * 3_600_000)].prop_map(|ms| Step::Wait { ms }),
        2 => Just(Step::Expire),
        1 => prop_oneof![
            Just(Input::Claim),
            Just(Input::Tick),
            Just(Input::Unreadable),
            (1..4u64).prop_map(Input::Lost),
            (0..4u64).prop_map(Input::EventsLost),
            prop_oneof![Just(300u64), Just(3_600_000), Just(30 * 3_600_000)].prop_map(Input::SetClock),
        ]
        .prop_map(Step::Give),
        1 => (1..4u64).prop_map(Step::Skip),
        1 => Just(Step::Misrouted),
        2 => any::<prop::sample::Index>().prop_map(Step::Copy),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..160)
}

struct Player {
    owner: Owner,
    pools: Vec<PoolId>,
    attempts: u64,
    /// Attempts of Reserves so far.
    came: Vec<(usize, u8, u64)>,
    /// Attempts abandoned before they came.
    early: Vec<(usize, u8, u64)>,
}

fn play(steps: &[Step], hoards: bool) -> Owner {
    let mut owner = Owner::new(PARTITION);
    owner.maps.hoards = hoards;
    owner.give(Input::Claim);
    let pools = pools_of(PARTITION, PARTITIONS).take(2).collect();
    let mut player = Player { owner, pools, attempts: 0, came: Vec::new(), early: Vec::new() };
    player.step(&Step::Define { pool: 0, limit: 5, crates: false });
    steps.iter().for_each(|step| player.step(step));
    player.owner
}

/// Key 0 is none.
fn small_key(n: u8) -> Option<IdempotencyKey> {
    if n == 0 { None } else { key(&format!("k{n}")) }
}

/// So many orders, and crates if there are any.
fn some_units(orders: u64, crates: u64) -> Amounts {
    let both = [("orders", orders), ("crates", crates)];
    amounts(&both[..1 + usize::from(crates > 0)])
}

impl Player {
    fn fresh(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    fn id(&self, pool: usize, n: u8) -> ReservationId {
        reservation(&self.pools[pool], n)
    }

    fn ask(&mut self, body: CommandBody, key: u8) {
        let attempt = self.fresh();
        self.owner.take(&command(body, attempt, small_key(key)));
    }

    fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Reserve { pool, n, units, hold, is_late, cancelled, keyed } => {
                let early = self.early.iter().position(|(p, m, _)| cancelled && (*p, *m) == (pool, n));
                let attempt = match early {
                    Some(at) => self.early.remove(at).2,
                    None => self.fresh(),
                };
                self.came.push((pool, n, attempt));
                let demand = some_units(units, u64::from(n + 1 == IDS));
                let (reservation, hold_ttl_ms) = (self.id(pool, n), hold.then_some(500));
                let pool = self.pools[pool].clone();
                let order_ref = (n < 3).then(|| Name::new(&format!("Köln #{}", n % 2)).unwrap());
                let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref };
                let deadline = if is_late {
                    Micros(1)
                } else {
                    self.owner.now.plus_ms([5_000, 15_001][usize::from(units == 2 && hold)])
                };
                let key = key(&format!("r{n}")).filter(|_| keyed);
                self.owner.take(&Command { deadline, ..command(body, attempt, key) });
            }
            Step::Abandon { pick, is_early } => self.abandon(pick, is_early),
            Step::Confirm { pool, n, key } => self.ask(CommandBody::Confirm { reservation: self.id(pool, n) }, key),
            Step::Extend { pool, n, key, ttl_ms } => {
                self.ask(CommandBody::Extend { reservation: self.id(pool, n), hold_ttl_ms: ttl_ms }, key);
            }
            Step::Amend { pool, n, key, units, crates } => {
                let demand = some_units(units, crates);
                self.ask(CommandBody::Amend { reservation: self.id(pool, n), demand }, key);
            }
            Step::Release { pool, n, key } => self.ask(CommandBody::Release { reservation: self.id(pool, n) }, key),
            Step::Define { pool, limit, crates } => self.define(pool, limit, crates),
            Step::Adjust { pool, delta, key } => {
                let change = LimitChange::By(vec![(dimension("orders"), delta)]);
                self.ask(
                    CommandBody::AdjustLimits { pool: self.pools[pool].clone(), change, expected_version: None },
                    key,
                );
            }
            Step::Change { pool, delta, mode, window_ms, key } => {
                let end = window_ms.map(|ms| self.owner.now.plus_ms(ms));
                let window = end.map_or(Edit::Clear, |end| {
                    Edit::To(WindowChange { start: Some(self.owner.now), end: Some(end), cutoff: Edit::Clear })
                });
                let limits = Some(LimitChange::By(vec![(dimension("orders"), delta)]));
                let rules = RuleChange { unique_order_ref: Some(delta > 0), ..RuleChange::default() };
                let change = PoolChange { limits, window, mode: Some(mode), rules, ..PoolChange::default() };
                let pool = self.pools[pool].clone();
                self.ask(
                    CommandBody::ChangePool { pool, change, expected_version: Some(u64::from(key)).filter(|v| *v > 2) },
                    key,
                );
            }
            Step::Mode { pool, mode, key } => {
                self.ask(CommandBody::SetMode { pool: self.pools[pool].clone(), mode, expected_version: None }, key);
            }
            Step::Retire { pool, with_reservations, key } => self.retire(pool, with_reservations, key),
            Step::Wait { ms } => self.owner.later_ms(ms),
            Step::Skip(places) => self.owner.skip(places),
            Step::Expire => self.owner.end_due(),
            Step::Give(input) => self.owner.give(input),
            Step::Misrouted => {
                let pool = pool_of(PARTITION + 1, PARTITIONS);
                self.ask(CommandBody::SetMode { pool, mode: Mode::Paused, expected_version: None }, 0);
            }
            Step::Copy(of) => self.copy(of),
        }
    }

    fn retire(&mut self, pool: usize, with_reservations: bool, key: u8) {
        let pool = self.pools[pool].clone();
        self.ask(CommandBody::RetirePool { pool, with_reservations, expected_version: None }, key);
    }

    fn define(&mut self, pool: usize, limit: u64, crates: bool) {
        let limits = if crates { vec![("orders", limit), ("crates", 3)] } else { vec![("orders", limit)] };
        let end = self.owner.now.plus_ms(30 * 3_600_000);
        let window = Window { start: self.owner.now, end, cutoff: None };
        let rules = PoolRules {
            hold_ttl_max_ms: limit.is_multiple_of(3).then_some(400),
            hold_life_max_ms: limit.is_multiple_of(4).then_some(1_000),
            unique_order_ref: limit % 2 == 1,
            retire_after_ms: (limit == 5).then_some(RETIRE_AFTER_MIN_MS),
        };
        let spec = PoolSpec { window: Some(window).filter(|_| crates), rules, ..open_pool(amounts(&limits)) };
        self.ask(CommandBody::DefinePool { pool: self.pools[pool].clone(), spec, expected_version: None }, 0);
    }

    fn copy(&mut self, of: prop::sample::Index) {
        let told = self.owner.inputs.iter().filter(|(_, input)| matches!(input, Input::Take(_)));
        let (_, input) = of.get(&told.collect::<Vec<_>>());
        self.owner.give(input.clone());
    }

    fn abandon(&mut self, pick: prop::sample::Index, is_early: bool) {
        let (pool, n, attempt) = if is_early || self.came.is_empty() {
            let attempt = self.fresh();
            let early = (pick.index(2), u8::try_from(pick.index(usize::from(IDS))).unwrap(), attempt);
            self.early.push(early);
            early
        } else {
            self.came[pick.index(self.came.len())]
        };
        let body = CommandBody::Abandon { pool: self.pools[pool].clone(), reservation: self.id(pool, n) };
        self.owner.take(&command(body, attempt, None));
    }
}

/// One field of one record to change.
#[derive(Clone, Copy, Debug)]
enum Field {
    Used,
    Limits,
    Seq,
    Prev,
    Epoch,
    Partition,
    InputOffset,
    Skipped,
    Demand,
    DemandBefore,
    Attempt,
    Kind,
}

const FIELDS: [Field; 12] = [
    Field::Used,
    Field::Limits,
    Field::Seq,
    Field::Prev,
    Field::Epoch,
    Field::Partition,
    Field::InputOffset,
    Field::Skipped,
    Field::Demand,
    Field::DemandBefore,
    Field::Attempt,
    Field::Kind,
];

const NEVER_USED: Attempt = Attempt(u64::MAX);

fn raised(amounts: &mut Amounts, by: u64) {
    *amounts = amounts.map(|_, units| units + by);
}

/// Changes the field; nothing where the record has none.
fn change(event: &mut Event, field: Field, by: u64) {
    let up = by.is_multiple_of(2);
    match field {
        Field::Used => counters(&mut event.body, |_, used| raised(used, by)),
        Field::Limits => counters(&mut event.body, |limits, _| raised(limits, by)),
        Field::Demand => {
            if let Some(entry) = entry_of(&mut event.body) {
                raised(&mut entry.demand, by);
            }
        }
        Field::DemandBefore => {
            if let Some(before) = before_of(&mut event.body) {
                raised(before, by);
            }
        }
        Field::Seq => event.seq = if up { event.seq + by } else { event.seq.wrapping_sub(by) },
        Field::Prev => event.prev.0[3] ^= 1 << (by % 8),
        Field::Epoch => event.epoch = if up { event.epoch + 1 } else { event.epoch - 1 },
        Field::Partition => event.partition += 1,
        Field::InputOffset => {
            if let Some(cause) = &mut event.cause {
                cause.input_offset = if up { cause.input_offset + by } else { cause.input_offset.wrapping_sub(by) };
            }
        }
        Field::Skipped => {
            if let Some(cause) = &mut event.cause {
                cause.skipped += by;
            }
        }
        Field::Attempt => {
            let stamp = event.cause.as_mut().and_then(|cause| cause.command.as_mut());
            // Of other commands it is no more than a name.
            if let Some(stamp) = stamp.filter(|s| matches!(s.kind, CommandKind::Reserve | CommandKind::Abandon)) {
                stamp.attempt = NEVER_USED;
            }
        }
        Field::Kind => change_kind(&mut event.body),
    }
}

fn change_kind(body: &mut EventBody) {
    *body = match std::mem::replace(body, EventBody::Tick) {
        EventBody::Accepted(entry) => EventBody::Confirmed(entry),
        EventBody::Confirmed(entry) => EventBody::Extended(entry),
        EventBody::Extended(entry) => EventBody::Accepted(entry),
        EventBody::Amended(entry, _) => EventBody::Extended(entry),
        EventBody::Released(entry, ReleaseCause::Caller) => EventBody::Released(entry, ReleaseCause::Abandoned),
        EventBody::Released(entry, ReleaseCause::Abandoned) => EventBody::Released(entry, ReleaseCause::Caller),
        EventBody::Expired(entry) => EventBody::Released(entry, ReleaseCause::Caller),
        EventBody::Repeated(original, _) => *original,
        EventBody::PoolDefined(pool) => EventBody::LimitsAdjusted(pool),
        EventBody::LimitsAdjusted(pool) => EventBody::ModeSet(pool),
        EventBody::ModeSet(pool) => EventBody::PoolChanged(pool),
        EventBody::PoolChanged(pool) => EventBody::PoolDefined(pool),
        EventBody::PoolRetired(retirement) => EventBody::PoolChanged(retirement.pool),
        EventBody::Barrier { nonce } => EventBody::Malformed { detail: nonce.to_string() },
        EventBody::Malformed { .. } | EventBody::CommandsLost { .. } | EventBody::ClockSet { .. } => EventBody::Tick,
        EventBody::EventsLost { detail, .. } => EventBody::Malformed { detail },
        EventBody::Tick => EventBody::Barrier { nonce: 1 },
        EventBody::Abandoned { .. } => EventBody::Tick,
        unchanged @ EventBody::Rejected(_) => unchanged,
    };
}

fn before_of(body: &mut EventBody) -> Option<&mut Amounts> {
    match body {
        EventBody::Amended(_, before) => Some(before),
        EventBody::Rejected(rejection) => rejection.demand_before.as_mut(),
        EventBody::Repeated(original, _) => before_of(original),
        _ => None,
    }
}

pub fn entry_of(body: &mut EventBody) -> Option<&mut Entry> {
    match body {
        EventBody::Accepted(e)
        | EventBody::Confirmed(e)
        | EventBody::Extended(e)
        | EventBody::Amended(e, _)
        | EventBody::Released(e, _)
        | EventBody::Expired(e) => Some(e),
        EventBody::Repeated(original, _) => entry_of(original),
        _ => None,
    }
}

pub fn counters(body: &mut EventBody, f: impl FnOnce(&mut Amounts, &mut Amounts)) {
    match body {
        EventBody::Repeated(original, _) => counters(original, f),
        EventBody::PoolDefined(pool)
        | EventBody::LimitsAdjusted(pool)
        | EventBody::ModeSet(pool)
        | EventBody::PoolChanged(pool)
        | EventBody::PoolRetired(Retirement { pool, .. }) => {
            f(&mut pool.spec.limits, &mut pool.used);
        }
        EventBody::Rejected(rejection) => {
            if let (Some(limits), Some(used)) = (&mut rejection.limits, &mut rejection.used) {
                f(limits, used);
            }
        }
        body => {
            if let Some(entry) = entry_of(body) {
                f(&mut entry.limits, &mut entry.used);
            }
        }
    }
}

/// Whether the change at `at` leaves a log that the domain could have written.
fn is_harmless(owner: &Owner, at: usize, field: Field, changed: &[ChainedEvent]) -> bool {
    match field {
        // The last word of a new owner, of whom nothing else is known.
        Field::Epoch => at + 1 == changed.len() && changed[at].event.epoch > owner.log[at].event.epoch,
        // A planner may say any limits: wrong are only those that no later event of the pool agrees with.
        Field::Limits => changed[at].event.body.pool().is_some_and(|pool| !is_told_again(&changed[at + 1..], &pool.id)),
        // Every decision would have been the same, had the attempt been this one.
        Field::Attempt => {
            let mut again = Owner::new(owner.partition);
            for (n, (now, input)) in owner.inputs.iter().enumerate() {
                again.now = *now;
                let mut input = input.clone();
                if let Input::Take(command) = &mut input
                    && n == at
                {
                    command.attempt = NEVER_USED;
                }
                again.give(input);
            }
            let bodies = |log: &[ChainedEvent]| log.iter().map(|r| r.event.body.clone()).collect::<Vec<_>>();
            bodies(&again.log) == bodies(changed)
        }
        _ => false,
    }
}

/// Whether an event tells the pool's limits before they are said anew. What a key other than a Reserve's is answered
/// again is from back then, and so is a refusal.
fn is_told_again(log: &[ChainedEvent], pool: &PoolId) -> bool {
    let tells = |event: &&Event| {
        let is_of_reserve = event.command().is_some_and(|c| c.kind == CommandKind::Reserve);
        let is_old =
            matches!(event.body, EventBody::Repeated(..)) && (!is_of_reserve || event.body.rejection().is_some());
        let shows = event.body.entry().is_some()
            || event.body.pool().is_some()
            || event.body.rejection().is_some_and(|r| r.limits.is_some());
        event.body.pool_id() == Some(pool) && shows && !is_old
    };
    let next = log.iter().map(|recorded| &recorded.event).find(tells);
    let says = |body: &EventBody| {
        matches!(body, EventBody::PoolDefined(_) | EventBody::LimitsAdjusted(_) | EventBody::PoolChanged(_))
    };
    next.is_some_and(|event| !says(&event.body))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_domain_writes_is_clean(steps in steps(), hoards: bool) {
        let owner = play(&steps, hoards);
        let audit = audited(PARTITION, &owner.log);
        let report = audit.finish();
        prop_assert_eq!(report.breaches(), &[][..]);
        let last = owner.log.last().map(|recorded| recorded.event.decided_at).unwrap_or_default();
        prop_assert_eq!(audit.digest(), owner.maps.digest(last));
        let live = owner.maps.reservations.iter().filter(|(_, r)| r.status.is_live());
        prop_assert_eq!(audit.live().collect::<Vec<_>>(), live.map(|(id, r)| (*id, r.clone())).collect::<Vec<_>>());
        prop_assert_eq!(audit.pools().collect::<Vec<_>>(), owner.maps.pools.into_values().collect::<Vec<_>>());
    }

    /// A copy that shares what does not change has the digest of its moment, whatever the state does later.
    #[test]
    fn a_frozen_state_stays_as_it_was(steps in steps(), hoards: bool) {
        let owner = play(&steps, hoards);
        let mut state = PartitionState::new(PARTITION);
        let frozen = owner.log.iter().map(|recorded| {
            state.fold(recorded).unwrap();
            (state.freeze(), *state.position(), state.digest(), state.live_count())
        });
        for (frozen, position, digest, live) in frozen.collect::<Vec<_>>() {
            prop_assert_eq!((frozen.position(), frozen.digest(), frozen.live_count()), (&position, digest, live));
        }
    }

    /// Where the first events of a log are gone, the auditor begins with a state.
    #[test]
    fn what_follows_on_a_state_is_clean_and_comes_to_the_same(steps in steps(), at in any::<prop::sample::Index>()) {
        let owner = play(&steps, false);
        let (before, after) = owner.log.split_at(at.index(owner.log.len()) + 1);
        let mut state = PartitionState::new(PARTITION);
        before.iter().for_each(|recorded| state.fold(recorded).unwrap());
        let mut audit = PartitionAudit::begun(state.outline(), PARTITIONS);
        prop_assert_eq!(audit.digest(), state.digest());
        after.iter().for_each(|recorded| audit.observe(recorded));
        let (whole, report) = (audited(PARTITION, &owner.log), audit.finish());
        prop_assert_eq!(report.breaches(), &[][..]);
        prop_assert_eq!((audit.digest(), audit.memory_used()), (whole.digest(), whole.memory_used()));
        let whole = whole.finish();
        prop_assert_eq!(
            (report.last_seq, report.next_input, report.chain),
            (whole.last_seq, whole.next_input, whole.chain)
        );
    }

    #[test]
    fn one_changed_field_is_found(
        steps in steps(),
        at in any::<prop::sample::Index>(),
        field in prop::sample::select(&FIELDS),
        by in 1..5u64,
    ) {
        let owner = play(&steps, false);
        let changes = |at: &usize| {
            let mut event = owner.log[*at].event.clone();
            change(&mut event, field, by);
            event != owner.log[*at].event
        };
        let places: Vec<usize> = (0..owner.log.len()).filter(changes).collect();
        if places.is_empty() {
            return Ok(());
        }
        let at = *at.get(&places);
        let mut changed = owner.log.clone();
        change(&mut changed[at].event, field, by);
        let found = audited(PARTITION, &changed).breach_count() > 0;
        prop_assert!(found || is_harmless(&owner, at, field, &changed), "{:#?}", changed);
    }
}
