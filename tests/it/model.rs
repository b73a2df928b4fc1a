//! A second, dumber pool machine, written from the design's words. It shares with the domain what a command is and how
//! amounts are kept, and no decision: what is used it adds up anew from what lives, every time it is asked.

use headroom::domain::route;
use headroom::domain::{
    Amounts, Command, CommandBody, Dimension, Edit, LimitChange, Mode, PoolChange, PoolId, PoolSpec, ReservationId,
    Window,
};
use std::collections::BTreeMap;

const WINDOW: u64 = 15_000_000;
const SPAN: u64 = 3_000_000;
const DAY: u64 = 24 * 60 * 60 * 1_000_000;

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    Held(u64),
    Confirmed,
    Released,
    Expired,
    Refused(String),
}
use State::{Confirmed, Expired, Held, Nothing, Refused, Released};

/// A reservation id, what is known of it, and until when if it does not live.
#[derive(Default)]
struct Known {
    state: State,
    body: Option<CommandBody>,
    /// What it takes while it lives.
    takes: Amounts,
    /// `None` when there are more than are kept.
    tries: Option<Vec<u64>>,
    cancelled: Vec<u64>,
    until: u64,
    /// Of a hold, from when its life counts.
    since: u64,
    /// Which of all lives it is, and whether somebody has confirmed, extended or amended it.
    life: u64,
    is_touched: bool,
}

impl Known {
    fn is_of(&self, of: &PoolId) -> bool {
        matches!(&self.body, Some(CommandBody::Reserve { pool, .. }) if pool == of)
    }
}

/// What a command's key is a key of, and the key.
type Scope = (Option<PoolId>, Option<ReservationId>, String);

#[derive(Default)]
pub struct Model {
    pub pools: BTreeMap<PoolId, (PoolSpec, u64)>,
    known: BTreeMap<ReservationId, Known>,
    /// What a key was answered, until when that is kept, and about which life.
    answers: BTreeMap<Scope, (CommandBody, String, u64, u64)>,
    lives: u64,
    /// Until when the id of a pool that has retired may not be defined anew.
    retired: BTreeMap<PoolId, u64>,
    /// Until when the id of a decided command is kept.
    decided: BTreeMap<u128, u64>,
    now: u64,
}

impl Model {
    /// A turn begins: the holds that expire, in order.
    pub fn begin(&mut self, now: u64) -> Vec<ReservationId> {
        self.now = now;
        self.known.retain(|_, k| matches!(k.state, Held(_) | Confirmed) || k.until > now);
        self.answers.retain(|_, (_, _, until, _)| *until > now);
        self.decided.retain(|_, until| *until > now);
        self.retired.retain(|_, until| *until > now);
        let held =
            self.known.iter().filter_map(|(id, k)| if let Held(until) = k.state { Some((until, *id)) } else { None });
        let mut due: Vec<_> = held.filter(|(until, _)| *until <= now).collect();
        due.sort_unstable();
        for (_, id) in &due {
            let k = self.known.get_mut(id).unwrap();
            (k.state, k.until) = (Expired, now + DAY);
        }
        due.into_iter().map(|(_, id)| id).collect()
    }

    pub fn used(&self, of: &PoolId, d: Dimension) -> u64 {
        let live = self.known.values().filter(|k| matches!(k.state, Held(_) | Confirmed));
        let units = live.filter_map(|k| match &k.body {
            Some(CommandBody::Reserve { pool, .. }) if pool == of => k.takes.get(d),
            _ => None,
        });
        units.sum()
    }

