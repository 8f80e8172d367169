//! Events that are handed out once more.

use hookline_core::{
    delivery::{Input, Replayed, ResourceKey},
    event::Sequence,
};
use tokio::sync::oneshot;

use super::Task;
use crate::{broker::ReplayMode, limits::REPLAY_READY_MAX};

/// What was done about events that are to be handed out once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Reopened {
    pub(in crate::broker) replayed: Replayed,
    /// How many the log has no longer.
    pub(in crate::broker) gone: usize,
}

impl Task {
    pub(super) fn replay(
        &mut self,
        mut events: Vec<(Sequence, Option<ResourceKey>)>,
        mode: ReplayMode,
        reply: oneshot::Sender<Option<Reopened>>,
    ) {
        // What it opened while the log is trimmed might be gone before it is read.
        if self.moving.is_some() || self.releasing {
            return drop(reply.send(None));
        }
        // They were read a moment ago: since then the log may have been trimmed.
        let (first, before) = (self.tools.log.first(), events.len());
        events.retain(|(sequence, _)| first <= *sequence);
        let gone = before - events.len();
        match mode {
            ReplayMode::DryRun => {
                let replayed = self.core.would_replay(&events, REPLAY_READY_MAX);
                drop(reply.send(Some(Reopened { replayed, gone })));
            }
            ReplayMode::Replay => {
                let request = self.replies.expect_replay(gone, reply);
                self.handle(Input::Replay { request, events, ready_max: REPLAY_READY_MAX });
            }
        }
    }
}
