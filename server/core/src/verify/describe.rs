//! Schemes in words, for people.

use std::fmt;

use super::scheme::{Encoding, KeyForm, Place, Prefix, Primitive, Proof, Scheme};

/// Such as `HMAC-SHA256 hex in x-hub-signature-256`.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, proof) in self.proofs.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " or " })?;
            f.write_str(proof.primitive.as_str())?;
            // `Bearer` and `Basic` say what the token is; other labels only where it stands.
            if proof.primitive == Primitive::Token && !proof.label.is_empty() {
                write!(f, " ({})", proof.label)?;
            }
        }
        let is_token = |proof: &Proof| proof.primitive == Primitive::Token;
        if !self.proofs.iter().all(is_token) && self.encoding != Encoding::Raw {
            write!(f, " {}", self.encoding.as_str())?;
        }
        write!(f, " in {}", self.place)
    }
}

/// Such as `x-hub-signature-256`, ``the query's `token` `` or ``the body's `token` ``.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => f.write_str(name),
            Self::Query(name) => write!(f, "the query's `{name}`"),
            Self::Body(name) => write!(f, "the body's `{name}`"),
        }
    }
}

impl Proof {
    /// Returns what its secrets look like, for people, such as `[whsec_] base64` (the prefix may be left out) or `public key: hex`.
    #[must_use]
    pub fn secret_form(&self) -> String {
        let KeyForm { prefix, encoding } = &self.key;
        let encoding = match encoding {
            Encoding::Raw => "text",
            Encoding::Hex | Encoding::Base64 | Encoding::Base64Url => encoding.as_str(),
        };
        let form = match prefix {
            Prefix::Any => encoding.to_owned(),
            Prefix::Optional(prefix) => format!("[{prefix}] {encoding}"),
            Prefix::Required(prefix) => format!("{prefix} {encoding}"),
            Prefix::Not(prefix) => format!("{encoding}, not {prefix}"),
        };
        if self.primitive.is_public_key() { format!("public key: {form}") } else { form }
    }
}

impl Primitive {
    /// Whether the secret of a source is the sender's public key, with which nobody can sign.
    #[must_use]
    pub const fn is_public_key(self) -> bool {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => true,
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha512 | Self::Sha256 | Self::Token => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::provider::Kind;

    #[test]
    fn a_scheme_is_told_in_words() {
        let of = |kind: &str| {
            let schemes = Kind::parse(kind).unwrap().provider().schemes;
            schemes.iter().map(Scheme::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("github"), ["HMAC-SHA256 hex in x-hub-signature-256"]);
        assert_eq!(
            of("standard-webhooks"),
            [
                "Ed25519 or HMAC-SHA256 base64 in webhook-signature",
                "Ed25519 or HMAC-SHA256 base64 in svix-signature"
            ]
        );
        let mut token = Scheme::token("x-token");
        assert_eq!(token.to_string(), "token in x-token");
        token.place = Place::Query(Cow::Borrowed("key"));
        assert_eq!(token.to_string(), "token in the query's `key`");
        token.proofs =
            vec![Proof { label: "Bearer".into(), ..token.proofs.first().unwrap().clone() }].into();
        token.place = Place::Header(Cow::Borrowed("authorization"));
        assert_eq!(token.to_string(), "token (Bearer) in authorization");
    }

    #[test]
    fn a_secret_is_told_by_its_form() {
        let schemes = Kind::parse("standard-webhooks").unwrap().provider().schemes;
        let forms: Vec<_> = schemes[0].proofs.iter().map(Proof::secret_form).collect();
        assert_eq!(forms, ["public key: whpk_ base64", "[whsec_] base64"]);
        assert_eq!(Proof::sha1("").secret_form(), "text");
    }
}
