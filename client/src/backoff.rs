//! Waits that grow, with jitter, up to a cap.

use std::time::Duration;

/// Doubles from `first` up to `longest`; each wait is shortened by up to a half at random, so that
/// many clients of a hub that was restarted do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Returns the wait before the next try.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.longest);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Begins anew: something went well.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew_after_a_reset() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 10);
        for full in [1, 2, 4, 8, 10, 10, 10] {
            let delay = backoff.next_delay();
            assert!(delay >= second * full / 2 && delay <= second * full, "{delay:?} of {full} s");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= second);
    }
}
