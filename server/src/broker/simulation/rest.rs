//! The end of a run: faults stop, pauses end, consumers ack what they get; and then everything has to end (10).

use std::{collections::BTreeSet, time::Duration};

use hookline_core::delivery::Pause;

use super::{
    operation::{NAMES, Operation, ROOMS, Say},
    world::{Answer, Asked, World, named},
};
use crate::broker::Change;

/// So often time is moved on to what comes next.
const ROUNDS_MAX: usize = 3_000;

impl World {
    /// Brings everything to an end, and checks that it comes.
    pub(super) async fn come_to_rest(&mut self) {
        self.store.faults().forget();
        self.at += 1;
        self.release();
        // A task that was told of another owner has ended: only a restart brings it back.
        if self.was_fenced || self.random.bool() {
            self.perform(&Operation::Restart).await;
        }
        self.settle().await;
        while let Some(numbers) = self.failed_appends.pop() {
            self.append_numbers(numbers);
            self.settle().await;
        }
        for name in 0..NAMES.len() {
            self.resume(name);
            for consumer in 0..ROOMS.len() {
                self.join(name, consumer);
            }
        }
        let mut said = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            self.at += 1;
            self.settle().await;
            let last: BTreeSet<_> =
                self.oracle.deliveries.values().filter_map(|of| of.last).collect();
            let new: Vec<_> = last.difference(&said).copied().collect();
            if !new.is_empty() {
                for lease in new {
                    said.insert(lease);
                    self.say_of(lease, Say::Ack);
                }
                continue;
            }
            self.check().await;
            if self.oracle.violation.is_some() || self.has_ended().await {
                // One that could not be announced is tried again after a while.
                self.pass(Duration::from_secs(2)).await;
                self.settle().await;
                self.check().await;
                let store = std::sync::Arc::clone(&self.store);
                return self.oracle.check_told(&store);
            }
            let next = self.clock.next_sleep().map(|next| next.since(self.now()));
            self.pass(next.unwrap_or(Duration::from_secs(1)).max(Duration::from_micros(1))).await;
        }
        let mut views = Vec::new();
        for name in 0..NAMES.len() {
            let broker = self.broker();
            let view = self.drive(broker.view(&named(name))).await.and_then(Result::ok).flatten();
            let open = self.look(name).await.map(|look| look.open);
            views.push((view.map(|view| view.overview), open));
        }
        self.oracle.ensure(false, || format!("it does not come to an end (10): {views:#?}"));
    }

    fn resume(&mut self, name: usize) {
        let broker = self.broker();
        let Some(identity) = broker.identity(&named(name)) else { return };
        let creation = identity.creation;
        if let Some(sub) = self.oracle.subs.get_mut(&creation) {
            sub.updating = true;
        }
        let change = Change { pause: Some(Pause::Off), ..Change::default() };
        let resumed = async move {
            Answer::Done(broker.update(&named(name), |_| Ok::<_, ()>(change)).await.is_ok())
        };
        self.ask(Asked::Update, Box::pin(resumed));
    }

    /// Whether every subscription is done with the whole log.
    async fn has_ended(&self) -> bool {
        let head = self.oracle.log.len() as u64;
        for name in 0..NAMES.len() {
            let broker = self.broker();
            if broker.identity(&named(name)).is_none() {
                continue;
            }
            let view = self.drive(broker.view(&named(name))).await.and_then(Result::ok).flatten();
            let Some(view) = view else { return false };
            let (counts, position) = (view.overview.counts, view.overview.position);
            if counts.ready + counts.leased + counts.waiting > 0 || position.done_floor < head {
                return false;
            }
        }
        true
    }
}