    /// What a command comes to: kind, reason, and the dimension that decided it.
    pub fn decide(&mut self, c: &Command) -> String {
        if let CommandBody::Reserve { demand, .. } | CommandBody::Amend { demand, .. } = &c.body
            && demand.iter().any(|(_, units)| units == 0)
        {
            return "rejected malformed".to_owned();
        }
        if !matches!(c.body, CommandBody::Abandon { .. }) {
            if self.decided.contains_key(&c.id.0) {
                return "rejected duplicate".to_owned();
            }
            if c.deadline.0 < self.now {
                return "rejected expired".to_owned();
            }
            if c.deadline.0 > self.now + WINDOW {
                self.cancel(c);
                return "rejected deadline_too_far".to_owned();
            }
            self.decided.insert(c.id.0, (self.now + WINDOW) / SPAN * SPAN + SPAN);
        }
        let is_try = matches!(c.body, CommandBody::Reserve { .. } | CommandBody::Abandon { .. });
        let key = c.key.as_ref().filter(|_| !is_try).map(|key| key.as_str().to_owned());
        let scope = key.map(|key| (c.body.pool().cloned(), c.body.reservation(), key));
        if let Some((body, answer, _, life)) = scope.as_ref().and_then(|scope| self.answers.get(scope)) {
            let over = match &**answer {
                "confirmed" | "extended" | "amended" => c.body.reservation().and_then(|id| self.over_since(id, *life)),
                "defined" | "adjusted" | "mode_set" | "changed" => self.gone(&c.body),
                _ => None,
            };
            return match over {
                _ if *body != c.body => "rejected key_reused".to_owned(),
                Some(reason) => format!("rejected {reason}"),
                None => format!("repeated {answer}"),
            };
        }
        let answer = match (&c.body, c.body.reservation()) {
            (CommandBody::Reserve { .. }, Some(id)) => self.reserve(id, c),
            (CommandBody::Abandon { .. }, Some(id)) => Ok(self.abandon(id, c.attempt.0, c.deadline.0).to_owned()),
            (CommandBody::Amend { demand, .. }, Some(id)) => self.amend(id, demand),
            (body, Some(id)) => self.settle(id, body).map(str::to_owned).map_err(str::to_owned),
            (body, None) => self.edit(body).map(str::to_owned),
        };
        let answer = answer.unwrap_or_else(|reason| format!("rejected {reason}"));
        // Nothing is kept of what is refused about a pool that has retired, or of which nothing is known.
        let is_kept = !(answer.starts_with("rejected") && (self.is_retired(&c.body) || self.is_about_nothing(&c.body)));
        if let Some(scope) = scope.filter(|_| is_kept) {
            let first = answer.strip_prefix("repeated ").unwrap_or(&answer).to_owned();
            let life = c.body.reservation().and_then(|id| self.known.get(&id)).map_or(0, |k| k.life);
            self.answers.insert(scope, (c.body.clone(), first, self.now + DAY, life));
        }
        answer
    }

