//! What the log says of events and refusals, and what it never says.

use std::{cell::RefCell, io, sync::Once};

use super::kit::{BODY, Hub, SECRET};
use crate::telemetry::{self, Format, Log};

thread_local! {
    /// What this thread has logged: each test here runs on one.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Collects the lines of what runs in it, at every level of the front.
async fn lines_of(future: impl Future<Output = ()>) -> Vec<serde_json::Value> {
    // One for the whole process: with one for each test, a line that another thread reaches first, where nothing
    // listens, may be taken for one that nobody wants.
    static SET: Once = Once::new();
    SET.call_once(|| {
        let level = "off,hookline_server::http=trace".parse().unwrap();
        let log = Log { level, format: Format::Json };
        tracing::subscriber::set_global_default(telemetry::to_writer(&log, || Writer)).unwrap();
    });
    LOGGED.with_borrow_mut(Vec::clear);
    future.await;
    let text = String::from_utf8(LOGGED.take()).unwrap();
    for secret in [SECRET, "octocat", "sha256="] {
        assert!(!text.contains(secret), "{text}");
    }
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_event_has_one_line_with_its_id_subject_sequence_and_delivery_key() {
    let hub = Hub::new();
    let mut id = String::new();
    let lines = lines_of(async {
        let answer = hub.post(BODY).await;
        id = answer.json()["event_id"].as_str().unwrap().to_owned();
    })
    .await;
    let line = lines.iter().find(|line| line["event_id"] == id.as_str()).unwrap();
    assert_eq!(line["level"], "DEBUG");
    assert_eq!(line["source"], "github");
    assert_eq!(line["subject"], "github/issues.opened");
    assert_eq!(line["sequence"], 1);
    assert_eq!(line["delivery_key"], "d-1");
    assert_eq!(line["duplicate"], false);
}

#[tokio::test]
async fn the_first_refusal_of_a_cause_is_a_warning_and_the_next_are_not() {
    let hub = Hub::new();
    let lines = lines_of(async {
        for _ in 0..3 {
            let mut request = hub.github("/webhooks/github", BODY);
            request.headers_mut().remove("x-hub-signature-256");
            hub.send(request).await.assert_error(401);
        }
    })
    .await;
    let refused = lines.iter().filter(|line| line["cause"] == "signature_missing");
    let levels: Vec<_> = refused.map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["WARN", "DEBUG", "DEBUG"]);
}
