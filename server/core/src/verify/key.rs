//! Secrets, made ready for the scheme they are for. Here, and only here, signatures and secrets are compared.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ed25519_dalek::{Signature as EdSignature, Signer as _, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use p256::{
    ecdsa::{
        Signature as EcSignature, SigningKey as EcSigningKey, VerifyingKey as EcVerifyingKey,
        signature::Verifier as _,
    },
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _},
};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use super::{
    Scheme,
    scheme::{Encoding, KeyForm, Prefix, Primitive, Proof},
};
use crate::source::Secret;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Why a secret can't be used as it is configured. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret is not written as the scheme's secrets are.
    #[error("the secret is not {0}")]
    Encoding(&'static str),
    /// The secret is no key of the scheme's algorithm.
    #[error("the secret is not {0}")]
    Form(&'static str),
    /// There is nothing behind its prefix.
    #[error("the secret is not a prefix with a key behind it")]
    Empty,
    /// No scheme of the kind has secrets of this form.
    #[error("the secret has not the prefix of a secret of this kind")]
    Prefix,
}

/// A secret as its scheme uses it, with as much of the work done as there is without a request.
#[derive(Clone)]
pub(super) enum Key {
    HmacSha1(Hmac<Sha1>),
    HmacSha256(Hmac<Sha256>),
    HmacSha512(Hmac<Sha512>),
    /// For [`Primitive::Sha256`].
    Secret(Box<[u8]>),
    Ed25519(VerifyingKey),
    EcdsaP256(EcVerifyingKey),
    Token(Box<[u8]>),
}

impl Encoding {
    /// Decodes text; `None` if it is not written so.
    pub(super) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Raw => Some(text.to_vec()),
            Self::Hex => {
                let mut bytes = vec![0; text.len() / 2];
                hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
            }
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64Url => BASE64_URL.decode(text).ok(),
        }
    }

    /// Writes bytes as text; raw bytes must be text.
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Raw => String::from_utf8_lossy(bytes).into_owned(),
            Self::Hex => hex::encode(bytes),
            Self::Base64 => base64::prelude::BASE64_STANDARD.encode(bytes),
            Self::Base64Url => base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

impl KeyForm {
    /// Decodes a secret; `None` if it belongs to another proof.
    fn decode(&self, secret: &[u8]) -> Option<Result<Vec<u8>, KeyError>> {
        let rest = match &self.prefix {
            Prefix::Any => secret,
            Prefix::Optional(prefix) => secret.strip_prefix(prefix.as_bytes()).unwrap_or(secret),
            Prefix::Required(prefix) => secret.strip_prefix(prefix.as_bytes())?,
            Prefix::Not(prefix) if secret.starts_with(prefix.as_bytes()) => return None,
            Prefix::Not(_) => secret,
        };
        Some(self.encoding.decode(rest).ok_or(KeyError::Encoding(self.encoding.as_str())))
    }
}

impl Proof {
    /// Makes a key of a secret; `None` if the secret belongs to another proof.
    pub(super) fn key(&self, secret: &Secret) -> Option<Result<Key, KeyError>> {
        let bytes = match self.key.decode(secret.as_bytes())? {
            // A prefix with nothing behind it: anybody could sign with that.
            Ok(bytes) if bytes.is_empty() => return Some(Err(KeyError::Empty)),
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        Some(self.primitive.key(&bytes))
    }
}

impl Primitive {
    fn key(self, bytes: &[u8]) -> Result<Key, KeyError> {
        Ok(match self {
            Self::HmacSha1 => Key::HmacSha1(keyed(bytes)),
            Self::HmacSha256 => Key::HmacSha256(keyed(bytes)),
            Self::HmacSha512 => Key::HmacSha512(keyed(bytes)),
            Self::Sha256 => Key::Secret(bytes.into()),
            Self::Token => Key::Token(bytes.into()),
            Self::Ed25519 => {
                let form = KeyError::Form("an Ed25519 public key of 32 bytes");
                let bytes = bytes.try_into().map_err(|_| form)?;
                Key::Ed25519(VerifyingKey::from_bytes(bytes).map_err(|_| form)?)
            }
            Self::EcdsaP256 => {
                let form = KeyError::Form("a P-256 public key in SubjectPublicKeyInfo");
                Key::EcdsaP256(EcVerifyingKey::from_public_key_der(bytes).map_err(|_| form)?)
            }
        })
    }
}

fn keyed<M: KeyInit>(bytes: &[u8]) -> M {
    M::new_from_slice(bytes).expect("HMAC takes keys of any length")
}

/// What is signed, piece by piece.
pub(super) type Pieces<'m> = [&'m [u8]];

impl Key {
    /// Whether one of the candidates is this key's signature of the pieces. All comparisons take the same time wherever
    /// the first difference is.
    pub(super) fn verifies<'c>(
        &self,
        pieces: &Pieces<'_>,
        mut candidates: impl Iterator<Item = &'c [u8]>,
    ) -> bool {
        match self {
            Self::HmacSha1(mac) => verifies_mac(mac, pieces, candidates),
            Self::HmacSha256(mac) => verifies_mac(mac, pieces, candidates),
            Self::HmacSha512(mac) => verifies_mac(mac, pieces, candidates),
            Self::Secret(_) => {
                let hash = sha256(pieces);
                candidates.any(|candidate| is_same(&hash, candidate))
            }
            Self::Token(token) => candidates.any(|candidate| is_same(token, candidate)),
            Self::Ed25519(key) => {
                let message = pieces.concat();
                let mut signatures =
                    candidates.filter_map(|bytes| EdSignature::from_slice(bytes).ok());
                signatures.any(|signature| key.verify_strict(&message, &signature).is_ok())
            }
            Self::EcdsaP256(key) => {
                let message = pieces.concat();
                let mut signatures =
                    candidates.filter_map(|bytes| EcSignature::from_der(bytes).ok());
                signatures.any(|signature| key.verify(&message, &signature).is_ok())
            }
        }
    }

    /// Returns the secret where it is a part of what is signed.
    pub(super) fn secret(&self) -> &[u8] {
        match self {
            Self::Secret(secret) => secret,
            Self::HmacSha1(_)
            | Self::HmacSha256(_)
            | Self::HmacSha512(_)
            | Self::Ed25519(_)
            | Self::EcdsaP256(_)
            | Self::Token(_) => &[],
        }
    }
}

