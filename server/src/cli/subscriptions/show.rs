//! `hookline subscriptions show`

use hookline_client::proto::{Coalesce, Ordering, Subscription, SubscriptionPolicy};
use hookline_core::time::Timestamp;

use super::list::{held, oldest};
use crate::cli::{
    CommandError,
    event_json::line,
    hub::Address,
    put,
    screen::Screen,
    send::now,
    subscription_json::SubscriptionJson,
    table::{Cell, facts},
    text::{self, Colour},
};

const EXAMPLES: &str = "\
Examples:
  # Patterns, filter, policy, positions, counts, consumers and holds
  hookline subscriptions show triage

  # How many attempts its events get, by machine
  hookline subscriptions show triage --json | jq .policy.max_attempts";

/// Shows everything about a subscription, with the policy in force.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    name: String,
    #[command(flatten)]
    address: Address,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let subscription = super::get(&client, &args.address, &args.name).await?;
    Ok(print(&subscription, args.json)?)
}

/// Prints everything about a subscription.
pub(super) fn print(subscription: &Subscription, json: bool) -> std::io::Result<()> {
    if json {
        return put(&line(&SubscriptionJson::new(subscription)));
    }
    let lines = lines(subscription, Screen::of_stdout(), now());
    lines.iter().try_for_each(|line| put(line))
}

fn lines(it: &Subscription, screen: Screen, now: Timestamp) -> Vec<String> {
    let position = it.position.unwrap_or_default();
    let counts = it.counts.unwrap_or_default();
    let consumers = match it.consumers.len() {
        0 => "none connected".to_owned(),
        count => format!("{count}: {}", it.consumers.join(", ")),
    };
    let open = format!(
        "{} ready, {} leased, {} waiting for their next attempt",
        counts.ready, counts.leased, counts.waiting
    );
    let place = format!(
        "log end {}, scanned to {}, done to {}, {} not scanned yet",
        position.log_end, position.scanned, position.done_floor, counts.unscanned
    );
    let dead = if counts.dead == 0 { Colour::Plain } else { Colour::Red };
    let mut told = vec![
        ("subscription", Cell::new(&it.name).in_colour(Colour::Bold)),
        ("patterns", it.patterns.join(" ").into()),
        ("filter", Cell::new(&it.filter)),
        ("created", text::time(it.created_at.as_ref()).unwrap_or_default().into()),
        ("position", place.into()),
        ("open", open.into()),
        ("dead letters", Cell::count(counts.dead).in_colour(dead)),
        ("oldest open", oldest(it).into()),
        ("held by", held(it, now)),
        ("consumers", consumers.into()),
    ];
    if let Some(policy) = &it.policy {
        told.extend(policy_facts(policy));
    }
    facts(&told, screen)
}

/// Returns the fields of a policy, by the flags that change them. Those that do nothing are left out.
fn policy_facts(policy: &SubscriptionPolicy) -> Vec<(&'static str, Cell)> {
    let duration = |value: &Option<prost_types::Duration>| value.as_ref().map(text::duration);
    let count = |value: Option<u32>| value.map(|value| value.to_string());
    let number = |value: Option<f64>| value.map(|value| value.to_string());
    let off = |text: Option<String>, off: &str, when: bool| {
        if when { Some(off.to_owned()) } else { text }
    };
    let ordering = match policy.ordering() {
        Ordering::Unspecified => "none",
        Ordering::Resource => "resource",
    };
    let coalesce = match policy.coalesce() {
        Coalesce::Unspecified => "none",
        Coalesce::Latest => "latest",
        Coalesce::Debounce => "debounce",
    };
    let no_rate = policy.max_per_second() == 0.0;
    let no_end = policy.expire_after.is_none_or(|after| after == prost_types::Duration::default());
    let fields = [
        ("lease-duration", duration(&policy.lease_duration)),
        ("max-lease", duration(&policy.max_lease)),
        ("max-attempts", count(policy.max_attempts)),
        ("initial-backoff", duration(&policy.initial_backoff)),
        ("max-backoff", duration(&policy.max_backoff)),
        ("backoff-multiplier", number(policy.backoff_multiplier)),
        ("jitter", number(policy.jitter)),
        ("ordering", Some(ordering.to_owned())),
        ("max-in-flight-per-resource", count(policy.max_in_flight_per_resource)),
        ("coalesce", Some(coalesce.to_owned())),
        ("debounce-quiet", duration(&policy.debounce_quiet)),
        ("debounce-max-wait", duration(&policy.debounce_max_wait)),
        ("reconnect-grace", duration(&policy.reconnect_grace)),
        ("max-per-second", off(number(policy.max_per_second), "no limit", no_rate)),
        ("burst", count(policy.burst)),
        (
            "breaker-failures",
            off(count(policy.breaker_failures), "never", policy.breaker_failures() == 0),
        ),
        ("breaker-pause", duration(&policy.breaker_pause)),
        ("expire-after", off(duration(&policy.expire_after), "never", no_end)),
    ];
    fields.into_iter().filter_map(|(name, text)| Some((name, text?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use hookline_client::proto::{DeliveryCounts, SubscriptionPosition};

    use super::*;

    #[test]
    fn everything_is_told_in_two_columns() {
        let subscription = Subscription {
            name: "triage".to_owned(),
            patterns: vec!["github/issues.*".to_owned()],
            policy: Some(SubscriptionPolicy {
                lease_duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                max_attempts: Some(5),
                ordering: Ordering::Resource.into(),
                max_per_second: Some(0.0),
                ..SubscriptionPolicy::default()
            }),
            position: Some(SubscriptionPosition { log_end: 12, scanned: 11, done_floor: 9 }),
            counts: Some(DeliveryCounts { ready: 1, leased: 1, ..DeliveryCounts::default() }),
            ..Subscription::default()
        };
        let lines = lines(&subscription, Screen::PLAIN, Timestamp::EPOCH);
        let width = "breaker-failures".len();
        for (name, value) in [
            ("subscription", "triage"),
            ("patterns", "github/issues.*"),
            ("filter", "-"),
            ("position", "log end 12, scanned to 11, done to 9, 0 not scanned yet"),
            ("open", "1 ready, 1 leased, 0 waiting for their next attempt"),
            ("dead letters", "0"),
            ("consumers", "none connected"),
            ("lease-duration", "1m"),
            ("max-attempts", "5"),
            ("ordering", "resource"),
            ("coalesce", "none"),
            ("max-per-second", "no limit"),
            ("breaker-failures", "never"),
        ] {
            let line = format!("{name:<width$}  {value}");
            assert!(lines.contains(&line), "no `{line}` in {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("burst")));
    }
}
