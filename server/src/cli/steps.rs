//! What is done in many calls: at a rate, with a bar, and until Ctrl-C.

use std::{
    io::{self, IsTerminal as _},
    pin::Pin,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::limits::REDRIVE_DEFAULT;

/// Returns how many one call takes at most, and how long from its beginning to the next.
pub(super) fn step(rate: Option<u32>) -> (u32, Duration) {
    match rate {
        None => (REDRIVE_DEFAULT, Duration::ZERO),
        Some(rate) => {
            let count = rate.clamp(1, REDRIVE_DEFAULT);
            (count, Duration::from_secs(1) * count / rate.max(1))
        }
    }
}

/// Makes a bar on the standard error stream, which shows itself on a terminal only.
pub(super) fn bar(total: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Ctrl-C, which ends what is done between two calls, and no call.
pub(super) struct Interrupt {
    signal: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
    came: bool,
}

impl Interrupt {
    pub(super) fn new() -> Self {
        Self { signal: Box::pin(tokio::signal::ctrl_c()), came: false }
    }

    /// Whether it came.
    pub(super) const fn came(&self) -> bool {
        self.came
    }

    /// Waits for a call to its end.
    pub(super) async fn through<T>(&mut self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                _ = &mut self.signal, if !self.came => self.came = true,
                value = &mut call => return value,
            }
        }
    }

    /// Waits, at most until it comes; whether it came.
    pub(super) async fn during(&mut self, pause: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            _ = &mut self.signal => self.came = true,
            () = pause => {}
        }
        self.came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_by_small_calls_and_by_pauses() {
        let cases = [
            (None, (REDRIVE_DEFAULT, 0)),
            (Some(1), (1, 1_000)),
            (Some(50), (50, 1_000)),
            (Some(4_000), (1_000, 250)),
        ];
        for (rate, (count, millis)) in cases {
            assert_eq!(step(rate), (count, Duration::from_millis(millis)), "{rate:?}");
        }
    }
}
