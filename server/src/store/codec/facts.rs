//! Facts about subscriptions and their deliveries, as small messages.

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, Background, DeadLetter, Ended, Epoch, LeaseRecord, Past, Reason,
        Record, ResourceKey, Settlement, Stamp,
    },
    event::Sequence,
    time::Timestamp,
};
use prost::Message;

use super::{super::ReadError, damaged, decode, sequence, timestamp};

#[derive(Clone, PartialEq, Message)]
struct AttemptRow {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(string, tag = "2")]
    consumer: String,
    #[prost(sint64, tag = "3")]
    started_at: i64,
    #[prost(sint64, tag = "4")]
    ended_at: i64,
    #[prost(uint32, tag = "5")]
    end: u32,
    #[prost(string, tag = "6")]
    reason: String,
    #[prost(string, tag = "7")]
    error_type: String,
}

fn attempt_rows(history: &[Attempt]) -> Vec<AttemptRow> {
    let row = |attempt: &Attempt| AttemptRow {
        number: attempt.number,
        consumer: attempt.consumer.clone(),
        started_at: attempt.started_at.as_micros(),
        ended_at: attempt.ended_at.as_micros(),
        end: match attempt.end {
            AttemptEnd::Nacked => 2,
            AttemptEnd::Rejected => 3,
            AttemptEnd::LeaseExpired => 4,
            AttemptEnd::MaxLeaseReached => 5,
            AttemptEnd::ConsumerLost => 6,
            AttemptEnd::ReleasedTooOften => 7,
        },
        reason: attempt.reason.clone(),
        error_type: attempt.error_type.clone(),
    };
    history.iter().map(row).collect()
}

fn attempts(rows: Vec<AttemptRow>) -> Result<Vec<Attempt>, ReadError> {
    let attempt = |row: AttemptRow| {
        Ok(Attempt {
            number: row.number,
            consumer: row.consumer,
            started_at: timestamp(row.started_at)?,
            ended_at: timestamp(row.ended_at)?,
            end: match row.end {
                2 => AttemptEnd::Nacked,
                3 => AttemptEnd::Rejected,
                4 => AttemptEnd::LeaseExpired,
                5 => AttemptEnd::MaxLeaseReached,
                6 => AttemptEnd::ConsumerLost,
                7 => AttemptEnd::ReleasedTooOften,
                other => return Err(damaged(format!("the end `{other}` of an attempt"))),
            },
            reason: row.reason,
            error_type: row.error_type,
        })
    };
    rows.into_iter().map(attempt).collect()
}

#[derive(Clone, PartialEq, Message)]
struct StampRow {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    counter: u64,
}

impl From<Stamp> for StampRow {
    fn from(stamp: Stamp) -> Self {
        Self { epoch: stamp.epoch.0, counter: stamp.counter }
    }
}

impl From<StampRow> for Stamp {
    fn from(row: StampRow) -> Self {
        Self { epoch: Epoch(row.epoch), counter: row.counter }
    }
}

#[derive(Clone, PartialEq, Message)]
struct LeaseRow {
    #[prost(message, optional, tag = "1")]
    stamp: Option<StampRow>,
    #[prost(string, tag = "2")]
    consumer: String,
    #[prost(sint64, tag = "3")]
    started_at: i64,
    #[prost(sint64, tag = "4")]
    expires_at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RecordRow {
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(uint32, tag = "3")]
    give_backs: u32,
    /// Written by versions that had no background.
    #[prost(message, repeated, tag = "4")]
    history: Vec<AttemptRow>,
    #[prost(sint64, optional, tag = "5")]
    due_at: Option<i64>,
    #[prost(message, optional, tag = "6")]
    fence: Option<StampRow>,
    #[prost(bool, tag = "7")]
    late_ack: bool,
    #[prost(message, optional, tag = "8")]
    lease: Option<LeaseRow>,
    #[prost(bool, tag = "9")]
    redriven: bool,
    /// When the lease began that may still ack.
    #[prost(sint64, optional, tag = "10")]
    late_ack_since: Option<i64>,
    #[prost(bool, tag = "11")]
    looked_back: bool,
    /// 16 bytes, or none.
    #[prost(bytes = "bytes", tag = "12")]
    resource: Bytes,
}

