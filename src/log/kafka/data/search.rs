//! The search for the offset of an event. Offsets grow with sequence numbers, but faster: the end of each transaction takes one
//! as well. So the next place to look at is computed from two known places, as if transactions between them were all of one
//! size. Where they are not, every third place is the middle, so that no log takes long. Each look costs a fetch.

use super::progress::Mark;

/// So many records are read through rather than searched again.
const NEAR: u64 = 2_048;
/// Every so many looks are at the middle.
const MIDDLE_EVERY: u32 = 3;

/// A search for one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    seq: u64,
    /// An event that is not after the one that is searched.
    before: Mark,
    /// An offset behind the event that is searched.
    after: i64,
    /// The number of the first event from there on, as far as it is known.
    after_seq: Option<u64>,
    looks: u32,
}

impl Search {
    /// For the event `seq`, between an event that is not after it and an offset behind it, at which an event of the number
    /// `after_seq` is expected.
    pub(super) fn between(before: Mark, (after, after_seq): (i64, Option<u64>), seq: u64) -> Search {
        Search { seq, before, after, after_seq, looks: 0 }
    }

    /// An event that is not after the one that is searched, and at last not far before it.
    pub(super) fn before(&self) -> Mark {
        self.before
    }

    /// The offset to look at next; none when the event is near.
    pub(super) fn next(&mut self) -> Option<i64> {
        let near = i64::try_from(NEAR).unwrap_or(i64::MAX);
        let is_near =
            self.seq.saturating_sub(self.before.seq) <= NEAR || self.after.saturating_sub(self.before.offset) <= near;
        if is_near {
            return None;
        }
        self.looks = self.looks.saturating_add(1);
        let middle = self.before.offset.midpoint(self.after);
        let computed = self.computed().filter(|_| !self.looks.is_multiple_of(MIDDLE_EVERY));
        Some(computed.unwrap_or(middle))
    }

    /// Where an event a little before the searched one lies, if transactions are of one size.
    fn computed(&self) -> Option<i64> {
        let events = self.after_seq?.checked_sub(self.before.seq)?;
        let wanted = self.seq.saturating_sub(NEAR / 2).saturating_sub(self.before.seq);
        let offsets = u64::try_from(self.after.saturating_sub(self.before.offset)).ok()?;
        let further = u128::from(wanted).saturating_mul(offsets.into()).checked_div(events.into())?;
        let at = self.before.offset.saturating_add(i64::try_from(further).ok()?);
        Some(at.clamp(self.before.offset.saturating_add(1), self.after.saturating_sub(1)))
    }

    /// Takes the first event that lies at this offset or behind it; none where the partition ends before there is one.
    pub(super) fn found(&mut self, at: i64, first: Option<Mark>) {
        match first {
            Some(first) if first.seq <= self.seq => self.before = first,
            Some(first) => (self.after, self.after_seq) = (at, Some(first.seq)),
            None => self.after = at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets of a log's events, where each turn has so many events and one offset more.
    fn log(turns: impl Iterator<Item = u64>) -> Vec<i64> {
        let (mut offsets, mut at) = (Vec::new(), 0);
        for events in turns {
            offsets.extend((0..events).map(|n| at + i64::try_from(n).unwrap()));
            at += i64::try_from(events).unwrap() + 1;
        }
        offsets
    }

    /// How many looks it takes to come near an event.
    fn looks(offsets: &[i64], seq: usize, knows_end: bool) -> u32 {
        let (last, end) = (offsets.len(), offsets.last().unwrap() + 2);
        let after_seq = knows_end.then_some(last as u64);
        let mut search = Search::between(Mark { seq: 0, offset: 0 }, (end, after_seq), seq as u64);
        while let Some(at) = search.next() {
            let first = offsets.partition_point(|offset| *offset < at);
            let mark = offsets.get(first).map(|offset| Mark { seq: first as u64, offset: *offset });
            search.found(at, mark);
        }
        let before = search.before();
        assert!(before.seq <= seq as u64 && offsets[before.seq as usize] == before.offset, "{before:?}");
        assert!(offsets[seq] - before.offset <= 2 * i64::try_from(NEAR).unwrap(), "{before:?}");
        search.looks
    }

    #[test]
    fn an_event_is_found_with_few_looks() {
        // 2.5 million events, in turns whose size changes with the hour.
        let day = log((0..).map(|turn: u64| 1 + turn / 9_000 % 40 + turn % 7).take(185_000));
        assert!(day.len() > 2_400_000, "{}", day.len());
        for seq in [day.len() - 50_000, day.len() - 5_000, day.len() / 2, day.len() / 9, 3_000] {
            assert!(looks(&day, seq, true) <= 5, "{seq}: {}", looks(&day, seq, true));
            assert!(looks(&day, seq, false) <= 9, "{seq}: {}", looks(&day, seq, false));
        }
        assert_eq!(looks(&day, 2_000, true), 0);
    }

    #[test]
    fn no_log_takes_long() {
        // Nearly all events in turns of one, behind a few very large ones; and the other way round.
        let large = std::iter::repeat_n(100_000, 10);
        let small = std::iter::repeat_n(1, 1_000_000);
        for odd in [log(large.clone().chain(small.clone())), log(small.chain(large))] {
            for seq in (0..20).map(|part| odd.len() / 20 * part + 77) {
                assert!(looks(&odd, seq, true) <= 24, "{seq}: {}", looks(&odd, seq, true));
            }
        }
    }

    #[test]
    fn an_end_without_events_is_left_out() {
        let mut search = Search::between(Mark { seq: 0, offset: 0 }, (1_000_000, Some(10_000)), 9_000);
        let at = search.next().unwrap();
        search.found(at, None);
        assert!(search.next().is_some_and(|next| next < at));
    }
}
