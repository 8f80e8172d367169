//! Dead letters over the wire: what they keep, who is told, and the way back.

use std::{collections::BTreeMap, time::Duration};

use hookline_proto::v1::{
    AttemptEnd, DeadLetter, DeadLetterReason, DeadLetterSelector, DeliveryState, Event,
    GetDeadLetterRequest, ListDeadLettersRequest, ListEventsRequest, NackAction, Outcome,
    PurgeDeadLettersRequest, RedriveDeadLettersRequest, SubscribeRequest, SubscriptionPolicy,
    SummarizeDeadLettersRequest, SummarizeDeadLettersResponse, WatchEventsRequest,
};
use serde_json::Value;
use tonic::{Code, Response, Streaming};

use crate::{
    agent::{Agent, Stream, at, earliest, event_id, everything, key, lasts, retrying_at_once},
    http::Webhook,
    hub::{Hub, soon},
};

async fn list(agent: &Agent, subscription: &str) -> Vec<DeadLetter> {
    let request =
        ListDeadLettersRequest { subscription: subscription.to_owned(), ..Default::default() };
    let mut dead_letters = agent.dead_letters.clone();
    let page = soon("dead letters", dead_letters.list_dead_letters(request)).await.unwrap();
    page.into_inner().dead_letters
}

/// Nacks the next delivery for good.
async fn reject_next(agent: &Agent, stream: &mut Stream) {
    let delivery = stream.delivery().await;
    let nacked = agent.nack(&delivery.lease_id, "never", NackAction::DeadLetter).await;
    assert_eq!(nacked, Outcome::Applied);
}

/// Watches what is announced, from the first event on.
struct Announced(Streaming<hookline_proto::v1::WatchEventsResponse>);

impl Announced {
    async fn watch(agent: &Agent) -> Self {
        let request = WatchEventsRequest {
            patterns: vec!["dead-letter/*".to_owned()],
            start: earliest(),
            ..Default::default()
        };
        let mut events = agent.events.clone();
        Self(soon("a watch", events.watch_events(request)).await.unwrap().into_inner())
    }

    async fn next(&mut self) -> Event {
        let message = soon("an announcement", self.0.message()).await.unwrap().unwrap();
        message.event.unwrap()
    }
}

#[tokio::test]
async fn g1_a_dead_letter_holds_the_event_and_each_of_its_attempts() {
    let hub = Hub::start().await;
    let webhook = Webhook::push("a");
    let id = hub.take(&webhook).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest { policy: Some(retrying_at_once()), ..everything("work") };
    let mut one = agent.subscribe(request.clone()).await;
    let mut two = agent.subscribe(SubscribeRequest { consumer: "two".to_owned(), ..request }).await;
    let mut consumers = Vec::new();
    for number in 1..=5 {
        let (consumer, delivery) = tokio::select! {
            delivery = one.delivery() => ("one", delivery),
            delivery = two.delivery() => ("two", delivery),
        };
        assert_eq!(delivery.attempt, number);
        consumers.push(consumer);
        let reason = format!("failure {number}");
        let nacked = agent.nack(&delivery.lease_id, &reason, NackAction::Retry).await;
        assert_eq!(nacked, Outcome::Applied);
    }
    let [listed] = &list(&agent, "work").await[..] else { panic!("one dead letter") };
    let request = GetDeadLetterRequest { id: listed.id.clone(), ..Default::default() };
    let mut dead_letters = agent.dead_letters.clone();
    let got = dead_letters.get_dead_letter(request).await.unwrap().into_inner();
    let letter = got.dead_letter.unwrap();
    assert_eq!(letter, *listed);
    assert_eq!((letter.subscription.as_str(), letter.generation), ("work", 0));
    assert_eq!(letter.reason(), DeadLetterReason::MaxAttempts);
    let event = letter.event.unwrap();
    assert_eq!((event.id, event.payload), (id, webhook.body));
    assert_eq!(letter.attempts.len(), 5);
    for ((attempt, number), consumer) in letter.attempts.iter().zip(1..).zip(consumers) {
        assert_eq!((attempt.number, attempt.end()), (number, AttemptEnd::Nacked));
        assert_eq!(attempt.consumer, consumer);
        assert_eq!(attempt.reason, format!("failure {number}"));
        assert!(at(attempt.started_at) <= at(attempt.ended_at));
        assert!(at(attempt.ended_at) <= at(letter.died_at));
    }
}

