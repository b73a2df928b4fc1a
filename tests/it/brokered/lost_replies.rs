//! Replies that never arrive: the events tell the same, and every caller is answered.

use super::answers::{Told, callers, pool};
use super::service::Log;
use crate::fixtures::pool_id;
use crate::wait::until;
use headroom::domain::route;
use headroom::time::{Stopwatch, SystemClock};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use std::sync::Arc;
use std::time::Duration;

/// What a caller waits who says nothing; a call that runs into it was not answered by anybody.
const USUAL: Duration = Duration::from_millis(5_000);

#[test]
fn callers_whose_replies_are_lost_are_answered_by_the_events() {
    let log = Log::new(2);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let clock = || Arc::new(SystemClock::new());
    let owner = log.serve(dirs[0].path(), "owner", clock());
    let gateway = log.serve(dirs[1].path(), "gateway", clock());
    // Somebody deletes the topic of replies under both.
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &log.cluster.brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(USUAL));
    let deleted = runtime.block_on(admin.delete_topics(&[&log.cluster.topics.replies], &options)).unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    let mut told = Told::default();
    pool(&gateway, "van-1", 1_000);
    let mut took: Vec<Duration> = Vec::new();
    for n in 0..20 {
        let asking = Stopwatch::start();
        assert!(told.reserve(&gateway, "van-1", &format!("K{n}")));
        took.push(asking.elapsed());
    }
    took.sort_unstable();
    assert!(took[19] < USUAL, "{took:?}");
    println!("without replies: half of the callers answered within {:.1?}, all within {:.1?}", took[10], took[19]);
    let (many, ()) = callers(&gateway, "van-1", 8, |yes| until("many are answered", || yes() >= 100));
    told.add(many);
    assert_eq!(told.no(), 0);
    let partition = route::partition_of(&pool_id("van-1"), 2);
    told.check(&log, partition);
    log.alike(partition, &[&owner, &gateway]);
}
