//! What a diagnosis says.

use std::fmt;

use super::rewrite::{Escapes, Layout};
use crate::{
    event::SourceName,
    provider::Kind,
    time::Timestamp,
    verify::{
        VerifyError,
        scheme::{Encoding, Primitive},
    },
};

/// What makes a refused request verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What has to be otherwise.
    pub finding: Finding,
    /// That the time is not accepted either, where that is so.
    pub age: Option<VerifyError>,
}

/// What has to be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing but the time.
    Age,
    /// The secret at this place made the signature, and has run out.
    SecretExpired {
        /// Its place, from 0.
        index: usize,
        /// Until when it was taken.
        not_after: Timestamp,
    },
    /// The secret at this place made the signature, written otherwise.
    Secret {
        /// Its place, from 0.
        index: usize,
        /// How.
        change: SecretChange,
    },
    /// A secret of another source made the signature.
    SecretOf {
        /// The other source.
        source: SourceName,
        /// The secret's place there, from 0.
        index: usize,
    },
    /// It is a genuine request to another source.
    OtherSource {
        /// The other source.
        source: SourceName,
        /// Its kind.
        kind: Kind,
    },
    /// The signature is that of another body.
    Body(BodyChange),
    /// The signature is that of another address.
    Url(Vec<UrlChange>),
    /// The signature is that of the address that was told, which is not the configured one.
    PostedUrl,
    /// The signature is right, but written in another way.
    Encoding(Encoding),
    /// The signature is right, but made in another way.
    Primitive(Primitive),
    /// The signature is right, but of an older way to sign that the source does not take.
    Legacy,
    /// The signature is right, but has not the label (`sha256=`) that stands before it.
    Unlabelled,
    /// The signature is right for the body alone, without the time or id that belong to what is signed.
    BodyAlone,
    /// Another header has a signature that the secret makes of the body, which is not the one that counts.
    OtherHeader {
        /// The header.
        header: String,
        /// How it is made.
        primitive: Primitive,
    },
    /// There is no signature of the source's kind, but a header by which others sign.
    OtherKind {
        /// The header.
        header: String,
        /// Some of those who sign by it.
        kinds: Vec<Kind>,
    },
}

/// How a secret is written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// Without the white space around it.
    Trimmed,
    /// With a newline at its end.
    Newline,
    /// Without the quotes around it.
    Unquoted,
    /// Without its prefix, such as `whsec_`.
    Unprefixed,
    /// Decoded.
    Decoded(Encoding),
    /// Decoded, without its prefix.
    UnprefixedDecoded(Encoding),
    /// As text, not decoded.
    Verbatim,
    /// As text, not decoded, without its prefix.
    UnprefixedVerbatim,
}

/// How a body is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyChange {
    /// Without the newline at its end.
    WithoutLastNewline,
    /// With a newline at its end.
    WithLastNewline,
    /// With a carriage return and a newline at its end.
    WithLastCrLf,
    /// With newlines alone for carriage returns and newlines.
    LineFeeds,
    /// With carriage returns before all newlines.
    CarriageReturns,
    /// Without the byte order mark at its begin.
    WithoutMark,
    /// With a byte order mark at its begin.
    WithMark,
    /// JSON, written anew.
    Json {
        /// Its white space.
        layout: Layout,
        /// The escapes in its texts.
        escapes: Escapes,
        /// Whether a newline ends it.
        newline: bool,
    },
    /// In the field `payload` of a form.
    InForm,
    /// Taken out of the field `payload` of a form.
    OutOfForm,
    /// Empty.
    Empty,
}

