//! What keeps a subscription from leasing: pauses, a limit of its rate, a breaker, consumers that do not read.

use std::time::Duration;

use hookline_proto::v1::{
    DeliveryState, Hold, NackAction, Outcome, PublishEventRequest, SubscribeRequest,
    SubscriptionPolicy,
};

use crate::{
    agent::{Agent, at, event_id, everything, lasts, only, retrying_at_once},
    hub::{Hub, wall},
    operator::{again, creating, working},
};

/// Returns what keeps each delivery that is ready.
async fn holds(agent: &Agent, name: &str) -> Vec<Hold> {
    let ready = agent.deliveries(name, &[DeliveryState::Ready]).await;
    ready.iter().map(|of| of.hold()).collect()
}

#[tokio::test]
async fn j1_a_paused_subscription_gives_no_lease_while_running_ones_go_on() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "b", "c"]).await;
    let mut stream = agent.subscribe(everything("work")).await;
    let first = stream.delivery().await;
    agent.pause("work", None).await;
    let extended = agent.extend(&first.lease_id, None).await;
    assert_eq!(extended.outcome(), Outcome::Applied);
    assert_eq!(agent.ack(&[&first.lease_id]).await, [Outcome::Applied]);
    let paused = agent.scanned("work").await;
    assert_eq!((paused.paused, paused.paused_until, paused.hold()), (true, None, Hold::Paused));
    assert_eq!(paused.counts.unwrap().leased, 0);
    assert_eq!(holds(&agent, "work").await, [Hold::Paused; 2]);
    // What is paused by one call more is not paused twice.
    agent.pause("work", None).await;
    let before = wall();
    agent.resume("work").await;
    let second = stream.ack_next(&agent).await;
    let started = at(only(&agent.event(event_id(&second)).await).attempts[0].started_at);
    assert!(before <= started + Duration::from_millis(100), "{started:?} and {before:?}");
    let resumed = agent.subscription("work").await;
    assert_eq!((resumed.paused, resumed.hold() == Hold::Paused), (false, false));
    stream.ack_next(&agent).await;
}

#[tokio::test]
async fn j2_a_pause_until_a_time_ends_by_itself() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let until = wall() + Duration::from_secs(2);
    agent.pause("work", Some(until)).await;
    agent.publish_about("a").await;
    let paused = agent.subscription("work").await;
    // Unless all that took so long.
    if wall() < until {
        assert_eq!((paused.paused, paused.hold()), (true, Hold::Paused));
        // It is held by the steady clock, which is read a moment later.
        let apart = at(paused.paused_until).as_micros().abs_diff(at(paused.hold_until).as_micros());
        assert!(apart < 10_000, "{paused:?}");
        assert_eq!(at(paused.paused_until).as_millis(), until.as_millis());
    }
    let delivery = stream.ack_next(&agent).await;
    let started = at(only(&agent.event(event_id(&delivery)).await).attempts[0].started_at);
    assert!(until.as_millis() <= started.as_millis(), "{started:?} before {until:?}");
    let resumed = agent.subscription("work").await;
    assert_eq!(
        (resumed.paused, resumed.paused_until, resumed.hold()),
        (false, None, Hold::Unspecified)
    );
}

#[tokio::test]
async fn pauses_hold_over_a_kill_and_end_as_they_were_told_to() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    for name in ["for-good", "for-a-while"] {
        agent.try_create(creating(everything(name))).await.unwrap();
    }
    let until = wall() + Duration::from_millis(1_500);
    agent.pause("for-good", None).await;
    agent.pause("for-a-while", Some(until)).await;
    hub.crash().await;
    let agent = hub.agent().await;
    agent.publish_about("a").await;
    let mut for_good = agent.subscribe(again("for-good")).await;
    let mut for_a_while = agent.subscribe(again("for-a-while")).await;
    for name in ["for-good", "for-a-while"] {
        let paused = agent.scanned(name).await;
        // Unless all that took so long.
        if name == "for-good" || wall() < until {
            assert_eq!((paused.paused, paused.hold()), (true, Hold::Paused), "{name}");
            assert_eq!(paused.counts.unwrap().leased, 0, "{name}");
        }
    }
    let delivery = for_a_while.ack_next(&agent).await;
    let got = agent.event(event_id(&delivery)).await;
    let [paused, resumed] = &got.deliveries[..] else { panic!("two deliveries: {got:?}") };
    let (paused, resumed) =
        if paused.subscription == "for-good" { (paused, resumed) } else { (resumed, paused) };
    assert_eq!((paused.state(), paused.hold()), (DeliveryState::Ready, Hold::Paused));
    assert!(until.as_millis() <= at(resumed.attempts[0].started_at).as_millis());
    agent.resume("for-good").await;
    hub.crash().await;
    let agent = hub.agent().await;
    assert!(!agent.subscription("for-good").await.paused);
    drop(for_good);
    for_good = agent.subscribe(again("for-good")).await;
    // It may have been leased just before the kill, long enough to be held still.
    if for_good.ready.held.is_empty() {
        for_good.ack_next(&agent).await;
    }
}

#[tokio::test]
async fn j3_no_more_leases_are_given_per_second_than_the_policy_says() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a"; 14]).await;
    let (per_second, burst) = (20_u32, 4_u32);
    let policy = SubscriptionPolicy {
        max_per_second: Some(f64::from(per_second)),
        burst: Some(burst),
        ..retrying_at_once()
    };
    let before = wall();
    let mut stream = agent.subscribe(working("work", policy)).await;
    for count in 1..=14 {
        stream.ack_next(&agent).await;
        // Ever since the subscription began with a full burst.
        let earliest =
            before + Duration::from_secs(1) * u32::saturating_sub(count, burst) / per_second;
        assert!(earliest <= wall() + Duration::from_millis(2), "delivery {count} came too early");
    }
    assert!(wall() < before + Duration::from_secs(10), "slower by far than allowed");
}

