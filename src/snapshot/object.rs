//! The object with the rows of a snapshot: a header, and each row with the lengths of its key and its value.

/// What the object begins with. Another form of it has another header.
const HEADER: &[u8; 16] = b"headroom-rows-01";

/// The bytes of an object, row after row.
pub(super) struct Packing(Vec<u8>);

impl Packing {
    pub(super) fn begin() -> Packing {
        Packing(HEADER.to_vec())
    }

    /// Adds a row. The rows of a partition's checkpoint are far smaller than what a length can tell.
    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.0.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
    }

    pub(super) fn end(self) -> Vec<u8> {
        self.0
    }
}

/// Hands every row to `row`.
///
/// # Errors
/// Why the bytes are no such object, in words.
pub(super) fn unpack<'o>(bytes: &'o [u8], mut row: impl FnMut(&'o [u8], &'o [u8])) -> Result<(), &'static str> {
    let mut rest = bytes.strip_prefix(HEADER.as_slice()).ok_or("the object does not begin as rows of a snapshot do")?;
    while !rest.is_empty() {
        let [key, value] = next(&mut rest).ok_or("the object ends within a row")?;
        row(key, value);
    }
    Ok(())
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<[&'a [u8]; 2]> {
    let mut length = || -> Option<usize> {
        let (length, after) = rest.split_first_chunk()?;
        *rest = after;
        usize::try_from(u32::from_le_bytes(*length)).ok()
    };
    let (key, value) = (length()?, length()?);
    let (key, after) = rest.split_at_checked(key)?;
    let (value, after) = after.split_at_checked(value)?;
    *rest = after;
    Some([key, value])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_nothing_that_was_cut() {
        let rows = [(&b"p"[..], &b"one"[..]), (b"k2", b""), (b"r", &[7; 300])];
        let mut packing = Packing::begin();
        rows.iter().for_each(|(key, value)| packing.row(key, value));
        let bytes = packing.end();
        let unpacked = |bytes: &[u8]| {
            let mut found = Vec::new();
            unpack(bytes, |key, value| found.push((key.to_vec(), value.to_vec()))).map(|()| found)
        };
        let expected: Vec<_> = rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(unpacked(&bytes), Ok(expected));
        let whole: Vec<usize> = (0..bytes.len()).filter(|cut| unpacked(&bytes[..*cut]).is_ok()).collect();
        // Cut between two rows it cannot tell: the manifest has the length.
        assert_eq!(whole, [16, 16 + 8 + 4, 16 + 8 + 4 + 8 + 2]);
        assert!(unpacked(b"headroom-rows-02").is_err());
    }
}
