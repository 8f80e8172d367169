//! What became of it all, as the hub itself says.

use hookline_client::{
    Client, PayloadView,
    proto::{AttemptEnd, DeliveryState, DeliveryStatus, GetEventRequest},
};
use http::StatusCode;

use super::{
    DemoError,
    agents::{BILLING_ATTEMPTS, has_reason},
    story::{Story, Who},
    webhooks::{End, Posted},
};
use crate::cli::text::{Colour, short_id};

/// Asks the hub about every webhook and announcement, and tells each. Returns what is not as it should be.
pub(super) async fn check(
    client: &Client,
    story: &Story,
    posted: &[Posted],
    announcements: &[String],
) -> Result<Vec<String>, DemoError> {
    let mut mistakes = Vec::new();
    let mut note = |subject: &str, id: &str, found: Result<String, String>| match found {
        Ok(what) => story.tell(Who::Check, subject, id, &what, Colour::Plain),
        Err(what) => {
            story.tell(Who::Check, subject, id, &what, Colour::Red);
            mistakes.push(format!("`{subject}` {}: {what}", short_id(id)));
        }
    };
    for post in posted {
        let deliveries = match post.event_id.as_str() {
            "" => Vec::new(),
            id => deliveries(client, id).await?,
        };
        let found = judge(post, posted, &deliveries);
        note(post.webhook.subject, &post.event_id, found);
    }
    for id in announcements {
        let found = one(&deliveries(client, id).await?, "on-call", DeliveryState::Done)
            .map(|_| "done on `on-call`".to_owned());
        note("dead-letter/billing", id, found);
    }
    let dead = posted.iter().filter(|post| post.webhook.end == End::Dead).count();
    if announcements.len() != dead {
        let count = announcements.len();
        mistakes.push(format!("{dead} events are dead, but {count} announcements were acked"));
    }
    Ok(mistakes)
}

async fn deliveries(client: &Client, event_id: &str) -> Result<Vec<DeliveryStatus>, DemoError> {
    let request =
        GetEventRequest { id: event_id.to_owned(), payload_view: PayloadView::None.into() };
    let answer = client.events().get_event(request).await.map_err(|status| DemoError::Ask {
        event_id: event_id.to_owned(),
        source: Box::new(status),
    })?;
    Ok(answer.into_inner().deliveries)
}

/// Compares one webhook with how it should have ended: what is so, or what is not.
fn judge(
    post: &Posted,
    posted: &[Posted],
    deliveries: &[DeliveryStatus],
) -> Result<String, String> {
    let answered = (post.status, post.answer.as_str());
    let answer = |status, text| {
        let wrong = || format!("answered {} `{}`", answered.0.as_u16(), answered.1);
        (answered == (status, text)).then_some(()).ok_or_else(wrong)
    };
    match post.webhook.end {
        End::Acked => {
            answer(StatusCode::OK, "accepted")?;
            one(deliveries, "reviewer", DeliveryState::Done)?;
            Ok("done on `reviewer`".to_owned())
        }
        End::Dead => {
            answer(StatusCode::OK, "accepted")?;
            let delivery = one(deliveries, "billing", DeliveryState::Dead)?;
            dead_as_told(delivery)?;
            Ok(format!("dead on `billing` after {BILLING_ATTEMPTS} attempts, each with its reason"))
        }
        End::Untaken => {
            answer(StatusCode::OK, "accepted")?;
            if deliveries.is_empty() {
                return Ok("kept in the log, with nobody".to_owned());
            }
            Err(format!("is with {}, but nobody asked for it", states(deliveries)))
        }
        End::Duplicate => {
            answer(StatusCode::OK, "duplicate")?;
            let is_first = |other: &&Posted| {
                other.webhook.subject == post.webhook.subject && other.webhook.end == End::Acked
            };
            let first = posted.iter().find(is_first).map(|first| first.event_id.as_str());
            if first == Some(post.event_id.as_str()) {
                return Ok("not kept twice: the id of the first".to_owned());
            }
            Err("the answer to the duplicate has another id".to_owned())
        }
        End::Refused => {
            answer(StatusCode::UNAUTHORIZED, "")?;
            Ok("not let in".to_owned())
        }
    }
}

/// Returns the only delivery, if it is of this subscription and in this state.
fn one<'a>(
    deliveries: &'a [DeliveryStatus],
    subscription: &str,
    state: DeliveryState,
) -> Result<&'a DeliveryStatus, String> {
    match deliveries {
        [only] if only.subscription == subscription && only.state() == state => Ok(only),
        other => Err(format!(
            "should be {} on `{subscription}`, but is with {}",
            state.as_str_name(),
            states(other)
        )),
    }
}

