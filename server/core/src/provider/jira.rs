//! Jira: webhooks with a secret, of Cloud and of Data Center.
//!
//! The body is all there is: `webhookEvent` names the event (`jira:issue_updated`, `comment_created`, ...), of which the
//! prefix `jira:` is taken off; `issue_event_type_name`, which tells more of an update, is in the metadata. Who did it is
//! `user`, which comments, worklogs and attachments may lack: then it is their last author. A person is `accountId` on
//! Cloud, `name` (or `key`) on Data Center.
//!
//! A comment, a worklog or an attachment belongs to its issue. The first of these that is there is the resource:
//!
//! | what is there | `resource_type` | `resource_id` |
//! |---|---|---|
//! | `issue`, `worklog.issueId` | `issue` | the id, since the key changes when an issue moves |
//! | `version`, `sprint`, `board`, `project`, `worklog`, `attachment`, `comment` | that | its `id` |
//! | `issueLink` | `issue` | `sourceIssueId` |
//!
//! Sources: jira.js `webhooks`, for headers and members; bodies in the tests of mattermost-plugin-jira and zulip.

use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read, WEBSUB};
use crate::normalize::{
    Metadata, Outcome, Post, Reading,
    json::{self, Fields},
    paths::{self, paths},
    times,
};

pub(super) const PROVIDER: Provider = Provider {
    name: "jira",
    title: "Jira",
    schemes: &[WEBSUB],
    event_header: None,
    // The same over retries; old versions of Data Center have none.
    id_headers: &["x-atlassian-webhook-identifier"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

static PATHS: paths::Static = paths![
    "webhookEvent",
    "issue_event_type_name",
    "timestamp",
    "issue.id",
    "issue.key",
    "issue.fields.project.key",
    "worklog.id",
    "worklog.issueId",
    "version.id",
    "sprint.id",
    "board.id",
    "project.id",
    "attachment.id",
    "comment.id",
    "issueLink.sourceIssueId",
    "user.accountId",
    "user.name",
    "user.key",
    "user.accountType",
    "user.displayName",
    "comment.updateAuthor.accountId",
    "comment.updateAuthor.name",
    "comment.updateAuthor.key",
    "comment.updateAuthor.accountType",
    "comment.updateAuthor.displayName",
    "comment.author.accountId",
    "comment.author.name",
    "comment.author.key",
    "comment.author.accountType",
    "comment.author.displayName",
    "worklog.updateAuthor.accountId",
    "worklog.updateAuthor.name",
    "worklog.updateAuthor.key",
    "worklog.updateAuthor.accountType",
    "worklog.updateAuthor.displayName",
    "worklog.author.accountId",
    "worklog.author.name",
    "worklog.author.key",
    "worklog.author.accountType",
    "worklog.author.displayName",
    "attachment.author.accountId",
    "attachment.author.name",
    "attachment.author.key",
    "attachment.author.accountType",
    "attachment.author.displayName",
];

/// Who may have done it, in order.
const PEOPLE: [&str; 6] = [
    "user",
    "comment.updateAuthor",
    "comment.author",
    "worklog.updateAuthor",
    "worklog.author",
    "attachment.author",
];

/// What an event may be about, in order.
const RESOURCES: [(&str, &str); 10] = [
    ("issue", "issue.id"),
    ("issue", "worklog.issueId"),
    ("version", "version.id"),
    ("sprint", "sprint.id"),
    ("board", "board.id"),
    ("project", "project.id"),
    ("worklog", "worklog.id"),
    ("attachment", "attachment.id"),
    ("comment", "comment.id"),
    ("issue", "issueLink.sourceIssueId"),
];

/// Reads a body; `None` if it does not say what happened.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let raw = fields.first_id(&["webhookEvent", "issue_event_type_name"])?;
    let person = PEOPLE.iter().find_map(|person| Person::read(&fields, person));
    let person = person.unwrap_or_default();
    let find = |(kind, path): &(&str, &str)| fields.id(path).map(|id| ((*kind).into(), id));
    let (resource_type, resource_id) = RESOURCES.iter().find_map(find).unwrap_or_default();

    let mut metadata = Metadata::default();
    metadata.add("actor_type", person.kind);
    metadata.add("actor_name", person.name);
    metadata.add("issue_key", fields.id("issue.key"));
    metadata.add("issue_event_type", fields.id("issue_event_type_name"));
    metadata.add("comment_id", fields.id("comment.id"));
    metadata.add("project_key", fields.id("issue.fields.project.key"));

    Some(Outcome::Event(Reading {
        event_type: raw.strip_prefix("jira:").unwrap_or(&raw).into(),
        event_type_raw: Some(raw),
        timestamp: times::parse(fields.at("timestamp")),
        actor: person.id,
        resource_type,
        resource_id,
        metadata,
        ..Reading::default()
    }))
}

#[derive(Default)]
struct Person {
    id: SmolStr,
    kind: Option<SmolStr>,
    name: Option<SmolStr>,
}

impl Person {
    /// Reads the person at a path; `None` if nobody is there.
    fn read(fields: &Fields<'_, '_>, path: &str) -> Option<Self> {
        let member = |key: &str| fields.id(&format_smolstr!("{path}.{key}"));
        let id = ["accountId", "name", "key"].into_iter().find_map(member)?;
        Some(Self { id, kind: member("accountType"), name: member("displayName") })
    }
}
