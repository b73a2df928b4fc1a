//! The real binary, killed while callers write: at named points around the commit and at any moment. After every
//! restart `headroom verify` finds every law kept, every 201 ever answered is in the log, and every "no" holds nothing; so
//! is every amend that was answered 200, and every retirement of a pool.
//! `HEADROOM_CRASH_KILLS` sets how often, `HEADROOM_CRASH_SEED` repeats a run.

use crate::knob;
use crate::process::{KILLED, Served, agent, code_of, headroom, run};
use crate::wait::soon;
use headroom::audit::history::{Call, History, Proof, Told};
use headroom::domain::{ChainedEvent, Digest, EventBody, IdempotencyKey, PoolId, ReservationId};
use headroom::log::CommittedTail;
use headroom::log::embedded::EmbeddedReader;
use headroom::wire;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

const WRITERS: u64 = 6;
const POOLS: u64 = 8;
const POINTS: &[&str] = &["decided", "committed", "adopted"];

/// The story: the machine loses power, or the kernel kills the process, while callers are being answered. A server that
/// answered before its commit would have said yes to an order that the log does not hold; one that committed and forgot
/// would hold capacity for a caller who was told no. After each restart every yes that was ever told is in the log
/// exactly once, every no holds nothing, and whoever was told neither can ask again under the same key.
#[test]
fn killed_at_any_moment_it_keeps_every_yes_and_every_no() {
    let kills = knob("HEADROOM_CRASH_KILLS", 24);
    let seed = knob("HEADROOM_CRASH_SEED", 20_261_121);
    println!("{kills} kills, seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let (calls, changed) = (Mutex::new(Vec::new()), Mutex::new(Changed::default()));
    let mut moments = StdRng::seed_from_u64(seed);
    for round in 0..kills {
        let point = POINTS[usize::try_from(round).unwrap() % POINTS.len()];
        // Without the feature every kill is at a moment of this test's choosing.
        let at = (cfg!(feature = "crash-points") && round % 2 == 0).then(|| (point, moments.random_range(10..400)));
        round_of_calls(dir.path(), at, &mut moments, (&calls, &changed), seed.wrapping_mul(1_000) + round);
        verify(dir.path());
        let report = judge(dir.path(), &calls.lock());
        assert!(report.is_clean(), "round {round}, seed {seed}, killed at {at:?}: {report}");
    }
    let report = judge(dir.path(), &calls.lock());
    println!("{report}");
    let changed = changed.into_inner();
    are_in_the_log(dir.path(), &changed);
    // A run in which nobody was refused, or nobody left in doubt, shows nothing.
    let Changed { amended, retired } = changed;
    assert!(amended.len() as u64 > 10 * kills, "{} amends", amended.len());
    assert!(retired.len() as u64 > 2 * kills, "{} retirements", retired.len());
    assert!(report.yes > 50 * kills && report.no > kills && report.unknown > kills && report.released > kills);
}

/// What callers were told of changes.
#[derive(Default)]
struct Changed {
    /// Of amends that were answered 200.
    amended: Vec<Proof>,
    /// Of retirements that were answered 200: partition and sequence number, and the pool.
    retired: Vec<((u32, u64), PoolId)>,
}

/// Serves, lets writers call, dies among their calls.
fn round_of_calls(
    dir: &Path,
    crash_at: Option<(&str, u64)>,
    moments: &mut StdRng,
    (calls, changed): (&Mutex<Vec<Call>>, &Mutex<Changed>),
    seed: u64,
) {
    let mut server = start(dir, crash_at);
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let answers_before_kill = moments.random_range(100..1_500);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (url, is_over, answered) = (server.url.clone(), &is_over, &answered);
            let seed = seed.wrapping_mul(WRITERS) + writer;
            scope.spawn(move || {
                let mut writer = Writer::new(&url, seed);
                while !is_over.load(Relaxed) && !writer.is_cut_off {
                    let made = writer.one();
                    answered.fetch_add(1, Relaxed);
                    calls.lock().extend(made);
                }
                let mut changed = changed.lock();
                changed.amended.append(&mut writer.changed.amended);
                changed.retired.append(&mut writer.changed.retired);
            });
        }
        let happened = match crash_at {
            Some(_) => soon(|| server.running.is_over()),
            None => soon(|| answered.load(Relaxed) >= answers_before_kill),
        };
        let status = server.running.kill();
        // Before anything panics: the writers would never end.
        is_over.store(true, Relaxed);
        assert!(
            happened && code_of(status) == KILLED,
            "{status}: killed at {crash_at:?} or after {answers_before_kill} answers"
        );
    });
}

