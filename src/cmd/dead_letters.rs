//! `headroom dead-letters`: the commands that could not be decided, and what an operator does about them. An event has
//! refused each of them already: no caller waits for one.

use super::shared::flags::{AnyLog, Flags};
use super::shared::source::{Source, cannot_open, in_use};
use super::shared::stderr;
use super::{Failure, Verdict};
use crate::app;
use crate::config::Config;
use crate::domain::{Command, Micros, route};
use crate::limits::LETTERS_MAX;
use crate::log::CommittedTail;
use crate::log::dead_letters::{DeadLetter, DeadLetterId, DeadLetters, RawCommand, Resolution};
use crate::log::embedded::Options;
use crate::store::sled::SledStore;
use crate::time::{Clock, SystemClock, text};
use crate::wire;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;

/// The subcommands of `dead-letters`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the dead letters that were neither retried nor discarded
    List {
        #[command(flatten)]
        flags: Flags<AnyLog>,
        /// List those of this partition only
        #[arg(long, value_name = "P")]
        partition: Option<u32>,
        /// List those that were retried or discarded as well
        #[arg(long)]
        all: bool,
        /// Print one JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Print one dead letter as JSON, with the bytes of its command in hexadecimal
    Show(One),
    /// Append the command of one dead letter again, to the partition it belongs to; only on Kafka
    ///
    /// The command has to be readable by now. It is appended byte for byte, and a deadline that has passed refuses it.
    Retry(One),
    /// Discard one dead letter: it is not listed any more
    Discard(One),
}

/// Names one dead letter.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    flags: Flags<AnyLog>,
    /// Id of the dead letter, PARTITION-OFFSET, as `list` prints it
    #[arg(value_name = "ID", value_parser = |text: &str| text.parse::<DeadLetterId>())]
    id: DeadLetterId,
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match self {
            Action::List { flags, .. } => flags.load(),
            Action::Show(one) | Action::Retry(one) | Action::Discard(one) => one.flags.load(),
        }
    }

    /// What an operator does by it, and what it is about; `None` when it only reads.
    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        match self {
            Action::List { .. } | Action::Show(_) => None,
            Action::Retry(one) => Some(("dead-letters retry", one.id.to_string())),
            Action::Discard(one) => Some(("dead-letters discard", one.id.to_string())),
        }
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let mut desk = desk(config, matches!(action, Action::Discard(_)), out)?;
    match action {
        Action::List { partition, all, json, .. } => desk.list(*partition, *all, *json),
        Action::Show(one) => desk.show(one.id),
        Action::Retry(one) => desk.retry(one.id, SystemClock::new().now()),
        Action::Discard(one) => desk.discard(one.id, SystemClock::new().now()),
    }?;
    Ok(Verdict::Fine)
}

fn desk<'a, W>(config: &Config, writes: bool, out: &'a mut W) -> Result<Desk<'a, W>, Failure> {
    let (partitions, log): (u32, Arc<dyn DeadLetters>) = match Source::open(config, None)? {
        Source::Server(_) => {
            return Err(in_use(&config.data_dir));
        }
        Source::Directory(reader) if writes => {
            drop(reader);
            // The log exists, so that these are not used to make one.
            let options = Options { partitions: None, log_id: 0, now: Micros(0) };
            let store = SledStore::open(&config.data_dir);
            let log =
                app::open(&config.data_dir, options, &store, &Arc::default()).map_err(|error| cannot_open(&error))?;
            (log.partitions(), log)
        }
        Source::Directory(reader) => (reader.partitions(), Arc::new(reader.into_log())),
        Source::Cluster(log) => (log.partitions(), Arc::new(*log)),
    };
    Ok(Desk { log, partitions, out })
}

struct Desk<'a, W> {
    log: Arc<dyn DeadLetters>,
    partitions: u32,
    out: &'a mut W,
}

