//! A state as tables for people, or as JSON with the names of the API.

use super::Seen;
use crate::api::http::dto::{PoolDto, ReservationDto, Time};
use crate::cmd::shared::table::lines;
use crate::domain::{Amounts, Dimension, Ledger, Living, Pool, PoolId};
use crate::owner::moment::Then;
use crate::replica::{PartitionState, Position};
use crate::time::Shown;
use crate::words::counted;
use serde::{Serialize, Serializer};
use std::io::{self, Write};
use std::sync::Arc;

/// Says that there is nothing of it.
const NONE: &str = "-";
const POOL_TITLES: [&str; 7] = ["POOL", "MODE", "WINDOW", "USED/LIMIT", "LEFT", "HELD", "CONFIRMED"];
const RESERVATION_TITLES: [&str; 6] = ["RESERVATION", "STATUS", "DEMAND", "HOLD UNTIL", "ORDER", "EVENT"];

/// The line of JSON that shows one partition.
#[derive(Serialize)]
struct StateDto<'a> {
    partition: u32,
    /// The time that was asked for, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Time>,
    /// The first event that is not in the state.
    next_seq: u64,
    /// The time of the last event in it; absent before the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<Time>,
    chain: String,
    digest: String,
    /// The snapshot that the state was begun with; null for the first event.
    snapshot: Option<&'a str>,
    /// Events that were read after it.
    events_read: u64,
    pools: Pools<'a>,
    /// With one pool: its reservations.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservations: Option<Vec<ReservationDto<'a>>>,
}

/// A pool as the API shows it, and how many reservations take its units.
#[derive(Serialize)]
struct PoolRow<'a> {
    #[serde(flatten)]
    pool: PoolDto<'a>,
    held: u64,
    confirmed: u64,
}

/// The pools that are shown: one after the other, because a partition can have very many.
struct Pools<'a>(&'a Seen<'a>);

impl Serialize for Pools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.pools().map(|pool| {
            let (held, confirmed) = living(&self.0.then.state, &pool.id);
            PoolRow { pool: PoolDto::of(pool, None), held, confirmed }
        }))
    }
}

impl Seen<'_> {
    /// The pools that are shown, by id. Those of Headroom itself are not, as in the API.
    fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let is_shown =
            move |pool: &&Arc<Pool>| self.pool.map_or_else(|| !pool.id.is_internal(), |only| pool.id == *only);
        self.then.state.pools().iter().filter(is_shown)
    }

    /// The reservations of the pool that was asked for, by id, as the API shows them.
    fn reservations(&self) -> Option<Vec<ReservationDto<'_>>> {
        let (state, pool) = (&self.then.state, self.pool?);
        let mut known = state.known(self.now);
        // What was refused under a key is remembered as well.
        known.retain(|(_, known)| known.pool == *pool && known.status.code().is_some());
        Some(known.into_iter().map(|(id, known)| ReservationDto::of(id, known, state.partition())).collect())
    }
}

/// Holds, and what is confirmed.
fn living(state: &PartitionState, pool: &PoolId) -> (u64, u64) {
    let Living { live, held } = state.living(pool);
    (held, live.saturating_sub(held))
}

pub(super) fn json(seen: &Seen<'_>, out: &mut impl Write) -> io::Result<()> {
    let Then { state, snapshot, read, .. } = &seen.then;
    let Position { next_seq, chain, decided_at, .. } = *state.position();
    let dto = StateDto {
        partition: state.partition(),
        at: seen.at.map(Time),
        next_seq,
        decided_at: (next_seq > 0).then_some(Time(decided_at)),
        chain: chain.to_string(),
        digest: state.digest().to_string(),
        snapshot: snapshot.as_ref().map(|name| name.text.as_str()),
        events_read: *read,
        pools: Pools(seen),
        reservations: seen.reservations(),
    };
    serde_json::to_writer(&mut *out, &dto)?;
    writeln!(out)
}

pub(super) fn text(seen: &Seen<'_>, out: &mut impl Write) -> io::Result<()> {
    let Then { state, snapshot, read, .. } = &seen.then;
    let Position { next_seq, decided_at, .. } = *state.position();
    let partition = state.partition();
    match next_seq.checked_sub(1) {
        None => writeln!(out, "partition {partition}: before its first event")?,
        Some(last) => writeln!(
            out,
            "partition {partition} after event {last} of {}, state digest {}",
            Shown(decided_at),
            state.digest()
        )?,
    }
    let read = counted(*read, "event");
    match snapshot {
        None => writeln!(out, "{read} read")?,
        Some(name) => writeln!(out, "{read} read after snapshot {}", name.text)?,
    }
    let pools = || seen.pools().map(move |pool| pool_row(state, pool));
    lines(POOL_TITLES, pools).try_for_each(|line| out.write_all(line.as_bytes()))?;
    if let Some(reservations) = seen.reservations() {
        let rows = || reservations.iter().map(reservation_row);
        lines(RESERVATION_TITLES, rows).try_for_each(|line| out.write_all(line.as_bytes()))?;
    }
    writeln!(out)
}

fn pool_row(state: &PartitionState, pool: &Pool) -> [String; POOL_TITLES.len()] {
    let (held, confirmed) = living(state, &pool.id);
    let used = |dimension| pool.used.get(dimension).unwrap_or_default();
    let window = pool.spec.window;
    [
        pool.id.to_string(),
        pool.spec.mode.code().to_owned(),
        window.map_or(NONE.to_owned(), |window| format!("{} to {}", Shown(window.start), Shown(window.end))),
        units(&pool.spec.limits, |dimension, limit| format!("{}/{limit}", used(dimension))),
        units(&pool.spec.limits, |dimension, _| pool.remaining(dimension).unwrap_or_default().to_string()),
        held.to_string(),
        confirmed.to_string(),
    ]
}

fn reservation_row(shown: &ReservationDto<'_>) -> [String; RESERVATION_TITLES.len()] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    [
        shown.reservation.to_string(),
        shown.status.to_owned(),
        units(shown.demand.0, |_, units| units.to_string()),
        or_none(shown.hold_until.map(|until| until.to_string())),
        or_none(shown.order_ref.map(str::to_owned)),
        or_none(shown.last_event.as_ref().map(|place| place.seq.to_string())),
    ]
}

fn units(amounts: &Amounts, each: impl Fn(Dimension, u64) -> String) -> String {
    amounts.iter().map(|(d, units)| format!("{d} {}", each(d, units))).collect::<Vec<_>>().join(", ")
}
