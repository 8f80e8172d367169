//! Every limit of this crate, with its reason.

use std::time::Duration;

/// A message may carry one event of 25 MiB (the hub's own maximum) and its facts.
pub(crate) const DECODED_MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The contract's limit of one batch of acks, nacks or extensions.
pub(crate) const BATCH_COUNT_MAX: usize = 1_000;

/// gRPC servers refuse a request above 4 MiB; a batch of nacks with long reasons stays well below.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The hub cuts the reason of a nack here; longer ones are not worth their way.
pub(crate) const REASON_BYTES_MAX: usize = 4 * 1024;

/// The hub cuts the class of an error here.
pub(crate) const ERROR_TYPE_BYTES_MAX: usize = 256;

/// The hub cuts the progress of a lease here.
pub(crate) const PROGRESS_BYTES_MAX: usize = 1024;

/// How many causes of an error are told: a chain that points back to itself has no end.
pub(crate) const CAUSE_COUNT_MAX: usize = 32;

/// How long making a connection may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the connection is probed: below the 60 s after which proxies forget an idle one.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long the answer to a probe may take.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `ready` may take: the hub makes a new subscription durable before it says so.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream without a message for this long is given up: heartbeats come every 15 s.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How long one Ack, Nack or ExtendLease call may take before it is sent again.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an ack or a nack is tried, unless the builder says otherwise.
pub(crate) const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long handlers may go on after a stop, unless the builder says otherwise.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(30);

/// The wait before the first try to reconnect; a restarted hub is back within a second or so.
pub(crate) const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);

/// The longest wait between two tries to reconnect: below the default `reconnect_grace` of 15 s.
pub(crate) const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);

/// The wait before a call that failed is sent again, and the longest such wait.
pub(crate) const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
/// See [`RETRY_DELAY_MIN`].
pub(crate) const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

/// The shortest time between two extensions of one lease, whatever a hub says.
pub(crate) const EXTEND_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Below this `reconnect_grace` the stream stays open while a stopping consumer finishes its work:
/// extensions alone would have to come too often to keep it in the hub's memory.
pub(crate) const RECONNECT_GRACE_MIN: Duration = Duration::from_secs(3);

/// What a lease lasts where the hub does not say it: the contract's default.
pub(crate) const LEASE_DURATION_DEFAULT: Duration = Duration::from_secs(60);

const _: () = assert!(BATCH_BYTES_MAX > 2 * REASON_BYTES_MAX, "a batch holds at least one nack");
