//! The handler form, and stops.

use std::{io, sync::Arc, time::Duration};

use hookline_client::{Delivery, Error, NackAction, proto::Outcome};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tonic::Status;

use crate::hub::{Hub, Stream, now};

#[derive(Debug, thiserror::Error)]
#[error("could not review")]
struct ReviewFailed(#[source] io::Error);

/// Runs handlers in the background, and returns the switch that stops them and their result.
async fn start<H, F, E>(
    hub: &mut Hub,
    concurrency: usize,
    handler: H,
) -> (Stream, Arc<Notify>, JoinSet<Result<(), Error>>)
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let grace = Duration::from_secs(28);
    let (deliveries, stream) = hub.subscribe(|builder| builder.stop_grace(grace)).await;
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let mut tasks = JoinSet::new();
    tasks
        .spawn(async move { deliveries.run_until(concurrency, handler, stopped.notified()).await });
    (stream, stop, tasks)
}

/// Works as the lease's name says.
async fn work(delivery: Delivery) -> Result<(), ReviewFailed> {
    match delivery.lease_id() {
        "fails" => Err(ReviewFailed(io::Error::other("the model is busy"))),
        "panics" => panic!("no such file: `{}`", "lib.rs"),
        "rejects" => {
            drop(delivery.dead_letter("not for me"));
            Ok(())
        }
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn ok_acks_an_error_nacks_with_its_chain_a_panic_with_its_message() {
    let mut hub = Hub::start();
    let (stream, _stop, _tasks) = start(&mut hub, 1, work).await;
    stream.deliver("works", 1).await;
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["works"]);
    reply.all(Outcome::Applied);

    stream.deliver("fails", 2).await;
    let (nacks, reply) = hub.nacked().await;
    assert_eq!(nacks[0].reason, "could not review: the model is busy");
    assert!(nacks[0].error_type.ends_with("ReviewFailed"), "{}", nacks[0].error_type);
    assert_eq!(nacks[0].action(), NackAction::Retry);
    reply.all(Outcome::Applied);

    stream.deliver("panics", 3).await;
    let (nacks, reply) = hub.nacked().await;
    assert_eq!(nacks[0].reason, "no such file: `lib.rs`");
    assert_eq!(nacks[0].error_type, "panic");
    assert_eq!(nacks[0].action(), NackAction::Retry);
    reply.all(Outcome::Applied);

    // What a handler has settled itself is not settled again.
    stream.deliver("rejects", 4).await;
    let (nacks, reply) = hub.nacked().await;
    assert_eq!((nacks.len(), nacks[0].action()), (1, NackAction::DeadLetter));
    reply.all(Outcome::Applied);
    stream.deliver("works too", 5).await;
    let (ids, _) = hub.acked().await;
    assert_eq!(ids, ["works too"]);
}

#[tokio::test(start_paused = true)]
async fn never_more_handlers_run_than_were_asked_for() {
    // Each handler says that it has begun, and works until it is let go.
    let (begun, go) = (watch::Sender::new(0), Arc::new(Semaphore::new(0)));
    let (began, let_go) = (begun.subscribe(), Arc::clone(&go));
    let handler = move |_delivery: Delivery| {
        let (begun, go) = (begun.clone(), Arc::clone(&go));
        async move {
            begun.send_modify(|count| *count += 1);
            go.acquire().await.unwrap().forget();
            Ok::<_, io::Error>(())
        }
    };
    let mut hub = Hub::start();
    let (stream, _stop, _tasks) = start(&mut hub, 3, handler).await;
    for sequence in 1..=12 {
        stream.deliver(&format!("a{sequence}"), sequence).await;
    }
    for ended in 0..12 {
        // As many as may, and not one more: time moves on only when nothing is left to do.
        let may = (ended + 3).min(12);
        began.clone().wait_for(|count| *count == may).await.unwrap();
        let mut more = began.clone();
        let one_more = more.wait_for(|count| may < *count);
        assert!(timeout(Duration::from_secs(1), one_more).await.is_err(), "more than may");
        let_go.add_permits(1);
        let (ids, reply) = hub.acked().await;
        assert_eq!(ids.len(), 1);
        reply.all(Outcome::Applied);
    }
}

/// A handler that works until it is let go.
fn patient(go: &Arc<Notify>) -> impl Fn(Delivery) -> BoxedWork + Send + Sync + 'static {
    let go = Arc::clone(go);
    move |_delivery| {
        let go = Arc::clone(&go);
        Box::pin(async move {
            go.notified().await;
            Ok(())
        })
    }
}

