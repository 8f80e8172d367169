//! Dictionaries: what the payloads of one source have in common. Compressed with one, payloads take half the room and
//! less time, both ways; it is trained of the first payloads of its source, once there are enough.
//!
//! A frame of zstd names its dictionary, so a stored payload says itself what it needs.

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    num::NonZeroU32,
    sync::Arc,
};

use hookline_core::event::SourceName;
use parking_lot::{Mutex, RwLock};
use zstd::zstd_safe::{self, CDict, DDict};

use super::payload::{COMPRESSED_BYTES_MIN, LEVEL};

/// The size of a dictionary at the most. Of GitHub's payloads: 8 KiB save a fifth less, 32 KiB save less as well.
const DICTIONARY_BYTES_MAX: usize = 16 * 1024;
/// Out of how much it is trained, which takes 20 ms: 2 MiB would make it no better.
const SAMPLES_BYTES: usize = 512 * 1024;
/// Or out of how many payloads, if they are small.
const SAMPLES_COUNT: usize = 1_000;
/// Larger payloads have enough in common with themselves: they are neither samples, nor compressed with a dictionary.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Of how many sources samples are kept at a time: 8 MiB of them.
const SAMPLED_SOURCES_MAX: usize = 16;
/// How many dictionaries there are at the most, also of those that only old events need: 200 KiB of memory each.
pub(super) const DICTIONARIES_MAX: usize = 64;
/// How much of a payload's compressed size a dictionary has to save on samples that it was not trained of, in percent.
const SAVED_PERCENT_MIN: usize = 15;

/// A dictionary, ready for both ways.
pub(super) struct Dictionary {
    /// As its frames name it.
    pub(super) id: NonZeroU32,
    pub(super) source: SourceName,
    /// As zstd makes them.
    pub(super) bytes: Vec<u8>,
    pub(super) compress: CDict<'static>,
    pub(super) decompress: DDict<'static>,
}

impl Dictionary {
    /// Makes one ready; `None` if these are not the bytes of one.
    pub(super) fn new(source: SourceName, bytes: Vec<u8>) -> Option<Self> {
        let id = zstd_safe::get_dict_id_from_dict(&bytes)?;
        let compress = CDict::try_create(&bytes, LEVEL)?;
        let decompress = DDict::try_create(&bytes)?;
        Some(Self { id, source, bytes, compress, decompress })
    }
}

impl fmt::Debug for Dictionary {
    /// Its bytes are parts of payloads, and are not told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, source, bytes, compress: _, decompress: _ } = self;
        let bytes = bytes.len();
        f.debug_struct("Dictionary")
            .field("id", id)
            .field("source", source)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// The dictionaries that payloads are compressed with, and read with.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    known: RwLock<Known>,
    /// `None`: no source gets one.
    sampled: Option<Mutex<Sampled>>,
}

#[derive(Debug, Default)]
struct Known {
    in_use: HashMap<SourceName, Arc<Dictionary>>,
    all: HashMap<NonZeroU32, Arc<Dictionary>>,
}

/// The sources that have no dictionary.
#[derive(Debug, Default)]
struct Sampled {
    samples: HashMap<SourceName, Samples>,
    /// Those that are not sampled: their dictionary is being made, or would not help.
    settled: HashSet<SourceName>,
}

impl Dictionaries {
    /// None yet; sources get theirs if `trains`.
    pub(super) fn new(trains: bool) -> Self {
        Self { known: RwLock::default(), sampled: trains.then(Mutex::default) }
    }

    /// Replaces those that are known; the flag says whether new payloads are compressed with it.
    pub(super) fn replace(&self, all: impl Iterator<Item = (Arc<Dictionary>, bool)>) {
        let mut new = Known::default();
        for (dictionary, is_in_use) in all {
            if is_in_use {
                new.in_use.insert(dictionary.source.clone(), Arc::clone(&dictionary));
            }
            new.all.insert(dictionary.id, dictionary);
        }
        let mut known = self.known.write();
        let is_retired = |source: &&SourceName| !new.in_use.contains_key(*source);
        let retired: Vec<_> = known.in_use.keys().filter(is_retired).cloned().collect();
        *known = new;
        drop(known);
        // A source whose dictionary was retired is sampled anew.
        if let Some(sampled) = &self.sampled {
            let mut sampled = sampled.lock();
            for source in retired {
                sampled.settled.remove(&source);
            }
        }
    }

