//! The auditor's own rules of each kind of command: which event answers it, what its key belongs to, and which bodies
//! can have led to an event. They judge L2 by meaning: an event answers what its command asked, and does not only name
//! the command. An event holds the fingerprint of its command. Where the event tells the whole command body, the
//! fingerprint is computed again from the event. Where the command itself is at hand, everything is compared.

use crate::domain::{
    Amounts, Command, CommandBody, CommandKey, CommandKind, CommandStamp, Edit, Entry, Event, EventBody, LimitChange,
    Micros, Pool, PoolChange, PoolSpec, Reason, Rejection, ReleaseCause, RetireCause, Retirement, Target, WindowChange,
};

/// Whether an event of this body can answer a command of this kind.
pub(super) fn answers(body: &EventBody, ask: CommandKind) -> bool {
    match body {
        EventBody::PoolDefined(_) => ask == CommandKind::DefinePool,
        EventBody::LimitsAdjusted(_) => ask == CommandKind::AdjustLimits,
        EventBody::ModeSet(_) => ask == CommandKind::SetMode,
        EventBody::PoolChanged(_) => ask == CommandKind::ChangePool,
        EventBody::PoolRetired(Retirement { cause: RetireCause::Caller, .. }) => ask == CommandKind::RetirePool,
        EventBody::Accepted(_) => ask == CommandKind::Reserve,
        EventBody::Confirmed(_) => ask == CommandKind::Confirm,
        EventBody::Extended(_) => ask == CommandKind::Extend,
        EventBody::Amended(..) => ask == CommandKind::Amend,
        EventBody::Released(_, ReleaseCause::Caller) => ask == CommandKind::Release,
        EventBody::Released(_, ReleaseCause::Abandoned) | EventBody::Abandoned { .. } => ask == CommandKind::Abandon,
        EventBody::Rejected(_) => true,
        EventBody::Repeated(original, _) => match &**original {
            EventBody::Repeated(..) | EventBody::Abandoned { .. } => false,
            EventBody::Expired(_) => ask == CommandKind::Release,
            EventBody::Rejected(_) => ask != CommandKind::Abandon,
            original => answers(original, ask),
        },
        EventBody::Expired(_)
        | EventBody::PoolRetired(_)
        | EventBody::Malformed { .. }
        | EventBody::CommandsLost { .. }
        | EventBody::EventsLost { .. }
        | EventBody::Barrier { .. }
        | EventBody::Tick
        | EventBody::ClockSet { .. } => false,
    }
}

/// What the key of this command belongs to, as the event shows it. This is the auditor's own rule.
pub(super) fn key_of(command: &CommandStamp, body: &EventBody) -> Option<CommandKey> {
    let target = match command.kind {
        CommandKind::DefinePool
        | CommandKind::AdjustLimits
        | CommandKind::SetMode
        | CommandKind::ChangePool
        | CommandKind::RetirePool => Target::Pool(body.pool_id()?.clone()),
        CommandKind::Confirm | CommandKind::Extend | CommandKind::Amend | CommandKind::Release => {
            Target::Reservation(body.reservation_id()?)
        }
        CommandKind::Reserve | CommandKind::Abandon => return None,
    };
    Some(CommandKey { target, key: command.key.clone()? })
}

