//! One subscription's task: the owner of its state machine, and the hands of it.
//!
//! The loop: carry out effects until there are none; take what came in, several at a time; sleep until the machine's next
//! timeout. One commit and one fetch are out at a time, while the loop goes on.

mod scan;

mod ahead;

mod effects;

mod moves;

mod replay;

mod messages;

mod recovery;

mod replies;

mod spans;

mod reading;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hookline_core::{
    delivery::{
        Backgrounds, Epoch, Hold, Input, LeaseId, NackAction, Snapshot, StreamId, Subscription,
        Ticket,
    },
    event::{EventId, Sequence, SourceName},
    time::Timestamp,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::messages::{Overview, Settle, Standing, States};
pub(super) use self::{
    ahead::AheadBudget,
    messages::{Message, Retired},
    replay::Reopened,
};
use self::{ahead::ReadAhead, moves::Move, recovery::recovered, replies::Replies, spans::Spans};
use super::{
    Extension, Identity,
    figures::{Figures, Tally},
    router::{Feed, Tail},
    stream::{Bell, End, Inbox, Item, Outbox, Position, channel},
};
use crate::{
    clock::Clock,
    limits::{HEARTBEAT_INTERVAL, SUBSCRIPTION_MESSAGES_AT_ONCE},
    store::{BoxFuture, CommitError, EventLog, Ledger},
    traces::Traces,
};

/// What a task works with.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) traces: Traces,
    /// Nudged after each commit that made dead letters.
    pub(super) died: Arc<Notify>,
    pub(super) tail: Arc<Tail>,
    pub(super) ahead: Arc<AheadBudget>,
    pub(super) stop: CancellationToken,
}

/// What a task shows to others.
#[derive(Debug)]
pub(super) struct Outside {
    /// What the subscription is.
    pub(super) identity: watch::Sender<Arc<Identity>>,
    /// How many leases run and answers are owed; watched by whoever waits for them to end.
    pub(super) leased: watch::Sender<u64>,
    /// For metrics.
    pub(super) figures: Arc<Figures>,
}

/// One subscription's task.
pub(super) struct Task {
    identity: Arc<Identity>,
    tools: Tools,
    core: Subscription,
    epoch: Epoch,
    mailbox: mpsc::Receiver<Message>,
    outside: Outside,
    feed: Arc<Feed>,
    bell: Arc<Bell>,
    streams: BTreeMap<StreamId, OpenStream>,
    last_stream: u64,
    replies: Replies,
    /// What was read ahead and not handed out yet.
    ahead: ReadAhead,
    /// What else is known of the events under leases.
    handed_out: BTreeMap<Sequence, HandedOut>,
    /// What will be a span once its lease has ended.
    spans: Spans,
    /// Leases whose events could not be read: given back when it is time to try again.
    unreadable: Vec<LeaseId>,
    /// When that is; in the past if there are none.
    reread_at: Timestamp,
    /// Set once the hub stops: how long streams have.
    draining: Option<Duration>,
    commit: Option<BoxFuture<'static, (Ticket, Result<(), CommitError>)>>,
    /// What the commit that is out will have done.
    tally: Tally,
    /// How many dead letters there are, as of the last commit that changed it.
    dead_count: u64,
    fetch: Option<BoxFuture<'static, scan::Fetched>>,
    /// What the machine asked for and was not brought yet: after, through, how many.
    fetch_asked: Option<(u64, u64, usize)>,
    /// A change of the subscription that is under way.
    moving: Option<Move>,
    looking_back: Option<BoxFuture<'static, moves::LookedBack>>,
    /// Up to here what was skipped was looked at again; `u64::MAX`: there is nothing to look at.
    looked_back: u64,
    /// Set while the log may be trimmed up to what is needed: nothing that was passed is read again meanwhile.
    releasing: bool,
    /// Of an ephemeral subscription, which has no ledger to keep them.
    backgrounds: Backgrounds,
    /// Set when the machine has to be made anew from the ledger.
    must_recover: bool,
    /// Set when nobody has used the subscription for as long as its policy says.
    is_unused: bool,
    next_heartbeat: Timestamp,
}

/// An event under a lease.
struct HandedOut {
    /// For the log.
    event_id: EventId,
    /// For the log.
    source: SourceName,
    /// What the consumer said about its progress.
    progress: String,
}

struct OpenStream {
    consumer: Arc<str>,
    outbox: Outbox,
}

/// Why the loop goes round or ends.
enum Turn {
    Again,
    /// The state is worth nothing: recover from the ledger.
    Recover,
    End(End),
}

