//! Compares the state of a cluster with what a log needs: the differences, what `apply` may do about each, and which of them
//! forbid to serve. No I/O: [`super::admin`] reads the state, and executes what is decided here.

use super::manifest::{LogLocation, ManifestProblem, Pinned};
use super::topics::{Purpose, TopicRequirements, TopicSpec, wanted};
use crate::domain::route::HASH_VERSION;
use crate::limits::{COMMAND_WINDOW_MS, DEDUP_WINDOW_MS, MEMORY_VERSION, PARTITIONS_DEFAULT, PARTITIONS_MAX};
use crate::log::known_level;
use crate::words::counted;
use std::collections::BTreeMap;
use std::fmt;

/// The state of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicState {
    /// The number of its partitions.
    pub partitions: u32,
    /// The replicas of the partition that has the fewest.
    pub replicas: u16,
    /// The settings that are in force.
    pub config: BTreeMap<String, String>,
}

/// The state of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterState {
    /// By name, those of the log's topics that exist.
    pub topics: BTreeMap<String, TopicState>,
    /// The manifest; `None` when the topic holds none.
    pub manifest: Result<Option<Pinned>, ManifestProblem>,
    /// Where the log is looked for: on the cluster that answers, under the configured names.
    pub place: LogLocation,
    /// Whether any event was ever written.
    pub has_events: bool,
}

/// One thing that is not as the log needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The topic's name.
    pub topic: String,
    /// The topic's role in the log.
    pub purpose: Purpose,
    /// The difference itself.
    pub what: DifferenceKind,
}

/// A kind of difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DifferenceKind {
    /// The topic does not exist.
    Missing(TopicSpec),
    /// The topic of events does not exist, and there is the manifest of a log that had one.
    LostEvents,
    /// The topic has another number of partitions.
    Partitions {
        /// The present value.
        found: u32,
        /// The value that is needed.
        wanted: u32,
    },
    /// The topic has too few replicas.
    Replicas {
        /// The present value.
        found: u16,
        /// The least number that is needed.
        wanted: u16,
    },
    /// A setting has another value, or is below its minimum.
    Setting {
        /// Kafka's name of the setting.
        name: String,
        /// The present value.
        found: String,
        /// The value that is needed.
        wanted: String,
        /// Whether events or undecided commands may be gone because of it.
        is_late: bool,
        /// Whether it keeps events for long enough beside the snapshots that cover what goes.
        is_enough: bool,
    },
    /// There is no manifest, and no event either: the log is new.
    NoManifest {
        /// The number of partitions that the manifest will have.
        partitions: u32,
    },
    /// There is no manifest, but there are events.
    LostManifest,
    /// The manifest cannot be used.
    BadManifest(ManifestProblem),
    /// The manifest differs from the configuration or from this program.
    OtherManifest {
        /// The field of the manifest.
        what: PinnedField,
        /// The value in the manifest.
        found: String,
        /// The value here.
        wanted: String,
    },
}

/// A field that a manifest pins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinnedField {
    /// The number of partitions.
    Partitions,
    /// The feature level. A program knows every level up to its own.
    Level,
    /// A constant of the program, by its name in the manifest.
    Program(&'static str),
    /// The id of the cluster that the log was created on.
    Cluster,
    /// The application or the environment, by its name in the manifest.
    Name(&'static str),
    /// The name of a topic, by the setting for it.
    Topic(&'static str),
}

impl fmt::Display for PinnedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PinnedField::Partitions => "partitions",
            PinnedField::Level => "feature_level",
            PinnedField::Cluster => "cluster_id",
            PinnedField::Program(name) | PinnedField::Name(name) | PinnedField::Topic(name) => name,
        })
    }
}

/// Settings that may be above the value that is needed.
const AT_LEAST: &[&str] = &["max.message.bytes", "min.insync.replicas"];
/// Settings without which a record may be lost, deleted or refused, or decided by a clock that nothing checks.
const SAFETY: &[&str] = &[
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "unclean.leader.election.enable",
];
/// Why `apply` refuses a log of another version.
const OTHER_PROGRAM: &str = "the log was created for another version of this program";
/// Settings that decide which events are kept.
const RETENTION: &[&str] = &["cleanup.policy", "retention.bytes", RETENTION_MS];
const RETENTION_MS: &str = "retention.ms";

