//! `headroom cat`: prints events as JSON, one object a line, with the field names of the schema.

use super::shared::certificate::{Certificate, CertificateFlags};
use super::shared::source::{Source, own_server};
use super::shared::stderr;
use super::{Failure, Verdict};
use crate::config::Config;
use crate::domain::PoolId;
use crate::limits::TURN_BYTES_MAX;
use crate::log::{CommittedTail, LogError};
use crate::time::pause;
use crate::wire;
use clap::Args;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Pause between two reads of a log that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The events to print.
#[derive(Debug, Args)]
pub(super) struct What {
    /// Print this partition only; otherwise all, one after the other
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Sequence number of the first event to print, in each partition; otherwise the first one that the log has
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Go on with new events until interrupted; a server that stops is waited for
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    certificate: CertificateFlags,
}

pub(super) fn run(config: &Config, what: &What, out: &mut impl Write) -> Result<Verdict, Failure> {
    let own = what.certificate.read().map_err(Failure::Unusable)?;
    let source = Source::open(config, own.as_ref())?;
    let wanted = source.partitions(what.partition)?;
    let left = Left { may_be_elsewhere: config.archive_is_unnamed() };
    let next = wanted.map(|partition| (partition, what.from.unwrap_or_else(|| left.begins(source.tail(), partition))));
    let mut printing = Printing { next: next.collect(), odd: 0, out };
    // A part that the log has lost does not come back; the other partitions can be printed.
    let unread = printing.print(source.tail())?;
    if let Some(why) = unread.values().find(|why| !source.is_at_fault(why)) {
        return Err(Failure::Unusable(why.to_string()));
    }
    let asked = what.from.unwrap_or(u64::MAX);
    if let Some(why) = unread.keys().find_map(|partition| left.is_asked(source.tail(), *partition, asked)) {
        return Err(Failure::Unusable(why));
    }
    for (partition, why) in unread {
        printing.odd = printing.odd.saturating_add(1);
        printing.next.remove(&partition);
        stderr::note(format_args!("partition {partition} cannot be printed: {why}"));
    }
    printing.odd = printing.odd.saturating_add(source.tell_lacks().into());
    if what.follow {
        follow(source, &config.data_dir, own.as_ref(), &mut printing)?;
    }
    Ok(Verdict::fine_if(printing.odd == 0))
}

/// What is before the first event of a log.
#[derive(Clone, Copy)]
struct Left {
    /// Whether it may be in an archive that was not named.
    may_be_elsewhere: bool,
}

impl Left {
    /// The first event that the log has. Where that is not the first one of the partition, it is told.
    fn begins(self, tail: &dyn CommittedTail, partition: u32) -> u64 {
        // If it cannot be told, reading says why.
        let first = tail.first(partition).unwrap_or_default();
        if first > 0 {
            let rest = match self.may_be_elsewhere {
                true => "have left the log; --log-archive names the place to which they went",
                false => "are gone",
            };
            stderr::note(format_args!("partition {partition} begins with seq {first}: the events before it {rest}"));
        }
        first
    }

    /// That an event is asked for which may be elsewhere; none where it is not.
    fn is_asked(self, tail: &dyn CommittedTail, partition: u32, seq: u64) -> Option<String> {
        let first = tail.first(partition).ok().filter(|first| self.may_be_elsewhere && seq < *first)?;
        Some(format!(
            "partition {partition} begins with seq {first}, and --from asks for seq {seq}, which has left the log: name the place \
             to which it went with --log-archive"
        ))
    }
}

/// Prints new events until the output takes no more. A server that stops is waited for. While none runs, nothing is
/// committed, and the data directory is left closed so that one can start. What was printed goes on with the same log, and
/// with no server of another directory: one that was killed leaves an address behind, at which another may listen by now.
fn follow(
    source: Source,
    dir: &Path,
    own: Option<&Certificate>,
    printing: &mut Printing<'_, impl Write>,
) -> Result<(), Failure> {
    let log_id = source.log_id();
    let mut server = match source {
        Source::Cluster(log) => return follow_cluster(&*log, printing),
        Source::Server(server) => Some(server.into_log()),
        Source::Directory(reader) => {
            drop(reader);
            None
        }
    };
    let mut waiting = Waiting::default();
    loop {
        pause(LOOK_EVERY);
        let lack = match server.take().map_or_else(|| own_server(dir, own), Ok) {
            Err(why) => Some(format!("the server: {why}")),
            Ok(running) if running.log_id() != log_id => {
                return Err(Failure::Unusable(format!(
                    "the server of {} has the log {:032x} now, and what was printed is of the log {log_id:032x}: start the \
                     command again",
                    dir.display(),
                    running.log_id()
                )));
            }
            Ok(running) => {
                // An output that takes nothing may have a part of a line: the line must not be tried again.
                let lack = in_words(&printing.print(&running)?);
                // Its address is read again, because it may have been restarted on another port.
                server = Some(running).filter(|_| lack.is_none());
                lack
            }
        };
        waiting.tell(lack);
    }
}

