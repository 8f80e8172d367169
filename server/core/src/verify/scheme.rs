//! How a sender proves who it is, as a description: the built-in providers have theirs as constants, a custom source in
//! the configuration.

use std::{borrow::Cow, time::Duration};

/// Text of a description: built in, or from the configuration.
pub type Text = Cow<'static, str>;

/// A way to sign. Of the several that a kind may have, the first whose [`Scheme::place`] a request fills, and whose
/// [`Scheme::when`] it meets, is the one that must be right: there is no falling back to a weaker one.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheme {
    /// Where the signature stands.
    pub place: Place,
    /// What stands between several signatures (and a time) there; `None`: there is one item.
    pub items: Option<char>,
    /// What stands between an item's label and its value; `None`: the item is the value.
    pub field: Option<char>,
    /// What is accepted as a signature; at least one.
    pub proofs: Cow<'static, [Proof]>,
    /// How a signature is written.
    pub encoding: Encoding,
    /// What is signed, in order. Of no meaning for [`Primitive::Token`].
    pub signed: Cow<'static, [Part]>,
    /// The header with the delivery's id, for [`Part::Id`].
    pub id: Option<Text>,
    /// What says that this scheme is meant, where several have one place; `None`: that the place is filled is enough.
    pub when: Option<When>,
    /// Whether the provider has a better one, so that it only counts for sources that ask for it.
    pub legacy: bool,
    /// When it was signed.
    pub time: Option<SignedTime>,
}

/// A header with the name or version of a scheme. It is not signed, so schemes that are told apart by it must be such
/// that a signature of one is of no use as one of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// The header, named in lower case.
    pub header: Text,
    /// Its value, or one of the items that it has between commas.
    pub value: Text,
}

/// Where a signature or a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a header, named in lower case.
    Header(Text),
    /// In a parameter of the query.
    Query(Text),
    /// In the body, at each event: it can only be looked at when the body is read.
    Body(Text),
}

/// One kind of signature of a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What stands before the [`Scheme::field`] separator of such an item; empty without one.
    pub label: Text,
    /// How it is made.
    pub primitive: Primitive,
    /// How the secret is written.
    pub key: KeyForm,
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// HMAC with SHA-1 (RFC 2104).
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// SHA-256 of what is signed, which has the secret in it: [`Part::Secret`].
    Sha256,
    /// Ed25519 (RFC 8032); the secret is the sender's public key.
    Ed25519,
    /// ECDSA over P-256 with SHA-256, in DER; the secret is the sender's public key.
    EcdsaP256,
    /// The secret itself: a bearer token, an API key, a user and password.
    Token,
}

impl Primitive {
    /// Returns the name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HMAC-SHA1",
            Self::HmacSha256 => "HMAC-SHA256",
            Self::HmacSha512 => "HMAC-SHA512",
            Self::Sha256 => "SHA-256",
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 => "ECDSA P-256",
            Self::Token => "token",
        }
    }
}

/// How a secret is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyForm {
    /// What secrets of this proof begin with.
    pub prefix: Prefix,
    /// How the rest is written.
    pub encoding: Encoding,
}

/// What a secret begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// Anything, which belongs to the secret.
    Any,
    /// Perhaps this, which is taken off.
    Optional(Text),
    /// This, which is taken off: a secret without it belongs to another proof.
    Required(Text),
    /// Not this: a secret with it belongs to another proof.
    Not(Text),
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// In hexadecimal of either case.
    Hex,
    /// In base64, with or without padding.
    Base64,
    /// In base64 with the alphabet for URLs, with or without padding.
    Base64Url,
}

impl Encoding {
    /// Returns the name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }
}

/// A part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Fixed text.
    Text(Text),
    /// The body as it came.
    Body,
    /// The time, as the request writes it.
    Time,
    /// The delivery's id, as the request writes it.
    Id,
    /// The method.
    Method,
    /// The address at which the sender posts.
    Url,
    /// The fields of a form, sorted, names and values without separators; of a body whose hash is in the address,
    /// nothing (Twilio).
    SortedForm,
    /// The secret.
    Secret,
}

