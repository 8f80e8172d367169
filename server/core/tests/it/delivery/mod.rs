//! The delivery state machine, driven with virtual time: scenarios by their ids, and a model that checks random runs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic: that is how it fails"
)]

mod harness;

mod ledger;

mod scenarios_lease;

mod scenarios_retention;
mod scenarios_retry;

mod scenarios_clock;

mod scenarios_stream;

mod scenarios_dead;

mod scenarios_restart;

mod scenarios_flow;

mod scenarios_replay;

mod scenarios_resources;

mod scenarios_moves;

mod reference;

mod flow;

mod claims;

mod observe;

mod invariants;

mod run;

mod model;
