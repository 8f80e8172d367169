//! Changes of a subscription as it runs: another rule or policy, another position, a look at what was skipped.
//!
//! While one of them is under way nothing more of the log is taken in.

use std::sync::Arc;

use hookline_core::{
    delivery::{Input, RequestId, SequenceSet},
    planted::{Bug, is_planted},
};
use tokio::sync::oneshot;

use super::{Retired, Task, Tools, recovery::steady, scan::READ};
use crate::{
    broker::{
        Change, Identity, Judge, Judgement, Sought, UpdateError, router::Routed, update::SeekMode,
    },
    limits::{LOOK_BACK_READY_MAX, RETRY_DELAY, RULES_MAX},
    store::{BoxFuture, ReadError, ReadRange},
};

/// A change that is under way.
pub(super) enum Move {
    /// What a seek would do is being counted.
    Counting {
        after: u64,
        mode: SeekMode,
        reply: oneshot::Sender<Sought>,
        counts: BoxFuture<'static, SeekCounts>,
    },
    /// The position is being moved.
    Seeking {
        request: RequestId,
        identity: Arc<Identity>,
        counts: SeekCounts,
        reply: oneshot::Sender<Sought>,
    },
    /// Another identity is being written.
    Changing {
        request: RequestId,
        identity: Arc<Identity>,
        /// Up to where was looked back then.
        looked_back: u64,
        reply: oneshot::Sender<Result<(), UpdateError>>,
    },
}

impl Move {
    /// Returns what the subscription is from the next commit on.
    pub(super) fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Counting { .. } => None,
            Self::Seeking { identity, .. } | Self::Changing { identity, .. } => Some(identity),
        }
    }
}

/// What a seek does to events, as far as the log tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeekCounts {
    redelivered: u64,
    /// Before the position, matching, and not looked at yet.
    skipped_unseen: u64,
}

/// What was looked at again.
#[derive(Debug)]
pub(super) struct LookedBack {
    through: u64,
    routed: Vec<Routed>,
}

impl Task {
    /// Stops taking in more of the log.
    fn freeze(&mut self) {
        if self.feed.follows() {
            self.take_feed();
        }
        self.tools.tail.unfollow(self.identity.creation, &self.feed);
        // What they would bring is by the rule and the position of before. They are begun anew when the move has ended.
        (self.fetch, self.looking_back) = (None, None);
    }

    pub(super) fn change(
        &mut self,
        change: Change,
        reply: oneshot::Sender<Result<(), UpdateError>>,
    ) {
        let is_looking_back =
            self.identity.look_back.is_some_and(|(_, through)| self.looked_back < through);
        if self.moving.is_some() || (change.rule.is_some() && is_looking_back) {
            return drop(reply.send(Err(UpdateError::Busy)));
        }
        self.freeze();
        let identity = match self.changed(change) {
            Ok(identity) => Arc::new(identity),
            Err(error) => return drop(reply.send(Err(error))),
        };
        let request = self.replies.request();
        // A look back that is under way goes on.
        let look_back_after = if is_looking_back {
            Some(self.looked_back)
        } else {
            identity.look_back.map(|(after, _)| after)
        };
        let (policy, pause) = (identity.policy.clone(), steady(identity.pause, &*self.tools.clock));
        let looked_back = look_back_after.unwrap_or(u64::MAX);
        self.moving = Some(Move::Changing { request, identity, looked_back, reply });
        self.handle(Input::Reconfigure { request, look_back_after, policy, pause });
    }

