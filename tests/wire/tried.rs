//! A hub that is tried with what it must refuse, and must go on.

use crate::{
    agent::{Agent, Stream, event_id, everything},
    http::Webhook,
    hub::{Hub, wall},
};

/// A hub, with an agent that takes all events: what shows that it goes on.
pub(crate) struct Tried {
    pub(crate) hub: Hub,
    pub(crate) agent: Agent,
    pub(crate) stream: Stream,
}

impl Tried {
    pub(crate) async fn start() -> Self {
        let hub = Hub::start().await;
        let agent = hub.agent().await;
        let stream = agent.subscribe(everything("work")).await;
        Self { hub, agent, stream }
    }

    /// Posts an event that must be taken and delivered, as the next one.
    pub(crate) async fn goes_on(&mut self) {
        let id = self.hub.take(&Webhook::push(&format!("goes-on-{}", wall().as_nanos()))).await;
        assert_eq!(event_id(&self.stream.ack_next(&self.agent).await), id);
    }
}
