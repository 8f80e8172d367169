//! What happens in a run, one operation after the other.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use hookline_core::delivery::{Breaker, Coalesce, NackAction, Ordering, Policy, Rate};

use super::events::{Kind, Takes};
use crate::store::memory::Fault;

/// Names of subscriptions; consumers of each are numbered from 0.
pub(super) const NAMES: [&str; 3] = ["one", "two", "watch"];
/// The room of each consumer, the same whenever it joins.
pub(super) const ROOMS: [u32; 3] = [1, 2, 5];
/// So many events are appended at most.
pub(super) const EVENTS_MAX: usize = 150;

const SECOND: Duration = Duration::from_secs(1);

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Append(Vec<Kind>),
    /// Says again what an append said that failed.
    AppendAgain,
    Create {
        name: usize,
        takes: Takes,
        earliest: bool,
        policy: Box<Policy>,
    },
    Delete {
        name: usize,
    },
    Join {
        name: usize,
        consumer: usize,
    },
    Leave {
        name: usize,
        consumer: usize,
    },
    /// A consumer reads nothing, or again.
    Stall {
        name: usize,
        consumer: usize,
        stalls: bool,
    },
    /// A settle by one of the leases there were: the n-th newest.
    Settle {
        back: usize,
        say: Say,
    },
    Extend {
        back: usize,
        duration: Option<Duration>,
        checkpoint: Option<Bytes>,
    },
    Redrive {
        name: usize,
        limit: u64,
        dry: bool,
    },
    Purge {
        name: usize,
        limit: u64,
    },
    Pause {
        name: usize,
        pause: PauseFor,
    },
    Retake {
        name: usize,
        takes: Takes,
        from_after: Option<u64>,
    },
    ChangePolicy {
        name: usize,
        policy: Box<Policy>,
    },
    Seek {
        name: usize,
        after: u64,
        dry: bool,
    },
    /// What lies beyond the first place, up to the second, is handed out once more.
    Replay {
        name: usize,
        after: u64,
        through: u64,
        limit: u64,
        dry: bool,
    },
    /// What lies before the first place is removed if nobody waits for it, before the second whoever does.
    Trim {
        soft: u64,
        hard: u64,
    },
    Pass(Duration),
    NextTimer,
    WallJump(i64),
    FailCommit(Fault),
    FailAppend(Fault),
    Slow,
    Release,
    Crash,
    Restart,
}

/// For how long.
#[derive(Clone, Copy, Debug)]
pub(super) enum PauseFor {
    Off,
    On,
    Seconds(u64),
}

/// What a consumer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Ack,
    Nack(NackAction, Option<Duration>),
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Picks a policy whose times are short against a run.
pub(super) fn policy(random: &mut Rng) -> Policy {
    let lease_duration = [SECOND, SECOND * 5, SECOND * 60][random.usize(..3)];
    let quiet = millis(random.u64(500..3_000));
    Policy {
        lease_duration,
        max_lease: lease_duration * random.u32(1..6),
        max_attempts: random.u32(1..5),
        initial_backoff: [Duration::ZERO, millis(300), SECOND * 5][random.usize(..3)],
        max_backoff: SECOND * 20,
        backoff_multiplier: [1.0, 2.0, 10.0][random.usize(..3)],
        jitter: [0.0, 0.2, 1.0][random.usize(..3)],
        reconnect_grace: [Duration::ZERO, SECOND * 15, SECOND * 120][random.usize(..3)],
        ordering: match random.u8(..10) {
            0..4 => Ordering::Resource { at_once: random.u32(1..4) },
            _ => Ordering::None,
        },
        coalesce: match random.u8(..10) {
            0..2 => Coalesce::Latest,
            2 => Coalesce::Debounce { quiet, max_wait: quiet * 3 },
            _ => Coalesce::None,
        },
        rate: (random.u8(..5) == 0)
            .then(|| Rate { per_second: [0.5, 2.0][random.usize(..2)], burst: random.u32(1..4) }),
        breaker: (random.u8(..6) == 0)
            .then(|| Breaker { failures: random.u32(2..5), pause: SECOND * 10 }),
        expire_after: (random.u8(..20) == 0).then(|| SECOND * 600),
    }
}

fn say(random: &mut Rng) -> Say {
    let after = [None, None, None, Some(SECOND * 3), Some(SECOND * 90)][random.usize(..5)];
    match random.u8(..10) {
        0..4 => Say::Ack,
        4..7 => Say::Nack(NackAction::Retry, after),
        7 => Say::Nack(NackAction::DeadLetter, None),
        _ => Say::Nack(NackAction::Release, after),
    }
}

fn fault(random: &mut Rng) -> Fault {
    [Fault::BeforeWrite, Fault::AfterWrite, Fault::Fenced][random.usize(..3)]
}

