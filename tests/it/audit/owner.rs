//! A partition's owner as small as can be: commands in, records out. It decides and folds with the domain's own code
//! over plain maps, so its records are what the auditor must find clean. No log, no turns, no bytes: the digest is of
//! the event's debug text, since the auditor only compares it.

use crate::fixtures;
use crate::machine::MapLedger;
use headroom::domain::decide::{DecisionContext, decide, expire, retire};
use headroom::domain::evolve::evolve;
use headroom::domain::route::pool_hash;
use headroom::domain::*;

pub const PARTITIONS: u32 = 4;

/// What an owner can be given.
#[derive(Clone, Debug)]
pub enum Input {
    Claim,
    Tick,
    Unreadable,
    /// So many commands are gone.
    Lost(u64),
    /// So many events are gone.
    EventsLost(u64),
    Expire(ReservationId),
    Retire(PoolId),
    /// The clock is set back by so many milliseconds.
    SetClock(u64),
    Take(Box<Command>),
}

pub struct Owner {
    pub maps: MapLedger,
    pub partition: u32,
    pub now: Micros,
    pub log: Vec<ChainedEvent>,
    /// What it was given, and when: one for each record.
    pub inputs: Vec<(Micros, Input)>,
    epoch: u32,
    commands: u64,
    skipped: u64,
}

impl Owner {
    pub fn new(partition: u32) -> Owner {
        let now = Micros(1_700_000_000_000_000);
        let (maps, log, inputs) = (MapLedger::default(), Vec::new(), Vec::new());
        Owner { maps, partition, now, log, inputs, epoch: 0, commands: 0, skipped: 0 }
    }

    pub fn later_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// Expires every hold that is due.
    pub fn expire_due(&mut self) {
        let ids: Vec<_> = self.maps.reservations.keys().copied().collect();
        ids.into_iter().for_each(|id| self.give(Input::Expire(id)));
    }

    /// Expires every hold and retires every pool that is due.
    pub fn end_due(&mut self) {
        self.expire_due();
        self.retire_due();
    }

    /// Retires every pool whose time has come.
    pub fn retire_due(&mut self) {
        let ids: Vec<_> = self.maps.pools.keys().cloned().collect();
        ids.into_iter().for_each(|id| self.give(Input::Retire(id)));
    }

    /// A command of its own; one whose deadline is open has some seconds.
    pub fn take(&mut self, command: &Command) {
        let id = CommandId(self.inputs.len() as u128);
        let deadline = if command.deadline == Micros::MAX { self.now.plus_ms(5_000) } else { command.deadline };
        self.give(Input::Take(Box::new(Command { id, deadline, ..command.clone() })));
    }

    /// Writes the one record that the input comes to; none for a hold or a pool that is not due.
    pub fn give(&mut self, input: Input) {
        let given_at = self.now;
        let (cause, body) = match &input {
            Input::Claim => {
                self.epoch += 1;
                (None, EventBody::Barrier { nonce: u64::from(self.epoch) })
            }
            Input::Tick => (None, EventBody::Tick),
            Input::Lost(many) => {
                self.skip(many - 1);
                (Some(self.cause(None)), EventBody::CommandsLost { detail: "by hand".to_owned() })
            }
            Input::EventsLost(many) => {
                let from = self.log.len() as u64;
                (None, EventBody::EventsLost { detail: "by hand".to_owned(), from, until: from + many })
            }
            Input::Unreadable => (Some(self.cause(None)), EventBody::Malformed { detail: "not a record".to_owned() }),
            Input::Expire(id) => match expire(&self.maps, *id, self.now) {
                Some(body) => (None, body),
                None => return,
            },
            Input::Retire(id) => match retire(&self.maps, id, self.now) {
                Some(body) => (None, body),
                None => return,
            },
            Input::SetClock(ms) => {
                let from = self.now;
                self.now = from.set_back(ms * 1_000);
                (None, EventBody::ClockSet { from, detail: "by hand".to_owned() })
            }
            Input::Take(command) => {
                let place = DecisionContext {
                    partition: self.partition,
                    partitions: PARTITIONS,
                    now: self.now,
                    pools_retire: true,
                };
                let body = decide(&self.maps, command, place);
                (Some(self.cause(Some(command.stamp()))), body)
            }
        };
        self.inputs.push((given_at, input));
        self.write(cause, body);
    }

    fn cause(&mut self, command: Option<CommandStamp>) -> Cause {
        let skipped = std::mem::take(&mut self.skipped);
        self.commands += skipped + 1;
        Cause { input_offset: self.commands - 1, skipped, command, unread: None }
    }

    /// So many places hold no command.
    pub fn skip(&mut self, places: u64) {
        self.skipped += places;
    }

    fn write(&mut self, cause: Option<Cause>, body: EventBody) {
        let prev = self.log.last().map(|r| r.digest).unwrap_or_default();
        let seq = self.log.len() as u64;
        let (partition, epoch) = (self.partition, self.epoch);
        let event = Event { partition, seq, epoch, prev, decided_at: self.now, cause, body };
        evolve(&mut self.maps, &event).unwrap();
        self.log.push(record(event));
    }
}

fn record(event: Event) -> ChainedEvent {
    let hash = blake3::hash(format!("{event:?}").as_bytes());
    ChainedEvent::new(event, Digest(hash.as_bytes()[..16].try_into().unwrap()))
}

pub fn key(text: &str) -> Option<IdempotencyKey> {
    Some(fixtures::key(text))
}

pub fn reservation(pool: &PoolId, unique: u8) -> ReservationId {
    ReservationId::new(pool_hash(pool), [unique; 11])
}

pub fn command(body: CommandBody, attempt: u64, key: Option<IdempotencyKey>) -> Command {
    Command { key, deadline: Micros::MAX, ..fixtures::command(attempt, body) }
}
