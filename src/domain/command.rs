//! What is asked of a partition, one record in `headroom.commands`.

use super::change::{Edit, LimitChange, PoolChange, RuleChange};
use super::event::{AskedChange, CommandStamp};
use super::ids::{Attempt, CommandId, Dimension, IdempotencyKey, PoolId, ReservationId};
use super::kind::CommandKind;
use super::name::Name;
use super::pool::{Mode, PoolRules, PoolSpec};
use super::units::{Amounts, Micros};

/// A request with everything its decision needs; the log's stamp travels beside, not inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Its identity, under which the answer comes back.
    pub id: CommandId,
    /// The gateway that waits for the answer, if one does.
    pub reply_to: Option<u64>,
    /// This try; of an Abandon, the try it takes back.
    pub attempt: Attempt,
    /// Who asked.
    pub actor: Option<Name>,
    /// The caller's key: the same key, the same answer.
    pub key: Option<IdempotencyKey>,
    /// After this instant it is refused: nobody waits for it any more. An Abandon never is: it carries the deadline of the
    /// try that it takes back, which cannot count after it.
    pub deadline: Micros,
    /// What is asked.
    pub body: CommandBody,
}

impl Command {
    /// What its event repeats of it.
    pub fn stamp(&self) -> CommandStamp {
        CommandStamp {
            id: self.id,
            reply_to: self.reply_to,
            attempt: self.attempt,
            actor: self.actor.clone(),
            kind: self.body.kind(),
            key: self.key.clone(),
            fingerprint: self.body.fingerprint(),
            deadline: Some(self.deadline),
        }
    }

    /// What an Abandon would take back of it.
    pub fn reserved(&self) -> Option<Reserved> {
        match &self.body {
            CommandBody::Reserve { pool, reservation, .. } => {
                Some(Reserved { pool: pool.clone(), reservation: *reservation, deadline: self.deadline })
            }
            _ => None,
        }
    }
}

/// What an Abandon says of the Reserve that it takes back, beside its attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// The pool.
    pub pool: PoolId,
    /// The reservation.
    pub reservation: ReservationId,
    /// The Reserve's deadline: after it the attempt cannot count any more.
    pub deadline: Micros,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandBody {
    /// Make a pool, or say anew what it is.
    DefinePool {
        /// The pool's id.
        pool: PoolId,
        /// What it is.
        spec: PoolSpec,
        /// Only at this version; 0 means that there must be none.
        expected_version: Option<u64>,
    },
    /// Change some limits.
    AdjustLimits {
        /// The pool's id.
        pool: PoolId,
        /// The limits as they shall be, or the differences to them, in units per dimension.
        change: LimitChange,
        /// Only at this version.
        expected_version: Option<u64>,
    },
    /// Open, pause or close a pool.
    SetMode {
        /// The pool's id.
        pool: PoolId,
        /// To what.
        mode: Mode,
        /// Only at this version.
        expected_version: Option<u64>,
    },
    /// Take capacity.
    Reserve {
        /// Of which pool.
        pool: PoolId,
        /// Under which id.
        reservation: ReservationId,
        /// How much.
        demand: Amounts,
        /// As a hold for so many milliseconds, to be confirmed; for good when absent.
        hold_ttl_ms: Option<u64>,
        /// The caller's order.
        order_ref: Option<Name>,
    },
    /// Make a hold a reservation for good.
    Confirm {
        /// The reservation's id.
        reservation: ReservationId,
    },
    /// Give a hold so many milliseconds from now.
    Extend {
        /// The reservation's id.
        reservation: ReservationId,
        /// How long.
        hold_ttl_ms: u64,
    },
    /// Give capacity back.
    Release {
        /// The reservation's id.
        reservation: ReservationId,
    },
    /// Take back one try of a Reserve whose caller was told no.
    Abandon {
        /// Of which pool.
        pool: PoolId,
        /// Which; the try is the command's `attempt`.
        reservation: ReservationId,
    },
    /// Change more of a pool than its limits or its mode alone.
    ChangePool {
        /// The pool's id.
        pool: PoolId,
        /// The parts that change; the others stay.
        change: PoolChange,
        /// Only at this version.
        expected_version: Option<u64>,
    },
    /// Let a reservation take other units of its pool.
    Amend {
        /// The reservation's id.
        reservation: ReservationId,
        /// All that it takes from now on.
        demand: Amounts,
    },
}