fn verifies_mac<'c, M: Mac + Clone>(
    mac: &M,
    pieces: &Pieces<'_>,
    mut candidates: impl Iterator<Item = &'c [u8]>,
) -> bool {
    let mut mac = mac.clone();
    pieces.iter().for_each(|piece| mac.update(piece));
    candidates.any(|candidate| mac.clone().verify_slice(candidate).is_ok())
}

fn sha256(pieces: &Pieces<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.finalize().into()
}

/// Compares in constant time for texts of one length; that lengths differ may be seen.
pub(crate) fn is_same(secret: &[u8], given: &[u8]) -> bool {
    secret.ct_eq(given).into()
}

/// The SHA-256 of a secret: what is kept of a bearer token, and enough to know it again.
///
/// Only for secrets of 32 random bytes or so: those can't be guessed, so a hash that is fast to compute is as good as a
/// slow one. Of a password it would not be.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Returns the hash of a secret, over its bytes as they are sent.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 digits in lower case; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        is_lower.then_some(Self(bytes))
    }

    /// Returns the hash in hexadecimal, as it is kept.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Whether it is the hash of this secret; takes as long for any that was given.
    #[must_use]
    pub fn is_of(self, given: &[u8]) -> bool {
        is_same(&self.0, &Self::of(given).0)
    }

    /// Whether it is the same as another.
    #[must_use]
    pub fn is(self, other: Self) -> bool {
        is_same(&self.0, &other.0)
    }
}

/// Shows nothing of it.
impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// Returns HMAC-SHA256 of some text with a secret, in hexadecimal: what Zoom asks of an address to prove itself.
pub(crate) fn hmac_sha256_hex(secret: &Secret, text: &str) -> String {
    hex::encode(finish(keyed::<Hmac<Sha256>>(secret.as_bytes()), &[text.as_bytes()]))
}

/// Signs as a sender does. For signatures with a public key the secret is the private one: a seed of 32 bytes for
/// Ed25519, PKCS #8 for P-256.
pub(super) fn sign(
    scheme: &Scheme,
    proof: &Proof,
    secret: &Secret,
    pieces: &Pieces<'_>,
) -> Result<String, KeyError> {
    let private = |prefix: &str| {
        let bytes = secret.as_bytes();
        let bytes = bytes.strip_prefix(prefix.as_bytes()).unwrap_or(bytes);
        proof.key.encoding.decode(bytes).ok_or(KeyError::Encoding(proof.key.encoding.as_str()))
    };
    let mac = |key: Key| match key {
        Key::HmacSha1(mac) => finish(mac, pieces),
        Key::HmacSha256(mac) => finish(mac, pieces),
        Key::HmacSha512(mac) => finish(mac, pieces),
        Key::Secret(_) => sha256(pieces).to_vec(),
        Key::Token(token) => token.into(),
        Key::Ed25519(_) | Key::EcdsaP256(_) => unreachable!("a public key does not sign"),
    };
    let bytes = match proof.primitive {
        Primitive::Ed25519 => {
            let form = KeyError::Form("an Ed25519 private key of 32 bytes");
            let seed = private("whsk_")?;
            // Standard Webhooks writes the seed with the public key behind it.
            let seed = seed.first_chunk::<32>().ok_or(form)?;
            SigningKey::from_bytes(seed).sign(&pieces.concat()).to_bytes().to_vec()
        }
        Primitive::EcdsaP256 => {
            let form = KeyError::Form("a P-256 private key in PKCS #8");
            let key = EcSigningKey::from_pkcs8_der(&private("")?).map_err(|_| form)?;
            let signature: EcSignature = key.sign(&pieces.concat());
            signature.to_der().as_bytes().to_vec()
        }
        Primitive::HmacSha1
        | Primitive::HmacSha256
        | Primitive::HmacSha512
        | Primitive::Sha256
        | Primitive::Token => mac(proof.key(secret).ok_or(KeyError::Prefix)??),
    };
    Ok(scheme.encoding.encode(&bytes))
}

fn finish<M: Mac>(mut mac: M, pieces: &Pieces<'_>) -> Vec<u8> {
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().to_vec()
}

/// Whether a secret can sign for a proof: its form is that of the proof's secrets, or of its private keys.
pub(super) fn can_sign(proof: &Proof, secret: &Secret) -> bool {
    match proof.primitive {
        Primitive::Ed25519 => {
            secret.as_bytes().starts_with(b"whsk_") || proof.key.prefix == Prefix::Any
        }
        Primitive::EcdsaP256 => true,
        Primitive::HmacSha1
        | Primitive::HmacSha256
        | Primitive::HmacSha512
        | Primitive::Sha256
        | Primitive::Token => {
            !secret.as_bytes().starts_with(b"whsk_")
                && proof.key.decode(secret.as_bytes()).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    /// Does not compile if keys can be compared with `==`: then there are two to choose from.
    const _: fn() = || {
        trait Choice<Of> {
            fn choose() {}
        }
        struct Comparable;
        impl<T: ?Sized> Choice<()> for T {}
        impl<T: ?Sized + PartialEq> Choice<Comparable> for T {}
        <Key as Choice<_>>::choose();
    };
}