/// All command bodies that can have led to this event; `None` where the event does not tell enough.
pub(super) fn possible(event: &Event, asked: CommandKind) -> Option<Vec<CommandBody>> {
    let body = match &event.body {
        EventBody::Repeated(original, _) => original,
        body => body,
    };
    Some(match (asked, body) {
        // A repeated Reserve shows its first outcome, and `keyed` compares the fingerprints.
        (CommandKind::Reserve, EventBody::Accepted(entry)) if !matches!(event.body, EventBody::Repeated(..)) => {
            let Entry { pool, reservation, demand, order_ref, .. } = entry.clone();
            held_for(event, entry)
                .map(|hold_ttl_ms| CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref })
                .into_iter()
                .collect()
        }
        (CommandKind::Extend, EventBody::Extended(entry)) if !matches!(event.body, EventBody::Repeated(..)) => {
            let ttl = held_for(event, entry).flatten();
            ttl.map(|hold_ttl_ms| CommandBody::Extend { reservation: entry.reservation, hold_ttl_ms })
                .into_iter()
                .collect()
        }
        (CommandKind::Confirm, body) => vec![CommandBody::Confirm { reservation: body.reservation_id()? }],
        (CommandKind::Amend, EventBody::Amended(Entry { reservation, demand, .. }, _)) => {
            vec![CommandBody::Amend { reservation: *reservation, demand: demand.clone() }]
        }
        (CommandKind::Amend, EventBody::Rejected(Rejection { reservation, demand, .. })) => {
            vec![CommandBody::Amend { reservation: (*reservation)?, demand: demand.clone()? }]
        }
        (CommandKind::Release, body) => vec![CommandBody::Release { reservation: body.reservation_id()? }],
        (CommandKind::Abandon, body) => {
            vec![CommandBody::Abandon { pool: body.pool_id()?.clone(), reservation: body.reservation_id()? }]
        }
        (CommandKind::DefinePool, EventBody::PoolDefined(Pool { id, spec, version, .. })) => {
            let at =
                |expected_version| CommandBody::DefinePool { pool: id.clone(), spec: spec.clone(), expected_version };
            vec![at(None), at(version.checked_sub(1))]
        }
        (CommandKind::RetirePool, body) => retire_asked(body)?,
        (CommandKind::AdjustLimits | CommandKind::SetMode, EventBody::Rejected(rejection)) => {
            vec![refused(asked, rejection)?]
        }
        (CommandKind::SetMode, EventBody::ModeSet(Pool { id, spec, version, .. })) => {
            let at = |expected_version| CommandBody::SetMode { pool: id.clone(), mode: spec.mode, expected_version };
            vec![at(None), at(version.checked_sub(1))]
        }
        _ => return None,
    })
}

/// The commands that can have retired the pool, or can have been refused. A pool with live reservations retires only when
/// that is asked for, and is refused only when it is not.
fn retire_asked(body: &EventBody) -> Option<Vec<CommandBody>> {
    let (pool, versions, flags) = match body {
        EventBody::PoolRetired(Retirement { pool, live, .. }) => {
            let flags: &[bool] = if *live > 0 { &[true] } else { &[true, false] };
            (&pool.id, vec![None, Some(pool.version)], flags)
        }
        EventBody::Rejected(Rejection { reason, pool, asked, .. }) => {
            let flags: &[bool] = if *reason == Reason::PoolInUse { &[false] } else { &[true, false] };
            (pool.as_ref()?, vec![asked.as_ref().and_then(|asked| asked.version)], flags)
        }
        _ => return None,
    };
    let of = |expected_version| {
        flags.iter().map(move |with_reservations| CommandBody::RetirePool {
            pool: pool.clone(),
            with_reservations: *with_reservations,
            expected_version,
        })
    };
    Some(versions.into_iter().flat_map(of).collect())
}

/// The refused change of limits or of the mode; `None` where the event is of an older version, which does not tell.
fn refused(body: CommandKind, rejection: &Rejection) -> Option<CommandBody> {
    let (pool, asked) = (rejection.pool.clone()?, rejection.asked.as_deref()?.clone());
    let expected_version = asked.version;
    Some(match body {
        CommandKind::SetMode => CommandBody::SetMode { pool, mode: asked.mode?, expected_version },
        _ => CommandBody::AdjustLimits { pool, change: asked.limits?, expected_version },
    })
}

/// The time for which the event's hold was asked for, or `Some(None)` when it is no hold. `None` when no command can
/// have asked for that time.
fn held_for(event: &Event, entry: &Entry) -> Option<Option<u64>> {
    let Some(until) = entry.hold_until else { return Some(None) };
    let ttl_ms = until.ms_since(event.decided_at);
    (event.decided_at.plus_ms(ttl_ms) == until).then_some(Some(ttl_ms))
}

