//! The client library against a hub that does what each test says.
//!
//! Time stands still and jumps to the next timer when nobody can run; the connection is a pipe in
//! memory, so nothing here waits for the kernel but the one test of a real socket.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_enum_variant,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod flow;
mod hub;
mod leases;
mod reconnecting;
mod running;
mod settling;
