//! Connections: their headers, their ends, and the end of the hub.

use std::time::Duration;

use proptest::{
    prelude::{ProptestConfig, prop},
    proptest,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{
    super::*,
    kit::{Answer, BODY, FakeLog, Hub, is_closed, state, write_post},
};
use crate::tasks::Tasks;

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let hub = Hub::new();
    let (mut io, served) = hub.connect();
    let client = async {
        write_post(&hub, &mut io, BODY).await;
        assert_eq!(Answer::read(&mut io).await.json()["status"], "accepted");
        write_post(&hub, &mut io, BODY).await;
        assert_eq!(Answer::read(&mut io).await.json()["status"], "duplicate");
        drop(io);
    };
    tokio::join!(client, served);
}

#[tokio::test]
async fn headers_above_the_limit_are_refused() {
    let many: String = (0..=limits::HEADERS_MAX).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "x".repeat(100_000));
    let just_above = format!("x-long: {}\r\n", "x".repeat(limits::HEADER_BYTES_MAX));
    for extra in [long, just_above, many] {
        let hub = Hub::new();
        let (mut io, served) = hub.connect();
        let client = async {
            let request = format!("POST /webhooks/github HTTP/1.1\r\nhost: hub\r\n{extra}\r\n");
            io.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(Answer::read(&mut io).await.status, 431);
            assert!(is_closed(&mut io).await);
            drop(io);
        };
        tokio::join!(client, served);
    }
}

#[tokio::test]
async fn headers_below_the_limit_are_taken() {
    let hub = Hub::new();
    let (mut io, served) = hub.connect();
    let client = async {
        let framing = format!("x-long: {}\r\ncontent-length: 2", "x".repeat(15_000));
        let request = hub.head(b"{}", &framing) + "{}";
        io.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut io).await.status, 200);
        drop(io);
    };
    tokio::join!(client, served);
}