#[tokio::test]
async fn g3_an_event_that_dies_while_nobody_is_connected_is_a_dead_letter_all_the_same() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy {
        max_attempts: Some(1),
        reconnect_grace: lasts(Duration::ZERO),
        ..retrying_at_once()
    };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut announced = Announced::watch(&agent).await;
    let mut stream = agent.subscribe(request).await;
    let delivery = stream.delivery().await;
    drop(stream);
    assert_eq!(announced.next().await.metadata["event_id"], event_id(&delivery));
    let [letter] = &list(&agent, "work").await[..] else { panic!("one dead letter") };
    assert_eq!(letter.reason(), DeadLetterReason::MaxAttempts);
    assert_eq!(letter.attempts[0].end(), AttemptEnd::ConsumerLost);
}

#[tokio::test]
async fn g9_a_dead_letter_is_announced_once_and_its_own_failure_makes_no_loop() {
    let mut hub = Hub::start().await;
    let id = hub.take(&Webhook::push("a")).await;
    let agent = hub.agent().await;
    let mut work = agent.subscribe(everything("work")).await;
    let about_work = vec!["dead-letter/work".to_owned()];
    let ops = SubscribeRequest { patterns: about_work, ..everything("ops") };
    let mut ops = agent.subscribe(ops).await;
    reject_next(&agent, &mut work).await;

    let announced = ops.delivery().await;
    let event = announced.event.clone().unwrap();
    let [letter] = &list(&agent, "work").await[..] else { panic!("one dead letter") };
    assert_eq!((event.source.as_str(), event.event_type.as_str()), ("dead-letter", "work"));
    assert_eq!((event.actor.as_str(), event.resource_type.as_str()), ("octocat", "branch"));
    assert_eq!(event.resource_id, "octo/hello/branch/main");
    assert_eq!(event.timestamp, letter.died_at);
    assert_eq!(event.metadata["dead_letter_id"], letter.id);
    assert_eq!(event.metadata["event_id"], id);
    assert_eq!(event.metadata["subject"], "github/push");
    assert_eq!(event.metadata["reason"], "DEAD_LETTER_REASON_REJECTED");
    let payload: Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!(payload["id"], letter.id);
    assert_eq!(payload["subscription"], "work");
    assert_eq!(payload["reason"], "DEAD_LETTER_REASON_REJECTED");
    assert_eq!(payload["attempts"][0]["end"], "ATTEMPT_END_REJECTED");
    assert_eq!(payload["attempts"][0]["error_type"], "TestError");
    assert_eq!(payload["event"]["delivery_key"], "a");
    assert_eq!(payload["event"]["payload_json"]["ref"], "refs/heads/main");

    // Its failure becomes a row, and no announcement: the next one is about the next event of `work`.
    let nacked = agent.nack(&announced.lease_id, "nor this", NackAction::DeadLetter).await;
    assert_eq!(nacked, Outcome::Applied);
    assert_eq!(list(&agent, "ops").await.len(), 1);
    hub.take_each(["b"]).await;
    reject_next(&agent, &mut work).await;
    let second = ops.ack_next(&agent).await;
    assert_ne!(second.event.unwrap().metadata["event_id"], id);

    // Nothing is announced again after a crash.
    hub.crash().await;
    let agent = hub.agent().await;
    hub.take_each(["c"]).await;
    let mut work = agent.subscribe(everything("work")).await;
    reject_next(&agent, &mut work).await;
    let mut announced = Announced::watch(&agent).await;
    for _ in 0..3 {
        assert_eq!(announced.next().await.event_type, "work");
    }
    let patterns = vec!["dead-letter".to_owned()];
    let all = agent.list(ListEventsRequest { patterns, ..Default::default() }).await;
    assert_eq!(all.len(), 3);
}

