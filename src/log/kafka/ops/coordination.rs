//! Checks what every "yes" depends on beside the log's own topics: the cluster's topic of transactions, and the brokers'
//! verification of transactional records. No I/O: [`super::admin`] reads the state.

use super::plan::TopicState;
use super::topics::TopicRequirements;
use crate::log::kafka::client::settings::{GROUPS, TRANSACTIONS};
use std::collections::BTreeMap;

/// Whether a broker checks, before it appends a transactional record, that the transaction is open. Without the check a late
/// record of a fenced owner may become part of the next owner's transaction.
const VERIFICATION: &str = "transaction.partition.verification.enable";
const MIN_IN_SYNC: &str = "min.insync.replicas";

/// The broker settings with which such a topic is created when it is first needed: replicas, and replicas that must have a
/// record before it counts as written.
const TRANSACTIONS_MADE: [&str; 2] = ["transaction.state.log.replication.factor", "transaction.state.log.min.isr"];
const GROUPS_MADE: [&str; 2] = ["offsets.topic.replication.factor", MIN_IN_SYNC];

/// The state of a cluster's own topics and of its brokers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Coordination {
    /// By broker id: its settings, or why they are not known.
    pub(super) brokers: BTreeMap<i32, Result<BTreeMap<String, String>, String>>,
    /// The state of the topic, or why it is not known; `None` when it does not exist yet.
    pub(super) transactions: Option<Result<TopicState, String>>,
    /// The same of the other topic.
    pub(super) groups: Option<Result<TopicState, String>>,
}

/// The result of the check.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Verdict {
    /// Reasons not to start.
    pub(super) reasons: Vec<String>,
    /// What an operator should look at.
    pub(super) warnings: Vec<String>,
}

/// Compares the state with what the log's own topics must have.
pub(super) fn judge(seen: &Coordination, asked: &TopicRequirements) -> Verdict {
    let mut verdict = Verdict::default();
    for (broker, settings) in &seen.brokers {
        let settings = match settings {
            Ok(settings) => settings,
            Err(why) => {
                verdict.warnings.push(why.clone());
                continue;
            }
        };
        match settings.get(VERIFICATION).map(String::as_str) {
            Some("true") => {}
            Some(other) => verdict.reasons.push(format!(
                "broker {broker} has {VERIFICATION}={other}: what an owner wrote before it was fenced could be committed \
                 by the next one"
            )),
            None => verdict.warnings.push(format!(
                "broker {broker} does not say what {VERIFICATION} is: Kafka has it from 3.6 on, and it should be true"
            )),
        }
    }
    let mut unknown = Vec::new();
    let transactions = few(seen, (TRANSACTIONS, &seen.transactions, TRANSACTIONS_MADE), asked, &mut unknown);
    let groups = few(seen, (GROUPS, &seen.groups, GROUPS_MADE), asked, &mut unknown);
    verdict.warnings.append(&mut unknown);
    verdict.reasons.extend(transactions.into_iter().map(|few| format!("{few}: every yes rests on it")));
    verdict.warnings.extend(groups.into_iter().map(|few| format!("{few}: without it no partition changes hands")));
    verdict
}

