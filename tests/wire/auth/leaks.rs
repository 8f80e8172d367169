//! What is out of a token's patterns does not exist: not by texts, lists, counts, dead letters or what was taken once.

use hookline_client::Client;
use hookline_proto::v1;
use tonic::{Code, Status};

use super::kit::{Guarded, Tokens, delivery, joining, make, reject, subscribe};
use crate::{agent::earliest, http::Webhook, hub::soon};

const STRIPE: &str = r#"{"id":"evt_1","type":"invoice.paid"}"#;

/// A hub with an operator, who may also work on everything, and one who may `subscribe` and `read` github alone.
struct Two {
    guarded: Guarded,
    operator: Client,
    narrow: Client,
}

impl Two {
    async fn start(more: &[&str]) -> Self {
        let tokens = Tokens::new();
        let all = ["--operate", "--subscribe", "*", "--subscribe", "dead-letter"];
        let operator = tokens.create("ops", &all);
        let narrow = ["--subscribe", "github", "--read", "github"];
        let narrow = tokens.create("narrow", &[&narrow, more].concat());
        let guarded = Guarded::start(tokens).await;
        let (operator, narrow) = (guarded.client(&operator), guarded.client(&narrow));
        Self { guarded, operator, narrow }
    }

    async fn take_stripe(&self) -> String {
        self.guarded.hub.take(&Webhook::stripe(STRIPE).signed()).await
    }

    /// Rejects the first event of a subscription.
    async fn reject_first(&self, name: &str) {
        let request = v1::SubscribeRequest { max_in_flight: Some(1), ..joining(name, "worker") };
        let mut stream = subscribe(&self.operator, request).await.unwrap();
        let first = delivery(&mut stream).await.unwrap();
        reject(&self.operator, &first).await;
    }

    async fn dead_letter(&self) -> v1::DeadLetter {
        let request = v1::ListDeadLettersRequest::default();
        let listed = soon("a list", self.operator.dead_letters().list_dead_letters(request)).await;
        listed.unwrap().into_inner().dead_letters.remove(0)
    }
}

fn code_and_text(status: Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn what_is_out_of_reach_is_refused_as_what_is_not_there() {
    let two = Two::start(&[]).await;
    let hidden = two.take_stripe().await;
    make(&two.operator, "billing", &["stripe"]).await;
    two.reject_first("billing").await;
    let letter = two.dead_letter().await.id;
    let narrow = &two.narrow;
    // The same question about what is there and about what is not, told in the same words but for the name.
    let unknown = "01890000-0000-7000-8000-000000000000";
    let event = async |id: &str| {
        let request = v1::GetEventRequest { id: id.to_owned(), ..Default::default() };
        let status = narrow.events().get_event(request).await.unwrap_err();
        code_and_text(status).1.replace(id, "X")
    };
    assert_eq!(event(&hidden).await, event(unknown).await);
    let tried = async |id: &str| {
        let request = v1::TestFilterRequest { event_id: id.to_owned(), ..Default::default() };
        let status = narrow.events().test_filter(request).await.unwrap_err();
        (status.code(), status.message().replace(id, "X"))
    };
    assert_eq!(tried(&hidden).await, tried(unknown).await);
    assert_eq!(tried(&hidden).await.0, Code::NotFound);
    let subscription = async |name: &str| {
        let named = name.to_owned();
        let selector = v1::DeadLetterSelector { subscription: named.clone(), ..Default::default() };
        let get = v1::GetSubscriptionRequest { name: named.clone() };
        let list = v1::ListDeliveriesRequest { subscription: named.clone(), ..Default::default() };
        let letters = v1::ListDeadLettersRequest { subscription: named, ..Default::default() };
        let sum = v1::SummarizeDeadLettersRequest { selector: Some(selector) };
        let statuses = [
            narrow.subscriptions().get_subscription(get).await.unwrap_err(),
            narrow.subscriptions().list_deliveries(list).await.unwrap_err(),
            narrow.dead_letters().list_dead_letters(letters).await.unwrap_err(),
            narrow.dead_letters().summarize_dead_letters(sum).await.unwrap_err(),
            subscribe(narrow, joining(name, "one")).await.unwrap_err(),
        ];
        statuses.map(|status| (status.code(), status.message().replace(name, "X")))
    };
    let told = subscription("billing").await;
    assert_eq!(told, subscription("nobody").await);
    assert!(told.iter().all(|(code, _)| *code == Code::NotFound), "{told:?}");
    let dead = async |id: &str| {
        let request = v1::GetDeadLetterRequest { id: id.to_owned(), ..Default::default() };
        let status = narrow.dead_letters().get_dead_letter(request).await.unwrap_err();
        (status.code(), status.message().replace(id, "X"))
    };
    assert_eq!(dead(&letter).await, dead("dl-99-1-0").await);
}

#[tokio::test]
async fn lists_and_counts_are_of_what_may_be_seen() {
    let two = Two::start(&[]).await;
    let first = two.guarded.hub.take(&Webhook::push("g1")).await;
    two.take_stripe().await;
    two.guarded.hub.take(&Webhook::push("g2")).await;
    for (name, patterns) in [("both", &["github", "stripe"][..]), ("mine", &["github"])] {
        make(&two.operator, name, patterns).await;
        two.reject_first(name).await;
    }
    let narrow = &two.narrow;
    let mut seen = Vec::new();
    let mut request = v1::ListEventsRequest { page_size: Some(1), ..Default::default() };
    loop {
        let page = narrow.events().list_events(request.clone()).await.unwrap().into_inner();
        seen.extend(page.events.into_iter().map(|event| event.source));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, ["github", "github"]);
    let tried = narrow.events().test_filter(v1::TestFilterRequest::default()).await.unwrap();
    let tried = tried.into_inner();
    assert_eq!((tried.scanned_count, tried.matched_count, tried.samples.len()), (2, 2, 2));
    // A filter that fails on what is out of sight fails on nothing.
    let request = v1::TestFilterRequest {
        filter: "event.payload.type == 'invoice.paid'".into(),
        ..Default::default()
    };
    let tried = narrow.events().test_filter(request).await.unwrap().into_inner();
    assert_eq!(tried.matched_count, 0);

    // An event that may be seen says nothing of subscriptions that may not.
    let request = v1::GetEventRequest { id: first, ..Default::default() };
    let got = narrow.events().get_event(request).await.unwrap().into_inner();
    let of: Vec<_> = got.deliveries.iter().map(|of| of.subscription.as_str()).collect();
    assert_eq!(of, ["mine"]);
    let mut request = v1::ListSubscriptionsRequest { page_size: Some(1), ..Default::default() };
    let page = narrow.subscriptions().list_subscriptions(request.clone()).await.unwrap();
    let names: Vec<_> = page.get_ref().subscriptions.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names, page.get_ref().next_page_token.as_str()), (vec!["mine"], ""));
    request.page_size = None;
    let request = v1::SummarizeDeadLettersRequest::default();
    let summed = narrow.dead_letters().summarize_dead_letters(request).await;
    assert_eq!(summed.unwrap().get_ref().total_count, 1);
    let request = v1::ListDeadLettersRequest { page_size: Some(1), ..Default::default() };
    let page = narrow.dead_letters().list_dead_letters(request).await.unwrap().into_inner();
    let of: Vec<_> = page.dead_letters.iter().map(|one| one.subscription.as_str()).collect();
    assert_eq!((of, page.next_page_token.as_str()), (vec!["mine"], ""));
}

