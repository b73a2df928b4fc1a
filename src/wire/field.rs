//! The fields of records. A binary record is written and read by position, without names. For people it is an object
//! of named fields (JSON). The field types borrow when they write, and own what they have read.

use crate::domain::ids::RESERVATION_TEXT_BYTES;
use crate::domain::{
    Amounts, CommandId, Digest, Dimension, IdempotencyKey, Name, NameError, PoolId, ReservationId, hex_digit, hex128,
};
use crate::limits::DIMENSIONS_MAX;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

/// Defines a record: a head that is always there, and fields that may be null, in the order of the schema. The tests
/// compare that order.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $head:ident: $head_type:ty, $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        pub(super) struct $name<'a> {
            pub(super) $head: $head_type,
            $(pub(super) $field: Option<$type>,)*
        }

        impl<'a> $name<'a> {
            /// The names of the fields, in order.
            pub(super) const FIELDS: &'static [&'static str] = &[stringify!($head), $(stringify!($field)),*];

            /// A record with its head, and all other fields null.
            pub(super) fn of($head: $head_type) -> $name<'a> {
                $name { $head, $($field: None,)* }
            }
        }

        impl $crate::wire::field::Named for $name<'_> {
            fn named(&self) -> Vec<(&'static str, serde_json::Value)> {
                let mut fields = Vec::new();
                let mut put = |name, value: Result<_, _>| fields.extend(value.ok().map(|value| (name, value)));
                put(stringify!($head), serde_json::to_value(&self.$head));
                $(if let Some(value) = &self.$field {
                    put(stringify!($field), serde_json::to_value(value));
                })*
                fields
            }
        }

        impl $crate::wire::datum::DirectRecord for $name<'static> {
            fn begin(from: &mut $crate::wire::datum::Datum<'_>) -> Option<Self> {
                $crate::wire::datum::Direct::read(from).map($name::of)
            }

            fn fill(&mut self, from: &mut $crate::wire::datum::Datum<'_>) -> Option<()> {
                $(from.field(&mut self.$field)?;)*
                Some(())
            }
        }

        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple;
                let mut record = serializer.serialize_tuple(Self::FIELDS.len())?;
                record.serialize_element(&self.$head)?;
                $(record.serialize_element(&self.$field)?;)*
                record.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name<'static> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name<'static>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a record ", stringify!($name)))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                        Ok($name {
                            $head: $crate::wire::field::next(&mut fields)?,
                            $($field: $crate::wire::field::next_or_none(&mut fields)?,)*
                        })
                    }
                }

                deserializer.deserialize_struct(stringify!($name), Self::FIELDS, Fields)
            }
        }
    };
}
pub(super) use record;

/// A record for people and programs.
pub(super) trait Named {
    /// The fields that are not null, under the names of the schema and in its order. Numbers are numbers, and times too.
    fn named(&self) -> Vec<(&'static str, Value)>;
}

/// Reads the next field of a record. It is null when the record is of an older version and ends before the field.
pub(super) fn next_or_none<'de, T: Deserialize<'de>, A: MapAccess<'de>>(fields: &mut A) -> Result<Option<T>, A::Error> {
    Ok(fields.next_entry::<IgnoredAny, Option<T>>()?.and_then(|(_, value)| value))
}

/// Reads the next field of a record.
pub(super) fn next<'de, T: Deserialize<'de>, A: MapAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
    let field = fields.next_entry::<IgnoredAny, T>()?;
    field.map(|(_, value)| value).ok_or_else(|| A::Error::custom("the record has too few fields"))
}

/// What a visitor of one of these types expects, in words. It is only seen when a schema does not fit.
macro_rules! expecting {
    ($what:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($what)
        }
    };
}

/// An enumeration and its symbols in the schema.
pub(super) trait Code: Copy + PartialEq + 'static {
    /// The name of the enumeration in the schema.
    const NAME: &'static str;
    /// All symbols in the order of the schema; the first one stands for "unknown".
    const SYMBOLS: &'static [&'static str];
    /// The meaning of each symbol after the first; `None` for a retired symbol.
    const VALUES: &'static [Option<Self>];

    /// The index of its symbol in [`Code::VALUES`]. When a value has several symbols, the last one is written; older
    /// versions wrote the others.
    fn place(self) -> Option<usize> {
        Self::VALUES.iter().rposition(|value| *value == Some(self))
    }
}

