//! The state machine: steps of a subscription on which a hundred events wait, or a hundred thousand.
//!
//! A step is an input and the effects that follow from it, with what the shell answers to them. Each commit is of one
//! step, where a hub that is busy has many in one.

use std::{collections::VecDeque, hint::black_box, time::Duration};

use hookline_core::{
    delivery::{
        Config, Creation, Effect, Epoch, Input, LeaseId, Matched, Nack, NackAction, Ordering,
        Outcome, Pause, Policy, RequestId, ResourceKey, Snapshot, StreamId, Subscription,
    },
    event::Sequence,
    time::Timestamp,
};

use super::{Unit, Work};

const COUNTED_ROUNDS: u32 = 100;
/// How many events wait.
const WAITING: [u32; 2] = [100, 100_000];
/// Of so many events in a row each is about another thing.
const RESOURCES: u64 = 20;
/// From one event to the next.
const TICK: Duration = Duration::from_millis(1);
/// From one nack to the next: as many as rounds are at most come before the first is due.
const NACK_TICK: Duration = Duration::from_micros(10);
const BACKOFF: Duration = Duration::from_secs(1);

/// Prepares a step, for this many waiting events and rounds.
type Prepare = fn(u32, u32) -> Work;

pub(super) fn units() -> Vec<Unit> {
    let steps: [(&str, Prepare); 7] = [
        ("append", append),
        ("lease", lease),
        ("ack", ack),
        ("nack", nack),
        ("retry", retry),
        ("pass", |waiting, _| pass(waiting, Ordering::None)),
        ("pass_ordered", |waiting, _| pass(waiting, Ordering::Resource { at_once: 1 })),
    ];
    let of_step = |(name, prepare): (&str, Prepare)| {
        let name = name.to_owned();
        WAITING.map(move |waiting| Unit {
            name: format!("{name}/{waiting}"),
            counted_rounds: COUNTED_ROUNDS,
            processes: 1,
            // So the waiting events are never more than three times as many.
            rounds_max: 2 * waiting.min(50_000),
            prepare: Box::new(move |rounds| prepare(waiting, rounds)),
        })
    };
    steps.into_iter().flat_map(of_step).collect()
}

/// Takes in an event that the router has matched; nobody has room for it.
fn append(waiting: u32, _: u32) -> Work {
    let mut board = Board::new(waiting, Ordering::None);
    Box::new(move |rounds| {
        (0..rounds).for_each(|_| board.append(1));
        board.taken_in()
    })
}

/// Hands an event out, to a stream that has just opened and has room for all rounds, and hears that it was written.
fn lease(waiting: u32, rounds: u32) -> Work {
    let mut board = Board::new(waiting + rounds, Ordering::None);
    Box::new(move |rounds| {
        board.join(rounds);
        board.handed_out()
    })
}

/// Acks a lease. The subscription is paused, so that nothing takes its place.
fn ack(waiting: u32, rounds: u32) -> Work {
    let mut board = Board::with_leases(waiting, rounds);
    Box::new(move |rounds| {
        (0..rounds).for_each(|_| board.ack());
        board.settled()
    })
}

/// Nacks a lease, which is written down and waits for its next attempt.
fn nack(waiting: u32, rounds: u32) -> Work {
    let mut board = Board::with_leases(waiting, rounds);
    Box::new(move |rounds| {
        (0..rounds).for_each(|_| board.nack());
        board.settled()
    })
}

/// Lets the timer of a nacked event run out: it is ready again.
fn retry(waiting: u32, rounds: u32) -> Work {
    let mut board = Board::with_leases(waiting, rounds);
    // From the first on, each is due a tick later.
    let mut due = board.now + NACK_TICK + BACKOFF;
    (0..rounds).for_each(|_| board.nack());
    Box::new(move |rounds| {
        let before = board.subscription.counts().waiting;
        for _ in 0..rounds {
            board.now = due;
            board.time_out();
            due = due + NACK_TICK;
        }
        let after = board.subscription.counts().waiting;
        u32::try_from(before - after).unwrap()
    })
}

/// Lets an event pass: one comes, the oldest is handed out, written and acked, and the time moves. As many wait afterwards.
fn pass(waiting: u32, ordering: Ordering) -> Work {
    let mut board = Board::new(waiting, ordering);
    board.join(1);
    Box::new(move |rounds| {
        for _ in 0..rounds {
            board.now = board.now + TICK;
            if board.subscription.poll_timeout().is_some_and(|due| due <= board.now) {
                board.time_out();
            }
            board.append(1);
            board.ack();
        }
        board.settled()
    })
}