#[tokio::test(start_paused = true)]
async fn headers_that_trickle_are_given_up_and_told_so() {
    let hub = Hub::new();
    let (io, served) = hub.connect();
    let (mut reader, mut writer) = tokio::io::split(io);
    #[expect(clippy::disallowed_methods, reason = "the paused clock of the test's runtime")]
    let began = Instant::now();
    let trickle = async {
        for byte in b"POST /webhooks/github HTTP/1.1\r\n" {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let told = async {
        let answer = Answer::read(&mut reader).await;
        answer.assert_error(408);
        assert_eq!(began.elapsed().as_secs(), 10);
    };
    tokio::join!(told, served, trickle);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    let hub = Hub::new();
    let (mut io, served) = hub.connect();
    let client = async {
        write_post(&hub, &mut io, BODY).await;
        assert_eq!(Answer::read(&mut io).await.status, 200);
        assert!(is_closed(&mut io).await);
    };
    tokio::join!(client, served);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_does_not_read_its_answer_is_given_up() {
    let hub = Hub::new();
    // Too small for an answer.
    let (mut io, server) = tokio::io::duplex(64);
    let router = router(Arc::clone(&hub.front));
    let served = connection::serve(server, Peer::Local, router, CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "the paused clock of the test's runtime")]
    let began = Instant::now();
    tokio::join!(write_post(&hub, &mut io, BODY), served);
    let longest = limits::ANSWER_TIME_MAX + limits::LINGER_TIME_MAX;
    assert!((limits::ANSWER_TIME_MAX..=longest).contains(&began.elapsed()));
    assert_eq!(hub.event_types(), ["issues.opened"]);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_event() {
    let hub = Hub::new();
    let (mut io, served) = hub.connect();
    let client = async {
        let request = hub.head(BODY.as_bytes(), "content-length: 1000") + BODY;
        io.write_all(request.as_bytes()).await.unwrap();
        io.shutdown().await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
    };
    tokio::join!(client, served);
    assert!(hub.log.events.lock().is_empty());
    assert_eq!(hub.front.posts.available_permits(), limits::POSTS_MAX);
}

#[tokio::test]
async fn who_asks_before_sending_is_refused_without_being_told_to_go_on() {
    let hub = Hub::new();
    let (mut io, served) = hub.connect();
    let client = async {
        let head = hub.head(b"", "content-length: 27262976\r\nexpect: 100-continue");
        io.write_all(head.as_bytes()).await.unwrap();
        Answer::read(&mut io).await.assert_error(413);
        drop(io);
    };
    tokio::join!(client, served);
}

/// A front on a port of its own.
struct Running {
    address: SocketAddr,
    log: Arc<FakeLog>,
    tasks: Tasks,
    group: Group,
    /// Signs as the clock of the front says.
    signer: Hub,
}

fn run() -> Running {
    let (state, log, _) = state();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None, state).unwrap();
    let (address, tasks) = (server.local_addr(), Tasks::new());
    let group = tasks.group("http");
    group.spawn(Kind::Essential, "http", server.run(group.clone()));
    Running { address, log, tasks, group, signer: Hub::new() }
}

#[tokio::test]
async fn a_sender_of_26_mb_reads_its_answer_though_it_sends_everything_first() {
    let hub = run();
    let body = vec![b'x'; 26 << 20];
    for framing in ["content-length: 27262976", "transfer-encoding: chunked"] {
        let mut io = TcpStream::connect(hub.address).await.unwrap();
        io.write_all(hub.signer.head(&body, framing).as_bytes()).await.unwrap();
        if framing.starts_with("transfer") {
            io.write_all(b"1a00000\r\n").await.unwrap();
        }
        io.write_all(&body).await.unwrap();
        Answer::read(&mut io).await.assert_error(413);
    }
    assert!(hub.log.events.lock().is_empty());
    let mut io = TcpStream::connect(hub.address).await.unwrap();
    write_post(&hub.signer, &mut io, BODY).await;
    assert_eq!(Answer::read(&mut io).await.status, 200);
}

#[tokio::test]
async fn at_the_end_posts_in_work_are_finished_and_others_are_told_to_try_again() {
    let hub = run();
    let mut kept = TcpStream::connect(hub.address).await.unwrap();
    write_post(&hub.signer, &mut kept, "{}").await;
    assert_eq!(Answer::read(&mut kept).await.status, 200);
    let mut in_work = TcpStream::connect(hub.address).await.unwrap();
    hub.log.open.send_replace(false);
    let mut begun = hub.log.begun.subscribe();
    let body = r#"{"last":true}"#;
    let signed = hub.signer.head(body.as_bytes(), "content-length: 13");
    let signed = signed.replace("d-1", "d-2") + body;
    in_work.write_all(signed.as_bytes()).await.unwrap();
    begun.wait_for(|begun| *begun == 2).await.unwrap();

    hub.group.stop();
    // The front listens until its task has seen the stop.
    while TcpStream::connect(hub.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    write_post(&hub.signer, &mut kept, BODY).await;
    let refused = Answer::read(&mut kept).await;
    refused.assert_retry(503);
    assert_eq!(refused.headers["connection"], "close");
    assert!(is_closed(&mut kept).await);
    assert!(0 < hub.group.count());

    hub.log.open.send_replace(true);
    let answer = Answer::read(&mut in_work).await;
    assert_eq!(answer.json()["status"], "accepted");
    assert!(is_closed(&mut in_work).await);
    drop((kept, in_work));
    let unfinished = hub.tasks.shutdown(&[&hub.group], Duration::from_secs(10)).await;
    assert_eq!(unfinished, []);
    assert_eq!(hub.log.events.lock().len(), 2);
}

#[tokio::test]
async fn connections_without_a_request_do_not_hold_up_the_end() {
    let hub = run();
    let mut idle = TcpStream::connect(hub.address).await.unwrap();
    write_post(&hub.signer, &mut idle, BODY).await;
    assert_eq!(Answer::read(&mut idle).await.status, 200);
    let fresh = TcpStream::connect(hub.address).await.unwrap();
    let unfinished = hub.tasks.shutdown(&[&hub.group], Duration::from_secs(9)).await;
    assert_eq!(unfinished, []);
    drop((idle, fresh));
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let (first, ..) = state();
    let first = Server::bind("127.0.0.1:0".parse().unwrap(), None, first).unwrap();
    let (second, ..) = state();
    let error = Server::bind(first.local_addr(), None, second).unwrap_err();
    assert_eq!(error.to_string(), format!("listening for webhooks on `{}`", first.local_addr()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn any_bytes_on_a_connection_are_answered_or_closed_and_never_panic(
        prefix in prop::sample::select(vec!["", "POST /webhooks/open HTTP/1.1\r\n", "GET /"]),
        lines in prop::collection::vec("(content-length|transfer-encoding|connection|x): [ -~]{0,20}\r\n", 0..4),
        rest in prop::collection::vec(prop::num::u8::ANY, 0..400),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let hub = Hub::new();
            let (mut io, served) = hub.connect();
            let client = async {
                let head = format!("{prefix}{}\r\n", lines.concat());
                io.write_all(head.as_bytes()).await.unwrap();
                io.write_all(&rest).await.unwrap();
                let mut answers = Vec::new();
                io.read_to_end(&mut answers).await.unwrap();
                assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
            };
            tokio::join!(client, served);
            assert_eq!(hub.front.posts.available_permits(), limits::POSTS_MAX);
            assert_eq!(hub.front.budget.available_permits(), limits::BODY_BUDGET_BYTES);
        });
    }
}
