//! Who waits for which answer.

use std::collections::BTreeMap;

use hookline_core::{
    delivery::{Edition, Outcome, Replayed, RequestId, Ticket},
    event::Sequence,
    time::Timestamp,
};
use tokio::sync::oneshot;

use super::{messages::Retired, replay::Reopened};

/// The questions that are open. Dropping it tells all who wait that there is no answer.
#[derive(Debug, Default)]
pub(super) struct Replies {
    last_request: u64,
    last_batch: u64,
    places: BTreeMap<RequestId, (u64, usize)>,
    settles: BTreeMap<u64, Batch<Outcome>>,
    extensions: BTreeMap<u64, Batch<Result<Timestamp, Outcome>>>,
    redrives: BTreeMap<RequestId, oneshot::Sender<Vec<Sequence>>>,
    retirements: BTreeMap<RequestId, oneshot::Sender<Retired>>,
    /// With how many of their events are gone.
    replays: BTreeMap<RequestId, (usize, oneshot::Sender<Option<Reopened>>)>,
    purges: BTreeMap<RequestId, oneshot::Sender<(Vec<Sequence>, Edition)>>,
    drains: Vec<oneshot::Sender<()>>,
    /// With the commits that they wait for.
    unwritten: Vec<(Ticket, oneshot::Sender<()>)>,
}

/// Questions that are answered together.
#[derive(Debug)]
struct Batch<T> {
    answers: Vec<Option<T>>,
    open: usize,
    reply: oneshot::Sender<Vec<T>>,
}

impl<T> Batch<T> {
    fn new(count: usize, reply: oneshot::Sender<Vec<T>>) -> Self {
        Self { answers: std::iter::repeat_with(|| None).take(count).collect(), open: count, reply }
    }

    /// Takes in an answer; whether it was the last.
    fn answer(&mut self, place: usize, answer: T) -> bool {
        if let Some(open @ None) = self.answers.get_mut(place) {
            *open = Some(answer);
            self.open -= 1;
        }
        self.open == 0
    }

    fn send(self) {
        // Whoever asked may be gone.
        drop(self.reply.send(self.answers.into_iter().flatten().collect()));
    }
}

impl Replies {
    /// Expects as many settles, answered together; returns their numbers.
    pub(super) fn expect_settles(
        &mut self,
        count: usize,
        reply: oneshot::Sender<Vec<Outcome>>,
    ) -> Vec<RequestId> {
        let (batch, requests) = self.batch(count);
        self.settles.insert(batch, Batch::new(count, reply));
        requests
    }

    /// As [`Replies::expect_settles`], for extensions.
    pub(super) fn expect_extensions(
        &mut self,
        count: usize,
        reply: oneshot::Sender<Vec<Result<Timestamp, Outcome>>>,
    ) -> Vec<RequestId> {
        let (batch, requests) = self.batch(count);
        self.extensions.insert(batch, Batch::new(count, reply));
        requests
    }

    pub(super) fn expect_redrive(&mut self, reply: oneshot::Sender<Vec<Sequence>>) -> RequestId {
        let request = self.request();
        self.redrives.insert(request, reply);
        request
    }

    pub(super) fn expect_retired(&mut self, reply: oneshot::Sender<Retired>) -> RequestId {
        let request = self.request();
        self.retirements.insert(request, reply);
        request
    }

    /// Expects the answer to a replay of which `gone` events are gone.
    pub(super) fn expect_replay(
        &mut self,
        gone: usize,
        reply: oneshot::Sender<Option<Reopened>>,
    ) -> RequestId {
        let request = self.request();
        self.replays.insert(request, (gone, reply));
        request
    }

    pub(super) fn expect_purge(
        &mut self,
        reply: oneshot::Sender<(Vec<Sequence>, Edition)>,
    ) -> RequestId {
        let request = self.request();
        self.purges.insert(request, reply);
        request
    }

    pub(super) fn expect_drained(&mut self, reply: oneshot::Sender<()>) {
        self.drains.push(reply);
    }

    pub(super) fn expect_written(&mut self, ticket: Ticket, reply: oneshot::Sender<()>) {
        self.unwritten.push((ticket, reply));
    }

    /// Answers those who wait for this commit.
    pub(super) fn written(&mut self, ticket: Ticket) {
        for (_, reply) in self.unwritten.extract_if(.., |(waits_for, _)| *waits_for <= ticket) {
            // Whoever asked may be gone.
            reply.send(()).ok();
        }
    }

    /// Returns how many answers are owed to agents and operators.
    pub(super) fn owed(&self) -> u64 {
        let asked = self.redrives.len() + self.purges.len() + self.replays.len();
        let owed = self.settles.len() + self.extensions.len() + asked;
        u64::try_from(owed).unwrap_or(u64::MAX)
    }

    pub(super) fn settled(&mut self, request: RequestId, outcome: Outcome) {
        let Some((batch, place)) = self.places.remove(&request) else { return };
        if self.settles.get_mut(&batch).is_some_and(|open| open.answer(place, outcome))
            && let Some(done) = self.settles.remove(&batch)
        {
            done.send();
        }
    }

    pub(super) fn extended(&mut self, request: RequestId, result: Result<Timestamp, Outcome>) {
        let Some((batch, place)) = self.places.remove(&request) else { return };
        if self.extensions.get_mut(&batch).is_some_and(|open| open.answer(place, result))
            && let Some(done) = self.extensions.remove(&batch)
        {
            done.send();
        }
    }

    pub(super) fn redriven(&mut self, request: RequestId, sequences: Vec<Sequence>) {
        if let Some(reply) = self.redrives.remove(&request) {
            drop(reply.send(sequences));
        }
    }

    pub(super) fn retired(&mut self, request: RequestId, retired: Retired) {
        if let Some(reply) = self.retirements.remove(&request) {
            reply.send(retired).ok();
        }
    }

    pub(super) fn replayed(&mut self, request: RequestId, replayed: Replayed) {
        if let Some((gone, reply)) = self.replays.remove(&request) {
            drop(reply.send(Some(Reopened { replayed, gone })));
        }
    }

    pub(super) fn purged(
        &mut self,
        request: RequestId,
        sequences: Vec<Sequence>,
        edition: Edition,
    ) {
        if let Some(reply) = self.purges.remove(&request) {
            drop(reply.send((sequences, edition)));
        }
    }

    pub(super) fn drained(&mut self) {
        for reply in self.drains.drain(..) {
            // Whoever waited may be gone.
            reply.send(()).ok();
        }
    }

    /// Returns the number of a question that is answered in another way.
    pub(super) fn request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn batch(&mut self, count: usize) -> (u64, Vec<RequestId>) {
        self.last_batch += 1;
        let batch = self.last_batch;
        let requests: Vec<_> = (0..count).map(|_| self.request()).collect();
        for (place, request) in requests.iter().enumerate() {
            self.places.insert(*request, (batch, place));
        }
        (batch, requests)
    }
}
