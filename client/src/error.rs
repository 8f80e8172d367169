//! What can go wrong, one enum per thing that is tried.

use std::time::Duration;

use tonic::{Code, Status};

/// Why a client could not be made, or why a stream of deliveries ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the hub can't be read.
    #[error("`{endpoint}` is not an address of a hub, such as `http://127.0.0.1:4160`")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
        /// Why it can't be read.
        source: tonic::transport::Error,
    },
    /// The token is no text that a header can hold. It is not shown.
    #[error("the token is not one: it must be printable ASCII without spaces")]
    InvalidToken,
    /// The first Subscribe got no answer in the time that the builder allows for it. Whether the
    /// subscription was created is not known; subscribing again is safe.
    #[error("could not subscribe to `{subscription}`: the hub did not answer")]
    Unreachable {
        /// The subscription's name; empty for an ephemeral one.
        subscription: String,
        /// The last failure.
        source: Box<Status>,
    },
    /// A newer stream under the same consumer name took over. Its process now gets the events.
    #[error("another stream under the consumer name `{consumer}` took over")]
    TakenOver {
        /// The consumer's name.
        consumer: String,
        /// What the hub said.
        source: Box<Status>,
    },
    /// The subscription does not exist, or was deleted.
    #[error("subscription `{subscription}` does not exist")]
    NotFound {
        /// The subscription's name.
        subscription: String,
        /// What the hub said.
        source: Box<Status>,
    },
    /// The hub refuses to serve this subscription as asked for: trying again would not help.
    #[error("the hub refused to serve subscription `{subscription}`")]
    Refused {
        /// The subscription's name; empty for an ephemeral one.
        subscription: String,
        /// What the hub said.
        source: Box<Status>,
    },
}

impl Error {
    /// Returns what the hub said, if it did.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::InvalidEndpoint { .. } | Self::InvalidToken => None,
            Self::Unreachable { source, .. }
            | Self::TakenOver { source, .. }
            | Self::NotFound { source, .. }
            | Self::Refused { source, .. } => Some(source),
        }
    }

    /// Makes the error that ends a stream from a status after which nobody should come back.
    pub(crate) fn of_stream(subscription: &str, consumer: &str, status: Status) -> Self {
        let (subscription, source) = (subscription.to_owned(), Box::new(status));
        let code = source.code();
        if code == Code::Aborted {
            Self::TakenOver { consumer: consumer.to_owned(), source }
        } else if code == Code::NotFound {
            Self::NotFound { subscription, source }
        } else if is_passing(code) {
            Self::Unreachable { subscription, source }
        } else {
            Self::Refused { subscription, source }
        }
    }
}

/// Why an ack, a nack or an extension did not do what it says.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The lease was over: ended by a deadline, another lease, a seek, a redrive or a delete.
    /// Nothing was changed; somebody else may work on the event, or may have.
    #[error("the lease is over: {message}")]
    Stale {
        /// What the hub said.
        message: String,
    },
    /// The lease was settled otherwise before; that stands.
    #[error("the lease was settled otherwise before: {message}")]
    Conflict {
        /// What the hub said.
        message: String,
    },
    /// The hub does not know such a lease id.
    #[error("the hub does not know the lease: {message}")]
    Invalid {
        /// What the hub said.
        message: String,
    },
    /// The hub refused the call. Nothing was changed.
    #[error("the hub refused the call")]
    Refused {
        /// What the hub said.
        source: Box<Status>,
    },
    /// No answer in time. It may have been applied all the same.
    #[error("not confirmed within {waited:?}: it may have been applied all the same")]
    TimedOut {
        /// How long it was tried.
        waited: Duration,
        /// The last failure, if there was one.
        source: Option<Box<Status>>,
    },
    /// The runtime ended before the answer came. It may have been applied all the same.
    #[error(
        "the client was shut down before the answer came: it may have been applied all the same"
    )]
    Closed,
}

/// Returns whether a call or a stream that ended so is worth another try.
pub(crate) const fn is_passing(code: Code) -> bool {
    match code {
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => false,
    }
}

/// Returns the reason that a nack should carry for an error: its text and those of its causes,
/// joined by `: `. A cause that the text before it ends with already is not told twice.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.take(crate::limits::CAUSE_COUNT_MAX) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Cuts a text at the last whole character within `bytes_max`.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Self>>);

    fn told(texts: &[&'static str]) -> Told {
        let (first, rest) = texts.split_first().unwrap();
        Told(first, (!rest.is_empty()).then(|| Box::new(told(rest))))
    }

    #[test]
    fn a_chain_is_told_from_the_outside_in() {
        let cases: [(&[&'static str], &str); 4] = [
            (&["a"], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a: b", "b", "c"], "a: b: c"),
            (&["a", ""], "a"),
        ];
        for (texts, whole) in cases {
            assert_eq!(chain(&told(texts)), whole);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aßc".to_owned(), 2), "a");
        assert_eq!(cut("aßc".to_owned(), 3), "aß");
        assert_eq!(cut("aßc".to_owned(), 9), "aßc");
    }
}
