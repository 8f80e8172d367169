//! The one place that reads the clock. Leases are measured in durations on the steady clock: the
//! wall clocks of a client and its hub need not agree.

use tokio::time::Instant;

/// Returns the steady time; tests move it by hand.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
