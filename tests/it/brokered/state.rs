//! The past of a log on a cluster, read beside the process that serves it: with all events, from a snapshot, and when the
//! first events are gone.

use super::head_gone::{INTERVAL, change, folder, remove_before, says, snapshots, state};
use super::serve::{Serving, Site};
use crate::process::run;
use crate::rig::Rig;
use crate::wait::until;
use headroom::time::{Clock, Shown, SystemClock};
use serde_json::Value;

/// What a process said of its partition at a time, when nothing was decided shortly before and after.
struct Moment {
    time: String,
    next_seq: u64,
    digest: String,
}

fn moment(process: &Serving<'_>) -> Moment {
    let mut found = None;
    until("nothing is decided for a moment", || {
        let before = state(process);
        let time = Shown(SystemClock::new().wall()).to_string();
        found = (state(process) == before).then_some(Moment { time, next_seq: before.0, digest: before.1 });
        found.is_some()
    });
    found.unwrap()
}

/// The story: it is asked what the partition was some minutes ago, while a process goes on to decide. Retention removes the
/// first events then: what a snapshot covers is shown as before, and the rest is refused.
#[test]
fn the_past_of_a_log_on_a_cluster_is_what_its_process_was() {
    let site = Site::new(Rig::shared(), 1);
    let (folder, place) = folder(&site, "snapshots");
    let process = site.serving("first").with(INTERVAL).with(["--snapshots", &place]);
    process.start();
    process.ready();
    change(&process, 100..110);
    let early = moment(&process);
    change(&process, 110..120);
    until("a snapshot of it is written", || snapshots(&folder).last().is_some_and(|(seq, _)| *seq > early.next_seq));
    let reached = snapshots(&folder).last().unwrap().0;
    change(&process, 120..130);
    until("more is decided than the snapshot has", || state(&process).0 > reached);
    let late = moment(&process);
    change(&process, 130..135);

    let printed = |args: &[&str]| {
        let ended = run(site.command(["state", "--json"]).args(args));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        serde_json::from_str::<Value>(&ended.out).unwrap()
    };
    let is_as_it_was = |Moment { time, next_seq, digest }: &Moment, more: &[&str]| {
        let at_seq = format!("0:{}", next_seq - 1);
        for at in [["--at", time], ["--at-seq", &at_seq]] {
            let state = printed(&[&at, more].concat());
            assert_eq!(
                (state["next_seq"].as_u64(), state["digest"].as_str()),
                (Some(*next_seq), Some(&**digest)),
                "{at:?}"
            );
            assert_eq!(state["pools"][0]["pool"], "van-1", "{state}");
            if more.is_empty() {
                assert_eq!(state["snapshot"], Value::Null, "{state}");
            }
        }
    };
    let with_snapshots = ["--snapshots", &*place];
    for moment in [&early, &late] {
        is_as_it_was(moment, &[]);
        is_as_it_was(moment, &with_snapshots);
    }
    let at_seq = format!("0:{}", late.next_seq - 1);
    let state = printed(&["--at-seq", &at_seq, "--snapshots", &place]);
    let begun = state["snapshot"].as_str().unwrap().split('-').next().unwrap().parse().unwrap();
    let nearest = snapshots(&folder).into_iter().rfind(|(seq, _)| *seq <= late.next_seq).unwrap().0;
    assert_eq!((begun, state["events_read"].as_u64()), (nearest, Some(late.next_seq - nearest)));

    remove_before(&site.log(), reached);
    is_as_it_was(&late, &with_snapshots);
    let begins = format!("partition 0 of the log begins with seq {reached}, the events before it are gone");
    let last = early.next_seq - 1;
    let (at_seq, seq) = (format!("0:{last}"), format!("seq {last}: "));
    for (at, asked) in [(["--at", &*early.time], ""), (["--at-seq", &*at_seq], &*seq)] {
        let gone = run(site.command(["state"]).args(at).args(with_snapshots));
        let not_after = format!("no snapshot that is known here has a state from then on that is not after {asked}");
        says(&gone, 2, &[&begins, &not_after]);
        assert_eq!(gone.out, "");
    }
    let bare = run(site.command(["state"]).args(["--at", &late.time]));
    says(&bare, 2, &[&begins, "no place of snapshots is set"]);
    process.terminate();
}