/// Every difference. The number of partitions is that of the manifest; before there is one, it is the one that is asked for,
/// or that of the existing topic, or the default, in this order.
pub fn compare(asked: &TopicRequirements, seen: &ClusterState) -> Vec<Difference> {
    let topics = &seen.place.topics;
    let manifest = seen.manifest.as_ref().ok().and_then(Option::as_ref).map(|pinned| &pinned.manifest);
    let there = seen.topics.get(&topics.events).map(|found| found.partitions).filter(|count| *count <= PARTITIONS_MAX);
    let partitions = manifest.map(|manifest| manifest.partitions).or(asked.partitions).or(there);
    let partitions = partitions.unwrap_or(PARTITIONS_DEFAULT);
    let mut differences = Vec::new();
    for wanted in wanted(topics, asked, partitions) {
        let mut differ = |what| {
            differences.push(Difference { topic: wanted.name.clone(), purpose: wanted.purpose, what });
        };
        match seen.topics.get(&wanted.name) {
            None if wanted.purpose == Purpose::Events && manifest.is_some() => differ(DifferenceKind::LostEvents),
            None => differ(DifferenceKind::Missing(wanted.clone())),
            Some(found) => compare_topic(asked, &wanted, found, seen.has_events, &mut differ),
        }
        if wanted.purpose == Purpose::Manifest {
            compare_manifest(asked, seen, partitions, &mut differ);
        }
    }
    differences
}

/// Whether a topic of events with this retention keeps them for long enough, where they need not be kept for ever.
fn is_kept_long_enough(asked: &TopicRequirements, retention_ms: &str) -> bool {
    let Some(keep) = asked.events_keep else { return false };
    retention_ms == "-1" || retention_ms.parse::<u64>().is_ok_and(|found| found >= keep.min_ms)
}

fn compare_topic(
    asked: &TopicRequirements,
    wanted: &TopicSpec,
    found: &TopicState,
    has_events: bool,
    differ: &mut impl FnMut(DifferenceKind),
) {
    if found.partitions != wanted.partitions {
        differ(DifferenceKind::Partitions { found: found.partitions, wanted: wanted.partitions });
    }
    if found.replicas < wanted.replicas {
        differ(DifferenceKind::Replicas { found: found.replicas, wanted: wanted.replicas });
    }
    for (name, text) in &wanted.config {
        let found = found.config.get(name).map_or("", String::as_str);
        let is_well = if AT_LEAST.contains(&name.as_str()) {
            matches!((found.parse::<u64>(), text.parse::<u64>()), (Ok(found), Ok(wanted)) if found >= wanted)
        } else {
            found == text
        };
        if !is_well {
            let is_age = wanted.purpose == Purpose::Events && name == RETENTION_MS;
            let is_enough = is_age && is_kept_long_enough(asked, found);
            let is_late = match wanted.purpose {
                // What is gone already is covered by a snapshot, or a server refuses the partition.
                Purpose::Events if is_age && asked.events_keep.is_some() => false,
                Purpose::Events => has_events && RETENTION.contains(&name.as_str()),
                Purpose::Commands => name == "cleanup.policy",
                _ => false,
            };
            differ(DifferenceKind::Setting {
                name: name.clone(),
                found: found.to_owned(),
                wanted: text.clone(),
                is_late,
                is_enough,
            });
        }
    }
}