/// Returns the bytes of an open delivery's record.
pub(in super::super) fn encode_record(record: &Record) -> Vec<u8> {
    RecordRow {
        generation: record.generation,
        attempts: record.attempts,
        give_backs: record.give_backs,
        history: Vec::new(),
        due_at: record.due_at.map(Timestamp::as_micros),
        fence: record.fence.map(StampRow::from),
        late_ack: record.late_ack.is_some(),
        lease: record.lease.as_ref().map(|lease| LeaseRow {
            stamp: Some(lease.stamp.into()),
            consumer: lease.consumer.clone(),
            started_at: lease.started_at.as_micros(),
            expires_at: lease.expires_at.as_micros(),
        }),
        redriven: record.redriven,
        late_ack_since: record.late_ack.map(Timestamp::as_micros),
        looked_back: record.looked_back,
        resource: record
            .resource
            .map_or_else(Bytes::new, |key| Bytes::copy_from_slice(key.as_bytes())),
    }
    .encode_to_vec()
}

/// Reads an open delivery's record; with the attempts that versions without backgrounds kept in it.
pub(in super::super) fn decode_record(bytes: Bytes) -> Result<(Record, Vec<Attempt>), ReadError> {
    let row: RecordRow = decode(bytes, "a record")?;
    let lease = |lease: LeaseRow| {
        let stamp = lease.stamp.ok_or_else(|| damaged("a lease without a stamp"))?;
        Ok::<_, ReadError>(Box::new(LeaseRecord {
            stamp: stamp.into(),
            consumer: lease.consumer,
            started_at: timestamp(lease.started_at)?,
            expires_at: timestamp(lease.expires_at)?,
        }))
    };
    // Earlier versions did not say when that lease began: then at the latest when the delivery was due again.
    let late_ack = match (row.late_ack, row.late_ack_since.or(row.due_at)) {
        (true, since) => Some(since.map_or(Ok(Timestamp::EPOCH), timestamp)?),
        (false, _) => None,
    };
    let resource = match &row.resource[..] {
        [] => None,
        bytes => {
            let bytes = bytes.try_into().map_err(|_| damaged("the resource of a record"))?;
            Some(ResourceKey::from_bytes(bytes))
        }
    };
    let record = Record {
        generation: row.generation,
        attempts: row.attempts,
        give_backs: row.give_backs,
        due_at: row.due_at.map(timestamp).transpose()?,
        fence: row.fence.map(Stamp::from),
        late_ack,
        lease: row.lease.map(lease).transpose()?,
        redriven: row.redriven,
        looked_back: row.looked_back,
        resource,
    };
    Ok((record, attempts(row.history)?))
}

#[derive(Clone, PartialEq, Message)]
struct BackgroundRow {
    #[prost(message, repeated, tag = "1")]
    attempts: Vec<AttemptRow>,
    #[prost(uint64, repeated, tag = "2")]
    superseded: Vec<u64>,
    #[prost(uint64, tag = "3")]
    superseded_count: u64,
}

impl From<&Background> for BackgroundRow {
    fn from(background: &Background) -> Self {
        Self {
            attempts: attempt_rows(&background.attempts),
            superseded: background.superseded.iter().map(|sequence| sequence.get()).collect(),
            superseded_count: background.superseded_count,
        }
    }
}

/// Returns the bytes of a delivery's background, without its checkpoint.
pub(in super::super) fn encode_background(background: &Background) -> Vec<u8> {
    BackgroundRow::from(background).encode_to_vec()
}

/// Reads a delivery's background, without its checkpoint.
pub(in super::super) fn decode_background(bytes: Bytes) -> Result<Background, ReadError> {
    background(decode(bytes, "a background")?)
}

