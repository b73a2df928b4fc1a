//! The contract over Kafka: topics of its own for each case, on a broker that all of them share. A restart is another
//! client of the same topics.

use super::bounded::{Beheading, bounded_contract};
use super::cluster::{ClusterHarness, cluster_contract};
use super::*;
use crate::brokered;
use headroom::log::kafka::Kafka;
use headroom::log::{ClusterLog, CommandProducer, OwnerControl, StopWhen};

struct Harnessed {
    kafka: Kafka,
    sink: Arc<dyn CommandProducer>,
    partitions: u32,
    prefix: String,
}

fn open(prefix: String, partitions: u32) -> Harnessed {
    let kafka = brokered::open(&prefix, partitions);
    let sink = kafka.producer().unwrap();
    Harnessed { kafka, sink, partitions, prefix }
}

impl Harness for Harnessed {
    type Log = Kafka;
    const MAY_BE_SLOW: bool = true;

    fn fresh(partitions: u32) -> Self {
        let prefix = brokered::prefix();
        brokered::make_topics(&prefix, partitions);
        open(prefix, partitions)
    }

    fn reopened(self) -> Self {
        let Harnessed { partitions, prefix, kafka, sink } = self;
        drop((kafka, sink));
        open(prefix, partitions)
    }

    fn sink(&self) -> Arc<dyn CommandSink> {
        self.sink.clone()
    }

    fn log(&self) -> Arc<Kafka> {
        Arc::new(self.kafka.clone())
    }

    fn tail(&self) -> Arc<dyn CommittedTail> {
        Arc::new(self.kafka.clone())
    }

    fn close(&self) {
        assert_eq!(self.sink.close(LONG), 0);
        (0..self.partitions).for_each(|partition| self.kafka.stop(partition, StopWhen::OwnCommandsPolled));
    }
}

impl ClusterHarness for Harnessed {
    fn beside(&self) -> Self {
        open(self.prefix.clone(), self.partitions)
    }
}

impl Beheading for Harnessed {
    fn lose_head(&self) {
        brokered::head_gone::remove_before(&self.kafka, 20);
    }
}

contract!(Harnessed);
bounded_contract!(Harnessed);
cluster_contract!(Harnessed);