impl Task {
    /// Makes the task of a subscription whose ledger was opened.
    pub(super) fn new(
        tools: Tools,
        opened: (Epoch, Snapshot),
        mailbox: mpsc::Receiver<Message>,
        outside: Outside,
    ) -> Self {
        let (epoch, snapshot) = opened;
        let identity = Arc::clone(&outside.identity.borrow());
        let now = tools.clock.steady();
        let looked_back = snapshot.looked_back;
        let core = recovered(&identity, epoch, snapshot, &*tools.clock);
        let task = Self {
            looked_back,
            dead_count: core.dead_count(),
            tally: Tally::default(),
            core,
            epoch,
            mailbox,
            outside,
            feed: Arc::default(),
            bell: Arc::new(Bell::default()),
            streams: BTreeMap::new(),
            last_stream: 0,
            replies: Replies::default(),
            ahead: ReadAhead::new(Arc::clone(&tools.ahead)),
            handed_out: BTreeMap::new(),
            spans: Spans::of(&tools),
            unreadable: Vec::new(),
            reread_at: now,
            draining: None,
            commit: None,
            fetch: None,
            fetch_asked: None,
            moving: None,
            looking_back: None,
            releasing: false,
            backgrounds: Backgrounds::default(),
            must_recover: false,
            is_unused: false,
            next_heartbeat: now + HEARTBEAT_INTERVAL,
            identity,
            tools,
        };
        task.publish_reading();
        task
    }

