//! What each of GitHub's events is about, and when it happened.
//!
//! Things are named by their `id`, which stays when they are renamed; where GitHub gives them none, by number, name or
//! hash. A comment, review, status or location belongs to the thing it is about. Times are those that the thing tells,
//! in the order given; events without a time here happened when they were received.
//!
//! Sources: GitHub docs, "Webhook events and payloads"; for times and subjects also the CloudEvents adapter for GitHub
//! (cloudevents/spec, `adapters/github.md`), from which this departs where it names a thing by something that changes.

use std::sync::LazyLock;

use Named::{Alone, ById, ByNumber, ByRef, Repository};

use crate::normalize::paths::Paths;

/// How an event is read.
#[derive(Debug)]
pub(super) struct Rule<'r> {
    /// The value of `X-GitHub-Event`.
    pub(super) event: &'r str,
    pub(super) named: Named<'r>,
    /// Paths of times; the first that can be read counts.
    pub(super) times: &'r [&'r str],
}

/// How the thing that an event is about is named. `ids` are paths; the first with a value counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<'r> {
    /// `owner/repo#<number>`: issues and pull requests, which share their numbers.
    ByNumber { kind: &'r str, ids: &'r [&'r str] },
    /// `owner/repo/<kind>/<id>`.
    ById { kind: &'r str, ids: &'r [&'r str] },
    /// `owner/repo/branch/<name>` or `owner/repo/tag/<name>`, so that a push and the creation of a branch meet.
    ByRef,
    /// The id alone, even if there is a repository or an organization.
    Alone { kind: &'r str, ids: &'r [&'r str] },
    /// The repository itself.
    Repository,
}

impl<'r> Named<'r> {
    /// Returns the paths that naming needs.
    pub(super) const fn paths(&self) -> &'r [&'r str] {
        match *self {
            Self::ByNumber { ids, .. } | Self::ById { ids, .. } | Self::Alone { ids, .. } => ids,
            Self::ByRef => &["ref", "ref_type"],
            Self::Repository => &[],
        }
    }
}

/// Returns the rule of an event, and the paths that it needs; `None` for an event without a rule of its own.
pub(super) fn of(event: &str) -> Option<(&'static Rule<'static>, &'static Paths<'static>)> {
    /// In the order of the rules.
    static PATHS: LazyLock<Vec<Paths<'static>>> =
        LazyLock::new(|| RULES.iter().map(super::paths).collect());
    let index = RULES.iter().position(|rule| rule.event == event)?;
    RULES.get(index).zip(PATHS.get(index))
}

const fn rule(
    event: &'static str,
    named: Named<'static>,
    times: &'static [&'static str],
) -> Rule<'static> {
    Rule { event, named, times }
}

const ISSUE: Named<'_> = ByNumber { kind: "issue", ids: &["issue.number"] };
const PULL: Named<'_> = ByNumber { kind: "pull_request", ids: &["pull_request.number", "number"] };
const HOOK: Named<'_> = ById { kind: "hook", ids: &["hook_id", "hook.id"] };
const INSTALLATION: Named<'_> = Alone { kind: "installation", ids: &["installation.id"] };
const DEPLOYMENT: Named<'_> = ById { kind: "deployment", ids: &["deployment.id"] };
const DISCUSSION: Named<'_> = ById { kind: "discussion", ids: &["discussion.id"] };
const RUN: Named<'_> = ById { kind: "workflow_run", ids: &["workflow_run.id"] };
const TEAM: Named<'_> = ById { kind: "team", ids: &["team.id"] };
const SECRET: Named<'_> = alert("secret_scanning_alert");

/// Most alerts have a number only.
const fn alert(kind: &'static str) -> Named<'static> {
    ById { kind, ids: &["alert.id", "alert.number"] }
}

/// Sorted by what they are about. Events that are about an organization stand with `Repository` too: they have none.
#[rustfmt::skip]
static RULES: [Rule<'static>; 73] = [
    rule("issues", ISSUE, &["issue.updated_at"]),
    rule("issue_comment", ISSUE, &["comment.updated_at", "issue.updated_at"]),
    rule("pull_request", PULL, &["pull_request.updated_at"]),
    rule("pull_request_review", PULL, &["review.submitted_at", "pull_request.updated_at"]),
    rule("pull_request_review_comment", PULL, &["comment.updated_at", "pull_request.updated_at"]),
    rule("pull_request_review_thread", PULL, &["updated_at", "pull_request.updated_at"]),
    rule("discussion", DISCUSSION, &["discussion.updated_at"]),
    rule("discussion_comment", DISCUSSION, &["comment.updated_at", "discussion.updated_at"]),

    rule("push", ByRef, &["head_commit.timestamp", "repository.pushed_at"]),
    rule("create", ByRef, &["repository.pushed_at"]),
    rule("delete", ByRef, &["repository.pushed_at"]),
    rule("commit_comment", ById { kind: "commit", ids: &["comment.commit_id"] }, &["comment.updated_at"]),
    rule("status", ById { kind: "commit", ids: &["sha"] }, &["updated_at"]),
    rule("merge_group", ById { kind: "merge_group", ids: &["merge_group.head_ref", "merge_group.head_sha"] }, &["merge_group.head_commit.timestamp"]),
    rule("release", ById { kind: "release", ids: &["release.id"] }, &["release.updated_at", "release.published_at", "release.created_at"]),

    rule("check_run", ById { kind: "check_run", ids: &["check_run.id"] }, &["check_run.completed_at", "check_run.started_at"]),
    rule("check_suite", ById { kind: "check_suite", ids: &["check_suite.id"] }, &["check_suite.updated_at"]),
    rule("workflow_run", RUN, &["workflow_run.updated_at"]),
    rule("workflow_job", ById { kind: "workflow_job", ids: &["workflow_job.id"] }, &["workflow_job.completed_at", "workflow_job.started_at", "workflow_job.created_at"]),
    rule("workflow_dispatch", ById { kind: "workflow", ids: &["workflow"] }, &[]),
    rule("deployment", DEPLOYMENT, &["deployment.updated_at"]),
    rule("deployment_status", DEPLOYMENT, &["deployment_status.updated_at"]),
    rule("deployment_protection_rule", DEPLOYMENT, &["deployment.updated_at"]),
    rule("deployment_review", RUN, &["workflow_run.updated_at"]),
    rule("page_build", ById { kind: "page_build", ids: &["id"] }, &["build.updated_at"]),

    rule("code_scanning_alert", alert("code_scanning_alert"), &["alert.updated_at"]),
    rule("dependabot_alert", alert("dependabot_alert"), &["alert.updated_at"]),
    rule("secret_scanning_alert", SECRET, &["alert.updated_at", "alert.created_at"]),
    rule("secret_scanning_alert_location", SECRET, &["alert.updated_at", "alert.created_at"]),
    rule("repository_vulnerability_alert", alert("repository_vulnerability_alert"), &["alert.updated_at"]),
    rule("repository_advisory", ById { kind: "repository_advisory", ids: &["repository_advisory.ghsa_id"] }, &["repository_advisory.updated_at"]),

    rule("branch_protection_rule", ById { kind: "branch_protection_rule", ids: &["rule.id"] }, &["rule.updated_at"]),
    rule("repository_ruleset", ById { kind: "repository_ruleset", ids: &["repository_ruleset.id"] }, &["repository_ruleset.updated_at"]),
    rule("content_reference", ById { kind: "content_reference", ids: &["content_reference.id"] }, &[]),
    rule("deploy_key", ById { kind: "deploy_key", ids: &["key.id"] }, &["key.deleted_at", "key.created_at"]),
    rule("label", ById { kind: "label", ids: &["label.id", "label.name"] }, &[]),
    rule("member", ById { kind: "member", ids: &["member.id"] }, &[]),
    rule("milestone", ById { kind: "milestone", ids: &["milestone.id"] }, &["milestone.updated_at"]),
    rule("package", ById { kind: "package", ids: &["package.id"] }, &["package.updated_at", "package.created_at"]),
    rule("registry_package", ById { kind: "package", ids: &["registry_package.id"] }, &["registry_package.updated_at", "registry_package.created_at"]),
    rule("project", ById { kind: "project", ids: &["project.id"] }, &["project.updated_at"]),
    rule("project_card", ById { kind: "project_card", ids: &["project_card.id"] }, &["project_card.updated_at"]),
    rule("project_column", ById { kind: "project_column", ids: &["project_column.id"] }, &["project_column.updated_at"]),
    rule("team", TEAM, &["team.updated_at"]),
    rule("team_add", TEAM, &["team.updated_at"]),
    rule("ping", HOOK, &["hook.updated_at"]),
    rule("meta", HOOK, &["hook.updated_at"]),

    rule("branch_protection_configuration", Repository, &[]),
    rule("custom_property", Repository, &[]),
    rule("custom_property_values", Repository, &[]),
    rule("fork", Repository, &["forkee.created_at"]),
    rule("gollum", Repository, &[]),
    rule("public", Repository, &["repository.updated_at"]),
    rule("repository", Repository, &["repository.updated_at"]),
    rule("repository_dispatch", Repository, &[]),
    rule("repository_import", Repository, &["repository.updated_at"]),
    rule("security_and_analysis", Repository, &[]),
    rule("star", Repository, &["starred_at"]),
    rule("watch", Repository, &[]),
    rule("membership", Repository, &[]),
    rule("org_block", Repository, &[]),
    rule("organization", Repository, &[]),
    rule("projects_v2", ById { kind: "projects_v2", ids: &["projects_v2.id"] }, &["projects_v2.updated_at"]),
    rule("projects_v2_item", ById { kind: "projects_v2_item", ids: &["projects_v2_item.id"] }, &["projects_v2_item.updated_at"]),
    rule("projects_v2_status_update", ById { kind: "projects_v2_status_update", ids: &["projects_v2_status_update.id"] }, &["projects_v2_status_update.updated_at"]),

    rule("installation", INSTALLATION, &["installation.updated_at"]),
    rule("installation_repositories", INSTALLATION, &["installation.updated_at"]),
    rule("installation_target", INSTALLATION, &[]),
    rule("integration_installation", INSTALLATION, &["installation.updated_at"]),
    rule("github_app_authorization", Alone { kind: "user", ids: &["sender.id"] }, &[]),
    rule("marketplace_purchase", Alone { kind: "marketplace_account", ids: &["marketplace_purchase.account.id"] }, &["effective_date"]),
    rule("security_advisory", Alone { kind: "security_advisory", ids: &["security_advisory.ghsa_id"] }, &["security_advisory.updated_at"]),
    rule("sponsorship", Alone { kind: "sponsorship", ids: &["sponsorship.node_id"] }, &[]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::*;
    use crate::{
        event::SourceName,
        normalize::{Received, receive},
        source::{Kind, Settings, Source},
        time::Timestamp,
        verify::Request,
    };

    const EVENT: HeaderName = HeaderName::from_static("x-github-event");

    #[test]
    fn each_event_has_one_rule() {
        let events: BTreeSet<_> = RULES.iter().map(|rule| rule.event).collect();
        assert_eq!(events.len(), RULES.len());
    }

    #[test]
    fn each_rule_can_be_carried_out() {
        let name = SourceName::parse("github").unwrap();
        let source = Source::unsigned(name, Kind::GITHUB, Settings::default()).unwrap();
        for rule in &RULES {
            let headers =
                HeaderMap::from_iter([(EVENT, HeaderValue::from_str(rule.event).unwrap())]);
            let body = &Bytes::from_static(b"{}");
            let request = Request { method: &Method::POST, target: "/", headers: &headers, body };
            // Reading asserts that its paths are few and short enough.
            let received = receive(&source, request, Timestamp::EPOCH).unwrap();
            let Received::Events { events, .. } = received else { panic!("no event") };
            assert_eq!(events[0].event_type.as_str(), rule.event);
        }
    }
}
