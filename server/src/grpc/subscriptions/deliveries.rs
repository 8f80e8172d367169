//! `ListDeliveries`: what a subscription does with each event, in pages.

use std::collections::BTreeSet;

use hookline_core::event::{Sequence, SubscriptionName};
use hookline_proto::v1;
use prost::Message as _;
use tonic::Status;

use crate::{
    broker::{Delivered, Sight, States},
    grpc::{Shared, convert, fields, page, status},
    limits::PAGE_BYTES_MAX,
    store::ReadLimit,
};

/// Which deliveries a list is of.
struct Wanted {
    states: States,
    dead: bool,
}

impl Wanted {
    fn read(states: &[i32]) -> Result<Self, Status> {
        let none = States { ready: false, leased: false, waiting: false };
        let all = States { ready: true, leased: true, waiting: true };
        let mut wanted = Self { states: if states.is_empty() { all } else { none }, dead: false };
        for (index, state) in states.iter().enumerate() {
            match v1::DeliveryState::try_from(*state) {
                Ok(v1::DeliveryState::Ready) => wanted.states.ready = true,
                Ok(v1::DeliveryState::Leased) => wanted.states.leased = true,
                Ok(v1::DeliveryState::Waiting) => wanted.states.waiting = true,
                Ok(v1::DeliveryState::Dead) => wanted.dead = true,
                Ok(
                    v1::DeliveryState::Unspecified
                    | v1::DeliveryState::Done
                    | v1::DeliveryState::Superseded,
                )
                | Err(_) => {
                    let problem =
                        "must be READY, LEASED, WAITING or DEAD; GetEvent tells the others";
                    return Err(status::invalid(format!("states[{index}]"), problem));
                }
            }
        }
        Ok(wanted)
    }
}

pub(super) async fn list(
    shared: &Shared,
    request: v1::ListDeliveriesRequest,
    sight: &Sight,
) -> Result<v1::ListDeliveriesResponse, Status> {
    let name = fields::subscription_name("subscription", &request.subscription)?;
    let broker = &shared.broker;
    if !broker.identity(&name).is_some_and(|identity| broker.shows(sight, &identity)) {
        return Err(status::unknown_subscription(name.as_str()));
    }
    let wanted = Wanted::read(&request.states)?;
    let size = page::size(request.page_size);
    let query = format!("deliveries {name} {:?}", request.states);
    let after = match page::place(&request.page_token, &query)? {
        None => 0,
        Some(place) => place.parse().map_err(|_| status::invalid("page_token", "not a token"))?,
    };
    let mut page = v1::ListDeliveriesResponse::default();
    let mut bytes = 0;
    // One more than the page holds tells whether there is another.
    let (next, more) = next(shared, &name, &wanted, after, size + 1).await?;
    let looked_at = next.last().map(|(sequence, _)| *sequence);
    for (sequence, delivered) in next {
        let entry = broker.event_at(sequence).await;
        if !broker.shows_delivery(sight, &delivered, entry.as_deref(), sequence).await {
            continue;
        }
        let id = entry.map_or_else(String::new, |entry| entry.event.id.to_string());
        let status = convert::delivery_status(&delivered, &id, sequence);
        bytes += status.encoded_len();
        let has_room = page.deliveries.len() < size && bytes <= PAGE_BYTES_MAX;
        if !has_room && let Some(last) = page.deliveries.last() {
            page.next_page_token = page::token(&last.sequence.to_string(), &query);
            break;
        }
        page.deliveries.push(status);
    }
    // Not the last that is shown: none of them may be.
    if let Some(last) = looked_at.filter(|_| more && page.next_page_token.is_empty()) {
        page.next_page_token = page::token(&last.get().to_string(), &query);
    }
    Ok(page)
}

/// Returns deliveries beyond a sequence, in order, about `count`; and whether there may be more.
async fn next(
    shared: &Shared,
    name: &SubscriptionName,
    wanted: &Wanted,
    after: u64,
    count: usize,
) -> Result<(Vec<(Sequence, Delivered)>, bool), Status> {
    let broker = &shared.broker;
    let open = broker.open_deliveries(name, after, wanted.states, count).await;
    let open = open.map_err(status::lookup_failed)?;
    let (mut all, has_more) = open.ok_or_else(|| status::unknown_subscription(name.as_str()))?;
    let mut end = last(&all).filter(|_| has_more);
    if wanted.dead {
        let limit = ReadLimit { count, bytes: PAGE_BYTES_MAX };
        let dead = broker.dead_deliveries(name, after, limit).await;
        let dead = dead.map_err(status::lookup_failed)?;
        if let Some(last) = last(&dead) {
            let limit = ReadLimit { count: 1, bytes: 1 };
            let more = broker.dead_deliveries(name, last, limit).await;
            if !more.map_err(status::lookup_failed)?.is_empty() {
                end = Some(end.map_or(last, |end| end.min(last)));
            }
        }
        // What is dead and open again after a seek is told as open.
        let known: BTreeSet<_> = all.iter().map(|(sequence, _)| *sequence).collect();
        all.extend(dead.into_iter().filter(|(sequence, _)| !known.contains(sequence)));
        all.sort_by_key(|(sequence, _)| *sequence);
    }
    // Of both kinds in one order, only as far as both were read.
    let Some(end) = end else { return Ok((all, false)) };
    all.retain(|(sequence, _)| sequence.get() <= end);
    Ok((all, true))
}

fn last(deliveries: &[(Sequence, Delivered)]) -> Option<u64> {
    deliveries.last().map(|(sequence, _)| sequence.get())
}
