//! Signatures: a request is worth reading only once its sender is known.
//!
//! What a kind's signatures are is a [`Scheme`], a description. `check` looks at raw bytes alone, and nothing of a body
//! is used before it has passed. Where a sender puts its token or its time into the body, these two are looked at while
//! the body is read, and nothing else of it comes out if they are wrong. What is refused is told apart for metrics
//! ([`VerifyError::cause`]), never to the sender.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::{
    key::Key,
    message::Message,
    parse::Candidate,
    scheme::{Part, Place, TimePlace},
};
use crate::{
    source::{LiveSecret, Secret, Source},
    time::Timestamp,
};

mod describe;
pub mod diagnose;
mod key;
mod message;
mod parse;
pub mod scheme;

pub use self::{
    key::{KeyError, SecretHash},
    scheme::Scheme,
};
pub(crate) use self::{
    key::{hmac_sha256_hex, is_same},
    message::{Fields, parse_form, query_value},
};

/// A request as it came. Printed for debugging, it shows its size only: headers hold credentials.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path and the query, as they came.
    pub target: &'a str,
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

/// A request that has passed all that can be told without reading its body. Only [`check`] makes one.
#[derive(Clone)]
pub(crate) struct Checked<'a> {
    source: &'a Source,
    request: Request<'a>,
    /// The secret that made the signature; none of an unsigned source.
    secret: Option<&'a Secret>,
    /// The scheme whose token or time stands in the body.
    in_body: Option<Chosen<'a>>,
    /// The header with the delivery's id, if the signature covers it.
    signed_id: Option<&'a str>,
    /// The fields of a form, if they had to be looked at.
    fields: Option<Fields<'a>>,
}

/// What a body says of its sender. Printed for debugging, it does not show the token.
#[derive(Default)]
pub(crate) struct InBody {
    pub(crate) token: Option<String>,
    pub(crate) time: Option<Timestamp>,
}

impl fmt::Debug for InBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InBody").field("time", &self.time).finish_non_exhaustive()
    }
}

impl<'a> Checked<'a> {
    /// Returns the source whose secret signed the request (or which is configured to need no signature).
    pub(crate) const fn source(&self) -> &'a Source {
        self.source
    }

    /// Returns the request. Its headers are not signed, except as far as a scheme signs one.
    pub(crate) const fn request(&self) -> Request<'a> {
        self.request
    }

    /// Returns the header with the delivery's id, if the signature covers it.
    pub(crate) const fn signed_id(&self) -> Option<&'a str> {
        self.signed_id
    }

    /// Takes the fields of a form, if they had to be looked at.
    pub(crate) const fn take_fields(&mut self) -> Option<Fields<'a>> {
        self.fields.take()
    }

    /// Returns the secret that made the signature.
    pub(crate) const fn secret(&self) -> Option<&'a Secret> {
        self.secret
    }

    /// Checks what stands in the body, of which there is one for each event.
    ///
    /// # Errors
    ///
    /// If one is missing or wrong, where the scheme asks for it.
    pub(crate) fn finish<'b>(
        &self,
        found: impl IntoIterator<Item = &'b InBody>,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let Some(chosen) = self.in_body else { return Ok(()) };
        found.into_iter().try_for_each(|in_body| self.finish_one(chosen, in_body, now))
    }

    fn finish_one(
        &self,
        chosen: Chosen<'_>,
        found: &InBody,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let scheme = chosen.scheme;
        if matches!(scheme.place, Place::Body(_)) {
            let token = found.token.as_deref();
            let token = token.ok_or_else(|| VerifyError::Missing(scheme.place.name()))?;
            let candidates = [Candidate { proof: 0, bytes: token.as_bytes().to_vec() }];
            let found = self.source.keyring().find(chosen, &Message::default(), &candidates, now);
            found.ok_or_else(|| VerifyError::Wrong(scheme.place.name()))?;
        }
        let Some(TimePlace::Body { path, header }) = scheme.time.as_ref().map(|time| &time.place)
        else {
            return Ok(());
        };
        let of_header = || {
            let text = message::header_text(self.request.headers, header.as_deref()?).ok()?;
            scheme.time.as_ref()?.unit.parse(text)
        };
        let time = found.time.or_else(of_header);
        // A pointer's keys stand apart by what can't be printed.
        let missing = || VerifyError::Missing(path.replace('\0', "/").into());
        let time = time.ok_or_else(missing)?;
        check_age(self.source, scheme, time, now)
    }
}

