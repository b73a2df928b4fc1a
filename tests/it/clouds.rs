//! What is written into Moto's bucket of S3 is written into one of MinIO, of Google Cloud Storage and of Azure as well. In the
//! nightly run only: the stores take minutes to fetch.

use crate::backup::bucket as backup;
use crate::bounded_log::bucket as archive;
use crate::buckets::{Bucket, Kind};
use crate::cli::assert_says;
use crate::places;
use crate::process::{headroom, run};
use crate::sink::bucket as sink;
#[cfg(feature = "crash-points")]
use crate::sink::redshift::{self, Redshift};
use crate::snapshots::bucket as snapshots;
use crate::wait::at_once;

const KINDS: [Kind; 3] = [Kind::Minio, Kind::Google, Kind::Azure];

#[test]
fn objects_are_kept_and_conditions_are_heeded() {
    for bucket in KINDS.map(Bucket::of) {
        places::heeds_conditions(&bucket.opened());
        places::keeps_what_it_was_given(&bucket.opened());
    }
}

#[test]
fn snapshots_are_written_and_begun_with() {
    KINDS.iter().for_each(|kind| snapshots::begins_with_a_snapshot(&Bucket::of(*kind)));
}

#[test]
fn segments_leave_once_and_are_read() {
    KINDS.iter().for_each(|kind| archive::leave_once_and_are_read(&Bucket::of(*kind)));
}

#[test]
fn a_log_comes_back() {
    KINDS.iter().for_each(|kind| backup::comes_back(&Bucket::of(*kind)));
}

#[test]
fn a_listing_of_several_pages_has_all() {
    // fake-gcs-server has no pages.
    [Kind::Minio, Kind::Azure].iter().for_each(|kind| backup::lists_all_of(&Bucket::of(*kind), 5_100));
}

#[test]
fn calls_that_are_carried_out_later_write_nothing_twice() {
    KINDS.iter().for_each(|kind| sink::writes_nothing_twice_beside_a_slow_store(&Bucket::of(*kind)));
}

#[test]
fn a_sink_that_was_overtaken_writes_nothing_twice() {
    at_once(KINDS, |kind| {
        let bucket = Bucket::of(kind);
        // The sign of the sink that hung grows old by itself.
        sink::writes_nothing_twice_when_overtaken(&bucket, || bucket.writers_are_gone());
    });
}

#[cfg(feature = "crash-points")]
#[test]
fn what_a_sink_that_died_has_begun_is_finished() {
    KINDS.iter().for_each(|kind| sink::is_finished_by_another(&Bucket::of(*kind)));
}

#[cfg(feature = "crash-points")]
#[test]
fn killed_at_any_point_a_sink_of_files_repeats_nothing_and_loses_nothing() {
    KINDS.iter().for_each(|kind| sink::is_whole_after_each_death(&Bucket::of(*kind)));
}

/// Redshift reads from S3 only.
#[cfg(feature = "crash-points")]
#[test]
fn killed_at_any_point_a_sink_of_redshift_repeats_nothing_and_loses_nothing() {
    redshift::is_whole_after_each_death(&Redshift::over(Bucket::of(Kind::Minio)));
}

/// Wrong keys, a bucket that is not there and a name that no bucket can have end a command with their names, and without the key.
#[test]
fn what_a_store_refuses_is_named() {
    let (google, azure) = (Bucket::of(Kind::Google), Bucket::of(Kind::Azure));
    let list = |bucket: &Bucket, place: &str, others: &[(&str, &str)]| {
        let mut list = headroom(["restore", "--list", "--from", place]);
        bucket.named(&mut list);
        let ended = run(list.envs(others.iter().copied()));
        assert_eq!((ended.code, &*ended.out), (2, ""), "{place}: {}", ended.err);
        ended.err
    };
    assert_says(&list(&google, "gs://nobody-has-it/place", &[]), &["gs://nobody-has-it/place: cannot list backups"]);
    let gone = list(&azure, "az://nobody-has-it/place", &[]);
    assert_says(&gone, &["az://nobody-has-it/place: cannot list backups", "ContainerNotFound"]);
    let refused = list(&azure, azure.place(), &[("AZURE_STORAGE_ACCOUNT_KEY", "aGlkZGVu")]);
    assert_says(&refused, &["az://lake/some/place: cannot list backups", "AuthorizationFailure"]);
    assert!(!refused.contains("aGlkZGVu"), "{refused}");
}
