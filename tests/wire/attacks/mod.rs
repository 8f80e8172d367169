//! Attacks against the real binary, each beside a client that does nothing wrong: what it posts must be taken, delivered
//! and acked all the while, about as fast as before, and the hub's memory must stay below [`range::MEMORY_MIB_MAX`].
//!
//! Each test prints a line with what was measured; `server/docs/limits.md` shows them. What an attacker sends is the same in
//! each run.

mod clock;
mod ends;
mod frames;
mod headers;
mod posts;
mod range;
mod raw;
mod readers;
mod requests;
mod slow;
mod streams;