/// Started, every partition serving, every pool there.
fn start(dir: &Path, crash_at: Option<(&str, u64)>) -> Served {
    let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--log-level", "error", "--data-dir"]);
    if let Some((point, n)) = crash_at {
        command.env("HEADROOM_CRASH_AT", format!("{point}:{n}"));
    }
    let server = Served::start(command.arg(dir));
    let agent = agent();
    let body = json!({ "limits": { "orders": 150, "crates": 590 } }).to_string();
    for n in 0..POOLS {
        let url = format!("{}/v1/pools/crash-{n}", server.url);
        // There since the first round; a server that dies here has been asked to.
        let _ = agent.put(url).header("if-none-match", "*").content_type("application/json").send(&body);
    }
    server
}

/// A caller that reserves, holds, confirms, amends, releases, retries, and sometimes has no patience.
struct Writer {
    agent: ureq::Agent,
    base: String,
    random: StdRng,
    /// The server is gone.
    is_cut_off: bool,
    held: Vec<(PoolId, ReservationId)>,
    changed: Changed,
}

impl Writer {
    fn new(url: &str, seed: u64) -> Writer {
        let base = format!("{url}/v1/reservations");
        let random = StdRng::seed_from_u64(seed);
        Writer { agent: agent(), base, random, is_cut_off: false, held: Vec::new(), changed: Changed::default() }
    }

    fn one(&mut self) -> Vec<Call> {
        match self.random.random_range(0..12) {
            0..4 if !self.held.is_empty() => self.release().into_iter().collect(),
            4 if !self.held.is_empty() => self.confirm(),
            5..7 if !self.held.is_empty() => self.amend(),
            7 => self.retire(),
            _ => self.reserve(),
        }
    }

    fn reserve(&mut self) -> Vec<Call> {
        let pool = PoolId::new(&format!("crash-{}", self.random.random_range(0..POOLS))).unwrap();
        let key = IdempotencyKey::new(&format!("{:016x}", self.random.next_u64())).unwrap();
        let hold = self.random.random_bool(0.4).then_some(60_000);
        let mut body = json!({ "pool": pool.as_str(), "demand": { "orders": 1, "crates": 4 } });
        if let Some(ttl) = hold {
            body["hold_ttl_ms"] = json!(ttl);
        }
        let tries = self.random.random_range(1..=3);
        let mut calls = Vec::new();
        for _ in 0..tries {
            if self.is_cut_off {
                break;
            }
            let timeout_ms = if self.random.random_bool(0.3) { self.random.random_range(1..6) } else { 250 };
            let told = self.told(&body, &key, timeout_ms);
            let reservation = if let Told::Yes(proof) = &told { Some(proof.reservation) } else { None };
            if let Some(id) = reservation
                && !self.held.contains(&(pool.clone(), id))
            {
                self.held.push((pool.clone(), id));
            }
            calls.push(Call { pool: pool.clone(), key: Some(key.clone()), reservation, told });
        }
        calls
    }

    fn told(&mut self, body: &Value, key: &IdempotencyKey, timeout_ms: u64) -> Told {
        let request = self.agent.post(&self.base).header("idempotency-key", key.as_str());
        let request = request.header("request-timeout-ms", timeout_ms.to_string());
        let response = request.content_type("application/json").send(body.to_string());
        let text = response.and_then(|mut r| Ok((r.status(), r.body_mut().read_to_string()?)));
        // A broken connection leaves the caller in doubt, and so does an answer that was cut off.
        let Ok((status, text)) = text else {
            self.is_cut_off = true;
            return Told::Unknown;
        };
        let answer: Value = serde_json::from_str(&text).unwrap();
        if status == 201 {
            return Told::Yes(proof(&answer));
        }
        match answer["outcome"].as_str() {
            Some("not_applied") => Told::No(answer["code"].as_str().unwrap().to_owned()),
            outcome => {
                assert_eq!(outcome, Some("unknown"), "{answer}");
                Told::Unknown
            }
        }
    }

    fn release(&mut self) -> Option<Call> {
        let at = self.random.random_range(0..self.held.len());
        let (pool, id) = self.held.swap_remove(at);
        let response = self.agent.delete(format!("{}/{id}", self.base)).call();
        let told = if response.is_ok_and(|r| r.status() == 200) { Told::Released } else { Told::Unknown };
        Some(Call { pool, key: None, reservation: Some(id), told })
    }

    /// No promise of its own to record: the reservation was told of before.
    fn confirm(&mut self) -> Vec<Call> {
        let at = self.random.random_range(0..self.held.len());
        let _ = self.agent.post(format!("{}/{}/confirm", self.base, self.held[at].1)).send_empty();
        Vec::new()
    }