/// What a command is about. Its partition, and the key of its record, follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject<'a> {
    /// A pool.
    Pool(&'a PoolId),
    /// A reservation, whose id holds the hash of its pool.
    Reservation(&'a ReservationId),
}

impl Subject<'_> {
    /// The key of its record in the log, where records have keys.
    pub fn record_key(&self) -> &[u8] {
        match self {
            Subject::Pool(pool) => pool.as_str().as_bytes(),
            Subject::Reservation(reservation) => reservation.bytes(),
        }
    }
}

impl CommandBody {
    /// Its kind.
    pub fn kind(&self) -> CommandKind {
        match self {
            CommandBody::DefinePool { .. } => CommandKind::DefinePool,
            CommandBody::AdjustLimits { .. } => CommandKind::AdjustLimits,
            CommandBody::SetMode { .. } => CommandKind::SetMode,
            CommandBody::Reserve { .. } => CommandKind::Reserve,
            CommandBody::Confirm { .. } => CommandKind::Confirm,
            CommandBody::Extend { .. } => CommandKind::Extend,
            CommandBody::Release { .. } => CommandKind::Release,
            CommandBody::Abandon { .. } => CommandKind::Abandon,
            CommandBody::ChangePool { .. } => CommandKind::ChangePool,
            CommandBody::Amend { .. } => CommandKind::Amend,
        }
    }

    /// What it is about.
    pub fn subject(&self) -> Subject<'_> {
        match self {
            CommandBody::DefinePool { pool, .. }
            | CommandBody::AdjustLimits { pool, .. }
            | CommandBody::SetMode { pool, .. }
            | CommandBody::ChangePool { pool, .. }
            | CommandBody::Reserve { pool, .. }
            | CommandBody::Abandon { pool, .. } => Subject::Pool(pool),
            CommandBody::Confirm { reservation }
            | CommandBody::Extend { reservation, .. }
            | CommandBody::Amend { reservation, .. }
            | CommandBody::Release { reservation } => Subject::Reservation(reservation),
        }
    }

    /// The pool that it names; `None` where it names a reservation alone.
    pub fn pool(&self) -> Option<&PoolId> {
        match self.subject() {
            Subject::Pool(pool) => Some(pool),
            Subject::Reservation(_) => None,
        }
    }

    /// The version that the pool must have; 0 means that there must be no such pool. `None` where any version will do.
    pub fn expected_version(&self) -> Option<u64> {
        match self {
            CommandBody::DefinePool { expected_version, .. }
            | CommandBody::AdjustLimits { expected_version, .. }
            | CommandBody::SetMode { expected_version, .. }
            | CommandBody::ChangePool { expected_version, .. } => *expected_version,
            _ => None,
        }
    }

    /// The reservation that it names; a Reserve and an Abandon name it beside their pool.
    pub fn reservation(&self) -> Option<ReservationId> {
        match self {
            CommandBody::Reserve { reservation, .. }
            | CommandBody::Confirm { reservation }
            | CommandBody::Extend { reservation, .. }
            | CommandBody::Amend { reservation, .. }
            | CommandBody::Release { reservation }
            | CommandBody::Abandon { reservation, .. } => Some(*reservation),
            CommandBody::DefinePool { .. }
            | CommandBody::AdjustLimits { .. }
            | CommandBody::SetMode { .. }
            | CommandBody::ChangePool { .. } => None,
        }
    }

    /// What is asked of a pool or of a hold, as far as the event of its refusal tells; `None` when that is nothing.
    pub fn asked(&self) -> Option<AskedChange> {
        let (limits, mode, hold_ttl_ms) = match self {
            CommandBody::DefinePool { spec, .. } => (Some(LimitChange::To(spec.limits.clone())), Some(spec.mode), None),
            CommandBody::AdjustLimits { change, .. } => (Some(change.clone()), None, None),
            CommandBody::SetMode { mode, .. } => (None, Some(*mode), None),
            CommandBody::ChangePool { change, .. } => (change.limits.clone(), change.mode, None),
            CommandBody::Reserve { hold_ttl_ms, .. } => (None, None, *hold_ttl_ms),
            CommandBody::Extend { hold_ttl_ms, .. } => (None, None, Some(*hold_ttl_ms)),
            _ => return None,
        };
        let asked = AskedChange { limits, mode, version: self.expected_version(), hold_ttl_ms };
        (asked != AskedChange::default()).then_some(asked)
    }

    /// A stable 64-bit fingerprint of the body, so that a key reused with another body can be told. It is recorded in
    /// events, so its bytes are fixed for ever: FNV-1a over tagged, length-prefixed fields.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.number(self.kind() as u64);
        if let Some(pool) = self.pool() {
            hash.text(pool.as_str());
        }
        if let Some(reservation) = self.reservation() {
            hash.bytes(reservation.bytes());
        }
        match self {
            CommandBody::DefinePool { spec, expected_version, .. } => {
                hash.spec(spec);
                hash.optional(*expected_version);
            }
            CommandBody::AdjustLimits { change, expected_version, .. } => {
                hash.limits(change);
                hash.optional(*expected_version);
            }
            CommandBody::ChangePool { change, expected_version, .. } => {
                hash.change(change);
                hash.optional(*expected_version);
            }
            CommandBody::SetMode { mode, expected_version, .. } => {
                hash.number(*mode as u64);
                hash.optional(*expected_version);
            }
            CommandBody::Reserve { demand, hold_ttl_ms, order_ref, .. } => {
                hash.amounts(0, demand.iter());
                hash.optional(*hold_ttl_ms);
                hash.text(order_ref.as_ref().map_or("", Name::as_str));
            }
            CommandBody::Extend { hold_ttl_ms, .. } => hash.number(*hold_ttl_ms),
            CommandBody::Amend { demand, .. } => hash.amounts(0, demand.iter()),
            CommandBody::Confirm { .. } | CommandBody::Release { .. } | CommandBody::Abandon { .. } => {}
        }
        hash.0
    }
}

struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn optional(&mut self, number: Option<u64>) {
        self.number(u64::from(number.is_some()));
        self.number(number.unwrap_or_default());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn amounts(&mut self, tag: u64, amounts: impl ExactSizeIterator<Item = (Dimension, u64)>) {
        self.number(tag);
        self.number(amounts.len() as u64);
        for (dimension, units) in amounts {
            self.text(dimension.as_str());
            self.number(units);
        }
    }

    fn limits(&mut self, change: &LimitChange) {
        match change {
            LimitChange::To(limits) => self.amounts(0, limits.iter()),
            LimitChange::By(deltas) => {
                // The order in which a caller names dimensions is no part of what is asked.
                let mut sorted: Vec<_> = deltas.iter().map(|(d, delta)| (*d, *delta as u64)).collect();
                sorted.sort_unstable();
                self.amounts(1, sorted.into_iter());
            }
        }
    }

    fn edit<T>(&mut self, edit: &Edit<T>, put: impl FnOnce(&mut Fnv, &T)) {
        match edit {
            Edit::Keep => self.number(0),
            Edit::Clear => self.number(1),
            Edit::To(value) => {
                self.number(2);
                put(self, value);
            }
        }
    }

    fn change(&mut self, change: &PoolChange) {
        let PoolChange { limits, areas, window, labels, mode, rules } = change;
        self.number(u64::from(limits.is_some()));
        limits.iter().for_each(|limits| self.limits(limits));
        self.optional(areas.as_ref().map(|areas| areas.len() as u64));
        areas.iter().flatten().for_each(|area| self.text(area.as_str()));
        self.edit(window, |hash, window| {
            hash.optional(window.start.map(|start| start.0));
            hash.optional(window.end.map(|end| end.0));
            hash.edit(&window.cutoff, |hash, cutoff| hash.number(cutoff.0));
        });
        self.number(labels.len() as u64);
        for (label, value) in labels {
            self.text(label.as_str());
            // A name is never empty.
            self.text(value.as_ref().map_or("", Name::as_str));
        }
        self.optional(mode.map(|mode| mode as u64));
        // Older versions knew no rules: a change of none has the fingerprint that they gave it.
        if *rules != RuleChange::default() {
            self.edit(&rules.hold_ttl_max_ms, |hash, ms| hash.number(*ms));
            self.edit(&rules.hold_life_max_ms, |hash, ms| hash.number(*ms));
            self.optional(rules.unique_order_ref.map(u64::from));
        }
    }

    fn spec(&mut self, spec: &PoolSpec) {
        self.amounts(0, spec.limits.iter());
        self.number(spec.areas.len() as u64);
        spec.areas.iter().for_each(|area| self.text(area.as_str()));
        self.optional(spec.window.map(|w| w.start.0));
        self.optional(spec.window.map(|w| w.end.0));
        self.optional(spec.window.and_then(|w| w.cutoff).map(|cutoff| cutoff.0));
        self.number(spec.labels.len() as u64);
        for (label, value) in &spec.labels {
            self.text(label.as_str());
            self.text(value.as_str());
        }
        self.number(spec.mode as u64);
        // Older versions knew no rules, and a pool without any has the fingerprint that they gave it.
        if spec.rules != PoolRules::default() {
            self.number(u64::MAX);
            self.optional(spec.rules.hold_ttl_max_ms);
            self.optional(spec.rules.hold_life_max_ms);
            self.number(u64::from(spec.rules.unique_order_ref));
        }
    }
}
