//! Names and identities. Their constructors check them, so whoever holds a value of these types need not check it
//! again.

use super::hex::hex128;
use crate::limits::{DIMENSION_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX};
use arcstr::ArcStr;
use std::fmt;

/// Why a text is refused as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text is longer than this many bytes.
    TooLong(usize),
    /// A character is not allowed there.
    Character {
        /// The first such character.
        found: char,
        /// Its place in the text, counted in characters from 1.
        at: usize,
        /// What is wrong with it.
        why: Why,
    },
    /// A reservation's id with a wrong length or wrong check digits.
    Check,
    /// `.` or `..`: HTTP clients remove those from a path before they send it.
    Dots,
}

/// What is wrong with a character in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Only the characters of this list are allowed.
    NotOf(&'static str),
    /// It is a control character.
    Control,
    /// It is a format character.
    Format,
    /// It is a line or paragraph separator.
    Separator,
    /// It is for private use.
    PrivateUse,
    /// This version of the program does not know it as an assigned Unicode character.
    Unassigned,
    /// It is a blank at the beginning or at the end of the text.
    OuterBlank,
    /// From here on the text is not in Unicode normalization form C.
    NotComposed,
}

/// What the ids of pools begin with that belong to Headroom itself. Callers cannot name such a pool, and no list shows it.
pub const INTERNAL_POOL_PREFIX: &str = "__headroom.";

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("is empty"),
            NameError::TooLong(max) => write!(f, "is longer than {max} bytes of UTF-8"),
            NameError::Character { found, at, why } => {
                f.write_str("has ")?;
                if found.is_ascii_graphic() {
                    write!(f, "'{found}' ")?;
                }
                let code = u32::from(*found);
                write!(f, "U+{code:04X} at character {at}: {why}")
            }
            NameError::Check => f.write_str("is not an id that Headroom gave out"),
            NameError::Dots => f.write_str("is only dots, which has another meaning in a path"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotOf(allowed) => return write!(f, "it may have {allowed}"),
            Why::Control => "it is a control character",
            Why::Format => "it is a format character, which nobody sees",
            Why::Separator => "it separates lines or paragraphs",
            Why::PrivateUse => "it is for private use, and means nothing to others",
            Why::Unassigned => "it is no character that Unicode has assigned",
            Why::OuterBlank => "it is a blank, with which a name neither begins nor ends",
            Why::NotComposed => "the text is not in normalization form C (NFC) from there on",
        })
    }
}

impl std::error::Error for NameError {}

/// The characters that a kind of name allows, all of them ASCII, and how an error text calls them. Every name of a log is
/// checked when it is read, so each character is looked up.
struct Alphabet([bool; 256], &'static str);

const POOL_CHARS: Alphabet = Alphabet(listed(&[b"AZ", b"az", b"09"], b"._:-"), "A-Z a-z 0-9 . _ : - only");
const KEY_CHARS: Alphabet = Alphabet(listed(&[b"!!", b"#[", b"]~"], b""), "visible ASCII without \" and \\ only");
const DIMENSION_CHARS: Alphabet = Alphabet(listed(&[b"az", b"09"], b"_"), "a-z 0-9 _ only, and begins with one of a-z");

/// Which bytes are characters of these ranges, or some of these.
#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
const fn listed(ranges: &[&[u8; 2]], others: &[u8]) -> [bool; 256] {
    let (mut listed, mut at) = ([false; 256], 0);
    while at < ranges.len() {
        let [mut byte, last] = *ranges[at];
        while byte <= last {
            listed[byte as usize] = true;
            byte = byte.wrapping_add(1);
        }
        at = at.saturating_add(1);
    }
    at = 0;
    while at < others.len() {
        listed[others[at] as usize] = true;
        at = at.saturating_add(1);
    }
    listed
}

fn check(text: &str, max: usize, Alphabet(listed, says): &Alphabet) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong(max));
    }
    let is_of = |byte: u8| listed.get(usize::from(byte)).copied().unwrap_or_default();
    if text.bytes().all(is_of) {
        return Ok(());
    }
    let other = (1..).zip(text.chars()).find(|(_, c)| !u8::try_from(*c).is_ok_and(is_of));
    let (at, found) = other.unwrap_or((1, char::REPLACEMENT_CHARACTER));
    Err(NameError::Character { found, at, why: Why::NotOf(says) })
}