#[tokio::test]
async fn a_lease_id_is_no_credential() {
    let two = Two::start(&[]).await;
    two.take_stripe().await;
    two.guarded.hub.take(&Webhook::push("g1")).await;
    make(&two.operator, "billing", &["stripe"]).await;
    make(&two.operator, "mine", &["github"]).await;
    let mut billing = subscribe(&two.operator, joining("billing", "worker")).await.unwrap();
    let mut mine = subscribe(&two.narrow, joining("mine", "worker")).await.unwrap();
    let theirs = delivery(&mut billing).await.unwrap().lease_id;
    let own = delivery(&mut mine).await.unwrap().lease_id;
    let request = v1::AckRequest { lease_ids: vec![theirs.clone(), "made up".into(), own] };
    let acked = two.narrow.subscriber().ack(request).await.unwrap().into_inner().results;
    let outcomes: Vec<_> = acked.iter().map(v1::SettleResult::outcome).collect();
    assert_eq!(outcomes, [v1::Outcome::Invalid, v1::Outcome::Invalid, v1::Outcome::Applied]);
    assert_eq!(acked[0].message, acked[1].message);
    assert_eq!(acked[0].lease_id, theirs, "as it came");
    // It was not settled: its holder can.
    let request = v1::AckRequest { lease_ids: vec![theirs] };
    let acked = two.operator.subscriber().ack(request).await.unwrap().into_inner().results;
    assert_eq!(acked[0].outcome(), v1::Outcome::Applied);
}