impl<W: Write> Desk<'_, W> {
    fn list(&mut self, partition: Option<u32>, all: bool, as_json: bool) -> Result<(), Failure> {
        if let Some(partition) = partition {
            self.check(partition)?;
        }
        let wanted = partition.map_or(0..self.partitions, |partition| partition..partition.saturating_add(1));
        if !as_json {
            writeln!(self.out, "{:16} {:27} {:>8}  {:9}  reason", "id", "refused at", "bytes", "state")?;
        }
        for partition in wanted {
            let letters = self.log.letters(partition)?;
            if letters.len() >= LETTERS_MAX {
                stderr::note(format_args!(
                    "partition {partition} has more dead letters; only the oldest {LETTERS_MAX} are listed"
                ));
            }
            for letter in letters {
                if letter.resolved.is_some() && !all {
                    continue;
                }
                if as_json {
                    writeln!(self.out, "{}", described(&letter))?;
                    continue;
                }
                let (id, when, state) = (letter.id().to_string(), text(letter.said.at), state(&letter));
                let DeadLetter { length, said, .. } = letter;
                writeln!(self.out, "{id:16} {when:27} {length:>8}  {state:9}  {}", said.reason)?;
            }
        }
        Ok(())
    }

    fn show(&mut self, id: DeadLetterId) -> Result<(), Failure> {
        let (letter, original) = self.find(id)?;
        let mut shown = described(&letter);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        shown["key"] = original.key.as_deref().map(hex).into();
        shown["value"] = original.bytes.as_deref().map(hex).into();
        shown["command"] = self.read(&original).ok().as_ref().map(wire::command::to_json).into();
        let text = serde_json::to_string_pretty(&shown).unwrap_or_default();
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    fn retry(&mut self, id: DeadLetterId, now: Micros) -> Result<(), Failure> {
        let (letter, original) = self.find(id)?;
        self.is_open(&letter)?;
        let kept = original.bytes.as_ref().map_or(0, Vec::len);
        if u64::try_from(kept) != Ok(letter.length) {
            let length = letter.length;
            return refuse(format!("{id} had {length} bytes, of which {kept} are kept: it cannot be appended again"));
        }
        let command = self
            .read(&original)
            .map_err(|why| Failure::Wrong(format!("{id} is not appended again: it still cannot be read: {why}")))?;
        let partition = route::home(&command.body, self.partitions);
        self.log.append_again(partition, &original)?;
        self.log.resolve(id, Resolution::Retried, now).map_err(|error| {
            Failure::Unusable(format!("{id} was appended again to partition {partition}, but is still listed: {error}"))
        })?;
        writeln!(self.out, "{id} was appended again to partition {partition}")?;
        if command.deadline < now {
            writeln!(
                self.out,
                "its deadline passed at {}: its owner will refuse it as expired",
                text(command.deadline)
            )?;
        }
        Ok(())
    }

    fn discard(&mut self, id: DeadLetterId, now: Micros) -> Result<(), Failure> {
        let (letter, _) = self.find(id)?;
        self.is_open(&letter)?;
        self.log.resolve(id, Resolution::Discarded, now)?;
        writeln!(self.out, "{id} was discarded")?;
        Ok(())
    }

    fn read(&self, original: &RawCommand) -> Result<Command, String> {
        original.bytes.as_ref().ok_or("its record had no value")?;
        let bytes = self.log.inside(original).map_err(|error| error.to_string())?;
        wire::command::decode(&bytes).map_err(|error| error.to_string())
    }

    fn check(&self, partition: u32) -> Result<(), Failure> {
        if partition < self.partitions {
            return Ok(());
        }
        let partitions = self.partitions;
        Err(Failure::Unusable(format!("there is no partition {partition}: the log has {partitions}, numbered from 0")))
    }

    fn find(&self, id: DeadLetterId) -> Result<(DeadLetter, RawCommand), Failure> {
        self.check(id.partition)?;
        let letters = self.log.letters(id.partition)?;
        let Some(letter) = letters.into_iter().find(|letter| letter.id() == id) else {
            return Err(Failure::Wrong(format!(
                "there is no dead letter {id}: headroom dead-letters list --all prints every id"
            )));
        };
        Ok((letter, self.log.original(id)?))
    }

    fn is_open(&self, letter: &DeadLetter) -> Result<(), Failure> {
        match letter.resolved {
            None => Ok(()),
            Some((resolution, at)) => {
                refuse(format!("{} was {} already, at {}", letter.id(), resolution.text(), text(at)))
            }
        }
    }
}

fn refuse<T>(why: String) -> Result<T, Failure> {
    Err(Failure::Wrong(why))
}

fn state(letter: &DeadLetter) -> &'static str {
    letter.resolved.map_or("open", |(resolution, _)| resolution.text())
}

fn described(letter: &DeadLetter) -> Value {
    let DeadLetter { partition, said, length, resolved } = letter;
    json!({
        "id": letter.id().to_string(),
        "partition": partition,
        "offset": said.offset.to_string(),
        "at": text(said.at),
        "reason": said.reason,
        "bytes": length,
        "state": state(letter),
        "resolved_at": resolved.map(|(_, at)| text(at)),
    })
}