type BoxedWork = std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

#[tokio::test(start_paused = true)]
async fn a_stop_releases_what_was_not_begun_and_waits_for_what_was() {
    let (mut hub, go) = (Hub::start(), Arc::new(Notify::new()));
    let (stream, stop, mut tasks) = start(&mut hub, 1, patient(&go)).await;
    stream.deliver("begun", 1).await;
    stream.deliver("queued", 2).await;
    assert_eq!(hub.extended().await, ["begun", "queued"]);
    stop.notify_one();
    let stopped = now();
    stream.closed().await;
    // What was on its way when the stream was closed is found by a last look, and given back too.
    let (request, last_look) = hub.subscribed().await;
    assert_eq!((request.held_only, request.consumer.as_str()), (true, "me"));
    last_look.ready(&["begun", "queued", "on its way"]).await;
    let (nacks, reply) = hub.nacked().await;
    let released: Vec<_> = nacks.iter().map(|nack| nack.lease_id.as_str()).collect();
    assert_eq!(released, ["on its way", "queued"]);
    assert!(nacks.iter().all(|nack| nack.action() == NackAction::Release));
    reply.all(Outcome::Applied);
    last_look.closed().await;
    // Without a stream the hub hears of this consumer by extensions: three times per grace of 15 s.
    assert_eq!(hub.extended().await, ["begun"]);
    assert_eq!(stopped.elapsed().as_secs(), 5);

    go.notify_one();
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["begun"]);
    assert!(tasks.try_join_next().is_none(), "it waits until the ack is confirmed");
    reply.all(Outcome::Applied);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    hub.stays_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_not_done_within_the_grace_gives_its_event_back() {
    let (mut hub, go) = (Hub::start(), Arc::new(Notify::new()));
    let (stream, stop, mut tasks) = start(&mut hub, 1, patient(&go)).await;
    stream.deliver("begun", 1).await;
    assert_eq!(hub.extended().await, ["begun"]);
    stop.notify_one();
    let (_, last_look) = hub.subscribed().await;
    last_look.ready(&["begun"]).await;
    for _ in 0..5 {
        assert_eq!(hub.extended().await, ["begun"]);
    }
    let (nacks, reply) = hub.nacked().await;
    assert_eq!((nacks.len(), nacks[0].action()), (1, NackAction::Release));
    reply.all(Outcome::Applied);
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_told_after_running_handlers_have_finished() {
    let (mut hub, go) = (Hub::start(), Arc::new(Notify::new()));
    let (stream, _stop, mut tasks) = start(&mut hub, 1, patient(&go)).await;
    stream.deliver("begun", 1).await;
    assert_eq!(hub.extended().await, ["begun"]);
    stream.cut(Status::aborted("taken over")).await;
    go.notify_one();
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["begun"]);
    reply.all(Outcome::Applied);
    let result = tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(result, Err(Error::TakenOver { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_stream_stays_open_until_its_last_handler_has_finished() {
    let (mut hub, go) = (Hub::start(), Arc::new(Notify::new()));
    let stop = Arc::new(Notify::new());
    let builder = hub.client.subscription("").patterns(["*"]).max_in_flight(2);
    let (handler, stopped) = (patient(&go), Arc::clone(&stop));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { builder.run_until(1, handler, stopped.notified()).await });
    let (_, stream) = hub.subscribed().await;
    stream.ready(&[]).await;
    stream.deliver("begun", 1).await;
    assert_eq!(hub.extended().await, ["begun"]);
    stop.notify_one();
    stream.deliver("late", 2).await;
    // Kept, rather than passed back and forth, until the last handler has finished.
    assert_eq!(hub.extended().await, ["begun", "late"]);
    go.notify_one();
    // Both before the stream is closed, in any order.
    let mut settled = [hub.settled().await, hub.settled().await];
    settled.sort();
    assert_eq!(settled, ["ack begun", "nack late"]);
    stream.closed().await;
    tasks.join_next().await.unwrap().unwrap().unwrap();
}