#[tokio::test]
async fn redriven_dead_letters_come_again_with_their_history_and_new_attempts() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    for _ in 0..3 {
        reject_next(&agent, &mut stream).await;
    }
    let redrive = async |limit, dry_run| {
        let selector = DeadLetterSelector { subscription: "work".into(), ..Default::default() };
        let request = RedriveDeadLettersRequest { selector: Some(selector), limit, dry_run };
        let mut dead_letters = agent.dead_letters.clone();
        let done = soon("an answer", dead_letters.redrive_dead_letters(request)).await.unwrap();
        let done = done.into_inner();
        (done.redriven_count, done.remaining_count)
    };
    assert_eq!(redrive(None, true).await, (3, 0));
    assert_eq!(list(&agent, "work").await.len(), 3);
    assert_eq!(redrive(Some(2), false).await, (2, 1));
    assert_eq!(list(&agent, "work").await.len(), 1);

    let again = stream.ack_next(&agent).await;
    assert_eq!((key(&again), again.attempt), ("a", 1));
    assert_eq!(again.previous_attempts[0].reason, "never");
    assert!(!again.event.unwrap().payload.is_empty());
    reject_next(&agent, &mut stream).await;
    let letters = list(&agent, "work").await;
    let facts: Vec<_> = letters
        .iter()
        .map(|letter| {
            let key = letter.event.as_ref().unwrap().delivery_key.as_str();
            (key, letter.generation, letter.attempts.len())
        })
        .collect();
    assert_eq!(facts, [("b", 1, 2), ("c", 0, 1)]);
}

#[tokio::test]
async fn g6_a_dry_run_changes_nothing_and_counts_exactly_what_a_redrive_of_g4_takes() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let keys: Vec<_> = (0..25).map(|number| format!("key-{number}")).collect();
    hub.take_each(keys.iter().map(String::as_str)).await;
    for _ in &keys {
        reject_next(&agent, &mut stream).await;
    }
    let selector =
        Some(DeadLetterSelector { subscription: "work".to_owned(), ..Default::default() });
    let redrive = async |agent: &Agent, dry_run| {
        let selector = selector.clone();
        let limit = Some(10);
        let request = RedriveDeadLettersRequest { selector, limit, dry_run };
        let answer = agent.dead_letters.clone().redrive_dead_letters(request).await.unwrap();
        let answer = answer.into_inner();
        (answer.redriven_count, answer.remaining_count)
    };
    let dead = async |agent: &Agent| {
        let counted = agent.subscription("work").await.counts.unwrap().dead;
        assert_eq!(list(agent, "work").await.len() as u64, counted, "the count equals the list");
        counted
    };
    assert_eq!(redrive(&agent, true).await, (10, 15));
    assert_eq!(dead(&agent).await, 25, "a dry run changes nothing");
    assert_eq!(redrive(&agent, false).await, (10, 15));
    assert_eq!(dead(&agent).await, 15);
    let again = stream.ack_next(&agent).await;
    assert_eq!((again.attempt, again.previous_attempts.len()), (1, 1));
    hub.crash().await;
    assert_eq!(dead(&hub.agent().await).await, 15);
}

#[tokio::test]
async fn g8_what_is_counted_as_dead_is_what_is_listed_also_after_a_restart() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    for number in 1..=5_usize {
        hub.take(&Webhook::push(&format!("key-{number}"))).await;
        reject_next(&agent, &mut stream).await;
        assert_eq!(list(&agent, "work").await.len(), number);
        assert_eq!(agent.subscription("work").await.counts.unwrap().dead, number as u64);
    }
    hub.crash().await;
    let agent = hub.agent().await;
    assert_eq!(list(&agent, "work").await.len(), 5);
    assert_eq!(agent.subscription("work").await.counts.unwrap().dead, 5);
}

