//! Bodies without end.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{
    range::{Range, Target},
    raw::Raw,
};
use crate::http::Webhook;

/// How many attackers there are of each kind.
const EACH: usize = 16;

/// Posts the same body again and again, each time until the hub closes.
async fn post(target: Target, head: Vec<u8>, part: Vec<u8>) -> u64 {
    let mut sent = 0;
    while let Ok(mut raw) = Raw::silent(target.http).await {
        if raw.send(&head).await.is_err() {
            continue;
        }
        loop {
            tokio::select! {
                biased;
                () = target.over.cancelled() => return sent,
                done = raw.send(&part) => match done {
                    Ok(()) => sent += u64::try_from(part.len()).unwrap(),
                    Err(_) => break,
                }
            }
        }
    }
    sent
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn bodies_without_end_with_a_length_and_without() {
    let mut range = Range::start().await;
    let attack = |target: Target| async move {
        let webhook = Webhook::push("endless");
        let head = |framing: &str| format!("{}{framing}\r\n\r\n", webhook.head()).into_bytes();
        let part = vec![b' '; 64 << 10];
        let chunk = [b"10000\r\n", &part[..], b"\r\n"].concat();
        let kinds = [
            // Above what is taken, just below it, and of no length.
            (head("content-length: 1000000000000"), part.clone()),
            (head("content-length: 26214400"), part),
            (head("transfer-encoding: chunked"), chunk),
        ];
        let mut posting = JoinSet::new();
        for (head, part) in kinds {
            for _ in 0..EACH {
                posting.spawn(post(target.clone(), head.clone(), part.clone()));
            }
        }
        target.on.cancel();
        let sent: u64 = posting.join_all().await.into_iter().sum();
        format!("{} MiB of bodies were sent by {} senders", sent >> 20, 3 * EACH)
    };
    range.withstand("oversize and endless bodies", Duration::from_secs(5), attack).await;
}