fn background(row: BackgroundRow) -> Result<Background, ReadError> {
    Ok(Background {
        attempts: attempts(row.attempts)?,
        superseded: row.superseded.into_iter().map(sequence).collect::<Result<_, _>>()?,
        superseded_count: row.superseded_count,
        checkpoint: Bytes::new(),
    })
}

#[derive(Clone, PartialEq, Message)]
struct LetterRow {
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(message, repeated, tag = "3")]
    history: Vec<AttemptRow>,
    #[prost(uint32, tag = "4")]
    attempts: u32,
    #[prost(sint64, tag = "5")]
    died_at: i64,
    #[prost(bool, tag = "6")]
    redriven: bool,
    #[prost(string, tag = "7")]
    detail: String,
}

/// Returns the bytes of a dead letter without its event.
pub(in super::super) fn encode_letter(letter: &DeadLetter, redriven: bool) -> Vec<u8> {
    LetterRow {
        generation: letter.generation,
        reason: match letter.reason {
            Reason::MaxAttempts => 1,
            Reason::Rejected => 2,
            Reason::FilterError => 3,
            Reason::Retention => 4,
        },
        history: attempt_rows(&letter.history),
        attempts: letter.attempts,
        died_at: letter.died_at.as_micros(),
        redriven,
        detail: letter.detail.clone(),
    }
    .encode_to_vec()
}

/// Reads a dead letter, and whether it was redriven.
pub(in super::super) fn decode_letter(bytes: Bytes) -> Result<(DeadLetter, bool), ReadError> {
    let row: LetterRow = decode(bytes, "a dead letter")?;
    let letter = DeadLetter {
        generation: row.generation,
        reason: match row.reason {
            1 => Reason::MaxAttempts,
            2 => Reason::Rejected,
            3 => Reason::FilterError,
            4 => Reason::Retention,
            other => return Err(damaged(format!("the reason `{other}` of a dead letter"))),
        },
        history: attempts(row.history)?,
        attempts: row.attempts,
        died_at: timestamp(row.died_at)?,
        detail: row.detail,
    };
    Ok((letter, row.redriven))
}

#[derive(Clone, PartialEq, Message)]
struct SettledRow {
    /// Each name once.
    #[prost(string, repeated, tag = "1")]
    consumers: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    settled: Vec<SettlementRow>,
    /// Of a commit that is this row alone.
    #[prost(message, optional, tag = "3")]
    standing: Option<StandingRow>,
}

#[derive(Clone, PartialEq, Message)]
struct StandingRow {
    #[prost(uint64, tag = "1")]
    floor: u64,
    #[prost(uint64, tag = "2")]
    scanned: u64,
    #[prost(sint64, tag = "3")]
    at: i64,
}

/// Where a subscription stands after a commit that is one row, and when that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Standing {
    pub(in super::super) floor: u64,
    pub(in super::super) scanned: u64,
    pub(in super::super) at: Timestamp,
}

#[derive(Clone, PartialEq, Message)]
struct SettlementRow {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    /// Its place in `consumers`.
    #[prost(uint32, tag = "2")]
    consumer: u32,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(sint64, tag = "4")]
    done_at: i64,
    /// How many microseconds before `done_at` the lease began.
    #[prost(sint64, tag = "5")]
    lasted: i64,
    /// The newer event that finished it; 0: it was acked.
    #[prost(uint64, tag = "6")]
    superseded_by: u64,
}

