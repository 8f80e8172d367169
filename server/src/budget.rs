//! Memory that bodies which are being read share: those of webhooks, and those of calls.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::limits::BODY_BUDGET_TIME_MAX;

/// What one body has of a budget, which has a permit for each byte. It is given back on drop.
#[derive(Debug)]
pub(crate) struct Part {
    budget: Arc<Semaphore>,
    /// How many bytes of the body are not counted.
    free: usize,
    permit: Option<OwnedSemaphorePermit>,
}

/// Others had the budget for [`BODY_BUDGET_TIME_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Part {
    /// Begins with nothing.
    pub(crate) fn new(budget: &Arc<Semaphore>, free: usize) -> Self {
        Self { budget: Arc::clone(budget), free, permit: None }
    }

    /// Grows until it covers a body of so many bytes, by `step` bytes at least where anything is missing. Waits if others
    /// have the budget.
    pub(crate) async fn cover(&mut self, length: usize, step: usize) -> Result<(), Exhausted> {
        let has = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = length.saturating_sub(self.free).saturating_sub(has);
        if missing == 0 {
            return Ok(());
        }
        let count = u32::try_from(missing.max(step)).map_err(|_| Exhausted)?;
        let waiting = Arc::clone(&self.budget).acquire_many_owned(count);
        let more = timeout(BODY_BUDGET_TIME_MAX, waiting).await.map_err(|_| Exhausted)?;
        let more = more.expect("the semaphore is never closed");
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}