/// Why the event is no answer to this command, beyond what its fingerprint tells; `None` if it can be one. `before`
/// is the definition of the command's pool before the event.
pub fn contradiction(event: &Event, command: &Command, before: Option<&PoolSpec>) -> Option<String> {
    let Command { body, deadline, .. } = command;
    in_time(event, body.kind(), *deadline).or_else(|| about_another(event, body)).or_else(|| {
        match (&event.body, body) {
            (EventBody::Accepted(entry), CommandBody::Reserve { demand, hold_ttl_ms, order_ref, .. }) => {
                let is_so = entry.demand == *demand && entry.order_ref == *order_ref;
                let is_held = held_for(event, entry) == Some(*hold_ttl_ms);
                (!(is_so && is_held)).then(|| format!("it accepts {entry:?}, the command was {body:?}"))
            }
            (
                EventBody::Rejected(rejection),
                CommandBody::Reserve { demand: asked, order_ref: order, hold_ttl_ms, .. },
            ) => {
                let Rejection { demand, order_ref, .. } = rejection;
                let told = rejection.asked.as_deref();
                let is_told = told.is_none_or(|told| told.hold_ttl_ms == *hold_ttl_ms);
                let is_so = demand.as_ref() == Some(asked) && order_ref == order && is_told;
                (!is_so).then(|| format!("it refuses {demand:?} for {order_ref:?}, the command was {body:?}"))
            }
            (EventBody::Amended(Entry { demand, .. }, _), CommandBody::Amend { demand: asked, .. }) => {
                (demand != asked).then(|| format!("it takes {demand:?} from now on, the command was {body:?}"))
            }
            (EventBody::Rejected(Rejection { demand, .. }), CommandBody::Amend { demand: asked, .. }) => {
                (demand.as_ref() != Some(asked)).then(|| format!("it refuses {demand:?}, the command was {body:?}"))
            }
            (EventBody::Extended(entry), CommandBody::Extend { hold_ttl_ms, .. }) => {
                let is_so = held_for(event, entry) == Some(Some(*hold_ttl_ms));
                (!is_so)
                    .then(|| format!("it holds until {:?}, the command asked for {hold_ttl_ms} ms", entry.hold_until))
            }
            (EventBody::PoolDefined(pool), CommandBody::DefinePool { spec, expected_version, .. }) => {
                let is_so = pool.spec == *spec && is_version(pool, *expected_version);
                (!is_so).then(|| format!("it defines {pool:?}, the command was {body:?}"))
            }
            (EventBody::ModeSet(pool), CommandBody::SetMode { mode, expected_version, .. }) => {
                let is_so = pool.spec.mode == *mode && is_version(pool, *expected_version);
                (!is_so).then(|| {
                    format!("it sets {:?} at version {}, the command was {body:?}", pool.spec.mode, pool.version)
                })
            }
            (
                EventBody::PoolRetired(Retirement { pool, live, .. }),
                CommandBody::RetirePool { with_reservations, expected_version, .. },
            ) => {
                let is_so = (*live == 0 || *with_reservations) && expected_version.is_none_or(|v| v == pool.version);
                (!is_so).then(|| format!("it retires {pool:?} with {live} live, the command was {body:?}"))
            }
            (EventBody::LimitsAdjusted(pool), CommandBody::AdjustLimits { change, expected_version, .. }) => {
                let is_so = before.is_none_or(|before| is_changed(&before.limits, Some(change), &pool.spec.limits));
                (!(is_so && is_version(pool, *expected_version)))
                    .then(|| format!("it makes {:?} of {before:?}, the command was {body:?}", pool.spec.limits))
            }
            (EventBody::PoolChanged(pool), CommandBody::ChangePool { change, expected_version, .. }) => {
                let is_so = before.is_none_or(|before| is_said_anew(before, change, &pool.spec));
                (!(is_so && is_version(pool, *expected_version)))
                    .then(|| format!("it makes {:?} of {before:?}, the command was {body:?}", pool.spec))
            }
            (EventBody::Rejected(rejection), CommandBody::Extend { hold_ttl_ms, .. }) => {
                let told = rejection.asked.as_deref();
                let is_so = told.is_none_or(|told| told.hold_ttl_ms == Some(*hold_ttl_ms));
                (!is_so).then(|| format!("it refuses {told:?}, the command asked for {hold_ttl_ms} ms"))
            }
            (EventBody::Rejected(rejection), body) if body.reservation().is_none() => refuses_another(rejection, body),
            _ => None,
        }
    })
}

