//! A subscription's policy on the command line: a flag for each field.

use std::time::Duration;

use clap::ValueEnum;
use hookline_client::proto::{self, SubscriptionPolicy};

use crate::cli::time_arg::{read_duration, wire_duration};

/// How a subscription leases and retries. The hub knows the bounds of each.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Policy")]
pub(super) struct PolicyFlags {
    /// How long a consumer has before it must ack, nack or extend [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    lease_duration: Option<Duration>,
    /// How long one attempt may last with extensions [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    max_lease: Option<Duration>,
    /// How many attempts may fail before the event is a dead letter [default: 5]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// The wait after the first failure [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    initial_backoff: Option<Duration>,
    /// The longest wait between two attempts [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    max_backoff: Option<Duration>,
    /// By how much each wait is longer than the one before [default: 2]
    #[arg(long, value_name = "FACTOR")]
    backoff_multiplier: Option<f64>,
    /// By which part a wait is made longer or shorter at random, 0 to 1 [default: 0.2]
    #[arg(long, value_name = "PART")]
    jitter: Option<f64>,
    /// In which order events are handed out [default: none]
    #[arg(long, value_enum)]
    ordering: Option<Ordering>,
    /// How many of its oldest open events a resource may have under leases, with `--ordering resource` [default: 1]
    #[arg(long, value_name = "N")]
    max_in_flight_per_resource: Option<u32>,
    /// Whether a newer event replaces older ones of its resource that nobody has begun [default: none]
    #[arg(long, value_enum)]
    coalesce: Option<Coalesce>,
    /// How long no newer event must have come, with `--coalesce debounce` [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    debounce_quiet: Option<Duration>,
    /// How long the first event waits at most, with `--coalesce debounce` [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    debounce_max_wait: Option<Duration>,
    /// How long the leases of a consumer without a stream are kept [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    reconnect_grace: Option<Duration>,
    /// How many leases are given per second on average; 0: no limit [default: 0]
    #[arg(long, value_name = "RATE")]
    max_per_second: Option<f64>,
    /// How many leases may be given at once after a time without, with `--max-per-second` [default: that, rounded up]
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// After how many failures in a row no leases are given for a while; 0: never [default: 0]
    #[arg(long, value_name = "N")]
    breaker_failures: Option<u32>,
    /// How long that is [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    breaker_pause: Option<Duration>,
    /// Delete the subscription when nobody has used it for so long; 0s: never [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    expire_after: Option<Duration>,
}

/// In which order events are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ordering {
    /// As fast as consumers take them
    None,
    /// One event of each resource at a time, in the order of the log
    Resource,
}

/// Whether a newer event replaces older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Coalesce {
    /// Every event is handed out
    None,
    /// Only the newest event of each resource
    Latest,
    /// As latest, after the resource has been quiet for a while
    Debounce,
}

impl PolicyFlags {
    /// Returns the policy of the contract; what was not given is not set.
    pub(super) fn policy(&self) -> SubscriptionPolicy {
        let ordering = self.ordering.map_or(proto::Ordering::Unspecified, |it| match it {
            Ordering::None => proto::Ordering::Unspecified,
            Ordering::Resource => proto::Ordering::Resource,
        });
        let coalesce = self.coalesce.map_or(proto::Coalesce::Unspecified, |it| match it {
            Coalesce::None => proto::Coalesce::Unspecified,
            Coalesce::Latest => proto::Coalesce::Latest,
            Coalesce::Debounce => proto::Coalesce::Debounce,
        });
        SubscriptionPolicy {
            lease_duration: self.lease_duration.map(wire_duration),
            max_lease: self.max_lease.map(wire_duration),
            max_attempts: self.max_attempts,
            initial_backoff: self.initial_backoff.map(wire_duration),
            max_backoff: self.max_backoff.map(wire_duration),
            backoff_multiplier: self.backoff_multiplier,
            jitter: self.jitter,
            ordering: ordering.into(),
            max_in_flight_per_resource: self.max_in_flight_per_resource,
            coalesce: coalesce.into(),
            debounce_quiet: self.debounce_quiet.map(wire_duration),
            debounce_max_wait: self.debounce_max_wait.map(wire_duration),
            reconnect_grace: self.reconnect_grace.map(wire_duration),
            max_per_second: self.max_per_second,
            burst: self.burst,
            breaker_failures: self.breaker_failures,
            breaker_pause: self.breaker_pause.map(wire_duration),
            expire_after: self.expire_after.map(wire_duration),
        }
    }

    /// Returns the paths of the fields that were given, for a field mask.
    pub(super) fn paths(&self) -> Vec<String> {
        let given = [
            ("lease_duration", self.lease_duration.is_some()),
            ("max_lease", self.max_lease.is_some()),
            ("max_attempts", self.max_attempts.is_some()),
            ("initial_backoff", self.initial_backoff.is_some()),
            ("max_backoff", self.max_backoff.is_some()),
            ("backoff_multiplier", self.backoff_multiplier.is_some()),
            ("jitter", self.jitter.is_some()),
            ("ordering", self.ordering.is_some()),
            ("max_in_flight_per_resource", self.max_in_flight_per_resource.is_some()),
            ("coalesce", self.coalesce.is_some()),
            ("debounce_quiet", self.debounce_quiet.is_some()),
            ("debounce_max_wait", self.debounce_max_wait.is_some()),
            ("reconnect_grace", self.reconnect_grace.is_some()),
            ("max_per_second", self.max_per_second.is_some()),
            ("burst", self.burst.is_some()),
            ("breaker_failures", self.breaker_failures.is_some()),
            ("breaker_pause", self.breaker_pause.is_some()),
            ("expire_after", self.expire_after.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        given.map(|(name, _)| format!("policy.{name}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &str) -> PolicyFlags {
        let command = PolicyFlags::augment_args(Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments.split_whitespace()).unwrap();
        PolicyFlags::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn every_field_has_a_flag_and_a_path() {
        let flags = parse(
            "--lease-duration 30s --max-lease 2h --max-attempts 3 --initial-backoff 5s --max-backoff 5m \
             --backoff-multiplier 1.5 --jitter 0 --ordering resource --max-in-flight-per-resource 2 \
             --coalesce debounce --debounce-quiet 250ms --debounce-max-wait 10s --reconnect-grace 20s \
             --max-per-second 0.5 --burst 2 --breaker-failures 4 --breaker-pause 90s --expire-after 7d",
        );
        let secs = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let wanted = SubscriptionPolicy {
            lease_duration: secs(30),
            max_lease: secs(7_200),
            max_attempts: Some(3),
            initial_backoff: secs(5),
            max_backoff: secs(300),
            backoff_multiplier: Some(1.5),
            jitter: Some(0.0),
            ordering: proto::Ordering::Resource.into(),
            coalesce: proto::Coalesce::Debounce.into(),
            reconnect_grace: secs(20),
            max_in_flight_per_resource: Some(2),
            debounce_quiet: Some(prost_types::Duration { seconds: 0, nanos: 250_000_000 }),
            debounce_max_wait: secs(10),
            max_per_second: Some(0.5),
            burst: Some(2),
            breaker_failures: Some(4),
            breaker_pause: secs(90),
            expire_after: secs(604_800),
        };
        assert_eq!(flags.policy(), wanted);
        assert_eq!(flags.paths().len(), 18);
    }

    #[test]
    fn only_what_is_given_is_named() {
        assert_eq!(parse("--ordering none --burst 1").paths(), ["policy.ordering", "policy.burst"]);
        assert_eq!(parse("").policy(), SubscriptionPolicy::default());
    }
}