    /// Runs until the subscription is deleted, fenced or the hub stops; returns which.
    pub(super) async fn run(mut self) -> End {
        let end = loop {
            match self.turn().await {
                Turn::Again => {}
                Turn::End(end) => break end,
                Turn::Recover => {
                    if let Err(end) = self.recover().await {
                        break end;
                    }
                }
            }
        };
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.outbox.end(end);
        }
        self.outside.leased.send_replace(0);
        tracing::debug!(subscription = %self.identity.name, ?end, "subscription ended");
        end
    }

    async fn turn(&mut self) -> Turn {
        loop {
            while let Some(effect) = self.core.poll_effect() {
                self.carry_out(effect).await;
            }
            if self.must_recover {
                return Turn::Recover;
            }
            if self.is_unused {
                return Turn::End(End::Unused);
            }
            self.begin_fetch();
            self.look_for_more();
            // What it took in has to be carried out first; and it sleeps only if nothing has come meanwhile.
            if !self.core.has_effects() && !self.rest() {
                break;
            }
        }
        self.publish_leased();
        self.publish_reading();
        let timeout = self.core.poll_timeout().unwrap_or(self.next_heartbeat);
        let mut deadline = timeout.min(self.next_heartbeat);
        if !self.unreadable.is_empty() {
            deadline = deadline.min(self.reread_at);
        }
        self.wait(deadline).await
    }

    /// Waits for what comes next, and takes it in.
    async fn wait(&mut self, deadline: Timestamp) -> Turn {
        let (bell, feed) = (Arc::clone(&self.bell), Arc::clone(&self.feed));
        tokio::select! {
            biased;
            () = self.tools.stop.cancelled() => return Turn::End(End::Unavailable),
            (ticket, result) = finished(&mut self.commit) => return self.committed(ticket, result),
            fetched = finished(&mut self.fetch) => self.fetched(fetched),
            message = self.mailbox.recv() => {
                // The registry dropped its handle: the subscription is gone.
                let Some(message) = message else { return Turn::End(End::Deleted) };
                if let Some(end) = self.take_in(message) {
                    return Turn::End(end);
                }
            }
            () = bell.rang() => return self.hear_streams(),
            counts = counted(&mut self.moving) => self.counted(counts),
            looked = finished(&mut self.looking_back) => self.looked(looked),
            () = feed.news() => {}
            () = self.tools.clock.sleep_until(deadline) => {}
        }
        self.look_at_the_clock();
        Turn::Again
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.tools.clock.steady());
    }

    fn look_at_the_clock(&mut self) {
        let now = self.tools.clock.steady();
        if self.core.poll_timeout().is_some_and(|due| due <= now) {
            // First what transports have taken: the clocks of those leases began then.
            self.hear_noted();
            self.take_back_unsent(now);
            self.core.handle_timeout(now);
        }
        if !self.unreadable.is_empty() && self.reread_at <= now {
            for lease in std::mem::take(&mut self.unreadable) {
                self.handle(Input::Unwritten { lease });
            }
        }
        if self.next_heartbeat <= now {
            self.next_heartbeat = now + HEARTBEAT_INTERVAL;
            let (position, counts, hold) = (self.position(), self.core.counts(), self.hold());
            for stream in self.streams.values() {
                stream.outbox.push(Item::Heartbeat { position, counts, hold });
            }
        }
    }

    /// Takes back what transports have not taken by the end of its lease, so that it is no failed attempt.
    fn take_back_unsent(&mut self, now: Timestamp) {
        let unsent: Vec<_> =
            self.streams.values().flat_map(|open| open.outbox.take_unsent_due(now)).collect();
        for lease in unsent {
            self.handle(Input::Unwritten { lease });
        }
    }

    /// Takes in a message and what else has come; returns how to end, if asked to.
    fn take_in(&mut self, first: Message) -> Option<End> {
        let mut next = Some(first);
        for _ in 0..SUBSCRIPTION_MESSAGES_AT_ONCE {
            let message = next.take().or_else(|| self.mailbox.try_recv().ok())?;
            // A delivery was taken before its consumer says something of it.
            self.hear_noted();
            if let Some(end) = self.answer(message) {
                return Some(end);
            }
        }
        None
    }

    fn answer(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Subscribe { consumer, max_in_flight, reply } => {
                self.subscribe(consumer, max_in_flight, reply);
            }
            Message::Settle { settles, reply } => {
                let requests = self.replies.expect_settles(settles.len(), reply);
                for ((lease, settle), request) in settles.into_iter().zip(requests) {
                    self.log_settle(&lease, &settle);
                    self.note_unknown(&lease);
                    self.handle(match settle {
                        Settle::Ack => Input::Ack { request, lease },
                        Settle::Nack(nack) => Input::Nack { request, lease, nack },
                    });
                }
            }
            Message::Extend { extensions, reply } => {
                let requests = self.replies.expect_extensions(extensions.len(), reply);
                for ((lease, extension), request) in extensions.into_iter().zip(requests) {
                    let Extension { duration, progress, checkpoint, .. } = extension;
                    let of = lease.clone();
                    self.handle(Input::Extend { request, lease: of, duration, checkpoint });
                    self.note_progress(&lease, progress);
                }
            }
            Message::Redrive { letters, reply } => {
                let request = self.replies.expect_redrive(reply);
                self.handle(Input::Redrive { request, letters });
            }
            Message::Retire { before, count, release, reply } => {
                self.retire((before, count), release, reply);
            }
            Message::Trimmed => self.releasing = false,
            Message::Purge { sequences, edition, reply } => {
                let request = self.replies.expect_purge(reply);
                self.handle(Input::Purge { request, sequences, edition });
            }
            Message::Inspect { reply } => drop(reply.send(self.overview())),
            Message::Change { change, reply } => self.change(*change, reply),
            Message::Seek { after, mode, reply } => self.seek(after, mode, reply),
            Message::Replay { events, mode, reply } => self.replay(events, mode, reply),
            Message::Status { sequence, reply } => drop(reply.send(self.standing(sequence))),
            Message::Written { reply } => match self.core.last_unwritten() {
                Some(ticket) => self.replies.expect_written(ticket, reply),
                None => {
                    reply.send(()).ok();
                }
            },
            Message::Open { after, states, count, reply } => {
                let open = self.core.open_after(after).filter(|(_, status)| states.have(status));
                let open = open.take(count).map(|(sequence, _)| self.standing(sequence));
                drop(reply.send(open.collect()));
            }
            Message::Drain { grace, reply } => {
                self.replies.expect_drained(reply);
                self.draining = Some(grace);
                self.handle(Input::Drain);
                for stream in self.streams.values() {
                    stream.outbox.push(Item::Draining { grace });
                }
            }
            Message::Close { end } => return Some(end),
        }
        None
    }

    fn log_settle(&self, lease: &LeaseId, settle: &Settle) {
        let LeaseId { sequence, attempt, consumer, .. } = lease;
        let out = self.handed_out.get(sequence);
        let event_id = out.map(|out| tracing::field::display(out.event_id));
        let source = out.map(|out| tracing::field::display(&out.source));
        let said = match settle {
            Settle::Ack => "ack",
            Settle::Nack(nack) => match nack.action {
                NackAction::Retry => "nack",
                NackAction::DeadLetter => "reject",
                NackAction::Release => "release",
            },
        };
        tracing::debug!(
            event_id, source, subscription = %self.identity.name, %consumer, %sequence, attempt, said,
            "settle",
        );
    }

    fn note_progress(&mut self, lease: &LeaseId, progress: String) {
        if !progress.is_empty()
            && self.core.is_running(lease)
            && let Some(out) = self.handed_out.get_mut(&lease.sequence)
        {
            out.progress = progress;
        }
    }

    fn subscribe(&mut self, consumer: Arc<str>, max_in_flight: u32, reply: oneshot::Sender<Inbox>) {
        let older = self.streams.iter().find(|(_, open)| open.consumer == consumer);
        if let Some(older) = older.map(|(stream, _)| *stream) {
            self.end_stream(older, End::TakenOver);
        }
        self.last_stream += 1;
        let stream = StreamId(self.last_stream);
        let (outbox, inbox) = channel(stream, &self.bell, &self.tools.clock);
        self.streams.insert(stream, OpenStream { consumer: Arc::clone(&consumer), outbox });
        // A caller that is gone drops the inbox, which says so.
        drop(reply.send(inbox));
        self.handle(Input::Joined { stream, consumer, max_in_flight });
    }

    fn end_stream(&mut self, stream: StreamId, end: End) {
        if let Some(open) = self.streams.remove(&stream) {
            self.hear(stream, open.outbox.end(end));
        }
    }

    /// Takes in what the transports of streams did.
    fn hear_noted(&mut self) {
        for stream in self.bell.take() {
            let Some(open) = self.streams.get(&stream) else { continue };
            let news = open.outbox.news();
            if news.over {
                self.streams.remove(&stream);
            }
            self.hear(stream, news);
        }
    }

    /// As above, of who rang. An ephemeral subscription ends with its stream.
    fn hear_streams(&mut self) -> Turn {
        self.hear_noted();
        if self.identity.is_ephemeral() && self.streams.is_empty() {
            return Turn::End(End::Deleted);
        }
        self.look_at_the_clock();
        Turn::Again
    }

    fn hear(&mut self, stream: StreamId, news: super::stream::News) {
        for (lease, at) in news.written {
            self.handle(Input::Written { lease, at });
        }
        // First the end: else what was not taken would be handed to the same stream again.
        if news.over {
            self.handle(Input::Left { stream });
        }
        for lease in news.unwritten {
            self.handle(Input::Unwritten { lease });
        }
    }

    fn committed(&mut self, ticket: Ticket, result: Result<(), CommitError>) -> Turn {
        self.commit = None;
        match result {
            Ok(()) => {
                self.outside.figures.count(&std::mem::take(&mut self.tally));
                self.handle(Input::Persisted { ticket });
                self.replies.written(ticket);
                Turn::Again
            }
            Err(CommitError::Fenced) => Turn::End(End::Unavailable),
            Err(CommitError::Missing) => Turn::End(End::Deleted),
            Err(error @ (CommitError::Unavailable(_) | CommitError::Closed)) => {
                tracing::error!(subscription = %self.identity.name, %error, "a commit failed");
                Turn::Recover
            }
        }
    }

    fn position(&self) -> Position {
        let (done_floor, scanned) = self.core.position();
        // Of the log itself: a subscription that nobody waits on does not hear of each event.
        let log_end = (*self.tools.log.head().borrow()).max(scanned);
        Position { log_end, scanned, done_floor }
    }

    fn overview(&self) -> Overview {
        Overview {
            position: self.position(),
            counts: self.core.counts(),
            first_open: self.core.first_open(),
            hold: self.hold(),
            breaker: self.core.breaker(),
            consumers: self.core.consumers(),
        }
    }

    fn hold(&self) -> Option<Hold> {
        self.core.hold_of_all(self.tools.clock.steady())
    }

    fn standing(&self, sequence: Sequence) -> Standing {
        let progress = self.handed_out.get(&sequence).map(|out| out.progress.clone());
        Standing {
            sequence,
            status: self.core.status(sequence),
            hold: self.core.hold(sequence, self.tools.clock.steady()),
            progress: progress.unwrap_or_default(),
        }
    }

    /// A lease that was settled is over for the core before its end is durable: until then an answer is owed, and who
    /// waits must not end the task under it.
    fn publish_leased(&self) {
        let leased = self.core.leased().saturating_add(self.replies.owed());
        self.outside.leased.send_if_modified(|before| std::mem::replace(before, leased) != leased);
    }
}

/// Waits for a future that may not be there; then for ever.
async fn finished<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits for a seek to be counted, if one is.
async fn counted(moving: &mut Option<Move>) -> moves::SeekCounts {
    match moving {
        Some(Move::Counting { counts, .. }) => counts.await,
        Some(Move::Seeking { .. } | Move::Changing { .. }) | None => std::future::pending().await,
    }
}
