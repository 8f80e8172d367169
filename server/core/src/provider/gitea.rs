//! Gitea and Forgejo: repository, organization and system webhooks.
//!
//! Their bodies are built as GitHub's are, and are read as those; reviews, which have events of their own here, as those
//! of the pull request. Forgejo sends each header under Gitea's name too.
//!
//! Source: go-gitea/gitea `services/webhook/deliver.go`, `modules/webhook/type.go`; forgejo likewise.

use super::{Handshake, Provider, Read, github};
use crate::{
    normalize::{Outcome, Post},
    verify::scheme::{Encoding, Scheme},
};

pub(super) const GITEA: Provider = Provider {
    name: "gitea",
    title: "Gitea",
    schemes: &[Scheme::bare_sha256("x-gitea-signature", Encoding::Hex)],
    event_header: Some("x-gitea-event"),
    id_headers: &["x-gitea-delivery"],
    handshake: Handshake::NONE,
    read: Read::Code(|post| read(post, &["x-gitea-event"])),
};

pub(super) const FORGEJO: Provider = Provider {
    name: "forgejo",
    title: "Forgejo",
    schemes: &[
        Scheme::bare_sha256("x-forgejo-signature", Encoding::Hex),
        Scheme::bare_sha256("x-gitea-signature", Encoding::Hex),
    ],
    event_header: Some("x-forgejo-event"),
    id_headers: &["x-forgejo-delivery", "x-gitea-delivery"],
    handshake: Handshake::NONE,
    read: Read::Code(|post| read(post, &["x-forgejo-event", "x-gitea-event"])),
};

/// Reads a body; `None` if it is not a JSON object, or none of the headers says what event it is.
fn read(post: &Post<'_>, headers: &[&str]) -> Option<Outcome> {
    let event = headers.iter().find_map(|name| post.header(name))?;
    let model = match event {
        "pull_request_approved" | "pull_request_rejected" | "pull_request_comment" => {
            "pull_request"
        }
        _ => event,
    };
    github::read_like(event, model, post).map(Outcome::Event)
}
