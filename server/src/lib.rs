//! The hub: async shells around `hookline-core`, in the order in which an event meets them.

pub mod store;
