//! The types of fields, as a datum of the newest schema holds them.

use super::datum::{Datum, Direct};
use super::field::{Bytes, Bytes16, Code, Coded, Hex, Id, Labels, Names, Text, Texted, Units};
use crate::domain::{Amounts, Digest, Dimension, IdempotencyKey, Name, PoolId, ReservationId};
use crate::limits::{AREAS_MAX, DIMENSIONS_MAX};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

impl<T: Code> Direct for Coded<T> {
    fn read(from: &mut Datum<'_>) -> Option<Coded<T>> {
        let at = usize::try_from(from.long()?).ok()?.checked_sub(1)?;
        T::VALUES.get(at).copied().flatten().map(Coded)
    }
}

impl<T: Code> Direct for Vec<Coded<T>> {
    fn read(from: &mut Datum<'_>) -> Option<Vec<Coded<T>>> {
        let mut all = Vec::new();
        from.items(T::VALUES.len(), |from, _| {
            all.push(Coded::read(from)?);
            Some(())
        })?;
        Some(all)
    }
}

/// Texts of these types; those of a type with a list of recent ones are shared with it.
macro_rules! texts {
    ($($type:ident $(like $few:ident)?),*) => {
        $(impl Direct for Text<'_, $type> {
            fn read(from: &mut Datum<'_>) -> Option<Self> {
                let bytes = from.bytes()?;
                $(let few = from.recent().map(|recent| &mut recent.$few);
                if let Some(known) = few.and_then(|few| few.find(|known| known.as_str().as_bytes() == bytes)) {
                    return Some(Text(Cow::Owned(known.clone())));
                })?
                let value = $type::of_text(std::str::from_utf8(bytes).ok()?).ok()?;
                $(from.recent().into_iter().for_each(|recent| recent.$few.keep(value.clone()));)?
                Some(Text(Cow::Owned(value)))
            }
        })*
    };
}
texts!(PoolId like pools, Name like names, IdempotencyKey, Dimension);

impl Direct for Id {
    fn read(from: &mut Datum<'_>) -> Option<Id> {
        ReservationId::read(from.bytes()?).ok().map(Id)
    }
}

impl Direct for Hex {
    fn read(from: &mut Datum<'_>) -> Option<Hex> {
        Hex::of(from.bytes()?)
    }
}

impl Direct for Bytes16 {
    fn read(from: &mut Datum<'_>) -> Option<Bytes16> {
        from.fixed().map(|bytes| Bytes16(Digest(bytes)))
    }
}

impl Direct for Bytes<'_> {
    fn read(from: &mut Datum<'_>) -> Option<Self> {
        from.bytes().map(|bytes| Bytes(Cow::Owned(bytes.to_vec())))
    }
}

impl Direct for Units<'_> {
    fn read(from: &mut Datum<'_>) -> Option<Self> {
        if let Some(known) = Amounts::read(from) {
            return Some(Units::Known(known));
        }
        let mut pairs = Vec::new();
        from.items(DIMENSIONS_MAX, |from, count| {
            pairs.reserve_exact(count.saturating_sub(pairs.len()));
            pairs.push((Text::read(from)?.value(), from.long()?));
            Some(())
        })?;
        Some(Units::Read(pairs))
    }
}

impl Direct for Amounts {
    fn read(from: &mut Datum<'_>) -> Option<Amounts> {
        from.amounts(amounts)
    }
}

/// Units in order of dimension, none of them negative.
pub(super) fn amounts(from: &mut Datum<'_>) -> Option<Amounts> {
    let mut pairs: Vec<(Dimension, u64)> = Vec::new();
    from.items(DIMENSIONS_MAX, |from, count| {
        pairs.reserve_exact(count.saturating_sub(pairs.len()));
        pairs.push((Text::read(from)?.value(), u64::try_from(from.long()?).ok()?));
        Some(())
    })?;
    Amounts::sorted(pairs)
}

impl Direct for Names<'_> {
    fn read(from: &mut Datum<'_>) -> Option<Self> {
        let mut names = BTreeSet::new();
        from.items(AREAS_MAX, |from, _| names.insert(Text::<Name>::read(from)?.value()).then_some(()))?;
        Some(Names(Cow::Owned(names)))
    }
}