/// Why a request was refused. No variant holds a secret, a signature, or the one that would have been right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The header (or parameter, or member) with the signature is not there.
    #[error("no `{0}`")]
    Missing(Box<str>),
    /// The header comes more than once, with different values: which one a proxy looked at can't be known.
    #[error("the header `{0}` comes more than once, with different values")]
    Ambiguous(Box<str>),
    /// The header can't be read, or has no signature of the scheme that is accepted.
    #[error("`{0}` holds no readable signature of an accepted scheme")]
    Malformed(Box<str>),
    /// No live secret of the source makes one of the signatures.
    #[error("the signature in `{0}` is wrong")]
    Wrong(Box<str>),
    /// The signature is right, but its time is too long ago: the request may be a replayed one.
    #[error("the signature in `{place}` is {age_secs} s old, more than {tolerance_secs} s")]
    Stale {
        /// Where the signature stands.
        place: Box<str>,
        /// Its age at receipt, in seconds.
        age_secs: u64,
        /// The age that is still accepted, in seconds.
        tolerance_secs: u64,
    },
    /// The signature is right, but its time is too far ahead.
    #[error("the signature in `{place}` is {ahead_secs} s ahead, more than {tolerance_secs} s")]
    Early {
        /// Where the signature stands.
        place: Box<str>,
        /// How far ahead it is, in seconds.
        ahead_secs: u64,
        /// What is still accepted, in seconds.
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
            Self::Stale { .. } | Self::Early { .. } => "stale",
        }
    }
}

/// The secrets of a source, each as the scheme that it is for uses it. Printed for debugging, it shows their count only.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Vec<Held>);

#[derive(Clone)]
struct Held {
    key: Key,
    secret: LiveSecret,
    /// The places of the scheme and its proof.
    scheme: usize,
    proof: usize,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({})", self.0.len())
    }
}

impl Keyring {
    /// Makes keys of secrets: each for the proofs whose secrets look like it.
    ///
    /// # Errors
    ///
    /// If a secret is for no proof, or can't be read as its proof writes it; with the secret's place.
    pub(crate) fn new(
        schemes: &[Scheme],
        secrets: &[LiveSecret],
    ) -> Result<Self, (usize, KeyError)> {
        let mut held = Vec::new();
        for (index, secret) in secrets.iter().enumerate() {
            let count = held.len();
            for (scheme, description) in schemes.iter().enumerate() {
                let mut proofs = description.proofs.iter().enumerate();
                let made = |(index, proof): (usize, &scheme::Proof)| {
                    proof.key(&secret.secret).map(|key| (index, key))
                };
                if let Some((proof, key)) = proofs.find_map(made) {
                    let key = key.map_err(|error| (index, error))?;
                    held.push(Held { key, secret: secret.clone(), scheme, proof });
                }
            }
            if held.len() == count {
                return Err((index, KeyError::Prefix));
            }
        }
        Ok(Self(held))
    }