/// A subscription, its shell, and what was handed out and not settled.
struct Board {
    subscription: Subscription,
    policy: Policy,
    now: Timestamp,
    head: u64,
    last_number: u64,
    leases: VecDeque<LeaseId>,
    settled: u32,
    handed_out: u32,
    taken_in: u32,
}

impl Board {
    fn new(waiting: u32, ordering: Ordering) -> Self {
        let now = Timestamp::from_secs(1_800_000_000).unwrap();
        // Without chance: what waits, waits exactly.
        let policy =
            Policy { jitter: 0.0, initial_backoff: BACKOFF, ordering, ..Policy::default() };
        let config = Config { creation: Creation(1), policy: policy.clone(), pause: Pause::Off };
        let snapshot = Snapshot::default();
        let mut board = Self {
            subscription: Subscription::recover(config, Epoch(1), snapshot, now, 7),
            policy,
            now,
            head: 0,
            last_number: 0,
            leases: VecDeque::new(),
            settled: 0,
            handed_out: 0,
            taken_in: 0,
        };
        board.append(u64::from(waiting));
        board.taken_in = 0;
        board
    }

    /// Makes one that is paused, with so many leases, beside what waits.
    fn with_leases(waiting: u32, leases: u32) -> Self {
        let mut board = Self::new(waiting + leases, Ordering::None);
        board.join(leases);
        assert_eq!(board.handed_out(), leases);
        let (request, policy) = (RequestId(board.number()), board.policy.clone());
        let pause = Pause::On;
        board.tell(Input::Reconfigure { request, look_back_after: None, policy, pause });
        board
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn append(&mut self, count: u64) {
        let (after, through) = (self.head, self.head + count);
        let matched = |n: u64| Matched {
            sequence: Sequence::new(n).unwrap(),
            resource: Some(ResourceKey::from_bytes(u128::from(n % RESOURCES).to_be_bytes())),
            received_at: self.now,
            failure: None,
        };
        let matched = (after + 1..=through).map(matched).collect();
        self.head = through;
        self.tell(Input::Followed { after, through, matched });
        self.taken_in += u32::from(self.subscription.looked_at() == through);
    }

    fn join(&mut self, max_in_flight: u32) {
        let stream = StreamId(self.number());
        let consumer = format!("agent-{}", stream.0).into();
        self.tell(Input::Joined { stream, consumer, max_in_flight });
    }

    fn ack(&mut self) {
        let request = RequestId(self.number());
        let lease = self.leases.pop_front().expect("one was handed out for each round");
        self.tell(Input::Ack { request, lease });
    }

    fn nack(&mut self) {
        self.now = self.now + NACK_TICK;
        let request = RequestId(self.number());
        let lease = self.leases.pop_front().expect("one was handed out for each round");
        let nack = Nack {
            action: NackAction::Retry,
            reason: "the model is overloaded: try again in 30 s".to_owned(),
            error_type: "Overloaded".to_owned(),
            retry_after: None,
        };
        self.tell(Input::Nack { request, lease, nack });
    }

    fn tell(&mut self, input: Input) {
        self.subscription.handle(black_box(input), self.now);
        self.carry_out();
    }

    fn time_out(&mut self) {
        self.subscription.handle_timeout(self.now);
        self.carry_out();
    }

    /// Does as a shell whose commits succeed at once, and whose streams take all.
    fn carry_out(&mut self) {
        while let Some(effect) = black_box(self.subscription.poll_effect()) {
            if let Effect::Persist { ticket, .. } = effect {
                self.subscription.handle(Input::Persisted { ticket }, self.now);
            } else if let Effect::Deliver { grant, .. } = effect {
                self.handed_out += 1;
                self.leases.push_back(grant.lease.clone());
                let written = Input::Written { lease: grant.lease, at: self.now };
                self.subscription.handle(written, self.now);
            } else if let Effect::Settled { outcome, .. } = effect {
                self.settled += u32::from(outcome == Outcome::Applied);
            }
        }
    }

    fn settled(&mut self) -> u32 {
        std::mem::take(&mut self.settled)
    }

    fn handed_out(&mut self) -> u32 {
        std::mem::take(&mut self.handed_out)
    }

    fn taken_in(&mut self) -> u32 {
        std::mem::take(&mut self.taken_in)
    }
}
