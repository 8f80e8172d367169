//! The broker in a world that can be moved step by step: the real tasks, router and announcer over the store in memory,
//! with virtual clocks, planned failures, slow writes, and crashes between any two steps.
//!
//! A run is a function of its seed. After each of its operations, what can be seen from outside is checked against what
//! is known: what was confirmed, delivered, settled. A failure prints its seed and the last operations. That the checks
//! find something is checked too: by bugs that are planted ([`hookline_core::planted`]).

mod clock;

mod stepper;

mod events;

mod operation;

mod expect;

mod oracle;

mod settle;

mod check;

mod world;

mod perform;

mod rest;

mod run;

mod tests;
