//! Reading requests: fields into values of the core, or a status that names the field.

use std::{sync::Arc, time::Duration};

use hookline_core::{
    delivery::CONSUMER_BYTES_MAX,
    event::{Sequence, SubscriptionName},
    filter::Filter,
    pattern::{PatternSet, PatternSetError},
    time::Timestamp,
};
use hookline_proto::v1;
use tonic::Status;

use super::status::invalid;
use crate::{
    broker::{Broker, CreateError, Identity, Start},
    limits::{IN_FLIGHT_MAX, PAYLOAD_BYTES_DEFAULT, TEXT_BYTES_MAX},
};

/// How the payloads of an answer are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) kind: ViewKind,
    /// A payload above this many bytes is left out.
    pub(super) bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ViewKind {
    Bytes,
    Struct,
    None,
}

pub(super) fn view(payload_view: i32, bytes_max: Option<u32>) -> Result<View, Status> {
    let kind = match v1::PayloadView::try_from(payload_view) {
        Ok(v1::PayloadView::Unspecified | v1::PayloadView::Bytes) => ViewKind::Bytes,
        Ok(v1::PayloadView::Struct) => ViewKind::Struct,
        Ok(v1::PayloadView::None) => ViewKind::None,
        Err(_) => return Err(invalid("payload_view", format!("{payload_view} is no view"))),
    };
    let default = u64::try_from(PAYLOAD_BYTES_DEFAULT).unwrap_or(u64::MAX);
    Ok(View { kind, bytes_max: bytes_max.map_or(default, u64::from) })
}

/// As [`view`], for answers that bring a payload whatever its size.
pub(super) fn whole_view(payload_view: i32) -> Result<View, Status> {
    Ok(View { bytes_max: u64::MAX, ..view(payload_view, None)? })
}

pub(super) fn subscription_name(field: &str, name: &str) -> Result<SubscriptionName, Status> {
    SubscriptionName::parse(name).map_err(|error| invalid(field, error))
}

/// Reads patterns; `None` if there are none.
pub(super) fn patterns(field: &str, patterns: &[String]) -> Result<Option<PatternSet>, Status> {
    if patterns.is_empty() {
        return Ok(None);
    }
    PatternSet::parse(patterns).map(Some).map_err(|error| match &error {
        PatternSetError::Invalid { index, source } => invalid(format!("{field}[{index}]"), source),
        PatternSetError::Empty | PatternSetError::TooMany | PatternSetError::NothingTaken => {
            invalid(field, error)
        }
    })
}

/// Reads a text that something must have as its own; `None` if it is empty: any.
pub(super) fn text(field: &str, text: &str) -> Result<Option<String>, Status> {
    if TEXT_BYTES_MAX < text.len() {
        let problem = format!("has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(invalid(field, problem));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Reads a filter; `None` if it is empty.
pub(super) fn filter(field: &str, text: &str) -> Result<Option<Filter>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    Filter::compile(text).map(Some).map_err(|error| invalid(field, error))
}

pub(super) fn consumer(name: &str) -> Result<Arc<str>, Status> {
    if name.len() > CONSUMER_BYTES_MAX {
        let problem = format!("has {} bytes, at most {CONSUMER_BYTES_MAX} are allowed", name.len());
        return Err(invalid("consumer", problem));
    }
    if let Some(at) = name.find(char::is_control) {
        return Err(invalid("consumer", format!("has a control character at byte {at}")));
    }
    if name.is_empty() {
        return Ok(format!("consumer-{}", uuid::Uuid::new_v4()).into());
    }
    Ok(name.into())
}

pub(super) fn max_in_flight(count: Option<u32>) -> Result<u32, Status> {
    match count {
        None => Ok(1),
        Some(count) if (1..=IN_FLIGHT_MAX).contains(&count) => Ok(count),
        Some(_) => Err(invalid("max_in_flight", format!("must be between 1 and {IN_FLIGHT_MAX}"))),
    }
}

pub(super) fn start(start: Option<&v1::StartPosition>) -> Result<Start, Status> {
    place("start", start)
}

/// Reads a place in the log; unset means `latest`.
pub(super) fn place(field: &str, start: Option<&v1::StartPosition>) -> Result<Start, Status> {
    use v1::start_position::Position;
    match start.and_then(|start| start.position.as_ref()) {
        None | Some(Position::Latest(())) => Ok(Start::Latest),
        Some(Position::Earliest(())) => Ok(Start::Earliest),
        Some(Position::Sequence(0)) => Err(invalid(
            format!("{field}.sequence"),
            "sequences begin with 1; `earliest` is the first",
        )),
        Some(Position::Sequence(sequence)) => {
            Ok(Sequence::new(*sequence).map_or(Start::Earliest, Start::Sequence))
        }
        Some(Position::Time(time)) => timestamp(&format!("{field}.time"), time).map(Start::Time),
    }
}

/// Whether a subscription that exists begins where a request says, as far as that can be told: `latest`, and a time
/// after its creation, meant another place then. Where the log was trimmed, all that began before it begins at the oldest
/// event that is kept.
///
/// # Errors
///
/// If the log can't be read.
pub(super) async fn begins(
    broker: &Broker,
    identity: &Identity,
    start: Start,
) -> Result<bool, CreateError> {
    match start {
        Start::Latest => return Ok(true),
        Start::Time(time) if identity.created_at < time => return Ok(true),
        Start::Earliest | Start::Sequence(_) | Start::Time(_) => {}
    }
    match broker.resolve(start).await {
        Ok(after) => Ok(after == identity.start_after.max(broker.log().first().get() - 1)),
        Err(CreateError::OutOfRange { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn timestamp(field: &str, time: &prost_types::Timestamp) -> Result<Timestamp, Status> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let since = nanos.map(|nanos| Duration::from_micros(u64::from(nanos / 1_000)));
    let time = Timestamp::from_secs(time.seconds).zip(since).map(|(secs, since)| secs + since);
    time.ok_or_else(|| invalid(field, "is not a time between the years 0001 and 9999"))
}

/// Reads a duration; a negative one is refused.
pub(super) fn duration(field: &str, value: &prost_types::Duration) -> Result<Duration, Status> {
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match (u64::try_from(value.seconds), nanos) {
        (Ok(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        (Err(_), _) => Err(invalid(field, "must not be negative")),
        (Ok(_), None) if value.seconds == 0 && (-999_999_999..0).contains(&value.nanos) => {
            Err(invalid(field, "must not be negative"))
        }
        (Ok(_), None) => {
            Err(invalid(field, format!("has {} nanos, not 0 to 999,999,999", value.nanos)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_is_none_is_refused_for_what_is_wrong_with_it() {
        let read = |seconds, nanos| {
            let read = duration("wait", &prost_types::Duration { seconds, nanos });
            read.map_err(|status| status.message().to_owned())
        };
        assert_eq!(read(1, 500_000_000), Ok(Duration::from_millis(1_500)));
        let negative = Err("`wait`: must not be negative".to_owned());
        assert_eq!([read(-1, 0), read(0, -1), read(-1, -5)], [(); 3].map(|()| negative.clone()));
        for nanos in [1_000_000_000, i32::MAX, i32::MIN] {
            let problem = format!("`wait`: has {nanos} nanos, not 0 to 999,999,999");
            assert_eq!(read(1, nanos), Err(problem));
        }
        // The signs of a duration must agree.
        assert!(read(1, -1).unwrap_err().contains("has -1 nanos"));
    }
}
