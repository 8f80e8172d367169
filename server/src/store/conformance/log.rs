//! What holds for every [`EventLog`](super::super::EventLog).

use std::time::Duration;

use bytes::Bytes;
use hookline_core::{
    event::{EventId, METADATA_BODY_HASH, NewEvent, SourceName},
    time::Timestamp,
};

use super::{
    super::{Packed, ReadLimit, ReadRange},
    ALL, Bench, after, at, event, noise, on_every_store, sequence,
};

on_every_store! {
    an_event_is_read_as_it_was_appended,
    sequences_have_no_gaps_and_the_head_is_the_last,
    reads_respect_their_limits_and_go_both_ways,
    payloads_of_every_size_come_back_byte_for_byte,
    a_call_with_many_large_events_is_appended_whole,
    received_at_never_goes_back,
    an_event_is_found_by_its_id,
    a_position_is_found_by_time,
    i1_a_delivery_key_is_taken_once,
    i1_two_copies_in_one_call_are_one_event,
    i1_copies_at_once_are_one_event,
    i1_after_seven_days_a_delivery_key_is_forgotten,
    i1_the_same_key_of_another_source_is_another_event,
    a_body_under_another_delivery_key_is_a_replay_within_its_window,
    an_empty_delivery_key_is_no_key,
    trimmed_events_are_gone_and_sequences_go_on,
    a_position_is_found_by_what_lies_beyond_it,
    the_head_reaches_those_who_wait_for_it,
    appending_nothing_answers_nothing,
}

