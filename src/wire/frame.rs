//! The frame in front of a datum, which names the schema of the writer. It is Avro's single-object encoding: two
//! marker bytes, then the CRC-64-AVRO fingerprint of the schema in little-endian order.
//!
//! A log with a schema registry frames by the id of the registry instead, and translates: see
//! `log::kafka::schema::framing`. The datum behind either frame is the same.

use super::DecodeError;

/// The two bytes at the start of a single-object encoding.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// Length of a frame in bytes.
pub const FRAME_BYTES: usize = 10;

/// The CRC-64-AVRO fingerprint of a schema, as a frame contains it.
pub type Fingerprint = [u8; 8];

/// Starts a record of this schema, with room for `capacity` bytes. The datum must follow.
pub fn begin(fingerprint: Fingerprint, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    bytes.extend_from_slice(&MARKER);
    bytes.extend_from_slice(&fingerprint);
    bytes
}

/// Puts the fingerprint of another schema into a record's frame.
pub fn mark(record: &mut [u8], fingerprint: Fingerprint) {
    if let Some(said) = record.get_mut(MARKER.len()..FRAME_BYTES) {
        said.copy_from_slice(&fingerprint);
    }
}

/// Splits a record into the fingerprint of the writer's schema and the datum.
///
/// # Errors
/// When the bytes do not start with a frame of this kind.
pub fn open(bytes: &[u8]) -> Result<(Fingerprint, &[u8]), DecodeError> {
    let (frame, datum) =
        bytes.split_first_chunk::<FRAME_BYTES>().ok_or_else(|| DecodeError::new("shorter than its frame"))?;
    let [m0, m1, fingerprint @ ..] = frame;
    if [*m0, *m1] != MARKER {
        return Err(DecodeError::new("not framed as an avro single object"));
    }
    Ok((*fingerprint, datum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_marker_and_fingerprint() {
        let mut bytes = begin([1, 2, 3, 4, 5, 6, 7, 8], 16);
        bytes.extend_from_slice(b"datum");
        assert_eq!(bytes[..10], [0xC3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(open(&bytes), Ok(([1, 2, 3, 4, 5, 6, 7, 8], b"datum".as_slice())));
        assert_eq!(open(&bytes[..9]).unwrap_err().to_string(), "shorter than its frame");
        assert!(open(&[0; 16]).is_err());
    }
}
