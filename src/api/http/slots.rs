//! Slots for connections: how many there are, how many one address may take, and which connection ends when none is
//! left. Some slots are kept for the time when all others serve callers. On a kept slot a probe is answered, and any
//! other caller is refused at once instead of waiting without an answer. This module knows no socket.

use super::line::ConnectionState;
use crate::limits::{HTTP_CONNECTIONS_ENDING_MAX, HTTP_CONNECTIONS_KEPT, HTTP_CONNECTIONS_MAX};
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// How many slots there are.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Slots for callers.
    pub callers: usize,
    /// Slots that are kept back for probes and refusals.
    pub kept: usize,
    /// Connections that were told to end and may still be open.
    pub ending: usize,
    /// Slots for callers that one address may take; `None`: all of them.
    pub of_address: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            callers: HTTP_CONNECTIONS_MAX,
            kept: HTTP_CONNECTIONS_KEPT,
            ending: HTTP_CONNECTIONS_ENDING_MAX,
            of_address: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Caller,
    Kept,
    Ending,
}

struct Taken {
    address: IpAddr,
    kind: Kind,
    line: Arc<ConnectionState>,
}

impl Taken {
    fn is_of_caller(&self, address: IpAddr) -> bool {
        self.kind == Kind::Caller && self.address == address
    }
}

/// All slots of one server.
pub struct ConnectionSlots {
    bounds: Bounds,
    book: Mutex<Book>,
    freed: Notify,
    since: Stopwatch,
    /// The last turn: microseconds since `since`, and always more than the turn before.
    turn: AtomicU64,
}

#[derive(Default)]
struct Book {
    next: u64,
    taken: BTreeMap<u64, Taken>,
    /// How many of them there are of each kind.
    callers: usize,
    kept: usize,
    ending: usize,
}

impl ConnectionSlots {
    /// All slots are free.
    pub fn new(bounds: Bounds) -> Arc<ConnectionSlots> {
        let (book, freed, turn) = (Mutex::default(), Notify::new(), AtomicU64::new(0));
        Arc::new(ConnectionSlots { bounds, book, freed, since: Stopwatch::start(), turn })
    }

    /// Takes a slot for a connection from this address. When none is free, the connection that has waited longest for a
    /// request is told to end. `None` when every slot, kept ones included, serves a request.
    pub fn take(self: &Arc<ConnectionSlots>, address: IpAddr) -> Option<ConnectionSlot> {
        let mut book = self.book.lock();
        let kind = book.room(self.bounds, address)?;
        let number = book.next;
        book.next = number.saturating_add(1);
        let line = Arc::new(ConnectionState::default());
        line.phase.idle(self.turn());
        book.taken.insert(number, Taken { address, kind, line: Arc::clone(&line) });
        let count = book.count(kind);
        *count = count.saturating_add(1);
        Some(ConnectionSlot { slots: Arc::clone(self), number, line, is_kept: kind == Kind::Kept })
    }

    /// Waits for a slot and takes it. `None` for an address that has as many as it may: it would wait for itself, and all
    /// others behind it.
    pub async fn taken(self: &Arc<ConnectionSlots>, address: IpAddr) -> Option<ConnectionSlot> {
        loop {
            let freed = self.freed.notified();
            if let Some(slot) = self.take(address) {
                return Some(slot);
            }
            if self.book.lock().is_at_bound(self.bounds, address) {
                return None;
            }
            freed.await;
        }
    }

    /// Returns when no connection is left.
    pub async fn empty(&self) {
        loop {
            let freed = self.freed.notified();
            if self.book.lock().taken.is_empty() {
                return;
            }
            freed.await;
        }
    }

    /// Tells every connection to end.
    pub fn end(&self) {
        self.book.lock().taken.values().for_each(|taken| taken.line.tell());
    }

