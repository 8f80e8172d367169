//! Which dead letters a command is about.

use clap::ValueEnum;
use hookline_client::proto::{DeadLetterReason, DeadLetterSelector};
use hookline_core::time::Timestamp;

use crate::cli::{tail::read_pattern, time_arg::read_time};

/// Which dead letters: those that all given conditions hold for.
#[derive(Debug, clap::Args)]
pub(super) struct Selector {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    conditions: Conditions,
}

/// Whose dead letters: so that none change by mistake, it must be said.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Whose {
    /// Those of this subscription
    #[arg(long, short, value_name = "NAME")]
    subscription: Option<String>,
    /// Those with these ids
    #[arg(long = "id", value_name = "ID", num_args = 1..)]
    ids: Vec<String>,
}

/// What must hold for dead letters.
#[derive(Debug, clap::Args)]
pub(super) struct Conditions {
    /// Only those given up for this reason
    #[arg(long, value_enum)]
    reason: Option<Reason>,
    /// Only those whose events match one of these patterns
    #[arg(long = "pattern", value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    /// Only those given up at this time or later, such as 2026-11-23T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    since: Option<Timestamp>,
    /// Only those given up before this time
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    until: Option<Timestamp>,
    /// Only those with this cause, as `dead-letters summary` shows it
    #[arg(long, value_name = "CAUSE", default_value = "", hide_default_value = true)]
    cause: String,
    /// Only those whose last attempt failed with this class of error
    #[arg(long, value_name = "CLASS", default_value = "", hide_default_value = true)]
    error_type: String,
}

/// Why a delivery was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// As many attempts failed as the policy allows
    MaxAttempts,
    /// An agent gave it up
    Rejected,
    /// The subscription's filter failed on it
    FilterError,
    /// It was too old to be kept in the log
    Retention,
}

impl From<Reason> for DeadLetterReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::MaxAttempts => Self::MaxAttempts,
            Reason::Rejected => Self::Rejected,
            Reason::FilterError => Self::FilterError,
            Reason::Retention => Self::Retention,
        }
    }
}

/// Returns a reason in the words of `--reason`.
pub(super) const fn reason(reason: DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::Unspecified => "unknown",
        DeadLetterReason::MaxAttempts => "max-attempts",
        DeadLetterReason::Rejected => "rejected",
        DeadLetterReason::FilterError => "filter-error",
        DeadLetterReason::Retention => "retention",
    }
}

impl Selector {
    /// Returns it as the contract has it.
    pub(super) fn proto(&self) -> DeadLetterSelector {
        let Whose { subscription, ids } = &self.whose;
        DeadLetterSelector { ids: ids.clone(), ..self.conditions.proto(subscription.as_deref()) }
    }
}

impl Conditions {
    /// Returns the selector of those of one subscription that these hold for, or of all.
    pub(super) fn proto(&self, subscription: Option<&str>) -> DeadLetterSelector {
        let reason = self.reason.map_or(DeadLetterReason::Unspecified, Into::into);
        DeadLetterSelector {
            subscription: subscription.unwrap_or_default().to_owned(),
            ids: Vec::new(),
            reason: reason.into(),
            patterns: self.patterns.clone(),
            start_time: self.since.map(time),
            end_time: self.until.map(time),
            cause: self.cause.clone(),
            error_type: self.error_type.clone(),
        }
    }
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, micros) =
        (time.as_micros().div_euclid(1_000_000), time.as_micros().rem_euclid(1_000_000));
    let nanos = i32::try_from(micros * 1_000).expect("less than a second");
    prost_types::Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &str) -> Result<Selector, clap::Error> {
        let command = Selector::augment_args(Command::new("redrive").no_binary_name(true));
        let arguments = arguments.split_whitespace();
        Selector::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn whose_must_be_said() {
        for wrong in ["", "--reason rejected", "-s x --pattern A/b", "-s x --since soon"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_flag_gets_into_the_selector() {
        let selector = parse(
            "--subscription s --id a b --id c --reason max-attempts --pattern x/y \
             --since 1970-01-01T00:00:01.5Z --until 2 --cause no-<n> --error-type E",
        );
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let expected = DeadLetterSelector {
            subscription: "s".to_owned(),
            ids: ["a", "b", "c"].map(str::to_owned).to_vec(),
            reason: DeadLetterReason::MaxAttempts.into(),
            patterns: vec!["x/y".to_owned()],
            start_time: at(1, 500_000_000),
            end_time: at(2, 0),
            cause: "no-<n>".to_owned(),
            error_type: "E".to_owned(),
        };
        assert_eq!(selector.unwrap().proto(), expected);
    }

    #[test]
    fn reasons_are_the_words_that_are_shown() {
        for value in Reason::value_variants() {
            let word = value.to_possible_value().unwrap();
            assert_eq!(word.get_name(), reason((*value).into()));
        }
    }
}
