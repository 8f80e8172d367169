//! Policies of requests: read, compared with the one in force, and changed field by field.

use std::time::Duration;

use hookline_core::delivery::{Breaker, Coalesce, Ordering, Policy, PolicyError, Rate};
use hookline_proto::v1;
use tonic::Status;

use super::{convert, fields::duration, status::invalid};

/// Reads a policy: what is not given takes its default.
pub(super) fn read(policy: Option<&v1::SubscriptionPolicy>) -> Result<Policy, Status> {
    let mut read = Policy::default();
    let Some(given) = policy else { return Ok(read) };
    let durations = [
        ("lease_duration", &given.lease_duration, &mut read.lease_duration),
        ("max_lease", &given.max_lease, &mut read.max_lease),
        ("initial_backoff", &given.initial_backoff, &mut read.initial_backoff),
        ("max_backoff", &given.max_backoff, &mut read.max_backoff),
        ("reconnect_grace", &given.reconnect_grace, &mut read.reconnect_grace),
    ];
    for (field, value, place) in durations {
        if let Some(value) = optional(field, value.as_ref())? {
            *place = value;
        }
    }
    read.max_attempts = given.max_attempts.unwrap_or(read.max_attempts);
    read.backoff_multiplier = given.backoff_multiplier.unwrap_or(read.backoff_multiplier);
    read.jitter = given.jitter.unwrap_or(read.jitter);
    // A longer lease or first wait than the default limit raises a limit that was not given.
    if given.max_lease.is_none() {
        read.max_lease = read.max_lease.max(read.lease_duration);
    }
    if given.max_backoff.is_none() {
        read.max_backoff = read.max_backoff.max(read.initial_backoff);
    }
    read.ordering = ordering(given)?;
    read.coalesce = coalesce(given)?;
    read.rate = rate(given)?;
    read.breaker = breaker(given)?;
    read.expire_after = optional("expire_after", given.expire_after.as_ref())?
        .filter(|expire_after| !expire_after.is_zero());
    let in_request = |error: PolicyError| of(error.field, format!("must be {}", error.bounds));
    read.check().map_err(in_request)?;
    Ok(read)
}

fn of(field: &str, problem: impl ToString) -> Status {
    invalid(format!("policy.{field}"), problem)
}

