//! The queue between a subscription's task and one consumer's stream.
//!
//! A queue of our own, not a channel, because of what a lease needs: the task learns which deliveries the transport took
//! and which it never will, can take one back that was not sent, and is told once that the reader is gone. What is in
//! the queue is bounded by the consumer's `max_in_flight`, since the task puts in nothing without a lease.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use hookline_core::{
    delivery::{Attempt, Counts, Grant, Hold, LeaseId, LossReason, StreamId},
    event::{EventId, Sequence},
    time::Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{clock::Clock, store::Entry};

/// What a stream carries.
#[derive(Clone, Debug)]
pub enum Item {
    /// The stream is open.
    Ready {
        /// Where the subscription stands.
        position: Position,
        /// What the consumer holds from before, with its events.
        held: Vec<(Grant, Arc<Entry>, Background)>,
    },
    /// An event to work on.
    Delivery {
        /// The lease.
        grant: Grant,
        /// The event.
        entry: Arc<Entry>,
        /// What happened before.
        background: Background,
    },
    /// The resource of an event that the consumer works on has newer events.
    Newer {
        /// The lease.
        lease: LeaseId,
        /// The event's id, if it is known.
        event_id: String,
        /// The newest of them.
        newest: Sequence,
        /// How many came since this was last said.
        count: u64,
    },
    /// A sign of life.
    Heartbeat {
        /// Where the subscription stands.
        position: Position,
        /// What its deliveries do.
        counts: Counts,
        /// What keeps the subscription from leasing anything.
        hold: Option<Hold>,
    },
    /// A lease ended without the consumer's word.
    LeaseLost {
        /// The lease.
        lease: LeaseId,
        /// The event's id, if it could be read.
        event_id: String,
        /// Why.
        reason: LossReason,
    },
    /// The hub is stopping.
    Draining {
        /// How long until the stream ends.
        grace: Duration,
    },
}

/// What a lease is handed with, beside its event; empty for most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Background {
    /// The attempts that failed, newest last.
    pub attempts: Vec<Attempt>,
    /// The ids of the newest events that were coalesced into this one, as far as the log still has them.
    pub superseded: Vec<EventId>,
    /// How many were.
    pub superseded_count: u64,
    /// What the last attempt saved; empty: nothing.
    pub checkpoint: Bytes,
}

/// The three positions of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The newest event of the log.
    pub log_end: u64,
    /// Up to here events were looked at.
    pub scanned: u64,
    /// Up to here every matching event is finished.
    pub done_floor: u64,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A newer stream has the consumer's name.
    TakenOver,
    /// The subscription was deleted.
    Deleted,
    /// Nobody used the subscription, and its policy says that it is to be deleted then.
    Unused,
    /// The hub stops, or the subscription had to be recovered: come back.
    Unavailable,
}

/// Tells a task which of its streams have news. Wakes it once for many.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<BTreeSet<StreamId>>,
    notify: Notify,
}

impl Bell {
    fn ring(&self, stream: StreamId) {
        self.note(stream);
        self.notify.notify_one();
    }

    /// Has news of a stream heard when the task looks for it next: it is not woken for them.
    fn note(&self, stream: StreamId) {
        self.rung.lock().insert(stream);
    }

    /// Waits until a stream has news. Cancel safe.
    pub(super) async fn rang(&self) {
        self.notify.notified().await;
    }

    /// Returns the streams that have news.
    pub(super) fn take(&self) -> BTreeSet<StreamId> {
        std::mem::take(&mut *self.rung.lock())
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// What the transport took since the task last asked, and when.
    written: Vec<(LeaseId, Timestamp)>,
    /// Whether the task waits for the transport to take something: it gives this stream no more until then.
    is_awaited: bool,
    waker: Option<Waker>,
    /// Whether `Ready` was put in.
    is_ready: bool,
    ended: Option<End>,
    reader_is_gone: bool,
}

#[derive(Debug)]
struct Shared {
    stream: StreamId,
    queue: Mutex<Queue>,
    bell: Arc<Bell>,
    clock: Arc<dyn Clock>,
}

/// The task's end.
#[derive(Debug)]
pub(super) struct Outbox(Arc<Shared>);

/// The stream's end: what the transport polls.
#[derive(Debug)]
pub struct Inbox(Arc<Shared>);

/// What a task learns about a stream.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What the transport took, and when.
    pub(super) written: Vec<(LeaseId, Timestamp)>,
    /// What it never will: only when the stream is over.
    pub(super) unwritten: Vec<LeaseId>,
    /// Whether the stream is over.
    pub(super) over: bool,
}