/// The same for a log on Kafka. A cluster that does not answer is waited for.
fn follow_cluster(log: &dyn CommittedTail, printing: &mut Printing<'_, impl Write>) -> Result<(), Failure> {
    let mut waiting = Waiting::default();
    loop {
        pause(LOOK_EVERY);
        waiting.tell(in_words(&printing.print(log)?));
    }
}

/// What could not be read and why, in words; none when all was.
fn in_words(unread: &BTreeMap<u32, LogError>) -> Option<String> {
    let (partition, why) = unread.first_key_value()?;
    Some(match unread.len().saturating_sub(1) {
        0 => format!("partition {partition}: {why}"),
        others => format!("partition {partition} and {others} more: {why}"),
    })
}

/// Whether something is waited for. It is told once, and so is that it has come, however often it is looked for.
#[derive(Default)]
struct Waiting {
    is_on: bool,
}

impl Waiting {
    fn tell(&mut self, lack: Option<String>) {
        if let Some(told) = self.told(lack) {
            stderr::note(told);
        }
    }

    /// What there is to tell of a look that lacked this, or nothing.
    fn told(&mut self, lack: Option<String>) -> Option<String> {
        let was_on = std::mem::replace(&mut self.is_on, lack.is_some());
        match lack {
            Some(lack) => (!was_on).then(|| format!("waiting for {lack}")),
            None => was_on.then(|| "it is there again, going on".to_owned()),
        }
    }
}

struct Printing<'a, W> {
    /// The sequence number of the next event to print, by partition.
    next: BTreeMap<u32, u64>,
    /// Records that could not be decoded.
    odd: u64,
    out: &'a mut W,
}

impl<W: Write> Printing<'_, W> {
    /// Prints what is committed and not printed yet. Returns the partitions that could not be read to their end.
    ///
    /// # Errors
    /// The output takes no more.
    fn print(&mut self, tail: &dyn CommittedTail) -> Result<BTreeMap<u32, LogError>, Failure> {
        let mut unread = BTreeMap::new();
        for (partition, next) in &mut self.next {
            let end = match tail.end(*partition) {
                Ok(end) => end,
                Err(error) => {
                    unread.insert(*partition, error);
                    continue;
                }
            };
            while *next < end {
                let events = match tail.read(*partition, *next, TURN_BYTES_MAX) {
                    Ok(events) if events.is_empty() => break,
                    Ok(events) => events,
                    Err(error) => {
                        unread.insert(*partition, error);
                        break;
                    }
                };
                for event in events {
                    match wire::event::decode(&event.bytes) {
                        Ok(chained) => {
                            let mut object = wire::event::to_json(&chained);
                            if let Some(trace) = &event.trace {
                                object["trace_id"] = format!("{:032x}", trace.trace_id).into();
                            }
                            if chained.event.body.pool_id().is_some_and(PoolId::is_internal) {
                                object["internal"] = true.into();
                            }
                            writeln!(self.out, "{object}")?;
                        }
                        Err(error) => {
                            self.odd = self.odd.saturating_add(1);
                            stderr::note(format_args!(
                                "partition {partition} seq {} cannot be decoded: {error}",
                                event.seq
                            ));
                        }
                    }
                    *next = event.seq.saturating_add(1);
                }
            }
        }
        self.out.flush()?;
        Ok(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::StoredEvent;
    use std::io;

    /// A log to which nothing is added.
    struct Quiet;

    impl CommittedTail for Quiet {
        fn partitions(&self) -> u32 {
            1
        }

        fn end(&self, _: u32) -> Result<u64, LogError> {
            Ok(0)
        }

        fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
            Ok(Vec::new())
        }
    }

    /// A file on a full disk.
    #[derive(Default)]
    struct Full {
        has_failed: bool,
    }

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            assert!(!self.has_failed, "it was told already that the disk is full");
            self.has_failed = true;
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    /// The story: a partition could not be read for an hour, and whoever followed the log took it for an hour without events.
    #[test]
    fn what_is_waited_for_is_told_once_and_so_is_that_it_has_come() {
        let mut waiting = Waiting::default();
        let mut looked = |unread: &[u32]| {
            let why = |partition: &u32| (*partition, LogError::transient("no answer"));
            waiting.told(in_words(&unread.iter().map(why).collect()))
        };
        assert_eq!(looked(&[]), None);
        assert_eq!(looked(&[1, 4]).as_deref(), Some("waiting for partition 1 and 1 more: no answer"));
        assert_eq!([looked(&[1, 4]), looked(&[4])], [None, None]);
        assert_eq!(looked(&[]).as_deref(), Some("it is there again, going on"));
        assert_eq!(looked(&[]), None);
        assert_eq!(looked(&[4]).as_deref(), Some("waiting for partition 4: no answer"));
    }

    /// The story: `cat --follow` wrote into a file, and the disk became full. It said nothing and tried again for ever, and what
    /// it wrote when there was room again began in the middle of a line.
    #[test]
    fn a_full_disk_ends_what_follows_a_log() {
        let mut out = Full::default();
        let mut printing = Printing { next: BTreeMap::from([(0, 0)]), odd: 0, out: &mut out };
        let ended = follow_cluster(&Quiet, &mut printing).unwrap_err().to_string();
        assert!(ended.starts_with("cannot write the output: "), "{ended}");
    }
}
