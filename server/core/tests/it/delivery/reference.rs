//! What a subscription must do, written down naively from the table of states: every delivery on its own, no queues, no
//! timers, no commits but "this is durable now".

use std::collections::{BTreeMap, BTreeSet};

use hookline_core::{
    delivery::{
        AttemptEnd, LeaseId, NackAction, Outcome, Pause, Policy, RequestId, Stamp, StreamId,
    },
    time::Timestamp,
};

use super::flow::Gate;

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Open,
    Done,
    Dead,
    /// Dead, without its letter.
    Purged,
    /// By this event.
    Superseded(u64),
}

/// When a delivery is due again: chosen at random within bounds, and known once it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Due {
    Now,
    At(Timestamp),
    Between(Timestamp, Timestamp),
}

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) end: End,
    pub(super) generation: u32,
    pub(super) attempts: u32,
    pub(super) give_backs: u32,
    pub(super) history: Vec<(u32, String, AttemptEnd)>,
    pub(super) due: Due,
    pub(super) ended: Option<Stamp>,
    pub(super) late_ack: bool,
    pub(super) redriven: bool,
    /// Whether it is handed out once more although the floor has passed it.
    pub(super) replayed: bool,
    /// Whether its letter was deleted before.
    pub(super) was_purged: bool,
    /// Whether it was too old to be kept.
    pub(super) retired: bool,
    pub(super) lease: Option<Run>,
    /// Rises with each write.
    pub(super) version: u64,
}

/// A running lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) stamp: Stamp,
    pub(super) consumer: String,
    pub(super) started: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) checkpointed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) live: Facts,
    pub(super) run: Option<Run>,
    pub(super) waiting: bool,
    /// The last time that was looked at what is due since it began to wait.
    pub(super) looked_at: Option<Timestamp>,
    pub(super) shunned: Option<(String, Timestamp)>,
    pub(super) resource: Option<u64>,
    /// Whether a scan has found it since the last restart.
    pub(super) scanned: bool,
    /// Whether it waits for the next commit, and for the one that is out, since it took others' places.
    pub(super) blocked: (bool, bool),
    pub(super) staged: Option<Facts>,
    pub(super) flying: Option<Facts>,
    pub(super) durable: Facts,
    /// The version of the newest answer that was given.
    pub(super) confirmed: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) stream: Option<StreamId>,
    pub(super) room: usize,
    pub(super) heard: Timestamp,
    pub(super) restarted: bool,
    /// The leases that its transport has not taken, those that have ended since included.
    pub(super) unsent: BTreeSet<Stamp>,
    /// Those that its stream of before was not sent.
    pub(super) lost_on_the_way: BTreeSet<Stamp>,
    /// Its transport left something and has taken nothing since.
    pub(super) stuck: bool,
}

impl Consumer {
    pub(super) fn absent(heard: Timestamp, restarted: bool) -> Self {
        let (unsent, lost_on_the_way) = (BTreeSet::new(), BTreeSet::new());
        Self { stream: None, room: 0, heard, restarted, unsent, lost_on_the_way, stuck: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said {
    Ack,
    Nack(NackAction),
}

#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) said: Said,
    pub(super) at: Timestamp,
    pub(super) version: u64,
}

/// What a question must be answered, and which version of its delivery must be durable by then.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Settled {
        lease: LeaseId,
        allowed: Vec<Outcome>,
        version: u64,
        ack: bool,
    },
    Extended {
        lease: LeaseId,
        allowed: Vec<Result<Timestamp, Outcome>>,
        version: u64,
    },
    Redriven {
        sequences: Vec<(u64, u64)>,
    },
    Purged {
        sequences: Vec<(u64, u64)>,
    },
    Replayed {
        opened: Vec<(u64, u64)>,
        already_open: usize,
        dead: usize,
    },
    Reconfigured,
    /// The versions of those that are given up.
    Retired {
        given_up: Vec<(u64, u64)>,
    },
}

