//! Through the wire only: the real binary, or the hub on free ports.

mod cli;
mod readme;