/// Whether the command was decided before its deadline, or refused as late. An Abandon is never late.
fn in_time(event: &Event, body: CommandKind, deadline: Micros) -> Option<String> {
    let refused = match &event.body {
        EventBody::Rejected(rejection) => Some(rejection.reason),
        _ => None,
    };
    let is_late = deadline < event.decided_at && body != CommandKind::Abandon;
    let is_so = match refused {
        // The owner finds these before it looks at the time.
        Some(Reason::Malformed | Reason::Misrouted | Reason::Duplicate) => true,
        Some(Reason::Expired) => is_late,
        _ => !is_late,
    };
    (!is_so)
        .then(|| format!("its deadline is {}, it is decided at {} as {:?}", deadline.0, event.decided_at.0, refused))
}

/// Whether the event is about the pool and the reservation that the command names.
fn about_another(event: &Event, body: &CommandBody) -> Option<String> {
    let (pool, reservation) = (event.body.pool_id(), event.body.reservation_id());
    let is_so = body.reservation().is_none_or(|asked| reservation == Some(asked))
        && body.pool().is_none_or(|asked| pool == Some(asked));
    (!is_so).then(|| format!("it is about {pool:?} and {reservation:?}, the command was {body:?}"))
}

fn is_version(pool: &Pool, expected: Option<u64>) -> bool {
    expected.is_none_or(|expected| expected.checked_add(1) == Some(pool.version))
}

/// Whether a refusal shows another change than was asked for, where it shows one.
fn refuses_another(rejection: &Rejection, body: &CommandBody) -> Option<String> {
    let told = rejection.asked.as_deref()?;
    (body.asked().as_ref() != Some(told)).then(|| format!("it refuses {told:?}, the command was {body:?}"))
}

/// Whether the change, and nothing else, turned one definition into the other.
fn is_said_anew(before: &PoolSpec, change: &PoolChange, after: &PoolSpec) -> bool {
    let mut labels = before.labels.clone();
    for (label, value) in &change.labels {
        labels.remove(label);
        labels.extend(value.iter().map(|value| (label.clone(), value.clone())));
    }
    labels == after.labels
        && is_changed(&before.limits, change.limits.as_ref(), &after.limits)
        && after.areas == *change.areas.as_ref().unwrap_or(&before.areas)
        && after.mode == change.mode.unwrap_or(before.mode)
        && is_most(before.rules.hold_ttl_max_ms, change.rules.hold_ttl_max_ms, after.rules.hold_ttl_max_ms)
        && is_most(before.rules.hold_life_max_ms, change.rules.hold_life_max_ms, after.rules.hold_life_max_ms)
        && is_most(before.rules.retire_after_ms, change.rules.retire_after_ms, after.rules.retire_after_ms)
        && after.rules.unique_order_ref == change.rules.unique_order_ref.unwrap_or(before.rules.unique_order_ref)
        && window_parts(after) == changed_parts(window_parts(before), change.window)
}

fn is_most(before: Option<u64>, edit: Edit<u64>, after: Option<u64>) -> bool {
    match edit {
        Edit::Keep => after == before,
        Edit::Clear => after.is_none(),
        Edit::To(ms) => after == Some(ms),
    }
}

/// Start, end and cutoff of a window.
type Parts = [Option<Micros>; 3];

fn window_parts(spec: &PoolSpec) -> Parts {
    spec.window.map_or([None; 3], |window| [Some(window.start), Some(window.end), window.cutoff])
}

fn changed_parts([start, end, cutoff]: Parts, edit: Edit<WindowChange>) -> Parts {
    match edit {
        Edit::Keep => [start, end, cutoff],
        Edit::Clear => [None; 3],
        Edit::To(to) => {
            let cutoff = match to.cutoff {
                Edit::Keep => cutoff,
                Edit::Clear => None,
                Edit::To(cutoff) => Some(cutoff),
            };
            [to.start.or(start), to.end.or(end), cutoff]
        }
    }
}

fn is_changed(before: &Amounts, change: Option<&LimitChange>, after: &Amounts) -> bool {
    let expected = before.try_map(|d, limit| match change {
        None => Some(limit),
        Some(LimitChange::To(to)) => Some(to.get(d).unwrap_or(limit)),
        Some(LimitChange::By(by)) => {
            let delta = by.iter().find(|(other, _)| *other == d).map_or(0, |(_, delta)| *delta);
            limit.checked_add_signed(delta)
        }
    });
    expected.as_ref() == Ok(after)
}
