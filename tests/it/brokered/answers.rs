//! What callers were told, to be held against the log when all is over.

use super::service::Log;
use crate::fixtures::{dimension, pool_id, reservation_id};
use crate::http::client::Reply;
use crate::server::Server;
use headroom::domain::{EventBody, Ledger, PoolId, ReservationId};
use headroom::replica::PartitionState;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Has the pool made, however often that takes.
pub fn pool(server: &Server, id: &str, orders: u64) {
    let path = format!("/v1/pools/{id}");
    let body = format!("{{\"limits\":{{\"orders\":{orders}}}}}");
    crate::wait::until("the pool is made", || {
        let reply = server.client().send("PUT", &path, &["Request-Timeout-Ms: 5000"], &body);
        assert!(matches!(reply.status, 200 | 201 | 503 | 504), "{reply:?}");
        reply.status < 300
    });
}

/// A Reserve of one order; the caller waits for as long as it may.
pub fn reserve(server: &Server, pool: &str, key: &str) -> Reply {
    let headers = [format!("Idempotency-Key: {key}"), "Request-Timeout-Ms: 5000".to_owned()];
    let body = format!("{{\"pool\":\"{pool}\",\"demand\":{{\"orders\":1}}}}");
    server.client().send("POST", "/v1/reservations", &headers.each_ref().map(String::as_str), &body)
}

/// Callers who ask one after the other for as long as `meanwhile` runs, which may ask how many yeses there were. What
/// they were told, and what came of it.
pub fn callers<T>(
    server: &Server,
    pool: &str,
    count: usize,
    meanwhile: impl FnOnce(&dyn Fn() -> usize) -> T,
) -> (Told, T) {
    let (is_over, told) = (AtomicBool::new(false), Mutex::new(Told::default()));
    let result = std::thread::scope(|scope| {
        for caller in 0..count {
            let (is_over, told) = (&is_over, &told);
            scope.spawn(move || {
                let keys = (0..).map(|n| format!("caller-{caller}-{n}"));
                for key in keys.take_while(|_| !is_over.load(Relaxed)) {
                    let reply = reserve(server, pool, &key);
                    told.lock().hear(pool, &key, &reply);
                }
            });
        }
        let _end = End(&is_over);
        meanwhile(&|| told.lock().yes())
    });
    (told.into_inner(), result)
}

/// Has callers stop, also when what they were there for fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The answers to callers of one partition.
#[derive(Default)]
pub struct Told {
    pools: BTreeSet<PoolId>,
    /// Where the log has each yes: the event and its digest.
    yes: BTreeMap<ReservationId, (u64, String)>,
    no: BTreeSet<ReservationId>,
    unknown: BTreeSet<ReservationId>,
}

impl Told {
    /// Asks, with a key that was not used before; answers whether it was a yes.
    #[track_caller]
    pub fn reserve(&mut self, server: &Server, pool: &str, key: &str) -> bool {
        let reply = reserve(server, pool, key);
        self.hear(pool, key, &reply)
    }

    #[track_caller]
    pub fn hear(&mut self, pool: &str, key: &str, reply: &Reply) -> bool {
        let pool = pool_id(pool);
        let id = reservation_id(&pool, key);
        self.pools.insert(pool);
        let answer = reply.json();
        match (reply.status, answer["outcome"].as_str()) {
            (201, _) => {
                assert_eq!(answer["reservation"], id.to_string());
                let proof = &answer["proof"];
                let digest = proof["digest"].as_str().unwrap().to_owned();
                self.yes.insert(id, (proof["seq"].as_u64().unwrap(), digest));
                return true;
            }
            (409 | 503, Some("not_applied")) => self.no.insert(id),
            (504, Some("unknown")) => self.unknown.insert(id),
            _ => panic!("{reply:?}"),
        };
        false
    }

    /// With what others were told.
    pub fn add(&mut self, mut others: Told) {
        self.pools.append(&mut others.pools);
        self.yes.append(&mut others.yes);
        self.no.append(&mut others.no);
        self.unknown.append(&mut others.unknown);
    }

    pub fn yes(&self) -> usize {
        self.yes.len()
    }

    pub fn no(&self) -> usize {
        self.no.len()
    }

    /// The log is clean; it has every yes, as its caller was shown it, and nothing of any no. Whatever else lives in it
    /// belongs to a caller who was told that nobody knows. Answers the state that it makes.
    #[track_caller]
    pub fn check(&self, log: &Log, partition: u32) -> PartitionState {
        let events = log.audited(partition);
        let state = log.rebuilt(partition);
        for (id, (seq, digest)) in &self.yes {
            let recorded = events.get(*seq as usize).unwrap_or_else(|| panic!("{id}: the log ends before seq {seq}"));
            assert_eq!((recorded.event.seq, &recorded.digest.to_string()), (*seq, digest), "{id}");
            assert!(matches!(recorded.event.body, EventBody::Accepted(_)), "{id}: {:?}", recorded.event.body);
            assert_eq!(recorded.event.body.reservation_id(), Some(*id));
        }
        let lives = |id: &ReservationId| state.reservation(id).is_some_and(|r| r.status.is_live());
        assert!(self.yes.keys().all(lives), "a yes was taken away");
        assert!(!self.no.iter().any(lives), "a no holds something");
        let unknown = self.unknown.iter().filter(|id| lives(id)).count();
        let orders = dimension("orders");
        let used = self.pools.iter().filter_map(|pool| state.pool(pool)?.used.get(orders)).sum::<u64>();
        assert_eq!(used, (self.yes.len() + unknown) as u64, "somebody holds what nobody was told of");
        state
    }
}
