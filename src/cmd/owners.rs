//! `headroom owners`: says to which process of a cluster the group of owners gives each partition, and which processes are not in the
//! group. What a process does about a partition it says itself, at `/readyz`.

use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::log::kafka::ops::admin::Admin;
use crate::log::kafka::ops::owners::{OwnerSeen, OwnersSeen};
use std::io::{self, Write};

pub(super) fn run(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let missing = "no cluster is configured: give --kafka-brokers, or kafka_brokers in the file of --config";
    let kafka = config.kafka.as_ref().ok_or_else(|| Failure::Unusable(missing.to_owned()))?;
    let seen = Admin::new(app::cluster(kafka))?.owners()?;
    Ok(Verdict::fine_if(tell(&seen, out)?))
}

/// Prints what was seen; returns whether each partition is given to a process.
fn tell(seen: &OwnersSeen, out: &mut impl Write) -> io::Result<bool> {
    let OwnersSeen { partitions, is_settled, members, outside } = seen;
    let mut is_fine = *is_settled;
    if *is_settled {
        for partition in 0..*partitions {
            match seen.of(partition) {
                Some(OwnerSeen { host, member, .. }) => {
                    writeln!(out, "partition {partition}: given to the process at {host}, member {member}")?;
                }
                None => {
                    is_fine = false;
                    writeln!(out, "partition {partition}: given to no process")?;
                }
            }
        }
        for OwnerSeen { host, member, .. } in members.iter().filter(|member| member.partitions.is_empty()) {
            writeln!(out, "the process at {host}, member {member}, is in the group of owners, and is given nothing")?;
        }
    } else {
        writeln!(out, "the group of owners is giving the partitions to its members anew: ask again in some seconds")?;
    }
    for host in outside {
        writeln!(
            out,
            "a process at {host} serves the log, and is not in the group of owners: it is a gateway, or is starting, or leaves \
             partitions to others and says why in a WARN line"
        )?;
    }
    Ok(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_given_to_nobody_is_told_and_is_not_fine() {
        let member = |host: &str, partitions: &[u32]| OwnerSeen {
            host: host.to_owned(),
            member: format!("m-{host}"),
            partitions: partitions.to_vec(),
        };
        let told = |is_settled, members: &[OwnerSeen]| {
            let (members, outside) = (members.to_vec(), vec!["c".to_owned()]);
            let mut out = Vec::new();
            let is_fine = tell(&OwnersSeen { partitions: 2, is_settled, members, outside }, &mut out).unwrap();
            let lines: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
            let (last, lines) = lines.split_last().unwrap();
            assert!(last.starts_with("a process at c serves the log"), "{last}");
            (is_fine, lines.join("\n"))
        };
        let given = "partition 0: given to the process at a, member m-a\npartition 1: given to ";
        let idle = "the process at b, member m-b, is in the group of owners, and is given nothing";
        let all = format!("{given}the process at a, member m-a\n{idle}");
        assert_eq!(told(true, &[member("a", &[1, 0]), member("b", &[])]), (true, all));
        assert_eq!(told(true, &[member("a", &[0])]), (false, format!("{given}no process")));
        let anew = "the group of owners is giving the partitions to its members anew: ask again in some seconds";
        assert_eq!(told(false, &[member("a", &[])]), (false, anew.to_owned()));
    }
}
