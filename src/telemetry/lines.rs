//! Where log lines go: to standard error. Lines of the access log go through a bounded queue and a thread of their own,
//! because a reader of standard error that is slow must not make calls wait. When the queue is full, a line is left out
//! and counted. All other lines are written by whoever logs them, so that none is lost when the process aborts.

use super::recent;
use crate::limits::ACCESS_LINES_WAITING_MAX;
use crate::threads;
use crossbeam_channel::{Receiver, Sender, bounded};
use prometheus::IntCounter;
use std::io::{self, Write};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Longest wait at the end of a process for the lines of the access log that wait, in milliseconds.
const ACCESS_FLUSH_MS: u64 = 500;

/// The target of the access log.
pub(super) const ACCESS_LOG: &str = "headroom::access_log";
/// Bytes that are written at once, when so many wait.
const BATCH_BYTES: usize = 64 << 10;

/// Lines of the access log that were left out, in this process.
pub(super) static LEFT_OUT: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Lines of the access log that were left out because standard error was too slow.";
    IntCounter::new("headroom_access_lines_left_out_total", help).expect("the name is a constant")
});

/// The queue to the thread, from the first line on; `None` in it when the thread could not be started. Lines are then
/// written at once.
static QUEUE: OnceLock<Option<Sender<Entry>>> = OnceLock::new();

fn started() -> Option<Sender<Entry>> {
    let (queue, entries) = bounded(ACCESS_LINES_WAITING_MAX);
    threads::spawn("access-log", move || write_all(&entries, io::stderr())).ok().map(|_| queue)
}

enum Entry {
    /// A whole line, with its end.
    Line(Vec<u8>),
    /// Answers when every line before it is written.
    Flush(Sender<()>),
}

/// Sends each line where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        LineWriter { is_queued: false }
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> LineWriter {
        LineWriter { is_queued: line.target() == ACCESS_LOG }
    }
}

/// Writes one line.
pub(super) struct LineWriter {
    is_queued: bool,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queue = self.is_queued.then(|| QUEUE.get_or_init(started).as_ref()).flatten();
        match queue {
            None => {
                recent::keep(line);
                return io::stderr().write(line);
            }
            Some(queue) if queue.try_send(Entry::Line(line.to_vec())).is_err() => LEFT_OUT.inc(),
            Some(_) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Waits until every line of the access log is written, but not for long.
pub(super) fn flush() {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let (written, is_written) = bounded(1);
    let limit = Duration::from_millis(ACCESS_FLUSH_MS);
    if queue.send_timeout(Entry::Flush(written), limit).is_ok() {
        // The thread may still wait for standard error: whoever reads that has stopped reading.
        let _ = is_written.recv_timeout(limit);
    }
}

fn write_all(entries: &Receiver<Entry>, mut out: impl Write) {
    let mut batch = Vec::new();
    while let Ok(first) = entries.recv() {
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => batch.extend_from_slice(&line),
                Entry::Flush(written) => {
                    write(&mut batch, &mut out);
                    let _ = written.try_send(());
                }
            }
            next = if batch.len() < BATCH_BYTES { entries.try_recv().ok() } else { None };
        }
        write(&mut batch, &mut out);
    }
}

fn write(batch: &mut Vec<u8>, out: &mut impl Write) {
    // Nobody is left to be told when standard error is closed.
    let _ = out.write_all(batch);
    batch.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_whole_and_in_order_and_a_flush_comes_after_them() {
        let (queue, entries) = bounded(8);
        let (written, is_written) = bounded(1);
        for line in ["one\n", "two\n"] {
            queue.send(Entry::Line(line.into())).unwrap();
        }
        queue.send(Entry::Flush(written)).unwrap();
        queue.send(Entry::Line("three\n".into())).unwrap();
        drop(queue);
        let mut out = Vec::new();
        write_all(&entries, &mut out);
        assert_eq!((out.as_slice(), is_written.try_recv()), (b"one\ntwo\nthree\n".as_slice(), Ok(())));
    }
}
