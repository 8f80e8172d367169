//! What one subscription of this process holds, and what it has still to say to the hub: plain
//! state without tasks, clock or network. [`crate::shared`] drives it.
//!
//! A lease is in one place at a time: `queue` and `leases` (received, not begun), `leases` alone
//! (being worked on), or `settling` (an ack or nack is on its way). Nothing here has a limit of its
//! own, because the hub never sends more than `max_in_flight` unsettled leases, at most 1,000.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    task::Waker,
    time::Duration,
};

use hookline_proto::v1;
use tokio::{sync::watch, time::Instant};

use crate::{
    Error,
    convert::{duration_of, timestamp_difference},
    limits,
    lost::Lost,
    outbox::Outbox,
};

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Book {
    leases: BTreeMap<String, Lease>,
    queue: VecDeque<Queued>,
    /// The leases with an ack or nack on its way.
    pub(crate) settling: BTreeSet<String>,
    /// The positions of events that come again, where the hub forgets what comes with the stream; `None` where it does not.
    awaited: Option<BTreeSet<u64>>,
    /// Acks that wait to be sent.
    pub(crate) acks: Outbox<String>,
    /// Nacks that wait to be sent.
    pub(crate) nacks: Outbox<v1::Nack>,
    /// The reader of the stream of deliveries, if it waits.
    pub(crate) reader: Option<Waker>,
    /// Whether nothing more is to be taken.
    closing: Option<Closing>,
    /// How the stream ended, once it did.
    end: Option<End>,
    /// Until when the extender sleeps, if it does not wait to be woken.
    wake_at: Option<Instant>,
    newest_sequence: u64,
    /// How many deliveries are with workers and not settled, lost ones included: a late ack of a
    /// lost lease may still count.
    begun: usize,
}

/// A lease that this process holds.
#[derive(Debug)]
struct Lease {
    sequence: u64,
    /// How long it was given for, and is extended for: the policy's may be another by then.
    duration: Option<prost_types::Duration>,
    /// The time between two extensions: a third of the lease.
    interval: Duration,
    due: Instant,
    /// When it ends, by our own steady clock.
    deadline: Instant,
    /// When it ends, by the hub's clock: only its changes are looked at.
    expires_at: Option<prost_types::Timestamp>,
    progress: String,
    lost: Lost,
    newer: watch::Sender<Newer>,
}

/// What has come of a delivery's resource since it was handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newer {
    /// How many events.
    pub count: u64,
    /// The position of the newest; 0: none has come.
    pub newest_sequence: u64,
}

/// A delivery that nobody has begun to work on.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: v1::Delivery,
    pub(crate) lost: Lost,
    pub(crate) newer: watch::Receiver<Newer>,
}

/// How a subscription of this process is being closed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Closing {
    /// The stream is closed at once; the leases that are still worked on are extended this often,
    /// so that the hub does not take the consumer for lost.
    Early {
        /// The longest time between two extensions.
        interval_max: Duration,
    },
    /// The stream is closed when no lease is being worked on and every settle is confirmed, since the
    /// leases may end with it: what comes meanwhile stays in the queue and is given back then.
    Late,
}

#[derive(Debug)]
struct End {
    /// Told to the reader once.
    error: Option<Error>,
}

/// What the reader of the stream of deliveries gets.
#[derive(Debug)]
pub(crate) enum Read {
    Delivery(Box<Queued>),
    Failed(Error),
    Ended,
    Empty,
}

