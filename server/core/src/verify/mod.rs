//! Signatures: a request is worth reading only once its sender is known.
//!
//! [`verify`] looks at raw bytes alone, and nothing of a body is used before it has passed. What it refuses is told
//! apart for metrics ([`VerifyError::cause`]), never to the sender.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    source::{Kind, Secret, Source},
    time::Timestamp,
};

mod hmac;
mod schemes;

/// A request as it came. Printed for debugging, it shows its size only: headers hold credentials.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body, byte for byte: neither decompressed nor decoded.
    pub body: &'a Bytes,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = (self.headers.len(), self.body.len());
        let mut request = f.debug_struct("Request");
        request.field("headers", &size.0).field("body_bytes", &size.1).finish()
    }
}

/// A request whose signature was right, with the source it was right for. Only [`verify`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    source: &'a Source,
    request: Request<'a>,
}

impl<'a> Verified<'a> {
    /// Returns the source whose secret signed the request (or which is configured to need no signature).
    #[must_use]
    pub const fn source(&self) -> &'a Source {
        self.source
    }

    /// Returns the headers. They are not signed, except as far as a scheme signs one.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.request.headers
    }

    /// Returns the body, byte for byte as it was signed.
    #[must_use]
    pub const fn body(&self) -> &'a Bytes {
        self.request.body
    }
}

/// Why a request was refused. No variant holds a secret, a signature, or the one that would have been right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The header with the signature is not there.
    #[error("no header `{0}`")]
    Missing(&'static str),
    /// The header comes more than once, with different values: which one a proxy looked at can't be known.
    #[error("the header `{0}` comes more than once, with different values")]
    Ambiguous(&'static str),
    /// The header can't be read, or has no signature of the scheme that is accepted.
    #[error("the header `{0}` holds no readable signature of an accepted scheme")]
    Malformed(&'static str),
    /// No live secret of the source makes one of the signatures.
    #[error("the signature in `{0}` is wrong")]
    Wrong(&'static str),
    /// The signature is right, but its time is too long ago: the request may be a replayed one.
    #[error("the signature in `{header}` is {age_secs} s old, more than {tolerance_secs} s")]
    Stale {
        /// The header with the signature.
        header: &'static str,
        /// Its age at receipt, in seconds.
        age_secs: u64,
        /// The age that is still accepted, in seconds.
        tolerance_secs: u64,
    },
}

impl VerifyError {
    /// Returns the cause as a label of a metric.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Ambiguous(_) => "ambiguous",
            Self::Malformed(_) => "malformed",
            Self::Wrong(_) => "wrong",
            Self::Stale { .. } => "stale",
        }
    }
}

/// Verifies the signature of a request to `source`, received at `now` by the wall clock.
///
/// Each live secret is tried. An unsigned source takes every request.
///
/// # Errors
///
/// If the request is not signed as the source's kind signs, with one of its secrets, and in time.
pub fn verify<'a>(
    source: &'a Source,
    request: Request<'a>,
    now: Timestamp,
) -> Result<Verified<'a>, VerifyError> {
    if !source.is_unsigned() {
        schemes::of(source.kind()).verify(source.secrets(), request, now)?;
    }
    Ok(Verified { source, request })
}

/// Returns the headers with which a provider would sign `body` at `now`: for tests, demos and `hookline send`.
#[must_use]
pub fn sign(
    kind: Kind,
    secret: &Secret,
    body: &[u8],
    now: Timestamp,
) -> Vec<(HeaderName, HeaderValue)> {
    vec![schemes::of(kind).sign(secret, body, now)]
}
