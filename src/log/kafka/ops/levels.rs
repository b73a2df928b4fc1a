//! Raising the feature level of a log: only to a level that every process which serves it can read.

use super::admin::Admin;
use super::manifest::{self, Pinned};
use crate::log::kafka::client::callbacks::LastClientError;
use crate::log::kafka::client::classify::failed;
use crate::log::kafka::client::settings::{ASK_LIMIT, group_of, processes_of};
use crate::log::kafka::group::process::ProcessName;
use crate::log::{LogError, known_level};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::groups::GroupList;
use std::fmt;

/// A process that serves the log, as the cluster shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessSeen {
    /// Where it is connected from.
    pub host: String,
    /// The name that it gives itself.
    pub name: String,
    /// What the name says; `None` when it does not say what the process can read.
    pub process: Option<ProcessName>,
}

impl ProcessSeen {
    /// Whether it can read what is written at this level.
    pub fn knows(&self, level: u32) -> bool {
        self.process.as_ref().is_some_and(|process| process.level >= level)
    }
}

impl fmt::Display for ProcessSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(ProcessName { version, level }) => {
                write!(f, "{}: version {version} knows the feature levels up to {level}", self.host)
            }
            None => {
                write!(f, "{}: {:?} does not say what it can read", self.host, self.name)
            }
        }
    }
}

/// The members of the group of processes, and those of the group of owners that are not among them. A process is in both from the
/// same host, under the same name. A name that does not say what the process can read is that of an older version, whoever else
/// is at the host: several machines may be seen as one.
fn in_either(processes: Vec<ProcessSeen>, owners: Vec<ProcessSeen>) -> Vec<ProcessSeen> {
    let (mut seen, mut alone) = (processes.clone(), processes);
    for owner in owners {
        match alone.iter().position(|process| owner.process.is_some() && *process == owner) {
            Some(at) => drop(alone.swap_remove(at)),
            None => seen.push(owner),
        }
    }
    seen
}

impl Admin {
    /// The processes that serve the log of this id now. One that was killed counts for some seconds more. An owner that does
    /// not say what it can read is among them, as one that can read nothing.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, or shows no process at all: it may hide them from who may not see them.
    pub fn processes(&self, log_id: u128) -> Result<Vec<ProcessSeen>, LogError> {
        let mut seen = in_either(self.members(&processes_of(log_id))?, self.members(&group_of(log_id))?);
        if seen.is_empty() {
            return Err(LogError::operator(format!(
                "the cluster shows no process in the group {}: start the processes of this version, and check that you may \
                 describe that group (headroom topics acls)",
                processes_of(log_id)
            )));
        }
        seen.sort_by(|a, b| (&a.host, &a.name).cmp(&(&b.host, &b.name)));
        Ok(seen)
    }

    /// The members of a group.
    fn members(&self, group: &str) -> Result<Vec<ProcessSeen>, LogError> {
        let groups = self.groups(group)?;
        let members = groups.groups().iter().filter(|found| found.name() == group).flat_map(|found| found.members());
        let seen = |host: &str, name: &str| ProcessSeen {
            host: host.trim_start_matches('/').to_owned(),
            name: name.to_owned(),
            process: ProcessName::of(name),
        };
        Ok(members.map(|member| seen(member.client_host(), member.client_id())).collect())
    }

    /// The list of groups, with no other than this one. Nobody is in a group that the list does not have.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, or the coordinator of the group does not.
    pub(super) fn groups(&self, group: &str) -> Result<GroupList, LogError> {
        let list = || self.asks.fetch_group_list(Some(group), ASK_LIMIT).map_err(|error| failed(group, &error));
        let groups = list()?;
        if groups.groups().iter().any(|found| found.name() == group && !found.members().is_empty()) {
            return Ok(groups);
        }
        // While a group moves to another broker, the list may come without its members and without an error: of what several
        // brokers answer, the library keeps the error of the last one only. When the coordinator answers, it has the group.
        self.wait_for_coordinator(group)?;
        list()
    }

    /// Waits until the coordinator of a group answers.
    fn wait_for_coordinator(&self, group: &str) -> Result<(), LogError> {
        let consumer = self.cluster.beside(group).create_with_context(LastClientError::default());
        let consumer: BaseConsumer<LastClientError> = consumer.map_err(|error| failed(group, &error))?;
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.cluster.topics.commands, 0);
        let answered = consumer.committed_offsets(list, ASK_LIMIT);
        answered.map(drop).map_err(|error| {
            let doing = format!(
                "the cluster shows nobody in the group {group}, and the coordinator of the group does not answer; check that you \
                 may describe that group (headroom topics acls)"
            );
            failed(&doing, &error)
        })
    }

    /// Gives the log the newest level of this program. Every process that serves it must know that level.
    ///
    /// # Errors
    /// [`LogError`] when the manifest cannot be written.
    pub fn raise_level(&self, pinned: &Pinned) -> Result<(), LogError> {
        let raised_by = Some(env!("CARGO_PKG_VERSION").to_owned());
        manifest::write(
            &self.cluster,
            &self.asks,
            &Pinned { feature_level: known_level(), raised_by, ..pinned.clone() },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, name: &str) -> ProcessSeen {
        ProcessSeen { host: host.to_owned(), name: name.to_owned(), process: ProcessName::of(name) }
    }

    /// The story: a new gateway is on the host of an old owner, or behind the same address. There are as many processes as
    /// owners, and one of them cannot read the next level.
    #[test]
    fn an_owner_is_another_process_unless_it_has_the_name_of_one() {
        let (old, one, two) = ("headroom.member", "headroom-0.1.0.level-1", "headroom-0.3.0.level-2");
        for (processes, owners, expected) in [
            (vec![at("a", two)], vec![at("a", old)], vec![at("a", two), at("a", old)]),
            (vec![at("a", two), at("a", one)], vec![at("a", one), at("a", two)], vec![at("a", two), at("a", one)]),
            (vec![at("a", two)], vec![at("a", two), at("a", two)], vec![at("a", two), at("a", two)]),
            (vec![at("a", two)], vec![at("b", two)], vec![at("a", two), at("b", two)]),
            // Whatever it calls itself in the other group.
            (vec![at("a", old)], vec![at("a", old)], vec![at("a", old), at("a", old)]),
            (vec![], vec![at("a", old)], vec![at("a", old)]),
            (vec![at("a", one)], vec![], vec![at("a", one)]),
        ] {
            assert_eq!(in_either(processes, owners), expected);
        }
    }
}