async fn an_event_is_read_as_it_was_appended(mut bench: Bench) {
    let mut new = event("key-1", r#"{"a":1}"#);
    new.metadata.insert("traceparent".to_owned(), "00-ab-cd-01".to_owned());
    new.timestamp = Timestamp::from_micros(-1_500_001).unwrap();
    let appended = bench.append(vec![new.clone()], at(0)).await;
    bench.step().await;
    let read = bench.log().read(after(0)).await.unwrap();
    assert_eq!(read.len(), 1);
    let entry = &read[0];
    assert_eq!(entry.event.id, appended[0].id);
    assert_eq!(entry.event.sequence, sequence(1));
    assert_eq!(entry.event.received_at, at(0));
    assert_eq!(entry.payload_size, 7);
    assert_eq!(entry.event.content, NewEvent { payload: Bytes::new(), ..new });
    assert_eq!(bench.log().payload(entry).await.unwrap(), r#"{"a":1}"#);
}

async fn sequences_have_no_gaps_and_the_head_is_the_last(mut bench: Bench) {
    assert_eq!(*bench.log().head().borrow(), 0);
    assert_eq!(bench.log().first(), sequence(1));
    let mut next = 1;
    for call in 1..=20_u64 {
        let events = (0..call).map(|n| event("", format!("{call} {n}"))).collect();
        for appended in bench.append(events, at(0)).await {
            assert_eq!(appended.sequence, sequence(next));
            assert!(!appended.duplicate);
            next += 1;
        }
        assert_eq!(*bench.log().head().borrow(), next - 1);
        if call % 5 == 0 {
            bench.step().await;
        }
    }
    let read = bench.log().read(after(0)).await.unwrap();
    let sequences: Vec<u64> = read.iter().map(|entry| entry.event.sequence.get()).collect();
    assert_eq!(sequences, (1..next).collect::<Vec<_>>());
}

async fn reads_respect_their_limits_and_go_both_ways(mut bench: Bench) {
    for call in 0..10 {
        let events = (0..10).map(|n| event("", noise(2_000, call * 10 + n))).collect();
        bench.append(events, at(0)).await;
    }
    bench.step().await;
    let log = bench.log();
    let sequences = |entries: Vec<std::sync::Arc<super::super::Entry>>| -> Vec<u64> {
        entries.iter().map(|entry| entry.event.sequence.get()).collect()
    };
    let count = |count| ReadLimit { count, ..ALL };
    let read = log.read(ReadRange { after: 7, limit: count(5) }).await.unwrap();
    assert_eq!(sequences(read), [8, 9, 10, 11, 12]);
    let read = log.read_back(sequence(13), count(5)).await.unwrap();
    assert_eq!(sequences(read), [12, 11, 10, 9, 8]);
    assert_eq!(sequences(log.read_back(sequence(4), ALL).await.unwrap()), [3, 2, 1]);
    assert_eq!(sequences(log.read_back(sequence(1_000), count(2)).await.unwrap()), [100, 99]);
    assert!(log.read_back(sequence(1), ALL).await.unwrap().is_empty());
    assert!(log.read(after(100)).await.unwrap().is_empty());
    assert!(log.read(after(u64::MAX)).await.unwrap().is_empty());
    // One that is larger than the limit, and no more.
    let one = ReadLimit { bytes: 1, ..ALL };
    assert_eq!(sequences(log.read(ReadRange { after: 50, limit: one }).await.unwrap()), [51]);
    assert_eq!(sequences(log.read_back(sequence(50), one).await.unwrap()), [49]);
    let some = ReadLimit { bytes: 10_000, ..ALL };
    let read = log.read(ReadRange { after: 0, limit: some }).await.unwrap();
    assert!((4..=5).contains(&read.len()), "{}", read.len());
}

async fn payloads_of_every_size_come_back_byte_for_byte(mut bench: Bench) {
    let payloads = [
        Bytes::new(),
        Bytes::from_static(b"x"),
        noise(64 * 1024, 1),
        noise(64 * 1024 + 1, 2),
        noise(1024 * 1024, 3),
        Bytes::from("{\"key\":\"value\"},".repeat(100)),
        Bytes::from("{\"key\":\"value\"},".repeat(100_000)),
        noise(25 * 1024 * 1024, 4),
        Bytes::from_static(b"\0\xff not json"),
    ];
    for payload in &payloads {
        bench.append(vec![event("", payload.clone())], at(0)).await;
    }
    bench.step().await;
    let entries = bench.log().read(after(0)).await.unwrap();
    assert_eq!(entries.len(), payloads.len());
    for (entry, payload) in entries.iter().zip(&payloads) {
        assert_eq!(entry.payload_size, payload.len() as u64);
        assert!(bench.log().payload(entry).await.unwrap() == payload, "{}", payload.len());
    }
    assert!(
        entries
            .iter()
            .all(|entry| !matches!(&entry.packed, Packed::Plain(bytes) if bytes.len() == 16)),
    );
}

async fn a_call_with_many_large_events_is_appended_whole(mut bench: Bench) {
    let events: Vec<_> = (0..100).map(|n| event("", noise(60_000, n))).collect();
    let appended = bench.append(events.clone(), at(0)).await;
    assert_eq!(appended.len(), 100);
    bench.step().await;
    let entries = bench.log().read(after(0)).await.unwrap();
    assert_eq!(entries.len(), 100);
    for (entry, event) in entries.iter().zip(&events) {
        assert!(bench.log().payload(entry).await.unwrap() == event.payload);
    }
}

async fn received_at_never_goes_back(mut bench: Bench) {
    bench.append(vec![event("", "a")], at(100)).await;
    bench.step().await;
    bench.append(vec![event("", "b")], at(50)).await;
    bench.append(vec![event("", "c")], at(101)).await;
    let read = bench.log().read(after(0)).await.unwrap();
    let times: Vec<_> = read.iter().map(|entry| entry.event.received_at).collect();
    assert_eq!(times, [at(100), at(100), at(101)]);
    bench.step().await;
    assert_eq!(bench.ledger().last_written_at(), at(101));
}

async fn an_event_is_found_by_its_id(mut bench: Bench) {
    let mut ids = Vec::new();
    for call in 0..30_i64 {
        // Many within a millisecond, and a clock that stands still for a while.
        let events = (0..5).map(|n| event("", noise(5_000, n))).collect();
        let appended = bench.append(events, at(call / 10)).await;
        ids.extend(appended.into_iter().map(|appended| (appended.id, appended.sequence)));
    }
    bench.step().await;
    for (id, sequence) in ids {
        let found = bench.log().find(id).await.unwrap().unwrap();
        assert_eq!((found.event.id, found.event.sequence), (id, sequence));
    }
    for time in [Timestamp::EPOCH, at(-1), at(1), at(10_000)] {
        assert_eq!(bench.log().find(EventId::new(time, [7; 10])).await.unwrap(), None);
    }
}

async fn a_position_is_found_by_time(mut bench: Bench) {
    assert_eq!(bench.log().position_at(at(0)).await.unwrap(), sequence(1));
    for call in 0..40_i64 {
        let events = (0..3).map(|n| event("", noise(9_000, n))).collect();
        bench.append(events, at(call * 10)).await;
    }
    bench.step().await;
    let cases = [(-1, 1), (0, 1), (1, 4), (10, 4), (11, 7), (195, 61), (390, 118), (391, 121)];
    for (secs, position) in cases {
        assert_eq!(bench.log().position_at(at(secs)).await.unwrap(), sequence(position), "{secs}");
    }
    assert_eq!(bench.log().position_at(Timestamp::MIN).await.unwrap(), sequence(1));
    assert_eq!(bench.log().position_at(Timestamp::MAX).await.unwrap(), sequence(121));
}

async fn a_position_is_found_by_what_lies_beyond_it(mut bench: Bench) {
    assert_eq!(bench.log().position_of_newest(0).await.unwrap(), sequence(1));
    for call in 0..100 {
        let events = (0..2).map(|n| event("", noise(50_000, call * 2 + n))).collect();
        bench.append(events, at(0)).await;
    }
    bench.step().await;
    let kept_of = async |bytes: u64| {
        let position = bench.log().position_of_newest(bytes).await.unwrap();
        (201 - position.get()) * 50_000
    };
    // 10 MB in all. What is kept is what was asked for, and up to a MiB and an event more: twice that after a restart,
    // which forgets what came since it was written how much there was.
    let slack = 2 * (1_048_576 + 51_000);
    for asked in [1_000_000, 3_000_000, 5_000_000, 7_000_000] {
        let kept = kept_of(asked).await;
        assert!(asked - 50_000 <= kept && kept <= asked + slack, "{kept} of {asked}");
    }
    assert_eq!(kept_of(11_000_000).await, 10_000_000);
    bench.log().trim(sequence(101)).await.unwrap();
    assert_eq!(kept_of(u64::MAX).await, 5_000_000);
    let kept = kept_of(2_000_000).await;
    assert!((1_950_000..=2_000_000 + slack).contains(&kept), "{kept}");
}

async fn i1_a_delivery_key_is_taken_once(mut bench: Bench) {
    let first = bench.append(vec![event("k", "first")], at(0)).await;
    bench.step().await;
    let again = bench.append(vec![event("k", "second"), event("l", "third")], at(60)).await;
    assert_eq!((again[0].id, again[0].sequence), (first[0].id, first[0].sequence));
    assert_eq!(again.iter().map(|a| a.duplicate).collect::<Vec<_>>(), [true, false]);
    assert_eq!(again[1].sequence, sequence(2), "a duplicate takes no sequence");
    bench.step().await;
    let third = bench.append(vec![event("k", "fourth")], at(6 * 86_400)).await;
    assert_eq!(third[0].id, first[0].id);
    assert_eq!(*bench.log().head().borrow(), 2);
}

async fn i1_two_copies_in_one_call_are_one_event(mut bench: Bench) {
    let events = ["k", "", "k", "l", "", "k"].map(|key| event(key, "x")).to_vec();
    let appended = bench.append(events, at(0)).await;
    let sequences: Vec<u64> = appended.iter().map(|a| a.sequence.get()).collect();
    assert_eq!(sequences, [1, 2, 1, 3, 4, 1]);
    assert_eq!(appended[0].id, appended[5].id);
    bench.step().await;
    assert_eq!(bench.log().read(after(0)).await.unwrap().len(), 4);
}

async fn i1_copies_at_once_are_one_event(mut bench: Bench) {
    for round in 0..20 {
        let key = format!("round {round}");
        let copy = |payload: &'static str| bench.append(vec![event(&key, payload)], at(round));
        let answers = tokio::join!(copy("a"), copy("b"), copy("c"), copy("d"), copy("e"));
        let (a, b, c, d, e) = answers;
        let answers: Vec<_> = [a, b, c, d, e].into_iter().flatten().collect();
        assert_eq!(answers.len(), 5);
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
        assert!(answers.iter().all(|answer| answer.id == answers[0].id));
        assert_eq!(*bench.log().head().borrow(), u64::try_from(round + 1).unwrap());
    }
    bench.step().await;
    assert_eq!(bench.log().read(after(0)).await.unwrap().len(), 20);
}

async fn i1_after_seven_days_a_delivery_key_is_forgotten(mut bench: Bench) {
    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    let start = at(0);
    bench.append(vec![event("k", "first")], start).await;
    bench.step().await;
    let almost = start + WEEK.checked_sub(Duration::from_micros(1)).unwrap();
    assert!(bench.append(vec![event("k", "again")], almost).await[0].duplicate);
    bench.step().await;
    let late = bench.append(vec![event("k", "late")], start + WEEK).await;
    assert!(!late[0].duplicate);
    assert_eq!(late[0].sequence, sequence(2));
    bench.step().await;
    let again = bench.append(vec![event("k", "again")], start + WEEK + WEEK / 2).await;
    assert_eq!((again[0].sequence, again[0].duplicate), (sequence(2), true), "from the newest on");
}

async fn i1_the_same_key_of_another_source_is_another_event(mut bench: Bench) {
    let other = NewEvent { source: SourceName::parse("gitlab").unwrap(), ..event("k", "x") };
    bench.append(vec![event("k", "x")], at(0)).await;
    bench.step().await;
    let appended = bench.append(vec![other, event("k", "x")], at(0)).await;
    assert_eq!(appended.iter().map(|a| a.duplicate).collect::<Vec<_>>(), [false, true]);
}

/// An event of a source that looks for replays.
fn with_body(key: &str, hash: &str, window: Duration) -> NewEvent {
    let mut event = NewEvent { replay_window: Some(window), ..event(key, "x") };
    event.metadata.insert(METADATA_BODY_HASH.to_owned(), hash.to_owned());
    event
}

async fn a_body_under_another_delivery_key_is_a_replay_within_its_window(mut bench: Bench) {
    const WINDOW: Duration = Duration::from_secs(600);
    let first = bench.append(vec![with_body("k", "a", WINDOW)], at(0)).await;
    bench.step().await;
    let new = [("k", "a"), ("l", "a"), ("m", "b")];
    let new = new.map(|(key, hash)| with_body(key, hash, WINDOW)).to_vec();
    let answers = bench.append(new, at(600)).await;
    let told: Vec<_> = answers.iter().map(|it| (it.duplicate, it.replayed)).collect();
    assert_eq!(told, [(true, false), (true, true), (false, false)]);
    assert_eq!(answers[1].id, first[0].id);
    bench.step().await;
    let late = bench.append(vec![with_body("n", "a", WINDOW)], at(601)).await;
    assert!(!late[0].duplicate, "the window is over");
    bench.step().await;
    let other = NewEvent { source: SourceName::parse("x").unwrap(), ..with_body("o", "a", WINDOW) };
    let unasked = NewEvent { replay_window: None, ..with_body("p", "a", WINDOW) };
    let answers = bench.append(vec![other, unasked], at(602)).await;
    assert!(answers.iter().all(|answer| !answer.duplicate), "of this source, and if asked");
}

async fn an_empty_delivery_key_is_no_key(mut bench: Bench) {
    bench.append(vec![event("", "x"), event("", "x")], at(0)).await;
    bench.step().await;
    bench.append(vec![event("", "x")], at(0)).await;
    assert_eq!(*bench.log().head().borrow(), 3);
}

async fn trimmed_events_are_gone_and_sequences_go_on(mut bench: Bench) {
    let events = (0..50).map(|n| event(&format!("{n}"), noise(3_000, n))).collect();
    let old = bench.append(events, at(0)).await;
    let large = bench.append(vec![event("", noise(200_000, 1))], at(1)).await;
    let large_entry = bench.log().find(large[0].id).await.unwrap().unwrap();
    bench.step().await;
    bench.log().trim(sequence(31)).await.unwrap();
    bench.step().await;
    assert_eq!(bench.log().first(), sequence(31));
    let read = bench.log().read(after(0)).await.unwrap();
    assert_eq!(read.first().unwrap().event.sequence, sequence(31));
    assert_eq!(bench.log().read_back(sequence(100), ALL).await.unwrap().len(), 21);
    assert_eq!(bench.log().find(old[29].id).await.unwrap(), None);
    assert!(bench.log().find(old[30].id).await.unwrap().is_some());
    assert_eq!(bench.log().position_at(at(-10)).await.unwrap(), sequence(31));
    assert_eq!(bench.log().payload(&large_entry).await.unwrap().len(), 200_000);
    assert!(bench.append(vec![event("49", "again")], at(2)).await[0].duplicate);

    bench.log().trim(sequence(10)).await.unwrap();
    assert_eq!(bench.log().first(), sequence(31), "the log never grows at its beginning");
    bench.log().trim(sequence(1_000)).await.unwrap();
    bench.step().await;
    assert_eq!(bench.log().first(), sequence(52));
    assert_eq!(*bench.log().head().borrow(), 51);
    assert!(bench.log().read(after(0)).await.unwrap().is_empty());
    assert_eq!(bench.log().position_at(at(0)).await.unwrap(), sequence(52));
    let next = bench.append(vec![event("", "x")], at(-100)).await;
    assert_eq!(next[0].sequence, sequence(52));
    let read = bench.log().read(after(0)).await.unwrap();
    assert_eq!(read[0].event.received_at, at(1), "also when all was trimmed");
}

async fn the_head_reaches_those_who_wait_for_it(bench: Bench) {
    let mut head = bench.log().head();
    let (waited, _) =
        tokio::join!(async { *head.wait_for(|head| *head >= 3).await.unwrap() }, async {
            for n in 0..3 {
                bench.append(vec![event("", format!("{n}"))], at(n)).await;
            }
        });
    assert_eq!(waited, 3);
}

async fn appending_nothing_answers_nothing(mut bench: Bench) {
    assert!(bench.append(Vec::new(), at(0)).await.is_empty());
    bench.step().await;
    assert_eq!(*bench.log().head().borrow(), 0);
}
