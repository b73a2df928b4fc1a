//! A short life of one pool in which every kind of event happens, each at a named place.

use super::owner::*;
use crate::fixtures::{amounts, dimension, open_pool, pool_of};
use headroom::domain::*;

pub const PARTITION: u32 = 2;
pub const HOUR_MS: u64 = 3_600_000;

macro_rules! places {
    ($($name:ident)*) => {
        /// The script's events by what happens: the discriminant is the sequence number.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(clippy::upper_case_acronyms, non_camel_case_types, reason = "places are named as constants are")]
        pub enum At { $($name,)* END }
    };
}

places! {
    BARRIER DEFINED R1_ACCEPTED R1_AGAIN R1_ABANDONED R2_HELD R2_EXTENDED R2_EXTENDED_AGAIN R2_CONFIRMED
    R3_HELD R4_OVER_LIMIT R4_AGAIN R2_AMENDED R2_AMENDED_AGAIN R3_AMEND_REFUSED R3_AMENDED LIMITS_LOWERED
    R3_EXPIRED R2_RELEASED R2_RELEASED_AGAIN R2_RELEASED_KEYED R5_CANCELLED R5_ABANDONED
    R5_ACCEPTED R5_TAKEN_BACK MODE_CLOSED R6_CLOSED MODE_OPEN R7_LATE MALFORMED R1_REUSED BARRIER_2 TICK
    R2_CONFIRMED_AGAIN MODE_REUSED R8_ACCEPTED R8_COPY R12_TOO_FAR R12_ABANDONED R9_UNKNOWN R10_PAST_CUTOFF LOST EVENTS_LOST R11_AFTER_MARKERS
    CHANGED CHANGE_STALE ADJUST_OUT_OF_RANGE
    CLOCK_SET LIMITS_RAISED R13_HELD CLOCK_SET_AGAIN R13_EXPIRED
}

pub fn the_pool() -> PoolId {
    pool_of(PARTITION, PARTITIONS)
}

pub fn id(n: u8) -> ReservationId {
    reservation(&the_pool(), n)
}

pub fn reserve(n: u8, units: u64, attempt: u64, hold_ttl_ms: Option<u64>) -> Command {
    let demand = amounts(&[("orders", units)]);
    let body = CommandBody::Reserve { pool: the_pool(), reservation: id(n), demand, hold_ttl_ms, order_ref: None };
    command(body, attempt, key(&format!("key-{n}")))
}

pub fn abandon(n: u8, attempt: u64) -> Command {
    command(CommandBody::Abandon { pool: the_pool(), reservation: id(n) }, attempt, None)
}

pub fn set_mode(mode: Mode, key_text: &str) -> Command {
    command(CommandBody::SetMode { pool: the_pool(), mode, expected_version: None }, 90, key(key_text))
}

/// Plays it; every event is where its name says.
pub fn play() -> Owner {
    let mut owner = Owner::new(PARTITION);
    let end = owner.now.plus_ms(10 * HOUR_MS);
    let window = Window { start: owner.now.plus_ms(8 * HOUR_MS), end, cutoff: Some(owner.now.plus_ms(6 * HOUR_MS)) };
    let spec = PoolSpec { window: Some(window), ..open_pool(amounts(&[("orders", 3), ("crates", 50)])) };
    owner.give(Input::Claim);
    owner.take(&command(
        CommandBody::DefinePool { pool: the_pool(), spec, expected_version: Some(0) },
        91,
        key("define"),
    ));
    first_half(&mut owner);
    second_half(&mut owner);
    assert_eq!(owner.log.len(), At::END as usize);
    owner
}

