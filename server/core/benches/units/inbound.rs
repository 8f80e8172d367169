//! The way in: a body of GitHub's is verified and made an event.

use std::{fs, hint::black_box, rc::Rc};

use bytes::Bytes;
use hookline_core::{
    event::NewEvent,
    normalize::{Received, receive},
    source::{Kind, Settings, Source},
    verify::Request,
};
use http::{HeaderMap, Method};

use super::Unit;
use crate::ingest_support::{
    SECRET, headers, payloads, received_at, signature, source, source_with,
};

const ROUNDS: u32 = 10;

/// Real bodies: a small one, one of the mean's size, and the largest.
const BODIES: [(&str, &str, &str); 3] = [
    ("2kb", "organization", "organization.renamed.json"),
    ("11kb", "issues", "issues.unlabeled.json"),
    ("32kb", "pull_request", "pull_request.labeled.with-organization.json"),
];

/// A post, signed.
pub(super) struct Post {
    pub(super) body: Bytes,
    headers: HeaderMap,
    /// With the signature of another secret.
    forged: HeaderMap,
}

impl Post {
    /// Reads a body; `None` without the folder of them.
    fn read(event: &str, file: &str) -> Option<Self> {
        let body = Bytes::from(fs::read(payloads()?.join("github").join(file)).unwrap());
        let sent = headers([
            ("host", "hooks.example.com"),
            ("user-agent", "GitHub-Hookshot/044aadd"),
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("x-github-event", event),
            ("x-github-hook-id", "292430182"),
            ("x-github-hook-installation-target-id", "79929171"),
            ("x-github-hook-installation-target-type", "repository"),
        ]);
        let signed_by = |secret: &str| {
            let mut signed = sent.clone();
            signed.extend(signature(&source(Kind::GITHUB, &[secret]), &sent, &body));
            signed
        };
        let (headers, forged) = (signed_by(SECRET), signed_by("another secret"));
        assert!(headers.contains_key("x-hub-signature-256"), "GitHub's posts are signed");
        Some(Self { body, headers, forged })
    }

    /// Reads the largest one.
    pub(super) fn largest() -> Option<Self> {
        let (_, event, file) = BODIES[2];
        Self::read(event, file)
    }

    /// Returns the event that it becomes.
    pub(super) fn event(&self) -> NewEvent {
        let source = source(Kind::GITHUB, &[SECRET]);
        let received = receive(&source, self.request(&self.headers), received_at());
        let Ok(Received::Events { mut events, .. }) = received else { panic!("it is right") };
        events.swap_remove(0)
    }

    fn request<'a>(&'a self, headers: &'a HeaderMap) -> Request<'a> {
        Request { method: &Method::POST, target: "/webhooks/github", headers, body: &self.body }
    }
}

pub(super) fn units() -> Vec<Unit> {
    let posts = BODIES
        .iter()
        .filter_map(|(size, event, file)| Some((*size, Rc::new(Post::read(event, file)?))));
    posts.flat_map(|(size, post)| of_post(size, &post)).collect()
}

/// The whole way, and its halves: a wrong signature is as dear as the right one and nothing is read after it; an unsigned
/// source reads without verifying.
fn of_post(size: &str, post: &Rc<Post>) -> [Unit; 3] {
    let signed = || source(Kind::GITHUB, &[SECRET]);
    let unsigned = || source_with(Kind::GITHUB, &[], Settings::default());
    [
        unit(format!("receive/{size}"), post, signed, |post| &post.headers, true),
        unit(format!("verify/{size}"), post, signed, |post| &post.forged, false),
        unit(format!("normalize/{size}"), post, unsigned, |post| &post.headers, true),
    ]
}

fn unit(
    name: String,
    post: &Rc<Post>,
    source: impl Fn() -> Source + 'static,
    headers: fn(&Post) -> &HeaderMap,
    is_taken: bool,
) -> Unit {
    let post = Rc::clone(post);
    Unit::constant(name, ROUNDS, move || {
        let (post, source) = (Rc::clone(&post), source());
        Box::new(move || {
            let request = black_box(post.request(headers(&post)));
            let received = black_box(receive(&source, request, received_at()));
            received.is_ok() == is_taken
        })
    })
}
