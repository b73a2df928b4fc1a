//! The rows of a log in fjall, an LSM tree with a journal. Turns that meet become durable in one batch.

use super::grouped::{Base, Kind, Ticket, records};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use headroom::log::Turn;
use std::path::Path;
use std::sync::Arc;

/// The open tree.
pub struct Tree {
    db: Database,
    heads: Keyspace,
    events: Keyspace,
    commands: Keyspace,
}

impl Tree {
    /// Opens the tree in this directory, or makes an empty one.
    ///
    /// # Errors
    /// The error of fjall.
    pub fn open(dir: &Path) -> Result<Tree, String> {
        let db = Database::builder(dir.join("tree")).open().map_err(told)?;
        let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default).map_err(told);
        let (heads, events, commands) = (keyspace("heads")?, keyspace("events")?, keyspace("commands")?);
        Ok(Tree { db, heads, events, commands })
    }

    /// Compares all records with the turns of each partition; answers the number of events.
    ///
    /// # Errors
    /// What is not there as it was committed.
    pub fn read_back(&self, turns: &[Vec<Arc<Turn>>]) -> Result<u64, String> {
        let mut count = 0;
        for (partition, turns) in (0..).zip(turns) {
            let events = turns.iter().flat_map(|turn| &turn.events).map(|event| &event.bytes[..]);
            let commands = turns.iter().flat_map(|turn| &turn.inputs).map(|input| &input.bytes[..]);
            count += compare(&self.events, (Kind::Events, partition), events)?;
            compare(&self.commands, (Kind::Commands, partition), commands)?;
        }
        Ok(count)
    }
}

/// Compares the records of a partition with those that it should have, in their order; answers how many there are.
fn compare<'a>(
    rows: &Keyspace,
    (kind, partition): (Kind, u32),
    mut expected: impl Iterator<Item = &'a [u8]>,
) -> Result<u64, String> {
    let mut next = 0;
    for row in rows.prefix(partition.to_be_bytes()) {
        let (place, row) = row.into_inner().map_err(told)?;
        let records = records((kind, partition, next), &row).filter(|_| *place == key(partition, next));
        let first = next;
        let wrong = || format!("the row at {first} of partition {partition} is not what was committed");
        for record in records.ok_or_else(wrong)? {
            if expected.next() != Some(record) {
                return Err(wrong());
            }
            next += 1;
        }
    }
    match expected.next() {
        None => Ok(next),
        Some(_) => Err(format!("record {next} of partition {partition} is missing")),
    }
}

impl Base for Tree {
    fn write(&self, batch: &[Ticket]) -> Result<(), String> {
        let mut write = self.db.batch().durability(Some(PersistMode::SyncData));
        for Ticket { partition, head, events, commands, .. } in batch {
            events.iter().for_each(|(first, row)| write.insert(&self.events, key(*partition, *first), &row[..]));
            commands.iter().for_each(|(first, row)| write.insert(&self.commands, key(*partition, *first), &row[..]));
            write.insert(&self.heads, partition.to_be_bytes(), &head[..]);
        }
        write.commit().map_err(told)
    }

    /// Those of the tables, once all is written and merged. The journals, which are files of a fixed size, are not in it.
    fn bytes(&self) -> Result<u64, String> {
        let merged = |rows: &Keyspace| {
            rows.rotate_memtable_and_wait()?;
            rows.major_compact()?;
            Ok(rows.disk_space())
        };
        Ok(merged(&self.events).map_err(told)? + merged(&self.commands).map_err(told)?)
    }
}

/// Rows lie in this order.
fn key(partition: u32, first: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (of_partition, of_first) = key.split_at_mut(4);
    of_partition.copy_from_slice(&partition.to_be_bytes());
    of_first.copy_from_slice(&first.to_be_bytes());
    key
}

fn told(error: fjall::Error) -> String {
    format!("fjall: {error}")
}
