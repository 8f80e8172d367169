//! One HMAC-SHA256 verifier for the schemes that differ only in header, separators, signed bytes and tolerance.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::{Request, VerifyError};
use crate::{source::Secret, time::Timestamp};

/// The bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;
/// The most signatures of one header that are tried. Senders put one or two; a header full of them shall not cost time.
const CANDIDATES_MAX: usize = 16;

/// How a kind signs.
#[derive(Debug)]
pub(super) struct Scheme {
    /// The header with the signatures, in lower case.
    pub(super) header: &'static str,
    /// What stands between the header's items; without it, the header is one item.
    pub(super) item_separator: Option<char>,
    /// What stands before the `=` of an item that is a signature, in hexadecimal.
    pub(super) label: &'static str,
    /// What is signed, in order.
    pub(super) signed: &'static [Part],
    /// The item that tells when it was signed.
    pub(super) time: Option<SignedTime>,
}

/// A part of what is signed.
#[derive(Debug)]
pub(super) enum Part {
    /// The time, as the header writes it.
    Time,
    Text(&'static str),
    /// The body as it came.
    Body,
}

#[derive(Debug)]
pub(super) struct SignedTime {
    /// What stands before the `=` of the item, in seconds since the epoch.
    pub(super) label: &'static str,
    /// How old a request may be.
    pub(super) tolerance: Duration,
}

/// What a header says.
struct Parsed<'h> {
    /// Empty if the scheme has no time.
    time_text: &'h str,
    time: Option<Timestamp>,
    candidates: Vec<[u8; MAC_BYTES]>,
}

impl Scheme {
    /// Checks a request; the time last, so that "stale" is said of genuine signatures only.
    pub(super) fn verify(
        &self,
        secrets: &[Secret],
        request: Request<'_>,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let parsed = self.parse(self.header_text(request.headers)?)?;
        let is_genuine = secrets.iter().any(|secret| {
            let mac = self.mac(secret, parsed.time_text, request.body);
            // `verify_slice` compares in constant time.
            parsed.candidates.iter().any(|mac_given| mac.clone().verify_slice(mac_given).is_ok())
        });
        if !is_genuine {
            return Err(VerifyError::Wrong(self.header));
        }
        let (Some(rule), Some(time)) = (&self.time, parsed.time) else { return Ok(()) };
        let age = now.since(time);
        if age > rule.tolerance {
            return Err(VerifyError::Stale {
                header: self.header,
                age_secs: age.as_secs(),
                tolerance_secs: rule.tolerance.as_secs(),
            });
        }
        Ok(())
    }

    /// Makes the header that a sender would send at `now`.
    pub(super) fn sign(
        &self,
        secret: &Secret,
        body: &[u8],
        now: Timestamp,
    ) -> (HeaderName, HeaderValue) {
        let time_text = now.as_millis().div_euclid(1_000).to_string();
        let mac = self.mac(secret, &time_text, body).finalize().into_bytes();
        let signature = format!("{}={}", self.label, hex::encode(mac));
        let text = match (&self.time, self.item_separator) {
            (Some(time), Some(separator)) => {
                format!("{}={time_text}{separator}{signature}", time.label)
            }
            (Some(_), None) | (None, _) => signature,
        };
        let value = HeaderValue::try_from(text).expect("labels, digits and `=` are header text");
        (HeaderName::from_static(self.header), value)
    }

    /// Returns the header's text if it is there, with one value only.
    fn header_text<'h>(&self, headers: &'h HeaderMap) -> Result<&'h str, VerifyError> {
        let mut values = headers.get_all(self.header).iter();
        let first = values.next().ok_or(VerifyError::Missing(self.header))?;
        if values.any(|value| value != first) {
            return Err(VerifyError::Ambiguous(self.header));
        }
        first.to_str().map_err(|_| VerifyError::Malformed(self.header))
    }

    fn parse<'h>(&self, text: &'h str) -> Result<Parsed<'h>, VerifyError> {
        let malformed = VerifyError::Malformed(self.header);
        let mut parsed = Parsed { time_text: "", time: None, candidates: Vec::new() };
        let items = text.split(|c| Some(c) == self.item_separator);
        for (label, value) in items.filter_map(|item| item.trim_ascii().split_once('=')) {
            if label == self.label && parsed.candidates.len() < CANDIDATES_MAX {
                parsed.candidates.extend(decode(value));
            }
            if self.time.as_ref().is_some_and(|time| time.label == label) {
                if parsed.time.is_some() && parsed.time_text != value {
                    return Err(malformed);
                }
                parsed.time = Some(parse_seconds(value).ok_or_else(|| malformed.clone())?);
                parsed.time_text = value;
            }
        }
        let is_time_missing = self.time.is_some() && parsed.time.is_none();
        if parsed.candidates.is_empty() || is_time_missing { Err(malformed) } else { Ok(parsed) }
    }

    fn mac(&self, secret: &Secret, time_text: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("HMAC takes keys of any length");
        for part in self.signed {
            match part {
                Part::Time => mac.update(time_text.as_bytes()),
                Part::Text(text) => mac.update(text.as_bytes()),
                Part::Body => mac.update(body),
            }
        }
        mac
    }
}

/// Decodes a MAC in hexadecimal of either case; `None` for anything else.
fn decode(text: &str) -> Option<[u8; MAC_BYTES]> {
    let mut mac = [0; MAC_BYTES];
    hex::decode_to_slice(text, &mut mac).ok().map(|()| mac)
}

/// Parses digits alone: what is signed is the text, and `+1` or ` 1` is none that a sender writes.
fn parse_seconds(text: &str) -> Option<Timestamp> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok().and_then(Timestamp::from_secs)).flatten()
}