/// A checked text. Cloning shares the characters, and a value is one word long, because every reservation holds some. The
/// characters lie behind the counter of the clones, in one allocation.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ArcStr);

        impl $name {
            /// Checks the text and makes the name.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with the text.
            pub fn new(text: &str) -> Result<$name, NameError> {
                $check(text)?;
                Ok($name(text.into()))
            }

            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}
pub(super) use name;

name!(
    /// A pool's id: 1 to 64 of `A-Z a-z 0-9 . _ : -`, compared byte by byte. `.` and `..` are refused, because HTTP
    /// clients remove them from a path before they send it.
    PoolId, check_pool_id
);
name!(
    /// A caller's Idempotency-Key: 1 to 128 visible ASCII characters except `"` and `\`.
    IdempotencyKey, check_key
);

impl PoolId {
    /// Whether the pool belongs to Headroom itself.
    pub fn is_internal(&self) -> bool {
        self.as_str().starts_with(INTERNAL_POOL_PREFIX)
    }
}

fn check_pool_id(text: &str) -> Result<(), NameError> {
    check(text, NAME_BYTES_MAX, &POOL_CHARS)?;
    if [".", ".."].contains(&text) { Err(NameError::Dots) } else { Ok(()) }
}

fn check_key(text: &str) -> Result<(), NameError> {
    check(text, KEY_BYTES_MAX, &KEY_CHARS)
}

/// A dimension's name: a lower-case letter, then up to 15 of `a-z 0-9 _`. It is stored inline, because every
/// reservation holds some.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension([u8; DIMENSION_BYTES_MAX]);

impl Dimension {
    /// Checks the text and makes the name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with the text.
    pub fn new(text: &str) -> Result<Dimension, NameError> {
        check(text, DIMENSION_BYTES_MAX, &DIMENSION_CHARS)?;
        if let Some(found) = text.chars().next().filter(|first| !first.is_ascii_lowercase()) {
            return Err(NameError::Character { found, at: 1, why: Why::NotOf(DIMENSION_CHARS.1) });
        }
        let mut name = [0; DIMENSION_BYTES_MAX];
        for (to, from) in name.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Ok(Dimension(name))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|b| *b == 0).next().unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command's identity. The high half is the incarnation of the gateway that sent it, the low half a running number
/// there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u128);

/// The number of one try of a caller. It tells the tries of one reservation apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attempt(pub u64);

/// The first 16 bytes of the blake3 hash of a record. The record holds the digest of the record before it, so digests
/// form a chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of this text; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Digest> {
        hex128(text).map(|number| Digest(number.to_be_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Stands for the value of a byte that is no digit.
const NO_DIGIT: u8 = 32;
/// The value of each byte as a base32 digit.
#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
const WORTH: [u8; 256] = {
    let (mut worth, mut digit) = ([NO_DIGIT; 256], 0);
    while digit < 32 {
        worth[BASE32[digit] as usize] = digit as u8;
        digit += 1;
    }
    worth
};
const PREFIX: &str = "hr_";
const DIGITS: usize = 26;
/// Length in bytes of a reservation's id as text.
pub const RESERVATION_TEXT_BYTES: usize = PREFIX.len() + DIGITS;

/// A reservation's id: 32 bits of pool hash, 88 bits of SHA-256(pool, key), 8 check bits. The same pool and key give
/// the same id, and the partition follows from the id alone. As text it is `hr_` and 26 characters of Crockford's
/// base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId([u8; 16]);

impl ReservationId {
    /// Makes an id from the hash of its pool (see [`super::route::pool_hash`]) and 88 bits that are unique under that
    /// hash.
    pub fn new(pool_hash: u32, unique: [u8; 11]) -> ReservationId {
        let mut bytes = [0; 16];
        let parts = pool_hash.to_be_bytes().into_iter().chain(unique);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes[15] = crc8(&bytes[..15]);
        ReservationId(bytes)
    }

    /// Reads the 16 stored bytes of an id.
    ///
    /// # Errors
    /// [`NameError::Check`] when the check byte is wrong.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<ReservationId, NameError> {
        let [body @ .., check] = &bytes;
        if crc8(body) == *check { Ok(ReservationId(bytes)) } else { Err(NameError::Check) }
    }

    /// Reads the text of an id.
    ///
    /// # Errors
    /// [`NameError::Check`] for anything that [`fmt::Display`] does not write.
    pub fn parse(text: &str) -> Result<ReservationId, NameError> {
        ReservationId::read(text.as_bytes())
    }

    /// Reads the text of an id from its bytes, which are checked one by one in any case.
    ///
    /// # Errors
    /// Those of [`ReservationId::parse`].
    pub fn read(text: &[u8]) -> Result<ReservationId, NameError> {
        let digits: Option<&[u8; DIGITS]> =
            text.strip_prefix(PREFIX.as_bytes()).and_then(|digits| digits.try_into().ok());
        let (high, digits) = digits.and_then(|digits| digits.split_first_chunk::<2>()).ok_or(NameError::Check)?;
        let (middle, low) = digits.split_first_chunk::<12>().ok_or(NameError::Check)?;
        let ((high, a), (middle, b), (low, c)) = (number(high), number(middle), number(low));
        // 26 digits hold 130 bits, two more than an id has.
        if (a | b | c) >= NO_DIGIT || high > 0xff {
            return Err(NameError::Check);
        }
        let value = u128::from(high) << 120 | u128::from(middle) << 60 | u128::from(low);
        ReservationId::from_bytes(value.to_be_bytes())
    }

    /// The 16 bytes in which the id is stored.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Writes the text into `buffer` and returns it. Nothing is allocated, because every event holds such a text.
    pub fn text<'a>(&self, buffer: &'a mut [u8; RESERVATION_TEXT_BYTES]) -> &'a str {
        let mut value = u128::from_be_bytes(self.0);
        let (prefix, digits) = buffer.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        for digit in digits.iter_mut().rev() {
            *digit = BASE32.get(value as usize & 31).copied().unwrap_or_default();
            value >>= 5;
        }
        std::str::from_utf8(buffer).unwrap_or_default()
    }

