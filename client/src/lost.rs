//! The word that a lease is lost, from the one who hears it to the one who works on it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Tells once; anyone may wait for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl Lost {
    /// Tells that the lease is lost, and why; only the first reason is kept.
    pub(crate) fn tell(&self, reason: &str) {
        self.reason.get_or_init(|| reason.to_owned());
        self.token.cancel();
    }

    /// Returns why the lease is lost, if it is.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Waits until the lease is lost and returns why.
    pub(crate) async fn wait(self) -> String {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }
}
