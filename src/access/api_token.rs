//! The text of an API token: `hr_`, a public id, and a secret. The id finds the token in a table and in lists of people.
//! Only a hash of the whole text is kept.

use super::Denied;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use subtle::ConstantTimeEq;

/// What the text of an API token begins with. No JWT begins so, because a JWT begins with JSON in Base64.
pub(super) const PREFIX: &str = "hr_";
/// Random bytes of an id. Two tokens of one file hardly ever draw the same one, and a file cannot hold both.
const ID_BYTES: usize = 6;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Random bytes of a whole token.
pub const TOKEN_RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;
/// Length of the text of a token, in bytes: two hexadecimal digits for each random byte.
const TEXT_BYTES: usize = PREFIX.len() + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES;

/// SHA-256 of the text of a token. A secret has 256 random bits, so nobody finds it by trying, however little one try
/// costs. A slow hash protects texts that people choose, and would cost every call.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(text: &str) -> TokenHash {
        TokenHash(Sha256::digest(text.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<TokenHash> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() || !is_hex(text) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(TokenHash(bytes))
    }

    /// Whether both are the same. How long this takes tells nothing about where they differ.
    pub(super) fn is(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The 64 hexadecimal digits that [`TokenHash::parse`] reads.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A new token. It has no `Debug`, because its text is the secret.
pub struct NewToken {
    /// Its public id.
    pub id: String,
    /// The whole text, which is shown to one person once.
    pub text: String,
    /// What is kept of it.
    pub hash: TokenHash,
}

impl NewToken {
    /// The token of these random bytes.
    pub fn of(random: [u8; TOKEN_RANDOM_BYTES]) -> NewToken {
        let mut digits = String::new();
        for byte in random {
            // Writing to a String never fails.
            let _ = write!(digits, "{byte:02x}");
        }
        let (id, secret) = digits.split_at_checked(2 * ID_BYTES).unwrap_or_default();
        let text = format!("{PREFIX}{id}_{secret}");
        NewToken { id: id.to_owned(), hash: TokenHash::of(&text), text }
    }
}

/// The id and the hash of a token that a caller sent.
///
/// # Errors
/// [`Denied::Malformed`] when the text is no token.
pub(super) fn read(text: &str) -> Result<(&str, TokenHash), Denied> {
    let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
    let (id, secret) = parts.ok_or(Denied::Malformed)?;
    if text.len() != TEXT_BYTES || id.len() != 2 * ID_BYTES || !is_hex(id) || !is_hex(secret) {
        return Err(Denied::Malformed);
    }
    Ok((id, TokenHash::of(text)))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_read_back_and_its_hash_says_nothing() {
        let token = NewToken::of(std::array::from_fn(|at| at as u8));
        assert_eq!(token.id, "000102030405");
        assert_eq!(token.text.len(), TEXT_BYTES);
        let (id, hash) = read(&token.text).unwrap();
        assert!(id == token.id && hash.is(&token.hash));
        let shown = hash.to_string();
        assert!(TokenHash::parse(&shown).is_some_and(|parsed| parsed.is(&hash)));
        assert!(!token.text.contains(&shown) && !shown.contains(&token.text[16..]));
    }

    #[test]
    fn what_is_no_token_is_refused_before_it_is_hashed() {
        let good = NewToken::of([7; TOKEN_RANDOM_BYTES]).text;
        let upper = good.to_uppercase();
        for bad in [
            "",
            "hr_",
            "hr__",
            &good[..good.len() - 1],
            &format!("{good}0"),
            &upper,
            &good.replacen('_', "-", 2),
            &format!("hr_0_{}", &good[5..]),
            &good.replace('7', "g"),
            &format!("hr_{}", "é".repeat(38)),
        ] {
            assert_eq!(read(bad).err(), Some(Denied::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_hash_is_sixty_four_digits() {
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"x".repeat(64), &"+1".repeat(32)] {
            assert!(TokenHash::parse(bad).is_none(), "{bad}");
        }
    }
}
