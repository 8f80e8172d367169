//! The front as a sender meets it: each row of the table of answers.

mod connections;
mod handshakes;
mod kit;
mod logs;
mod metrics;
mod overload;
mod rates;
mod requests;
