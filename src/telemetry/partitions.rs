//! Metrics of partitions as this process sees them, whoever owns them: how far its state is behind, which signs of life
//! are missing, and what its checkpoints lack.

use super::register::{Register, as_gauge, as_seconds, float_gauges, gauges};
use crate::domain::Micros;
use crate::gateway::readiness::{Outage, Silence};
use crate::replica::{PartitionHandle, PartitionState, StatusKind};
use prometheus::{GaugeVec, IntGaugeVec};

pub(super) struct PartitionMetrics {
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
    epoch: IntGaugeVec,
    deciding: IntGaugeVec,
    outage: GaugeVec,
    silence: GaugeVec,
    checkpointed: GaugeVec,
    unsaved: IntGaugeVec,
}

impl PartitionMetrics {
    pub(super) fn new(r: &Register) -> PartitionMetrics {
        let whole = |name: &str, help: &str| gauges(r, name, help, &["partition"]);
        let seconds = |name: &str, help: &str| float_gauges(r, name, help, &["partition"]);
        PartitionMetrics {
            lag_records: whole(
                "headroom_partition_lag_records",
                "Records of the partition's events that the log has and the state of this process lacks; 0 for the \
                 owner. On Kafka they are offsets, and the ends of transactions count as well.",
            ),
            lag_seconds: seconds(
                "headroom_partition_lag_seconds",
                "For how long the state of this process may have been behind the log.",
            ),
            epoch: whole(
                "headroom_partition_epoch",
                "Epoch of the last event in the state of this process: how many owners the partition has had.",
            ),
            deciding: whole(
                "headroom_partition_deciding",
                "1 while calls on the partition are decided, by this process or another, as far as it knows.",
            ),
            outage: seconds(
                "headroom_partition_outage_seconds",
                "For how long calls on the partition have not been decided, as far as this process knows; 0 while they \
                 are.",
            ),
            silence: float_gauges(
                r,
                "headroom_partition_silence_seconds",
                "For how long a sign of life is missing: decisions while commands wait, answers of the log while it is \
                 asked, and on a cluster notes of an owner.",
                &["partition", "sign"],
            ),
            checkpointed: seconds(
                "headroom_checkpoint_timestamp_seconds",
                "When this process last wrote a checkpoint of the partition, in seconds since 1970; before the first \
                 one, when the process began.",
            ),
            unsaved: whole(
                "headroom_checkpoint_missing_events",
                "Events in the state of this process that no checkpoint of it has: a restart reads them from the log.",
            ),
        }
    }

    /// This process begins to see the partition, or has written a checkpoint of it, at this time of its wall clock.
    pub(super) fn checkpointed(&self, partition: &str, wall: Micros) {
        self.checkpointed.with_label_values(&[partition]).set(as_seconds(wall.0));
    }

    /// Takes what is seen of the partition, by the monotonic clock.
    pub(super) fn saw(&self, partition: &str, handle: &PartitionHandle, now: Micros) {
        let label = [partition];
        match handle.lag() {
            Some(records) => self.lag_records.with_label_values(&label).set(as_gauge(records)),
            // The partition has none, or it is not known any more.
            None => drop(self.lag_records.remove_label_values(&label)),
        }
        // Before the first moment at which the state was current, its age counts from the beginning of the clock.
        let is_known = |us: &u64| handle.status_kind() != StatusKind::Restoring && *us < now.0;
        match Some(handle.staleness_us(now)).filter(is_known) {
            Some(us) => self.lag_seconds.with_label_values(&label).set(as_seconds(us)),
            None => drop(self.lag_seconds.remove_label_values(&label)),
        }
        let (epoch, unsaved) =
            handle.read(|state| (state.position().epoch, PartitionState::events_since_checkpoint(state)));
        self.epoch.with_label_values(&label).set(i64::from(epoch));
        self.unsaved.with_label_values(&label).set(as_gauge(unsaved));
    }

    /// Takes what readiness says of the partition, by the wall clock.
    pub(super) fn judged(&self, partition: &str, outage: Option<&Outage>, silence: Silence, wall: Micros) {
        let label = [partition];
        let stands = outage.filter(|outage| !outage.decides);
        let outage_us = stands.map_or(0, |outage| wall.0.saturating_sub(outage.since.0));
        self.deciding.with_label_values(&label).set(i64::from(stands.is_none()));
        self.outage.with_label_values(&label).set(as_seconds(outage_us));
        let Silence { decisions_us, log_us, owner_us } = silence;
        for (sign, us) in [("decisions", decisions_us), ("log", log_us), ("owner", owner_us)] {
            self.silence.with_label_values(&[partition, sign]).set(as_seconds(us));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{PartitionStatus, Replica};
    use prometheus::TextEncoder;

    fn samples(register: &Register, name: &str) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&register.gather()).unwrap();
        text.lines().filter_map(|line| line.strip_prefix(&format!("{name}{{"))).map(str::to_owned).collect()
    }

    #[test]
    fn an_outage_lasts_for_as_long_as_nothing_is_decided() {
        let register = Register::default();
        let metrics = PartitionMetrics::new(&register);
        let outage = |decides| Outage { why: "why".to_owned(), since: Micros(5_000_000), decides, is_of_start: false };
        let seen = |outage: Option<Outage>| {
            metrics.judged(
                "0",
                outage.as_ref(),
                Silence { owner_us: 250_000, ..Silence::default() },
                Micros(7_500_000),
            );
            ["headroom_partition_deciding", "headroom_partition_outage_seconds"]
                .map(|name| samples(&register, name).join(","))
        };
        assert_eq!(seen(None), ["partition=\"0\"} 1", "partition=\"0\"} 0"]);
        assert_eq!(seen(Some(outage(true))), ["partition=\"0\"} 1", "partition=\"0\"} 0"]);
        assert_eq!(seen(Some(outage(false))), ["partition=\"0\"} 0", "partition=\"0\"} 2.5"]);
        let signs = ["decisions\"} 0", "log\"} 0", "owner\"} 0.25"].map(|end| format!("partition=\"0\",sign=\"{end}"));
        assert_eq!(samples(&register, "headroom_partition_silence_seconds"), signs);
    }

    #[test]
    fn a_lag_that_is_not_known_is_not_exported() {
        let (register, replica) = (Register::default(), Replica::shared(1));
        let (metrics, handle) = (PartitionMetrics::new(&register), replica.partition(0).unwrap());
        let seen = || {
            metrics.saw("0", handle, Micros(9_000_000));
            ["headroom_partition_lag_records", "headroom_partition_lag_seconds"]
                .map(|name| samples(&register, name).join(","))
        };
        assert_eq!(seen(), ["", ""], "restoring");
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Standby).unwrap();
        assert_eq!(seen(), ["", ""]);
        handle.was_current_at(Micros(8_000_000));
        handle.set_lag(Some(3));
        assert_eq!(seen(), ["partition=\"0\"} 3", "partition=\"0\"} 1"]);
        handle.begin_anew().unwrap();
        assert_eq!(seen(), ["", ""]);
    }
}