    /// Returns the live secret that made one of the candidates.
    fn find(
        &self,
        chosen: Chosen<'_>,
        message: &Message<'_, '_>,
        candidates: &[Candidate],
        now: Timestamp,
    ) -> Option<&Secret> {
        let is_genuine = |held: &&Held| {
            let of_proof = candidates.iter().filter(|candidate| candidate.is_for(held.proof));
            let of_proof = of_proof.map(|candidate| &candidate.bytes[..]);
            let may_be = held.scheme == chosen.index
                && held.secret.is_live(now)
                && of_proof.clone().next().is_some();
            may_be
                && message.urls().any(|url| {
                    let pieces = message.pieces(chosen.scheme, &url, held.key.secret());
                    held.key.verifies(&pieces, of_proof.clone())
                })
        };
        self.0.iter().find(is_genuine).map(|held| &held.secret.secret)
    }
}

/// The scheme that a request has to pass.
#[derive(Clone, Copy, Debug)]
struct Chosen<'a> {
    index: usize,
    scheme: &'a Scheme,
}

/// Checks the signature of a request to `source`, received at `now` by the wall clock.
///
/// The first of the schemes whose place is filled counts (and which is meant, where a header tells), and each live secret
/// is tried. An unsigned source takes every request. The time is checked last, so that "stale" is said of genuine
/// signatures only.
///
/// # Errors
///
/// If the request is not signed as the source's kind signs, with one of its secrets, and in time.
pub(crate) fn check<'a>(
    source: &'a Source,
    request: Request<'a>,
    now: Timestamp,
) -> Result<Checked<'a>, VerifyError> {
    let mut checked =
        Checked { source, request, secret: None, in_body: None, signed_id: None, fields: None };
    if source.is_unsigned() {
        return Ok(checked);
    }
    let (chosen, text) = choose(source, request)?;
    let scheme = chosen.scheme;
    if matches!(scheme.place, Place::Body(_)) {
        checked.in_body = Some(chosen);
        return Ok(checked);
    }
    let parsed = scheme.parse(&text, request)?;
    let url = if scheme.needs_url() { source.url_of(request.target) } else { None };
    let url = url.unwrap_or_default();
    let message = Message::of(scheme, request, parsed.time_text, &url)?;
    checked.secret = source.keyring().find(chosen, &message, &parsed.candidates, now);
    if checked.secret.is_none() {
        return Err(VerifyError::Wrong(scheme.place.name()));
    }
    checked.signed_id = scheme.id.as_deref().filter(|_| scheme.signed.contains(&Part::Id));
    checked.fields = message.into_fields();
    if let Some(time) = parsed.time {
        check_age(source, scheme, time, now)?;
    }
    let is_time_in_body = |time: &scheme::SignedTime| matches!(time.place, TimePlace::Body { .. });
    checked.in_body = scheme.time.as_ref().is_some_and(is_time_in_body).then_some(chosen);
    Ok(checked)
}

/// Returns the scheme that a request means and whose place it fills, with what stands there.
fn choose<'a>(
    source: &'a Source,
    request: Request<'a>,
) -> Result<(Chosen<'a>, Cow<'a, str>), VerifyError> {
    let schemes = source.schemes();
    let mut not_meant = None;
    for (index, scheme) in schemes.iter().enumerate() {
        if !source.takes(scheme) {
            continue;
        }
        let Some(text) = scheme.place.text(request) else { continue };
        if scheme.is_meant(request.headers)? {
            return Ok((Chosen { index, scheme }, text?));
        }
        not_meant = not_meant.or(Some(scheme));
    }
    Err(match (not_meant, schemes.first()) {
        (Some(scheme), _) => VerifyError::Malformed(scheme.place.name()),
        (None, first) => VerifyError::Missing(first.map(|it| it.place.name()).unwrap_or_default()),
    })
}

fn check_age(
    source: &Source,
    scheme: &Scheme,
    time: Timestamp,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let Some(rule) = &scheme.time else { return Ok(()) };
    let Some(tolerance) = source.tolerance().or(rule.past) else { return Ok(()) };
    let (place, tolerance_secs) = (scheme.place.name(), tolerance.as_secs());
    let (age, ahead) = (now.since(time), time.since(now));
    if tolerance < age {
        return Err(VerifyError::Stale { place, age_secs: age.as_secs(), tolerance_secs });
    }
    if rule.future && tolerance < ahead {
        return Err(VerifyError::Early { place, ahead_secs: ahead.as_secs(), tolerance_secs });
    }
    Ok(())
}