/// A field that holds a symbol of an enumeration.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Coded<T>(pub(super) T);

impl<T: Code> Serialize for Coded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.0.place();
        debug_assert!(known.is_some(), "a {} that no record holds", T::NAME);
        let at = known.map_or(0, |at| at.saturating_add(1));
        let symbol = T::SYMBOLS.get(at).copied().unwrap_or_default();
        serializer.serialize_unit_variant(T::NAME, at as u32, symbol)
    }
}

struct Symbol<T>(PhantomData<T>);

impl<'de, T: Code> Deserialize<'de> for Coded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A binary record holds the index of the symbol.
        deserializer.deserialize_u64(Symbol(PhantomData))
    }
}

impl<T: Code> Visitor<'_> for Symbol<T> {
    type Value = Coded<T>;
    expecting!("a symbol's place");

    fn visit_u64<E: Error>(self, at: u64) -> Result<Self::Value, E> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        match at.checked_sub(1).and_then(|known| T::VALUES.get(known)) {
            Some(Some(value)) => Ok(Coded(*value)),
            Some(None) => {
                let symbol = T::SYMBOLS.get(at).copied().unwrap_or_default();
                Err(E::custom(format_args!("the {} {symbol} is retired: no program writes it", T::NAME)))
            }
            None => Err(E::custom(format_args!("the {} {at} is not known here", T::NAME))),
        }
    }
}

/// A domain type that is stored as text.
pub(super) trait Texted: Clone {
    /// The name of the type in the error when a text is refused.
    const WHAT: &'static str;
    /// The value as text.
    fn text(&self) -> &str;
    /// Checks a text and makes the value.
    fn of_text(text: &str) -> Result<Self, NameError>;
}

macro_rules! texted {
    ($($type:ident = $what:literal),*) => {
        $(impl Texted for $type {
            const WHAT: &'static str = $what;

            fn text(&self) -> &str {
                self.as_str()
            }

            fn of_text(text: &str) -> Result<Self, NameError> {
                $type::new(text)
            }
        })*
    };
}
texted!(PoolId = "a pool's id", Name = "a name", IdempotencyKey = "a key", Dimension = "a dimension");

/// A field that holds a text.
pub(super) struct Text<'a, T: Texted>(pub(super) Cow<'a, T>);

impl<'a, T: Texted> Text<'a, T> {
    /// Borrows a value, to write it.
    pub(super) fn of(value: &'a T) -> Text<'a, T> {
        Text(Cow::Borrowed(value))
    }

    /// The value that was read.
    pub(super) fn value(self) -> T {
        self.0.into_owned()
    }
}

impl<T: Texted> Serialize for Text<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.text())
    }
}

struct Parse<T>(PhantomData<T>);

impl<'de, T: Texted> Deserialize<'de> for Text<'_, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse(PhantomData)).map(|value| Text(Cow::Owned(value)))
    }
}

impl<'de, T: Texted> Visitor<'de> for Parse<T> {
    type Value = T;
    expecting!(T::WHAT);

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::of_text(text).map_err(|why| E::custom(format_args!("{} {why}", T::WHAT)))
    }
}

/// A reservation's id, stored as text.
pub(super) struct Id(pub(super) ReservationId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.text(&mut [0; RESERVATION_TEXT_BYTES]))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parse;

        impl Visitor<'_> for Parse {
            type Value = Id;
            expecting!("a reservation's id");

            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                ReservationId::parse(text).map(Id).map_err(|why| E::custom(format_args!("a reservation's id {why}")))
            }
        }

        deserializer.deserialize_str(Parse)
    }
}

/// A command's id, stored as 32 hexadecimal digits.
pub(super) struct Hex(pub(super) CommandId);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.0.to_be_bytes()) {
            if let [high, low] = pair {
                (*high, *low) = (hex_digit(byte >> 4), hex_digit(byte & 15));
            }
        }
        serializer.serialize_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl Hex {
    /// The id with these digits.
    pub(super) fn of(text: impl AsRef<[u8]>) -> Option<Hex> {
        hex128(text).map(|id| Hex(CommandId(id)))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parse;

        impl Visitor<'_> for Parse {
            type Value = Hex;
            expecting!("a command's id");

            fn visit_str<E: Error>(self, text: &str) -> Result<Hex, E> {
                Hex::of(text).ok_or_else(|| E::custom("a command's id is not 32 hex digits"))
            }
        }

        deserializer.deserialize_str(Parse)
    }
}