impl Book {
    /// Takes up a delivery that came on the stream; returns whether the extender sleeps too long for
    /// it. Mostly it does not, and looking at all leases for each delivery would cost.
    pub(crate) fn receive(&mut self, message: v1::Delivery, now: Instant) -> bool {
        let sequence = message.event.as_ref().map_or(0, |event| event.sequence);
        let duration = message.lease_duration.as_ref().and_then(duration_of);
        let duration = duration.unwrap_or(limits::LEASE_DURATION_DEFAULT);
        let mut interval = (duration / 3).max(limits::EXTEND_INTERVAL_MIN);
        if let Some(Closing::Early { interval_max }) = self.closing {
            interval = interval.min(interval_max);
        }
        let lost = Lost::default();
        let (newer_of_lease, newer) = watch::channel(Newer::default());
        let lease = Lease {
            sequence,
            duration: message.lease_duration,
            interval,
            due: now + interval,
            deadline: now + duration,
            expires_at: message.lease_expires_at,
            progress: String::new(),
            lost: lost.clone(),
            newer: newer_of_lease,
        };
        self.newest_sequence = self.newest_sequence.max(sequence);
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(&sequence);
        }
        self.leases.insert(message.lease_id.clone(), lease);
        self.queue.push_back(Queued { message, lost, newer });
        self.wake_at.is_none_or(|at| at > now + interval)
    }

    /// Returns the next thing for the reader.
    pub(crate) fn read(&mut self) -> Read {
        if self.closing.is_none()
            && let Some(queued) = self.queue.pop_front()
        {
            self.begun += 1;
            return Read::Delivery(Box::new(queued));
        }
        match &mut self.end {
            Some(End { error }) => error.take().map_or(Read::Ended, Read::Failed),
            None if self.closing.is_some() => Read::Ended,
            None => Read::Empty,
        }
    }

    /// Notes that a worker has settled its delivery or dropped it.
    pub(crate) const fn finish(&mut self) {
        self.begun = self.begun.saturating_sub(1);
    }

    /// Begins to settle a lease: from here on it is not extended. `comes_again`: what is said of it is that the event be
    /// delivered once more.
    pub(crate) fn begin_settling(&mut self, lease_id: &str, comes_again: bool) {
        let lease = self.leases.remove(lease_id);
        if let Some(lease) = lease.filter(|_| comes_again) {
            self.awaits(lease.sequence);
        }
        self.settling.insert(lease_id.to_owned());
    }

    /// Has it noted from here on which events are not finished, for the hub forgets the subscription with its stream.
    pub(crate) fn note_unfinished(&mut self) {
        self.awaited.get_or_insert_default();
    }

    fn awaits(&mut self, sequence: u64) {
        if let Some(awaited) = &mut self.awaited {
            awaited.insert(sequence);
        }
    }

    /// Notes that everything up to here is finished, also what was given up.
    pub(crate) fn finished_through(&mut self, done_floor: u64) {
        if let Some(awaited) = &mut self.awaited {
            *awaited = awaited.split_off(&done_floor.saturating_add(1));
        }
    }

    /// Notes that a lease is lost and tells its worker; one that nobody has begun is forgotten.
    pub(crate) fn lose(&mut self, lease_id: &str, reason: &str) {
        if let Some(lease) = self.leases.remove(lease_id) {
            self.queue.retain(|queued| queued.message.lease_id != lease_id);
            lease.lost.tell(reason);
            self.awaits(lease.sequence);
        }
    }

    /// Tells the worker on a lease that its resource has newer events.
    pub(crate) fn tell_newer(&self, lease_id: &str, count: u64, newest_sequence: u64) {
        if let Some(lease) = self.leases.get(lease_id) {
            lease.newer.send_modify(|newer| {
                newer.count = newer.count.saturating_add(count);
                newer.newest_sequence = newest_sequence;
            });
        }
    }

    /// Compares what the hub says this consumer holds with what is here. What is only here is
    /// lost; returns what is only there, which nobody works on any more.
    pub(crate) fn reconcile(&mut self, held: &[v1::Delivery]) -> Vec<String> {
        let held: BTreeSet<&str> = held.iter().map(|held| held.lease_id.as_str()).collect();
        let gone: Vec<String> =
            self.leases.keys().filter(|id| !held.contains(id.as_str())).cloned().collect();
        for lease_id in &gone {
            self.lose(lease_id, "the hub no longer knows the lease");
        }
        let known = |id: &str| self.leases.contains_key(id) || self.settling.contains(id);
        held.into_iter().filter(|id| !known(id)).map(ToOwned::to_owned).collect()
    }

    /// Returns whether this consumer is on its way out.
    pub(crate) const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Takes back everything that nobody has begun, and returns the leases.
    pub(crate) fn take_queue(&mut self) -> Vec<String> {
        self.queue.drain(..).map(|queued| queued.message.lease_id).collect()
    }

    /// Begins to close; the first call decides how.
    pub(crate) fn close(&mut self, closing: Closing, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(closing);
        if let Closing::Early { interval_max } = closing {
            for lease in self.leases.values_mut() {
                lease.interval = lease.interval.min(interval_max);
                lease.due = lease.due.min(now + lease.interval);
            }
        }
    }

    /// Notes that the stream has ended for good.
    pub(crate) fn end(&mut self, error: Option<Error>) {
        self.end.get_or_insert(End { error });
    }

    /// Returns whether the stream may be closed now.
    pub(crate) fn stream_is_done(&self) -> bool {
        match self.closing {
            None => false,
            Some(Closing::Early { .. }) => true,
            Some(Closing::Late) => {
                self.settling.is_empty() && self.leases.len() <= self.queue.len()
            }
        }
    }

    /// Returns whether there is nothing left to keep alive or to send.
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_some() && self.begun == 0 && self.leases.is_empty() && self.settling.is_empty()
    }

    /// Returns when the next lease wants to be extended: the extender sleeps until then.
    pub(crate) fn next_wake(&mut self) -> Option<Instant> {
        self.wake_at = self.next_due();
        self.wake_at
    }

    fn next_due(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.due).min()
    }

    /// Returns an extension for each lease that is due, or is soon, and when it will be again if
    /// nothing is heard of it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<v1::LeaseExtension> {
        if self.next_due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        // What is due soon goes along: one call rather than many.
        self.take_extensions(now, |lease| lease.due <= now + lease.interval / 4)
    }

    /// Returns an extension for each lease.
    pub(crate) fn take_all(&mut self, now: Instant) -> Vec<v1::LeaseExtension> {
        self.take_extensions(now, |_| true)
    }

    fn take_extensions(
        &mut self,
        now: Instant,
        takes: impl Fn(&Lease) -> bool,
    ) -> Vec<v1::LeaseExtension> {
        let taken = self.leases.iter_mut().filter(|(_, lease)| takes(lease));
        taken
            .map(|(lease_id, lease)| {
                lease.due = now + lease.interval;
                let progress = lease.progress.clone();
                let (lease_id, duration) = (lease_id.clone(), lease.duration);
                v1::LeaseExtension { lease_id, duration, progress, checkpoint: None }
            })
            .collect()
    }

    /// Keeps what a worker says about its progress, and sends it soon.
    pub(crate) fn progress(&mut self, lease_id: &str, text: String, now: Instant) {
        if let Some(lease) = self.leases.get_mut(lease_id) {
            lease.progress = text;
            lease.due = now;
        }
    }

    /// Notes that a lease was extended.
    pub(crate) fn extended(
        &mut self,
        lease_id: &str,
        expires_at: Option<prost_types::Timestamp>,
        now: Instant,
    ) {
        let Some(lease) = self.leases.get_mut(lease_id) else { return };
        if let (Some(old), Some(new)) = (&lease.expires_at, &expires_at) {
            lease.deadline += timestamp_difference(old, new);
        }
        lease.expires_at = expires_at.or(lease.expires_at);
        lease.due = lease.due.max(now + lease.interval);
    }

    /// Notes that an extension was not taken, but may be later.
    pub(crate) fn extend_again(&mut self, lease_id: &str, at: Instant) {
        if let Some(lease) = self.leases.get_mut(lease_id) {
            lease.due = lease.due.min(at);
        }
    }

    /// Returns when a lease ends, unless it is over or is being settled.
    pub(crate) fn deadline(&self, lease_id: &str) -> Option<Instant> {
        self.leases.get(lease_id).map(|lease| lease.deadline)
    }

    /// Returns where an ephemeral subscription goes on: at the first event that has come and is not known to be finished.
    pub(crate) fn resume_sequence(&self) -> u64 {
        let held = self.leases.values().map(|lease| lease.sequence);
        let awaited = self.awaited.iter().flatten().copied();
        held.chain(awaited).min().unwrap_or_else(|| self.newest_sequence.saturating_add(1))
    }

    /// Notes that the subscription begins at this sequence, anew after a reconnect.
    pub(crate) fn resume_at(&mut self, sequence: u64) {
        self.newest_sequence = sequence.saturating_sub(1);
        // All of it comes again.
        if let Some(awaited) = &mut self.awaited {
            awaited.clear();
        }
    }

    /// Returns the reader if it waits and there is something for it.
    pub(crate) fn take_reader(&mut self) -> Option<Waker> {
        let wanted = !self.queue.is_empty() || self.closing.is_some() || self.end.is_some();
        if wanted { self.reader.take() } else { None }
    }
}
