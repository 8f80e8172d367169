//! The Rust client library of Hookline: webhooks in, acknowledged streams out.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use hookline_client::Client;
//!
//! let client = Client::connect("http://127.0.0.1:4160")?;
//! client
//!     .subscription("reviewer")
//!     .patterns(["github/pull_request.*"])
//!     .run(4, |delivery| async move {
//!         println!("{} (attempt {})", delivery.subject(), delivery.attempt());
//!         Ok::<_, std::io::Error>(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Several processes that subscribe under one subscription's name share its events. What this
//! library does by itself:
//!
//! - **Leases** are extended at a third of their duration, also those of deliveries that are here and
//!   not begun yet. A worker learns that its lease is lost by [`Delivery::lost`].
//! - **Acks and nacks** go in batches, and are sent again when an answer is lost, which is safe.
//! - **Broken connections** are made again, with growing waits, under the same consumer name: what is
//!   being worked on stays with its worker.
//! - **What is not settled** is given back when it is dropped. A handler's error or panic nacks.
#![warn(missing_docs)]

mod backoff;
mod book;
mod client;
mod clock;
mod convert;
mod deliveries;
mod delivery;
mod error;
mod keeper;
mod limits;
mod lost;
mod outbox;
mod run;
mod session;
mod shared;
mod subscription;
mod token;

pub use hookline_proto::v1 as proto;
pub use hookline_proto::v1::{Attempt, Event, NackAction, PayloadView};

pub use book::Newer;
pub use client::{Client, ClientBuilder};
pub use deliveries::Deliveries;
pub use delivery::{Delivery, Nack, Settling};
pub use error::{Error, LeaseError};
pub use outbox::Settled;
pub use subscription::{Policy, Start, SubscriptionBuilder};
pub use token::{Bearer, Transport};

/// Returns an event's subject, `<source>/<event_type>`.
///
/// ```
/// let event = hookline_client::Event {
///     source: "github".into(),
///     event_type: "pull_request.opened".into(),
///     ..Default::default()
/// };
/// assert_eq!(hookline_client::subject(&event), "github/pull_request.opened");
/// ```
#[must_use]
pub fn subject(event: &Event) -> String {
    format!("{}/{}", event.source, event.event_type)
}
