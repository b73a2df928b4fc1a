//! The form of snapshots as it was recorded, so that no change of the code changes it unseen.

use crate::bed::Bed;
use std::fs;
use std::path::Path;

/// A snapshot of a small partition, in the form with this number.
const RECORDED: &str = "tests/golden/formats/snapshot-1";

/// The story: a change of the code changes the form of snapshots, and nobody notices before a process of the version before
/// finds none that it can read. A new form has a new number, and both are recorded. `HEADROOM_REWRITE_GOLDEN=1` writes it
/// anew while no release has it.
#[test]
fn a_snapshot_has_the_form_that_was_recorded_for_its_number() {
    let mut bed = Bed::new();
    bed.decide(6);
    bed.snapshot();
    for (end, name) in [(".rows", "rows"), (".json", "manifest.json")] {
        let [written] = &bed.objects(end)[..] else { panic!("one snapshot was written") };
        let recorded = Path::new(RECORDED).join(name);
        if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
            fs::create_dir_all(RECORDED).unwrap();
            fs::copy(written, &recorded).unwrap();
        }
        let recorded = fs::read(recorded).unwrap();
        assert!(fs::read(written).unwrap() == recorded, "the form of {name} has changed");
        fs::write(written, recorded).unwrap();
    }
    assert_eq!(bed.cold_start(), (Some(6), vec![]));
}
