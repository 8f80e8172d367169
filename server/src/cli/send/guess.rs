//! Which of GitHub's events a body is: GitHub says it in a header, and a file has none.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

/// The members that only a body of the event has, the most telling first: a review's body holds its pull request too.
const MEMBERS: [(&[&str], &str); 25] = [
    (&["zen", "hook_id"], "ping"),
    (&["review", "pull_request"], "pull_request_review"),
    (&["thread", "pull_request"], "pull_request_review_thread"),
    (&["comment", "pull_request"], "pull_request_review_comment"),
    (&["comment", "issue"], "issue_comment"),
    (&["comment", "discussion"], "discussion_comment"),
    (&["workflow_job"], "workflow_job"),
    (&["workflow_run"], "workflow_run"),
    (&["check_run"], "check_run"),
    (&["check_suite"], "check_suite"),
    (&["deployment_status"], "deployment_status"),
    (&["deployment"], "deployment"),
    (&["pull_request"], "pull_request"),
    (&["issue"], "issues"),
    (&["discussion"], "discussion"),
    (&["release"], "release"),
    (&["forkee"], "fork"),
    (&["pages"], "gollum"),
    (&["milestone"], "milestone"),
    (&["label"], "label"),
    (&["ref", "before", "after"], "push"),
    (&["ref_type", "master_branch"], "create"),
    (&["ref_type", "pusher_type"], "delete"),
    (&["state", "sha", "branches"], "status"),
    (&["starred_at"], "star"),
];

/// Returns the event's name; `None` if the body is no JSON object, or could be several.
pub(super) fn github_event(body: &[u8]) -> Option<&'static str> {
    let members: BTreeMap<String, IgnoredAny> = serde_json::from_slice(body).ok()?;
    let has_all = |names: &[&str]| names.iter().all(|name| members.contains_key(*name));
    MEMBERS.into_iter().find(|(names, _)| has_all(names)).map(|(_, event)| event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_known_by_its_members() {
        let cases = [
            (r#"{"action":"opened","pull_request":{}}"#, Some("pull_request")),
            (r#"{"pull_request":{},"review":{}}"#, Some("pull_request_review")),
            (r#"{"issue":{},"comment":{}}"#, Some("issue_comment")),
            (r#"{"issue":{},"label":{}}"#, Some("issues")),
            (r#"{"ref":"refs/heads/main","before":"0","after":"1"}"#, Some("push")),
            (r#"{"zen":"Design for failure.","hook_id":1}"#, Some("ping")),
            (r#"{"repository":{}}"#, None),
            ("[]", None),
            ("payload=%7B%7D", None),
        ];
        for (body, event) in cases {
            assert_eq!(github_event(body.as_bytes()), event, "{body}");
        }
    }
}