    /// Why there is no such pool any more.
    fn gone(&self, body: &CommandBody) -> Option<&'static str> {
        let is_definition = matches!(body, CommandBody::DefinePool { .. });
        let is_gone = body.pool().is_some_and(|pool| !self.pools.contains_key(pool));
        is_gone.then_some(if is_definition { "pool_retired" } else { "unknown_pool" })
    }

    /// Whether the command is about a pool that has retired lately. A reservation tells that while anything is known of it.
    fn is_retired(&self, body: &CommandBody) -> bool {
        match body.pool() {
            Some(pool) => self.retired.contains_key(pool),
            None => body.reservation().is_some_and(|id| self.is_known(id) && self.is_of_retired(id)),
        }
    }

    /// Whether the command names a reservation, and no pool, of which nothing is known.
    fn is_about_nothing(&self, body: &CommandBody) -> bool {
        body.pool().is_none() && body.reservation().is_some_and(|id| !self.is_known(id))
    }

    fn is_known(&self, id: ReservationId) -> bool {
        self.known.get(&id).is_some_and(|k| !matches!(k.state, Nothing) || !k.cancelled.is_empty())
    }

    fn is_of_retired(&self, id: ReservationId) -> bool {
        self.retired.keys().any(|pool| route::pool_hash(pool) == id.pool_hash())
    }

    /// Why the life of then is over, or its pool. Nothing is left of one that was taken back.
    fn over_since(&self, id: ReservationId, life: u64) -> Option<&'static str> {
        let is_it = |k: &Known| k.life == life && !matches!(k.state, Nothing | Refused(_));
        let is_known = self.known.get(&id).is_some_and(is_it) && !self.is_of_retired(id);
        if is_known { self.over(Some(id)) } else { Some("unknown_reservation") }
    }

    /// Why what lived once is over.
    fn over(&self, id: Option<ReservationId>) -> Option<&'static str> {
        match self.known.get(&id?)?.state {
            Held(until) if until <= self.now => Some("hold_expired"),
            Expired => Some("hold_expired"),
            Released => Some("already_released"),
            _ => None,
        }
    }

    fn reserve(&mut self, id: ReservationId, c: &Command) -> Result<String, String> {
        let CommandBody::Reserve { demand, hold_ttl_ms, .. } = &c.body else { panic!("{c:?}") };
        let over = self.over(Some(id));
        if let Some(k) = self.known.get_mut(&id) {
            match &k.state {
                _ if k.cancelled.contains(&c.attempt.0) => return Err("abandoned".to_owned()),
                Nothing if k.cancelled.len() == 16 => return Err("too_many_attempts".to_owned()),
                Nothing => {}
                _ if k.body.as_ref() != Some(&c.body) => return Err("key_reused".to_owned()),
                Refused(reason) => return Ok(format!("repeated rejected {reason}")),
                Held(_) | Confirmed | Expired | Released if over.is_some() => return Err(over.unwrap().to_owned()),
                Held(_) | Confirmed | Expired | Released => {
                    let is_cancelled_full = k.cancelled.len() == 16;
                    if let Some(tries) = &mut k.tries
                        && !tries.contains(&c.attempt.0)
                    {
                        tries.push(c.attempt.0);
                        if tries.len() > 64 || is_cancelled_full {
                            (k.tries, k.cancelled) = (None, Vec::new());
                        }
                    }
                }
            }
            if !matches!(k.state, Nothing) {
                return Ok("repeated accepted".to_owned());
            }
        }
        let fits = self.fits(c);
        let state = match &fits {
            Ok(()) => hold_ttl_ms.map_or(Confirmed, |ttl| Held(self.now + ttl * 1_000)),
            Err(reason) if c.key.is_some() && !self.is_retired(&c.body) => Refused(reason.clone()),
            Err(reason) => return Err(reason.clone()),
        };
        let k = self.known.entry(id).or_default();
        // A refusal beside attempts that were given up lasts as long as they.
        if fits.is_ok() || k.cancelled.is_empty() {
            k.until = self.now + DAY;
        }
        (k.state, k.body, k.tries) = (state, Some(c.body.clone()), Some(vec![c.attempt.0]));
        (k.since, k.takes, k.is_touched) = (self.now, demand.clone(), false);
        if fits.is_ok() {
            self.lives += 1;
            k.life = self.lives;
        }
        fits.map(|()| "accepted".to_owned())
    }

    fn fits(&self, c: &Command) -> Result<(), String> {
        let CommandBody::Reserve { pool: id, demand, hold_ttl_ms, order_ref, .. } = &c.body else { panic!("{c:?}") };
        let (spec, _) = self.pools.get(id).ok_or("unknown_pool")?;
        let is_of_order = |body: &CommandBody| matches!(body, CommandBody::Reserve { pool, order_ref: of, .. } if pool == id && of == order_ref);
        let is_other = |k: &Known| matches!(k.state, Held(_) | Confirmed) && k.body.as_ref().is_some_and(is_of_order);
        if spec.rules.unique_order_ref && order_ref.is_some() && self.known.values().any(is_other) {
            return Err("order_has_reservation".to_owned());
        }
        self.has_room(id, &Amounts::default(), demand)?;
        let held = |ttl: u64| held(spec, self.now, self.now, ttl).map(drop);
        hold_ttl_ms.map_or(Ok(()), held).map_err(str::to_owned)
    }

    /// Whether a reservation that takes `before` may take `demand`.
    fn has_room(&self, id: &PoolId, before: &Amounts, demand: &Amounts) -> Result<(), String> {
        let (spec, _) = self.pools.get(id).ok_or("unknown_pool")?;
        let had = |d| before.get(d).unwrap_or(0);
        let lacks = |d| spec.limits.get(d).is_none();
        let over = |d, units| units > had(d) && self.used(id, d) - had(d) + units > spec.limits.get(d).unwrap_or(0);
        match spec.mode {
            _ if spec.window.is_some_and(|w| w.cutoff.unwrap_or(w.end).0 <= self.now) => Err("past_cutoff".to_owned()),
            Mode::Closed => Err("closed".to_owned()),
            Mode::Paused => Err("paused".to_owned()),
            Mode::Open => match demand.iter().find(|(d, _)| lacks(*d)) {
                Some((d, _)) => Err(format!("unknown_dimension {d}")),
                None => {
                    let over = demand.iter().find(|(d, n)| over(*d, *n));
                    over.map_or(Ok(()), |(d, _)| Err(format!("over_limit {d}")))
                }
            },
        }
    }

    fn amend(&mut self, id: ReservationId, demand: &Amounts) -> Result<String, String> {
        let over = self.over(Some(id));
        let k = self.known.get(&id).filter(|k| !matches!(k.state, Nothing | Refused(_)));
        let k = k.ok_or("unknown_reservation")?;
        self.lives_on(k)?;
        if let Some(reason) = over {
            return Err(reason.to_owned());
        }
        if k.takes == *demand {
            return Ok("repeated amended".to_owned());
        }
        let Some(CommandBody::Reserve { pool, .. }) = &k.body else { panic!("{id} lives without a Reserve") };
        if demand.iter().any(|(d, units)| units > k.takes.get(d).unwrap_or(0)) {
            self.has_room(pool, &k.takes, demand)?;
        }
        let k = self.known.get_mut(&id).unwrap();
        (k.takes, k.is_touched) = (demand.clone(), true);
        Ok("amended".to_owned())
    }

    /// A try that is given up, and may come until then.
    fn abandon(&mut self, id: ReservationId, attempt: u64, deadline: u64) -> &'static str {
        let last = deadline.min(self.now + DAY);
        let may_come = last >= self.now;
        let k = self.known.entry(id).or_default();
        match (&k.state, &mut k.tries) {
            (Released | Expired, _) | (Held(_) | Confirmed, None) => return "abandoned",
            (Refused(_), _) if may_come && k.cancelled.is_empty() => k.until = last + 1,
            (Nothing | Refused(_), _) if may_come => k.until = k.until.max(last + 1),
            (Held(_) | Confirmed, Some(tries)) if *tries == [attempt] && !k.is_touched => {
                // Where nothing else was given up nothing is left to know.
                (k.state, k.until) = (Nothing, if k.cancelled.is_empty() { 0 } else { self.now + DAY });
                return "released";
            }
            (Held(_) | Confirmed, Some(tries)) if tries.contains(&attempt) => {
                tries.retain(|a| *a != attempt);
                return "abandoned";
            }
            _ => {}
        }
        if may_come && !k.cancelled.contains(&attempt) && k.cancelled.len() < 16 {
            k.cancelled.push(attempt);
        }
        "abandoned"
    }

    /// A try that is refused for now is as good as given up.
    fn cancel(&mut self, c: &Command) {
        let CommandBody::Reserve { reservation, .. } = c.body else { return };
        let tries = self.known.get(&reservation).and_then(|k| k.tries.as_ref());
        let counts = tries.is_some_and(|tries| tries.contains(&c.attempt.0));
        let lives = self.known.get(&reservation).is_some_and(|k| matches!(k.state, Held(_) | Confirmed));
        if !(lives && counts) {
            self.abandon(reservation, c.attempt.0, c.deadline.0);
        }
    }

    /// Nothing of a pool that has retired is known to those who ask for it.
    fn lives_on(&self, k: &Known) -> Result<(), &'static str> {
        let pool = k.body.as_ref().and_then(CommandBody::pool);
        if pool.is_some_and(|pool| self.pools.contains_key(pool)) { Ok(()) } else { Err("unknown_reservation") }
    }

    fn settle(&mut self, id: ReservationId, body: &CommandBody) -> Result<&'static str, &'static str> {
        let k = self.known.get(&id).filter(|k| !matches!(k.state, Nothing | Refused(_)));
        self.lives_on(k.ok_or("unknown_reservation")?)?;
        let k = self.known.get_mut(&id).unwrap();
        let spec = match &k.body {
            Some(CommandBody::Reserve { pool, .. }) => self.pools.get(pool).map(|(spec, _)| spec),
            _ => None,
        };
        let (state, answer) = match (body, &k.state) {
            (CommandBody::Confirm { .. }, Confirmed) => return Ok("repeated confirmed"),
            (CommandBody::Release { .. }, Released) => return Ok("repeated released"),
            (CommandBody::Release { .. }, Expired) => return Ok("repeated expired"),
            (CommandBody::Release { .. }, _) => (Released, "released"),
            (CommandBody::Confirm { .. }, Held(_)) => (Confirmed, "confirmed"),
            (CommandBody::Extend { hold_ttl_ms, .. }, Held(_)) => {
                let until = held(spec.unwrap(), k.since, self.now, *hold_ttl_ms)?;
                k.since = until - (until - k.since).div_ceil(1_000) * 1_000;
                (Held(until), "extended")
            }
            (_, Expired) => return Err("hold_expired"),
            (_, Released) => return Err("already_released"),
            _ => return Err("not_a_hold"),
        };
        (k.state, k.until, k.is_touched) = (state, self.now + DAY, true);
        Ok(answer)
    }

    fn live(&self, of: &PoolId) -> usize {
        let is_live = |k: &&Known| matches!(k.state, Held(_) | Confirmed) && k.is_of(of);
        self.known.values().filter(is_live).count()
    }

    /// What lives in the pool ends with it.
    fn retire(&mut self, pool: &PoolId) {
        self.pools.remove(pool);
        self.known.retain(|_, k| !(matches!(k.state, Held(_) | Confirmed) && k.is_of(pool)));
        self.retired.insert(pool.clone(), self.now + DAY);
    }

    fn edit(&mut self, body: &CommandBody) -> Result<&'static str, String> {
        let id = body.pool().unwrap();
        let old = self.pools.get(id).cloned();
        if matches!(body, CommandBody::DefinePool { .. }) && self.retired.contains_key(id) {
            return Err("pool_retired".to_owned());
        }
        if let CommandBody::RetirePool { with_reservations, expected_version, .. } = body {
            let (_, version) = old.ok_or("unknown_pool")?;
            return match expected_version {
                Some(expected) if *expected != version => Err("stale_version".to_owned()),
                _ if !with_reservations && self.live(id) > 0 => Err("pool_in_use".to_owned()),
                _ => {
                    self.retire(id);
                    Ok("retired")
                }
            };
        }
        let (expected, new) = match body {
            CommandBody::DefinePool { expected_version, spec, .. } => (expected_version, Some(spec)),
            CommandBody::AdjustLimits { expected_version, .. }
            | CommandBody::SetMode { expected_version, .. }
            | CommandBody::ChangePool { expected_version, .. } => (expected_version, None),
            _ => panic!("{body:?}"),
        };
        let (old, version) = old.or(new.map(|spec| (spec.clone(), 0))).ok_or("unknown_pool")?;
        if expected.is_some_and(|expected| expected != version) {
            return Err("stale_version".to_owned());
        }
        let (spec, answer) = match body {
            CommandBody::AdjustLimits { change, .. } => {
                (PoolSpec { limits: adjusted(&old.limits, change)?, ..old }, "adjusted")
            }
            CommandBody::SetMode { mode, .. } => (PoolSpec { mode: *mode, ..old }, "mode_set"),
            CommandBody::ChangePool { change, .. } => (changed(old, change)?, "changed"),
            _ => {
                let spec = new.unwrap();
                let lost = old.limits.iter().find(|(d, _)| spec.limits.get(*d).is_none() && self.used(id, *d) > 0);
                (lost.map_or(Ok(spec.clone()), |(d, _)| Err(format!("dimension_in_use {d}")))?, "defined")
            }
        };
        self.pools.insert(id.clone(), (spec, version + 1));
        Ok(answer)
    }
}

