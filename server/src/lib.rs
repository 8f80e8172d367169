//! The hub: async shells around `hookline-core`, in the order in which an event meets them.

pub mod limits;

pub mod config;

pub mod telemetry;

pub mod clock;

pub mod tasks;

pub mod metrics;

pub mod traces;

pub mod tls;

mod transport;

mod files;

mod budget;

mod encoding;

pub mod http;

pub mod store;

pub mod backup;

pub mod broker;

pub mod auth;

pub mod grpc;

pub mod reload;

pub mod app;

pub mod cli;
