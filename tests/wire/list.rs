//! Finding events in a log: by resource and actor, in pages that stay, with bounded work.

use hookline_proto::v1::{ListEventsRequest, PublishEventRequest};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    agent::Agent,
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
