//! What the log says after each phase: the laws, the callers' words, and the states of all processes against a replay.

use super::callers::Notes;
use crate::brokered::serve::{Serving, Site};
use crate::process::agent;
use crate::wait::soon;
use headroom::audit::PartitionAudit;
use headroom::audit::history::{Call, History};
use headroom::log::CommittedTail;
use headroom::log::kafka::Kafka;
use headroom::wire;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use std::time::Duration;

/// Longest wait for an answer of the brokers.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// A log read from its first event on, as far as it went.
pub struct Books<'s> {
    site: &'s Site,
    log: Kafka,
    commands: BaseConsumer,
    audits: Vec<PartitionAudit>,
    next: Vec<u64>,
    /// Of all phases.
    calls: Vec<Call>,
}

impl<'s> Books<'s> {
    pub fn new(site: &'s Site, partitions: u32) -> Books<'s> {
        let audits: Vec<_> = (0..partitions).map(|partition| PartitionAudit::new(partition, partitions)).collect();
        let commands = ClientConfig::new().set("bootstrap.servers", &site.cluster().brokers).create().unwrap();
        Books { site, log: site.log(), commands, next: vec![0; audits.len()], audits, calls: Vec::new() }
    }

    /// Takes a phase's calls, waits until all that was asked is decided and known everywhere, and judges.
    #[track_caller]
    pub fn judge(&mut self, phase: &str, notes: &Notes, processes: &[Serving<'_>]) -> String {
        assert_eq!(notes.refused, [], "{phase}: told yes, and not to be released");
        let mut history = History::new();
        for spoken in &notes.spoken {
            history.record(spoken.call.clone());
            self.calls.push(spoken.call.clone());
        }
        let mut disagreement = String::new();
        let agree = soon(|| match self.agree(&mut history, processes) {
            Ok(()) => true,
            Err(why) => {
                disagreement = why;
                false
            }
        });
        assert!(agree, "{phase}: {disagreement}");
        for audit in &self.audits {
            let report = audit.finish();
            assert_eq!(report.breach_count(), 0, "{phase}: {report}");
        }
        let told = history.finish();
        assert!(told.is_clean(), "{phase}: {told}");
        told.to_string()
    }

    /// As an operator would, with the checkpoints that are in a directory of the site.
    #[track_caller]
    fn verify(&self, of: &str) {
        let data_dir = self.site.path(of);
        let verified = self.site.run(["verify", "--data-dir", data_dir.to_str().unwrap()]);
        assert_eq!(verified.code, 0, "{of}: {}{}", verified.out, verified.err);
        assert!(verified.out.contains("clean: no law broken"), "{of}: {}", verified.out);
    }

    /// Whether every command is decided, and every process has the state that the log adds up to.
    fn agree(&mut self, history: &mut History, processes: &[Serving<'_>]) -> Result<(), String> {
        let agent = agent();
        for (partition, audit) in (0u32..).zip(&mut self.audits) {
            let next = &mut self.next[partition as usize];
            loop {
                let events = self.log.read(partition, *next, 1 << 20).map_err(|error| error.to_string())?;
                let Some(last) = events.last() else { break };
                *next = last.seq + 1;
                for event in events {
                    let recorded = wire::event::decode(&event.bytes).map_err(|error| error.to_string())?;
                    audit.observe(&recorded);
                    history.observe(&recorded);
                }
            }
            let topic = &self.site.cluster().topics.commands;
            let bounds = self.commands.fetch_watermarks(topic, i32::try_from(partition).unwrap(), ASK_LIMIT);
            let (_, asked) = bounds.map_err(|error| error.to_string())?;
            let decided = audit.finish().next_input;
            if u64::try_from(asked) != Ok(decided) {
                return Err(format!("partition {partition}: {decided} of {asked} commands are decided"));
            }
            let added_up = audit.digest().to_string();
            for process in processes {
                let url = process.url().ok_or("a process is down")?;
                let answer = agent.get(format!("{url}/internal/state/{partition}")).call();
                let text = answer.and_then(|mut answer| answer.body_mut().read_to_string());
                let text = text.map_err(|error| error.to_string())?;
                let state: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                if state["next_seq"] != *next || state["digest"] != *added_up {
                    return Err(format!("partition {partition}: {url} has {text}, the log {next} and {added_up}"));
                }
            }
        }
        Ok(())
    }

    /// All of it once more from the beginning, by another reader and by the binary, without checkpoints and with those of
    /// processes that have ended.
    #[track_caller]
    pub fn close(self, processes: &[&str]) -> String {
        processes.iter().chain(&["none"]).for_each(|of| self.verify(of));
        let mut history = History::new();
        self.calls.into_iter().for_each(|call| history.record(call));
        let log = self.site.log();
        for (partition, (known, end)) in (0..).zip(self.audits.iter().zip(self.next)) {
            let mut audit = PartitionAudit::new(partition, log.partitions());
            let mut next = 0;
            while next < end {
                // Who ends in order hands partitions on, which is recorded, too.
                let read = log.read(partition, next, 1 << 20).unwrap();
                for event in read.into_iter().filter(|event| event.seq < end) {
                    let recorded = wire::event::decode(&event.bytes).unwrap();
                    audit.observe(&recorded);
                    history.observe(&recorded);
                    next = event.seq + 1;
                }
            }
            assert_eq!(audit.digest(), known.digest());
            let report = audit.finish();
            assert_eq!(report.breach_count(), 0, "{report}");
        }
        let told = history.finish();
        assert!(told.is_clean(), "{told}");
        told.to_string()
    }
}