    /// The hash of the pool that the reservation belongs to.
    pub fn pool_hash(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; RESERVATION_TEXT_BYTES]))
    }
}

impl fmt::Debug for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number that no more than twelve digits make, and the values of all digits in one: it shows whether one is none.
fn number(digits: &[u8]) -> (u64, u8) {
    digits.iter().fold((0, 0), |(number, all), digit| {
        let worth = WORTH.get(usize::from(*digit)).copied().unwrap_or(NO_DIGIT);
        (number << 5 | u64::from(worth), all | worth)
    })
}

/// CRC-8 with the polynomial 0x07. It finds every error within eight neighbouring bits, and so every single mistyped
/// character.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, b| CRC8.get(usize::from(crc ^ b)).copied().unwrap_or_default())
}

/// The CRC of one byte.
#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
const CRC8: [u8; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u8, 0);
        while bit < 8 {
            crc = if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "...", ".a", "SG-01:2026-11-21T10", &"x".repeat(64)] {
            assert_eq!(PoolId::new(good).map(|p| p.to_string()), Ok(good.to_string()));
        }
        let not_of = |found, at| NameError::Character { found, at, why: Why::NotOf(POOL_CHARS.1) };
        let bad = [
            ("", NameError::Empty),
            (&*"x".repeat(65), NameError::TooLong(64)),
            ("a b", not_of(' ', 2)),
            ("../x", not_of('/', 3)),
            ("{}", not_of('{', 1)),
            ("a\0", not_of('\0', 2)),
            ("\u{202e}abc", not_of('\u{202e}', 1)),
            ("é", not_of('é', 1)),
            (".", NameError::Dots),
            ("..", NameError::Dots),
        ];
        for (text, why) in bad {
            assert_eq!(PoolId::new(text), Err(why), "{text:?}");
        }
        assert!(Dimension::new("orders_2").is_ok_and(|d| d.as_str() == "orders_2"));
        assert!(Dimension::new("warehouse_pickss").is_ok_and(|d| d.as_str() == "warehouse_pickss"));
        for bad in ["", "Orders", "2orders", "_x", "a-b", "seventeen_letters"] {
            assert!(Dimension::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_survive_their_text_and_no_mistyped_one_passes() {
        let id = ReservationId::new(0xdead_beef, [7; 11]);
        let text = id.to_string();
        assert_eq!(ReservationId::parse(&text), Ok(id));
        assert_eq!((text.len(), id.pool_hash()), (29, 0xdead_beef));
        for at in 3..text.len() {
            for other in BASE32 {
                let mut typo = text.clone().into_bytes();
                if typo[at] == *other {
                    continue;
                }
                typo[at] = *other;
                let typo = String::from_utf8(typo).unwrap();
                assert_eq!(ReservationId::parse(&typo), Err(NameError::Check), "{typo}");
            }
        }
        for bad in ["", "hr_", &text[3..], &text[..28], &text.to_uppercase(), "hr_\u{202e}"] {
            assert_eq!(ReservationId::parse(bad), Err(NameError::Check), "{bad:?}");
        }
    }
}
