//! Payloads at rest: compressed where that helps, on the task of who brings or asks for them.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use zstd::zstd_safe::{self, CCtx, DCtx};

use super::{
    Packed, ReadError,
    dictionary::{Dictionaries, Dictionary},
};

/// Level 1: webhook JSON shrinks to about a sixth, at 20 us for 10 KB; higher levels cost more than they save.
pub(super) const LEVEL: i32 = 1;
/// Below this, a frame's own bytes eat what it saves.
pub(super) const COMPRESSED_BYTES_MIN: usize = 64;
/// From this size on, compressing takes longer (above 1 ms) than an async task may hold its thread.
pub(super) const BLOCKING_BYTES: usize = 512 * 1024;

/// What is larger is compressed into a buffer of its own, so that no thread keeps a large one.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// A context, which is 0.5 to 1 MB and costs more to make anew than what it does for a small payload, and a buffer: what
/// is kept of a payload is cut to its size, not the six times larger buffer that compressing asks for.
struct Press {
    context: CCtx<'static>,
    scratch: Vec<u8>,
}

impl Press {
    /// `None`: out of memory.
    fn new() -> Option<Self> {
        Some(Self { context: CCtx::try_create()?, scratch: Vec::new() })
    }

    /// Returns the compressed form, unless it is as large as the payload.
    fn compress(&mut self, payload: &[u8], dictionary: Option<&Dictionary>) -> Option<Bytes> {
        self.scratch.clear();
        self.scratch.reserve(zstd_safe::compress_bound(payload.len()));
        let compressed = match dictionary {
            Some(dictionary) => {
                self.context.compress_using_cdict(&mut self.scratch, payload, &dictionary.compress)
            }
            None => self.context.compress(&mut self.scratch, payload, LEVEL),
        };
        let helps = compressed.is_ok_and(|size| size < payload.len());
        let kept = helps.then(|| Bytes::copy_from_slice(&self.scratch));
        if SCRATCH_BYTES_MAX < self.scratch.capacity() {
            self.scratch = Vec::new();
        }
        kept
    }
}

thread_local! {
    static PRESS: RefCell<Option<Press>> = const { RefCell::new(None) };
    /// The context for the way back, of 150 KB: to make it anew takes longer than to unpack an ordinary payload.
    static UNPACKER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    /// Buffers that payloads were unpacked into. One that is used again at once is still in the processor's cache; the
    /// allocator hands out another one each time.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// How many of them a thread keeps, of [`SCRATCH_BYTES_MAX`] each.
const BUFFERS_MAX: usize = 2;

/// A payload in such a buffer, which goes to the thread that lets go of it.
struct Unpacked(Vec<u8>);

impl AsRef<[u8]> for Unpacked {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        if SCRATCH_BYTES_MAX < buffer.capacity() {
            return;
        }
        // A thread that ends has none any more.
        let keep = |buffers: &RefCell<Vec<Vec<u8>>>| {
            let mut buffers = buffers.borrow_mut();
            if buffers.len() < BUFFERS_MAX {
                buffers.push(buffer);
            }
        };
        BUFFERS.try_with(keep).ok();
    }
}

/// Returns an empty buffer with room for so much.
fn buffer(capacity: usize) -> Vec<u8> {
    let kept = BUFFERS.with_borrow_mut(Vec::pop).filter(|kept| capacity <= kept.capacity());
    kept.unwrap_or_else(|| Vec::with_capacity(capacity))
}

/// Returns the payload as it is to be stored, compressed with a dictionary if there is one.
pub(super) fn pack(payload: &Bytes, dictionary: Option<&Dictionary>) -> Packed {
    if payload.len() < COMPRESSED_BYTES_MIN {
        return plain(payload);
    }
    let compressed = PRESS.with_borrow_mut(|kept| {
        let mut press = kept.take().or_else(Press::new)?;
        let compressed = press.compress(payload, dictionary);
        *kept = Some(press);
        compressed
    });
    // Out of memory at worst: as it is, it is stored all the same.
    compressed.map_or_else(|| plain(payload), Packed::Zstd)
}

/// Returns a payload such that it can be read without a dictionary.
pub(super) fn without_dictionary(
    packed: &Packed,
    size: u64,
    dictionaries: &Dictionaries,
) -> Result<Packed, ReadError> {
    match packed {
        Packed::Zstd(frame) if zstd_safe::get_dict_id_from_frame(frame).is_some() => {
            Ok(pack(&unpack(frame, size, dictionaries)?, None))
        }
        Packed::Plain(_) | Packed::Zstd(_) | Packed::Chunked { .. } => Ok(packed.clone()),
    }
}

/// Copies, so that a small payload does not keep alive the large body that it is a part of.
fn plain(payload: &Bytes) -> Packed {
    Packed::Plain(Bytes::copy_from_slice(payload))
}