/// The time of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTime {
    /// Where it stands.
    pub place: TimePlace,
    /// How it is written.
    pub unit: TimeUnit,
    /// How old a request may be; `None`: any age, unless the source is configured with a tolerance.
    pub past: Option<Duration>,
    /// Whether a time that is as far ahead is refused too.
    pub future: bool,
}

/// Where the time of a signature stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimePlace {
    /// In a header, named in lower case.
    Header(Text),
    /// In the item with this label, beside the signature.
    Item(Text),
    /// In the body, at this path; if it is not there, in the header.
    Body {
        /// The path, as in [`crate::normalize::From::Body`].
        path: Text,
        /// The header, which is not signed.
        header: Option<Text>,
    },
}

/// How the time of a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the epoch, in digits.
    Seconds,
    /// Milliseconds since the epoch, in digits.
    Millis,
    /// A date and time of ISO 8601.
    Iso,
}

/// Secrets that are text, all of it.
pub(crate) const TEXT_KEY: KeyForm = KeyForm { prefix: Prefix::Any, encoding: Encoding::Raw };

impl Scheme {
    /// HMAC-SHA256 of the body in hexadecimal, in a header that is still to be named: where a description begins.
    pub(crate) const BASE: Self = Self {
        place: Place::Header(Cow::Borrowed("")),
        items: None,
        field: None,
        // Not by a function, whose result constants could not be made of.
        proofs: Cow::Borrowed(&[Proof {
            label: Cow::Borrowed(""),
            primitive: Primitive::HmacSha256,
            key: TEXT_KEY,
        }]),
        encoding: Encoding::Hex,
        signed: Cow::Borrowed(&[Part::Body]),
        id: None,
        when: None,
        legacy: false,
        time: None,
    };

    /// Describes signatures over the raw body alone, one in the header.
    pub(crate) const fn over_body(
        header: &'static str,
        field: Option<char>,
        proofs: &'static [Proof],
        encoding: Encoding,
    ) -> Self {
        Self {
            place: Place::Header(Cow::Borrowed(header)),
            field,
            proofs: Cow::Borrowed(proofs),
            encoding,
            ..Self::BASE
        }
    }

    /// Describes the HMAC-SHA256 of the raw body, which a header holds with nothing beside.
    pub(crate) const fn bare_sha256(header: &'static str, encoding: Encoding) -> Self {
        const PROOFS: &[Proof] = &[Proof::sha256("")];
        Self::over_body(header, None, PROOFS, encoding)
    }

    /// Describes a token in a header.
    pub(crate) const fn token(header: &'static str) -> Self {
        Self::token_of(header, &[TOKEN])
    }

    /// Describes a token in a header, of the form that these proofs have.
    pub(crate) const fn token_of(header: &'static str, proofs: &'static [Proof]) -> Self {
        Self {
            place: Place::Header(Cow::Borrowed(header)),
            proofs: Cow::Borrowed(proofs),
            encoding: Encoding::Raw,
            signed: Cow::Borrowed(&[]),
            ..Self::BASE
        }
    }

    /// Whether what is signed has the address in it, so that the public one has to be configured.
    #[must_use]
    pub fn needs_url(&self) -> bool {
        self.signed.contains(&Part::Url)
    }

    /// Whether a signature ages.
    #[must_use]
    pub const fn has_time(&self) -> bool {
        self.time.is_some()
    }
}

impl SignedTime {
    /// Describes a time in seconds that may be as far behind as ahead.
    pub(crate) const fn within(place: TimePlace, tolerance: Duration) -> Self {
        Self { place, unit: TimeUnit::Seconds, past: Some(tolerance), future: true }
    }
}

/// A token without a label.
pub(crate) const TOKEN: Proof =
    Proof { label: Cow::Borrowed(""), primitive: Primitive::Token, key: TEXT_KEY };

impl Proof {
    /// Describes an HMAC-SHA256 with a text secret; the label is empty where the scheme has no field separator.
    pub(crate) const fn sha256(label: &'static str) -> Self {
        Self { label: Cow::Borrowed(label), primitive: Primitive::HmacSha256, key: TEXT_KEY }
    }

    /// Describes an HMAC-SHA1 with a text secret.
    pub(crate) const fn sha1(label: &'static str) -> Self {
        Self { label: Cow::Borrowed(label), primitive: Primitive::HmacSha1, key: TEXT_KEY }
    }
}
