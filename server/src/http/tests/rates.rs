//! How often a source may post.

use std::time::Duration;

use axum::{body::Body, http::Request};
use hookline_core::{
    event::SourceName,
    rate::Rate,
    source::{Kind, Settings, Source},
};

use super::{
    super::*,
    kit::{Hub, never_read},
};

/// A hub with the sources `limited`, which may post twice at once and then once in ten seconds, and `open`.
fn hub() -> Hub {
    let source = |name, rate| {
        let name = SourceName::parse(name).unwrap();
        let settings = Settings { rate, ..Settings::default() };
        Source::unsigned(name, Kind::GITHUB, settings).unwrap()
    };
    let rate = Some(Rate::new(0.1, Some(2)));
    Hub::with(vec![source("limited", rate), source("open", None)])
}

fn post(source: &str, body: Body) -> Request<Body> {
    Request::post(format!("/webhooks/{source}")).body(body).unwrap()
}

#[tokio::test]
async fn a_source_that_posts_too_often_is_told_when_to_come_back_before_its_body_is_read() {
    let hub = hub();
    let limited = SourceName::parse("limited").unwrap();
    for number in 0..2 {
        assert_eq!(hub.send(post("limited", Body::from(format!("{number}")))).await.status, 200);
    }
    let answer = hub.send(post("limited", never_read())).await;
    answer.assert_retry(429);
    assert_eq!(answer.headers["retry-after"], "11");
    assert_eq!(hub.front.counts.refused(&limited, Cause::RateLimited), 1);
    // Others are not kept by it.
    assert_eq!(hub.send(post("open", Body::from("3"))).await.status, 200);
    hub.clock.advance(Duration::from_secs(11));
    assert_eq!(hub.send(post("limited", Body::from("4"))).await.status, 200);
    hub.send(post("limited", never_read())).await.assert_retry(429);
    assert_eq!(hub.front.counts.refused(&limited, Cause::RateLimited), 2);
}

#[tokio::test]
async fn a_rate_that_is_changed_holds_from_the_next_post_on() {
    let hub = hub();
    assert_eq!(hub.send(post("limited", Body::from("1"))).await.status, 200);
    let with = |rate| {
        let settings = Settings { rate, ..Settings::default() };
        let name = SourceName::parse("limited").unwrap();
        let source = Source::unsigned(name, Kind::GITHUB, settings).unwrap();
        hub.front.sources.replace([source]);
    };
    with(Some(Rate::new(0.1, Some(1))));
    assert_eq!(hub.send(post("limited", Body::from("2"))).await.status, 200);
    hub.send(post("limited", never_read())).await.assert_retry(429);
    with(None);
    assert_eq!(hub.send(post("limited", Body::from("3"))).await.status, 200);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_gives_nothing_and_takes_nothing() {
    let hub = hub();
    for number in 0..2 {
        assert_eq!(hub.send(post("limited", Body::from(format!("{number}")))).await.status, 200);
    }
    hub.clock.set_wall(hookline_core::time::Timestamp::from_secs(2_000_000_000).unwrap());
    hub.send(post("limited", never_read())).await.assert_retry(429);
}