    /// More or less than it takes, sometimes twice under one key.
    fn amend(&mut self) -> Vec<Call> {
        let at = self.random.random_range(0..self.held.len());
        let url = format!("{}/{}", self.base, self.held[at].1);
        let demand = json!({ "orders": self.random.random_range(1..=2), "crates": self.random.random_range(1..=9) });
        let body = json!({ "demand": demand }).to_string();
        let key = format!("amend-{:016x}", self.random.next_u64());
        for _ in 0..self.random.random_range(1..=2) {
            let request = self.agent.patch(&url).header("idempotency-key", &key).content_type("application/json");
            let response = request.send(&body).ok().filter(|response| response.status() == 200);
            let text = response.and_then(|mut response| response.body_mut().read_to_string().ok());
            self.changed.amended.extend(text.map(|text| proof(&serde_json::from_str(&text).unwrap())));
        }
        Vec::new()
    }

    /// A pool of its own, with a reservation. It retires with it, sometimes twice under one key.
    fn retire(&mut self) -> Vec<Call> {
        let (pool, key) =
            (format!("short-{:016x}", self.random.next_u64()), format!("{:016x}", self.random.next_u64()));
        let url = format!("{}/{pool}", self.base.replace("reservations", "pools"));
        let limits = json!({ "limits": { "orders": 1 } }).to_string();
        let _ = self.agent.put(&url).content_type("application/json").send(limits);
        let (pool, key) = (PoolId::new(&pool).unwrap(), IdempotencyKey::new(&key).unwrap());
        let told = self.told(&json!({ "pool": pool.as_str(), "demand": { "orders": 1 } }), &key, 250);
        let reservation = if let Told::Yes(proof) = &told { Some(proof.reservation) } else { None };
        let call = Call { pool: pool.clone(), key: Some(key.clone()), reservation, told };
        for _ in 0..self.random.random_range(1..=2) {
            let request = self.agent.delete(format!("{url}?with_reservations=true"));
            let response = request.header("idempotency-key", key.as_str()).call().ok();
            let text = response.filter(|r| r.status() == 200).and_then(|mut r| r.body_mut().read_to_string().ok());
            self.changed.retired.extend(text.map(|text| {
                let proof = &serde_json::from_str::<Value>(&text).unwrap()["proof"];
                let number = |name: &str| proof[name].as_u64().unwrap();
                ((number("partition").try_into().unwrap(), number("seq")), pool.clone())
            }));
        }
        vec![call]
    }
}

fn proof(answer: &Value) -> Proof {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let proof = &answer["proof"];
    let hex = text(&proof["digest"]);
    let mut digest = [0; 16];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    }
    Proof {
        reservation: ReservationId::parse(&text(&answer["reservation"])).unwrap(),
        partition: proof["partition"].as_u64().unwrap().try_into().unwrap(),
        seq: proof["seq"].as_u64().unwrap(),
        epoch: proof["epoch"].as_u64().unwrap().try_into().unwrap(),
        digest: Digest(digest),
    }
}

fn verify(dir: &Path) {
    let verified = run(headroom(["verify", "--data-dir"]).arg(dir));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

fn judge(dir: &Path, calls: &[Call]) -> headroom::audit::history::HistoryReport {
    let mut history = History::new();
    calls.iter().cloned().for_each(|call| history.record(call));
    each_event(dir, |recorded| history.observe(recorded));
    history.finish()
}

/// Whoever was told that a reservation takes other units, or that a pool has retired, finds the event that says so.
fn are_in_the_log(dir: &Path, told: &Changed) {
    let (mut events, mut retired) = (BTreeMap::new(), BTreeMap::new());
    each_event(dir, |ChainedEvent { event, digest, .. }| {
        if let Some(retirement) = event.body.retirement() {
            retired.insert((event.partition, event.seq), retirement.pool.id.clone());
        }
        let original = if let EventBody::Repeated(original, _) = &event.body { original } else { &event.body };
        if let EventBody::Amended(entry, _) = original {
            let (reservation, partition, seq) = (entry.reservation, event.partition, event.seq);
            let (epoch, digest) = (event.epoch, *digest);
            events.insert((partition, seq), Proof { reservation, partition, seq, epoch, digest });
        }
    });
    for (place, pool) in &told.retired {
        assert_eq!(retired.get(place), Some(pool));
    }
    for proof in &told.amended {
        assert_eq!(events.get(&(proof.partition, proof.seq)), Some(proof));
    }
}

fn each_event(dir: &Path, mut see: impl FnMut(&ChainedEvent)) {
    let log = EmbeddedReader::open(dir).unwrap();
    for partition in 0..log.partitions() {
        let mut from = 0;
        loop {
            let events = log.read(partition, from, 1 << 20).unwrap();
            let Some(last) = events.last() else { break };
            from = last.seq + 1;
            events.iter().for_each(|event| see(&wire::event::decode(&event.bytes).unwrap()));
        }
    }
}