#[tokio::test]
async fn dead_letters_are_listed_in_pages() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    for _ in 0..3 {
        reject_next(&agent, &mut stream).await;
    }
    let mut request = ListDeadLettersRequest { page_size: Some(2), ..Default::default() };
    let mut dead_letters = agent.dead_letters.clone();
    let first = dead_letters.list_dead_letters(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token;
    let second = dead_letters.list_dead_letters(request).await.unwrap().into_inner();
    assert_eq!((first.dead_letters.len(), second.dead_letters.len()), (2, 1));
    assert_eq!(second.next_page_token, "");
    let all: Vec<_> = first.dead_letters.into_iter().chain(second.dead_letters).collect();
    assert_eq!(all, list(&agent, "work").await);
    let request = GetDeadLetterRequest { id: "dl-1-99".to_owned(), ..Default::default() };
    let code = dead_letters.get_dead_letter(request).await.unwrap_err().code();
    assert!([Code::NotFound, Code::InvalidArgument].contains(&code), "{code}");
}

#[tokio::test]
async fn every_dead_letter_is_listed_however_large_its_payload_and_whosever_it_is() {
    let hub = Hub::start().await;
    // Text that can't be packed: what bounds one read of the store is the size of what is stored.
    let mut state = 1_u64;
    for name in ["a", "b", "c"] {
        let text: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b' ' + u8::try_from(state >> 58).unwrap())
        })
        .filter(|letter| !['"', '\\'].contains(letter))
        .take(3 << 20)
        .collect();
        hub.take(&Webhook::github("push", name, format!(r#"{{"text": "{text}"}}"#))).await;
    }
    let agent = hub.agent().await;
    for name in ["work", "more"] {
        let request = SubscribeRequest { max_payload_bytes: Some(0), ..everything(name) };
        let mut stream = agent.subscribe(request).await;
        for _ in 0..3 {
            reject_next(&agent, &mut stream).await;
        }
    }
    let mut dead_letters = agent.dead_letters.clone();
    let request = ListDeadLettersRequest {
        payload_view: hookline_proto::v1::PayloadView::None.into(),
        ..Default::default()
    };
    let page = soon("a page", dead_letters.list_dead_letters(request.clone())).await.unwrap();
    let page = page.into_inner();
    assert_eq!((page.dead_letters.len(), page.next_page_token.as_str()), (6, ""));
    // A page of just as many as there are is the last.
    let all = ListDeadLettersRequest { page_size: Some(6), ..request.clone() };
    let page = soon("a page", dead_letters.list_dead_letters(all)).await.unwrap().into_inner();
    assert_eq!((page.dead_letters.len(), page.next_page_token.as_str()), (6, ""));
    // With their payloads they fill a page each.
    let mut request = ListDeadLettersRequest { max_payload_bytes: Some(4 << 20), ..request };
    request.payload_view = hookline_proto::v1::PayloadView::Bytes.into();
    let mut found = Vec::new();
    loop {
        let page = soon("a page", dead_letters.list_dead_letters(request.clone())).await.unwrap();
        let page = page.into_inner();
        let [letter] = &page.dead_letters[..] else { panic!("one letter") };
        let event = letter.event.as_ref().unwrap();
        found.push(format!("{} {}", letter.subscription, event.delivery_key));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found, ["work a", "work b", "work c", "more a", "more b", "more c"]);
}

#[tokio::test]
async fn of_redrives_at_once_each_dead_letter_is_taken_by_one() {
    let hub = Hub::start().await;
    let keys: Vec<_> = (0..40).map(|number| format!("k{number}")).collect();
    hub.take_each(keys.iter().map(String::as_str)).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    for _ in &keys {
        reject_next(&agent, &mut stream).await;
    }
    let redrive = async || {
        let selector = DeadLetterSelector { subscription: "work".into(), ..Default::default() };
        let request =
            RedriveDeadLettersRequest { selector: Some(selector), limit: None, dry_run: false };
        let mut dead_letters = agent.dead_letters.clone();
        let done = soon("an answer", dead_letters.redrive_dead_letters(request)).await.unwrap();
        done.into_inner().redriven_count
    };
    let redrives = async || {
        let mut count = 0;
        for _ in 0..5 {
            count += redrive().await;
        }
        count
    };
    // Those that die again meanwhile must not be taken for what they were before: nothing of their history is lost.
    let work = async {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let again = stream.delivery().await;
            let times = seen.entry(key(&again).to_owned()).or_default();
            *times += 1;
            assert_eq!((again.previous_attempts.len(), again.attempt), (*times, 1));
            agent.nack(&again.lease_id, "never", NackAction::DeadLetter).await;
        }
    };
    let counts = tokio::select! {
        counts = async { tokio::join!(redrives(), redrives(), redrives()) } => counts,
        () = work => unreachable!("it goes on until the redrives end"),
    };
    assert!(40 <= counts.0 + counts.1 + counts.2, "{counts:?}");
}

