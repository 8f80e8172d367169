//! Where a task's events come from: by itself out of the log as long as it lies behind, then from the router.

use std::sync::Arc;

use hookline_core::delivery::Input;

use super::{Task, Tools};
use crate::{
    broker::{
        Identity, Judge,
        identity::Judgement,
        router::{Fed, Routed},
    },
    limits::{FETCH_READ_BYTES, FETCH_READ_ENTRIES, RETRY_DELAY},
    store::{ReadError, ReadLimit, ReadRange},
};

/// How much of the log one read takes.
pub(super) const READ: ReadLimit = ReadLimit { count: FETCH_READ_ENTRIES, bytes: FETCH_READ_BYTES };

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) through: u64,
    pub(super) routed: Vec<Routed>,
}

impl Task {
    /// Takes what the router found, and sees to it that more comes, if more is wanted.
    pub(super) fn look_for_more(&mut self) {
        if self.moving.is_some() {
            return;
        }
        if self.feed.is_of_use() {
            self.take_feed();
        }
        if self.feed.follows() && !self.core.wants_more() {
            self.tools.tail.unfollow(self.identity.creation, &self.feed);
        }
        if self.fetch_asked.is_none() && !self.feed.follows() && self.core.wants_more() {
            self.ask_for_more();
        }
        self.look_back();
    }

    fn ask_for_more(&mut self) {
        let scanned = self.core.looked_at();
        let head = *self.tools.log.head().borrow();
        // The end is reached, and the router's too: else it is a moment ahead, and so is the head.
        if head <= scanned && self.tools.tail.follow(&self.identity, &self.feed, scanned) {
            return;
        }
        let head = *self.tools.log.head().borrow();
        self.handle(Input::Head { head });
    }

    /// Takes what the router found.
    pub(super) fn take_feed(&mut self) {
        let Fed { through, routed } = self.tools.tail.take(&self.feed);
        let after = self.core.looked_at();
        if through <= after {
            return;
        }
        let matched = routed.iter().map(|routed| routed.matched.clone()).collect();
        self.handle(Input::Followed { after, through, matched });
        self.keep_ahead(routed);
    }

    /// Says whether the router is to wake the task for each event; true if there are some already.
    pub(super) fn rest(&self) -> bool {
        self.feed.rest(self.core.is_hungry())
    }

    fn keep_ahead(&mut self, routed: Vec<Routed>) {
        for Routed { matched, entry } in routed {
            // After a recovery much is read again that is finished: that is not handed out, so not kept.
            if let Some(entry) = entry
                && self.core.is_open(matched.sequence)
            {
                self.ahead.keep(entry);
            }
        }
    }

    /// Begins the fetch that the machine has asked for, unless nothing more is to be taken in now.
    pub(super) fn begin_fetch(&mut self) {
        let Some((after, through, count)) = self.fetch_asked else { return };
        if self.moving.is_some() || self.fetch.is_some() {
            return;
        }
        let (tools, identity) = (self.tools.clone(), Arc::clone(&self.identity));
        self.fetch = Some(Box::pin(async move {
            match fetch(&tools, &identity, after, through, count).await {
                Ok(Some(fetched)) => return fetched,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(subscription = %identity.name, after, %error, "the log could not be read");
                }
            }
            // The wait is the fetch's own: the task goes on. An answer that brings nothing makes the machine ask again.
            tools.clock.sleep_until(tools.clock.steady() + RETRY_DELAY).await;
            Fetched { through: after, routed: Vec::new() }
        }));
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        (self.fetch, self.fetch_asked) = (None, None);
        let Fetched { through, routed } = fetched;
        let matched = routed.iter().map(|routed| routed.matched.clone()).collect();
        self.handle(Input::Fetched { through, matched });
        self.keep_ahead(routed);
    }
}

/// Reads and matches; `None` if nothing can be read here yet.
async fn fetch(
    tools: &Tools,
    identity: &Identity,
    after: u64,
    through: u64,
    count: usize,
) -> Result<Option<Fetched>, ReadError> {
    let entries = tools.log.read(ReadRange { after, limit: READ }).await?;
    if entries.is_empty() {
        // What lay here was trimmed; or, over a network, it can't be seen yet.
        let trimmed = tools.log.first().get() - 1;
        let fetched = Fetched { through: trimmed.min(through), routed: Vec::new() };
        return Ok((after < trimmed).then_some(fetched));
    }
    let mut fetched = Fetched { through: after, routed: Vec::new() };
    for entry in entries {
        fetched.through = entry.event.sequence.get();
        let judgement = Judge::of(&*tools.log, &entry).judge(identity).await?;
        if let Some(failure) = Judgement::taken(judgement) {
            fetched.routed.push(Routed::new(&entry, failure));
        }
        if fetched.routed.len() == count {
            break;
        }
    }
    Ok(Some(fetched))
}
