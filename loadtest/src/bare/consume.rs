//! Measures how fast the client reads: no replay can be faster.

use crate::args::ConsumeArgs;
use crate::machine;
use crate::topics::{cluster, number};
use headroom::time::Stopwatch;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest wait for any answer.
const LIMIT: Duration = Duration::from_secs(20);

struct Read {
    records: u64,
    bytes: u64,
    /// From assigning the partitions to the end of the last partition.
    took: Duration,
    /// From the first record to the end of the last partition.
    flowing: Duration,
}

/// `headroom-loadtest bare-consume`.
///
/// # Errors
/// Why it cannot be read.
pub async fn command(args: ConsumeArgs) -> Result<bool, String> {
    let (line, machine) = (std::env::args().collect::<Vec<_>>().join(" "), machine::line());
    let is_json = args.json;
    let read = tokio::task::spawn_blocking(move || read(&args)).await.map_err(|e| e.to_string())??;
    let Read { records, bytes, took, flowing } = read;
    let per_s = records as f64 / flowing.as_secs_f64().max(1e-9);
    if is_json {
        let (took_s, flowing_s) = (took.as_secs_f64(), flowing.as_secs_f64());
        println!(
            "{}",
            json!({"command": line, "machine": machine, "records": records, "bytes": bytes, "took_s": took_s,
                   "flowing_s": flowing_s, "records_per_s": per_s})
        );
    } else {
        println!("command  {line}\nmachine  {machine}\n");
        let each = bytes as f64 / records.max(1) as f64;
        println!("{records} records of {each:.0} bytes in {:.2} s: {per_s:.0} records/s", took.as_secs_f64());
    }
    Ok(true)
}

fn read(args: &ConsumeArgs) -> Result<Read, String> {
    let cluster = cluster(&args.brokers, "consume");
    let consumer: BaseConsumer = cluster.reader_to_end().create().map_err(|e| e.to_string())?;
    let metadata = consumer.fetch_metadata(Some(&args.topic), LIMIT).map_err(|e| format!("{}: {e}", args.brokers))?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    let partitions = partitions.iter().map(|partition| partition.id());
    let wanted: BTreeSet<i32> = partitions.filter(|id| args.partition.is_none_or(|p| number(p) == *id)).collect();
    if wanted.is_empty() {
        return Err(format!("there is no such partition of {}", args.topic));
    }
    let mut list = TopicPartitionList::new();
    for partition in &wanted {
        list.add_partition_offset(&args.topic, *partition, Offset::Beginning).map_err(|e| e.to_string())?;
    }
    let reading = Stopwatch::start();
    consumer.assign(&list).map_err(|e| e.to_string())?;
    let (mut left, mut records, mut bytes, mut flowing, mut since_answer) =
        (wanted, 0u64, 0u64, None, Stopwatch::start());
    while !left.is_empty() {
        match super::unless_away(consumer.poll(Duration::from_millis(100))) {
            Ok(Some(message)) => {
                flowing.get_or_insert_with(Stopwatch::start);
                records += 1;
                bytes += message.payload_len() as u64;
            }
            Err(KafkaError::PartitionEOF(partition)) => drop(left.remove(&partition)),
            Err(error) => return Err(format!("reading {}: {error}", args.topic)),
            Ok(None) if since_answer.elapsed() > LIMIT => return Err(format!("{} does not answer", args.topic)),
            Ok(None) => continue,
        }
        since_answer = Stopwatch::start();
    }
    let flowing = flowing.map_or(Duration::ZERO, |since| since.elapsed());
    Ok(Read { records, bytes, took: reading.elapsed(), flowing })
}
