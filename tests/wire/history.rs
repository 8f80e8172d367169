//! What an event tells of its deliveries once they have ended.

use hookline_proto::v1::{AttemptEnd, DeliveryState, NackAction, SubscribeRequest};

use crate::{
    agent::{event_id, everything, only, retrying_at_once},
    hub::Hub,
};

#[tokio::test]
async fn the_attempts_that_failed_are_told_also_when_a_later_one_was_acked() {
    let mut hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest { policy: Some(retrying_at_once()), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    for reason in ["no luck", "again"] {
        let delivery = stream.delivery().await;
        agent.nack(&delivery.lease_id, reason, NackAction::Retry).await;
    }
    let done = stream.ack_next(&agent).await;
    let id = event_id(&done).to_owned();
    for round in 0..2 {
        let got = hub.agent().await.event(&id).await;
        let status = only(&got);
        assert_eq!((status.state(), status.attempt), (DeliveryState::Done, 3), "{round}");
        let told = status.attempts.iter();
        let told = told.map(|of| (of.number, of.consumer.as_str(), of.end(), of.reason.as_str()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (1, "one", AttemptEnd::Nacked, "no luck"),
                (2, "one", AttemptEnd::Nacked, "again"),
                (3, "one", AttemptEnd::Acked, ""),
            ]
        );
        hub.restart().await;
    }
}
