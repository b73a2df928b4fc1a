//! The layout of a run of events or commands in one value: checksum, count, then each record after its length. This
//! code does not know the file. A row with a wrong checksum is refused as a whole.

/// Bytes of the checksum that every value of the file begins with.
pub(super) const CHECKSUM_BYTES: usize = 8;
const COUNT_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;

/// The most bytes of records in one row; the first record always fits. The page that holds one full row is then 64 KiB:
/// large enough that a replay spends its time on the records, small enough that reading one event of a turn does not
/// cost the turn.
const ROW_BYTES_MAX: usize = 60 << 10;

/// Which table a row belongs to: part of its checksum, so that a row found at another position is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Manifest = 1,
    Head = 2,
    Events = 3,
    Commands = 4,
    Letters = 5,
}

/// The position of a value: its table, its partition, and its first sequence number or offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RowKey {
    pub(super) kind: Kind,
    pub(super) partition: u32,
    pub(super) first: u64,
}

impl RowKey {
    fn checksum(self, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[self.kind as u8]).update(&self.partition.to_le_bytes()).update(&self.first.to_le_bytes());
        let mut checksum = [0; CHECKSUM_BYTES];
        hasher.update(body).finalize_xof().fill(&mut checksum);
        checksum
    }

    /// The value that holds `body` at this position.
    pub(super) fn seal(self, body: &[u8]) -> Vec<u8> {
        [&self.checksum(body), body].concat()
    }

    /// The body of a value found at this position; `None` when this value was not written there.
    pub(super) fn open(self, value: &[u8]) -> Option<&[u8]> {
        let (checksum, body) = value.split_first_chunk::<CHECKSUM_BYTES>()?;
        (*checksum == self.checksum(body)).then_some(body)
    }
}

/// One row on its way into the file.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) first: u64,
    pub(super) value: Vec<u8>,
}

/// Divides `records` into rows; the first record is at `first`.
pub(super) fn lay_out<'a>(mut first: RowKey, records: impl Iterator<Item = &'a [u8]>) -> Vec<NewRow> {
    let mut rows = Vec::new();
    let mut open = Unsealed::default();
    for record in records {
        if open.count > 0 && open.body.len().saturating_add(record.len()) > ROW_BYTES_MAX {
            let sealed = std::mem::take(&mut open);
            let count = sealed.count;
            rows.push(sealed.seal(first));
            first.first = first.first.saturating_add(u64::from(count));
        }
        open.push(record);
    }
    if open.count > 0 {
        rows.push(open.seal(first));
    }
    rows
}

struct Unsealed {
    count: u32,
    body: Vec<u8>,
}

impl Default for Unsealed {
    fn default() -> Self {
        Unsealed { count: 0, body: vec![0; COUNT_BYTES] }
    }
}

impl Unsealed {
    fn push(&mut self, record: &[u8]) {
        // A record too long for the length field is too long for a redb value as well: the commit fails.
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.body.extend_from_slice(&length.to_le_bytes());
        self.body.extend_from_slice(record);
        self.count = self.count.saturating_add(1);
    }

    fn seal(mut self, position: RowKey) -> NewRow {
        if let Some(count) = self.body.first_chunk_mut::<COUNT_BYTES>() {
            *count = self.count.to_le_bytes();
        }
        NewRow { first: position.first, value: position.seal(&self.body) }
    }
}

/// A row whose checksum was right.
#[derive(Debug)]
pub(super) struct Row<'a> {
    first: u64,
    count: u32,
    records: &'a [u8],
}

impl<'a> Row<'a> {
    /// The row found at `position`; `None` when this row was not written there.
    pub(super) fn open(position: RowKey, value: &'a [u8]) -> Option<Row<'a>> {
        let (count, records) = position.open(value)?.split_first_chunk::<COUNT_BYTES>()?;
        Some(Row { first: position.first, count: u32::from_le_bytes(*count), records })
    }

    /// The position after its last record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

impl<'a> IntoIterator for Row<'a> {
    type Item = (u64, &'a [u8]);
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        Records { next: self.first, end: self.end(), rest: self.records }
    }
}

/// The records of a row with their positions. It ends early if the lengths do not add up; the caller notices that by
/// counting.
#[derive(Debug)]
pub(super) struct Records<'a> {
    next: u64,
    end: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        if self.next >= self.end {
            return None;
        }
        let (length, rest) = self.rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let position = self.next;
        self.next = position.saturating_add(1);
        self.rest = rest;
        Some((position, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: RowKey = RowKey { kind: Kind::Events, partition: 3, first: 40 };

    #[test]
    fn rows_give_back_what_was_laid_out_and_stay_bounded() {
        let records: Vec<Vec<u8>> = (0..2_000usize).map(|i| vec![i as u8; i % 300]).collect();
        let rows = lay_out(PLACE, records.iter().map(Vec::as_slice));
        assert!(rows.len() > 1 && rows.iter().all(|row| row.value.len() <= 64 << 10));
        let mut next = PLACE.first;
        for row in &rows {
            assert_eq!(row.first, next);
            let read = Row::open(RowKey { first: row.first, ..PLACE }, &row.value).unwrap();
            next = read.end();
            for (position, bytes) in read {
                assert_eq!(bytes, records[(position - PLACE.first) as usize]);
            }
        }
        assert_eq!(next, PLACE.first + records.len() as u64);
    }

    #[test]
    fn a_record_larger_than_a_row_gets_a_row_of_its_own() {
        let large = vec![7; ROW_BYTES_MAX * 2];
        let rows = lay_out(PLACE, [&b"a"[..], &large, b"b"].into_iter());
        assert_eq!(rows.iter().map(|row| row.first).collect::<Vec<_>>(), [40, 41, 42]);
        assert!(lay_out(PLACE, std::iter::empty()).is_empty());
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let row = lay_out(PLACE, [&b"first"[..], b"second"].into_iter()).remove(0);
        for bit in 0..row.value.len() * 8 {
            let mut flipped = row.value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Row::open(PLACE, &flipped).is_none(), "bit {bit}");
        }
        for cut in 0..row.value.len() {
            assert!(Row::open(PLACE, &row.value[..cut]).is_none(), "cut at {cut}");
        }
        for elsewhere in
            [RowKey { kind: Kind::Commands, ..PLACE }, RowKey { partition: 4, ..PLACE }, RowKey { first: 41, ..PLACE }]
        {
            assert!(Row::open(elsewhere, &row.value).is_none());
        }
    }
}
