//! Finding events in a log: by resource and actor, in pages that stay, with bounded work.

use hookline_proto::v1::{
    DeadLetterReason, DeadLetterSelector, Event, ListDeadLettersRequest, ListEventsRequest, Nack,
    NackAction, PublishEventRequest, StartPosition, SummarizeDeadLettersRequest,
    WatchEventsRequest, start_position::Position,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    agent::{Agent, everything},
    hub::{Hub, soon},
};

/// Publishes so many events, of four resources and three actors in turn.
async fn fill(agent: &Agent, count: usize) {
    let mut calls = JoinSet::new();
    for number in 0..count {
        let request = PublishEventRequest {
            event_type: if number == 1_111 { "rare" } else { "common" }.to_owned(),
            resource_type: if number % 2 == 0 { "issue" } else { "report" }.to_owned(),
            resource_id: format!("r-{}", number % 4),
            actor: format!("actor-{}", number % 3),
            ..Default::default()
        };
        let mut events = agent.events.clone();
        calls.spawn(async move { events.publish_event(request).await.map(drop) });
        if calls.len() == 256 {
            soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
        }
    }
    while let Some(call) = soon("an answer", calls.join_next()).await {
        call.unwrap().unwrap();
    }
}

#[tokio::test]
async fn events_are_found_by_resource_and_actor_also_after_a_restart() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 700).await;
    let all = agent.list(ListEventsRequest::default()).await;
    assert_eq!(all.len(), 700);
    for _ in 0..2 {
        let agent = hub.agent().await;
        for (kind, id, actor) in [
            ("issue", "", ""),
            ("", "r-3", ""),
            ("report", "r-1", "actor-2"),
            ("", "", "actor-0"),
            ("issue", "r-3", ""),
            ("", "nowhere", ""),
        ] {
            for newest_first in [false, true] {
                let request = ListEventsRequest {
                    resource_type: kind.to_owned(),
                    resource_id: id.to_owned(),
                    actor: actor.to_owned(),
                    newest_first,
                    page_size: Some(64),
                    ..Default::default()
                };
                let found: Vec<_> =
                    agent.list(request).await.into_iter().map(|event| event.sequence).collect();
                let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
                let mut wanted: Vec<_> = all
                    .iter()
                    .filter(|of| is(kind, &of.resource_type) && is(id, &of.resource_id))
                    .filter(|of| is(actor, &of.actor))
                    .map(|of| of.sequence)
                    .collect();
                if newest_first {
                    wanted.reverse();
                }
                assert_eq!(found, wanted, "{kind} {id} {actor}");
            }
        }
        hub.restart().await;
    }
    let request = ListEventsRequest { actor: "x".repeat(1_025), ..Default::default() };
    let refused = hub.agent().await.events.clone().list_events(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("`actor`"), "{refused}");
}

#[tokio::test]
async fn pages_stay_while_events_are_appended() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 30).await;
    let mut request =
        ListEventsRequest { page_size: Some(10), newest_first: true, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = soon("a page", agent.events.clone().list_events(request.clone())).await;
        let page = page.unwrap().into_inner();
        all.extend(page.events.iter().map(|event| event.sequence));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        fill(&agent, 5).await;
    }
    assert_eq!(all, (1..=30).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_that_finds_nothing_ends_with_an_empty_page_that_goes_on() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 3_000).await;
    let request =
        ListEventsRequest { filter: "event.event_type == 'rare'".to_owned(), ..Default::default() };
    let mut events = agent.events.clone();
    let newest = ListEventsRequest { newest_first: true, ..request.clone() };
    for request in [request, newest] {
        let first = soon("a page", events.list_events(request.clone())).await.unwrap().into_inner();
        let found = agent.list(request).await;
        assert_eq!(found.len(), 1);
        assert_ne!(first.next_page_token, "", "{} found", first.events.len());
    }
    // By its pattern it is found in one call, whatever the size of the log.
    let request = ListEventsRequest { patterns: vec!["*/rare".to_owned()], ..Default::default() };
    let page = soon("a page", events.list_events(request)).await.unwrap().into_inner();
    assert_eq!((page.events.len(), page.next_page_token.as_str()), (1, ""));
}

