//! Requests as they come in: all of those that are being read have one budget of memory, as the bodies of webhooks have,
//! and one that does not come on is given up. Without it each call of each connection may have the hub keep as much as a
//! message holds.
//!
//! Every method of Hookline's own takes one message, so that its request can be read before its service is asked.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Status, service::Routes};

use super::status;
use crate::{
    budget::{Exhausted, Part},
    limits::{
        BODY_GROWTH_BYTES, BODY_PROGRESS_TIME_MAX, BODY_TIME_MAX, REQUEST_BUDGET_BYTES,
        REQUEST_BYTES_MAX, REQUEST_FREE_BYTES,
    },
};

/// The bytes before a message: whether it is compressed, and how long it is.
const PREFIX_BYTES: usize = 5;

/// Bounds what the requests of all calls take while they are read and worked on.
pub(super) fn bounded(routes: Routes) -> Routes {
    let budget = Arc::new(Semaphore::new(REQUEST_BUDGET_BYTES));
    Routes::from(routes.into_axum_router().layer(from_fn_with_state(budget, take)))
}

async fn take(State(budget): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/hookline.") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let reading = read(body, &budget);
    let read = timeout(BODY_TIME_MAX, reading).await.unwrap_or_else(|_| Err(stalled()));
    match read {
        Ok(Held { bytes, part }) => {
            let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            drop(part);
            response
        }
        Err(status) => {
            tracing::debug!(path = parts.uri.path(), %status, "a request was not read");
            status.into_http()
        }
    }
}

/// A whole request, and its part of the budget, given back on drop.
struct Held {
    bytes: Bytes,
    part: Part,
}

/// Reads a request; of one that is larger than any may be only so much that its service can say so.
///
/// It is copied: what came in a frame of its own holds on to far more memory than it has bytes. Trailers are no part of a
/// request (gRPC over HTTP/2).
async fn read(mut body: Body, budget: &Arc<Semaphore>) -> Result<Held, Status> {
    let mut part = Part::new(budget, REQUEST_FREE_BYTES);
    let mut bytes = BytesMut::new();
    while !body.is_end_stream() && bytes.len() <= PREFIX_BYTES + REQUEST_BYTES_MAX {
        let next = timeout(BODY_PROGRESS_TIME_MAX, body.frame()).await.map_err(|_| stalled())?;
        let Some(frame) = next else { break };
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let covered = part.cover(bytes.len() + data.len(), BODY_GROWTH_BYTES).await;
        covered.map_err(|Exhausted| status::overloaded())?;
        bytes.extend_from_slice(&data);
    }
    Ok(Held { bytes: bytes.freeze(), part })
}

fn stalled() -> Status {
    Status::deadline_exceeded("the request did not come on; nothing was changed")
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use tonic::Code;

    use super::*;
    use crate::limits::BODY_BUDGET_TIME_MAX;

    const MIB: usize = 1 << 20;

    fn budget() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(REQUEST_BUDGET_BYTES))
    }

    /// A request of so many parts of a MiB.
    fn whole(parts: usize) -> Body {
        let part = || Ok::<_, Status>(Bytes::from(vec![0; MIB]));
        Body::from_stream(stream::iter(std::iter::repeat_with(part).take(parts)))
    }

    /// One of which nothing comes after so many bytes.
    fn stalled_after(bytes: usize) -> Body {
        let part = Ok::<_, Status>(Bytes::from(vec![0; bytes]));
        Body::from_stream(stream::iter([part]).chain(stream::pending()))
    }

    #[tokio::test]
    async fn a_small_request_takes_nothing_of_the_budget_and_a_large_one_what_it_has() {
        let budget = budget();
        let small = read(Body::from(vec![0; REQUEST_FREE_BYTES]), &budget).await.unwrap();
        assert_eq!(budget.available_permits(), REQUEST_BUDGET_BYTES);
        let large = read(whole(3), &budget).await.unwrap();
        assert_eq!((small.bytes.len(), large.bytes.len()), (REQUEST_FREE_BYTES, 3 * MIB));
        let taken = REQUEST_BUDGET_BYTES - budget.available_permits();
        assert!((3 * MIB - REQUEST_FREE_BYTES..3 * MIB + BODY_GROWTH_BYTES).contains(&taken));
        drop(large);
        assert_eq!(budget.available_permits(), REQUEST_BUDGET_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn one_for_which_there_is_no_memory_is_refused_after_five_seconds_and_small_ones_go_on() {
        let budget = budget();
        let all = u32::try_from(REQUEST_BUDGET_BYTES).unwrap();
        let others = Arc::clone(&budget).try_acquire_many_owned(all);
        let reading = read(whole(1), &budget);
        tokio::pin!(reading);
        assert!(timeout(BODY_BUDGET_TIME_MAX / 2, &mut reading).await.is_err());
        let refused = timeout(BODY_BUDGET_TIME_MAX, reading).await.unwrap().err().unwrap();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(read(Body::from("an ack"), &budget).await.is_ok());
        drop(others);
        assert!(read(whole(1), &budget).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_on_is_given_up_and_gives_back_what_it_held() {
        let budget = budget();
        for bytes in [1, 10 * MIB] {
            let given_up = read(stalled_after(bytes), &budget).await.err().unwrap();
            assert_eq!(given_up.code(), Code::DeadlineExceeded);
            assert_eq!(budget.available_permits(), REQUEST_BUDGET_BYTES);
        }
    }

    #[tokio::test]
    async fn one_that_is_larger_than_any_may_be_is_handed_on_as_far_as_it_was_read() {
        let held = read(whole(40), &budget()).await.unwrap();
        let largest = PREFIX_BYTES + REQUEST_BYTES_MAX;
        assert!((largest..=largest + MIB).contains(&held.bytes.len()));
    }

    #[tokio::test]
    async fn one_that_comes_byte_by_byte_takes_no_more_memory_than_its_bytes() {
        // Each part holds on to a KiB.
        let part = |at: usize| {
            let part = Bytes::from(vec![u8::try_from(at % 251).unwrap(); 1_024]);
            Ok::<_, Status>(part.slice(..1))
        };
        let body = Body::from_stream(stream::iter((0..50_000).map(part)));
        let held = read(body, &budget()).await.unwrap();
        assert_eq!(held.bytes.len(), 50_000);
        assert!(held.bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    }
}
