//! Names that people give: areas, labels, order references, actors.
//!
//! This module alone decides what a name is, both for callers and for records of the log. The answer must never
//! change: every later version must read a name that an event holds, and every process must judge a command alike. So
//! the rule uses only what Unicode promises to keep. Unicode never moves an assigned character into a category that
//! is refused here, and never changes whether a text of assigned characters is in normalization form C. Unicode does
//! assign more characters. Those are refused until the tables here know them, so that no text is accepted today and
//! refused later. A process with older tables that meets such a character in a command decides that the command is
//! malformed, and takes an event with one for a broken chain. No schema tells it that a later version wrote them. So newer
//! tables need a new feature level, and below it names are judged as by the tables before.

use super::ids::{NameError, Why, name};
use crate::limits::NAME_BYTES_MAX;
use arcstr::ArcStr;
use std::fmt;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory};

/// Both tables must be of one version of Unicode. Otherwise one of them would accept characters that the other does
/// not know.
const _: () = {
    let (one, other) = (unicode_normalization::UNICODE_VERSION, unicode_properties::UNICODE_VERSION);
    assert!(one.0 as u64 == other.0 && one.1 as u64 == other.1 && one.2 as u64 == other.2);
};

name!(
    /// An area, a label or its value, an order reference, or an actor: 1 to 64 bytes of UTF-8 in normalization form
    /// C. Control, format (bidirectional ones among them), private-use and unassigned characters are refused, and so
    /// are line and paragraph separators and a blank at either end. Names are compared byte by byte: `Köln` is not
    /// `köln`. Every [`super::PoolId`] is also a name; older versions allowed no other names.
    Name, check
);

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(NAME_BYTES_MAX));
    }
    // Nearly every name is of such characters, and every name of a log is checked when it is read.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let last = text.chars().count();
    for (at, found) in (1..).zip(text.chars()) {
        if let Some(why) = refused(found, at == 1 || at == last) {
            return Err(NameError::Character { found, at, why });
        }
    }
    if text.is_ascii() || is_nfc(text) {
        return Ok(());
    }
    let composed = text.nfc().map(Some).chain(std::iter::repeat(None));
    let mut places = (1..).zip(text.chars()).zip(composed);
    let first = places.find(|((_, is), should)| Some(*is) != *should);
    let (at, found) = first.map_or((1, char::REPLACEMENT_CHARACTER), |(place, _)| place);
    Err(NameError::Character { found, at, why: Why::NotComposed })
}

/// Why a character is refused, given whether it stands at an end of the text.
fn refused(c: char, is_outside: bool) -> Option<Why> {
    if c.is_ascii_graphic() {
        return None;
    }
    match c.general_category() {
        Category::Control => Some(Why::Control),
        Category::Format => Some(Why::Format),
        Category::LineSeparator | Category::ParagraphSeparator => Some(Why::Separator),
        Category::PrivateUse => Some(Why::PrivateUse),
        Category::Unassigned | Category::Surrogate => Some(Why::Unassigned),
        Category::SpaceSeparator if is_outside => Some(Why::OuterBlank),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_world_are_names() {
        let composed = "e".repeat(32);
        for good in [
            "SW1A 1AA",
            "north east",
            "K\u{f6}ln",
            "#1001",
            "SO/2026/00012",
            "WEB 12",
            "dispatch@ops.example",
            "S\u{fc}d-Team",
            "\u{6771}\u{4eac}",
            "a  b",
            "a\u{a0}b",
            "\"\\",
            "x",
            &"x".repeat(64),
            &composed,
            &"\u{6771}".repeat(21),
        ] {
            assert_eq!(Name::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn what_is_no_name_says_which_character_and_where() {
        let bad = [
            ("Ko\u{308}ln", 2, 'o', Why::NotComposed),
            ("a\u{301}\u{6771}", 1, 'a', Why::NotComposed),
            ("K\u{212a}", 2, '\u{212a}', Why::NotComposed),
            ("ab\u{202e}c", 3, '\u{202e}', Why::Format),
            ("\u{200b}", 1, '\u{200b}', Why::Format),
            ("so\u{ad}ft", 3, '\u{ad}', Why::Format),
            ("a\u{feff}", 2, '\u{feff}', Why::Format),
            ("a\nb", 2, '\n', Why::Control),
            ("a\0", 2, '\0', Why::Control),
            ("a\u{85}", 2, '\u{85}', Why::Control),
            ("a\u{2028}b", 2, '\u{2028}', Why::Separator),
            (" a", 1, ' ', Why::OuterBlank),
            ("ab ", 3, ' ', Why::OuterBlank),
            ("a\u{a0}", 2, '\u{a0}', Why::OuterBlank),
            ("\u{3000}a", 1, '\u{3000}', Why::OuterBlank),
            ("\u{e000}", 1, '\u{e000}', Why::PrivateUse),
            ("a\u{378}", 2, '\u{378}', Why::Unassigned),
            ("a\u{fdd0}", 2, '\u{fdd0}', Why::Unassigned),
        ];
        for (text, at, found, why) in bad {
            assert_eq!(Name::new(text), Err(NameError::Character { found, at, why }), "{text:?}");
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        for long in ["x".repeat(65), "\u{6771}".repeat(22)] {
            assert_eq!(Name::new(&long), Err(NameError::TooLong(64)));
        }
        let told = Name::new("ab\u{202e}c").unwrap_err().to_string();
        assert_eq!(told, "has U+202E at character 3: it is a format character, which nobody sees");
    }

    /// Blanks are what Unicode calls white space; both tables must agree on it.
    #[test]
    fn no_name_begins_or_ends_with_white_space() {
        let refused = |text: String| Name::new(&text).is_err();
        let blanks = (char::MIN..=char::MAX).filter(|c| c.is_whitespace());
        for blank in blanks {
            assert!(refused(format!("{blank}a")) && refused(format!("a{blank}")), "{blank:?}");
        }
    }

    /// The story: a dependency was updated, and nobody saw that names may have other characters since. While an upgrade was under way,
    /// one of them stopped its partition in all processes of the version before, and there was no way back. Whoever changes this
    /// version gives it a feature level of its own.
    #[test]
    fn the_tables_are_of_the_version_of_unicode_that_every_process_knows() {
        assert_eq!(unicode_normalization::UNICODE_VERSION, (18, 0, 0));
    }

    /// Every name that older versions accepted is accepted.
    #[test]
    fn the_alphabet_of_the_versions_before_is_a_part_of_it() {
        for c in ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(".:_-".chars()) {
            assert!(Name::new(&c.to_string()).is_ok(), "{c:?}");
        }
    }
}
