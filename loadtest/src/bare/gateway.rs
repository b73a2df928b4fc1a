//! Sends commands and reads replies. Each record carries the time when it was due, and latency is measured from that
//! time.

use super::clocked::Clocked;
use super::{LOOK, LOOK_SOON, Loop, RECORD_BYTES, tell, unless_away};
use crate::machine::{Cpu, brokers_of};
use crate::tally::histogram;
use hdrhistogram::Histogram;
use headroom::domain::Micros;
use headroom::time::{Clock, Stopwatch, pause};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// From everything being ready to the first command due.
const HEAD_START_US: u64 = 200_000;
/// Shortest wait between two looks at the schedule.
const QUANTUM_US: u64 = 100;
/// Commands without a reply, at most: more are dropped, and counted.
const UNANSWERED_MAX: u64 = 500_000;
/// Longest wait for the last replies.
const LAST_REPLIES: Duration = Duration::from_secs(5);

/// The commands that were offered.
pub struct Offer {
    /// Commands due in the measured time.
    pub scheduled: u64,
    /// Of those, never sent: too many were unanswered.
    pub dropped: u64,
    /// All commands that were sent.
    pub sent: u64,
    /// CPU time used in the measured time.
    pub cpu: Cpu,
}

/// The replies that came back.
pub struct Replies {
    /// Replies that were read in all, measured or not.
    pub all: u64,
    /// Replies read in the measured time, whenever their command was due.
    pub in_time: u64,
    /// Latency from when the command was due, of commands due in the measured time.
    pub latency_us: Histogram<u64>,
}

/// Sends commands as they are due, and waits for the last replies.
pub fn offer(it: &Loop) -> Result<Offer, String> {
    let args = &it.args;
    let failed = |error: KafkaError| format!("the producer of commands: {error}");
    let config = lingering(it, it.cluster.commands());
    let mut producer = Clocked::new(&config, &it.cluster.topics.commands, args.partitions).map_err(failed)?;
    let start = it.clock.now().0 + HEAD_START_US;
    let measured = start + (args.pace.warmup * 1e6) as u64;
    let end = measured + (args.pace.seconds * 1e6) as u64;
    it.measured.1.store(end, Relaxed);
    it.measured.0.store(measured, Relaxed);
    let arrivals = args.pace.arrivals(args.pace.rate, args.pace.seed);
    let brokers = args.rig.as_deref().map(brokers_of).unwrap_or_default();
    let mut before = None;
    let (mut scheduled, mut dropped, mut sent) = (0, 0, 0u64);
    for due in arrivals.map(|offset| Micros(start + offset)) {
        if !wait_until(it, due, &mut producer).map_err(failed)? {
            return Err("the run ended early".to_owned());
        }
        let is_measured = due.0 >= measured;
        if is_measured {
            before.get_or_insert_with(|| Cpu::of(&brokers));
            scheduled += 1;
        }
        if sent.saturating_sub(it.replied.load(Relaxed)) >= UNANSWERED_MAX {
            dropped += u64::from(is_measured);
            continue;
        }
        let mut bytes = vec![b'.'; RECORD_BYTES];
        bytes[..8].copy_from_slice(&due.0.to_be_bytes());
        let partition = u32::try_from(sent % u64::from(args.partitions)).unwrap_or_default();
        producer.queue(partition, bytes);
        producer.flow().map_err(failed)?;
        sent += 1;
    }
    wait_until(it, Micros(end), &mut producer).map_err(failed)?;
    let cpu = Cpu::of(&brokers).since(&before.unwrap_or_default());
    let waiting = Stopwatch::start();
    while it.replied.load(Relaxed) < sent && !it.is_over() && waiting.elapsed() < LAST_REPLIES {
        let is_empty = producer.flow().map_err(failed)?;
        pause(if is_empty { LOOK } else { LOOK_SOON });
    }
    Ok(Offer { scheduled, dropped, sent, cpu })
}

/// Replaces Headroom's linger by that of the arguments, if they have one.
pub fn lingering(it: &Loop, mut config: rdkafka::ClientConfig) -> rdkafka::ClientConfig {
    if let Some(linger_ms) = it.args.turns.linger_ms {
        config.set("linger.ms", linger_ms.to_string());
    }
    config
}

/// Waits until this time; answers `false` when the run is over before.
fn wait_until(it: &Loop, due: Micros, producer: &mut Clocked) -> Result<bool, KafkaError> {
    loop {
        let ahead = due.0.saturating_sub(it.clock.now().0);
        if ahead == 0 {
            return Ok(true);
        }
        if it.is_over() {
            return Ok(false);
        }
        let look = if producer.flow()? { LOOK } else { LOOK_SOON };
        pause(Duration::from_micros(ahead.max(QUANTUM_US)).min(look));
    }
}

/// Reads replies until the run is over.
pub fn replies(it: &Loop, ready: &Sender<()>) -> Result<Replies, String> {
    let topic = &it.cluster.topics.replies;
    let consumer: BaseConsumer =
        it.cluster.reply_reader().create().map_err(|e| format!("the reader of replies: {e}"))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(0))
        .and_then(|()| consumer.assign(&list))
        .map_err(|e| e.to_string())?;
    tell(ready);
    let mut replies = Replies { all: 0, in_time: 0, latency_us: histogram() };
    while !it.is_over() {
        let polled = unless_away(consumer.poll(LOOK)).map_err(|e| format!("reading replies: {e}"))?;
        let Some(message) = polled else { continue };
        let due = message.payload().and_then(|bytes| bytes.first_chunk()).copied().map(u64::from_be_bytes);
        let (due, now) = (Micros(due.unwrap_or_default()), it.clock.now());
        replies.all += 1;
        it.replied.fetch_add(1, Relaxed);
        replies.in_time += u64::from(it.is_measured(now));
        if it.is_measured(due) {
            // Recording fails only above a fixed maximum, and there is none.
            let _ = replies.latency_us.record(now.0.saturating_sub(due.0));
        }
    }
    Ok(replies)
}
