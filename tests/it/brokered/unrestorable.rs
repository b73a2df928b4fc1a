//! Processes that cannot restore the state of some partitions, because the log has lost its first events and nothing that they
//! have covers them: they keep no partition from a process that can serve it.

use super::head_gone::{INTERVAL, folder, remove_before_of};
use super::readiness::{metric, owns, readyz};
use super::serve::{Serving, Site};
use crate::fixtures;
use crate::process::{Ended, agent};
use crate::rig::Rig;
use crate::wait::until;
use serde_json::json;
use std::fs;
use std::path::Path;

const PARTITIONS: u32 = 3;
/// Of these the first events are gone.
const BEHEADED: [u32; 2] = [0, 1];
const WHOLE: u32 = 2;
/// The first event that is left of them.
const FIRST: u64 = 4;

fn put(process: &Serving<'_>, partition: u32) -> u16 {
    let pool = fixtures::pool_of(partition, PARTITIONS);
    let put = agent().put(format!("{}/v1/pools/{}", process.url().unwrap(), pool.as_str()));
    let put = put.header("request-timeout-ms", "5000").content_type("application/json");
    put.send(json!({ "limits": { "orders": 9 } }).to_string()).unwrap().status().as_u16()
}

#[track_caller]
fn decides(process: &Serving<'_>, partition: u32) {
    until("the partition is decided", || put(process, partition) < 300);
}

fn logs(process: &Serving<'_>, what: &str) -> bool {
    process.logged().contains(what)
}

/// Copies the snapshots of all partitions, each with its rows before its manifest.
fn copy_snapshots(from: &Path, to: &Path) {
    let within = |path: &Path| -> Vec<_> { fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect() };
    for partition in within(from).iter().flat_map(|log| within(log)) {
        let there = to.join(partition.strip_prefix(from).unwrap());
        fs::create_dir_all(&there).unwrap();
        for end in ["rows", "json"] {
            for object in within(&partition).iter().filter(|path| path.extension().is_some_and(|found| found == end)) {
                fs::copy(object, there.join(object.file_name().unwrap())).unwrap();
            }
        }
    }
}

/// The story: two processes on empty disks, whose place of snapshots is empty, stand beside a healthy one. It was restarted, and
/// the two were given what it had: two partitions that neither could restore were decided by nobody, for as long as they lived.
#[test]
fn who_cannot_restore_a_partition_leaves_it_to_who_can_also_after_a_restart() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let ((_, place), (other, nothing)) = (folder(&site, "snapshots"), folder(&site, "other"));
    let healthy = site.serving("healthy").with(INTERVAL).with(["--snapshots", &place]);
    healthy.start();
    healthy.ready();
    for partition in 0..PARTITIONS {
        (0..=FIRST).for_each(|_| decides(&healthy, partition));
    }
    BEHEADED.into_iter().for_each(|partition| remove_before_of(&site.log(), partition, FIRST));

    let lacking = ["empty", "bare"].map(|name| site.serving(name).with(["--snapshots", &nothing]));
    lacking.iter().for_each(Serving::start);
    let kept_out = "this process cannot restore the state of a partition: partitions are left to others";
    lacking.iter().for_each(|process| until("it stays out of the group", || logs(process, kept_out)));
    until("the healthy one has all partitions", || (0..PARTITIONS).all(|partition| owns(&healthy, partition)));

    // While nobody else is there, one of them serves what it can, and says what it keeps from others.
    healthy.terminate();
    let enters = "it enters the group of owners although it lacks states";
    until("one of them enters", || lacking.iter().any(|process| logs(process, enters)));
    decides(&lacking[0], WHOLE);
    until("it says what it was given and cannot serve", || {
        let given =
            |process: &Serving<'_>| readyz(process).1.to_string().contains("has given the partition to this process");
        lacking.iter().any(given)
    });
    let outside = "a process at 127.0.0.1 serves the log, and is not in the group of owners";
    until("the cluster says to whom each partition is given, and that somebody stays out", || {
        let Ended { code, out, .. } = site.run(["owners"]);
        let is_given = |p: u32| out.contains(&format!("partition {p}: given to the process at 127.0.0.1, member "));
        code == 0 && (0..PARTITIONS).all(is_given) && out.contains(outside)
    });

    healthy.start();
    healthy.ready();
    (0..PARTITIONS).for_each(|partition| decides(&healthy, partition));
    let left = |process: &Serving<'_>| metric(process, "headroom_withdrawals_total{reason=\"state\"}");
    until("who had entered has left", || lacking.iter().map(left).sum::<f64>() >= 1.0);

    // The operator brings back what they lack: each has its share again, and nobody has to restart it.
    let verified = || site.run(["verify", "--snapshots", &place]);
    until("the snapshots cover what is gone", || verified().code == 0);
    copy_snapshots(&site.path("snapshots"), &other);
    let has_share = |process: &Serving<'_>| (0..PARTITIONS).any(|partition| owns(process, partition));
    until("each has its share", || lacking.iter().all(has_share) && has_share(&healthy));
    until("nobody stays out", || {
        let told = site.run(["owners"]);
        told.code == 0 && !told.out.contains(outside)
    });
    (0..PARTITIONS).for_each(|partition| decides(&lacking[1], partition));
    let verified = verified();
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}
