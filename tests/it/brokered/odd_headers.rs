//! Headers whose names are no text. To Kafka a name is bytes, and every program that may write a record may give it any. The
//! client library writes none such and panics where it reads one, so they are written by hand here.

use super::in_time;
use super::serve::Site;
use crate::dead_letters::{PARTITIONS, objects, says};
use crate::fixtures::{command, define, orders, pool_of};
use crate::process::run;
use crate::rig::Rig;
use crate::wait::until;
use headroom::domain::Command;
use headroom::log::kafka::Topics;
use headroom::time::{Clock, SystemClock};
use headroom::wire;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const ODD: [Named<'static>; 2] = [(b"\xff\xfe", b"odd"), (b"a\xc3", b"")];

/// A header's name and its value.
type Named<'a> = (&'a [u8], &'a [u8]);

fn size(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap()
}

/// A number as records have it, of as many bytes as it needs.
fn varint(number: i32) -> Vec<u8> {
    let (mut rest, mut bytes) = (((number << 1) ^ (number >> 31)).cast_unsigned(), Vec::new());
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&varint(size(bytes))[..], bytes].concat()
}

fn record(value: &[u8], headers: &[Named<'_>]) -> Vec<u8> {
    // Without attributes, a time and an offset of its own, and a key.
    let mut record = vec![0, 0, 0, 1];
    record.extend(sized(value));
    record.extend(varint(i32::try_from(headers.len()).unwrap()));
    headers.iter().for_each(|(name, value)| record.extend([sized(name), sized(value)].concat()));
    sized(&record)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc)))
}

/// A batch of one record, of no producer that the broker knows.
fn batch(record: &[u8]) -> Vec<u8> {
    let now = i64::try_from(SystemClock::new().wall().0 / 1_000).unwrap().to_be_bytes();
    let mut checked = vec![0; 6];
    checked.extend([now, now, [0xff; 8]].concat());
    checked.extend([0xff; 6]);
    checked.extend(1i32.to_be_bytes());
    checked.extend(record);
    let rest = [&[0xff, 0xff, 0xff, 0xff, 2][..], &crc32c(&checked).to_be_bytes()[..], &checked[..]].concat();
    [&[0; 8][..], &size(&rest).to_be_bytes()[..], &rest[..]].concat()
}

/// Writes a record with odd headers into partition 0: a Produce of version 3.
fn produce(broker: &str, topic: &str, value: &[u8]) {
    let batch = batch(&record(value, &ODD));
    let text = |text: &str| [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let mut asked: Vec<u8> = vec![0, 0, 0, 3, 0, 0, 0, 1];
    asked.extend(text("odd"));
    // In no transaction, and answered when every replica has it, within a second.
    asked.extend([0xff; 4]);
    asked.extend(1_000i32.to_be_bytes());
    asked.extend(1i32.to_be_bytes());
    asked.extend(text(topic));
    asked.extend([1i32.to_be_bytes(), [0; 4], size(&batch).to_be_bytes()].concat());
    asked.extend(batch);
    let mut broker = TcpStream::connect(broker).unwrap();
    broker.set_read_timeout(Some(LIMIT)).unwrap();
    broker.write_all(&[&size(&asked).to_be_bytes()[..], &asked[..]].concat()).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut said = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    broker.read_exact(&mut said).unwrap();
    // Behind the number of the request, the topic, and the partition.
    let error = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(said[error..error + 2], [0, 0], "{topic}: {said:?}");
}

/// The story: a program that may write commands has one bug. Without a reader that passes over such a name, every process that
/// takes the partition dies of it, one after the other.
#[test]
fn a_header_whose_name_is_no_text_stops_nobody() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let site = Site::new(Rig::shared(), PARTITIONS);
    let Topics { commands, events, dead_letters, .. } = &site.cluster().topics;
    let pool = pool_of(0, PARTITIONS);
    let definition = wire::command::encode(&Command { deadline: in_time(), ..command(1, define(&pool, orders(1))) });
    let first = site.serve("a");
    for (topic, value) in [
        (commands, &definition[..]),
        (commands, &b"garbage"[..]),
        (events, &b"no event"[..]),
        (dead_letters, &b"no letter"[..]),
    ] {
        produce(&site.cluster().brokers, topic, value);
    }
    let told = || site.run(["cat", "--partition", "0"]).out;
    until("both commands are decided", || told().contains("\"Malformed\""));
    assert!(told().contains("\"PoolDefined\""), "{}", told());
    let letters = || objects(&run(site.command(["dead-letters", "list"]).arg("--json")).out);
    until("there is a letter", || !letters().is_empty());
    assert_eq!(letters().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), ["0-1"]);
    first.terminate();
    let second = site.serve("b");
    second.terminate();
    for server in [&first, &second] {
        assert!(!server.logged().contains("panicked"), "{}", server.logged());
    }
    says(&site.run(["verify"]), 0, &["clean"]);
}