/// Until when a hold lasts that lives since then and gets so much time now.
fn held(spec: &PoolSpec, since: u64, now: u64, ttl_ms: u64) -> Result<u64, &'static str> {
    let until = now + ttl_ms * 1_000;
    let is_past = |from: u64, ms: Option<u64>| ms.is_some_and(|ms| until > from + ms * 1_000);
    match spec.rules {
        rules if is_past(now, rules.hold_ttl_max_ms) => Err("hold_too_long"),
        rules if is_past(since, rules.hold_life_max_ms) => Err("hold_too_old"),
        _ if spec.window.is_some_and(|window| until > window.end.0) => Err("hold_beyond_window"),
        _ => Ok(until),
    }
}

fn most(old: Option<u64>, edit: Edit<u64>) -> Option<u64> {
    match edit {
        Edit::Keep => old,
        Edit::Clear => None,
        Edit::To(ms) => Some(ms),
    }
}

fn changed(mut spec: PoolSpec, change: &PoolChange) -> Result<PoolSpec, String> {
    if let Some(limits) = &change.limits {
        spec.limits = adjusted(&spec.limits, limits)?;
    }
    let old = spec.window;
    spec.window = match change.window {
        Edit::Keep => old,
        Edit::Clear => None,
        Edit::To(to) => {
            let (start, end) = (to.start.or(old.map(|w| w.start)), to.end.or(old.map(|w| w.end)));
            let (start, end) = start.zip(end).ok_or("invalid_window")?;
            let cutoff = match to.cutoff {
                Edit::Keep => old.and_then(|w| w.cutoff),
                Edit::Clear => None,
                Edit::To(cutoff) => Some(cutoff),
            };
            if start >= end || cutoff.is_some_and(|cutoff| cutoff > end) {
                return Err("invalid_window".to_owned());
            }
            Some(Window { start, end, cutoff })
        }
    };
    for (label, value) in &change.labels {
        spec.labels.remove(label);
        spec.labels.extend(value.iter().map(|value| (label.clone(), value.clone())));
    }
    spec.areas = change.areas.clone().unwrap_or(spec.areas);
    spec.mode = change.mode.unwrap_or(spec.mode);
    let (rules, to) = (&mut spec.rules, change.rules);
    rules.hold_ttl_max_ms = most(rules.hold_ttl_max_ms, to.hold_ttl_max_ms);
    rules.hold_life_max_ms = most(rules.hold_life_max_ms, to.hold_life_max_ms);
    rules.retire_after_ms = most(rules.retire_after_ms, to.retire_after_ms);
    rules.unique_order_ref = to.unique_order_ref.unwrap_or(rules.unique_order_ref);
    Ok(spec)
}

fn adjusted(limits: &Amounts, change: &LimitChange) -> Result<Amounts, String> {
    let mut after: BTreeMap<_, _> = limits.iter().map(|(d, units)| (d, i128::from(units))).collect();
    let (is_by, asked): (bool, Vec<_>) = match change {
        LimitChange::To(to) => (false, to.iter().map(|(d, units)| (d, i128::from(units))).collect()),
        LimitChange::By(by) => (true, by.iter().map(|(d, delta)| (*d, i128::from(*delta))).collect()),
    };
    if let Some((d, _)) = asked.iter().find(|(d, _)| !after.contains_key(d)) {
        return Err(format!("unknown_dimension {d}"));
    }
    asked.iter().for_each(|(d, n)| *after.get_mut(d).unwrap() = if is_by { after[d] + n } else { *n });
    if let Some((d, _)) = after.iter().find(|(_, n)| !(0..=1_000_000_000_000_000).contains(*n)) {
        return Err(format!("limit_out_of_range {d}"));
    }
    Ok(Amounts::new(after.into_iter().map(|(d, n)| (d, n as u64))).unwrap())
}
