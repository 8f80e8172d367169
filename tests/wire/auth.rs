//! Tokens: who may call what, and what does not exist for whom.

mod commands;
mod kit;
mod leaks;
mod matrix;
mod streams;