#[tokio::test]
async fn a_watch_begins_anywhere_and_goes_on_where_it_ended() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 1_300).await;
    let all = agent.list(ListEventsRequest::default()).await;
    let rare = all.iter().find(|event| event.event_type == "rare").unwrap();
    let is_wanted = |event: &&Event| {
        event.actor == "actor-1" && event.event_type == "common" && 300 <= event.sequence
    };
    let wanted: Vec<_> = all.iter().filter(is_wanted).map(|event| event.sequence).collect();
    hub.restart().await;
    let agent = hub.agent().await;
    let watch = async |position, patterns: &[&str], filter: &str| {
        let request = WatchEventsRequest {
            start: Some(StartPosition { position: Some(position) }),
            patterns: patterns.iter().map(|of| (*of).to_owned()).collect(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        soon("a watch", agent.events.clone().watch_events(request)).await.unwrap().into_inner()
    };
    for position in [
        Position::Earliest(()),
        Position::Sequence(rare.sequence),
        Position::Time(rare.received_at.unwrap()),
    ] {
        let mut found = watch(position, &["*/rare"], "").await;
        let first = soon("an event", found.message()).await.unwrap().unwrap().event.unwrap();
        assert_eq!(first.sequence, rare.sequence);
        // And what comes.
        let later = agent.publish("rare").await;
        let next = soon("an event", found.message()).await.unwrap().unwrap().event.unwrap();
        assert!(rare.sequence < next.sequence && next.sequence <= later.sequence);
    }
    let (mut seen, mut from) = (Vec::new(), 300);
    while seen.len() < wanted.len() {
        let filter = "event.actor == 'actor-1'";
        let mut found = watch(Position::Sequence(from), &["*/common"], filter).await;
        for _ in 0..97.min(wanted.len() - seen.len()) {
            let event = soon("an event", found.message()).await.unwrap().unwrap().event.unwrap();
            seen.push(event.sequence);
            from = event.sequence + 1;
        }
    }
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn dead_letters_are_listed_by_cause_class_reason_and_pattern() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 9).await;
    let mut stream = agent.subscribe(everything("work")).await;
    for number in 0..9 {
        let delivery = stream.delivery().await;
        let nack = Nack {
            lease_id: delivery.lease_id,
            reason: format!("the ledger said {}", 500 + number),
            error_type: if number % 3 == 0 { "Ledger" } else { "Other" }.to_owned(),
            action: NackAction::DeadLetter.into(),
            ..Default::default()
        };
        agent.try_nack(vec![nack]).await.unwrap();
    }
    let count = async |selector: DeadLetterSelector| {
        let mut request = ListDeadLettersRequest {
            selector: Some(selector),
            page_size: Some(2),
            ..Default::default()
        };
        let mut count = 0;
        loop {
            let listed = agent.dead_letters.clone().list_dead_letters(request.clone()).await;
            let page = listed.unwrap().into_inner();
            count += page.dead_letters.len();
            if page.next_page_token.is_empty() {
                return count;
            }
            request.page_token = page.next_page_token;
        }
    };
    let of = DeadLetterSelector::default;
    let summary = SummarizeDeadLettersRequest { selector: None };
    let summary = agent.dead_letters.clone().summarize_dead_letters(summary).await.unwrap();
    let cause = summary.into_inner().groups[0].cause.clone();
    assert_eq!(cause, "the ledger said <n>");
    assert_eq!(count(DeadLetterSelector { cause: cause.clone(), ..of() }).await, 9);
    assert_eq!(count(DeadLetterSelector { cause: "other".to_owned(), ..of() }).await, 0);
    let ledger = DeadLetterSelector { error_type: "Ledger".to_owned(), cause, ..of() };
    assert_eq!(count(ledger.clone()).await, 3);
    assert_eq!(count(DeadLetterSelector { subscription: "work".to_owned(), ..ledger }).await, 3);
    let patterns = vec!["*/rare".to_owned()];
    assert_eq!(count(DeadLetterSelector { patterns, ..of() }).await, 0);
    let reason = DeadLetterReason::MaxAttempts.into();
    assert_eq!(count(DeadLetterSelector { reason, ..of() }).await, 0);
    let end_time = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    assert_eq!(count(DeadLetterSelector { end_time, ..of() }).await, 0);

    let other = DeadLetterSelector { subscription: "work".to_owned(), ..of() };
    let request = ListDeadLettersRequest {
        subscription: "more".to_owned(),
        selector: Some(other),
        ..Default::default()
    };
    let refused = agent.dead_letters.clone().list_dead_letters(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("`selector.subscription`"), "{refused}");
}
