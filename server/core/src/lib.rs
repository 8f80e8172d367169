//! Hookline's decisions, as values in and values out: no clock, no randomness, no I/O, no async.
//!
//! The modules stand in the order in which an event meets them.

pub mod time;

pub mod text;

pub mod metadata;

pub mod event;

pub mod rate;

pub mod source;

pub mod provider;

pub mod verify;

pub mod normalize;

pub mod pattern;

pub mod filter;

pub mod delivery;

#[doc(hidden)]
pub mod planted;