/// Returns a payload of `size` bytes out of its compressed form.
pub(super) fn unpack(
    frame: &[u8],
    size: u64,
    dictionaries: &Dictionaries,
) -> Result<Bytes, ReadError> {
    let damaged = |why: String| ReadError::Damaged(Arc::from(why));
    let capacity =
        usize::try_from(size).map_err(|_| damaged(format!("a payload of `{size}` bytes")))?;
    let dictionary = match dictionaries.of_frame(frame) {
        None => None,
        Some((_, Some(dictionary))) => Some(dictionary),
        Some((id, None)) => {
            return Err(damaged(format!(
                "a payload needs the dictionary `{id}`, which is missing"
            )));
        }
    };
    let mut payload = Unpacked(buffer(capacity));
    let unpacked = UNPACKER.with_borrow_mut(|kept| {
        let Some(mut context) = kept.take().or_else(DCtx::try_create) else {
            return Err("out of memory");
        };
        let unpacked = match &dictionary {
            Some(dictionary) => {
                context.decompress_using_ddict(&mut payload.0, frame, &dictionary.decompress)
            }
            None => context.decompress(&mut payload.0, frame),
        };
        *kept = Some(context);
        unpacked.map_err(zstd_safe::get_error_name)
    });
    unpacked.map_err(|error| damaged(format!("a payload does not decompress: {error}")))?;
    if payload.0.len() != capacity {
        let len = payload.0.len();
        return Err(damaged(format!("a payload has `{len}` bytes instead of `{size}`")));
    }
    Ok(Bytes::from_owner(payload))
}

#[cfg(test)]
mod tests {
    use hookline_core::event::SourceName;

    use super::{super::dictionary, *};

    #[test]
    fn what_is_packed_unpacks_to_itself() {
        let none = Dictionaries::default();
        let json = Bytes::from(r#"{"action":"opened","number":42}"#.repeat(100));
        let Packed::Zstd(compressed) = pack(&json, None) else { panic!("JSON compresses") };
        assert!(compressed.len() < json.len() / 10);
        assert_eq!(unpack(&compressed, json.len() as u64, &none).unwrap(), json);
    }

    #[test]
    fn a_dictionary_saves_half_and_is_needed_to_read() {
        let dictionaries = Dictionaries::new(true);
        let source = SourceName::parse("github").unwrap();
        let payload = |n| dictionary::tests::payload(n);
        let sample = |n| dictionaries.sample(&source, payload(n).as_bytes());
        let samples = (0..10_000).find_map(sample).unwrap();
        let trained = Arc::new(samples.train().unwrap());
        let known = Dictionaries::default();
        known.replace([(Arc::clone(&trained), false)].into_iter());

        let json = Bytes::from(payload(77_777));
        let size = json.len() as u64;
        let bytes = |packed: &Packed| match packed {
            Packed::Zstd(bytes) => bytes.clone(),
            Packed::Plain(_) | Packed::Chunked { .. } => panic!("JSON compresses"),
        };
        let (with, without) = (pack(&json, Some(&trained)), pack(&json, None));
        assert!(bytes(&with).len() * 2 < bytes(&without).len());
        assert_eq!(unpack(&bytes(&with), size, &known).unwrap(), json);
        assert_eq!(unpack(&bytes(&without), size, &known).unwrap(), json);
        let error = unpack(&bytes(&with), size, &Dictionaries::default()).unwrap_err();
        assert!(error.to_string().contains(&format!("the dictionary `{}`", trained.id)), "{error}");

        let again = without_dictionary(&with, size, &known).unwrap();
        assert_eq!(unpack(&bytes(&again), size, &Dictionaries::default()).unwrap(), json);
        assert_eq!(without_dictionary(&without, size, &known).unwrap(), without);
    }

    #[test]
    fn a_buffer_is_used_again_once_its_payload_is_gone_unless_it_is_large() {
        let none = Dictionaries::default();
        let text = |size: usize| Bytes::from("0123456789abcdef".repeat(size / 16));
        let unpacked = |payload: &Bytes| {
            let Packed::Zstd(frame) = pack(payload, None) else { panic!("it shrinks") };
            let unpacked = unpack(&frame, payload.len() as u64, &none).unwrap();
            assert_eq!(unpacked, payload);
            unpacked
        };
        let first = unpacked(&text(8 * 1024));
        let place = first.as_ptr();
        let second = unpacked(&text(4 * 1024));
        assert_ne!(second.as_ptr(), place, "the first is still there");
        let part = first.slice(100..200);
        drop(first);
        assert_ne!(unpacked(&text(2 * 1024)).as_ptr(), place, "a part of it is still there");
        drop((part, second));
        let kept = |buffers: &RefCell<Vec<Vec<u8>>>| buffers.borrow().len();
        assert_eq!(BUFFERS.with(kept), BUFFERS_MAX);
        BUFFERS.with_borrow_mut(Vec::clear);
        drop(unpacked(&text(2 * SCRATCH_BYTES_MAX)));
        assert_eq!(BUFFERS.with(kept), 0);
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let (c, d) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let noise = Bytes::from([a, b, c, d].map(uuid::Uuid::into_bytes).concat());
        assert_eq!(pack(&noise, None), Packed::Plain(noise));
        assert_eq!(pack(&Bytes::new(), None), Packed::Plain(Bytes::new()));
    }

    #[test]
    fn garbage_and_wrong_sizes_are_damage() {
        let none = Dictionaries::default();
        let Packed::Zstd(compressed) = pack(&Bytes::from("a".repeat(1_000)), None) else {
            panic!()
        };
        for (bytes, size) in
            [(&compressed[..], 999), (&compressed[..], 1_001), (&b"garbage"[..], 10)]
        {
            assert!(matches!(unpack(bytes, size, &none), Err(ReadError::Damaged(_))));
        }
    }
}
