//! What an event is about, as one short key.

use sha2::{Digest as _, Sha256};

use crate::event::NewEvent;

/// A resource of a source: what `ordering` and `coalesce` go by. 16 bytes of a SHA-256 over source, resource type and
/// resource id: short enough for a million of them, long enough that no two are ever the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey([u8; 16]);

impl ResourceKey {
    /// Returns the key of the resource that an event is about; `None` if it names none.
    #[must_use]
    pub fn of(event: &NewEvent) -> Option<Self> {
        if event.resource_id.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        // A byte that no name has stands between the parts; the id comes last, so that it may have any.
        hash.update(event.source.as_str());
        hash.update([0]);
        hash.update(u64::try_from(event.resource_type.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(&event.resource_type);
        hash.update(&event.resource_id);
        let hash = hash.finalize();
        hash.first_chunk().copied().map(Self)
    }

    /// Makes a key from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