/// How an address is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlChange {
    /// `https` for `http`.
    Https,
    /// `http` for `https`.
    Http,
    /// Without its port.
    WithoutPort,
    /// With a slash at the end of its path.
    WithSlash,
    /// Without the slash at the end of its path.
    WithoutSlash,
    /// Without its query.
    WithoutQuery,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.finding, &self.age) {
            (finding @ Finding::Age, Some(age)) => write!(f, "{finding}: {age}"),
            (finding, Some(age)) => write!(f, "{finding}; besides, {age}"),
            (finding, None) => write!(f, "{finding}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age => f.write_str("the signature is genuine, only its time is not taken"),
            Self::SecretExpired { index, not_after } => write!(
                f,
                "the signature is made with `secrets[{index}]`, which is not taken after \
                 {not_after}: the sender still uses it"
            ),
            Self::Secret { index, change } => {
                write!(f, "the signature is made with `secrets[{index}]` {change}")
            }
            Self::SecretOf { source, index } => write!(
                f,
                "the signature is made with `secrets[{index}]` of the source `{source}`: the \
                 secrets are mixed up"
            ),
            Self::OtherSource { source, kind } => write!(
                f,
                "it is a genuine request to the source `{source}` of kind `{kind}`: the sender \
                 posts to the wrong address"
            ),
            Self::Body(change) => write!(f, "the signature is that of the body {change}"),
            Self::Url(changes) => {
                f.write_str("the signature is that of another address: ")?;
                for (index, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("; set `url` of the source, or `http.public_url`, to what is signed")
            }
            Self::PostedUrl => f.write_str(
                "the signature is that of the address that was given, which is not the configured \
                 one: set `url` of the source, or `http.public_url`",
            ),
            Self::Encoding(encoding) => {
                write!(f, "the signature is right, but written in {}", encoding.as_str())
            }
            Self::Primitive(primitive) => {
                write!(f, "the signature is right, but made with {}", primitive.as_str())
            }
            Self::Legacy => f.write_str(
                "the signature is right, but made in the provider's older way, which counts only \
                 with `legacy_signatures = true`",
            ),
            Self::Unlabelled => f.write_str(
                "the signature is right, but the label that stands before it is not there",
            ),
            Self::BodyAlone => f.write_str(
                "the signature is that of the body alone: what the kind signs beside it is missing",
            ),
            Self::OtherHeader { header, primitive } => write!(
                f,
                "secret and body are right: `{header}` holds their {}; but it does not count, and \
                 the signature that does is missing or another",
                primitive.as_str()
            ),
            Self::OtherKind { header, kinds } => {
                write!(f, "there is the header `{header}`, by which others sign:")?;
                for (index, kind) in kinds.iter().enumerate() {
                    write!(f, "{} {kind}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("; the source may be of the wrong kind")
            }
        }
    }
}

impl fmt::Display for SecretChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trimmed => f.write_str("without the white space around it"),
            Self::Newline => f.write_str("and a newline: the sender's secret has one at its end"),
            Self::Unquoted => f.write_str("without the quotes around it"),
            Self::Unprefixed => f.write_str("without its prefix"),
            Self::Decoded(encoding) => {
                write!(f, "decoded as {}, which this kind does not do", encoding.as_str())
            }
            Self::UnprefixedDecoded(encoding) => write!(
                f,
                "without its prefix and decoded as {}, which this kind does not do",
                encoding.as_str()
            ),
            Self::Verbatim => f.write_str("taken as text, which this kind decodes"),
            Self::UnprefixedVerbatim => {
                f.write_str("without its prefix and taken as text, which this kind decodes")
            }
        }
    }
}

impl fmt::Display for BodyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BYTES: &str = "the bytes must be those that were posted";
        match self {
            Self::WithoutLastNewline => {
                f.write_str("without the newline at its end: an editor or a tool has added it")
            }
            Self::WithLastNewline => {
                f.write_str("with a newline at its end: an editor or a tool has cut it off")
            }
            Self::WithLastCrLf => {
                f.write_str("with CR and LF at its end: an editor or a tool has cut them off")
            }
            Self::LineFeeds => write!(f, "with LF for CR LF: its lines were rewritten; {BYTES}"),
            Self::CarriageReturns => {
                write!(f, "with CR LF for LF: its lines were rewritten; {BYTES}")
            }
            Self::WithoutMark => {
                f.write_str("without the byte order mark at its begin: an editor has added it")
            }
            Self::WithMark => f.write_str("with a byte order mark at its begin"),
            Self::Json { layout, escapes, newline } => {
                write!(f, "as {layout}{escapes}")?;
                f.write_str(if *newline { " and a newline at its end" } else { "" })?;
                write!(f, ": it was parsed and written anew on its way; {BYTES}")
            }
            Self::InForm => write!(
                f,
                "as a form with it in the field `payload`: the form was taken apart; {BYTES}"
            ),
            Self::OutOfForm => {
                f.write_str("in the field `payload` of the form, not that of the form")
            }
            Self::Empty => f.write_str("of no bytes: the sender signed before the body was there"),
        }
    }
}

impl fmt::Display for UrlChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "`https` for `http`",
            Self::Http => "`http` for `https`",
            Self::WithoutPort => "without the port",
            Self::WithSlash => "with a `/` at the end of the path",
            Self::WithoutSlash => "without the `/` at the end of the path",
            Self::WithoutQuery => "without the query",
        })
    }
}
