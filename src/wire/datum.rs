//! Reading a record of the newest schema directly, field by field: each is a value of one form, or null. The reader of all
//! schemas spends more time on what a record may be than on what it is, and a replay most of its time there. So this one is
//! tried first, and answers `None` for everything that is not as this program writes it. The other one then reads it,
//! or says what is wrong with it.

use super::recent::{Counted, Recent};
use crate::domain::Amounts;

/// Most bytes that a number takes.
const LONG_BYTES_MAX: usize = 10;

/// A value as a datum holds it where it is not null.
pub(super) trait Direct: Sized {
    /// Reads the value; `None` when it is anything that this program does not write.
    fn read(from: &mut Datum<'_>) -> Option<Self>;
}

/// A record that is read in this way.
pub(super) trait DirectRecord: Sized {
    /// Reads the head. All other fields are null.
    fn begin(from: &mut Datum<'_>) -> Option<Self>;

    /// Reads all other fields in their order, each to where it stays: a record is large, and most of its fields are null.
    fn fill(&mut self, from: &mut Datum<'_>) -> Option<()>;
}

/// Reads a whole datum. It shares values with the records before, if there are some.
pub(super) fn read<R: DirectRecord>(datum: &[u8], recent: Option<&mut Recent>) -> Option<R> {
    let mut from = Datum::new(datum, recent);
    let mut record = R::begin(&mut from)?;
    record.fill(&mut from)?;
    from.end().map(|()| record)
}

/// The rest of a datum.
pub(super) struct Datum<'d> {
    rest: &'d [u8],
    recent: Option<&'d mut Recent>,
}

impl<'d> Datum<'d> {
    /// A whole datum, which shares values with the records before, if there are some.
    pub(super) fn new(datum: &'d [u8], recent: Option<&'d mut Recent>) -> Datum<'d> {
        Datum { rest: datum, recent }
    }

    /// The values of the records before.
    pub(super) fn recent(&mut self) -> Option<&mut Recent> {
        self.recent.as_deref_mut()
    }

    /// Units, which share their amounts with those of the records before that have the same bytes. Others are read by `read`.
    pub(super) fn amounts(&mut self, read: impl FnOnce(&mut Self) -> Option<Amounts>) -> Option<Amounts> {
        let whole = self.rest;
        let kept = self.recent().and_then(|recent| recent.units.find(|kept| whole.starts_with(kept.bytes())));
        if let Some(kept) = kept {
            let (amounts, length) = (kept.amounts.clone(), kept.bytes().len());
            self.rest = whole.get(length..)?;
            return Some(amounts);
        }
        let Some(amounts) = read(self) else {
            self.rest = whole;
            return None;
        };
        let bytes = whole.get(..whole.len().saturating_sub(self.rest.len())).unwrap_or_default();
        if let Some(recent) = self.recent() {
            Counted::new(bytes, &amounts).into_iter().for_each(|counted| recent.units.keep(counted));
        }
        Some(amounts)
    }

    /// Reads into a field that is null, and may stay so.
    pub(super) fn field<T: Direct>(&mut self, field: &mut Option<T>) -> Option<()> {
        match self.byte()? {
            0 => {}
            2 => *field = Some(T::read(self)?),
            _ => return None,
        }
        Some(())
    }

    /// The value of a field that is not null.
    pub(super) fn there<T: Direct>(&mut self) -> Option<T> {
        if self.byte()? == 2 { T::read(self) } else { None }
    }

    /// The value of a field, or null.
    pub(super) fn maybe<T: Direct>(&mut self) -> Option<Option<T>> {
        let mut field = None;
        self.field(&mut field)?;
        Some(field)
    }

    /// Passes over so many fields, which are null.
    pub(super) fn nulls(&mut self, count: usize) -> Option<()> {
        let (nulls, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        nulls.iter().all(|byte| *byte == 0).then_some(())
    }

    /// The end: nothing follows.
    pub(super) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// A number of 64 bits; `None` when it takes more bytes than it needs, as this program writes none.
    pub(super) fn long(&mut self) -> Option<i64> {
        let (mut bits, mut shift) = (0u64, 0u32);
        for (at, byte) in (1..).zip(self.rest.iter().take(LONG_BYTES_MAX)) {
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // The tenth byte holds one bit, and no number ends with a byte that adds nothing.
                if (at == LONG_BYTES_MAX && *byte > 1) || (at > 1 && *byte == 0) {
                    return None;
                }
                self.rest = self.rest.get(at..)?;
                return Some((bits >> 1).cast_signed() ^ (bits & 1).cast_signed().wrapping_neg());
            }
            shift = shift.saturating_add(7);
        }
        None
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Option<&'d [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A text behind its length.
    pub(super) fn text(&mut self) -> Option<&'d str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Bytes whose number the schema says.
    pub(super) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    /// Calls `each` for every item of an array or map of no more than so many. It also gets how many there are.
    pub(super) fn items(&mut self, most: usize, mut each: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        let count = usize::try_from(self.long()?).ok().filter(|count| *count <= most)?;
        (0..count).try_for_each(|_| each(self, count))?;
        (count == 0 || self.byte()? == 0).then_some(())
    }
}

impl Direct for i64 {
    fn read(from: &mut Datum<'_>) -> Option<i64> {
        from.long()
    }
}

impl Direct for u64 {
    fn read(from: &mut Datum<'_>) -> Option<u64> {
        u64::try_from(from.long()?).ok()
    }
}

impl Direct for i32 {
    fn read(from: &mut Datum<'_>) -> Option<i32> {
        i32::try_from(from.long()?).ok()
    }
}

impl Direct for bool {
    fn read(from: &mut Datum<'_>) -> Option<bool> {
        match from.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_their_ends_and_in_one_way_only() {
        let long = |bytes: &[u8]| {
            let mut from = Datum { rest: bytes, recent: None };
            from.long().filter(|_| from.rest.is_empty())
        };
        for (bytes, number) in [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0x80, 1], 64), (&[0xff, 1], -128)] {
            assert_eq!(long(bytes), Some(number));
        }
        let widest = |last| [&[0xff; 9][..], &[last]].concat();
        assert_eq!((long(&widest(1)), long(&widest(2))), (Some(i64::MIN), None));
        assert_eq!([&[0x80, 0][..], &[0x80], &[], &[0xff; 11]].map(long), [None; 4]);
    }
}
