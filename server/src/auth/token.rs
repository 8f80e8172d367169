//! The text of a token: `hkl_<id>_<secret>`, of lower-case hexadecimal digits.
//!
//! The id is public and finds the entry; the secret proves it. Scanners for leaked secrets know it by
//! `hkl_[0-9a-f]{16}_[0-9a-f]{64}`.

use std::{fmt, io};

use hookline_core::verify::SecretHash;

const PREFIX: &str = "hkl_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A token that was just made. Its text is nowhere else.
pub struct Minted {
    id: String,
    secret: String,
}

impl Minted {
    /// Makes a token of random bytes of the system.
    ///
    /// # Errors
    ///
    /// If the system has none to give.
    pub fn new() -> io::Result<Self> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        Ok(Self { id: hex::encode(id), secret: hex::encode(secret) })
    }

    /// Returns the public part, which names the entry.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what is kept of the secret.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.secret.as_bytes())
    }

    /// Returns the whole token: for the one who asked for it, once.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

/// Shows nothing of the secret.
impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token as it was sent: its two parts, not yet compared with anything.
#[derive(Clone, Copy)]
pub(super) struct Presented<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
}

impl<'a> Presented<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let fits = is_id(id) && secret.len() == 2 * SECRET_BYTES;
        fits.then_some(Self { id, secret })
    }
}

/// Whether a text is the id of a token.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_parts_and_no_two_are_the_same() {
        let (one, other) = (Minted::new().unwrap(), Minted::new().unwrap());
        let text = one.expose();
        assert_eq!(text.len(), 4 + 16 + 1 + 64);
        let presented = Presented::parse(&text).unwrap();
        assert_eq!(presented.id, one.id());
        assert!(one.hash().is_of(presented.secret.as_bytes()));
        assert!(!other.hash().is_of(presented.secret.as_bytes()));
        assert_ne!(text, other.expose());
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let minted = Minted::new().unwrap();
        let shown = format!("{minted:?} {:?}", minted.hash());
        assert!(!shown.contains(&minted.secret) && !shown.contains(&minted.hash().to_hex()));
    }

    #[test]
    fn anything_else_is_no_token() {
        let (id, secret) = ("0123456789abcdef", "a".repeat(64));
        assert!(Presented::parse(&format!("hkl_{id}_{secret}")).is_some());
        for text in [
            String::new(),
            "hkl_".to_owned(),
            format!("hkl_{id}{secret}"),
            format!("hkl_{id}_{secret}a"),
            format!("hkl_{}_{secret}", id.to_uppercase()),
            format!("ghp_{id}_{secret}"),
            format!(" hkl_{id}_{secret}"),
        ] {
            assert!(Presented::parse(&text).is_none(), "{text}");
        }
    }
}
