//! Reading a body: counted while it streams, within the memory for all bodies, and only as long as it comes on.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::timeout};

use super::counts::Cause;
use crate::{
    budget::{Exhausted, Part},
    limits,
};

/// A whole body, and its part of the budget, given back on drop.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _part: Part,
}

impl From<Exhausted> for Cause {
    fn from(Exhausted: Exhausted) -> Self {
        Self::Overload
    }
}

/// Returns whether the headers declare a body of more than `bytes_max` bytes.
pub(super) fn is_declared_above(bytes_max: usize, headers: &HeaderMap) -> bool {
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let above = |length: u64| usize::try_from(length).map_or(true, |length| bytes_max < length);
    declared.is_some_and(above)
}

/// Reads a body of at most `bytes_max` bytes.
///
/// The first [`limits::BODY_FREE_BYTES`] are not counted. Of what lies above, a declared length takes its part of the
/// budget before the first byte; a body without one takes it as it grows, so that it can fail for overload halfway.
pub(super) async fn read(
    body: Body,
    bytes_max: usize,
    budget: &Arc<Semaphore>,
) -> Result<Held, Cause> {
    let declared = body.size_hint().exact();
    let declared = declared.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if declared.is_some_and(|length| bytes_max < length) {
        return Err(Cause::BodyTooLarge);
    }
    let mut part = Part::new(budget, limits::BODY_FREE_BYTES);
    part.cover(declared.unwrap_or(0), 0).await?;
    let reading = collect(body, declared.unwrap_or(0), bytes_max, part);
    timeout(limits::BODY_TIME_MAX, reading).await.map_err(|_| Cause::BodyStalled)?
}

async fn collect(
    mut body: Body,
    expected: usize,
    bytes_max: usize,
    mut part: Part,
) -> Result<Held, Cause> {
    // Never more than declared and checked. Memory that is not written to costs nothing.
    let mut bytes = BytesMut::with_capacity(expected);
    loop {
        let next = timeout(limits::BODY_PROGRESS_TIME_MAX, body.frame());
        let frame = match next.await.map_err(|_| Cause::BodyStalled)? {
            None => break,
            Some(frame) => frame.map_err(|_| Cause::BodyBroken)?,
        };
        // Trailers say nothing that is signed.
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len().saturating_add(data.len());
        if bytes_max < length {
            return Err(Cause::BodyTooLarge);
        }
        part.cover(length, limits::BODY_GROWTH_BYTES).await?;
        bytes.extend_from_slice(&data);
    }
    Ok(Held { bytes: bytes.freeze(), _part: part })
}
