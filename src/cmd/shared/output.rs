//! Standard output, whose reader may close it before the command has ended.

use std::io::{self, Write};

/// An output that may be closed early. A command that does or judges something goes on all the same, because its exit code says
/// how that ended; what it prints is dropped. For one that only prints, a write fails, and the command ends.
pub(in crate::cmd) struct Output<W> {
    to: W,
    goes_on: bool,
    is_closed: bool,
}

impl<W> Output<W> {
    /// Writes to `to`, and goes on without a reader or not.
    pub(in crate::cmd) fn new(to: W, goes_on: bool) -> Output<W> {
        Output { to, goes_on, is_closed: false }
    }

    /// What came of a write, or what stands for it where nobody reads any more.
    fn come<T>(&mut self, done: io::Result<T>, unread: T) -> io::Result<T> {
        match done {
            Err(error) if self.goes_on && error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(unread)
            }
            done => done,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let written = self.to.write(bytes);
        self.come(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.to.flush();
        self.come(flushed, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails in this way.
    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn only_a_reader_that_has_left_is_no_error_and_only_where_the_command_goes_on() {
        let ended = |kind, goes_on| {
            let mut out = Output::new(Failing(kind), goes_on);
            let written = out.write_all(b"text").map_err(|error| error.kind());
            (written, out.flush().map_err(|error| error.kind()))
        };
        let (closed, full) = (io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull);
        assert_eq!(ended(closed, true), (Ok(()), Ok(())));
        assert_eq!(ended(closed, false), (Err(closed), Err(closed)));
        assert_eq!(ended(full, true), (Err(full), Err(full)));
    }
}
