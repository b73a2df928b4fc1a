//! Which partition a pool belongs to. All writers of commands must agree, so the hash is the one of Kafka's Java
//! client (murmur2, its default partitioner). The manifest of a log pins its version.

use super::command::{CommandBody, Subject};
use super::ids::{PoolId, ReservationId};

/// Version of the mapping from pool to partition, as the manifest pins it.
pub const HASH_VERSION: u32 = 1;

/// The hash of a pool: murmur2 of the bytes of its id, with the sign bit cleared.
pub fn pool_hash(pool: &PoolId) -> u32 {
    murmur2(pool.as_str().as_bytes()) & 0x7fff_ffff
}

/// The partition that a command belongs to; `partitions` must not be 0. Every other partition refuses it as
/// misrouted.
pub fn home(body: &CommandBody, partitions: u32) -> u32 {
    match body.subject() {
        Subject::Pool(pool) => partition_of(pool, partitions),
        Subject::Reservation(reservation) => partition_of_reservation(reservation, partitions),
    }
}

/// The partition of a pool; `partitions` must not be 0.
pub fn partition_of(pool: &PoolId, partitions: u32) -> u32 {
    pool_hash(pool).checked_rem(partitions).unwrap_or_default()
}

/// The partition of a reservation; `partitions` must not be 0.
pub fn partition_of_reservation(id: &ReservationId, partitions: u32) -> u32 {
    id.pool_hash().checked_rem(partitions).unwrap_or_default()
}

/// MurmurHash2, 32 bits, seed 0x9747b28c: `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let (words, tail) = data.as_chunks::<4>();
    let mut h = 0x9747_b28c ^ (data.len() as u32);
    for word in words {
        h = h.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word));
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0u32, |rest, b| (rest << 8) | u32::from(*b));
        h = (h ^ rest).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn agrees_with_kafkas_java_client() {
        let golden: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (text, hash) in golden {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }
}