fn compare_manifest(
    asked: &TopicRequirements,
    seen: &ClusterState,
    partitions: u32,
    differ: &mut impl FnMut(DifferenceKind),
) {
    let Pinned { manifest, feature_level, raised_by, command_window_ms, place } = match &seen.manifest {
        Ok(Some(pinned)) => pinned,
        Ok(None) if seen.has_events => return differ(DifferenceKind::LostManifest),
        Ok(None) => return differ(DifferenceKind::NoManifest { partitions }),
        Err(problem) => return differ(DifferenceKind::BadManifest(problem.clone())),
    };
    let said = u64::from(manifest.partitions);
    if *feature_level > known_level() {
        let given_by = raised_by.as_ref().map(|version| format!(", given by version {version}"));
        let found = format!("{feature_level}{}", given_by.unwrap_or_default());
        differ(DifferenceKind::OtherManifest { what: PinnedField::Level, found, wanted: known_level().to_string() });
    }
    for (what, found, wanted) in [
        (PinnedField::Partitions, said, asked.partitions.map_or(said, u64::from)),
        (PinnedField::Program("hash_version"), manifest.hash_version.into(), HASH_VERSION.into()),
        (PinnedField::Program("dedup_window_ms"), manifest.dedup_window_ms, DEDUP_WINDOW_MS),
        (PinnedField::Program("command_window_ms"), *command_window_ms, COMMAND_WINDOW_MS),
        (PinnedField::Program("memory_version"), manifest.memory_version.into(), MEMORY_VERSION.into()),
    ] {
        if found != wanted {
            differ(DifferenceKind::OtherManifest { what, found: found.to_string(), wanted: wanted.to_string() });
        }
    }
    let (found, wanted) = (place, &seen.place);
    for (what, found, wanted) in [
        (PinnedField::Cluster, &found.cluster_id, &wanted.cluster_id),
        (PinnedField::Name("application"), &found.application, &wanted.application),
        (PinnedField::Name("environment"), &found.environment, &wanted.environment),
        (PinnedField::Topic("topic_commands"), &found.topics.commands, &wanted.topics.commands),
        (PinnedField::Topic("topic_events"), &found.topics.events, &wanted.topics.events),
        (PinnedField::Topic("topic_replies"), &found.topics.replies, &wanted.topics.replies),
        (PinnedField::Topic("topic_dead_letters"), &found.topics.dead_letters, &wanted.topics.dead_letters),
        (PinnedField::Topic("topic_manifest"), &found.topics.manifest, &wanted.topics.manifest),
    ] {
        if found != wanted {
            differ(DifferenceKind::OtherManifest { what, found: found.clone(), wanted: wanted.clone() });
        }
    }
}