fn dead_as_told(delivery: &DeliveryStatus) -> Result<(), String> {
    let attempts = &delivery.attempts;
    let numbers = attempts.iter().map(|attempt| attempt.number);
    let is_told =
        attempts.iter().all(|attempt| attempt.end() == AttemptEnd::Nacked && has_reason(attempt));
    if numbers.eq(1..=BILLING_ATTEMPTS) && is_told && !delivery.dead_letter_id.is_empty() {
        return Ok(());
    }
    let reasons: Vec<_> = attempts.iter().map(|attempt| attempt.reason.as_str()).collect();
    Err(format!("should have {BILLING_ATTEMPTS} attempts, each nacked with a reason: {reasons:?}"))
}

fn states(deliveries: &[DeliveryStatus]) -> String {
    if deliveries.is_empty() {
        return "nobody".to_owned();
    }
    let state = |delivery: &DeliveryStatus| {
        format!("`{}` ({})", delivery.subscription, delivery.state().as_str_name())
    };
    deliveries.iter().map(state).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use hookline_client::Attempt;

    use super::*;
    use crate::cli::demo::webhooks::WEBHOOKS;

    /// Returns all webhooks with the answers that they should get.
    fn posted() -> Vec<Posted> {
        let posted = WEBHOOKS.iter().map(|webhook| {
            let (status, answer, event_id) = match webhook.end {
                End::Acked | End::Dead | End::Untaken => {
                    (StatusCode::OK, "accepted", webhook.subject)
                }
                End::Duplicate => (StatusCode::OK, "duplicate", webhook.subject),
                End::Refused => (StatusCode::UNAUTHORIZED, "", ""),
            };
            Posted { webhook, status, answer: answer.to_owned(), event_id: event_id.to_owned() }
        });
        posted.collect()
    }

    fn judge_end(end: End, change: impl FnOnce(&mut Posted)) -> Result<String, String> {
        let mut all = posted();
        let at = all.iter().position(|post| post.webhook.end == end).unwrap();
        change(&mut all[at]);
        let deliveries = match end {
            End::Acked => vec![delivery("reviewer", DeliveryState::Done)],
            End::Dead => vec![delivery("billing", DeliveryState::Done)],
            End::Untaken | End::Duplicate | End::Refused => Vec::new(),
        };
        judge(&all[at], &all, &deliveries)
    }

    #[test]
    fn a_webhook_with_another_end_is_a_mistake() {
        for end in [End::Acked, End::Untaken, End::Duplicate, End::Refused] {
            assert!(judge_end(end, |_| {}).is_ok(), "{end:?}");
            let failed = judge_end(end, |post| post.status = StatusCode::SERVICE_UNAVAILABLE);
            assert!(failed.unwrap_err().starts_with("answered 503"), "{end:?}");
        }
        let other_id = judge_end(End::Duplicate, |post| post.event_id = "other".to_owned());
        assert!(other_id.unwrap_err().contains("another id"));
        let let_in = judge_end(End::Refused, |post| post.status = StatusCode::OK);
        assert!(let_in.is_err());
        let done = judge_end(End::Dead, |_| {});
        assert!(done.unwrap_err().contains("should be DELIVERY_STATE_DEAD"));
    }

    fn delivery(subscription: &str, state: DeliveryState) -> DeliveryStatus {
        DeliveryStatus {
            subscription: subscription.to_owned(),
            state: state.into(),
            ..DeliveryStatus::default()
        }
    }

    #[test]
    fn only_the_right_state_on_the_right_subscription_will_do() {
        let done = [delivery("reviewer", DeliveryState::Done)];
        assert!(one(&done, "reviewer", DeliveryState::Done).is_ok());
        assert!(one(&done, "billing", DeliveryState::Done).is_err());
        assert!(one(&[], "reviewer", DeliveryState::Done).is_err());
        let leased = [delivery("reviewer", DeliveryState::Leased)];
        assert_eq!(
            one(&leased, "reviewer", DeliveryState::Done).unwrap_err(),
            "should be DELIVERY_STATE_DONE on `reviewer`, but is with `reviewer` \
             (DELIVERY_STATE_LEASED)"
        );
    }

    #[test]
    fn a_dead_delivery_must_have_all_its_attempts_with_reasons() {
        let attempt = |number| Attempt {
            number,
            end: AttemptEnd::Nacked.into(),
            reason: "could not book `in_1`: the ledger answered 503".to_owned(),
            ..Attempt::default()
        };
        let dead = |attempts| DeliveryStatus {
            attempts,
            dead_letter_id: "dl-1-2".to_owned(),
            ..delivery("billing", DeliveryState::Dead)
        };
        assert_eq!(dead_as_told(&dead((1..=3).map(attempt).collect())), Ok(()));
        assert!(dead_as_told(&dead((1..=2).map(attempt).collect())).is_err());
        let silent = |number| Attempt { reason: String::new(), ..attempt(number) };
        assert!(dead_as_told(&dead((1..=3).map(silent).collect())).is_err());
    }
}