/// Returns the bytes of what one commit settled; `standing` if it writes nothing else.
pub(in super::super) fn encode_settled(
    settled: &[(Sequence, Ended)],
    standing: Option<Standing>,
) -> Vec<u8> {
    let mut consumers: Vec<String> = Vec::new();
    let mut rows = Vec::with_capacity(settled.len());
    for (sequence, ended) in settled {
        let settlement = match ended {
            Ended::Acked(settlement) => settlement,
            Ended::Superseded { by, at } => {
                rows.push(SettlementRow {
                    sequence: sequence.get(),
                    done_at: at.as_micros(),
                    superseded_by: by.get(),
                    ..SettlementRow::default()
                });
                continue;
            }
        };
        let known = consumers.iter().position(|name| *name == settlement.consumer);
        let place = known.unwrap_or_else(|| {
            consumers.push(settlement.consumer.clone());
            consumers.len() - 1
        });
        let (done_at, leased_at) =
            (settlement.done_at.as_micros(), settlement.leased_at.as_micros());
        rows.push(SettlementRow {
            sequence: sequence.get(),
            consumer: u32::try_from(place).expect("a commit settles fewer than 2^32"),
            attempt: settlement.attempt,
            done_at,
            lasted: done_at - leased_at,
            superseded_by: 0,
        });
    }
    let standing = standing.map(|Standing { floor, scanned, at }| {
        let at = at.as_micros();
        StandingRow { floor, scanned, at }
    });
    SettledRow { consumers, settled: rows, standing }.encode_to_vec()
}

/// Reads what a commit settled that is this row alone, and where the subscription stands since; `None` if it wrote more.
pub(in super::super) fn decode_acks(
    bytes: Bytes,
) -> Result<Option<(Vec<Sequence>, Standing)>, ReadError> {
    let row: SettledRow = decode(bytes, "settlements")?;
    let Some(StandingRow { floor, scanned, at }) = row.standing else { return Ok(None) };
    let standing = Standing { floor, scanned, at: timestamp(at)? };
    let settled = row.settled.into_iter().map(|settled| sequence(settled.sequence));
    Ok(Some((settled.collect::<Result<_, _>>()?, standing)))
}

/// Reads whose ends are told by what one commit settled.
pub(in super::super) fn decode_settled_sequences(bytes: Bytes) -> Result<Vec<Sequence>, ReadError> {
    let row: SettledRow = decode(bytes, "settlements")?;
    row.settled.into_iter().map(|settled| sequence(settled.sequence)).collect()
}

/// Reads how `sequence` ended out of what one commit settled, into what is known of it.
pub(in super::super) fn decode_settled(
    bytes: Bytes,
    sequence: Sequence,
    past: &mut Past,
) -> Result<(), ReadError> {
    let row: SettledRow = decode(bytes, "settlements")?;
    for found in row.settled.iter().filter(|settled| settled.sequence == sequence.get()) {
        let done_at = timestamp(found.done_at)?;
        if let Some(by) = Sequence::new(found.superseded_by) {
            past.push(Ended::Superseded { by, at: done_at });
            continue;
        }
        let name = usize::try_from(found.consumer).ok().and_then(|place| row.consumers.get(place));
        let leased_at = found.done_at.checked_sub(found.lasted);
        past.push(Ended::Acked(Settlement {
            consumer: name.ok_or_else(|| damaged("a settlement without a consumer"))?.clone(),
            attempt: found.attempt,
            leased_at: timestamp(leased_at.ok_or_else(|| damaged("a settlement's time"))?)?,
            done_at,
        }));
    }
    Ok(())
}

#[derive(Clone, PartialEq, Message)]
struct HistoriesRow {
    #[prost(message, repeated, tag = "1")]
    histories: Vec<HistoryRow>,
}

#[derive(Clone, PartialEq, Message)]
struct HistoryRow {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(message, optional, tag = "2")]
    background: Option<BackgroundRow>,
}

/// Returns what had happened to one delivery that has ended, as part of a row: such parts, one after the other, are the row.
pub(in super::super) fn encode_history(sequence: Sequence, background: &Background) -> Vec<u8> {
    let background = Some(BackgroundRow::from(background));
    HistoriesRow { histories: vec![HistoryRow { sequence: sequence.get(), background }] }
        .encode_to_vec()
}

/// Reads what had happened to `sequence` out of a row, into what is known of it.
pub(in super::super) fn decode_histories(
    bytes: Bytes,
    sequence: Sequence,
    past: &mut Past,
) -> Result<(), ReadError> {
    let row: HistoriesRow = decode(bytes, "histories")?;
    for found in row.histories.into_iter().filter(|of| of.sequence == sequence.get()) {
        past.background.follow(background(found.background.unwrap_or_default())?);
    }
    Ok(())
}
