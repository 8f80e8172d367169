//! What a task leaves for metrics to read.

use hookline_core::delivery::{BreakerState, Hold};

use super::Task;
use crate::broker::figures::Reading;

impl Task {
    /// Leaves word of how the subscription stands.
    pub(super) fn publish_reading(&self) {
        let (ready, leased, waiting) = self.core.open_counts();
        let (done_floor, scanned) = self.core.position();
        self.outside.figures.read(Reading {
            done_floor,
            scanned,
            ready,
            parked: self.core.parked(),
            leased,
            waiting,
            dead: self.dead_count,
            consumers: u64::try_from(self.streams.len()).unwrap_or(u64::MAX),
            paused: u64::from(matches!(self.hold(), Some(Hold::Paused { .. }))),
            breaker: u64::from(self.core.breaker() != BreakerState::Closed),
            first_open: self.core.first_open(),
        });
    }
}
