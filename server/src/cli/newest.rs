//! The end of the log, as far as a token shows it.

use hookline_client::{
    Client, Event,
    proto::{ListEventsRequest, PayloadView},
};
use tonic::Status;

/// How many pages are asked for. One looks at some thousands of events that the token does not show.
const PAGES_MAX: usize = 100;

/// What is known of the newest event.
#[derive(Debug)]
pub(super) enum Newest {
    /// It, without its payload.
    Event(Box<Event>),
    /// There is none.
    Absent,
    /// None of so many that it was not looked further.
    Unknown,
}

/// Looks for the newest event that is shown.
pub(super) async fn newest(client: &Client) -> Result<Newest, Status> {
    let mut request = ListEventsRequest {
        newest_first: true,
        page_size: Some(1),
        payload_view: PayloadView::None.into(),
        ..Default::default()
    };
    for _ in 0..PAGES_MAX {
        let page = client.events().list_events(request.clone()).await?.into_inner();
        if let Some(event) = page.events.into_iter().next() {
            return Ok(Newest::Event(Box::new(event)));
        }
        if page.next_page_token.is_empty() {
            return Ok(Newest::Absent);
        }
        request.page_token = page.next_page_token;
    }
    Ok(Newest::Unknown)
}
