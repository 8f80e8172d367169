//! Errors as gRPC statuses: one place that says which code each has, and whether what was asked may have happened.

use hookline_core::{pattern::PatternSet, text::cut};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    auth::Scope,
    broker::{
        CreateError, DeadLetterError, LookupError, NoAnswer, ReplayError, SeekError, UpdateError,
    },
    limits::{RETRY_DELAY, SHOWN_RULE_BYTES_MAX, SUBSCRIPTIONS_MAX},
    store::{AppendError, CommitError, ReadError},
};

/// INVALID_ARGUMENT: a field of the request is not what it must be. Nothing was changed.
pub(super) fn invalid(field: impl Into<String>, problem: impl ToString) -> Status {
    let (field, problem) = (field.into(), problem.to_string());
    let message = format!("`{field}`: {problem}");
    let details = ErrorDetails::with_bad_request_violation(field, problem);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// PERMISSION_DENIED: the token has none of these scopes. Nothing was changed.
pub(super) fn no_scope(needed: &[Scope]) -> Status {
    let names: Vec<_> = needed.iter().map(|scope| format!("`{scope}`")).collect();
    let names = names.join(" or ");
    Status::permission_denied(format!("the token has no scope {names}; nothing was changed"))
}

/// PERMISSION_DENIED: the token does not have a scope for this. Nothing was changed.
pub(super) fn out_of_scope(scope: Scope, what: &impl std::fmt::Display) -> Status {
    let what = cut_short(&what.to_string());
    Status::permission_denied(format!(
        "the token has no scope `{scope}` for {what}; nothing was changed"
    ))
}

/// UNAVAILABLE: come back.
pub(super) fn unavailable(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// Too much is read at once.
pub(super) fn overloaded() -> Status {
    unavailable("the hub reads too many large requests at once; nothing was changed")
}

/// NOT_FOUND: a subscription.
pub(super) fn unknown_subscription(name: &str) -> Status {
    Status::not_found(format!("there is no subscription `{name}`"))
}

/// The hub is stopping.
pub(super) fn stopping() -> Status {
    unavailable("the hub is stopping; nothing was changed")
}

/// A subscription gave no answer to a Subscribe: it may have heard of the stream, which took over the consumer's name.
pub(super) fn no_stream(error: NoAnswer) -> Status {
    unavailable(format!("{error}; an older stream of the consumer may have been ended"))
}

pub(super) fn read_failed(error: &ReadError) -> Status {
    match error {
        ReadError::Unavailable(_) => unavailable(error.to_string()),
        ReadError::Damaged(_) => {
            tracing::error!(%error, "a read failed");
            Status::data_loss(error.to_string())
        }
    }
}

pub(super) fn commit_failed(error: &CommitError) -> Status {
    match error {
        CommitError::Missing => Status::not_found(error.to_string()),
        CommitError::Fenced => Status::aborted(error.to_string()),
        CommitError::Unavailable(_) => {
            tracing::error!(%error, "a commit failed");
            unavailable(format!("{error}; it may have happened"))
        }
        CommitError::Closed => unavailable(format!("{error}; nothing was changed")),
    }
}

pub(super) fn append_failed(error: &AppendError) -> Status {
    match error {
        AppendError::Unavailable(_) => {
            tracing::error!(%error, "an append failed");
            unavailable(format!("{error}; it may have happened"))
        }
        AppendError::Full | AppendError::Closed => {
            unavailable(format!("{error}; nothing was changed"))
        }
    }
}

/// A subscription was not made, or a watch has no place to begin.
pub(super) fn create_failed(error: &CreateError) -> Status {
    match error {
        CreateError::Exists(identity) => Status::already_exists(format!(
            "subscription `{}` exists with other content: it takes {} with the filter `{}`, and began after \
             sequence {}",
            identity.name,
            shown(&identity.rule.patterns),
            cut_short(identity.rule.filter_text()),
            identity.start_after
        )),
        CreateError::OutOfRange { .. } => Status::out_of_range(format!("`start`: {error}")),
        CreateError::TooMany => Status::resource_exhausted(format!(
            "there are {SUBSCRIPTIONS_MAX} subscriptions, which is the most"
        )),
        CreateError::Draining => stopping(),
        CreateError::Read(error) => read_failed(error),
        CreateError::Commit(error) => commit_failed(error),
    }
}

pub(super) fn lookup_failed(error: LookupError) -> Status {
    match error {
        LookupError::NoAnswer(error) => unavailable(format!("{error}; nothing was changed")),
        LookupError::Read(error) => read_failed(&error),
    }
}

/// A subscription was made, or was there as asked for, and can't be shown.
pub(super) fn unseen(error: &LookupError) -> Status {
    unavailable(format!("the subscription was created, and can't be shown: {error}"))
}

/// Returns patterns for a message, which shows no more of them than fits one.
pub(super) fn shown(patterns: &PatternSet) -> String {
    cut_short(&patterns.to_string())
}

/// Returns as much of patterns or a filter as fits a message.
pub(super) fn cut_short(text: &str) -> String {
    let rest = if SHOWN_RULE_BYTES_MAX < text.len() { "..." } else { "" };
    cut(text.to_owned(), SHOWN_RULE_BYTES_MAX) + rest
}

/// A subscription was not changed.
pub(super) fn update_failed(name: &str, error: UpdateError<Status>) -> Status {
    match error {
        UpdateError::Unknown => unknown_subscription(name),
        UpdateError::Refused(status) => status,
        UpdateError::Busy => Status::failed_precondition(format!("{error}; nothing was changed")),
        UpdateError::TooMany => Status::resource_exhausted(format!("{error}; nothing was changed")),
        UpdateError::NoAnswer(error) => {
            unavailable(format!("{error}; the subscription may have been changed"))
        }
    }
}

/// A position was not moved.
pub(super) fn seek_failed(name: &str, error: SeekError) -> Status {
    match error {
        SeekError::Unknown => unknown_subscription(name),
        SeekError::Place(CreateError::OutOfRange { .. }) => {
            Status::out_of_range(format!("`to`: {error}"))
        }
        SeekError::Place(error) => create_failed(&error),
        SeekError::NoAnswer(error) => {
            unavailable(format!("{error}; the position may have been moved"))
        }
    }
}

/// Events were not replayed, or not all of them.
pub(super) fn replay_failed(name: &str, error: ReplayError) -> Status {
    match error {
        ReplayError::Unknown => unknown_subscription(name),
        ReplayError::Busy | ReplayError::NoAnswer(_) => {
            unavailable(format!("{error}; some events may have been replayed"))
        }
        ReplayError::Read(error) => read_failed(&error),
    }
}

/// Nothing, or not all, was done that was asked of dead letters.
pub(super) fn dead_letters_failed(error: DeadLetterError, done: &str) -> Status {
    match error {
        DeadLetterError::UnknownSubscription(name) => unknown_subscription(name.as_str()),
        DeadLetterError::NoAnswer(error) => {
            unavailable(format!("{error}; some dead letters may have been {done}"))
        }
        DeadLetterError::Read(error) => read_failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_in_a_message_are_cut() {
        let set = |count: usize| {
            let patterns: Vec<_> =
                (0..count).map(|number| format!("github/{}{number}", "x".repeat(200))).collect();
            PatternSet::parse(&patterns).unwrap()
        };
        assert_eq!(shown(&set(1)), set(1).to_string());
        let cut = shown(&set(100));
        assert!(cut.ends_with("..."), "{cut}");
        assert_eq!(cut.len(), SHOWN_RULE_BYTES_MAX + 3);
    }

    #[test]
    fn who_gets_no_answer_learns_what_may_have_happened() {
        let looked = lookup_failed(LookupError::NoAnswer(NoAnswer));
        assert!(looked.message().ends_with("; nothing was changed"), "{looked}");
        let created = unseen(&LookupError::NoAnswer(NoAnswer));
        assert!(created.message().starts_with("the subscription was created"), "{created}");
        for status in [looked, created, no_stream(NoAnswer)] {
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.get_details_retry_info().is_some());
        }
    }
}
