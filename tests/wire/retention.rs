//! I6 over the wire: what the log keeps, and what becomes of what it keeps no longer.

use hookline_proto::v1::{
    DeadLetter, DeadLetterReason, DeadLetterSelector, Delivery, DeliveryState, GetEventRequest,
    ListDeadLettersRequest, ListEventsRequest, NackAction, Outcome, PublishEventRequest,
    RedriveDeadLettersRequest, SubscribeRequest,
};
use tonic::Code;

use crate::{
    agent::{Agent, earliest, everything, only},
    http::Webhook,
    hub::{Hub, Settings, soon},
};

/// A hub that keeps what nobody waits for no longer than the next look.
async fn forgetful(variables: &[(&str, &str)]) -> Hub {
    let all = [("HOOKLINE_RETENTION__MAX_AGE", "0s")].iter().chain(variables);
    let variables = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Hub::start_with(Settings { variables, ..Settings::default() }).await
}

fn failures() -> SubscribeRequest {
    let patterns = vec!["dead-letter/*".to_owned()];
    SubscribeRequest { patterns, start: earliest(), ..everything("watch") }
}

fn sequence(delivery: &Delivery) -> u64 {
    delivery.event.as_ref().unwrap().sequence
}

async fn sequences(agent: &Agent) -> Vec<u64> {
    let events = agent.list(ListEventsRequest::default()).await;
    events.iter().map(|event| event.sequence).collect()
}

/// Waits until the log keeps these events and no others.
pub(crate) async fn keeps(agent: &Agent, wanted: &[u64]) {
    let kept = async {
        while sequences(agent).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    soon("the log to be trimmed", kept).await;
}

async fn dead_letters(agent: &Agent) -> Vec<DeadLetter> {
    let mut dead_letters = agent.dead_letters.clone();
    let page = dead_letters.list_dead_letters(ListDeadLettersRequest::default());
    soon("dead letters", page).await.unwrap().into_inner().dead_letters
}

#[tokio::test]
async fn i6_what_is_still_to_be_delivered_is_kept_whatever_its_age() {
    let mut hub = forgetful(&[]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    hub.take_each(["a", "b", "c"]).await;
    let first = stream.delivery().await;
    let first_id = first.event.clone().unwrap().id;
    assert_eq!(agent.ack(&[&first.lease_id]).await, [Outcome::Applied]);
    keeps(&agent, &[2, 3]).await;
    let mut events = agent.events.clone();
    let request = GetEventRequest { id: first_id, ..Default::default() };
    let gone = events.get_event(request).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    hub.restart().await;
    let agent = hub.agent().await;
    assert_eq!(sequences(&agent).await, [2, 3]);
    let mut stream = agent.subscribe(everything("work")).await;
    for held in std::mem::take(&mut stream.ready.held) {
        agent.ack(&[&held.lease_id]).await;
    }
    keeps(&agent, &[3]).await;
    assert_eq!(sequence(&stream.ack_next(&agent).await), 3);
    keeps(&agent, &[]).await;
    assert_eq!(dead_letters(&agent).await, []);
    // The places of what is gone are not given again.
    hub.take_each(["d"]).await;
    assert_eq!(sequence(&stream.ack_next(&agent).await), 4);
}

#[tokio::test]
async fn i6_at_the_hard_cap_what_waits_is_a_dead_letter_without_its_payload() {
    // Long enough to be handed out what is to be, and told what became of the rest.
    let hub = forgetful(&[("HOOKLINE_RETENTION__OPEN_MAX_AGE", "10s")]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let mut watch = agent.subscribe(failures()).await;
    hub.take_each(["leased", "old", "older", "oldest"]).await;
    let leased = stream.delivery().await;
    let letters = async {
        loop {
            let letters = dead_letters(&agent).await;
            if letters.len() == 3 {
                return letters;
            }
        }
    };
    let letters = soon("dead letters", letters).await;
    for letter in &letters {
        assert_eq!(letter.reason(), DeadLetterReason::Retention);
        let event = letter.event.as_ref().unwrap();
        assert!(event.payload.is_empty() && event.payload_size > 0, "{event:?}");
        assert_eq!((event.source.as_str(), letter.attempts.len()), ("github", 0));
    }
    // What is leased stays, with all that came after it.
    assert_eq!(agent.ack(&[&leased.lease_id]).await, [Outcome::Applied]);
    // Fewer announcements than dead letters, the last of which is the newest one's.
    let announced = async {
        let mut count = 0;
        loop {
            let delivery = watch.ack_next(&agent).await;
            count += 1;
            let event = delivery.event.unwrap();
            assert_eq!(event.metadata["reason"], "DEAD_LETTER_REASON_RETENTION");
            if event.metadata["dead_letter_id"] == letters[2].id {
                return count;
            }
        }
    };
    assert!((1..=3).contains(&soon("the last announcement", announced).await));
    keeps(&agent, &[]).await;
    // Redriven, it comes without what is gone.
    let request = RedriveDeadLettersRequest {
        selector: Some(DeadLetterSelector {
            ids: vec![letters[0].id.clone()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut service = agent.dead_letters.clone();
    let redriven = soon("a redrive", service.redrive_dead_letters(request)).await.unwrap();
    assert_eq!(redriven.into_inner().redriven_count, 1);
    let again = stream.ack_next(&agent).await;
    assert_eq!((sequence(&again), again.event.unwrap().payload.len()), (2, 0));
}

#[tokio::test]
async fn dead_letters_are_kept_as_long_as_is_said() {
    let variables = vec![("HOOKLINE_RETENTION__DEAD_LETTERS_MAX_AGE".to_owned(), "2s".to_owned())];
    let hub = Hub::start_with(Settings { variables, ..Settings::default() }).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let id = hub.take(&Webhook::push("a")).await;
    let lease_id = stream.delivery().await.lease_id;
    agent.nack(&lease_id, "never", NackAction::DeadLetter).await;
    let gone = async {
        while !only(&agent.event_once(&id, DeliveryState::Dead).await).dead_letter_id.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("the dead letter to be deleted", gone).await;
    assert_eq!(dead_letters(&agent).await, []);
    // It stays given up.
    assert_eq!(only(&agent.event(&id).await).state(), DeliveryState::Dead);
}

#[tokio::test]
async fn i6_the_log_keeps_no_more_bytes_than_it_may() {
    let hub = Hub::start_with(Settings {
        variables: vec![("HOOKLINE_RETENTION__MAX_BYTES".to_owned(), "16 MiB".to_owned())],
        ..Settings::default()
    })
    .await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    // What does not compress: 40 MB.
    let mut noise = fastrand::Rng::with_seed(1);
    let mut last = String::new();
    for number in 1..=40 {
        let payload: Vec<u8> = std::iter::repeat_with(|| noise.u8(..)).take(1_000_000).collect();
        let request = PublishEventRequest {
            event_type: "noise".to_owned(),
            payload: payload.into(),
            ..Default::default()
        };
        last = agent.try_publish(request).await.unwrap().event_id;
        assert_eq!(sequence(&stream.ack_next(&agent).await), number);
    }
    let trimmed = async {
        loop {
            let request = ListEventsRequest {
                payload_view: hookline_proto::v1::PayloadView::None.into(),
                ..Default::default()
            };
            let kept = agent.list(request).await.len();
            // 16 MiB are almost 17 of them, and a MiB more may be kept.
            if kept <= 19 {
                return kept;
            }
        }
    };
    let kept = soon("the log to be trimmed", trimmed).await;
    assert!(16 <= kept, "{kept}");
    assert_eq!(agent.event_once(&last, DeliveryState::Done).await.event.unwrap().sequence, 40);
}
