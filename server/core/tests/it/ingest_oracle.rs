//! What an event should be, told from the providers' documentation over a whole JSON value. Slow, plain, and sharing
//! nothing with the normalizers but the names of kinds.
//!
//! Sources: GitHub docs, "Webhook events and payloads"; Stripe API reference, "The Event object".

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What is expected of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) event_type: String,
    pub(crate) actor: String,
    pub(crate) resource: (String, String),
    /// Microseconds since the epoch; `None`: the time of receipt.
    pub(crate) micros: Option<i128>,
}

/// Returns text, or a number as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn micros(value: &Value) -> Option<i128> {
    match value {
        Value::Number(seconds) => Some(i128::from(seconds.as_i64()?) * 1_000_000),
        Value::String(text) => {
            Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos() / 1_000)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn sanitized(raw: &str) -> String {
    let text = raw.to_lowercase().replace([':', '/'], ".");
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    text.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

/// Expects what GitHub's docs say of an event.
pub(crate) fn github(event: &str, body: &Value) -> Expected {
    let raw = match body["action"].as_str() {
        Some(action) if !action.is_empty() => format!("{event}.{action}"),
        _ => event.to_owned(),
    };
    Expected {
        event_type: sanitized(&raw),
        actor: body["sender"]["login"].as_str().unwrap_or_default().to_owned(),
        resource: github_resource(event, body),
        micros: github_micros(event, body),
    }
}

fn github_resource(event: &str, body: &Value) -> (String, String) {
    let pair = |kind: &str, id: Option<String>| (kind.to_owned(), id.unwrap_or_default());
    match event {
        "security_advisory" => return pair(event, text(&body["security_advisory"]["ghsa_id"])),
        "sponsorship" => return pair(event, text(&body["sponsorship"]["node_id"])),
        "marketplace_purchase" => {
            let account = &body["marketplace_purchase"]["account"]["id"];
            return pair("marketplace_account", text(account));
        }
        "github_app_authorization" => return pair("user", text(&body["sender"]["id"])),
        _ => {}
    }
    let repository = &body["repository"];
    if repository.is_object() {
        let full_name = text(&repository["full_name"]).unwrap_or_else(|| {
            let owner = &repository["owner"]["login"];
            format!("{}/{}", owner.as_str().unwrap(), repository["name"].as_str().unwrap())
        });
        let numbered = |kind: &str, number: &Value| {
            let number = number.as_u64().expect("a number");
            (kind.to_owned(), format!("{full_name}#{number}"))
        };
        return match event {
            // "Every pull request is an issue; you can identify pull requests by the `pull_request` key" (REST API
            // docs, "Issues"): GitHub also sends `issues.milestoned` and `issues.demilestoned` of a pull request.
            "issues" | "issue_comment" if body["issue"]["pull_request"].is_object() => {
                numbered("pull_request", &body["issue"]["number"])
            }
            "issues" | "issue_comment" => numbered("issue", &body["issue"]["number"]),
            "pull_request"
            | "pull_request_review"
            | "pull_request_review_comment"
            | "pull_request_review_thread" => {
                numbered("pull_request", &body["pull_request"]["number"])
            }
            _ => match github_thing(event, body) {
                Some((kind, id)) => {
                    let path = format!("{full_name}/{kind}/{id}");
                    (kind, path)
                }
                None => ("repository".to_owned(), full_name),
            },
        };
    }
    if let Some(id) = text(&body["organization"]["id"]) {
        return pair("organization", Some(id));
    }
    if let Some(id) = text(&body["installation"]["id"]) {
        return pair("installation", Some(id));
    }
    github_thing(event, body).unwrap_or_default()
}

/// Returns kind and id of what an event is about, if it is smaller than the repository.
fn github_thing(event: &str, body: &Value) -> Option<(String, String)> {
    let (kind, id) = match event {
        "push" => {
            let reference = body["ref"].as_str()?;
            let (kind, name) = match reference.splitn(3, '/').collect::<Vec<_>>()[..] {
                ["refs", "heads", name] => ("branch", name),
                ["refs", "tags", name] => ("tag", name),
                _ => ("ref", reference),
            };
            return Some((kind.to_owned(), name.to_owned()));
        }
        "create" | "delete" => (body["ref_type"].as_str()?, &body["ref"]),
        "commit_comment" => ("commit", &body["comment"]["commit_id"]),
        "status" => ("commit", &body["sha"]),
        "deployment" | "deployment_status" => ("deployment", &body["deployment"]["id"]),
        "deployment_review" | "workflow_run" => ("workflow_run", &body["workflow_run"]["id"]),
        "discussion" | "discussion_comment" => ("discussion", &body["discussion"]["id"]),
        "deploy_key" => ("deploy_key", &body["key"]["id"]),
        "branch_protection_rule" => (event, &body["rule"]["id"]),
        "label" if body["label"]["id"].is_null() => ("label", &body["label"]["name"]),
        "merge_group" => (event, &body["merge_group"]["head_ref"]),
        "meta" | "ping" => ("hook", &body["hook_id"]),
        "page_build" => (event, &body["id"]),
        "team" | "team_add" => ("team", &body["team"]["id"]),
        "workflow_dispatch" => ("workflow", &body["workflow"]),
        "code_scanning_alert" | "dependabot_alert" | "secret_scanning_alert" => {
            (event, &body["alert"]["number"])
        }
        "repository_vulnerability_alert" => (event, &body["alert"]["id"]),
        "check_run" | "check_suite" | "label" | "member" | "milestone" | "project"
        | "project_card" | "project_column" | "release" | "workflow_job" => {
            (event, &body[event]["id"])
        }
        "fork" | "gollum" | "public" | "repository" | "repository_dispatch" | "star" | "watch" => {
            return None;
        }
        _ => panic!("no expectation is written for the event `{event}`"),
    };
    Some((kind.to_owned(), text(id).expect("the thing has an id")))
}

fn github_micros(event: &str, body: &Value) -> Option<i128> {
    let first = |values: &[&Value]| values.iter().find_map(|value| micros(value));
    let action = body["action"].as_str().unwrap_or_default();
    match event {
        "push" => first(&[&body["head_commit"]["timestamp"], &body["repository"]["pushed_at"]]),
        "create" | "delete" => micros(&body["repository"]["pushed_at"]),
        "issues" => micros(&body["issue"]["updated_at"]),
        "issue_comment" | "commit_comment" | "pull_request_review_comment" => {
            micros(&body["comment"]["updated_at"])
        }
        "discussion_comment" => micros(&body["comment"]["updated_at"]),
        "pull_request_review" => micros(&body["review"]["submitted_at"]),
        "pull_request_review_thread" => {
            first(&[&body["updated_at"], &body["pull_request"]["updated_at"]])
        }
        "status" => micros(&body["updated_at"]),
        "star" => micros(&body["starred_at"]),
        "marketplace_purchase" => micros(&body["effective_date"]),
        "check_run" => {
            first(&[&body["check_run"]["completed_at"], &body["check_run"]["started_at"]])
        }
        "workflow_job" => ["completed_at", "started_at", "created_at"]
            .iter()
            .find_map(|key| micros(&body["workflow_job"][key])),
        "release" => {
            let release = &body["release"];
            let by_action = match action {
                "created" => &release["created_at"],
                "published" | "released" | "prereleased" => &release["published_at"],
                _ => &Value::Null,
            };
            first(&[&release["updated_at"], by_action])
        }
        "fork" => micros(&body["forkee"]["created_at"]),
        "deploy_key" => micros(&body["key"]["created_at"]),
        "branch_protection_rule" => micros(&body["rule"]["updated_at"]),
        "page_build" => micros(&body["build"]["updated_at"]),
        "meta" | "ping" => micros(&body["hook"]["updated_at"]),
        "merge_group" => micros(&body["merge_group"]["head_commit"]["timestamp"]),
        "deployment_review" => micros(&body["workflow_run"]["updated_at"]),
        "public" | "repository" => micros(&body["repository"]["updated_at"]),
        "team" | "team_add" => micros(&body["team"]["updated_at"]),
        "secret_scanning_alert" => {
            first(&[&body["alert"]["updated_at"], &body["alert"]["created_at"]])
        }
        "code_scanning_alert" | "dependabot_alert" | "repository_vulnerability_alert" => {
            micros(&body["alert"]["updated_at"])
        }
        "installation" | "installation_repositories" | "integration_installation" => {
            micros(&body["installation"]["updated_at"])
        }
        "github_app_authorization"
        | "gollum"
        | "label"
        | "member"
        | "membership"
        | "org_block"
        | "organization"
        | "repository_dispatch"
        | "sponsorship"
        | "watch"
        | "workflow_dispatch" => None,
        _ => micros(&body[event]["updated_at"]),
    }
}

/// Expects what Stripe's docs say of an event, with the order of actors that `stripe.rs` documents.
pub(crate) fn stripe(body: &Value) -> Expected {
    let (object, related) = (&body["data"]["object"], &body["related_object"]);
    let customer = if object["object"] == "customer" {
        text(&object["id"])
    } else if related["type"] == "customer" {
        text(&related["id"])
    } else {
        text(&object["customer"]).or_else(|| text(&object["customer"]["id"]))
    };
    let account = text(&body["account"]).or_else(|| text(&body["context"]));
    let request = text(&body["request"])
        .or_else(|| text(&body["request"]["id"]))
        .or_else(|| text(&body["reason"]["request"]["id"]));
    let event_type = body["type"].as_str().unwrap();
    let kind = text(&object["object"]).or_else(|| text(&related["type"]));
    let id = text(&object["id"]).or_else(|| text(&related["id"]));
    Expected {
        event_type: event_type.to_owned(),
        actor: customer.clone().or_else(|| account.clone()).or(request).unwrap_or_default(),
        resource: (
            kind.unwrap_or_else(|| event_type[..event_type.rfind('.').unwrap()].to_owned()),
            id.or(customer).or(account).unwrap_or_default(),
        ),
        micros: micros(&body["created"]),
    }
}
