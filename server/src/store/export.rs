//! A copy of all that a store keeps, as it is at one moment: what a backup is made of.
//!
//! What is copied are rows: a key and a content, whose meaning `server/docs/store.md` tells. Another store can read them by
//! that table, whatever it keeps them in.

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use hookline_core::event::Sequence;

use super::BoxFuture;

/// A store that can be copied while it works.
pub trait Export: Debug + Send + Sync + 'static {
    /// Begins a copy of everything as it is durable now: the log up to its head, and each ledger as of the last commit. What
    /// is written later is not part of it. One copy runs at a time.
    fn export(&self) -> BoxFuture<'_, Result<Exporting, ExportError>>;
}

/// The moment that a copy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The version of the layout of its rows.
    pub layout_version: u32,
    /// The sequence of the newest event; 0: there is none.
    pub head: u64,
    /// The first that is kept; the next to come if none is.
    pub first: Sequence,
    /// How many subscriptions there are.
    pub subscription_count: u64,
}

/// A copy that has begun. Dropping it ends it, and what was trimmed meanwhile can go.
#[derive(Debug)]
pub struct Exporting {
    /// The moment.
    pub mark: Mark,
    /// The rows.
    pub rows: Box<dyn ExportRows>,
}

/// The rows of a copy, page by page, those of the log last.
pub trait ExportRows: Debug + Send {
    /// Reads the next rows, in the order of their keys within a section; `None`: that was all.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Page>, ExportError>>;
}

/// Some rows, at least one: about half a MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which rows.
    pub section: Section,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Of subscriptions, and the store's own.
    Subscriptions,
    /// Of the log.
    Log,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// A byte of kind, and numbers.
    pub key: Bytes,
    /// What it says, without a checksum.
    pub content: Bytes,
}

/// Why a copy was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExportError {
    /// Another one runs.
    #[error("another backup is being made")]
    Busy,
    /// A row is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(Arc<str>),
    /// It was not read for too long, or too slowly: what it holds on to has grown too large.
    #[error("the backup was given up: {0}")]
    GivenUp(&'static str),
    /// The store can't be read now.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
}