#[tokio::test]
async fn dead_letters_need_the_patterns_of_what_was_given_up() {
    // Reads all announcements, but only github beside.
    let two = Two::start(&["--read", "dead-letter", "--subscribe", "dead-letter"]).await;
    two.take_stripe().await;
    two.guarded.hub.take(&Webhook::push("g1")).await;
    for (name, patterns) in
        [("billing", &["stripe"][..]), ("both", &["github", "stripe"]), ("mine", &["github"])]
    {
        make(&two.operator, name, patterns).await;
        two.reject_first(name).await;
    }
    // All three are announced.
    let start = earliest();
    let patterns = vec!["dead-letter".to_owned()];
    let request = v1::WatchEventsRequest { patterns, start, ..Default::default() };
    let mut watched =
        soon("a stream", two.operator.events().watch_events(request)).await.unwrap().into_inner();
    for _ in 0..3 {
        soon("an announcement", watched.message()).await.unwrap().unwrap();
    }
    let patterns = vec!["dead-letter".to_owned()];
    let request = v1::ListEventsRequest { patterns, ..Default::default() };
    let listed = two.narrow.events().list_events(request).await.unwrap().into_inner();
    let types: Vec<_> = listed.events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["mine"]);

    let watching = |of: &str| v1::SubscribeRequest {
        subscription: String::new(),
        consumer: "one".to_owned(),
        patterns: vec![format!("dead-letter/{of}")],
        start: earliest(),
        ..Default::default()
    };
    let mut own = subscribe(&two.narrow, watching("mine")).await.unwrap();
    assert_eq!(delivery(&mut own).await.unwrap().event.unwrap().event_type, "mine");
    // What is another's is refused as what is not there, also where only some of what it takes is.
    let refused = async |of: &str| {
        let status = subscribe(&two.narrow, watching(of)).await.unwrap_err();
        (status.code(), status.message().replace(of, "X"))
    };
    let absent = refused("nobody").await;
    assert_eq!(absent.0, Code::PermissionDenied);
    for of in ["billing", "both", "bill*", "*"] {
        assert_eq!(refused(of).await.0, absent.0, "{of}");
    }
    assert_eq!(refused("billing").await, absent);
}

#[tokio::test]
async fn a_subscription_that_took_more_once_stays_out_of_sight() {
    let two = Two::start(&[]).await;
    two.take_stripe().await;
    make(&two.operator, "work", &["github", "stripe"]).await;
    two.reject_first("work").await;
    let letter = two.dead_letter().await;
    let narrowed = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            name: "work".to_owned(),
            patterns: vec!["github".to_owned()],
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["patterns".to_owned()] }),
        filter_from: None,
    };
    two.operator.subscriptions().update_subscription(narrowed).await.unwrap();
    let get = v1::GetSubscriptionRequest { name: "work".to_owned() };
    let hidden = two.narrow.subscriptions().get_subscription(get).await.unwrap_err();
    assert_eq!(hidden.code(), Code::NotFound);
    let joined = subscribe(&two.narrow, joining("work", "one")).await.unwrap_err();
    assert_eq!(joined.code(), Code::NotFound);
    let request = v1::GetDeadLetterRequest { id: letter.id, ..Default::default() };
    let hidden = two.narrow.dead_letters().get_dead_letter(request).await.unwrap_err();
    assert_eq!(hidden.code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_ends_when_its_subscription_takes_what_is_out_of_reach() {
    let two = Two::start(&[]).await;
    make(&two.operator, "work", &["github"]).await;
    let mut stream = subscribe(&two.narrow, joining("work", "one")).await.unwrap();
    let widened = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            name: "work".to_owned(),
            patterns: vec!["github".to_owned(), "stripe".to_owned()],
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["patterns".to_owned()] }),
        filter_from: None,
    };
    two.operator.subscriptions().update_subscription(widened).await.unwrap();
    two.take_stripe().await;
    let ended = delivery(&mut stream).await.unwrap_err();
    assert_eq!(
        code_and_text(ended),
        (Code::NotFound, "there is no subscription `work`".to_owned())
    );
    // Its event is there for who may take it.
    let mut stream = subscribe(&two.operator, joining("work", "other")).await.unwrap();
    assert_eq!(delivery(&mut stream).await.unwrap().event.unwrap().source, "stripe");
}

#[tokio::test]
async fn nobody_publishes_as_another() {
    let two = Two::start(&["--publish", "agent", "--publish", "github"]).await;
    let publish = async |client: &Client, source: &str| {
        let request = v1::PublishEventRequest {
            source: source.to_owned(),
            event_type: "done".to_owned(),
            ..Default::default()
        };
        client.events().publish_event(request).await.map_err(|status| status.code())
    };
    assert!(publish(&two.narrow, "").await.is_ok());
    assert!(publish(&two.narrow, "agent").await.is_ok());
    assert!(publish(&two.narrow, "github").await.is_ok(), "a source of webhooks that is named");
    for source in ["stripe", "robot"] {
        let refused = publish(&two.narrow, source).await.unwrap_err();
        assert_eq!(refused, Code::PermissionDenied, "{source}");
    }
    let refused = publish(&two.narrow, "dead-letter").await.unwrap_err();
    assert_eq!(refused, Code::InvalidArgument);
    assert_eq!(publish(&two.operator, "agent").await.unwrap_err(), Code::PermissionDenied);
}