    /// Returns the one that new payloads of a source are compressed with.
    pub(super) fn of_source(&self, source: &SourceName) -> Option<Arc<Dictionary>> {
        self.sampled.as_ref()?;
        self.known.read().in_use.get(source).cloned()
    }

    /// Returns how many there are, also of those that only old events need.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.known.read().all.len()
    }

    /// Returns the one that a frame names; the outer `None`: it needs none.
    pub(super) fn of_frame(&self, frame: &[u8]) -> Option<(NonZeroU32, Option<Arc<Dictionary>>)> {
        let id = zstd_safe::get_dict_id_from_frame(frame)?;
        Some((id, self.known.read().all.get(&id).cloned()))
    }

    /// Looks at a payload; returns the samples of its source once there are enough to train a dictionary of.
    pub(super) fn sample(&self, source: &SourceName, payload: &[u8]) -> Option<Samples> {
        let sampled = self.sampled.as_ref()?;
        if !(COMPRESSED_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&payload.len())
            || self.known.read().in_use.contains_key(source)
        {
            return None;
        }
        let mut sampled = sampled.lock();
        if sampled.settled.contains(source) {
            return None;
        }
        if !sampled.samples.contains_key(source) {
            let is_full = sampled.samples.len() >= SAMPLED_SOURCES_MAX
                || self.known.read().all.len() >= DICTIONARIES_MAX;
            if is_full {
                return None;
            }
            sampled.samples.insert(source.clone(), Samples::new(source.clone()));
        }
        let samples = sampled.samples.get_mut(source)?;
        samples.push(payload);
        if !samples.are_enough() {
            return None;
        }
        sampled.settled.insert(source.clone());
        sampled.samples.remove(source)
    }

    /// Samples a source anew, for which a dictionary was trained that could not be kept.
    pub(super) fn sample_again(&self, source: &SourceName) {
        if let Some(sampled) = &self.sampled {
            sampled.lock().settled.remove(source);
        }
    }
}

/// Payloads of one source.
#[derive(Debug)]
pub(super) struct Samples {
    source: SourceName,
    /// One after the other.
    bytes: Vec<u8>,
    sizes: Vec<usize>,
}

impl Samples {
    fn new(source: SourceName) -> Self {
        Self { source, bytes: Vec::new(), sizes: Vec::new() }
    }

    fn push(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.sizes.push(payload.len());
    }

    fn are_enough(&self) -> bool {
        SAMPLES_BYTES <= self.bytes.len() || SAMPLES_COUNT <= self.sizes.len()
    }

    /// Trains a dictionary of them; `None` if there is none that helps. Takes the processor for about 20 ms.
    pub(super) fn train(self) -> Option<Dictionary> {
        let Self { source, bytes, sizes } = self;
        // The last eighth tells whether it helps with what it has not seen.
        let seen_count = sizes.len() - sizes.len() / 8;
        let (seen_sizes, unseen_sizes) = sizes.split_at_checked(seen_count)?;
        let (seen, unseen) = bytes.split_at_checked(seen_sizes.iter().sum())?;
        let size = DICTIONARY_BYTES_MAX.min(seen.len() / 8);
        let trained = match zstd::dict::from_continuous(seen, seen_sizes, size) {
            Ok(trained) => trained,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(%source, error, "payloads have nothing in common to speak of");
                return None;
            }
        };
        let dictionary = Dictionary::new(source, trained)?;
        let (without, with) = compared(unseen, unseen_sizes, &dictionary).ok()?;
        let helps = with * 100 <= without * (100 - SAVED_PERCENT_MIN);
        let source = &dictionary.source;
        tracing::debug!(%source, without, with, helps, "trained a dictionary for payloads");
        helps.then_some(dictionary)
    }
}