fn first_half(owner: &mut Owner) {
    owner.take(&reserve(1, 1, 1, None));
    owner.take(&reserve(1, 1, 2, None));
    owner.take(&abandon(1, 1));
    owner.take(&reserve(2, 1, 3, Some(60_000)));
    let extend = CommandBody::Extend { reservation: id(2), hold_ttl_ms: 90_000 };
    owner.take(&command(extend.clone(), 92, key("extend")));
    owner.take(&command(extend, 92, key("extend")));
    owner.later_ms(1_000);
    owner.take(&command(CommandBody::Confirm { reservation: id(2) }, 93, key("confirm")));
    owner.take(&reserve(3, 1, 4, Some(60_000)));
    owner.take(&reserve(4, 1, 5, None));
    owner.take(&reserve(4, 1, 6, None));
    amends(owner);
    let change = LimitChange::To(amounts(&[("orders", 2)]));
    owner.take(&command(CommandBody::AdjustLimits { pool: the_pool(), change, expected_version: Some(1) }, 94, None));
    owner.later_ms(60_000);
    owner.expire_due();
    owner.take(&command(CommandBody::Release { reservation: id(2) }, 95, None));
    // The same answer under a key of its own, which keeps it.
    owner.take(&command(CommandBody::Release { reservation: id(2) }, 95, key("release")));
    owner.take(&command(CommandBody::Release { reservation: id(2) }, 95, key("release")));
}

/// All orders are taken: more crates can be had, and no more orders.
fn amends(owner: &mut Owner) {
    let amend = |n, units: &[_], text| {
        command(CommandBody::Amend { reservation: id(n), demand: amounts(units) }, 102, key(text))
    };
    owner.take(&amend(2, &[("orders", 1), ("crates", 4)], "amend"));
    owner.take(&amend(2, &[("orders", 1), ("crates", 4)], "amend-again"));
    owner.take(&amend(3, &[("orders", 2)], "amend-up"));
    owner.take(&amend(3, &[("orders", 1), ("crates", 2)], "amend-hold"));
}

fn second_half(owner: &mut Owner) {
    owner.take(&abandon(5, 9));
    owner.take(&reserve(5, 1, 9, None));
    owner.take(&reserve(5, 1, 10, None));
    owner.take(&abandon(5, 10));
    owner.take(&set_mode(Mode::Closed, "close"));
    owner.take(&reserve(6, 1, 11, None));
    owner.take(&set_mode(Mode::Open, "open"));
    owner.take(&Command { deadline: Micros(1), ..reserve(7, 1, 12, None) });
    owner.give(Input::Unreadable);
    owner.take(&reserve(1, 2, 13, None));
    owner.give(Input::Claim);
    owner.give(Input::Tick);
    owner.take(&command(CommandBody::Confirm { reservation: id(2) }, 93, key("confirm")));
    owner.take(&set_mode(Mode::Paused, "open"));
    owner.take(&reserve(8, 1, 14, None));
    owner.give(owner.inputs.last().unwrap().1.clone());
    let too_far = owner.now.plus_ms(HOUR_MS);
    owner.take(&Command { deadline: too_far, ..reserve(12, 1, 17, None) });
    owner.take(&reserve(12, 1, 17, None));
    owner.take(&command(CommandBody::Release { reservation: id(9) }, 96, None));
    owner.later_ms(6 * HOUR_MS);
    owner.take(&reserve(10, 1, 15, None));
    owner.give(Input::Lost(5));
    owner.give(Input::EventsLost(3));
    owner.skip(2);
    owner.take(&reserve(11, 1, 16, None));
    let asked = |change, expected_version| CommandBody::ChangePool { pool: the_pool(), change, expected_version };
    let change = |mode| PoolChange { mode: Some(mode), window: Edit::Clear, ..PoolChange::default() };
    owner.take(&command(asked(change(Mode::Open), Some(4)), 98, None));
    owner.take(&command(asked(change(Mode::Closed), Some(4)), 99, None));
    let by = LimitChange::By(vec![(dimension("orders"), -3)]);
    owner.take(&command(CommandBody::AdjustLimits { pool: the_pool(), change: by, expected_version: None }, 100, None));
    owner.give(Input::SetClock(6 * HOUR_MS));
    let change = LimitChange::To(amounts(&[("orders", 3)]));
    owner.take(&command(CommandBody::AdjustLimits { pool: the_pool(), change, expected_version: None }, 101, None));
    owner.take(&reserve(13, 1, 18, Some(60_000)));
    owner.give(Input::SetClock(HOUR_MS));
    owner.later_ms(60_000);
    owner.expire_due();
}
