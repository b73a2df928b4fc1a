//! An auditor that begins in the middle of a log, where the first events are gone. It takes a state on trust and judges every
//! event after it. What the state does not tell, it does not judge: attempts that were taken back before may not count any
//! more, and it cannot tell which those are.

use super::answers::Answer;
use super::chain::Chain;
use super::lives::{Life, LifeStatus};
use super::{PartitionAudit, State};
use crate::domain::{Attempts, DedupEntry, Micros, Outline, Reservation, Status};

impl PartitionAudit {
    /// The auditor of a log of so many partitions, after the events that led to this state.
    pub fn begun(outline: Outline, partitions: u32) -> PartitionAudit {
        let mut audit = PartitionAudit::new(outline.partition, partitions);
        audit.chain = Chain::begun(&outline);
        audit.state.begin(outline);
        audit
    }
}

impl State {
    fn begin(&mut self, outline: Outline) {
        let Outline { decided_at, pools, mut reservations, mut answers, decided, retired, .. } = outline;
        self.at(decided_at);
        pools.iter().for_each(|pool| self.books.say(pool));
        // Refusals are forgotten in the order in which they were given.
        reservations.sort_unstable_by_key(|(_, reservation)| reservation.seq);
        for (id, reservation) in reservations {
            let (life, until) = (Life::of(&reservation), reservation.until);
            if life.stand.is_live() {
                self.books.take(&life.pool, &life.demand);
                self.lives.begin(id, life);
            } else {
                self.lives.remember(id, life, until);
            }
        }
        self.lives.has_forgotten();
        answers.sort_unstable_by_key(|(_, answer)| answer.seq);
        for (key, DedupEntry { fingerprint, until, body, seq }) in answers {
            self.answers.put(key, Answer { fingerprint, body: *body, seq }, until);
        }
        self.copies.known(decided);
        retired.into_iter().for_each(|(pool, seq, until)| self.retired.put(pool, seq, until, 0));
    }
}

impl Life {
    fn of(reservation: &Reservation) -> Life {
        let stand = match reservation.status {
            Status::Void => LifeStatus::Void,
            Status::Held => LifeStatus::Held(reservation.until),
            Status::Confirmed => LifeStatus::Confirmed,
            Status::Released => LifeStatus::Released,
            Status::Expired => LifeStatus::Expired,
            Status::Refused { reason, .. } => LifeStatus::Refused(reason, reservation.binding()),
        };
        let since = match stand {
            LifeStatus::Held(until) => {
                Micros(until.0.saturating_sub(u64::from(reservation.held_ms).saturating_mul(1_000)))
            }
            _ => Micros(0),
        };
        let Reservation { pool, demand, order_ref, attempts, fingerprint, seq, decided_seq, judged, .. } = reservation;
        Life {
            pool: pool.clone(),
            demand: demand.clone(),
            order_ref: order_ref.clone(),
            fingerprint: *fingerprint,
            counting: attempts.live().to_vec(),
            is_settled: matches!(attempts, Attempts::Settled),
            cancelled: attempts.cancelled().to_vec(),
            since,
            seq: *seq,
            decided_seq: *decided_seq,
            judged: judged.as_deref().copied(),
            stand,
        }
    }
}
