//! What callers ask of a partition. A command is one record in `headroom.commands`.

use super::change::{Edit, LimitChange, PoolChange, RuleChange};
use super::event::{AskedChange, CommandStamp};
use super::ids::{Attempt, CommandId, Dimension, IdempotencyKey, PoolId, ReservationId};
use super::kind::CommandKind;
use super::name::Name;
use super::pool::{Mode, PoolRules, PoolSpec};
use super::units::{Amounts, Micros};

/// A request with everything that its decision needs. Its place in the log is kept beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The command's identity, which its event and its reply repeat.
    pub id: CommandId,
    /// The incarnation of the gateway that waits for the reply; `None` when nobody waits.
    pub reply_to: Option<u64>,
    /// The number of this try; of an Abandon, the number of the try that it takes back.
    pub attempt: Attempt,
    /// Who asks; callers set it, and nothing depends on it.
    pub actor: Option<Name>,
    /// The caller's idempotency key. The same key on the same pool or reservation gets the same answer.
    pub key: Option<IdempotencyKey>,
    /// The command is refused when this time has passed, because nobody waits any more. An Abandon is never refused
    /// for it: it carries the deadline of the try that it takes back, after which that try cannot count.
    pub deadline: Micros,
    /// What the command asks for.
    pub body: CommandBody,
}

impl Command {
    /// The part of the command that its event repeats.
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

    /// What an Abandon of this command would say; `None` for every command except a Reserve.
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
    /// The pool of the Reserve.
    pub pool: PoolId,
    /// The reservation that the Reserve asks for.
    pub reservation: ReservationId,
    /// The Reserve's deadline. The attempt cannot count after it.
    pub deadline: Micros,
}

/// What a command asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandBody {
    /// Creates a pool, or replaces its whole definition.
    DefinePool {
        /// The pool's id.
        pool: PoolId,
        /// All that a planner defines of the pool.
        spec: PoolSpec,
        /// The version that the pool must have; 0: the pool must not exist. `None`: any version.
        expected_version: Option<u64>,
    },
    /// Changes limits of a pool.
    AdjustLimits {
        /// The pool's id.
        pool: PoolId,
        /// The new limits, or differences to the present ones, in units per dimension.
        change: LimitChange,
        /// The version that the pool must have. `None`: any version.
        expected_version: Option<u64>,
    },
    /// Opens, pauses or closes a pool.
    SetMode {
        /// The pool's id.
        pool: PoolId,
        /// The new mode.
        mode: Mode,
        /// The version that the pool must have. `None`: any version.
        expected_version: Option<u64>,
    },
    /// Takes capacity of a pool.
    Reserve {
        /// The pool to take it of.
        pool: PoolId,
        /// The id of the reservation, made of the pool and the key.
        reservation: ReservationId,
        /// Units per dimension.
        demand: Amounts,
        /// Makes a hold of so many milliseconds, which must be confirmed. `None`: a confirmed reservation at once.
        hold_ttl_ms: Option<u64>,
        /// The caller's order, if the reservation belongs to one.
        order_ref: Option<Name>,
    },
    /// Makes a confirmed reservation of a hold.
    Confirm {
        /// The reservation's id.
        reservation: ReservationId,
    },
    /// Lets a hold last for so many milliseconds from now on.
    Extend {
        /// The reservation's id.
        reservation: ReservationId,
        /// Milliseconds from the decision to the hold's new deadline.
        hold_ttl_ms: u64,
    },
    /// Gives the capacity of a reservation back.
    Release {
        /// The reservation's id.
        reservation: ReservationId,
    },
    /// Takes back one attempt of a Reserve whose caller was told no.
    Abandon {
        /// The pool of the Reserve.
        pool: PoolId,
        /// The reservation of the Reserve; the attempt is the command's `attempt`.
        reservation: ReservationId,
    },
    /// Changes any parts of a pool.
    ChangePool {
        /// The pool's id.
        pool: PoolId,
        /// The parts to change; the others stay.
        change: PoolChange,
        /// The version that the pool must have. `None`: any version.
        expected_version: Option<u64>,
    },
    /// Ends the life of a pool.
    RetirePool {
        /// The pool's id.
        pool: PoolId,
        /// Whether the pool may retire with live reservations, which end with it.
        with_reservations: bool,
        /// The version that the pool must have. `None`: any version.
        expected_version: Option<u64>,
    },
    /// Changes the units that a reservation takes.
    Amend {
        /// The reservation's id.
        reservation: ReservationId,
        /// All that the reservation takes afterwards, in units per dimension.
        demand: Amounts,
    },
}