    /// Tells every connection that has been silent for so long to end. Answers the time until the next one has been
    /// silent for so long; `None` when no other connection is silent.
    pub fn end_silent(&self, long: Duration) -> Option<Duration> {
        let now = self.since.now().0;
        let book = self.book.lock();
        let lines = book.taken.values().map(|taken| &taken.line).filter(|line| !line.is_told());
        let left = lines.filter_map(|line| {
            let silent = Duration::from_micros(now.saturating_sub(line.phase.silent_since()?));
            let left = long.saturating_sub(silent);
            if left.is_zero() {
                line.tell();
            }
            Some(left)
        });
        left.filter(|left| !left.is_zero()).min()
    }

    fn turn(&self) -> u64 {
        let now = self.since.now().0;
        let next = |last: u64| now.max(last.saturating_add(1));
        self.turn.fetch_update(Relaxed, Relaxed, |last| Some(next(last))).map_or(now, next)
    }
}

impl Book {
    /// The kind of slot that is free for one more connection from this address.
    fn room(&mut self, bounds: Bounds, address: IpAddr) -> Option<Kind> {
        let has_room = if self.is_at_bound(bounds, address) {
            self.end_longest_waiting(bounds, |taken| taken.is_of_caller(address))
        } else {
            self.has_free(Kind::Caller, bounds)
        };
        if has_room {
            return Some(Kind::Caller);
        }
        self.has_free(Kind::Kept, bounds).then_some(Kind::Kept)
    }

    /// Whether this address has as many slots for callers as it may.
    fn is_at_bound(&self, bounds: Bounds, address: IpAddr) -> bool {
        let has = |most| self.taken.values().filter(|taken| taken.is_of_caller(address)).count() >= most;
        bounds.of_address.is_some_and(has)
    }

    fn has_free(&mut self, kind: Kind, bounds: Bounds) -> bool {
        let most = if kind == Kind::Kept { bounds.kept } else { bounds.callers };
        *self.count(kind) < most || self.end_longest_waiting(bounds, |taken| taken.kind == kind)
    }

    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Caller => &mut self.callers,
            Kind::Kept => &mut self.kept,
            Kind::Ending => &mut self.ending,
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(taken) = self.taken.remove(&number) {
            let count = self.count(taken.kind);
            *count = count.saturating_sub(1);
        }
    }

    fn end_longest_waiting(&mut self, bounds: Bounds, among: impl Fn(&Taken) -> bool) -> bool {
        if self.ending >= bounds.ending {
            return false;
        }
        let waiting = self.taken.values_mut().filter(|taken| among(taken));
        let waiting = waiting.filter_map(|taken| Some((taken.line.phase.waits_since()?, taken)));
        let Some((_, longest)) = waiting.min_by_key(|(since, _)| *since) else { return false };
        let was = std::mem::replace(&mut longest.kind, Kind::Ending);
        longest.line.tell();
        self.ending = self.ending.saturating_add(1);
        let count = self.count(was);
        *count = count.saturating_sub(1);
        true
    }
}

/// The slot of a connection, taken until this is dropped.
pub struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    /// What the connection shares with its slot.
    pub line: Arc<ConnectionState>,
    /// Whether it is one of the slots that are kept back.
    pub is_kept: bool,
}

impl ConnectionSlot {
    /// The connection waits for a request from now on.
    pub fn waits(&self) {
        self.line.phase.idle(self.turn());
    }

