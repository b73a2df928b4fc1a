//! Checkpoints of a log on a cluster: whatever becomes of them, the state is the log's.

use super::answers::{Told, pool};
use super::service::Log;
use crate::fixtures;
use crate::server::Server;
use crate::store::copy_tree;
use headroom::replica::PartitionState;
use headroom::time::SystemClock;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const PARTITIONS: u32 = 2;
const RESERVES: usize = 40;

fn serve(log: &Log, dir: &Path) -> Server {
    log.serve(dir, "gateway,owner", Arc::new(SystemClock::new()))
}

/// A pool of this partition.
fn pool_of(partition: u32) -> String {
    fixtures::pool_of(partition, PARTITIONS).as_str().to_owned()
}

/// A log, what its callers were told, and copies of its directory: after half of it and after all.
fn history() -> (Log, [Told; 2], [tempfile::TempDir; 2]) {
    let log = Log::new(PARTITIONS);
    let dir = tempfile::tempdir().unwrap();
    let mut told = [Told::default(), Told::default()];
    let copies = [0, 1].map(|half| {
        let server = serve(&log, dir.path());
        for (partition, told) in (0..).zip(&mut told) {
            let name = pool_of(partition);
            pool(&server, &name, 1_000);
            for n in 0..RESERVES / 2 {
                assert!(told.reserve(&server, &name, &format!("{half}-{n}")));
            }
        }
        // It writes its checkpoints as it ends.
        drop(server);
        let kept = tempfile::tempdir().unwrap();
        copy_tree(dir.path(), kept.path());
        kept
    });
    (log, told, copies)
}

fn wiped(server: &Server) -> u64 {
    let text = server.client().get("/metrics").body;
    let lines = text.lines().filter(|line| line.starts_with("headroom_store_wiped_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The story: checkpoints of a log on a cluster are damaged, swapped, copied from another process or left over from
/// before. Taken at their word, a follower or an owner would answer from a state that the log never had. Whatever
/// becomes of them, the state is the one that the log makes.
#[test]
fn a_damaged_checkpoint_never_changes_the_state() {
    let (log, mut told, [old, new]) = history();
    let checkpoint = |dir: &Path, partition: u32| dir.join(format!("checkpoint/p{partition}"));
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, u64, Spoil<'_>); 4] = [
        ("as it was", 0, &|dir| copy_tree(new.path(), dir)),
        ("deleted", 0, &|dir| fs::create_dir_all(dir).unwrap()),
        ("from a while ago", 0, &|dir| copy_tree(old.path(), dir)),
        ("of another partition", 2, &|dir| {
            copy_tree(&checkpoint(new.path(), 0), &checkpoint(dir, 1));
            copy_tree(&checkpoint(new.path(), 1), &checkpoint(dir, 0));
        }),
    ];
    for (n, (what, odd, spoil)) in (0..).zip(cases) {
        let dir = tempfile::tempdir().unwrap();
        spoil(dir.path());
        let server = serve(&log, dir.path());
        assert_eq!(wiped(&server), odd, "{what}");
        for (partition, told) in (0..PARTITIONS).zip(&mut told) {
            // A claim took it from where the follower was.
            let path = format!("/internal/state/{partition}");
            let seen = server.client().get(&path).json();
            let rebuilt = log.rebuilt(partition);
            assert_eq!(seen["digest"], rebuilt.digest().to_string(), "{what}: partition {partition}");
            assert_eq!(seen["chain"], rebuilt.position().chain.to_string(), "{what}: partition {partition}");
            assert!(told.reserve(&server, &pool_of(partition), &format!("case-{n}")), "{what}");
            log.alike(partition, &[&server]);
        }
        // What it writes as it ends is sound again.
        drop(server);
        let server = serve(&log, dir.path());
        assert_eq!(wiped(&server), 0, "{what}: after another start");
        (0..PARTITIONS).for_each(|partition| log.alike(partition, &[&server]));
    }
    let states: Vec<PartitionState> = (0..).zip(&told).map(|(partition, told)| told.check(&log, partition)).collect();
    assert!(states.iter().all(|state| state.position().next_input as usize >= RESERVES));
}
