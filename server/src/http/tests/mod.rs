//! The front as a sender meets it: each row of the table of answers.

mod connections;
mod kit;
mod logs;
mod overload;
mod requests;
