//! One of two processes is far from the cluster: it leaves its partitions to the other, once, and takes its share again when
//! it is near.

use super::proxy::{Fault, Proxy, Which};
use super::serve::{Serving, Site};
use crate::fixtures;
use crate::process::agent;
use crate::rig::Rig;
use crate::wait::until;
use headroom::time::Stopwatch;
use serde_json::json;
use std::time::Duration;

const PARTITIONS: u32 = 4;
const ALL: usize = PARTITIONS as usize;
/// How long each request and each answer of the distant process is held up.
const AWAY: Duration = Duration::from_millis(300);
/// For how long it is watched that partitions stay where they are.
const CALM: Duration = Duration::from_secs(20);

fn pool_of(partition: u32) -> String {
    fixtures::pool_of(partition, PARTITIONS).as_str().to_owned()
}

/// Calls for one partition by way of one process, and what came of them.
struct Caller<'s> {
    process: &'s Serving<'s>,
    pool: String,
    since_yes: Stopwatch,
    longest: Duration,
}

impl Caller<'_> {
    /// Reserves once within the usual deadline; answers whether it was told yes.
    fn call(&mut self) -> bool {
        let url = format!("{}/v1/reservations", self.process.url().unwrap());
        let body = json!({ "pool": self.pool, "demand": { "orders": 1 } }).to_string();
        let answer = agent().post(url).content_type("application/json").send(&body).unwrap();
        let is_yes = answer.status() == 201;
        if is_yes {
            self.longest = self.longest.max(self.since_yes.elapsed());
            self.since_yes = Stopwatch::start();
        }
        is_yes
    }
}

fn said(process: &Serving<'_>, what: &str) -> usize {
    process.logged().lines().filter(|line| line.contains(what)).count()
}

/// The story: the network between one process and the cluster becomes slow. Its turns take longer than callers wait, so
/// its partitions say no to everybody although another process is near. It leaves the group once, the near one takes
/// over, and it comes back when it is near again.
#[test]
fn a_distant_owner_leaves_its_partitions_to_a_near_one() {
    const LEFT: &str = "partitions are left to others";
    const BACK: &str = "may own partitions again";
    let rig = Rig::proxied(&[]);
    let (site, proxy) = (Site::new(&rig, PARTITIONS), Proxy::start(&rig));
    let near = site.serve("near");
    let far = site.serve_by("far", &rig.proxied_broker());
    let has_share = |line: &str| line.contains("gives partitions") && !line.contains("partitions=[]");
    until("both have their share", || far.logged().lines().any(has_share));
    let mut callers: Vec<_> = (0..PARTITIONS)
        .map(pool_of)
        .map(|pool| {
            let put = agent().put(format!("{}/v1/pools/{pool}", near.url().unwrap()));
            let body = json!({ "limits": { "orders": 1_000_000 } }).to_string();
            let made = put.header("request-timeout-ms", "5000").content_type("application/json").send(&body);
            assert_eq!(made.unwrap().status(), 201);
            Caller { process: &near, pool, since_yes: Stopwatch::start(), longest: Duration::ZERO }
        })
        .collect();
    until("all are served", || callers.iter_mut().all(Caller::call));

    let late = proxy.every(Which::all(), Fault::Late { request: AWAY, answer: AWAY });
    callers.iter_mut().for_each(|caller| (caller.since_yes, caller.longest) = (Stopwatch::start(), Duration::ZERO));
    until("it leaves", || {
        callers.iter_mut().for_each(|caller| {
            caller.call();
        });
        said(&far, LEFT) == 1
    });
    // Also those of which the first was told no.
    until("all are served again", || {
        callers.iter_mut().filter_map(|caller| caller.call().then_some(())).count() == ALL
    });
    let silences: Vec<_> = callers.iter().map(|caller| caller.longest).collect();
    println!("longest silences: {silences:.1?}");
    let calm = Stopwatch::start();
    let (mut calls, mut yes) = (0, 0);
    until("time passes", || {
        let told = callers.iter_mut().filter_map(|caller| caller.call().then_some(())).count();
        (calls, yes) = (calls + callers.len(), yes + told);
        calm.elapsed() > CALM
    });
    println!("{yes} of {calls} calls were told yes from then on");
    assert!(yes * 10 > calls * 9, "{yes} of {calls}");
    assert_eq!((said(&far, LEFT), said(&far, BACK), said(&near, LEFT)), (1, 0, 0));

    drop(late);
    until("it is back", || said(&far, BACK) == 1);
    let shares = |process: &Serving<'_>| process.logged().lines().filter(|line| has_share(line)).count();
    let before = shares(&far);
    until("and has a share again", || shares(&far) > 0 && (before > 1 || shares(&far) > before));
    until("all are served as before", || {
        callers.iter_mut().filter_map(|caller| caller.call().then_some(())).count() == ALL
    });
    assert_eq!((said(&far, LEFT), said(&near, LEFT)), (1, 0));
    let ended = site.run(["verify"]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
}