    /// The next turn of all connections.
    pub fn turn(&self) -> u64 {
        self.slots.turn()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.book.lock().remove(self.number);
        self.slots.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn slots(callers: usize, kept: usize, of_address: Option<usize>) -> Arc<ConnectionSlots> {
        ConnectionSlots::new(Bounds { callers, kept, ending: 2, of_address })
    }

    #[test]
    fn who_has_waited_longest_makes_room() {
        let slots = slots(3, 1, None);
        let [a, b, c] = [(); 3].map(|()| slots.take(HERE).unwrap());
        a.line.phase.busy();
        a.waits();
        c.line.phase.head();
        let d = slots.take(HERE).unwrap();
        assert!((!d.is_kept, b.line.is_told(), a.line.is_told(), c.line.is_told()) == (true, true, false, false));
        drop(b);
        // A caller that sends a request slowly has no more right to a slot than a caller that sends none.
        d.line.phase.busy();
        let e = slots.take(HERE).unwrap();
        assert!(!e.is_kept && c.line.is_told() && !a.line.is_told());
        drop((a, c, d, e));
        assert_eq!(slots.book.lock().taken.len(), 0);
    }

    #[test]
    fn when_all_are_served_there_are_the_kept_places_and_those_change_hands() {
        let slots = slots(2, 2, None);
        let served = [(); 2].map(|()| slots.take(HERE).unwrap());
        served.iter().for_each(|slot| slot.line.phase.busy());
        let kept = [(); 2].map(|()| slots.take(HERE).unwrap());
        assert!(kept.iter().all(|slot| slot.is_kept));
        let third = slots.take(THERE).unwrap();
        assert!(third.is_kept && kept[0].line.is_told() && !kept[1].line.is_told());
        [&kept[1], &third].iter().for_each(|slot| slot.line.phase.busy());
        assert!(slots.take(HERE).is_none(), "everybody is served");
        drop(kept);
        assert!(slots.take(HERE).unwrap().is_kept);
        drop(served);
        assert!(!slots.take(HERE).unwrap().is_kept);
    }

    /// At shutdown nobody waits for a connection that was silent before it.
    #[test]
    fn who_is_silent_is_told_to_end_however_long_ago_that_began() {
        let slots = slots(4, 0, None);
        let [silent, begun, served] = [(); 3].map(|()| slots.take(HERE).unwrap());
        begun.line.phase.head();
        served.line.phase.busy();
        let long = Duration::from_secs(3_600);
        assert!(slots.end_silent(long).is_some_and(|left| !left.is_zero() && left <= long));
        assert!(!silent.line.is_told());
        assert_eq!(slots.end_silent(Duration::ZERO), None);
        assert_eq!([&silent, &begun, &served].map(|slot| slot.line.is_told()), [true, false, false]);
        // Its silence counts from the end of its last answer.
        served.waits();
        assert!(slots.end_silent(long).is_some() && !served.line.is_told());
    }

    #[test]
    fn no_more_are_ending_than_may() {
        let slots = slots(3, 0, None);
        let waiting = [(); 3].map(|()| slots.take(HERE).unwrap());
        let newer = [(); 2].map(|()| slots.take(HERE).unwrap());
        assert!(slots.take(HERE).is_none(), "two have still to end");
        drop((waiting, newer));
        assert!(slots.take(HERE).is_some());
    }

    #[test]
    fn an_address_at_its_bound_makes_room_itself() {
        let slots = slots(4, 1, Some(2));
        let other = slots.take(THERE).unwrap();
        let [first, second] = [(); 2].map(|()| slots.take(HERE).unwrap());
        let third = slots.take(HERE).unwrap();
        assert!(first.line.is_told() && !other.line.is_told() && !third.is_kept);
        [&second, &third].iter().for_each(|slot| slot.line.phase.busy());
        assert!(slots.take(HERE).unwrap().is_kept, "it has none that waits");
        assert!(!slots.take(THERE).unwrap().is_kept);
    }

    /// The story: an address had as many connections as it may, all of them served, and its further ones took every kept slot.
    /// The next one waited for one of those, and every other caller behind it, although there were free slots.
    #[test]
    fn an_address_at_its_bound_keeps_nobody_else_waiting() {
        let slots = slots(4, 1, Some(1));
        let served = [(); 2].map(|()| {
            let slot = slots.take(HERE).unwrap();
            slot.line.phase.busy();
            slot
        });
        assert_eq!(served.each_ref().map(|slot| slot.is_kept), [false, true]);
        let taken = |address| pin!(slots.taken(address)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(taken(HERE), Poll::Ready(None)));
        assert!(matches!(taken(THERE), Poll::Ready(Some(slot)) if !slot.is_kept));
    }
}
