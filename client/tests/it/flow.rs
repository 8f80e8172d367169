//! What is asked for of resources, rates and filters; checkpoints; and news of resources.

use std::time::Duration;

use hookline_client::{
    LeaseError, Policy,
    proto::{Coalesce, Ordering, Outcome, SubscribeRequest, SubscriptionPolicy},
};

use crate::hub::{Hub, LEASE};

#[expect(clippy::unnecessary_wraps, reason = "every duration of the contract is optional")]
fn secs(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Subscribes with this policy and returns the request's.
async fn sent(policy: Policy) -> SubscriptionPolicy {
    let mut hub = Hub::start();
    let subscribing = hub.client.subscription("prs").patterns(["github"]).policy(policy);
    let subscribing = subscribing.subscribe();
    let request = async {
        let (request, stream) = hub.subscribed().await;
        stream.ready(&[]).await;
        request
    };
    let (deliveries, request) = tokio::join!(subscribing, request);
    drop(deliveries.unwrap());
    request.policy.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_word_of_a_policy_sets_its_own_fields_and_no_others() {
    let none = SubscriptionPolicy::default;
    let (resource, second) = (Ordering::Resource.into(), Duration::from_secs(1));
    let cases = [
        (
            Policy::new().ordered(),
            SubscriptionPolicy {
                ordering: resource,
                max_in_flight_per_resource: Some(1),
                ..none()
            },
        ),
        (
            Policy::new().ordered_at_once(3),
            SubscriptionPolicy {
                ordering: resource,
                max_in_flight_per_resource: Some(3),
                ..none()
            },
        ),
        (
            Policy::new().coalesce_latest(),
            SubscriptionPolicy { coalesce: Coalesce::Latest.into(), ..none() },
        ),
        (
            Policy::new().debounce(5 * second, 60 * second),
            SubscriptionPolicy {
                coalesce: Coalesce::Debounce.into(),
                debounce_quiet: secs(5),
                debounce_max_wait: secs(60),
                ..none()
            },
        ),
        (
            Policy::new().rate(0.5, 3),
            SubscriptionPolicy { max_per_second: Some(0.5), burst: Some(3), ..none() },
        ),
        (
            Policy::new().breaker(4, 30 * second),
            SubscriptionPolicy { breaker_failures: Some(4), breaker_pause: secs(30), ..none() },
        ),
        (
            Policy::new().expire_after(90 * second),
            SubscriptionPolicy { expire_after: secs(90), ..none() },
        ),
    ];
    for (policy, expected) in cases {
        assert_eq!(sent(policy).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_is_sent_with_the_patterns_and_like_them_not_again_after_a_break() {
    let mut hub = Hub::start();
    let filter = "event.payload.pull_request.draft == false";
    let builder = hub.client.subscription("prs").patterns(["github"]).filter(filter);
    let subscribing = builder.policy(Policy::new().ordered()).subscribe();
    let first = async {
        let (request, stream) = hub.subscribed().await;
        stream.ready(&[]).await;
        (request, stream)
    };
    let (deliveries, (request, stream)) = tokio::join!(subscribing, first);
    let _deliveries = deliveries.unwrap();
    assert_eq!((request.patterns, request.filter.as_str()), (vec!["github".to_owned()], filter));
    stream.cut(tonic::Status::unavailable("a restart")).await;
    let (again, _stream) = hub.subscribed().await;
    let SubscribeRequest { patterns, filter, policy, subscription, .. } = again;
    assert_eq!((patterns, filter.as_str(), policy), (Vec::<String>::new(), "", None));
    assert_eq!(subscription, "prs");
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_saves_is_durable_when_it_returns_and_extends_the_lease() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    let delivery = deliveries.next().await.unwrap().unwrap();
    assert_eq!(delivery.checkpoint(), b"");
    let (saved, extensions) =
        tokio::join!(delivery.save("page 3"), hub.extended_with(Outcome::Applied));
    saved.unwrap();
    let [extension] = &extensions[..] else { panic!("one extension: {extensions:?}") };
    assert_eq!((extension.lease_id.as_str(), extension.duration), ("a0", None));
    assert_eq!(extension.checkpoint.as_deref(), Some(&b"page 3"[..]));

    // Nothing saved is another thing than nothing to save.
    let (saved, extensions) =
        tokio::join!(delivery.save(Vec::new()), hub.extended_with(Outcome::Applied));
    saved.unwrap();
    assert_eq!(extensions[0].checkpoint.as_deref(), Some(&b""[..]));
    // What the library extends by itself leaves it.
    let extensions = hub.extended_with(Outcome::Applied).await;
    assert_eq!(extensions[0].checkpoint, None);

    let (saved, _) = tokio::join!(delivery.save("late"), hub.extended_with(Outcome::Stale));
    assert!(matches!(saved, Err(LeaseError::Stale { .. })), "{saved:?}");
    assert!(delivery.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_gets_what_was_saved_and_the_events_that_were_coalesced_into_it() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream
        .deliver_with("a0", 5, |delivery| {
            delivery.attempt = 2;
            delivery.checkpoint = "page 3".into();
            delivery.superseded = vec!["event-3".into(), "event-4".into()];
            delivery.superseded_count = 102;
        })
        .await;
    let delivery = deliveries.next().await.unwrap().unwrap();
    assert_eq!((delivery.attempt(), delivery.checkpoint()), (2, &b"page 3"[..]));
    assert_eq!(delivery.superseded(), ["event-3", "event-4"]);
    assert_eq!(delivery.superseded_count(), 102);
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_woken_when_its_resource_has_newer_events_and_counts_them_all() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    stream.deliver("b0", 2).await;
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.push(deliveries.next().await.unwrap().unwrap());
    }
    assert_eq!((taken[0].newer().count, taken[0].newer().newest_sequence), (0, 0));
    let outdated = taken[0].outdated();
    let (newer, ()) = tokio::join!(outdated, stream.newer("a0", 2, 7));
    assert_eq!((newer.count, newer.newest_sequence), (2, 7));
    stream.newer("a0", 1, 9).await;
    let counted = async {
        while taken[0].newer().count < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), counted).await.unwrap();
    assert_eq!((taken[0].newer().count, taken[0].newer().newest_sequence), (3, 9));
    // One who asks later is told at once.
    assert_eq!(taken[0].outdated().await, taken[0].newer());
    // It is said of one lease, and of no other.
    assert_eq!(taken[1].newer().count, 0);
    let waited = tokio::time::timeout(LEASE / 6, taken[1].outdated()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_newer_events_waits_on_when_the_lease_is_over() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    let delivery = deliveries.next().await.unwrap().unwrap();
    let (outdated, lost) = (delivery.outdated(), delivery.lost());
    stream.lose("a0", "the lease ran out").await;
    stream.newer("a0", 1, 2).await;
    assert_eq!(lost.await, "the lease ran out");
    let waited = tokio::time::timeout(Duration::from_secs(3_600), outdated).await;
    assert!(waited.is_err(), "{waited:?}");
}