/// A digest, stored as 16 bytes; hexadecimal for people.
pub(super) struct Bytes16(pub(super) Digest);

impl Serialize for Bytes16 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&self.0)
        } else {
            serializer.serialize_bytes(&self.0.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes16 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copy;

        impl Visitor<'_> for Copy {
            type Value = Bytes16;
            expecting!("16 bytes");

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes16, E> {
                let bytes = bytes.try_into().map_err(|_| E::custom("a digest is not 16 bytes long"))?;
                Ok(Bytes16(Digest(bytes)))
            }
        }

        deserializer.deserialize_bytes(Copy)
    }
}

/// A field of bytes.
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;

        impl Visitor<'_> for Keep {
            type Value = Bytes<'static>;
            expecting!("bytes");

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                self.visit_byte_buf(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
                Ok(Bytes(Cow::Owned(bytes)))
            }
        }

        deserializer.deserialize_byte_buf(Keep)
    }
}

/// Units per dimension, stored as a map. Differences have a sign.
pub(super) enum Units<'a> {
    /// Amounts that are to be written.
    Amounts(&'a Amounts),
    /// Differences that are to be written.
    Changes(&'a [(Dimension, i64)]),
    /// What was read, in the order of the record.
    Read(Vec<(Dimension, i64)>),
    /// What was read, where it is in order of dimension and not negative.
    Known(Amounts),
}

impl Serialize for Units<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn map<S: Serializer>(
            to: S,
            pairs: impl ExactSizeIterator<Item = (Dimension, i64)>,
        ) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = to.serialize_map(Some(pairs.len()))?;
            for (dimension, units) in pairs {
                map.serialize_entry(dimension.as_str(), &units)?;
            }
            map.end()
        }
        let of = |amounts: &Amounts, to| map(to, amounts.iter().map(|(d, units)| (d, super::saturated(units))));
        match self {
            Units::Amounts(amounts) => of(amounts, serializer),
            Units::Known(amounts) => of(amounts, serializer),
            Units::Changes(pairs) => map(serializer, pairs.iter().copied()),
            Units::Read(pairs) => map(serializer, pairs.iter().copied()),
        }
    }
}

impl<'de> Deserialize<'de> for Units<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Units<'static>;
            expecting!("units per dimension");

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let expected = MapAccess::size_hint(&map).unwrap_or_default().min(DIMENSIONS_MAX);
                let mut pairs = Vec::with_capacity(expected);
                while let Some((dimension, units)) = map.next_entry::<Text<'_, Dimension>, i64>()? {
                    pairs.push((dimension.value(), units));
                }
                Ok(Units::Read(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A list of names, each once.
pub(super) struct Names<'a>(pub(super) Cow<'a, BTreeSet<Name>>);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Text::of))
    }
}

impl<'de> Deserialize<'de> for Names<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Set;

        impl<'de> Visitor<'de> for Set {
            type Value = Names<'static>;
            expecting!("names");

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut names = BTreeSet::new();
                while let Some(name) = items.next_element::<Text<'_, Name>>()? {
                    let name = name.value();
                    if names.contains(&name) {
                        return Err(A::Error::custom(format_args!("the name {name} stands twice")));
                    }
                    names.insert(name);
                }
                Ok(Names(Cow::Owned(names)))
            }
        }

        deserializer.deserialize_seq(Set)
    }
}

/// Labels with their values, stored as a map.
pub(super) struct Labels<'a>(pub(super) Cow<'a, BTreeMap<Name, Name>>);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(label, value)| (Text::of(label), Text::of(value))))
    }
}

impl<'de> Deserialize<'de> for Labels<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels<'static>;
            expecting!("labels");

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some((label, value)) = map.next_entry::<Text<'_, Name>, Text<'_, Name>>()? {
                    let label = label.value();
                    if labels.contains_key(&label) {
                        return Err(A::Error::custom(format_args!("the label {label} stands twice")));
                    }
                    labels.insert(label, value.value());
                }
                Ok(Labels(Cow::Owned(labels)))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
