//! What stands where a signature is expected: a time, and candidates for each proof.

use super::{
    Request, Scheme, VerifyError,
    message::header_text,
    scheme::{Primitive, TimePlace, TimeUnit},
};
use crate::{normalize::times, time::Timestamp};

/// The most signatures of one header that are tried. Senders put one or two; a header full of them shall not cost time.
const CANDIDATES_MAX: usize = 16;
/// The same for signatures that take a thousand times as long to check: the old key's and the new one's.
const PUBLIC_KEY_CANDIDATES_MAX: usize = 2;

/// What was found.
pub(super) struct Parsed<'h> {
    /// As it is written; empty if the scheme has no time, or has it in the body.
    pub(super) time_text: &'h str,
    pub(super) time: Option<Timestamp>,
    /// The signatures that are written as those of one of the scheme's proofs are.
    pub(super) candidates: Vec<Candidate>,
}

/// What may be a signature, decoded.
pub(super) struct Candidate {
    /// The place of its proof in the scheme.
    pub(super) proof: usize,
    pub(super) bytes: Vec<u8>,
}

impl Candidate {
    pub(super) const fn is_for(&self, proof: usize) -> bool {
        self.proof == proof
    }
}

impl Scheme {
    pub(super) fn parse<'h>(
        &self,
        text: &'h str,
        request: Request<'h>,
    ) -> Result<Parsed<'h>, VerifyError> {
        let malformed = || VerifyError::Malformed(self.place.name());
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut time_item: Option<&str> = None;
        for item in text.split(|c| Some(c) == self.items).map(str::trim_ascii) {
            let (label, value) = match self.field {
                Some(separator) => match item.split_once(separator) {
                    Some(parts) => parts,
                    None => continue,
                },
                None => ("", item),
            };
            for (index, proof) in self.proofs.iter().enumerate() {
                let is_it = if proof.primitive == Primitive::Token {
                    // The scheme of an `Authorization` is the same in any case (RFC 9110, section 11.1).
                    proof.label.eq_ignore_ascii_case(label)
                } else {
                    proof.label == label
                };
                let count = candidates.iter().filter(|candidate| candidate.is_for(index)).count();
                if is_it && count < proof.primitive.candidates_max() {
                    let decoded = self.encoding.decode(value.as_bytes());
                    let decoded = decoded.filter(|bytes| proof.primitive.has_size(bytes.len()));
                    candidates.extend(decoded.map(|bytes| Candidate { proof: index, bytes }));
                }
            }
            if matches!(self.time.as_ref().map(|time| &time.place), Some(TimePlace::Item(name)) if name == label)
            {
                if time_item.is_some_and(|first| first != value) {
                    return Err(malformed());
                }
                time_item = Some(value);
            }
        }
        if candidates.is_empty() {
            return Err(malformed());
        }
        let Some(time) = &self.time else {
            return Ok(Parsed { time_text: "", time: None, candidates });
        };
        let time_text = match &time.place {
            TimePlace::Item(_) => time_item.ok_or_else(malformed)?,
            TimePlace::Header(name) => header_text(request.headers, name)?,
            TimePlace::Body { .. } => return Ok(Parsed { time_text: "", time: None, candidates }),
        };
        let time = time.unit.parse(time_text).ok_or_else(malformed)?;
        Ok(Parsed { time_text, time: Some(time), candidates })
    }
}

impl Primitive {
    /// Returns how many signatures of a header are tried.
    const fn candidates_max(self) -> usize {
        // 56 to 150 us each with a public key.
        if self.is_public_key() { PUBLIC_KEY_CANDIDATES_MAX } else { CANDIDATES_MAX }
    }

    /// Whether a signature may have this many bytes: what can't be one is told from one that is wrong.
    const fn has_size(self, bytes: usize) -> bool {
        match self {
            Self::HmacSha1 => bytes == 20,
            Self::HmacSha256 | Self::Sha256 => bytes == 32,
            Self::HmacSha512 | Self::Ed25519 => bytes == 64,
            Self::EcdsaP256 | Self::Token => 0 < bytes,
        }
    }
}

impl TimeUnit {
    /// Parses a time. Of digits only digits: what is signed is the text, and `+1` or ` 1` is none that a sender writes.
    pub(crate) fn parse(self, text: &str) -> Option<Timestamp> {
        let digits = || {
            let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_digits { text.parse().ok() } else { None }
        };
        match self {
            Self::Seconds => digits().and_then(Timestamp::from_secs),
            Self::Millis => digits().and_then(Timestamp::from_millis),
            Self::Iso => times::parse_date(text),
        }
    }

    /// Writes a time.
    pub(super) fn print(self, time: Timestamp) -> String {
        match self {
            Self::Seconds => time.as_millis().div_euclid(1_000).to_string(),
            Self::Millis => time.as_millis().to_string(),
            Self::Iso => time.to_string(),
        }
    }
}
