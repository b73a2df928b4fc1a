//! Replies that never arrive: the events tell the same, and every caller is answered.

use super::service::Log;
use super::told::{Told, callers, pool};
use crate::server::Server;
use crate::wait::until;
use headroom::replica::Mood;
use headroom::time::{Stopwatch, SystemClock};
use std::sync::Arc;
use std::time::Duration;

/// What a caller waits who says nothing; a call that runs into it was not answered by anybody.
const USUAL: Duration = Duration::from_millis(5_000);

#[test]
fn callers_whose_replies_are_lost_are_answered_by_the_events() {
    let (log, elsewhere) = (Log::new(2), Log::new(2));
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let clock = || Arc::new(SystemClock::new());
    // Its replies go where no gateway reads.
    let mut config = log.config(dirs[0].path(), "owner");
    config.kafka.as_mut().unwrap().topics.replies.clone_from(&elsewhere.cluster.topics.replies);
    let owner = Server::of(&config, clock());
    for shared in owner.gateway.replica().partitions() {
        until("the partition is owned", || shared.mood() == Mood::Owning);
    }
    let gateway = log.serve(dirs[1].path(), "gateway", clock());
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
    let partition = headroom::domain::route::partition_of(&headroom::domain::PoolId::new("van-1").unwrap(), 2);
    told.check(&log, partition);
    log.alike(partition, &[&owner, &gateway]);
}
