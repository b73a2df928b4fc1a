//! How much of the embedded log stays on this disk, and where the rest goes.

use super::place::{ObjectPlace, place};
use super::snapshots::{Snapshots, events_kept};
use super::{Checking, EventsKeep, Setting};

/// How long events stay, and the place for those that leave; `None` when a problem was noted.
pub(super) fn check(
    checking: &mut Checking<'_>,
    snapshots: Option<&Snapshots>,
) -> Option<(Option<EventsKeep>, Option<ObjectPlace>)> {
    let keep = events_kept(checking, Setting::LogKeep, snapshots);
    let archive = checking.optional(Setting::LogArchive, place);
    if checking.is_given(Setting::KafkaBrokers) {
        for setting in [Setting::LogKeep, Setting::LogArchive] {
            if checking.is_changed(setting) {
                checking.clash(
                    setting,
                    "is set with kafka_brokers, and is for the embedded log: kafka_events_keep bounds the topic of events",
                );
            }
        }
    }
    Some((keep?, archive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::check;
    use crate::config::{DAY_MS, HOUR_MS};

    #[test]
    fn the_log_is_kept_for_ever_or_for_longer_than_it_takes_to_mend_snapshots() {
        use Setting::{KafkaBrokers, LogArchive, LogKeep, SnapshotIntervalMs, Snapshots};
        let place = (Snapshots, "s3://shop/prod");
        let kept = |settings: &[(Setting, &str)]| check(settings).map(|config| (config.log_keep, config.log_archive));
        assert_eq!(kept(&[]), Ok((None, None)));
        assert_eq!(kept(&[(LogKeep, "all")]), Ok((None, None)));
        // Two intervals of a quarter of an hour, and three days.
        let min_ms = 72 * HOUR_MS + HOUR_MS / 2;
        assert_eq!(kept(&[place, (LogKeep, "40d")]), Ok((Some(EventsKeep { ms: 40 * DAY_MS, min_ms }), None)));
        let archive = (LogArchive, "file:///archive");
        let (_, archived) = kept(&[place, (LogKeep, "40d"), archive]).unwrap();
        assert_eq!(archived, Some(ObjectPlace::Folder("/archive".into())));
        assert!(kept(&[archive]).is_ok(), "commands read it, whatever is kept");
        for (settings, says) in [
            (&[(LogKeep, "40d")][..], "log_keep is set without snapshots"),
            (&[place, (LogKeep, "72h")], "log_keep is shorter than 73h"),
            (&[place, (SnapshotIntervalMs, "3600000"), (LogKeep, "73h")], "log_keep is shorter than 74h"),
            (&[place, (LogKeep, "soon")], "neither all nor an age"),
            (&[(LogArchive, "/archive")], "is no place like file:///FOLDER"),
            (&[place, (LogKeep, "40d"), (KafkaBrokers, "k:9092")], "log_keep is set with kafka_brokers"),
            (&[archive, (KafkaBrokers, "k:9092")], "log_archive is set with kafka_brokers"),
        ] {
            let told = kept(settings).unwrap_err();
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn places_are_taken_from_a_dump_only_where_none_is_named() {
        let named =
            |snapshots, archive| check(&[(Setting::Snapshots, snapshots), (Setting::LogArchive, archive)]).unwrap();
        let (server, own) = (named("s3://shop/prod", "file:///archive"), named("file:///s", "file:///a"));
        let places = |config: Config| (config.snapshots.map(|snapshots| snapshots.place), config.log_archive);
        let bare = || check(&[]).unwrap();
        assert_eq!(places(bare().with_places_of(&server.dump())), places(server.clone()));
        assert_eq!(places(own.clone().with_places_of(&server.dump())), places(own));
        for odd in [bare().dump(), "snapshots = 7\nlog_archive = [".to_owned(), "snapshots = \"nowhere\"".to_owned()] {
            assert_eq!(places(bare().with_places_of(&odd)), (None, None), "{odd}");
        }
    }
}
