//! A waker for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

/// Knows whether it was woken.
#[derive(Debug, Default)]
pub(super) struct Woken(AtomicBool);

impl Woken {
    /// Whether it was woken since the last call.
    pub(super) fn was_woken(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