fn optional(
    field: &str,
    value: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Status> {
    value.map(|value| duration(&format!("policy.{field}"), value)).transpose()
}

/// Refuses a field that says nothing without another.
fn only_with(given: bool, field: &str, with: &str) -> Result<(), Status> {
    if given { Err(of(field, format!("only with `policy.{with}`"))) } else { Ok(()) }
}

fn ordering(given: &v1::SubscriptionPolicy) -> Result<Ordering, Status> {
    match v1::Ordering::try_from(given.ordering) {
        Ok(v1::Ordering::Unspecified) => {
            let at_once = given.max_in_flight_per_resource.is_some();
            only_with(at_once, "max_in_flight_per_resource", "ordering")?;
            Ok(Ordering::None)
        }
        Ok(v1::Ordering::Resource) => {
            let at_once = given.max_in_flight_per_resource.unwrap_or(1);
            Ok(Ordering::Resource { at_once })
        }
        Err(_) => Err(of("ordering", format!("{} is no ordering", given.ordering))),
    }
}

fn coalesce(given: &v1::SubscriptionPolicy) -> Result<Coalesce, Status> {
    let quiet = optional("debounce_quiet", given.debounce_quiet.as_ref())?;
    let max_wait = optional("debounce_max_wait", given.debounce_max_wait.as_ref())?;
    let coalesce = match v1::Coalesce::try_from(given.coalesce) {
        Ok(v1::Coalesce::Unspecified) => Coalesce::None,
        Ok(v1::Coalesce::Latest) => Coalesce::Latest,
        Ok(v1::Coalesce::Debounce) => return Ok(Coalesce::debounce(quiet, max_wait)),
        Err(_) => return Err(of("coalesce", format!("{} is no coalescing", given.coalesce))),
    };
    only_with(quiet.is_some(), "debounce_quiet", "coalesce` of `COALESCE_DEBOUNCE")?;
    only_with(max_wait.is_some(), "debounce_max_wait", "coalesce` of `COALESCE_DEBOUNCE")?;
    Ok(coalesce)
}

fn rate(given: &v1::SubscriptionPolicy) -> Result<Option<Rate>, Status> {
    let Some(per_second) = given.max_per_second.filter(|per_second| *per_second != 0.0) else {
        only_with(given.burst.is_some(), "burst", "max_per_second")?;
        return Ok(None);
    };
    Ok(Some(Rate::new(per_second, given.burst)))
}

fn breaker(given: &v1::SubscriptionPolicy) -> Result<Option<Breaker>, Status> {
    let pause = optional("breaker_pause", given.breaker_pause.as_ref())?;
    match given.breaker_failures.unwrap_or(0) {
        0 => {
            only_with(pause.is_some(), "breaker_pause", "breaker_failures")?;
            Ok(None)
        }
        failures => Ok(Some(Breaker::new(failures, pause))),
    }
}

/// A field of a policy: its name, whether two policies have the same value in it, and how it is taken from another.
struct Field {
    name: &'static str,
    is_given: fn(&v1::SubscriptionPolicy) -> bool,
    is_same: fn(&v1::SubscriptionPolicy, &v1::SubscriptionPolicy) -> bool,
    take: fn(&mut v1::SubscriptionPolicy, &v1::SubscriptionPolicy),
    /// The field without which this one says nothing.
    depends_on: Option<&'static str>,
}

macro_rules! field {
    ($name:ident, $none:expr $(, of $of:ident)?) => {
        Field {
            name: stringify!($name),
            is_given: |policy| policy.$name != $none,
            is_same: |one, other| one.$name == other.$name,
            take: |policy, from| policy.$name = from.$name,
            depends_on: field!(@of $($of)?),
        }
    };
    (@of) => { None };
    (@of $of:ident) => { Some(stringify!($of)) };
}

const FIELDS: [Field; 18] = [
    field!(lease_duration, None),
    field!(max_lease, None),
    field!(max_attempts, None),
    field!(initial_backoff, None),
    field!(max_backoff, None),
    field!(backoff_multiplier, None),
    field!(jitter, None),
    field!(ordering, 0),
    field!(coalesce, 0),
    field!(reconnect_grace, None),
    field!(max_in_flight_per_resource, None, of ordering),
    field!(debounce_quiet, None, of coalesce),
    field!(debounce_max_wait, None, of coalesce),
    field!(max_per_second, None),
    field!(burst, None, of max_per_second),
    field!(breaker_failures, None),
    field!(breaker_pause, None, of breaker_failures),
    field!(expire_after, None),
];

/// Returns the paths of the fields of a policy that were given and differ from the one in force.
pub(super) fn differing(given: Option<&v1::SubscriptionPolicy>, in_force: &Policy) -> Vec<String> {
    let Some(given) = given else { return Vec::new() };
    let in_force = convert::policy(in_force);
    let differs = |field: &&Field| (field.is_given)(given) && !(field.is_same)(given, &in_force);
    FIELDS.iter().filter(differs).map(|field| format!("policy.{}", field.name)).collect()
}

/// Returns the policy in force with the fields of `given` that are named, each as in `policy.max_attempts`; `policy` names
/// all. A named field that is not set takes its default; so does one that says nothing without a field that changes.
pub(super) fn changed(
    in_force: &Policy,
    given: Option<&v1::SubscriptionPolicy>,
    paths: &[&str],
) -> Result<Policy, Status> {
    if paths.contains(&"policy") {
        return read(given);
    }
    let (mut merged, none) = (convert::policy(in_force), v1::SubscriptionPolicy::default());
    let given = given.unwrap_or(&none);
    let named: Vec<_> = paths.iter().filter_map(|path| path.strip_prefix("policy.")).collect();
    for field in &FIELDS {
        if named.contains(&field.name) {
            (field.take)(&mut merged, given);
        } else if field.depends_on.is_some_and(|on| named.contains(&on)) {
            (field.take)(&mut merged, &none);
        }
    }
    read(Some(&merged))
}

/// Whether a path names a policy or a field of one.
pub(super) fn is_path(path: &str) -> bool {
    let field = path.strip_prefix("policy.");
    path == "policy" || field.is_some_and(|name| FIELDS.iter().any(|field| field.name == name))
}
