//! The real binary dies where a segment is sealed and where an old snapshot is removed.
#![cfg(feature = "crash-points")]

use super::served::left_for_a_month;
use crate::bed::{Stopped, segments, url};
use crate::fixtures::{NOW, append};
use crate::process::Served;
use crate::snapshots::served::{command, define, is_sound, is_there, orders_until_it_dies, reserve};
use crate::wait::until;
use crate::world::{World, commit_turn};
use headroom::limits::COMMAND_BYTES_MAX;
use headroom::owner::Partition;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Bytes with which the first segment is sealed.
const SEGMENT_BYTES: usize = 4 << 20;

/// How many bytes of a segment are written: what follows is zero.
fn written(segment: &Path) -> usize {
    fs::read(segment).unwrap().iter().rposition(|byte| *byte > 0).unwrap_or_default()
}

/// A log whose segment is nearly full of commands that nobody can read.
fn nearly_full() -> tempfile::TempDir {
    let world = World::new(1);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    // Nothing packs them.
    let mut unreadable = vec![0; COMMAND_BYTES_MAX];
    blake3::Hasher::new().finalize_xof().fill(&mut unreadable);
    let segment = segments(world.path()).remove(0);
    let room = |of: usize| SEGMENT_BYTES.saturating_sub(written(&segment)) > of * COMMAND_BYTES_MAX;
    for (turn, left) in [(100, 110), (1, 3)] {
        while room(left) {
            (0..turn).for_each(|_| append(&*world.log, 0, &unreadable));
            while !commit_turn(&owner, &handle, &mut owned, NOW).is_empty() {}
        }
    }
    assert_eq!(segments(world.path()).len(), 1);
    drop(owned);
    world.close()
}

/// The story: the machine goes down in the moment in which the log goes over to its next file. Who was told yes has an order,
/// and the log goes on in that file.
#[test]
fn killed_when_a_segment_is_sealed_a_start_has_every_order_and_goes_on() {
    let (dir, folder) = (nearly_full(), tempfile::tempdir().unwrap());
    let place = url(folder.path());
    let mut served = Served::start(command(dir.path(), &place).env("HEADROOM_CRASH_AT", "log-sealed:1"));
    define(&served);
    let (asked, taken) = orders_until_it_dies(&mut served, "log-sealed");
    assert!(taken.len() > 10 && segments(dir.path()).len() == 2, "{taken:?}");
    is_sound(dir.path());
    let served = Served::start(&mut command(dir.path(), &place));
    // The same keys get the answers of then.
    assert!(taken.iter().all(|n| is_there(&served, *n)));
    assert!((asked + 1..asked + 20).all(|n| reserve(&served, n)));
    assert_eq!(served.running.terminate().code, 0);
    is_sound(dir.path());
    let files = segments(dir.path());
    assert!(files.len() == 2 && written(&files[1]) > 10_000, "{files:?}");
}

/// The names of the snapshots in a folder of which this object is there.
fn names(stopped: &Stopped, end: &str) -> BTreeSet<String> {
    let log = fs::read_dir(stopped.snapshots.path()).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(log.join("p0")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|name| Some(name.strip_suffix(end)?.to_owned())).collect()
}

/// The story: the machine goes down while snapshots of last month are removed. What is left is whole snapshots, a start begins
/// with the newest one, and what was not removed is removed later.
#[test]
fn killed_while_old_snapshots_are_removed_a_start_finds_whole_ones() {
    // After a manifest, after its rows, and after the next manifest.
    for nth in 1..=3_usize {
        let stopped = left_for_a_month();
        let (dir, place) = (stopped.dir.path(), url(stopped.snapshots.path()));
        let all = names(&stopped, ".json");
        let at = format!("snapshot-thinned:{nth}");
        let mut served = Served::start(command(dir, &place).env("HEADROOM_CRASH_AT", &at));
        define(&served);
        let (mut asked, taken) = orders_until_it_dies(&mut served, &at);
        let (manifests, rows) = (names(&stopped, ".json"), names(&stopped, ".rows"));
        assert_eq!(all.difference(&manifests).count(), nth.div_ceil(2), "{at}");
        assert_eq!((manifests.difference(&rows).count(), rows.difference(&manifests).count()), (0, nth % 2), "{at}");
        fs::remove_dir_all(dir.join("checkpoint")).unwrap();
        let served = Served::start(&mut command(dir, &place));
        assert!(taken.iter().all(|n| is_there(&served, *n)), "{at}");
        until("those of last month are removed", || {
            asked += 1;
            reserve(&served, asked) && names(&stopped, ".json").is_disjoint(&all)
        });
        let ended = served.running.terminate();
        assert_eq!(ended.code, 0, "{at}: {}", ended.err);
        assert!(ended.err.contains("rebuilding from this snapshot"), "{at}: {}", ended.err);
        assert!(!ended.err.contains("snapshot not used"), "{at}: {}", ended.err);
        is_sound(dir);
    }
}
