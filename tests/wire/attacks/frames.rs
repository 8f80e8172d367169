//! Frames without end on the gRPC port. What the hub answers is never read.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{
    range::{Range, Target},
    raw::{
        DATA, END_HEADERS, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, call, frame,
    },
};

const CONNECTIONS: usize = 8;
const AT_ONCE: u32 = 1_000;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Sends what `part` makes, by the number of the part, until the hub closes, and again.
async fn flood(target: Target, part: impl Fn(u32) -> Vec<u8> + Sync) -> (u64, u64) {
    let (mut sent, mut ended) = (0, 0);
    loop {
        let once = async {
            let Ok(mut raw) = Raw::open(target.grpc).await else { return };
            for number in 0..1_000_000 {
                if raw.send(&part(number)).await.is_err() {
                    return;
                }
                sent += u64::from(AT_ONCE);
            }
        };
        tokio::select! {
            biased;
            () = target.over.cancelled() => return (sent, ended),
            () = once => ended += 1,
        }
    }
}

async fn withstand(name: &str, part: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static) {
    let mut range = Range::start().await;
    let attack = |target: Target| async move {
        let mut flooding = JoinSet::new();
        for _ in 0..CONNECTIONS {
            flooding.spawn(flood(target.clone(), part.clone()));
        }
        target.on.cancel();
        let (mut sent, mut ended) = (0, 0);
        for (of_one, ended_of_one) in flooding.join_all().await {
            sent += of_one;
            ended += ended_of_one;
        }
        format!("{sent} frames or calls were sent, {ended} connections were ended by the hub")
    };
    range.withstand(name, Duration::from_secs(3), attack).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn calls_that_are_reset_as_they_are_made() {
    let call = call("EventService/ListEvents");
    withstand("rapid reset", move |part| {
        let calls = (0..AT_ONCE).flat_map(|number| {
            let stream = (part * AT_ONCE + number) * 2 + 1;
            let made = frame(HEADERS, END_HEADERS, stream, &call);
            [made, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
        });
        calls.collect()
    })
    .await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn calls_that_the_hub_resets_for_what_is_wrong_with_them() {
    let call = call("EventService/ListEvents");
    withstand("reset by bad frames", move |part| {
        let calls = (0..AT_ONCE).flat_map(|number| {
            let stream = (part * AT_ONCE + number) * 2 + 1;
            // A window that grows by nothing is an error of its call alone.
            let made = frame(HEADERS, END_HEADERS, stream, &call);
            [made, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        });
        calls.collect()
    })
    .await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn pings_whose_answers_are_not_read() {
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    withstand("ping flood", move |_| pings.clone()).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn settings_whose_answers_are_not_read() {
    // The size of the header table, and the window of calls.
    let settings = [0, 1, 0, 0, 16, 0, 0, 4, 0, 0, 255, 255];
    let settings = frame(SETTINGS, 0, 0, &settings).repeat(1_000);
    withstand("settings flood", move |_| settings.clone()).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn windows_that_grow_by_a_byte_and_data_of_no_bytes() {
    let windows = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(500);
    let call = frame(HEADERS, END_HEADERS, 1, &call("EventService/PublishEvent"));
    let data = frame(DATA, 0, 1, &[]).repeat(500);
    withstand("window updates and empty data", move |part| match part {
        0 => [&windows[..], &call].concat(),
        // Half of all goes on long before the empty data ends its connection.
        1..20 => windows.clone(),
        _ => [&windows[..], &data].concat(),
    })
    .await;
}
