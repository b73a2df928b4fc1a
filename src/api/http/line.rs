//! What a connection shares with its slot, its socket and its answers: what it is doing, whether it was told to end,
//! and what its answers have reserved that nobody has been told yet.

use crate::limits::HTTP2_CANCELLED_MAX;
use crate::service::Receipt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection is doing. The lowest bits are the kind. The other bits say in which order connections began to
/// wait.
#[derive(Default)]
pub struct Phase(AtomicU64);

/// Between two requests, and before the first: callers open connections before they need them.
pub const IDLE: u64 = 0;
/// A request has begun to come.
pub const HEAD: u64 = 1;
/// A request is being answered; with HTTP/2, at least one.
pub const BUSY: u64 = 2;
const KINDS: u64 = 4;

impl Phase {
    /// A request has been read and is being answered.
    pub fn busy(&self) {
        self.0.store(BUSY, Relaxed);
    }

    /// A request has begun to arrive. The turn since which it was awaited stays the same.
    pub fn head(&self) {
        self.0.fetch_or(HEAD, Relaxed);
    }

    /// What it is doing.
    pub fn kind(&self) -> u64 {
        self.0.load(Relaxed) % KINDS
    }

    /// A number that differs whenever something else began.
    pub fn mark(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// A request is awaited since this turn.
    pub fn idle(&self, turn: u64) {
        self.0.store(turn.saturating_mul(KINDS), Relaxed);
    }

    /// The turn since which a request is awaited.
    pub fn waits_since(&self) -> Option<u64> {
        let phase = self.0.load(Relaxed);
        (phase % KINDS != BUSY).then_some(phase / KINDS)
    }

    /// The turn since which nothing of a request has arrived.
    pub fn silent_since(&self) -> Option<u64> {
        self.waits_since().filter(|_| self.kind() == IDLE)
    }
}

/// What a connection shares with its slot.
#[derive(Default)]
pub struct ConnectionState {
    /// What it is doing.
    pub phase: Phase,
    is_shared: AtomicBool,
    is_told: AtomicBool,
    is_cut: AtomicBool,
    told: Notify,
    /// What answers have reserved that are on their way to the socket.
    owed: Mutex<Vec<Owed>>,
    /// How many bytes the socket has taken.
    sent: AtomicU64,
    streams: Mutex<Streams>,
}

/// What an answer has reserved that is on its way.
struct Owed {
    receipt: Receipt,
    /// Nobody has the whole answer before the socket has taken so many bytes.
    whole_from: u64,
}

/// The streams of a connection that speaks HTTP/2.
#[derive(Default)]
struct Streams {
    /// Requests that have begun and whose answer is not complete.
    open: usize,
    /// How many more requests were cancelled by their caller than were answered.
    cancelled: usize,
    next: u64,
    /// Parts of answers that the socket has not taken, with the time when each was made.
    untaken: BTreeMap<u64, Instant>,
}

impl ConnectionState {
    /// Several requests share it from now on (HTTP/2).
    pub fn share(&self) {
        self.is_shared.store(true, SeqCst);
    }

    /// Whether several requests share it. Then an answer is on its way when everything that was made is written,
    /// because parts of several answers may be written together. Otherwise its first byte is enough.
    pub fn is_shared(&self) -> bool {
        self.is_shared.load(Relaxed)
    }

    /// Keeps what an answer has reserved. Nobody has the whole answer before the socket has taken `whole_from` bytes, see
    /// [`ConnectionState::sent`].
    pub fn owe(&self, receipt: Receipt, whole_from: u64) {
        self.owed.lock().push(Owed { receipt, whole_from });
    }

    /// Whether an answer that reserved something has not been sent.
    pub fn owes(&self) -> bool {
        !self.owed.lock().is_empty()
    }

    /// Every answer that was made has been sent: nothing is owed any more.
    pub fn settle(&self) {
        self.owed.lock().clear();
    }