#[derive(Debug)]
pub(super) struct Reference {
    pub(super) policy: Policy,
    /// The most attempts that any policy so far has allowed.
    pub(super) max_attempts: u32,
    pub(super) gate: Gate,
    /// Since when debounced resources wait, and until when.
    pub(super) quiet: BTreeMap<u64, (Timestamp, Timestamp)>,
    /// When what had been leased was superseded, as far as that is remembered.
    pub(super) superseded_at: BTreeMap<u64, Timestamp>,
    pub(super) epoch: u64,
    pub(super) now: Timestamp,
    pub(super) deliveries: BTreeMap<u64, Delivery>,
    pub(super) consumers: BTreeMap<String, Consumer>,
    pub(super) words: BTreeMap<(u64, Stamp), Word>,
    pub(super) expected: BTreeMap<RequestId, Expected>,
    pub(super) lost: Vec<(StreamId, Stamp)>,
    pub(super) newest: Option<Stamp>,
    /// The lease whose ack was confirmed, by sequence, and its generation: of each generation for ever one.
    pub(super) acked: BTreeMap<u64, (u32, Stamp)>,
    /// What was handed out last.
    pub(super) handed: u64,
    /// How many deaths are durable.
    pub(super) deaths: usize,
    pub(super) versions: u64,
    /// How often the rarer ways were gone, so that a run can be seen to go them.
    pub(super) ways: BTreeMap<&'static str, u64>,
}

impl Delivery {
    pub(super) fn new(resource: Option<u64>) -> Self {
        let facts = Facts {
            end: End::Open,
            generation: 0,
            attempts: 0,
            give_backs: 0,
            history: Vec::new(),
            due: Due::Now,
            ended: None,
            late_ack: false,
            redriven: false,
            replayed: false,
            was_purged: false,
            retired: false,
            lease: None,
            version: 0,
        };
        Self {
            live: facts.clone(),
            run: None,
            waiting: false,
            looked_at: None,
            shunned: None,
            resource,
            scanned: false,
            blocked: (false, false),
            staged: None,
            flying: None,
            durable: facts,
            confirmed: 0,
        }
    }

    /// Stops waiting if it is known when it was due, and somebody looked since.
    pub(super) fn wait_until_due(&mut self) {
        if let Due::At(due) = self.live.due
            && Some(due) <= self.looked_at
        {
            self.waiting = false;
        }
    }

    /// Whether it may be leased, to a consumer that did not give it back.
    pub(super) fn is_ready(&self) -> bool {
        let written = self.staged.is_none() && self.flying.is_none();
        let written = written && self.blocked == (false, false);
        self.live.end == End::Open && self.run.is_none() && !self.waiting && written
    }
}

impl Reference {
    pub(super) fn new(policy: Policy, now: Timestamp) -> Self {
        Self {
            gate: Gate::new(&policy, Pause::Off, now),
            quiet: BTreeMap::new(),
            superseded_at: BTreeMap::new(),
            max_attempts: policy.max_attempts,
            policy,
            epoch: 1,
            now: Timestamp::EPOCH,
            deliveries: BTreeMap::new(),
            consumers: BTreeMap::new(),
            words: BTreeMap::new(),
            expected: BTreeMap::new(),
            lost: Vec::new(),
            newest: None,
            acked: BTreeMap::new(),
            handed: 0,
            deaths: 0,
            versions: 0,
            ways: BTreeMap::new(),
        }
    }

    pub(super) fn went(&mut self, way: &'static str) {
        *self.ways.entry(way).or_default() += 1;
    }

    /// Whether a consumer may be given another lease.
    pub(super) fn has_room(&self, name: &str, who: &Consumer) -> bool {
        let sends = || self.held_by(name).any(|(_, run)| who.unsent.contains(&run.stamp));
        who.stream.is_some() && self.held_by(name).count() < who.room && !(who.stuck && sends())
    }

    /// Marks the facts of a delivery as to be written; returns their version.
    pub(super) fn write(&mut self, n: u64) -> u64 {
        self.versions += 1;
        let delivery = self.deliveries.get_mut(&n).unwrap();
        delivery.live.version = self.versions;
        let lease = delivery.run.clone().filter(|run| run.checkpointed);
        delivery.staged = Some(Facts { lease, ..delivery.live.clone() });
        self.versions
    }

    pub(super) fn held_by(&self, consumer: &str) -> impl Iterator<Item = (u64, &Run)> {
        self.deliveries
            .iter()
            .filter_map(|(n, delivery)| Some((*n, delivery.run.as_ref()?)))
            .filter(move |(_, run)| run.consumer == consumer)
    }

    pub(super) fn heard(&mut self, consumer: &str, now: Timestamp) {
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.heard = now;
            consumer.restarted = false;
        }
    }
}