    /// Returns what the subscription is after a change.
    fn changed(&self, change: Change) -> Result<Identity, UpdateError> {
        let mut identity = Identity::clone(&self.identity);
        if let Some(policy) = change.policy {
            identity.policy = policy;
        }
        if let Some(pause) = change.pause {
            identity.pause = pause;
        }
        let (floor, scanned) = self.core.position();
        // They tell what became of an event, as long as there is room; what lies before the floor is not looked at again
        // after a restart.
        if identity.earlier.len() >= RULES_MAX {
            identity.earlier.retain(|(through, _)| *through > floor);
        }
        identity.look_back = identity.look_back.filter(|(_, through)| self.looked_back < *through);
        if let Some(rule) = change.rule.filter(|rule| *rule != identity.rule) {
            let before = std::mem::replace(&mut identity.rule, rule);
            let head = *self.tools.log.head().borrow();
            let holds_after = match change.from_after {
                None => head,
                Some(after) if after < scanned => {
                    identity.look_back = Some((after.max(identity.start_after), scanned));
                    scanned
                }
                Some(after) => after,
            };
            identity.supersede(before, holds_after);
            if identity.earlier.len() > RULES_MAX {
                return Err(UpdateError::TooMany);
            }
        }
        Ok(identity)
    }

    pub(super) fn seek(&mut self, after: u64, mode: SeekMode, reply: oneshot::Sender<Sought>) {
        if self.moving.is_some() || self.releasing {
            // No answer: the caller is told to try again.
            return;
        }
        self.freeze();
        let (tools, identity) = (self.tools.clone(), Arc::clone(&self.identity));
        let (scanned, looked_at) = (self.core.position().1, self.core.looked_at());
        let finished = self.core.finished().clone();
        let counts = Box::pin(async move {
            loop {
                let count = count(&tools, &identity, after, (looked_at, scanned), &finished);
                match count.await {
                    Ok(counts) => return counts,
                    Err(error) => {
                        tracing::error!(subscription = %identity.name, %error, "could not count for a seek");
                    }
                }
                tools.clock.sleep_until(tools.clock.steady() + RETRY_DELAY).await;
            }
        });
        self.moving = Some(Move::Counting { after, mode, reply, counts });
    }

    /// Goes on with a seek once it is known what it does.
    pub(super) fn counted(&mut self, counts: SeekCounts) {
        let Some(Move::Counting { after, mode, reply, .. }) = self.moving.take() else { return };
        match mode {
            SeekMode::DryRun => {
                let skipped = self.core.skipped_by_seek(after);
                // Whoever asked may be gone.
                reply.send(sought(counts, skipped)).ok();
            }
            SeekMode::Seek => {
                let mut identity = Identity::clone(&self.identity);
                // What is delivered again is what the rule of now takes.
                identity.earlier.clear();
                identity.look_back = None;
                identity.start_after = identity.start_after.min(after);
                let request = self.replies.request();
                let identity = Arc::new(identity);
                self.moving = Some(Move::Seeking { request, identity, counts, reply });
                self.ahead.clear();
                self.handle(Input::Seek { request, position: after });
                if self.fetch_asked.take().is_some() {
                    // It is from before; the machine asks for another.
                    self.handle(Input::Fetched { through: 0, matched: Vec::new() });
                }
            }
        }
    }

    /// Ends a move whose commit is durable.
    pub(super) fn moved(&mut self, of: RequestId, skipped: u64) {
        let Some(moving) = self.moving.take() else { return };
        match moving {
            Move::Seeking { request, identity, counts, reply } if request == of => {
                self.looked_back = u64::MAX;
                self.take_on(identity);
                reply.send(sought(counts, skipped)).ok();
            }
            Move::Changing { request, identity, looked_back, reply } if request == of => {
                self.looked_back = looked_back;
                self.must_recover |= identity.policy.flow() != self.identity.policy.flow();
                self.take_on(identity);
                drop(reply.send(Ok(())));
            }
            // Of another question: it goes on.
            moving @ (Move::Counting { .. } | Move::Seeking { .. } | Move::Changing { .. }) => {
                self.moving = Some(moving);
            }
        }
    }

    fn take_on(&mut self, identity: Arc<Identity>) {
        self.identity = Arc::clone(&identity);
        self.outside.identity.send_replace(identity);
    }