/// Picks a lease: mostly one of the newest.
fn back(random: &mut Rng) -> usize {
    if random.u8(..4) > 0 { random.usize(..5) } else { random.usize(..80) }
}

impl Operation {
    /// Picks the operation number `at`; `head` is where the log ends. A run begins with subscriptions and consumers.
    pub(super) fn random(random: &mut Rng, at: usize, head: u64) -> Self {
        let (name, consumer) = (random.usize(..NAMES.len()), random.usize(..ROOMS.len()));
        let first = at - 1;
        match random.u16(..1_000) {
            _ if first < NAMES.len() => Self::create(random, first),
            _ if first < NAMES.len() * 2 => Self::Join { name: first - NAMES.len(), consumer },
            0..130 => Self::Append((0..random.usize(1..6)).map(|_| Kind::random(random)).collect()),
            130..145 => Self::AppendAgain,
            145..175 => Self::create(random, name),
            175..180 => Self::Delete { name },
            180..270 => Self::Join { name, consumer },
            270..295 => Self::Leave { name, consumer },
            295..320 => Self::Stall { name, consumer, stalls: random.bool() },
            320..610 => Self::Settle { back: back(random), say: say(random) },
            610..640 => Self::Extend {
                back: back(random),
                duration: [None, Some(SECOND), Some(SECOND * 90)][random.usize(..3)],
                checkpoint: (random.u8(..3) == 0).then(|| Bytes::from_static(b"half done")),
            },
            640..670 => Self::of_dead_letters(random, name),
            670..695 => Self::Pause {
                name,
                pause: [PauseFor::Off, PauseFor::Off, PauseFor::On, PauseFor::Seconds(20)]
                    [random.usize(..4)],
            },
            695..715 => Self::Retake {
                name,
                takes: takes(random, name),
                from_after: random.bool().then(|| random.u64(..=head)),
            },
            715..730 => Self::ChangePolicy { name, policy: Box::new(policy(random)) },
            730..740 => Self::Seek { name, after: random.u64(..=head), dry: random.u8(..3) == 0 },
            _ => Self::of_the_world(random),
        }
    }

    /// Picks what retention does, if it does something.
    pub(super) fn retention(random: &mut Rng, head: u64) -> Option<Self> {
        (random.u8(..25) == 0).then(|| {
            let soft = random.u64(..=head + 1).max(1);
            // Mostly what is open is kept.
            let hard = if random.u8(..3) == 0 { random.u64(..=soft).max(1) } else { 1 };
            Self::Trim { soft, hard }
        })
    }

    /// Picks a replay, if there is one.
    pub(super) fn replay(random: &mut Rng, head: u64) -> Option<Self> {
        (random.u8(..12) == 0).then(|| {
            let through = random.u64(..=head);
            // Mostly a few of the newest, now and then all.
            let after = [through.saturating_sub(random.u64(1..8)), random.u64(..=through)]
                [random.usize(..2)];
            let (name, limit) = (random.usize(..NAMES.len()), [2, 100][random.usize(..2)]);
            Self::Replay { name, after, through, limit, dry: random.u8(..6) == 0 }
        })
    }

    fn create(random: &mut Rng, name: usize) -> Self {
        let (takes, earliest) = (takes(random, name), random.u8(..3) > 0);
        Self::Create { name, takes, earliest, policy: Box::new(policy(random)) }
    }

    fn of_dead_letters(random: &mut Rng, name: usize) -> Self {
        match ([1, 100][random.usize(..2)], random.u8(..4)) {
            (100, 0) => Self::Purge { name, limit: 100 },
            (limit, 0) => Self::Redrive { name, limit, dry: true },
            (limit, _) => Self::Redrive { name, limit, dry: false },
        }
    }

    /// Picks what time and faults do.
    fn of_the_world(random: &mut Rng) -> Self {
        match random.u8(..130) {
            0..30 => Self::Pass(millis(random.u64(..2_000))),
            30..50 => Self::Pass(millis(random.u64(..20_000))),
            50..56 => Self::Pass(millis(random.u64(..200_000))),
            56..80 => Self::NextTimer,
            80..84 => Self::WallJump(random.i64(-10_000..10_000)),
            84..94 => Self::FailCommit(fault(random)),
            94..98 => Self::FailAppend(fault(random)),
            98..105 => Self::Slow,
            105..117 => Self::Release,
            117..126 => Self::Crash,
            _ => Self::Restart,
        }
    }
}

fn takes(random: &mut Rng, name: usize) -> Takes {
    if name == 2 && random.u8(..4) > 0 {
        return Takes::DeadLetters;
    }
    Takes::EVERY[random.usize(..4)]
}