/// Makes a queue for a stream.
pub(super) fn channel(
    stream: StreamId,
    bell: &Arc<Bell>,
    clock: &Arc<dyn Clock>,
) -> (Outbox, Inbox) {
    let (bell, clock) = (Arc::clone(bell), Arc::clone(clock));
    let shared = Arc::new(Shared { stream, queue: Mutex::default(), bell, clock });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

/// Adds what is newer of a lease's resource to what waits to be told of it; returns what is not told by that.
fn merged(items: &mut VecDeque<Item>, item: Item) -> Option<Item> {
    let Item::Newer { lease, event_id, newest, count } = item else { return Some(item) };
    for item in items {
        if let Item::Newer { lease: of, newest: newest_before, count: before, .. } = item
            && *of == lease
        {
            (*newest_before, *before) = (newest, before.saturating_add(count));
            return None;
        }
    }
    Some(Item::Newer { lease, event_id, newest, count })
}

impl Outbox {
    /// Puts an item in. What is told to every stream leaves one out that is not ready yet, so that `Ready` is the first of all:
    /// what else comes is an effect of the machine, behind it. A heartbeat takes the place of one that was not sent, and so
    /// does what is newer of a lease's resource, with both counts: who does not read is told once for each lease.
    pub(super) fn push(&self, item: Item) {
        let mut queue = self.0.queue.lock();
        queue.is_ready |= matches!(item, Item::Ready { .. });
        let is_for_all = matches!(item, Item::Heartbeat { .. } | Item::Draining { .. });
        if queue.ended.is_some() || (is_for_all && !queue.is_ready) {
            return;
        }
        if matches!(item, Item::Heartbeat { .. }) {
            queue.items.retain(|item| !matches!(item, Item::Heartbeat { .. }));
        }
        let Some(item) = merged(&mut queue.items, item) else { return };
        queue.items.push_back(item);
        wake(queue);
    }

    /// Takes a delivery back that was not sent; whether it was there.
    pub(super) fn retract(&self, lease: &LeaseId) -> bool {
        let mut queue = self.0.queue.lock();
        let before = queue.items.len();
        queue
            .items
            .retain(|item| !matches!(item, Item::Delivery { grant, .. } if grant.lease == *lease));
        queue.items.len() < before
    }

    /// Takes back the deliveries that were not sent by the end of their leases. The machine trusts the stream with one more
    /// then, and waits for that to be taken.
    pub(super) fn take_unsent_due(&self, now: Timestamp) -> Vec<LeaseId> {
        let mut due = Vec::new();
        let mut queue = self.0.queue.lock();
        queue.items.retain(|item| match item {
            Item::Delivery { grant, .. } if grant.expires_at <= now => {
                due.push(grant.lease.clone());
                false
            }
            Item::Delivery { .. }
            | Item::Ready { .. }
            | Item::Newer { .. }
            | Item::Heartbeat { .. }
            | Item::LeaseLost { .. }
            | Item::Draining { .. } => true,
        });
        queue.is_awaited |= !due.is_empty();
        due
    }

    /// Returns what happened since the last call.
    pub(super) fn news(&self) -> News {
        let mut queue = self.0.queue.lock();
        let written = std::mem::take(&mut queue.written);
        if !queue.reader_is_gone {
            return News { written, ..News::default() };
        }
        News { written, unwritten: take_unsent(&mut queue), over: true }
    }

    /// Ends the stream: the reader gets no more items, but this end. Returns what happened since the last news.
    pub(super) fn end(&self, end: End) -> News {
        let mut queue = self.0.queue.lock();
        let news = News {
            written: std::mem::take(&mut queue.written),
            unwritten: take_unsent(&mut queue),
            over: true,
        };
        queue.ended = Some(end);
        wake(queue);
        news
    }
}

/// A task that ends without a word, by a panic, does not leave its streams waiting for ever.
impl Drop for Outbox {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.ended.get_or_insert(End::Unavailable);
        wake(queue);
    }
}

