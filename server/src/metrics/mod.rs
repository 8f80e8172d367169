//! What is measured, and how it is told to Prometheus.
//!
//! [`family`] is the one table of names; `server/docs/metrics.md` says what each means, and a test compares the two. Who owns
//! a figure keeps it, and writes it as a [`Measured`] at each scrape: nothing is counted twice, and what has gone leaves no
//! series behind. The writer is our own, since the tables are the owners' own values: a registry would be a copy of them.

pub mod family;

mod histogram;

mod process;

mod text;

#[cfg(test)]
mod tests;

use std::{fmt::Debug, sync::Arc};

pub use self::{
    family::Family,
    histogram::Histogram,
    process::Process,
    text::{Samples, Text},
};
use crate::{limits::SCRAPE_TIME_MAX, store::BoxFuture};

/// The content type of [`scrape`]'s answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A part of the hub that has figures.
pub trait Measured: Debug + Send + Sync {
    /// Writes them as they are now.
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()>;
}

/// Returns the figures of all parts. One that is not done within [`SCRAPE_TIME_MAX`] is left out, so that a scrape ends
/// also where a disk hangs.
pub async fn scrape(parts: &[Arc<dyn Measured>]) -> String {
    let mut all = Text::default();
    for part in parts {
        let mut text = Text::default();
        let measured = tokio::time::timeout(SCRAPE_TIME_MAX, part.measure(&mut text)).await;
        match measured {
            Ok(()) => all.append(text),
            Err(_) => tracing::warn!(?part, "left out of the metrics: no answer"),
        }
    }
    all.into_string()
}