impl Direct for Labels<'_> {
    fn read(from: &mut Datum<'_>) -> Option<Self> {
        let mut labels = BTreeMap::new();
        from.items(AREAS_MAX, |from, _| {
            let (label, value) = (Text::<Name>::read(from)?.value(), Text::<Name>::read(from)?.value());
            labels.insert(label, value).is_none().then_some(())
        })?;
        Some(Labels(Cow::Owned(labels)))
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::datum::{DirectRecord, read};
    use crate::wire::entries;
    use crate::wire::field::Named;
    use crate::wire::frame::FRAME_BYTES;
    use crate::wire::recent::Recent;
    use crate::wire::schema::{COMMANDS, EVENTS, REPLIES, SNAPSHOTS, Topic};
    use crate::wire::{command, event, reply, snapshot};
    use serde::de::DeserializeOwned;

    fn bytes_of(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Every recorded record is read directly, and as the other reader reads it, whatever was read before. So is a record with a
    /// changed byte, unless only the other one reads it.
    fn agree<R: DirectRecord + DeserializeOwned + Named>(topic: &Topic, recorded: &str) {
        let (mut changed, mut lines, mut recent) = (0, 0, Recent::default());
        for line in recorded.lines().filter(|line| !line.starts_with('#')) {
            let bytes = bytes_of(line.split_whitespace().last().unwrap());
            let datum = &bytes[FRAME_BYTES..];
            let direct = read::<R>(datum, Some(&mut recent)).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(direct.named(), topic.read_newest::<R>(datum).unwrap().named(), "{line}");
            for at in 0..datum.len() {
                for change in [1, 2, 0x80, 0xff] {
                    let mut other = datum.to_vec();
                    other[at] ^= change;
                    if let Some(direct) = read::<R>(&other, Some(&mut recent)) {
                        assert_eq!(direct.named(), topic.read_newest::<R>(&other).unwrap().named(), "{line}: {at}");
                        changed += 1;
                    }
                }
                assert!(read::<R>(&datum[..at], None).is_none(), "{line} ends at {at}");
            }
            assert!(read::<R>(&[datum, &[0]].concat(), None).is_none(), "{line}");
            lines += 1;
        }
        assert!(lines > 0 && changed > 10 * lines, "{changed} of {lines}");
    }

    #[test]
    fn what_is_read_directly_is_what_the_schema_says() {
        agree::<event::EventRecord<'static>>(&EVENTS, include_str!("../../tests/golden/events.hex"));
        agree::<command::CommandRecord<'static>>(&COMMANDS, include_str!("../../tests/golden/commands.hex"));
        agree::<reply::ReplyRecord<'static>>(&REPLIES, include_str!("../../tests/golden/replies.hex"));
        agree::<snapshot::SnapshotRecord<'static>>(&SNAPSHOTS, include_str!("../../tests/golden/snapshot.hex"));
    }

    /// The events that are read in one pass are those of the kinds that are, and what is read is what the record says, also
    /// where a byte has changed.
    #[test]
    fn what_is_read_in_one_pass_is_what_the_record_says() {
        let (mut changed, mut recent) = (0, Recent::default());
        for line in include_str!("../../tests/golden/events.hex").lines().filter(|line| !line.starts_with('#')) {
            let bytes = bytes_of(line.split_whitespace().last().unwrap());
            let datum = &bytes[FRAME_BYTES..];
            let kind = event::decode_any(&bytes, None).unwrap().event.body.kind();
            assert_eq!(entries::read(datum, Some(&mut recent)).is_some(), entries::is_read(kind), "{line}");
            for at in FRAME_BYTES..bytes.len() {
                for change in [0, 1, 2, 0x80, 0xff] {
                    let mut other = bytes.clone();
                    other[at] ^= change;
                    if let Some(read) = entries::read(&other[FRAME_BYTES..], Some(&mut recent)) {
                        assert_eq!(Ok(read), event::decode_any(&other, None).map(|any| any.event), "{line}: {at}");
                        changed += 1;
                    }
                }
                assert!(entries::read(&bytes[FRAME_BYTES..at], None).is_none(), "{line} ends at {at}");
            }
            assert!(entries::read(&[datum, &[0]].concat(), None).is_none(), "{line}");
        }
        assert!(changed > 1_000, "{changed}");
    }
}
