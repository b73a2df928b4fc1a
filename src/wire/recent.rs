//! Values that the last records had. Most events have the pool, the actor and the limits of an event shortly before: such a value
//! is not checked and made again, but shared.

use crate::domain::{Amounts, Name, PoolId};

/// Most values of each kind. Every event also has a value that no other has, which must not drive out the others.
const KEPT: usize = 4;
/// The longest units that are kept, in bytes of the record.
const UNITS_BYTES_MAX: usize = 96;

/// Values of the records that were read last.
#[derive(Default)]
pub struct Recent {
    pub(super) pools: Few<PoolId>,
    pub(super) names: Few<Name>,
    pub(super) units: Few<Counted>,
}

/// A few values, the last used first.
pub(super) struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few(Vec::new())
    }
}

impl<T> Few<T> {
    /// The value of this kind, if it is kept.
    pub(super) fn find(&mut self, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let at = self.0.iter().position(is_it)?;
        self.0.get_mut(..=at)?.rotate_right(1);
        self.0.first()
    }

    /// Keeps a value, in place of the one that was not used for the longest time.
    pub(super) fn keep(&mut self, value: T) {
        self.0.truncate(KEPT.saturating_sub(1));
        self.0.insert(0, value);
    }
}

/// Units, and the bytes that a record has for them.
pub(super) struct Counted {
    bytes: [u8; UNITS_BYTES_MAX],
    length: usize,
    pub(super) amounts: Amounts,
}

impl Counted {
    /// None where they have too many bytes to be kept.
    pub(super) fn new(bytes: &[u8], amounts: &Amounts) -> Option<Counted> {
        let mut kept = [0; UNITS_BYTES_MAX];
        kept.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Counted { bytes: kept, length: bytes.len(), amounts: amounts.clone() })
    }

    /// The bytes. No other units begin with them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_again_and_again_stays() {
        let mut few = Few::default();
        for n in 0..100 {
            for used in [-1, -2, n] {
                if few.find(|kept| *kept == used).is_none() {
                    few.keep(used);
                }
            }
        }
        assert_eq!(few.0, [99, -2, -1, 98]);
        assert_eq!(few.find(|kept| *kept == 97), None);
        assert_eq!(few.find(|kept| *kept == -1), Some(&-1));
        few.keep(100);
        assert_eq!(few.0, [100, -1, 99, -2]);
    }
}
