//! Frames that cost the sender nothing: pings, settings, windows and what else carries no data, and headers that are large.
//! HTTP/2 lets a client send them without end, and the HTTP library works on all of them; a connection that sends too many
//! is read more slowly.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Sleep, sleep};

use crate::limits::{
    EMPTY_FRAME_BYTES, EMPTY_FRAMES_INTERVAL, EMPTY_FRAMES_MAX, HEADER_BYTES_FREE,
    HEADER_BYTES_PER_FRAME,
};

/// What comes before the first frame, in bytes.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// The flag of frames of which a part is padding.
const PADDED: u8 = 8;
/// The most that padding takes: its length, a byte, and as much as that says.
const PADDING_BYTES_MAX: usize = 256;

/// Follows the frames of a connection as its bytes come in (RFC 9113, section 4.1).
#[derive(Debug)]
pub(super) struct Meter {
    /// How many bytes come before the next frame begins.
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_length: usize,
    /// How many frames without data came since the interval began, and what large headers cost.
    count: usize,
    /// The end of the interval; `None` before the first frame without data.
    interval: Option<Pin<Box<Sleep>>>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_length: 0,
            count: 0,
            interval: None,
        }
    }

    /// Waits until more may be read: at once, unless too many frames came without data.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if EMPTY_FRAMES_MAX <= self.count {
            if let Some(interval) = &mut self.interval {
                ready!(interval.as_mut().poll(cx));
            }
            (self.interval, self.count) = (None, 0);
        }
        Poll::Ready(())
    }

    /// Takes in bytes that were read.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let missing = HEAD_BYTES - self.head_length;
            let (of_head, rest) = bytes.split_at(missing.min(bytes.len()));
            for byte in of_head {
                if let Some(place) = self.head.get_mut(self.head_length) {
                    *place = *byte;
                }
                self.head_length += 1;
            }
            bytes = rest;
            if self.head_length == HEAD_BYTES {
                self.begin();
            }
        }
    }

    /// Takes in that a frame begins.
    fn begin(&mut self) {
        let [one, two, three, kind, flags, ..] = self.head;
        let length = usize::from(one) << 16 | usize::from(two) << 8 | usize::from(three);
        (self.skip, self.head_length) = (length, 0);
        let cost = match kind {
            // Each is a call, and work that is bounded elsewhere; but for headers without end.
            HEADERS => length.saturating_sub(HEADER_BYTES_FREE) / HEADER_BYTES_PER_FRAME,
            CONTINUATION => 1 + length / HEADER_BYTES_PER_FRAME,
            // All of it may be padding.
            DATA if flags & PADDED != 0 && length < EMPTY_FRAME_BYTES + PADDING_BYTES_MAX => 1,
            DATA if EMPTY_FRAME_BYTES <= length => 0,
            _ => 1,
        };
        if 0 < cost {
            self.count += cost;
            self.interval.get_or_insert_with(|| Box::pin(sleep(EMPTY_FRAMES_INTERVAL)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::{advance, timeout};

    use super::*;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7];

    fn data(length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, 0, 0, 0, 0, 0, 1];
        frame.extend(vec![6; usize::from(length)]);
        frame
    }

    fn begun() -> Meter {
        let mut meter = Meter::new();
        meter.take(&[b'P'; PREFACE_BYTES]);
        meter
    }

    #[tokio::test]
    async fn frames_are_counted_however_their_bytes_are_cut() {
        let headers = [&[0, 0, 5, HEADERS, 4, 0, 0, 0, 1][..], &[6; 5]].concat();
        let frames = [&PING[..], &headers, &data(200), &PING, &data(0), &data(3), &PING].concat();
        for size in 1..=frames.len() {
            let mut meter = begun();
            frames.chunks(size).for_each(|bytes| meter.take(bytes));
            assert_eq!((meter.count, meter.skip, meter.head_length), (5, 0, 0), "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_too_many_of_them_is_read_on_in_the_next_interval() {
        let mut meter = begun();
        meter.take(&PING.repeat(EMPTY_FRAMES_MAX - 1));
        assert!(timeout(Duration::ZERO, poll_fn(|cx| meter.poll_ready(cx))).await.is_ok());
        meter.take(&PING);
        let soon = EMPTY_FRAMES_INTERVAL - Duration::from_millis(1);
        assert!(timeout(soon, poll_fn(|cx| meter.poll_ready(cx))).await.is_err());
        assert!(
            timeout(Duration::from_millis(2), poll_fn(|cx| meter.poll_ready(cx))).await.is_ok()
        );
        assert_eq!(meter.count, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_over_a_longer_time_and_any_number_with_data_are_read_at_once() {
        let mut meter = begun();
        meter.take(&PING.repeat(EMPTY_FRAMES_MAX / 2));
        advance(EMPTY_FRAMES_INTERVAL).await;
        meter.take(&PING.repeat(EMPTY_FRAMES_MAX));
        assert!(timeout(Duration::ZERO, poll_fn(|cx| meter.poll_ready(cx))).await.is_ok());
        meter.take(&data(200).repeat(EMPTY_FRAMES_MAX));
        assert_eq!(meter.count, 0);
    }

    #[tokio::test]
    async fn frames_that_may_be_nothing_but_padding_are_counted() {
        let mut meter = begun();
        let padded = |length: u16| {
            let [high, low] = length.to_be_bytes();
            let mut frame = vec![0, high, low, DATA, PADDED, 0, 0, 0, 1];
            frame.extend(vec![6; usize::from(length)]);
            frame
        };
        for length in [1, 200, 260, 261, 2_000] {
            meter.take(&padded(length));
        }
        assert_eq!((meter.count, meter.skip), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn large_headers_cost_as_much_as_many_of_them() {
        let headers = |kind, length: u16| {
            let [high, low] = length.to_be_bytes();
            [vec![0, high, low, kind, 4, 0, 0, 0, 1], vec![6; usize::from(length)]].concat()
        };
        // Those of ordinary calls cost nothing.
        let mut meter = begun();
        meter.take(&headers(HEADERS, 1_000).repeat(EMPTY_FRAMES_MAX));
        assert_eq!(meter.count, 0);
        for kind in [HEADERS, CONTINUATION] {
            let mut meter = begun();
            meter.take(&headers(kind, 16_384).repeat(2));
            assert!(timeout(Duration::ZERO, poll_fn(|cx| meter.poll_ready(cx))).await.is_err());
            let later = EMPTY_FRAMES_INTERVAL + Duration::from_millis(1);
            assert!(timeout(later, poll_fn(|cx| meter.poll_ready(cx))).await.is_ok());
        }
    }
}
