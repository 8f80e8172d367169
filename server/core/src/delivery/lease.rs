//! Lease ids: what a lease is named outside, checked without memory.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Creation, Epoch};
use crate::event::Sequence;

/// Which lease of a subscription: unique over restarts, and greater for a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The opening of the ledger in which it was issued.
    pub epoch: Epoch,
    /// Its number within the epoch.
    pub counter: u64,
}

/// What a lease id says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId {
    /// The subscription.
    pub creation: Creation,
    /// The event.
    pub sequence: Sequence,
    /// How often the delivery had been redriven.
    pub generation: u32,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Which lease.
    pub stamp: Stamp,
    /// Who has it; at most [`CONSUMER_BYTES_MAX`] bytes. It is part of the id so that a lease that a crash made the hub
    /// forget can be taken up again for the same consumer.
    pub consumer: Arc<str>,
}

/// The most bytes of a consumer's name.
pub const CONSUMER_BYTES_MAX: usize = 128;

/// The first byte of a sealed id: what the rest means.
const VERSION: u8 = 1;
const FIXED_BYTES: usize = 41;
const MAC_BYTES: usize = 16;
const SEALED_BYTES_MAX: usize = FIXED_BYTES + CONSUMER_BYTES_MAX + MAC_BYTES;

/// Seals lease ids with a key that lies in the store, so that one that this hub did not make is known by itself.
///
/// A lease id is no credential: the seal is against mistakes and guesses, not against its reader.
#[derive(Clone)]
pub struct Seal {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal([redacted])")
    }
}

impl Seal {
    /// Makes a seal with this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
        Self { mac }
    }

    /// Returns the text of a lease id: 76 characters of `[A-Za-z0-9_-]`, and four for each three bytes of the
    /// consumer's name.
    #[must_use]
    pub fn seal(&self, id: &LeaseId) -> String {
        let mut bytes = Vec::with_capacity(SEALED_BYTES_MAX);
        bytes.push(VERSION);
        bytes.extend(id.creation.0.to_be_bytes());
        bytes.extend(id.sequence.get().to_be_bytes());
        bytes.extend(id.generation.to_be_bytes());
        bytes.extend(id.attempt.to_be_bytes());
        bytes.extend(id.stamp.epoch.0.to_be_bytes());
        bytes.extend(id.stamp.counter.to_be_bytes());
        assert_eq!(bytes.len(), FIXED_BYTES, "these fields have fixed widths");
        bytes.extend(id.consumer.as_bytes());
        let tag = self.mac.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend(tag.iter().take(MAC_BYTES));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns what a text seals; `None` if this seal did not make it.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<LeaseId> {
        // Before decoding, so that a huge text costs nothing.
        if text.len() > SEALED_BYTES_MAX.div_ceil(3) * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        self.mac.clone().chain_update(body).verify_truncated_left(tag).ok()?;
        let (&version, mut rest) = body.split_first()?;
        if version != VERSION {
            return None;
        }
        let creation = Creation(take_u64(&mut rest)?);
        let sequence = Sequence::new(take_u64(&mut rest)?)?;
        let generation = take_u32(&mut rest)?;
        let attempt = take_u32(&mut rest)?;
        let epoch = Epoch(take_u64(&mut rest)?);
        let counter = take_u64(&mut rest)?;
        let consumer = std::str::from_utf8(rest).ok()?.into();
        let stamp = Stamp { epoch, counter };
        Some(LeaseId { creation, sequence, generation, attempt, stamp, consumer })
    }
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*head))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> LeaseId {
        LeaseId {
            creation: Creation(n),
            sequence: Sequence::new(n / 2 + 1).unwrap(),
            generation: 3,
            attempt: 2,
            stamp: Stamp { epoch: Epoch(n ^ 5), counter: n.wrapping_mul(7) },
            consumer: "c".repeat(usize::try_from(n % 129).unwrap()).into(),
        }
    }

    proptest! {
        #[test]
        fn a_sealed_id_opens_to_itself(n: u64) {
            let seal = Seal::new(&[1; 32]);
            let text = seal.seal(&id(n));
            prop_assert_eq!(seal.open(&text), Some(id(n)));
        }

        #[test]
        fn a_changed_id_does_not_open(n: u64, place: prop::sample::Index, by in 1..63_u8) {
            const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let seal = Seal::new(&[1; 32]);
            let mut text = seal.seal(&id(n)).into_bytes();
            let place = place.index(text.len());
            let digit = DIGITS.iter().position(|d| *d == text[place]).unwrap();
            text[place] = DIGITS[(digit + usize::from(by)) % 64];
            prop_assert_eq!(seal.open(std::str::from_utf8(&text).unwrap()), None);
        }

        #[test]
        fn garbage_does_not_open(text in ".{0,100}") {
            prop_assert_eq!(Seal::new(&[1; 32]).open(&text), None);
        }
    }

    #[test]
    fn an_id_of_another_hub_does_not_open() {
        let text = Seal::new(&[1; 32]).seal(&id(9));
        assert_eq!(Seal::new(&[2; 32]).open(&text), None);
    }
}