#[tokio::test]
async fn dead_letters_are_summed_up_by_what_they_failed_with() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut dead_letters = agent.dead_letters.clone();
    let mut summarize = async |selector| {
        let request = SummarizeDeadLettersRequest { selector };
        let answer = dead_letters.summarize_dead_letters(request);
        soon("a summary", answer).await.map(Response::into_inner)
    };
    assert_eq!(summarize(None).await.unwrap(), SummarizeDeadLettersResponse::default());

    hub.take_each(["a", "b", "c", "d"]).await;
    for (name, tries) in [("work", 3), ("more", 1)] {
        let mut stream = agent.subscribe(everything(name)).await;
        for number in 0..tries {
            let delivery = stream.delivery().await;
            let reason = format!("no user {number} of 'octo-{name}' after {number}.5s");
            agent.nack(&delivery.lease_id, &reason, NackAction::DeadLetter).await;
        }
        let delivery = stream.delivery().await;
        agent.nack(&delivery.lease_id, "status 503", NackAction::DeadLetter).await;
    }
    let summary = summarize(None).await.unwrap();
    assert_eq!((summary.total_count, summary.is_partial), (6, false));
    let facts: Vec<_> = summary.groups.iter().map(|of| (of.cause.as_str(), of.count)).collect();
    assert_eq!(facts, [("no user <n> of <text> after <n>s", 4), ("status 503", 2)]);
    let group = &summary.groups[0];
    let letters = list(&agent, "work").await;
    assert_eq!(group.reason(), DeadLetterReason::Rejected);
    assert_eq!(group.error_type, "TestError");
    assert_eq!(group.subscriptions, ["work", "more"]);
    assert_eq!(group.sample_text, "no user 0 of 'octo-work' after 0.5s");
    assert_eq!(group.sample_ids, [0, 1, 2].map(|place| letters[place].id.clone()));
    assert_eq!(group.oldest_died_at, letters[0].died_at);
    assert!(at(group.oldest_died_at) < at(group.newest_died_at));

    let of = |subscription: &str, start_time| {
        let subscription = subscription.to_owned();
        Some(DeadLetterSelector { subscription, start_time, ..Default::default() })
    };
    let summary = summarize(of("work", letters[3].died_at)).await.unwrap();
    assert_eq!((summary.groups[0].cause.as_str(), summary.total_count), ("status 503", 1));
    let refused = summarize(of("nobody", None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn g8_what_is_purged_is_gone_from_count_and_list_also_after_a_restart() {
    let mut hub = Hub::start().await;
    let keys: Vec<_> = (0..12).map(|number| format!("key-{number}")).collect();
    hub.take_each(keys.iter().map(String::as_str)).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let (mut leases, mut events) = (Vec::new(), Vec::new());
    for _ in &keys {
        let delivery = stream.delivery().await;
        agent.nack(&delivery.lease_id, "never", NackAction::DeadLetter).await;
        events.push(event_id(&delivery).to_owned());
        leases.push(delivery.lease_id);
    }
    let purge = async |agent: &Agent, ids: &[String], limit, dry_run| {
        let (subscription, ids) = ("work".to_owned(), ids.to_vec());
        let selector = Some(DeadLetterSelector { subscription, ids, ..Default::default() });
        let request = PurgeDeadLettersRequest { selector, limit, dry_run };
        let mut dead_letters = agent.dead_letters.clone();
        let done = soon("an answer", dead_letters.purge_dead_letters(request)).await.unwrap();
        let done = done.into_inner();
        (done.purged_count, done.remaining_count)
    };
    let left = async |agent: &Agent| {
        let counted = agent.subscription("work").await.counts.unwrap().dead;
        let letters = list(agent, "work").await;
        assert_eq!(letters.len() as u64, counted, "the count equals the list");
        letters
    };
    let letters = left(&agent).await;
    assert_eq!(purge(&agent, &[], Some(5), true).await, (5, 7));
    assert_eq!(left(&agent).await, letters, "a dry run changes nothing");
    assert_eq!(purge(&agent, &[], Some(5), false).await, (5, 7));
    assert_eq!(left(&agent).await, letters[5..]);
    let by_id = [letters[0].id.clone(), letters[7].id.clone()];
    assert_eq!(purge(&agent, &by_id, None, false).await, (1, 0));

    hub.crash().await;
    let agent = hub.agent().await;
    let expected: Vec<_> = [5, 6, 8, 9, 10, 11].map(|place| letters[place].clone()).into();
    assert_eq!(left(&agent).await, expected);
    let gone = GetDeadLetterRequest { id: letters[0].id.clone(), ..Default::default() };
    let refused = agent.dead_letters.clone().get_dead_letter(gone).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    // It stays given up: that it was is known, and no word of before counts.
    let [status] = &agent.event(&events[0]).await.deliveries[..] else { panic!("one delivery") };
    assert_eq!((status.state(), status.dead_letter_id.as_str()), (DeliveryState::Dead, ""));
    assert_eq!(agent.ack(&[&leases[0]]).await, [Outcome::Stale]);
    assert_eq!(purge(&agent, &[], None, false).await, (6, 0));
    assert_eq!(left(&agent).await, []);
}

#[tokio::test]
async fn what_was_redriven_is_open_and_not_purged() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    for _ in 0..2 {
        reject_next(&agent, &mut stream).await;
    }
    let letters = list(&agent, "work").await;
    let ids: Vec<_> = letters.iter().map(|letter| letter.id.clone()).collect();
    let of = |ids: &[String]| Some(DeadLetterSelector { ids: ids.to_vec(), ..Default::default() });
    let mut dead_letters = agent.dead_letters.clone();
    let request = RedriveDeadLettersRequest { selector: of(&ids[..1]), ..Default::default() };
    dead_letters.redrive_dead_letters(request).await.unwrap();
    let again = stream.delivery().await;
    let request = PurgeDeadLettersRequest { selector: of(&ids), ..Default::default() };
    let purged = dead_letters.purge_dead_letters(request).await.unwrap().into_inner();
    assert_eq!((purged.purged_count, purged.remaining_count), (1, 0));
    assert_eq!((key(&again), again.previous_attempts.len()), ("a", 1));
    assert_eq!(agent.ack(&[&again.lease_id]).await, [Outcome::Applied]);

    for selector in [None, Some(DeadLetterSelector::default())] {
        let request = PurgeDeadLettersRequest { selector, ..Default::default() };
        let refused = dead_letters.purge_dead_letters(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "of all, by mistake");
    }
}
