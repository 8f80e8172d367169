//! How much may happen in a time: a bucket of tokens that fills at a rate, over a time that is an argument.

use std::time::Duration;

use crate::time::Timestamp;

/// How much may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// On average; more than 0.
    pub per_second: f64,
    /// At once, after a time without; 1 at least.
    pub burst: u32,
}

impl Rate {
    /// Returns a rate; its burst is what comes in a second, one at least, if it is not given.
    #[must_use]
    pub fn new(per_second: f64, burst: Option<u32>) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is clamped"
        )]
        let of_a_second = || per_second.ceil().clamp(1.0, 100_000.0) as u32;
        Self { per_second, burst: burst.unwrap_or_else(of_a_second) }
    }
}

/// What is left of a rate. Times that go back earn nothing.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    counted_at: Timestamp,
}

impl Bucket {
    /// Makes a full one; an empty one where there is no rate.
    #[must_use]
    pub fn full(rate: Option<Rate>, now: Timestamp) -> Self {
        Self { tokens: rate.map_or(0.0, |rate| f64::from(rate.burst)), counted_at: now }
    }

    /// Takes in what was earned until now: before the rate changes.
    pub fn settle(&mut self, rate: Rate, now: Timestamp) {
        self.spend(rate, 0.0, now);
    }

    /// Returns how long to wait until there is a token; `None` if there is one.
    #[must_use]
    pub fn wait(&self, rate: Rate, now: Timestamp) -> Option<Duration> {
        let tokens = self.tokens_at(rate, now);
        if tokens >= 1.0 {
            return None;
        }
        // A microsecond more, so that rounding never wakes too early.
        let wait = Duration::try_from_secs_f64((1.0 - tokens) / rate.per_second);
        Some(wait.unwrap_or(Duration::MAX).saturating_add(Duration::from_micros(1)))
    }

    /// Spends tokens, also where there are none.
    pub fn spend(&mut self, rate: Rate, cost: f64, now: Timestamp) {
        self.tokens = self.tokens_at(rate, now) - cost;
        self.counted_at = self.counted_at.max(now);
    }

    /// Spends a token.
    ///
    /// # Errors
    ///
    /// If there is none: how long to wait. Then nothing is spent.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Some(wait) => Err(wait),
            None => {
                self.spend(rate, 1.0, now);
                Ok(())
            }
        }
    }

    fn tokens_at(&self, rate: Rate, now: Timestamp) -> f64 {
        let earned = now.since(self.counted_at).as_secs_f64() * rate.per_second;
        (self.tokens + earned).min(f64::from(rate.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_what_comes_in() {
        let rate = Rate::new(2.0, Some(3));
        let mut bucket = Bucket::full(Some(rate), at(0));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(0)), Ok(()));
        }
        let wait = bucket.take(rate, at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500) + Duration::from_micros(1));
        assert!(bucket.take(rate, at(499)).is_err());
        assert_eq!(bucket.take(rate, at(501)), Ok(()));
        // However long it is left alone, it holds no more than its burst.
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(60_000)), Ok(()));
        }
        assert!(bucket.take(rate, at(60_000)).is_err());
    }

    #[test]
    fn what_is_refused_is_not_counted_and_a_time_that_goes_back_earns_nothing() {
        let rate = Rate::new(1.0, None);
        assert_eq!(rate.burst, 1);
        let mut bucket = Bucket::full(Some(rate), at(5_000));
        assert_eq!(bucket.take(rate, at(5_000)), Ok(()));
        for _ in 0..1_000 {
            assert!(bucket.take(rate, at(5_500)).is_err());
        }
        assert!(bucket.take(rate, at(0)).is_err());
        assert!(bucket.take(rate, at(5_900)).is_err());
        assert_eq!(bucket.take(rate, at(6_001)), Ok(()));
    }

    #[test]
    fn a_burst_is_what_comes_in_a_second_unless_it_is_said() {
        let bursts = [0.001, 1.0, 2.5, 1e9].map(|per_second| Rate::new(per_second, None).burst);
        assert_eq!(bursts, [1, 1, 3, 100_000]);
    }
}
