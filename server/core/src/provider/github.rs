//! GitHub: repository, organization and app webhooks.
//!
//! The event's name and the delivery's id are in headers, which GitHub does not sign; everything else is in the body.
//! `actor` is `sender.login`. How a resource is named, per event, is the table in `rules.rs`; what has no rule there is
//! looked for in the member named as the event (so most future events are read right), and an event that is about
//! nothing smaller is about the repository. Without a repository it is about the organization, else the installation,
//! else the thing itself, else the sender.
//!
//! | named | `resource_type` | `resource_id` |
//! |---|---|---|
//! | issues; pull requests and what belongs to them | `issue`; `pull_request` | `owner/repo#42` |
//! | other things of a repository | their kind | `owner/repo/<kind>/<id>` |
//! | the repository | `repository` | `owner/repo` |
//! | no repository | `organization`, `installation`, ... | the id |

use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use self::rules::{Named, Rule};
use super::{Handshake, Provider, Read, split_ref};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::Paths,
        times,
    },
    text::join,
    time::Timestamp,
    verify::scheme::{Encoding, Proof, Scheme},
};

mod rules;

pub(super) const PROVIDER: Provider = Provider {
    name: "github",
    title: "GitHub",
    schemes: &[SCHEME],
    event_header: Some("x-github-event"),
    // GitHub keeps it when a delivery is sent again.
    id_headers: &["x-github-delivery"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `X-Hub-Signature-256: sha256=<hex>` over the raw body: of a form the form's bytes, not the JSON inside.
///
/// The legacy `X-Hub-Signature` (SHA-1) comes with the same delivery and is never looked at: who can strip a header
/// must not choose the weaker hash. Nothing signs a time or the delivery's id.
///
/// Source: GitHub docs, "Validating webhook deliveries".
const SCHEME: Scheme = Scheme::over_body("x-hub-signature-256", Some('='), PROOFS, Encoding::Hex);
const PROOFS: &[Proof] = &[Proof::sha256("sha256")];

/// What is read of every event.
const COMMON_PATHS: [&str; 11] = [
    "action",
    "sender.login",
    "sender.id",
    "sender.type",
    "repository.full_name",
    "repository.name",
    "repository.owner.login",
    "repository.owner.name",
    "organization.id",
    "installation.id",
    "issue.pull_request",
];

/// Reads a body; `None` if it is not a JSON object, or the request does not say what event it is.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let event = post.header("x-github-event")?;
    read_like(event, event, post).map(Outcome::Event)
}

/// Reads a body of the event of this name, which is built as that of GitHub's event `model` is.
pub(super) fn read_like(event: &str, model: &str, post: &Post<'_>) -> Option<Reading> {
    if let Some((&Rule { named, times, .. }, paths)) = rules::of(model) {
        return read_by(&Rule { event, named, times }, paths, post);
    }
    let is_member = event.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_member {
        let rule = Rule { event, named: Named::Repository, times: &[] };
        return read_by(&rule, &paths(&rule), post);
    }
    let [id, number] = ["id", "number"].map(|key| format_smolstr!("{event}.{key}"));
    let updated_at = format_smolstr!("{event}.updated_at");
    let named = Named::ById { kind: event, ids: &[&id, &number] };
    let rule = Rule { event, named, times: &[&updated_at] };
    read_by(&rule, &paths(&rule), post)
}

/// Returns what is read of an event with this rule.
fn paths<'p>(rule: &Rule<'p>) -> Paths<'p> {
    let mut paths = COMMON_PATHS.to_vec();
    for &path in rule.named.paths().iter().chain(rule.times) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Paths::new(&paths)
}

fn read_by(rule: &Rule<'_>, paths: &Paths<'_>, post: &Post<'_>) -> Option<Reading> {
    let fields = json::read(post.text()?, paths)?;
    let action = fields.text("action");
    let (resource_type, resource_id) = resource(&rule.named, &fields);
    Some(Reading {
        event_type: match action {
            Some(action) => join([rule.event, ".", action]),
            None => rule.event.into(),
        },
        timestamp: timestamp(rule, &fields, action),
        actor: fields.id("sender.login").unwrap_or_default(),
        resource_type,
        resource_id,
        metadata: metadata(post, &fields),
        ..Reading::default()
    })
}