    /// What was reserved for answers that nobody has whole; nothing is owed any more. An answer that the socket may have taken
    /// to its last byte may have arrived, also when the bytes behind it have not left: what it has reserved stays, because its
    /// caller may rely on it.
    pub fn untold(&self) -> Vec<Receipt> {
        let (owed, sent) = (std::mem::take(&mut *self.owed.lock()), self.sent());
        owed.into_iter().filter(|owed| owed.whole_from > sent).map(|owed| owed.receipt).collect()
    }

    /// The socket has taken so many bytes more.
    pub fn wrote(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// How many bytes the socket has taken. With TLS these are more than those of the answers in them.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Whether it was told to end.
    pub fn is_told(&self) -> bool {
        self.is_told.load(SeqCst)
    }

    /// Whether it has to end at once, whatever it is doing.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(SeqCst)
    }

    /// Returns when it is told to end.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// Tells it to end.
    pub fn tell(&self) {
        self.is_told.store(true, SeqCst);
        self.told.notify_one();
    }

    /// Tells it to end at once.
    pub fn cut(&self) {
        self.is_cut.store(true, SeqCst);
        self.tell();
    }

    /// A request of a connection that may have several has begun.
    pub fn open_stream(&self) {
        let mut streams = self.streams.lock();
        streams.open = streams.open.saturating_add(1);
        self.phase.busy();
    }

    /// Such a request is over. When it was the last one, the connection waits since `turn`. A connection on which far
    /// more requests are cancelled than answered is cut off.
    pub fn close_stream(&self, is_answered: bool, turn: impl FnOnce() -> u64) {
        let mut streams = self.streams.lock();
        streams.open = streams.open.saturating_sub(1);
        if streams.open == 0 {
            self.phase.idle(turn());
        }
        let cancelled = streams.cancelled;
        streams.cancelled = if is_answered { cancelled.saturating_sub(1) } else { cancelled.saturating_add(1) };
        if streams.cancelled > HTTP2_CANCELLED_MAX {
            self.cut();
        }
    }

    /// A part of an answer was made. The number it gets is for [`ConnectionState::took`].
    pub fn made(&self) -> u64 {
        let mut streams = self.streams.lock();
        let number = streams.next;
        streams.next = number.saturating_add(1);
        streams.untaken.insert(number, Instant::now());
        number
    }

    /// The socket took this part, or nobody wants it any more.
    pub fn took(&self, part: u64) {
        self.streams.lock().untaken.remove(&part);
    }

    /// Since when the oldest part of an answer waits for the socket, or for the caller to open its window.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.streams.lock().untaken.first_key_value().map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommandId, Micros, PoolId, ReservationId, Reserved};

    fn receipt(number: u8) -> Receipt {
        let (pool, reservation) = (PoolId::new("van-1").unwrap(), ReservationId::new(7, [number; 11]));
        Receipt { id: CommandId(number.into()), reserved: Reserved { pool, reservation, deadline: Micros(5) } }
    }

    /// Two answers leave in one write, and the connection breaks when the socket has taken the first and a part of the second.
    #[test]
    fn what_an_answer_has_reserved_that_may_have_arrived_is_not_taken_back() {
        let line = ConnectionState::default();
        line.wrote(40);
        line.owe(receipt(1), line.sent() + 100);
        line.owe(receipt(2), line.sent() + 200);
        line.wrote(100);
        assert_eq!(line.untold(), [receipt(2)]);
        assert!(!line.owes() && line.untold().is_empty());
        // An answer of HTTP/1 is owed until its first byte was taken, which settles it.
        line.owe(receipt(3), u64::MAX);
        line.owe(receipt(4), line.sent() + 1);
        assert_eq!(line.untold(), [receipt(3), receipt(4)]);
        line.owe(receipt(5), u64::MAX);
        line.settle();
        assert!(!line.owes() && line.untold().is_empty());
    }
}
