//! The commands about sources, as an operator runs them.

use std::{fs, path::Path, process::Output};

use super::harness::{Hub, PULL_REQUEST, SECRET, hookline, json, run, stderr, stdout};

fn sources(hub: &Hub, more: &[&str]) -> Output {
    let output = hookline().args(["sources", "--address", &hub.grpc]).args(more).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stdout(&output).contains("wire-test-secret"), "a secret is shown");
    output
}

#[test]
fn sources_are_listed_with_what_came_of_their_posts() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    for _ in 0..2 {
        assert!(hub.send(&body, &["--delivery-id", "d-1"]).status.success());
    }
    let refused = hub.send(&body, &["--header", "X-Hub-Signature-256: sha256=00"]);
    assert!(stdout(&refused).starts_with("401 "), "{}", stdout(&refused));
    let nobody = format!("{}/webhooks/nobody", hub.http);
    let args = ["send", "--kind", "github", "--secret", SECRET, "--url", &nobody, "nobody"];
    let lost = hookline().args(args).arg(&body).output().unwrap();
    assert!(stdout(&lost).starts_with("404 "), "{}", stdout(&lost));

    let table = stdout(&sources(&hub, &[]));
    let lines: Vec<_> = table.lines().collect();
    let [head, github, stripe, strangers] = lines.as_slice() else { panic!("{table}") };
    assert!(head.starts_with("SOURCE"), "{table}");
    let words: Vec<_> = github.split_whitespace().collect();
    let [name, kind, _, accepted, duplicate, refused, cause, path, ..] = words.as_slice() else {
        panic!("{table}")
    };
    assert_eq!([name, kind, accepted, duplicate], [&"github", &"github", &"1", &"1"]);
    assert_eq!([refused, cause, path], [&"1:", &"signature_malformed", &"/webhooks/github"]);
    assert!(github.ends_with("HMAC-SHA256 hex in x-hub-signature-256"), "{table}");
    assert!(stripe.starts_with("stripe  stripe  - "), "{table}");
    assert_eq!(*strangers, "1 post to a name that is none of these");

    let told = stdout(&sources(&hub, &["--json"]));
    let github = json(told.lines().next().unwrap());
    assert_eq!((&github["accepted_count"], &github["duplicate_count"]), (&1.into(), &1.into()));
    assert_eq!(github["refusals"]["signature_malformed"], 1);
    assert!(github["last_event_at"].is_string(), "{told}");
}

#[test]
fn kinds_are_listed_without_a_hub() {
    let table = stdout(&run(&["sources", "kinds"]));
    let stripe = table.lines().find(|line| line.starts_with("stripe ")).unwrap();
    for part in ["Stripe", "HMAC-SHA256 hex in stripe-signature", "5m", "text"] {
        assert!(stripe.contains(part), "no `{part}` in: {stripe}");
    }
    let told = stdout(&run(&["sources", "kinds", "--json"]));
    assert!(told.lines().map(json).any(|kind| kind["kind"] == "github"), "{told}");
}

/// A configuration, and a request in two files that a sender has signed.
struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    /// Keeps the published request of GitHub's documentation.
    fn new() -> Self {
        let kept = Self { folder: tempfile::tempdir().unwrap() };
        let config = "[sources.forge]\nkind = \"github\"\nsecrets = [\"plain:It's a Secret to Everybody\"]\n\
            [sources.other]\nkind = \"github\"\nsecrets = [\"plain:another\"]\n";
        kept.file("hookline.toml", config);
        kept.file(
            "headers",
            "> POST /webhooks/forge HTTP/1.1\r\n> Host: example.com\r\n> X-GitHub-Event: push\r\n> X-Hub-Signature-256: \
             sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\r\n>\r\n",
        );
        kept.file("body", "Hello, World!");
        kept
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn verify(&self, source: &str) -> Output {
        hookline()
            .current_dir(self.path())
            .args(["verify", "--config", "hookline.toml", source, "--headers", "headers", "body"])
            .output()
            .unwrap()
    }
}

#[test]
fn a_kept_request_is_verified_offline() {
    let kept = Kept::new();
    let output = kept.verify("forge");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).starts_with("verified: forge/unparsed\n"), "{}", stdout(&output));
    assert!(stdout(&output).contains("  delivery key  sha256:"), "{}", stdout(&output));
}

#[test]
fn why_a_kept_request_does_not_verify_is_told_without_any_secret() {
    let kept = Kept::new();
    kept.file("body", "Hello, World!\n");
    let newline = kept.verify("forge");
    kept.file("body", "Hello, World!");
    let mixed_up = kept.verify("other");
    kept.file("body", "Hello, Mallory!");
    let hopeless = kept.verify("forge");
    for (output, because) in [
        (newline, "without the newline at its end"),
        (mixed_up, "`secrets[0]` of the source `forge`"),
        (hopeless, "the sender has another secret, or the body is not the one"),
    ] {
        let told = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("refused: the signature in `x-hub-signature-256` is wrong\n"));
        assert!(told.contains(because), "{told}");
        let all = told + &stderr(&output);
        assert!(
            !all.contains("Everybody") && !all.contains("another\"") && !all.contains("757107")
        );
        assert!(all.ends_with("hookline: the request would be refused\n"), "{all}");
    }
}

#[test]
fn a_verify_that_can_not_begin_says_why_and_shows_no_header() {
    let kept = Kept::new();
    let unknown = kept.verify("nobody");
    assert_eq!(unknown.status.code(), Some(64));
    assert!(stderr(&unknown).contains("those that are: `forge`, `other`"), "{}", stderr(&unknown));
    kept.file("headers", "x-a: 1\nBearer hunter2\n");
    let broken = kept.verify("forge");
    assert_eq!(broken.status.code(), Some(64));
    assert!(stderr(&broken).contains("line 2 is not"), "{}", stderr(&broken));
    assert!(!stderr(&broken).contains("hunter2"));
}

#[test]
fn what_send_signs_at_another_time_is_refused_as_stale() {
    let hub = Hub::serve();
    let body = hub.file("invoice.json", r#"{"id":"evt_1","type":"invoice.paid"}"#);
    let url = format!("{}/webhooks/stripe", hub.http);
    let send = |more: &[&str]| {
        let args = ["send", "--kind", "stripe", "--secret", SECRET, "--url", &url, "stripe"];
        hookline().args(args).arg(&body).args(more).output().unwrap()
    };
    let old = send(&["--at", "2018-08-02T10:10:20Z"]);
    assert!(stdout(&old).starts_with("401 "), "{}", stdout(&old));
    assert!(stdout(&send(&[])).starts_with("200 "));
    let table = stdout(&sources(&hub, &[]));
    assert!(table.contains("1: signature_stale"), "{table}");
}