/// Says where a topic has, or will have, fewer replicas than the log's own topics must have.
fn few(
    seen: &Coordination,
    (name, found, made): (&str, &Option<Result<TopicState, String>>, [&str; 2]),
    asked: &TopicRequirements,
    unknown: &mut Vec<String>,
) -> Vec<String> {
    let wanted = [asked.replication, asked.min_in_sync];
    let is_few = |is: &str, wanted: u16| is.parse::<u16>().is_ok_and(|is| is < wanted);
    match found {
        Some(Ok(found)) => {
            let of_replicas = (found.replicas < wanted[0]).then(|| {
                let count = found.replicas;
                let s = if count == 1 { "" } else { "s" };
                format!("{name} has {count} replica{s} instead of {} or more", wanted[0])
            });
            let in_sync = found.config.get(MIN_IN_SYNC).filter(|is| is_few(is, wanted[1]));
            let of_sync = in_sync.map(|is| format!("{name} has {MIN_IN_SYNC}={is} instead of {} or more", wanted[1]));
            of_replicas.into_iter().chain(of_sync).collect()
        }
        Some(Err(why)) => {
            unknown.push(why.clone());
            Vec::new()
        }
        None => {
            let brokers = seen.brokers.iter().filter_map(|(broker, settings)| Some((broker, settings.as_ref().ok()?)));
            let of_broker = |(broker, settings): (&i32, &BTreeMap<String, String>)| {
                let pairs = made.into_iter().zip(wanted);
                let few = pairs.filter_map(|(setting, wanted)| {
                    let is = settings.get(setting).filter(|is| is_few(is, wanted))?;
                    Some(format!(
                        "{name} does not exist, and broker {broker} would make it with {setting}={is} instead of \
                         {wanted} or more"
                    ))
                });
                few.collect::<Vec<_>>()
            };
            brokers.flat_map(of_broker).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: TopicRequirements =
        TopicRequirements { partitions: None, replication: 3, min_in_sync: 2, events_keep: None };

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn topic(replicas: u16, in_sync: &str) -> Option<Result<TopicState, String>> {
        Some(Ok(TopicState { partitions: 50, replicas, config: settings(&[(MIN_IN_SYNC, in_sync)]) }))
    }

    fn well() -> Coordination {
        let broker = settings(&[
            (VERIFICATION, "true"),
            (TRANSACTIONS_MADE[0], "3"),
            (TRANSACTIONS_MADE[1], "2"),
            (GROUPS_MADE[0], "3"),
            (MIN_IN_SYNC, "2"),
        ]);
        Coordination { brokers: [(1, Ok(broker))].into(), transactions: topic(3, "2"), groups: topic(3, "2") }
    }

    /// What is said when one thing is different.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Coordination), reasons: &[&str], warnings: &[&str]) {
        let mut seen = well();
        change(&mut seen);
        let verdict = judge(&seen, &ASKED);
        let begins = |told: &[String], expected: &[&str]| {
            assert_eq!(told.len(), expected.len(), "{told:?}");
            assert!(told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{told:?}");
        };
        begins(&verdict.reasons, reasons);
        begins(&verdict.warnings, warnings);
    }

    fn set(seen: &mut Coordination, name: &str, text: Option<&str>) {
        let Some(Ok(broker)) = seen.brokers.get_mut(&1) else { panic!("there is one") };
        match text {
            Some(text) => drop(broker.insert(name.to_owned(), text.to_owned())),
            None => drop(broker.remove(name)),
        }
    }

    #[test]
    fn what_every_yes_rests_on_is_as_safe_as_our_own_topics() {
        check(|_| (), &[], &[]);
        check(|seen| seen.transactions = topic(4, "3"), &[], &[]);
        check(|seen| (seen.transactions, seen.groups) = (None, None), &[], &[]);
        check(
            |seen| seen.transactions = topic(1, "1"),
            &[
                "__transaction_state has 1 replica instead of 3 or more: every yes rests on it",
                "__transaction_state has min.insync.replicas=1 instead of 2 or more: ",
            ],
            &[],
        );
        check(|seen| seen.groups = topic(2, "2"), &[], &["__consumer_offsets has 2 replicas instead of 3 or more: "]);
        check(
            |seen| {
                seen.transactions = None;
                set(seen, TRANSACTIONS_MADE[1], Some("1"));
            },
            &["__transaction_state does not exist, and broker 1 would make it with transaction.state.log.min.isr=1 \
               instead of 2 or more: every yes rests on it"],
            &[],
        );
        check(
            |seen| {
                seen.groups = None;
                set(seen, GROUPS_MADE[0], Some("1"));
            },
            &[],
            &["__consumer_offsets does not exist, and broker 1 would make it with offsets.topic.replication.factor=1"],
        );
    }

    #[test]
    fn brokers_take_no_record_of_a_transaction_that_is_over() {
        check(
            |seen| set(seen, VERIFICATION, Some("false")),
            &["broker 1 has transaction.partition.verification.enable=false: "],
            &[],
        );
        check(|seen| set(seen, VERIFICATION, None), &[], &["broker 1 does not say what transaction.partition."]);
        check(|seen| drop(seen.brokers.insert(2, Err("silent".to_owned()))), &[], &["silent"]);
        check(|seen| seen.transactions = Some(Err("not allowed".to_owned())), &[], &["not allowed"]);
    }
}