/// What a command is about. Its partition, and the key of its record, follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject<'a> {
    /// The pool that the command names.
    Pool(&'a PoolId),
    /// A reservation, whose id holds the hash of its pool.
    Reservation(&'a ReservationId),
}

impl Subject<'_> {
    /// The key of the command's record, for a log whose records have keys.
    pub fn record_key(&self) -> &[u8] {
        match self {
            Subject::Pool(pool) => pool.as_str().as_bytes(),
            Subject::Reservation(reservation) => reservation.bytes(),
        }
    }
}

impl CommandBody {
    /// The kind of the command.
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
            CommandBody::RetirePool { .. } => CommandKind::RetirePool,
        }
    }

    /// The pool or the reservation that the command is about, by which it is routed.
    pub fn subject(&self) -> Subject<'_> {
        match self {
            CommandBody::DefinePool { pool, .. }
            | CommandBody::AdjustLimits { pool, .. }
            | CommandBody::SetMode { pool, .. }
            | CommandBody::ChangePool { pool, .. }
            | CommandBody::RetirePool { pool, .. }
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
            | CommandBody::ChangePool { expected_version, .. }
            | CommandBody::RetirePool { expected_version, .. } => *expected_version,
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
            | CommandBody::ChangePool { .. }
            | CommandBody::RetirePool { .. } => None,
        }
    }

    /// What is asked of a pool or a hold, as far as the event of a refusal repeats it; `None` when it repeats
    /// nothing.
    pub fn asked(&self) -> Option<AskedChange> {
        let (limits, mode, hold_ttl_ms) = match self {
            CommandBody::DefinePool { spec, .. } => (Some(LimitChange::To(spec.limits.clone())), Some(spec.mode), None),
            CommandBody::AdjustLimits { change, .. } => (Some(change.clone()), None, None),
            CommandBody::SetMode { mode, .. } => (None, Some(*mode), None),
            CommandBody::ChangePool { change, .. } => (change.limits.clone(), change.mode, None),
            CommandBody::RetirePool { .. } => (None, None, None),
            CommandBody::Reserve { hold_ttl_ms, .. } => (None, None, *hold_ttl_ms),
            CommandBody::Extend { hold_ttl_ms, .. } => (None, None, Some(*hold_ttl_ms)),
            _ => return None,
        };
        let asked = AskedChange { limits, mode, version: self.expected_version(), hold_ttl_ms };
        (asked != AskedChange::default()).then_some(asked)
    }

    /// A stable 64-bit fingerprint of the body. It shows when a key is used again with another body. Events record
    /// it, so that its bytes never change: FNV-1a over tagged, length-prefixed fields.
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
            CommandBody::RetirePool { with_reservations, expected_version, .. } => {
                hash.number(u64::from(*with_reservations));
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
                // The order in which a caller names dimensions must not matter.
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
            // The empty text stands for a removed label, because no name is empty.
            self.text(value.as_ref().map_or("", Name::as_str));
        }
        self.optional(mode.map(|mode| mode as u64));
        // Older versions knew no rules. A change without rules keeps the fingerprint that they gave it.
        if (RuleChange { retire_after_ms: Edit::Keep, ..*rules }) != RuleChange::default() {
            self.edit(&rules.hold_ttl_max_ms, |hash, ms| hash.number(*ms));
            self.edit(&rules.hold_life_max_ms, |hash, ms| hash.number(*ms));
            self.optional(rules.unique_order_ref.map(u64::from));
        }
        if rules.retire_after_ms != Edit::Keep {
            self.number(u64::MAX.saturating_sub(1));
            self.edit(&rules.retire_after_ms, |hash, ms| hash.number(*ms));
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
        // Older versions knew no rules. A pool without rules keeps the fingerprint that they gave it.
        if (PoolRules { retire_after_ms: None, ..spec.rules }) != PoolRules::default() {
            self.number(u64::MAX);
            self.optional(spec.rules.hold_ttl_max_ms);
            self.optional(spec.rules.hold_life_max_ms);
            self.number(u64::from(spec.rules.unique_order_ref));
        }
        if let Some(ms) = spec.rules.retire_after_ms {
            self.number(u64::MAX.saturating_sub(1));
            self.number(ms);
        }
    }
}
