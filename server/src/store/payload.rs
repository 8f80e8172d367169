//! Payloads at rest: compressed where that helps, on the task of who brings or asks for them.

use std::{cell::RefCell, io, sync::Arc};

use bytes::Bytes;

use super::{Packed, ReadError};

/// Level 1: webhook JSON shrinks to about a sixth, at 20 us for 10 KB; higher levels cost more than they save.
const LEVEL: i32 = 1;
/// Below this, a frame's own bytes eat what it saves.
const COMPRESSED_BYTES_MIN: usize = 64;
/// From this size on, compressing takes longer (above 1 ms) than an async task may hold its thread.
pub(super) const BLOCKING_BYTES: usize = 512 * 1024;

/// What is larger is compressed into a buffer of its own, so that no thread keeps a large one.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// A context, which is 0.5 to 1 MB and costs more to make anew than what it does for a small payload, and a buffer: what
/// is kept of a payload is cut to its size, not the six times larger buffer that compressing asks for.
struct Press {
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl Press {
    fn new() -> io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(LEVEL)?, scratch: Vec::new() })
    }

    /// Returns the compressed form, unless it is as large as the payload.
    fn compress(&mut self, payload: &[u8]) -> io::Result<Option<Bytes>> {
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        let size = self.compressor.compress_to_buffer(payload, &mut self.scratch)?;
        let compressed = (size < payload.len()).then(|| Bytes::copy_from_slice(&self.scratch));
        if SCRATCH_BYTES_MAX < self.scratch.capacity() {
            self.scratch = Vec::new();
        }
        Ok(compressed)
    }
}

thread_local! {
    static PRESS: RefCell<Option<Press>> = const { RefCell::new(None) };
    /// The context for the way back, of 150 KB: to make it anew takes longer than to unpack an ordinary payload.
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

/// Returns the payload as it is to be stored.
pub(super) fn pack(payload: &Bytes) -> Packed {
    if payload.len() < COMPRESSED_BYTES_MIN {
        return plain(payload);
    }
    let compressed = PRESS.with_borrow_mut(|kept| {
        let mut press = kept.take().map_or_else(Press::new, Ok)?;
        let compressed = press.compress(payload);
        *kept = Some(press);
        compressed
    });
    match compressed {
        Ok(Some(bytes)) => Packed::Zstd(bytes),
        // Out of memory at worst: as it is, it is stored all the same.
        Ok(None) | Err(_) => plain(payload),
    }
}

/// Copies, so that a small payload does not keep alive the large body that it is a part of.
fn plain(payload: &Bytes) -> Packed {
    Packed::Plain(Bytes::copy_from_slice(payload))
}

/// Returns a payload of `size` bytes out of its compressed form.
pub(super) fn unpack(compressed: &[u8], size: u64) -> Result<Bytes, ReadError> {
    let damaged = |why: String| ReadError::Damaged(Arc::from(why));
    let capacity =
        usize::try_from(size).map_err(|_| damaged(format!("a payload of `{size}` bytes")))?;
    let unpacked = UNPACKER.with_borrow_mut(|kept| {
        let mut unpacker = kept.take().map_or_else(zstd::bulk::Decompressor::new, Ok)?;
        let payload = unpacker.decompress(compressed, capacity);
        *kept = Some(unpacker);
        payload
    });
    let payload =
        unpacked.map_err(|error| damaged(format!("a payload does not decompress: {error}")))?;
    if payload.len() != capacity {
        let len = payload.len();
        return Err(damaged(format!("a payload has `{len}` bytes instead of `{size}`")));
    }
    Ok(payload.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_to_itself() {
        let json = Bytes::from(r#"{"action":"opened","number":42}"#.repeat(100));
        let Packed::Zstd(compressed) = pack(&json) else { panic!("JSON compresses") };
        assert!(compressed.len() < json.len() / 10);
        assert_eq!(unpack(&compressed, json.len() as u64).unwrap(), json);
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let (c, d) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let noise = Bytes::from([a, b, c, d].map(uuid::Uuid::into_bytes).concat());
        assert_eq!(pack(&noise), Packed::Plain(noise));
        assert_eq!(pack(&Bytes::new()), Packed::Plain(Bytes::new()));
    }

    #[test]
    fn garbage_and_wrong_sizes_are_damage() {
        let Packed::Zstd(compressed) = pack(&Bytes::from("a".repeat(1_000))) else { panic!() };
        for (bytes, size) in
            [(&compressed[..], 999), (&compressed[..], 1_001), (&b"garbage"[..], 10)]
        {
            assert!(matches!(unpack(bytes, size), Err(ReadError::Damaged(_))));
        }
    }
}
