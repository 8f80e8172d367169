//! Bodies and crowds: what is too large, too slow or too much.

use std::time::Duration;

use axum::{body::Body, http::Request};
use bytes::Bytes;
use http::header;
use tokio::time::Instant;

use super::{
    super::*,
    kit::{BODY, End, Hub, never_read, slow_body},
};

const MIB: usize = 1 << 20;

fn post(body: Body) -> Request<Body> {
    Request::post("/webhooks/open").body(body).unwrap()
}

/// How long something takes, in paused time.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "the paused clock of the test's runtime")]
    let began = Instant::now();
    let value = future.await;
    (value, began.elapsed())
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_refused_unread() {
    let hub = Hub::new();
    let mut request = post(never_read());
    let length = (26 * MIB).to_string().parse().unwrap();
    request.headers_mut().insert(header::CONTENT_LENGTH, length);
    hub.send(request).await.assert_error(413);
    assert_eq!(hub.front.posts.available_permits(), limits::POSTS_MAX);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_where_it_gets_too_large() {
    let hub = Hub::new();
    let chunk = Bytes::from(vec![b'x'; MIB]);
    let endless = tokio_stream::StreamExt::map(tokio_stream::iter(0..), move |number| {
        assert!(number <= 25, "read on after the limit");
        Ok::<_, io::Error>(chunk.clone())
    });
    hub.send(post(Body::from_stream(endless))).await.assert_error(413);
    assert_eq!(hub.front.budget.available_permits(), limits::BODY_BUDGET_BYTES);
    assert!(hub.log.events.lock().is_empty());
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken_with_and_without_a_declared_length() {
    let hub = Hub::new();
    let body = Bytes::from(vec![b'x'; limits::BODY_BYTES_DEFAULT]);
    assert_eq!(hub.send(post(Body::from(body.clone()))).await.status, 200);
    let stream = slow_body(vec![body], Duration::ZERO, End::Whole);
    assert_eq!(hub.send(post(stream)).await.json()["status"], "duplicate");
}

#[tokio::test]
async fn a_crowd_is_told_to_try_again_before_its_bodies_are_read() {
    let hub = Hub::new();
    let posts = u32::try_from(limits::POSTS_MAX).unwrap();
    let crowd = Arc::clone(&hub.front.posts).acquire_many_owned(posts).await.unwrap();
    hub.send(post(never_read())).await.assert_retry(429);
    drop(crowd);
    assert_eq!(hub.post(BODY).await.status, 200);
}

#[tokio::test]
async fn posts_in_work_count_until_they_are_answered() {
    let hub = Hub::new();
    hub.log.open.send_replace(false);
    let watched = async {
        hub.log.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
        assert_eq!(hub.front.posts.available_permits(), limits::POSTS_MAX - 1);
        assert_eq!(hub.front.budget.available_permits(), limits::BODY_BUDGET_BYTES - 10);
        hub.log.open.send_replace(true);
    };
    // Ten bytes above what is not counted.
    let body = vec![b' '; limits::BODY_FREE_BYTES + 10];
    let (answer, ()) = tokio::join!(hub.post(body), watched);
    assert_eq!(answer.status, 200);
    assert_eq!(hub.front.posts.available_permits(), limits::POSTS_MAX);
    assert_eq!(hub.front.budget.available_permits(), limits::BODY_BUDGET_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_for_its_part_of_the_memory_and_then_is_told_to_try_again() {
    let hub = Hub::new();
    let all = u32::try_from(limits::BODY_BUDGET_BYTES).unwrap();
    let taken = Arc::clone(&hub.front.budget).acquire_many_owned(all).await.unwrap();
    let large = || vec![b' '; limits::BODY_FREE_BYTES + 1];
    let (answer, took) = timed(hub.post(large())).await;
    answer.assert_retry(429);
    assert_eq!(hub.refused(Cause::Overload), 1);
    assert!(limits::BODY_BUDGET_TIME_MAX <= took && took < Duration::from_secs(6), "{took:?}");

    let freed = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(taken);
    };
    let (answer, ()) = tokio::join!(hub.post(large()), freed);
    assert_eq!(answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn ordinary_bodies_come_in_while_large_ones_have_all_of_the_memory() {
    let hub = Hub::new();
    let all = u32::try_from(limits::BODY_BUDGET_BYTES).unwrap();
    let _taken = Arc::clone(&hub.front.budget).acquire_many_owned(all).await.unwrap();
    let (answer, took) = timed(hub.post(BODY)).await;
    assert_eq!((answer.status.as_u16(), took), (200, Duration::ZERO));
    // Also where the length is not declared.
    let stream = slow_body(vec![Bytes::from("{}")], Duration::ZERO, End::Whole);
    assert_eq!(hub.send(post(stream)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let hub = Hub::new();
    let stalled = slow_body(vec![Bytes::from("{")], Duration::from_secs(29), End::Never);
    let (answer, took) = timed(hub.send(post(stalled))).await;
    answer.assert_error(408);
    assert!((59..61).contains(&took.as_secs()), "{took:?}");
    assert_eq!(hub.front.posts.available_permits(), limits::POSTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_that_comes_on_is_taken() {
    let hub = Hub::new();
    let chunks = vec![Bytes::from("{"), Bytes::from("\"a\":1"), Bytes::from("}")];
    let slow = slow_body(chunks, Duration::from_secs(29), End::Whole);
    assert_eq!(hub.send(post(slow)).await.status, 200);
    assert_eq!(hub.log.events.lock()[0].payload, "{\"a\":1}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_at_last() {
    let hub = Hub::new();
    let trickle = slow_body(vec![Bytes::from(" "); 1_000], Duration::from_secs(29), End::Whole);
    let (answer, took) = timed(hub.send(post(trickle))).await;
    answer.assert_error(408);
    assert!((600..602).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_does_not_hold_up_the_hubs_end() {
    let hub = Hub::new();
    let stalled = slow_body(vec![Bytes::from("{")], Duration::from_secs(1), End::Never);
    let stop = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        hub.front.draining.cancel();
    };
    let ((answer, ()), took) = timed(async { tokio::join!(hub.send(post(stalled)), stop) }).await;
    answer.assert_retry(503);
    assert_eq!(answer.headers["connection"], "close");
    assert_eq!(took.as_secs(), 7);
}
