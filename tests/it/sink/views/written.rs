//! Logs of a few events that are written one by one, of a pool whose lives come as they rarely do.

use crate::bed::HOUR_MS;
use crate::fixtures::{open_pool, orders, pool_id, reservation_id};
use crate::turns;
use crate::world::World;
use headroom::domain::{
    Digest, Entry, Event, EventBody, Micros, Origin, Pool, PoolSpec, RetireCause, Retirement, Status, Window,
};
use headroom::log::{CommitOutcome, OwnedPartition as _, PartitionLog as _, StoredEvent};
use headroom::wire;
use std::sync::Arc;
use tempfile::TempDir;

/// 2023-11-15T00:00:00Z: every life begins in the past.
const BEGAN: Micros = Micros(1_700_006_400_000_000);
const LIMIT: u64 = 50;

/// A log of one partition and one pool.
#[derive(Default)]
pub struct Written {
    events: Vec<StoredEvent>,
    prev: Digest,
    used: u64,
    /// The hour from which on the pool admits nothing, if it stands for a time.
    cutoff: Option<u64>,
}

impl Written {
    /// The first life begins when the clock is two days ahead. The second one begins after it was set back, and earlier by the clock.
    /// Both accept a reservation under the same key, and the first one accepts another one besides.
    pub fn set_back_between_lives() -> Written {
        let mut log = Written::default();
        log.add(0, EventBody::Barrier { nonce: 1 });
        log.begins(50);
        log.accepts(51, "k");
        log.accepts(51, "first");
        log.ends(52);
        log.set_back(52, 2);
        log.begins(30);
        log.accepts(31, "k");
        log
    }

    /// The clock is set back while the pool has a hold, and once more when the life of the pool has ended, and that of both its holds
    /// with it.
    pub fn set_back_around_an_end() -> Written {
        let mut log = Written::default();
        log.add(0, EventBody::Barrier { nonce: 1 });
        log.begins(50);
        log.holds(51, "before");
        log.set_back(52, 40);
        log.holds(41, "between");
        log.ends(42);
        log.set_back(43, 2);
        log
    }

    /// The pool is full for an hour, and then when the clock is set back.
    pub fn set_back_while_full() -> Written {
        let mut log = Written::default();
        log.add(0, EventBody::Barrier { nonce: 1 });
        log.begins(50);
        (0..LIMIT).for_each(|number| log.accepts(51, &format!("key-{number}")));
        log.changes(52);
        log.set_back(53, 2);
        log.ends(3);
        log
    }

    /// Three lives, each of which is full. The first one has its cutoff moved from hour 9 back to hour 1, when it has been full for an hour.
    /// The second one is full from an hour before its cutoff on, and three hours after that is told to admit for two hours more. The
    /// third one is full only after its cutoff.
    pub fn moved_while_full() -> Written {
        let mut log = Written::default();
        log.add(0, EventBody::Barrier { nonce: 1 });
        for (from, cutoff, full, moved, until) in
            [(1, 9, 2, (3, 1), 8), (40, 42, 41, (45, 47), 50), (80, 81, 82, (83, 81), 84)]
        {
            log.cutoff = Some(cutoff);
            log.begins(from);
            (0..LIMIT).for_each(|number| log.accepts(full, &format!("key-{number}")));
            log.cutoff = Some(moved.1);
            log.changes(moved.0);
            log.ends(until);
        }
        log
    }

    /// Three lives. The first one ends with 15, the second one is from 16 to 18, and the third one begins with 20. Whoever ended the
    /// second one asks again, and 19 shows once more how the pool was.
    pub fn three_lives() -> Written {
        let mut log = Written::default();
        log.add(0, EventBody::Barrier { nonce: 1 });
        log.begins(1);
        (2..15).for_each(|seq| log.accepts(seq, &format!("key-{seq}")));
        log.ends(15);
        log.begins(40);
        log.accepts(41, "other");
        let end = log.ends(42);
        log.add(43, EventBody::Repeated(Box::new(end), Some(Origin { seq: 18, decided_at: Some(hour(42)) })));
        log.begins(67);
        log.accepts(68, "last");
        log
    }

    /// A directory with the log, in which nobody can read what stands in these places.
    pub fn without(&self, lost: &[i64]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut events = self.events.clone();
        lost.iter().for_each(|seq| events[usize::try_from(*seq).unwrap()].bytes = b"no event".to_vec());
        let log = World::open(dir.path(), 1, None).unwrap();
        let mut owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
        assert_eq!(owned.commit(Arc::new(turns::turn(Vec::new(), &events))), CommitOutcome::Ok);
        dir
    }

    fn add(&mut self, hours: u64, body: EventBody) {
        let seq = self.events.len() as u64;
        let event = Event { partition: 0, seq, epoch: 1, prev: self.prev, decided_at: hour(hours), cause: None, body };
        let (bytes, digest) = wire::event::encode(&event);
        self.prev = digest;
        self.events.push(StoredEvent { seq, bytes, trace: None });
    }

    fn set_back(&mut self, from: u64, to: u64) {
        self.add(to, EventBody::ClockSet { from: hour(from), detail: "by hand".to_owned() });
    }

    fn pool(&self) -> Pool {
        let window = |cutoff| Window { start: hour(98), end: hour(99), cutoff: Some(hour(cutoff)) };
        let spec = PoolSpec { window: self.cutoff.map(window), ..open_pool(orders(LIMIT)) };
        Pool { id: pool_id("north"), spec, used: orders(self.used), version: 1 }
    }

    fn begins(&mut self, hours: u64) {
        self.used = 0;
        self.add(hours, EventBody::PoolDefined(self.pool()));
    }

    /// Somebody says of it once more what it is.
    fn changes(&mut self, hours: u64) {
        self.add(hours, EventBody::PoolDefined(Pool { version: 2, ..self.pool() }));
    }

    fn ends(&mut self, hours: u64) -> EventBody {
        let end = EventBody::PoolRetired(Retirement { pool: self.pool(), live: self.used, cause: RetireCause::Caller });
        self.add(hours, end.clone());
        end
    }

    /// A reservation of one order.
    fn accepts(&mut self, hours: u64, key: &str) {
        self.takes(hours, key, None);
    }

    /// The same for an hour.
    fn holds(&mut self, hours: u64, key: &str) {
        self.takes(hours, key, Some(hour(hours + 1)));
    }

    fn takes(&mut self, hours: u64, key: &str, hold_until: Option<Micros>) {
        self.used += 1;
        let pool = pool_id("north");
        let entry = Entry {
            reservation: reservation_id(&pool, key),
            pool,
            status: if hold_until.is_some() { Status::Held } else { Status::Confirmed },
            demand: orders(1),
            hold_until,
            hold_since: hold_until.map(|_| hour(hours)),
            order_ref: None,
            limits: orders(LIMIT),
            used: orders(self.used),
        };
        self.add(hours, EventBody::Accepted(entry));
    }
}

fn hour(hours: u64) -> Micros {
    BEGAN.plus_ms(hours * HOUR_MS)
}