#[tokio::test]
async fn what_the_rate_holds_back_says_so_and_until_when() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a"; 5]).await;
    let policy =
        SubscriptionPolicy { max_per_second: Some(0.01), burst: Some(2), ..retrying_at_once() };
    let mut stream = agent.subscribe(working("work", policy)).await;
    let first = stream.ack_next(&agent).await;
    stream.ack_next(&agent).await;
    let held = agent.scanned("work").await;
    assert_eq!((held.hold(), held.counts.unwrap().ready), (Hold::Rate, 3));
    let wait = at(held.hold_until) - at(first.event.unwrap().received_at);
    assert!((90..200).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(holds(&agent, "work").await, [Hold::Rate; 3]);
    // Without the limit they come at once.
    let none = SubscriptionPolicy::default();
    agent.change_policy("work", none, &["policy.max_per_second"]).await;
    for _ in 0..3 {
        stream.ack_next(&agent).await;
    }
}

#[tokio::test]
async fn j4_a_breaker_opens_after_failures_in_a_row_and_one_acked_probe_closes_it() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a"; 4]).await;
    let pause = Duration::from_secs(3);
    let policy = SubscriptionPolicy {
        breaker_failures: Some(3),
        breaker_pause: lasts(pause),
        max_attempts: Some(100),
        initial_backoff: lasts(Duration::from_millis(1)),
        ..retrying_at_once()
    };
    agent.try_create(creating(working("work", policy))).await.unwrap();
    let mut stream = agent.subscribe(again("work")).await;
    for _ in 0..2 {
        let delivery = stream.delivery().await;
        agent.nack(&delivery.lease_id, "down", NackAction::Retry).await;
        assert_ne!(agent.subscription("work").await.hold(), Hold::Breaker);
    }
    let third = stream.delivery().await;
    // It gets no probe.
    drop(stream);
    agent.nack(&third.lease_id, "down", NackAction::Retry).await;
    let mut opened = agent.subscription("work").await;
    let mut many =
        agent.subscribe(SubscribeRequest { max_in_flight: Some(10), ..again("work") }).await;
    // The first probe fails, the second one is acked.
    for is_last in [false, true] {
        assert_eq!((opened.hold(), opened.counts.unwrap().leased), (Hold::Breaker, 0));
        let until = at(opened.hold_until);
        let probe = many.delivery().await;
        let got = agent.event(event_id(&probe)).await;
        let started = at(only(&got).attempts.last().unwrap().started_at);
        assert!(until <= started && started < until + 2 * pause, "{started:?} and {until:?}");
        let probing = agent.subscription("work").await;
        assert_eq!((probing.hold(), probing.counts.unwrap().leased), (Hold::Breaker, 1));
        assert!(holds(&agent, "work").await.iter().all(|hold| *hold == Hold::Breaker));
        if is_last {
            assert_eq!(agent.ack(&[&probe.lease_id]).await, [Outcome::Applied]);
        } else {
            agent.nack(&probe.lease_id, "still down", NackAction::Retry).await;
            opened = agent.subscription("work").await;
        }
    }
    for _ in 0..3 {
        many.ack_next(&agent).await;
    }
    assert_eq!(agent.subscription("work").await.hold(), Hold::Unspecified);
}

#[tokio::test]
async fn a_success_in_between_keeps_a_breaker_closed() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a"; 6]).await;
    let policy = SubscriptionPolicy {
        breaker_failures: Some(2),
        initial_backoff: lasts(Duration::from_secs(600)),
        ..Default::default()
    };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    for _ in 0..3 {
        let delivery = stream.delivery().await;
        agent.nack(&delivery.lease_id, "down", NackAction::Retry).await;
        // Neither does a nack for good fail the breaker.
        let delivery = stream.delivery().await;
        agent.nack(&delivery.lease_id, "bad", NackAction::DeadLetter).await;
    }
    assert_ne!(agent.subscription("work").await.hold(), Hold::Breaker);
    assert_eq!(agent.subscription("work").await.counts.unwrap().waiting, 3);
}

#[tokio::test]
async fn d3_a_client_that_stops_reading_holds_what_it_has_room_for_and_others_are_unhurt() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let stuck = hub.agent().await;
    let request = SubscribeRequest {
        max_in_flight: Some(10),
        consumer: "stuck".to_owned(),
        ..everything("work")
    };
    let unread = stuck.subscribe(request).await;
    let mut work = agent.subscribe(everything("work")).await;
    let mut side = agent.subscribe(everything("side")).await;
    // More than any window of a connection.
    let payload = format!(r#"{{"text": "{}"}}"#, "x".repeat(1 << 20));
    for _ in 0..40 {
        let request = PublishEventRequest {
            event_type: "large".to_owned(),
            payload: payload.clone().into(),
            ..Default::default()
        };
        agent.try_publish(request).await.unwrap();
    }
    for _ in 0..40 {
        side.ack_next(&agent).await;
    }
    for _ in 0..30 {
        work.ack_next(&agent).await;
    }
    let leased = agent.deliveries("work", &[]).await;
    assert_eq!(leased.len(), 10);
    assert!(leased.iter().all(|of| of.consumer == "stuck"), "{leased:?}");
    // What its transport has not taken is given to others once its stream is over, uncounted.
    drop((unread, stuck));
    assert_eq!(work.ack_next(&agent).await.attempt, 1);
}