fn metadata(post: &Post<'_>, fields: &Fields<'_, '_>) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.add("action", fields.text("action"));
    metadata.add("actor_id", fields.id("sender.id"));
    metadata.add("actor_type", fields.text("sender.type"));
    metadata.add("installation_id", fields.id("installation.id"));
    metadata.add("github_hook_id", post.header("x-github-hook-id"));
    metadata.add("github_hook_target_id", post.header("x-github-hook-installation-target-id"));
    metadata.add("github_hook_target_type", post.header("x-github-hook-installation-target-type"));
    metadata
}

fn timestamp(rule: &Rule<'_>, fields: &Fields<'_, '_>, action: Option<&str>) -> Option<Timestamp> {
    // A release keeps the times of its first days when it is edited or deleted years later.
    let is_of_action = |path: &str| match path {
        "release.created_at" => action == Some("created"),
        "release.published_at" => {
            matches!(action, Some("published" | "released" | "prereleased"))
        }
        _ => true,
    };
    let mut paths = rule.times.iter().filter(|path| is_of_action(path));
    paths.find_map(|path| times::parse(fields.at(path)))
}

/// Returns the resource's type and id.
fn resource(named: &Named<'_>, fields: &Fields<'_, '_>) -> (SmolStr, SmolStr) {
    let thing = thing(named, fields);
    if let (Named::Alone { .. }, Some((kind, id))) = (named, &thing) {
        return (kind.clone(), id.clone());
    }
    if let Some(repository) = repository(fields) {
        return match (named, thing) {
            (Named::ByNumber { .. }, Some((kind, id))) => (kind, join([&repository, "#", &id])),
            (_, Some((kind, id))) => {
                let resource_id = join([&repository, "/", &kind, "/", &id]);
                (kind, resource_id)
            }
            (_, None) => ("repository".into(), repository.into()),
        };
    }
    let owner = |kind: &str, path| fields.id(path).map(|id| (kind.into(), id));
    owner("organization", "organization.id")
        .or_else(|| owner("installation", "installation.id"))
        .or(thing)
        .or_else(|| owner("user", "sender.id"))
        .unwrap_or_default()
}

/// Returns the kind and id of what the event is about, within its repository; `None` for the repository itself.
fn thing(named: &Named<'_>, fields: &Fields<'_, '_>) -> Option<(SmolStr, SmolStr)> {
    match *named {
        Named::ByNumber { kind, ids } => {
            // Comments and milestones of both come as events of issues; a pull request is told by this member.
            let is_pull = *fields.at("issue.pull_request") != json::Field::Absent;
            let kind = if is_pull { "pull_request" } else { kind };
            fields.first_id(ids).map(|number| (kind.into(), number))
        }
        Named::ById { kind, ids } | Named::Alone { kind, ids } => {
            fields.first_id(ids).map(|id| (kind.into(), id))
        }
        Named::ByRef => {
            let name = fields.text("ref")?;
            let (kind, name) =
                split_ref(name).unwrap_or_else(|| (fields.text("ref_type").unwrap_or("ref"), name));
            Some((kind.into(), name.into()))
        }
        Named::Repository => None,
    }
}

/// Returns `owner/repo`. In old payloads the owner of a pushed repository has a `name`, but no `login`.
fn repository<'f>(fields: &'f Fields<'_, '_>) -> Option<Cow<'f, str>> {
    let named = fields.at("repository.full_name").id();
    named.map(Cow::Borrowed).or_else(|| {
        let owner = fields.first_id(&["repository.owner.login", "repository.owner.name"])?;
        Some(format!("{owner}/{}", fields.at("repository.name").id()?).into())
    })
}