fn take_unsent(queue: &mut Queue) -> Vec<LeaseId> {
    let items = std::mem::take(&mut queue.items);
    let unsent = items.into_iter().filter_map(|item| match item {
        Item::Delivery { grant, .. } => Some(grant.lease),
        Item::Ready { .. }
        | Item::Newer { .. }
        | Item::Heartbeat { .. }
        | Item::LeaseLost { .. }
        | Item::Draining { .. } => None,
    });
    unsent.collect()
}

fn wake(mut queue: parking_lot::MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Yields items, then one `Err` when the stream was ended, then nothing.
impl Stream for Inbox {
    type Item = Result<Item, End>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = self.0.queue.lock();
        if let Some(item) = queue.items.pop_front() {
            if let Item::Delivery { grant, .. } = &item {
                queue.written.push((grant.lease.clone(), self.0.clock.steady()));
                // Mostly nothing follows from it before the consumer says something.
                let is_awaited = std::mem::take(&mut queue.is_awaited);
                drop(queue);
                if is_awaited {
                    self.0.bell.ring(self.0.stream);
                } else {
                    self.0.bell.note(self.0.stream);
                }
            }
            return Poll::Ready(Some(Ok(item)));
        }
        if queue.reader_is_gone {
            return Poll::Ready(None);
        }
        if let Some(end) = queue.ended {
            queue.reader_is_gone = true;
            return Poll::Ready(Some(Err(end)));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.queue.lock().reader_is_gone = true;
        self.0.bell.ring(self.0.stream);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use hookline_core::{
        delivery::{Creation, Epoch, Stamp},
        event::Event,
    };

    use super::*;
    use crate::{broker::tests::event, clock::SystemClock, store::Packed};

    fn clock() -> Arc<dyn Clock> {
        SystemClock::start(Timestamp::EPOCH)
    }

    fn leases(news: &News) -> Vec<LeaseId> {
        news.written.iter().map(|(lease, _)| lease.clone()).collect()
    }

    fn delivery(counter: u64) -> Item {
        let sequence = Sequence::new(counter).unwrap();
        let content = event("push");
        let id = EventId::new(Timestamp::EPOCH, [0; 10]);
        let event = Event { id, sequence, received_at: Timestamp::EPOCH, content };
        let packed = Packed::Plain(Bytes::new());
        let grant = Grant {
            lease: lease(counter),
            expires_at: Timestamp::EPOCH,
            background: false,
            redriven: false,
        };
        let entry = Arc::new(Entry { event, payload_size: 0, packed });
        Item::Delivery { grant, entry, background: Background::default() }
    }

    fn lease(counter: u64) -> LeaseId {
        LeaseId {
            creation: Creation(1),
            sequence: Sequence::new(counter).unwrap(),
            generation: 0,
            attempt: 1,
            stamp: Stamp { epoch: Epoch(1), counter },
            consumer: "a".into(),
        }
    }

    #[tokio::test]
    async fn what_is_told_to_every_stream_never_comes_before_ready() {
        let (outbox, mut inbox) = channel(StreamId(1), &Arc::new(Bell::default()), &clock());
        let position = Position { log_end: 0, scanned: 0, done_floor: 0 };
        let counts = Counts::default();
        let tell_all = || {
            outbox.push(Item::Heartbeat { position, counts, hold: None });
            outbox.push(Item::Draining { grace: Duration::ZERO });
        };
        tell_all();
        outbox.push(Item::Ready { position, held: Vec::new() });
        tell_all();
        assert!(matches!(inbox.next().await, Some(Ok(Item::Ready { .. }))));
        assert!(matches!(inbox.next().await, Some(Ok(Item::Heartbeat { .. }))));
        assert!(matches!(inbox.next().await, Some(Ok(Item::Draining { .. }))));
    }

    #[tokio::test]
    async fn what_is_newer_is_told_once_for_each_lease_with_all_counts() {
        let (outbox, mut inbox) = channel(StreamId(1), &Arc::new(Bell::default()), &clock());
        for (of, newest, count) in [(1, 5, 1), (2, 6, 4), (1, 9, 2)] {
            let newest = Sequence::new(newest).unwrap();
            let (lease, event_id) = (lease(of), of.to_string());
            outbox.push(Item::Newer { lease, event_id, newest, count });
        }
        let mut told = Vec::new();
        while let Some(Some(Ok(Item::Newer { lease, newest, count, .. }))) =
            inbox.next().now_or_never()
        {
            told.push((lease.stamp.counter, newest.get(), count));
        }
        assert_eq!(told, [(1, 9, 3), (2, 6, 4)]);
    }

    #[tokio::test]
    async fn the_task_learns_what_was_taken_and_what_never_will_be() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(7), &bell, &clock());
        outbox.push(delivery(1));
        outbox.push(delivery(2));
        assert!(matches!(inbox.next().await, Some(Ok(Item::Delivery { .. }))));
        assert!(bell.rang().now_or_never().is_none(), "the task is not woken for that");
        assert_eq!(bell.take().into_iter().collect::<Vec<_>>(), [StreamId(7)]);
        let news = outbox.news();
        assert_eq!((leases(&news), news.unwritten.len(), news.over), (vec![lease(1)], 0, false));
        drop(inbox);
        bell.rang().await;
        let news = outbox.news();
        assert_eq!((news.written.len(), news.unwritten, news.over), (0, vec![lease(2)], true));
    }

    #[tokio::test]
    async fn an_end_comes_once_and_after_it_nothing() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(1), &bell, &clock());
        outbox.push(delivery(1));
        let news = outbox.end(End::TakenOver);
        assert_eq!((news.unwritten, news.over), (vec![lease(1)], true));
        outbox.push(delivery(2));
        assert!(matches!(inbox.next().await, Some(Err(End::TakenOver))));
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn what_was_not_sent_can_be_taken_back_and_what_was_sent_can_not() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(1), &bell, &clock());
        outbox.push(delivery(1));
        outbox.push(delivery(2));
        assert!(inbox.next().await.is_some());
        assert!(!outbox.retract(&lease(1)));
        assert!(outbox.retract(&lease(2)));
        assert_eq!(outbox.end(End::Unavailable).unwritten, []);
    }

    #[tokio::test]
    async fn what_is_not_sent_when_its_lease_ends_is_taken_back() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(1), &bell, &clock());
        outbox.push(delivery(1));
        outbox.push(delivery(2));
        assert!(inbox.next().await.is_some());
        assert_eq!(outbox.take_unsent_due(Timestamp::MIN), []);
        assert_eq!(outbox.take_unsent_due(Timestamp::EPOCH), [lease(2)]);
        assert_eq!(outbox.take_unsent_due(Timestamp::EPOCH), []);
    }

    #[tokio::test]
    async fn a_task_that_trusts_a_slow_stream_with_one_more_is_woken_when_that_is_taken() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(1), &bell, &clock());
        outbox.push(delivery(1));
        assert_eq!(outbox.take_unsent_due(Timestamp::EPOCH), [lease(1)]);
        outbox.push(delivery(2));
        outbox.push(delivery(3));
        assert!(inbox.next().await.is_some());
        bell.rang().await;
        assert!(inbox.next().await.is_some());
        assert!(bell.rang().now_or_never().is_none());
        assert_eq!(leases(&outbox.news()), [lease(2), lease(3)]);
    }

    #[tokio::test]
    async fn a_task_that_is_gone_without_a_word_ends_its_streams() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(1), &bell, &clock());
        let (item, ()) = tokio::join!(inbox.next(), async { drop(outbox) });
        assert!(matches!(item, Some(Err(End::Unavailable))));
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_and_heartbeats_do_not_pile_up() {
        let bell = Arc::new(Bell::default());
        let (outbox, mut inbox) = channel(StreamId(1), &bell, &clock());
        let position = Position { log_end: 1, scanned: 1, done_floor: 1 };
        let heartbeat = Item::Heartbeat { position, counts: Counts::default(), hold: None };
        let ready = Item::Ready { position, held: Vec::new() };
        let (item, ()) = tokio::join!(inbox.next(), async { outbox.push(ready) });
        assert!(matches!(item, Some(Ok(Item::Ready { .. }))));
        outbox.push(heartbeat.clone());
        outbox.push(heartbeat);
        outbox.push(delivery(1));
        assert!(matches!(inbox.next().await, Some(Ok(Item::Heartbeat { .. }))));
        assert!(matches!(inbox.next().await, Some(Ok(Item::Delivery { .. }))));
    }
}
