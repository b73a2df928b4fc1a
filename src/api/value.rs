//! What a caller sent, whatever the protocol: borrowed from the request, with the kinds of numbers kept apart. Each edge
//! reads its own format into these values. [`super::body`] interprets them, and names the one that is wrong.

use std::borrow::Cow;

/// Any value that a caller can send.
#[derive(Clone, PartialEq, Debug)]
pub enum Value<'a> {
    /// The value `null`: the caller asks for the absence of something.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer from 0 to 2^64 - 1.
    Unsigned(u64),
    /// An integer from -2^63 to -1.
    Negative(i64),
    /// Any other number: a fraction, an exponent, or beyond 64 bits.
    Inexact,
    /// A text, without the escapes of its protocol.
    Text(Cow<'a, str>),
    /// An instant in seconds and nanoseconds since the Unix epoch, of a protocol that has a type for it.
    Instant {
        /// Whole seconds, negative before 1970.
        seconds: i64,
        /// Nanoseconds after them.
        nanos: i32,
    },
    /// An array, in order.
    List(Vec<Value<'a>>),
    /// An object with its members, in the order in which they were sent.
    Object(Members<'a>),
}

/// The members of an object, in the order in which they were sent.
pub type Members<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// A caller's value, short enough to be shown in a refusal.
pub fn shown(value: &Value<'_>) -> Cow<'static, str> {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string().into(),
        Value::Unsigned(number) => number.to_string().into(),
        Value::Negative(number) => number.to_string().into(),
        Value::Inexact => "a number that is no 64-bit integer".into(),
        Value::Text(text) => quoted(text).into(),
        Value::Instant { seconds, nanos } => format!("{seconds} s and {nanos} ns").into(),
        Value::List(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// A caller's text in a form that is safe to show: short, quoted, and with escapes for quotes and for what cannot be seen, such
/// as control, format and combining characters.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 40;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    format!("'{shown}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_send_is_shown_harmlessly() {
        assert_eq!(quoted("a\0\u{202e}'\n"), "'a\\0\\u{202e}\\'\\n'");
        assert_eq!(quoted("k\u{f6}ln \u{6771}"), "'k\u{f6}ln \u{6771}'");
        assert_eq!(quoted("o\u{308}\u{a0}\u{2028}\u{e000}"), "'o\\u{308}\\u{a0}\\u{2028}\\u{e000}'");
        assert_eq!(quoted(&"x".repeat(10_000)).len(), 45);
    }
}