/// A request that a sender is about to sign.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The address at which it will be posted, as the sender knows it.
    pub url: &'a str,
    /// The headers so far: an id that is signed has to be among them.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a Bytes,
}

/// Why a request can't be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// None of the schemes has secrets like this one.
    #[error("the secret is not of a form that signs for this kind")]
    NoScheme,
    /// The secret can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A header that is signed is missing.
    #[error("the header `{0}` is signed and has to be given")]
    HeaderMissing(Box<str>),
    /// What stands elsewhere than in a header can't be signed for.
    #[error("the token of this kind stands in {0}")]
    NotInHeader(Place),
}

/// Returns the headers with which a sender would sign a post at `now`: for tests, demos and `hookline send`. The secret
/// is what a sender has: for a public-key scheme the private key.
///
/// # Errors
///
/// If the secret does not sign for one of the schemes, or a signed header is missing.
pub fn sign(
    schemes: &[Scheme],
    secret: &Secret,
    draft: Draft<'_>,
    now: Timestamp,
) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
    let pairs =
        schemes.iter().flat_map(|scheme| scheme.proofs.iter().map(move |proof| (scheme, proof)));
    let is_header = |scheme: &Scheme| matches!(scheme.place, Place::Header(_));
    let can = |(scheme, proof): &(&Scheme, &_)| is_header(scheme) && key::can_sign(proof, secret);
    let able: Vec<_> = pairs.filter(can).collect();
    // Where a header tells a newer way from the usual one, senders still use the usual one.
    let usual = able.iter().find(|(scheme, _)| scheme.when.is_none());
    let Some(&(scheme, proof)) = usual.or_else(|| able.first()) else {
        let other = schemes.iter().find(|scheme| !is_header(scheme));
        let place = other.map(|scheme| scheme.place.clone());
        return Err(place.map_or(SignError::NoScheme, SignError::NotInHeader));
    };
    let time = scheme.time.as_ref().map(|time| (time, time.unit.print(now)));
    let time_text = time.as_ref().map_or("", |(_, text)| text);
    let request = Request {
        method: &Method::POST,
        target: draft.url,
        headers: draft.headers,
        body: draft.body,
    };
    let message = Message::of(scheme, request, time_text, draft.url)
        .map_err(|_| SignError::HeaderMissing(scheme.id.as_deref().unwrap_or_default().into()))?;
    let url = message.urls().next().unwrap_or_default();
    let pieces = message.pieces(scheme, &url, secret.as_bytes());
    let signature = key::sign(scheme, proof, secret, &pieces)?;
    let item = |label: &str, value: &str| match scheme.field {
        Some(separator) => format!("{label}{separator}{value}"),
        None => value.to_owned(),
    };
    let mut text = item(&proof.label, &signature);
    let mut headers = Vec::new();
    if let Some((time, time_text)) = &time {
        match &time.place {
            TimePlace::Item(label) => {
                let separator = scheme.items.unwrap_or(',');
                text = format!("{}{separator}{text}", item(label, time_text));
            }
            TimePlace::Header(name) | TimePlace::Body { header: Some(name), .. } => {
                headers.push(header(name, time_text)?);
            }
            TimePlace::Body { header: None, .. } => {}
        }
    }
    headers.push(header(&scheme.place.name(), &text)?);
    if let Some(when) = &scheme.when {
        headers.push(header(&when.header, &when.value)?);
    }
    Ok(headers)
}

fn header(name: &str, text: &str) -> Result<(HeaderName, HeaderValue), SignError> {
    let wrong = KeyError::Form("text that a header may hold");
    let name = HeaderName::try_from(name).map_err(|_| wrong)?;
    Ok((name, HeaderValue::try_from(text).map_err(|_| wrong)?))
}
