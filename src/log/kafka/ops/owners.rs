//! To which process the group of owners gives each partition. A member of the group knows only what was given to itself; the
//! cluster tells all of it to whoever may describe the group.

use super::admin::Admin;
use super::levels::ProcessSeen;
use crate::log::kafka::client::settings::group_of;
use crate::log::{LogError, Manifest};

/// The state of a group in which every member knows what was given to it.
const SETTLED: &str = "Stable";

/// A member of the group of owners, as the cluster shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerSeen {
    /// Where it is connected from.
    pub host: String,
    /// How the cluster calls it, and no other member.
    pub member: String,
    /// The partitions that the group gives to it, in the order in which it names them.
    pub partitions: Vec<u32>,
}

/// The group of owners, and the processes that are not in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnersSeen {
    /// The number of partitions of the log.
    pub partitions: u32,
    /// Whether the group has given the partitions to its members. Otherwise it is just doing that.
    pub is_settled: bool,
    /// The members of the group.
    pub members: Vec<OwnerSeen>,
    /// Where the other processes are connected from that serve the log.
    pub outside: Vec<String>,
}

impl OwnersSeen {
    /// The member to which the group gives this partition.
    pub fn of(&self, partition: u32) -> Option<&OwnerSeen> {
        self.members.iter().find(|member| member.partitions.contains(&partition))
    }
}

impl Admin {
    /// The group of owners of the log whose manifest the cluster has.
    ///
    /// # Errors
    /// [`LogError`] when the cluster does not answer, has no log, or shows no process at all: it may hide them from who may not see
    /// them.
    pub fn owners(&self) -> Result<OwnersSeen, LogError> {
        let topic = &self.cluster.topics.manifest;
        let Manifest { log_id, partitions, .. } = match self.look()?.manifest {
            Ok(Some(pinned)) => pinned.manifest,
            Ok(None) => return Err(LogError::operator(format!("{topic} holds no manifest: there is no log"))),
            Err(problem) => return Err(LogError::operator(format!("{topic} {problem}"))),
        };
        let group = group_of(log_id);
        let groups = self.groups(&group)?;
        let (mut is_settled, mut members) = (true, Vec::new());
        for found in groups.groups().iter().filter(|found| found.name() == group) {
            is_settled = found.members().is_empty() || found.state() == SETTLED;
            for member in found.members() {
                let host = member.client_host().trim_start_matches('/').to_owned();
                let given = given(member.assignment().unwrap_or_default(), &self.cluster.topics.commands);
                let unread =
                    || LogError::operator(format!("{group}: what the member at {host} was given is unreadable"));
                let partitions = given.ok_or_else(unread)?;
                members.push(OwnerSeen { host, member: member.id().to_owned(), partitions });
            }
        }
        members.sort_by(|a, b| (&a.host, &a.member).cmp(&(&b.host, &b.member)));
        let outside = outside(self.processes(log_id)?, &members);
        Ok(OwnersSeen { partitions, is_settled, members, outside })
    }
}

/// Where the processes are connected from that are not in the group. One that is in it is connected from the same host.
fn outside(processes: Vec<ProcessSeen>, members: &[OwnerSeen]) -> Vec<String> {
    let mut hosts: Vec<String> = processes.into_iter().map(|process| process.host).collect();
    for member in members {
        if let Some(at) = hosts.iter().position(|host| *host == member.host) {
            hosts.remove(at);
        }
    }
    hosts
}

/// The partitions of this topic in what a member was given: a version, each topic with its partitions, and bytes that the members
/// have for each other. None where it is cut off, or has a number that is none. A member that was given nothing may have no bytes.
fn given(bytes: &[u8], topic: &str) -> Option<Vec<u32>> {
    let mut given = Vec::new();
    if bytes.is_empty() {
        return Some(given);
    }
    let mut bytes = Bytes(bytes);
    bytes.take(2)?;
    // Each round takes bytes, of which there is an end.
    for _ in 0..bytes.number()? {
        let length = u16::from_be_bytes(bytes.take(2)?.try_into().ok()?);
        let name = bytes.take(usize::from(length))?;
        for _ in 0..bytes.number()? {
            let partition = bytes.number()?;
            given.extend((name == topic.as_bytes()).then_some(partition));
        }
    }
    Some(given)
}

/// Bytes that are not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of 32 bits with a sign, which is not negative.
    fn number(&mut self) -> Option<u32> {
        u32::try_from(i32::from_be_bytes(self.take(4)?.try_into().ok()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a member was given, as the protocol of consumers writes it.
    fn written(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 3];
        bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
            partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes
    }

    #[test]
    fn what_a_member_was_given_is_read_and_nothing_else_is_taken_for_it() {
        let whole = written(&[("other", &[7]), ("h.commands", &[2, 0])]);
        let own = (-1_i32).to_be_bytes();
        assert_eq!(given(&[&whole[..], &own].concat(), "h.commands"), Some(vec![2, 0]));
        assert_eq!(given(&whole, "h.events"), Some(vec![]));
        assert_eq!(given(&[], "h.commands"), Some(vec![]));
        for end in 1..whole.len() {
            assert_eq!(given(&whole[..end], "h.commands"), None, "{end}");
        }
        assert_eq!(given(&written(&[("h.commands", &[-1])]), "h.commands"), None);
        // As many topics as a number can say, and no bytes for them.
        assert_eq!(given(&[&[0, 3][..], &i32::MAX.to_be_bytes()].concat(), "h.commands"), None);
    }

    #[test]
    fn processes_that_are_not_in_the_group_are_counted_by_their_hosts() {
        let process = |host: &str| ProcessSeen { host: host.to_owned(), name: String::new(), process: None };
        let member = |host: &str, partitions: &[u32]| OwnerSeen {
            host: host.to_owned(),
            member: format!("m-{host}"),
            partitions: partitions.to_vec(),
        };
        let members = vec![member("a", &[1]), member("b", &[])];
        let outside = outside(["a", "a", "b", "c"].map(process).to_vec(), &members);
        assert_eq!(outside, ["a", "c"]);
        let seen = OwnersSeen { partitions: 2, is_settled: true, members, outside };
        assert_eq!([0, 1].map(|partition| seen.of(partition).map(|member| &*member.host)), [None, Some("a")]);
    }
}
