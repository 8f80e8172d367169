//! The states of deliveries, and what holds them, in words and colours.

use hookline_client::proto::{DeliveryState, DeliveryStatus, Hold};
use hookline_core::time::Timestamp;

use crate::cli::{
    table::Cell,
    text::{self, Colour},
};

/// Returns a state in the words of `--state`.
pub(in crate::cli) fn state(state: DeliveryState) -> Cell {
    let (word, colour) = match state {
        DeliveryState::Unspecified => ("not-reached", Colour::Plain),
        DeliveryState::Ready => ("ready", Colour::Plain),
        DeliveryState::Leased => ("leased", Colour::Cyan),
        DeliveryState::Waiting => ("waiting", Colour::Yellow),
        DeliveryState::Done => ("done", Colour::Green),
        DeliveryState::Dead => ("dead", Colour::Red),
        DeliveryState::Superseded => ("superseded", Colour::Plain),
    };
    Cell::new(word).in_colour(colour)
}

/// Returns what keeps something from being leased; empty: nothing.
pub(in crate::cli) const fn hold(hold: Hold) -> &'static str {
    match hold {
        Hold::Unspecified => "",
        Hold::Writing => "being written",
        Hold::Resource => "another event of its resource",
        Hold::Quiet => "its resource is not quiet yet",
        Hold::Paused => "paused",
        Hold::Breaker => "too many failures in a row",
        Hold::Rate => "max_per_second",
        Hold::NoRoom => "no consumer with room",
        Hold::WaitingFull => "too many wait for their next attempt",
    }
}

/// Returns what a delivery waits for, or how it is with it now.
pub(in crate::cli) fn now_at(status: &DeliveryStatus, now: Timestamp) -> String {
    match status.state() {
        DeliveryState::Ready => held(status, now),
        DeliveryState::Leased => {
            let left = until(status.lease_expires_at.as_ref(), now);
            match status.progress.as_str() {
                "" => format!("lease ends{left}"),
                progress => format!("{progress} (lease ends{left})"),
            }
        }
        DeliveryState::Waiting => {
            format!("next attempt{}", until(status.next_attempt_at.as_ref(), now))
        }
        DeliveryState::Dead => format!("dead letter {}", status.dead_letter_id),
        DeliveryState::Superseded => format!("replaced by {}", status.superseded_by_sequence),
        DeliveryState::Unspecified | DeliveryState::Done => String::new(),
    }
}

fn held(status: &DeliveryStatus, now: Timestamp) -> String {
    let mut text = hold(status.hold()).to_owned();
    if status.hold() == Hold::Resource && status.blocked_by_sequence != 0 {
        text = format!("behind {} of its resource", status.blocked_by_sequence);
    }
    if status.hold_until.is_some() {
        text.push_str(&until(status.hold_until.as_ref(), now).replace(" in ", " for "));
    }
    text
}

/// Returns how long it is until a time, such as ` in 5s`; nothing where it is not known.
pub(in crate::cli) fn until(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return String::new() };
    format!(" in {}", text::span(text::core_time(time).since(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_delivery_waits_for_is_told_from_now() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let bare = DeliveryStatus::default();
        let cases = [
            (
                DeliveryStatus {
                    state: DeliveryState::Waiting.into(),
                    next_attempt_at: at(1_090),
                    ..bare.clone()
                },
                "next attempt in 1m 30s",
            ),
            (
                DeliveryStatus {
                    state: DeliveryState::Leased.into(),
                    lease_expires_at: at(1_005),
                    progress: "2 of 3".to_owned(),
                    ..bare.clone()
                },
                "2 of 3 (lease ends in 5s)",
            ),
            (
                DeliveryStatus {
                    state: DeliveryState::Ready.into(),
                    hold: Hold::Resource.into(),
                    blocked_by_sequence: 7,
                    ..bare.clone()
                },
                "behind 7 of its resource",
            ),
            (
                DeliveryStatus {
                    state: DeliveryState::Ready.into(),
                    hold: Hold::Paused.into(),
                    hold_until: at(1_060),
                    ..bare.clone()
                },
                "paused for 1m",
            ),
            (DeliveryStatus { state: DeliveryState::Done.into(), ..bare }, ""),
        ];
        for (status, told) in cases {
            assert_eq!(now_at(&status, now), told);
        }
    }
}