/// Returns how large payloads become without a dictionary, and with it.
fn compared(bytes: &[u8], sizes: &[usize], dictionary: &Dictionary) -> io::Result<(usize, usize)> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut context = zstd_safe::CCtx::create();
    let (mut rest, mut without, mut with) = (bytes, 0, 0);
    for size in sizes {
        let Some((payload, more)) = rest.split_at_checked(*size) else { break };
        rest = more;
        without += compressor.compress(payload)?.len();
        let mut frame = Vec::with_capacity(zstd_safe::compress_bound(payload.len()));
        let compressed = context.compress_using_cdict(&mut frame, payload, &dictionary.compress);
        with += compressed.map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
    }
    Ok((without, with))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a payload like those of one sender: mostly the same, with its own numbers.
    pub(in super::super) fn payload(n: u64) -> String {
        let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let fields = (0..40_u64).map(|field| {
            let turned = spread.rotate_left(u32::try_from(field).unwrap());
            let value = if field % 4 == 0 { turned } else { field * field };
            format!(r#""the_name_of_field_{field}":"https://example.com/field/{field}/{value}""#)
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    fn source(name: &str) -> SourceName {
        SourceName::parse(name).unwrap()
    }

    fn sampled(dictionaries: &Dictionaries, name: &str, from: u64) -> (Samples, u64) {
        let each = (from..).map(|n| (n, dictionaries.sample(&source(name), payload(n).as_bytes())));
        let (n, samples) = each.take(10_000).find(|(_, samples)| samples.is_some()).unwrap();
        (samples.unwrap(), n)
    }

    #[test]
    fn payloads_of_one_sender_make_a_dictionary_once() {
        let dictionaries = Dictionaries::new(true);
        let (samples, _) = sampled(&dictionaries, "github", 0);
        // While it is trained, no other begins.
        for n in 0..2_000 {
            assert!(dictionaries.sample(&source("github"), payload(n).as_bytes()).is_none());
        }
        let dictionary = Arc::new(samples.train().unwrap());
        assert!(dictionary.bytes.len() <= DICTIONARY_BYTES_MAX);
        assert!(dictionaries.of_source(&source("github")).is_none());
        dictionaries.replace([(Arc::clone(&dictionary), true)].into_iter());
        assert_eq!(dictionaries.of_source(&source("github")).unwrap().id, dictionary.id);
        assert!(dictionaries.of_source(&source("stripe")).is_none());

        // Retired: what it compressed is read with it, new payloads are sampled again.
        dictionaries.replace([(Arc::clone(&dictionary), false)].into_iter());
        assert!(dictionaries.of_source(&source("github")).is_none());
        let (again, _) = sampled(&dictionaries, "github", 50_000);
        assert_ne!(again.train().unwrap().id, dictionary.id);
    }

    #[test]
    fn what_has_nothing_in_common_gets_none() {
        let dictionaries = Dictionaries::new(true);
        let mut state = 1_u64;
        let noise = |state: &mut u64| {
            let next = |state: &mut u64| {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                state.to_le_bytes()
            };
            std::iter::repeat_with(|| next(state)).take(500).flatten().collect::<Vec<_>>()
        };
        let samples = (0..1_000)
            .find_map(|_| dictionaries.sample(&source("noise"), &noise(&mut state)))
            .unwrap();
        assert!(samples.train().is_none());
        assert!(dictionaries.sample(&source("noise"), &noise(&mut state)).is_none());
    }

    #[test]
    fn what_is_sampled_is_bounded() {
        let dictionaries = Dictionaries::new(true);
        for n in 0..2 * SAMPLED_SOURCES_MAX {
            let name = source(&format!("source-{n}"));
            assert!(dictionaries.sample(&name, payload(1).as_bytes()).is_none());
            assert!(dictionaries.sample(&name, &[b'a'; PAYLOAD_BYTES_MAX + 1]).is_none());
        }
        let sampled = dictionaries.sampled.as_ref().unwrap().lock();
        assert_eq!(sampled.samples.len(), SAMPLED_SOURCES_MAX);
        assert!(sampled.samples.values().all(|samples| samples.sizes.len() == 1));
        drop(sampled);
        let none = Dictionaries::new(false);
        assert!((0..1_000).all(|n| none.sample(&source("a"), payload(n).as_bytes()).is_none()));
    }
}