impl Difference {
    /// Why `apply` refuses to change this, and what an operator can do; `None` when `apply` changes it.
    pub fn refusal(&self) -> Option<&'static str> {
        match &self.what {
            DifferenceKind::Missing(_)
            | DifferenceKind::NoManifest { .. }
            | DifferenceKind::Setting { is_late: false, .. } => None,
            DifferenceKind::LostEvents => {
                Some("the events are gone: restore them, or begin a new log with topics of its own")
            }
            DifferenceKind::Partitions { .. } => Some(match self.purpose {
                Purpose::Replies | Purpose::Manifest => "create the topic again, or add the missing partitions by hand",
                _ => "pools would move to other partitions, away from what was decided about them",
            }),
            DifferenceKind::Replicas { .. } => Some("moving replicas is for kafka-reassign-partitions.sh"),
            // Who has lost the setting must not change the topic of those who have it.
            DifferenceKind::Setting { name, .. } if name == RETENTION_MS => Some(
                "records may be gone already: if this log is bounded, set kafka_events_keep and snapshots as its other \
                 processes have them; if it is not, set this by hand, then run headroom verify",
            ),
            DifferenceKind::Setting { .. } => {
                Some("records may be gone already: set it by hand, then run headroom verify")
            }
            DifferenceKind::LostManifest => Some("write the record back that was there, or use topics of a new log"),
            DifferenceKind::BadManifest(ManifestProblem::OtherVersion(_)) => Some(OTHER_PROGRAM),
            DifferenceKind::BadManifest(_) => Some("keep only the record that the log was created with"),
            DifferenceKind::OtherManifest { what, .. } => Some(match what {
                PinnedField::Partitions => {
                    "a log keeps the number of partitions that it was created with: set that number, or none"
                }
                PinnedField::Level => {
                    "a later version of this program serves the log: take that version or a later one"
                }
                PinnedField::Program(_) => OTHER_PROGRAM,
                PinnedField::Cluster => {
                    "a copy of a log would have owners that nothing fences: name the cluster that the log was created on"
                }
                PinnedField::Name(_) => {
                    "a log is served by the application and environment that it was created for: set those, or name topics of your own"
                }
                PinnedField::Topic(_) => {
                    "a log keeps the topics that it was created with: name those, or all topics of another log"
                }
            }),
        }
    }

    /// The age in milliseconds above which the cluster deletes events once `apply` has changed this; none where it keeps all that
    /// it keeps now.
    pub fn shortens_events_to_ms(&self) -> Option<u64> {
        match &self.what {
            DifferenceKind::Setting { name, found, wanted, .. }
                if self.purpose == Purpose::Events && name == RETENTION_MS =>
            {
                let wanted = wanted.parse::<u64>().ok()?;
                let is_longer = found.parse::<u64>().is_ok_and(|found| found <= wanted);
                (!is_longer).then_some(wanted)
            }
            _ => None,
        }
    }

    /// Whether a server must not start: it could lose, misjudge or refuse something.
    pub fn is_unsafe(&self) -> bool {
        match &self.what {
            DifferenceKind::Setting { is_enough: true, .. } => false,
            DifferenceKind::Setting { name, .. } => {
                let is_kept = self.purpose == Purpose::Events && RETENTION.contains(&name.as_str());
                is_kept || SAFETY.contains(&name.as_str())
            }
            _ => true,
        }
    }

    /// Whether not even a tool can read the log.
    pub fn is_unreadable(&self) -> bool {
        match &self.what {
            DifferenceKind::Missing(_) => matches!(self.purpose, Purpose::Events | Purpose::Manifest),
            DifferenceKind::Partitions { .. } => self.purpose == Purpose::Events,
            DifferenceKind::LostEvents
            | DifferenceKind::NoManifest { .. }
            | DifferenceKind::LostManifest
            | DifferenceKind::BadManifest(_) => true,
            // The log of another cluster, application or environment can still be read.
            DifferenceKind::OtherManifest { what, .. } => !matches!(what, PinnedField::Cluster | PinnedField::Name(_)),
            DifferenceKind::Replicas { .. } | DifferenceKind::Setting { .. } => false,
        }
    }

    /// What `apply` does about it, as a line for the operator.
    pub fn step(&self) -> String {
        let topic = &self.topic;
        match &self.what {
            DifferenceKind::Missing(wanted) => {
                let config: Vec<String> = wanted.config.iter().map(|(name, text)| format!("{name}={text}")).collect();
                let (partitions, replicas) =
                    (counted(wanted.partitions.into(), "partition"), counted(wanted.replicas.into(), "replica"));
                format!("create {topic}: {partitions}, {replicas}, {}", config.join(" "))
            }
            DifferenceKind::Setting { name, found, wanted, .. } => {
                format!("set {name}={wanted} on {topic}, instead of {found}")
            }
            DifferenceKind::NoManifest { partitions } => {
                format!("write the manifest of a log with {} into {topic}", counted((*partitions).into(), "partition"))
            }
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.topic)?;
        match &self.what {
            DifferenceKind::Missing(_) => f.write_str("does not exist"),
            DifferenceKind::LostEvents => f.write_str("does not exist, and there is the manifest of a log that had it"),
            DifferenceKind::Partitions { found, wanted } => {
                write!(f, "has {} instead of {wanted}", counted((*found).into(), "partition"))
            }
            DifferenceKind::Replicas { found, wanted } => {
                write!(f, "has {} instead of {wanted} or more", counted((*found).into(), "replica"))
            }
            DifferenceKind::Setting { name, found, wanted, .. } => {
                let more = if AT_LEAST.contains(&name.as_str()) { " or more" } else { "" };
                write!(f, "has {name}={found} instead of {wanted}{more}")
            }
            DifferenceKind::NoManifest { .. } => f.write_str("holds no manifest"),
            DifferenceKind::LostManifest => {
                f.write_str("holds no manifest, and there are events that were written with one")
            }
            DifferenceKind::BadManifest(problem) => write!(f, "{problem}"),
            DifferenceKind::OtherManifest { what, found, wanted } => {
                write!(f, "holds a manifest with {what}={found}, and here it is {wanted}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
