//! The webhooks of the story, posted as their providers would.

use bytes::Bytes;
use hookline_core::{
    source::Kind,
    verify::{self, Draft},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::Deserialize;

use super::{
    DemoError,
    hub::Secrets,
    story::{Story, Who},
};
use crate::cli::{
    post::{Answer, Poster},
    send,
    text::Colour,
};

const GITHUB_EVENT: HeaderName = HeaderName::from_static("x-github-event");
const GITHUB_DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");

/// One webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    /// What it is to become.
    pub(super) subject: &'static str,
    /// How its sender names the delivery; Stripe's stands in the body.
    sent_as: SentAs,
    body: &'static str,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug)]
enum SentAs {
    GitHub { event: &'static str, delivery_id: &'static str },
    Stripe,
}

/// How it should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `reviewer` acks it.
    Acked,
    /// `billing` fails on it until it is a dead letter, which `on-call` acks.
    Dead,
    /// It is kept, and no agent takes it.
    Untaken,
    /// It is known as a copy of an earlier one.
    Duplicate,
    /// It is refused: the signature is wrong.
    Refused,
}

const OPENED: Webhook = Webhook {
    subject: "github/pull_request.opened",
    sent_as: SentAs::GitHub {
        event: "pull_request",
        delivery_id: "5d0f3c80-c84c-11f0-9e1a-0b6f2a7d4c11",
    },
    body: include_str!("pull_request_opened.json"),
    end: End::Acked,
};

const CLOSED: Webhook = Webhook {
    subject: "github/pull_request.closed",
    sent_as: SentAs::GitHub {
        event: "pull_request",
        delivery_id: "41c7a2e6-c855-11f0-8d33-57d0c1f29ab8",
    },
    body: include_str!("pull_request_closed.json"),
    end: End::Acked,
};

/// All of them, in the order in which they are posted.
pub(super) static WEBHOOKS: [Webhook; 8] = [
    OPENED,
    Webhook {
        subject: "stripe/invoice.payment_failed",
        sent_as: SentAs::Stripe,
        body: include_str!("invoice_payment_failed.json"),
        end: End::Dead,
    },
    Webhook {
        subject: "github/pull_request.synchronize",
        sent_as: SentAs::GitHub {
            event: "pull_request",
            delivery_id: "a48e9f12-c84f-11f0-93c5-6e51b8d07f40",
        },
        body: include_str!("pull_request_synchronize.json"),
        end: End::Acked,
    },
    Webhook { end: End::Duplicate, ..OPENED },
    Webhook { end: End::Refused, ..CLOSED },
    CLOSED,
    Webhook {
        subject: "github/push",
        sent_as: SentAs::GitHub {
            event: "push",
            delivery_id: "41f3c0d4-c855-11f0-9c02-d2a1b37e6f55",
        },
        body: include_str!("push.json"),
        end: End::Untaken,
    },
    Webhook {
        subject: "stripe/invoice.paid",
        sent_as: SentAs::Stripe,
        body: include_str!("invoice_paid.json"),
        end: End::Dead,
    },
];

/// A webhook and what was answered.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) webhook: &'static Webhook,
    pub(super) status: StatusCode,
    /// `accepted`, `duplicate`, or empty.
    pub(super) answer: String,
    /// Empty if it was refused.
    pub(super) event_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerBody {
    status: String,
    event_id: String,
}

/// Posts all of them, one after the other.
pub(super) async fn post_all(
    hub: &str,
    secrets: &Secrets,
    story: &Story,
) -> Result<Vec<Posted>, DemoError> {
    let poster = Poster::plain();
    let mut all = Vec::with_capacity(WEBHOOKS.len());
    for webhook in &WEBHOOKS {
        let posted = post(&poster, hub, secrets, webhook).await?;
        tell(story, &posted);
        all.push(posted);
    }
    Ok(all)
}

async fn post(
    poster: &Poster,
    hub: &str,
    secrets: &Secrets,
    webhook: &'static Webhook,
) -> Result<Posted, DemoError> {
    let (kind, own) = match webhook.sent_as {
        SentAs::GitHub { .. } => (Kind::GITHUB, &secrets.github),
        SentAs::Stripe => (Kind::STRIPE, &secrets.stripe),
    };
    let secret = if webhook.end == End::Refused { &secrets.forger } else { own };
    let body = Bytes::from_static(webhook.body.as_bytes());
    let url: Uri = format!("{hub}/webhooks/{kind}").parse().expect("an address and a name");
    let draft = Draft { url: "", headers: &HeaderMap::new(), body: &body };
    let signed = verify::sign(kind.provider().schemes, secret, draft, send::now());
    let mut headers: HeaderMap = signed.expect("both sign with any text").into_iter().collect();
    if let SentAs::GitHub { event, delivery_id } = webhook.sent_as {
        headers.insert(GITHUB_EVENT, HeaderValue::from_static(event));
        headers.insert(GITHUB_DELIVERY, HeaderValue::from_static(delivery_id));
    }
    let Answer { status, body } = poster.post(&url, headers, body).await?;
    // A refusal has no such members, and a body that is something else fails the checks.
    let answer: AnswerBody = serde_json::from_str(&body).unwrap_or_default();
    Ok(Posted { webhook, status, answer: answer.status, event_id: answer.event_id })
}

fn tell(story: &Story, posted: &Posted) {
    let Posted { webhook, status, answer, event_id } = posted;
    let who = match webhook.sent_as {
        SentAs::GitHub { .. } => Who::GitHub,
        SentAs::Stripe => Who::Stripe,
    };
    let (note, colour) = match webhook.end {
        End::Acked | End::Dead => ("signed webhook", Colour::Plain),
        End::Untaken => ("signed webhook that no agent has asked for", Colour::Plain),
        End::Duplicate => ("the same delivery once more", Colour::Yellow),
        End::Refused => ("forged signature", Colour::Yellow),
    };
    let code = status.as_u16();
    let answer = if answer.is_empty() { "refused" } else { answer.as_str() };
    story.tell(who, webhook.subject, event_id, &format!("{note}: {code} {answer}"), colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_what_they_say_they_are() {
        for webhook in &WEBHOOKS {
            let body: serde_json::Value = serde_json::from_str(webhook.body).unwrap();
            let (source, event_type) = webhook.subject.split_once('/').unwrap();
            match webhook.sent_as {
                SentAs::GitHub { event, .. } => {
                    let action = body["action"].as_str();
                    let named = action
                        .map_or_else(|| event.to_owned(), |action| format!("{event}.{action}"));
                    assert_eq!((source, event_type), ("github", named.as_str()));
                }
                SentAs::Stripe => {
                    assert_eq!(("stripe", body["type"].as_str()), (source, Some(event_type)));
                }
            }
        }
    }
}