    /// Looks again at some of what was skipped, if there is any left and few wait already.
    pub(super) fn look_back(&mut self) {
        let Some((_, until)) = self.identity.look_back else { return };
        if self.looking_back.is_some()
            || self.releasing
            || until <= self.looked_back
            || self.core.counts().ready >= LOOK_BACK_READY_MAX
        {
            return;
        }
        let (tools, identity, after) =
            (self.tools.clone(), Arc::clone(&self.identity), self.looked_back);
        self.looking_back = Some(Box::pin(async move {
            match look_at(&tools, &identity, after, until).await {
                Ok(looked) => return looked,
                Err(error) => {
                    tracing::error!(subscription = %identity.name, after, %error, "could not look back");
                }
            }
            tools.clock.sleep_until(tools.clock.steady() + RETRY_DELAY).await;
            LookedBack { through: after, routed: Vec::new() }
        }));
    }

    /// Gives up what is too old; with `release`, what was passed is not read again until the log was trimmed: else it
    /// might be opened just before its event is gone.
    pub(super) fn retire(
        &mut self,
        (before, count): (u64, usize),
        release: bool,
        reply: oneshot::Sender<Retired>,
    ) {
        if release && self.moving.is_some() {
            // All of the log may be needed.
            reply.send(Retired { count: 0, needed_from: 0, reads_on: false }).ok();
            return;
        }
        if release {
            self.releasing = true;
            // It begins again where it was.
            self.looking_back = None;
        }
        let request = self.replies.expect_retired(reply);
        self.handle(Input::Retire { request, before, count });
    }

    pub(super) fn looked(&mut self, looked: LookedBack) {
        self.looking_back = None;
        let LookedBack { through, routed } = looked;
        if through <= self.looked_back {
            return;
        }
        self.looked_back = through;
        let matched = routed.into_iter().map(|routed| routed.matched).collect();
        self.handle(Input::LookedBack { through, matched });
    }
}

fn sought(counts: SeekCounts, skipped: u64) -> Sought {
    Sought {
        redelivered: counts.redelivered,
        skipped: skipped.saturating_add(counts.skipped_unseen),
    }
}

/// Counts what a seek to `after` does to the events of the log: what had been looked at, up to `scanned`, comes again;
/// what had not is skipped.
async fn count(
    tools: &Tools,
    identity: &Identity,
    after: u64,
    (looked_at, scanned): (u64, u64),
    finished: &SequenceSet,
) -> Result<SeekCounts, ReadError> {
    let mut counts = SeekCounts::default();
    let (mut at, end) = (after.min(looked_at), scanned.max(after));
    while at < end {
        let entries = tools.log.read(ReadRange { after: at, limit: READ }).await?;
        let Some(last) = entries.last() else { break };
        at = last.event.sequence.get();
        for entry in entries {
            let sequence = entry.event.sequence;
            if sequence.get() > end {
                break;
            }
            let mut judge = Judge::of(&*tools.log, &entry);
            if sequence.get() > after {
                // By the rule of now: it holds for all that comes again.
                let judgement = judge.judge_by(&identity.rule).await?;
                counts.redelivered += u64::from(judgement != Judgement::Skipped(None));
            } else if sequence.get() > looked_at && !finished.contains(sequence) {
                let judgement = judge.judge(identity).await?;
                counts.skipped_unseen += u64::from(judgement != Judgement::Skipped(None));
            }
        }
    }
    Ok(counts)
}

/// Looks at what lies beyond `after`: takes what the rule of now takes and no ack or newer event has finished. What is open
/// or dead, the machine knows.
async fn look_at(
    tools: &Tools,
    identity: &Identity,
    after: u64,
    until: u64,
) -> Result<LookedBack, ReadError> {
    let entries = tools.log.read(ReadRange { after, limit: READ }).await?;
    let end = entries.last().map_or(until, |last| last.event.sequence.get().min(until));
    let ended = tools.ledger.ended_between(identity.creation, after, end).await?;
    let mut looked = LookedBack { through: end, routed: Vec::new() };
    for entry in entries.iter().filter(|entry| entry.event.sequence.get() <= until) {
        let sequence = entry.event.sequence;
        let mut judge = Judge::of(&*tools.log, entry);
        if ended.contains(sequence) && !is_planted(Bug::LookBackTwice) {
            continue;
        }
        if let Some(failure) = judge.judge_by(&identity.rule).await?.taken() {
            looked.routed.push(Routed::new(entry, failure));
        }
    }
    Ok(looked)
}
