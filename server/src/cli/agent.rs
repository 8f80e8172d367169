//! `hookline agent`: a program for each event.

mod child;
mod stop;

use std::{ffi::OsString, num::NonZeroUsize, sync::Arc, time::Duration};

use hookline_client::{Deliveries, Delivery, Nack};

use self::{
    child::{End, Program},
    stop::Stop,
};
use super::{
    CommandError, chain,
    hub::{self, Address},
    say_error,
    tail::{PAYLOAD_BYTES_MAX, read_pattern},
    time_arg::read_duration,
};
use crate::limits::IN_FLIGHT_MAX;

/// The program says that the event will never do: `EX_DATAERR` of sysexits.h.
const EXIT_DATA: i32 = 65;
/// How long the hub may take to confirm what was said at the end, beyond the programs' own grace.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long the first try to reach the hub goes on: an agent may be started beside it.
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  # A shell command for each new issue, four at a time
  hookline agent --subscription triage 'github/issues.opened' --concurrency 4 \\
    --exec 'jq -r .payload.issue.title | ./triage.sh'

  # A program with arguments, on a subscription that exists
  hookline agent --subscription review -- python3 review.py --verbose

What the program gets:
  Standard input: the event as one JSON object, as of `hookline tail --json`; the body is `.payload`.
  HOOKLINE_EVENT_ID, HOOKLINE_SUBJECT, HOOKLINE_SEQUENCE, HOOKLINE_ACTOR, HOOKLINE_RESOURCE_TYPE,
  HOOKLINE_RESOURCE_ID, HOOKLINE_SUBSCRIPTION, HOOKLINE_CONSUMER, HOOKLINE_ATTEMPT (from 1),
  HOOKLINE_MAX_ATTEMPTS, HOOKLINE_LEASE_ID, HOOKLINE_ADDRESS; TRACEPARENT, if the event belongs to a trace.

How its end is understood:
  0      done (ack)
  65     hopeless: a dead letter at once (EX_DATAERR)
  other  failed (nack), such as 75 (EX_TEMPFAIL) or a signal: it comes again after the backoff
  The last 4 KiB of its standard error stream are the reason.";

/// Runs a program for each event of a subscription.
///
/// Leases are extended while a program runs, up to the subscription's `max_lease`. When a lease is lost, or at SIGTERM or Ctrl-C, the
/// program and what it started get SIGTERM, and SIGKILL after --grace; its event is given back, uncounted, however it ended.
/// A second Ctrl-C kills at once. The program's output goes to ours.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("what").args(["exec", "program"]).required(true)))]
pub(super) struct Args {
    /// Patterns of subjects: the subscription is made with them if it does not exist [default: it must exist]
    #[arg(value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    address: Address,
    /// The subscription's name; agents with the same one share its events
    #[arg(long, short, value_name = "NAME")]
    subscription: String,
    /// A CEL expression that events must make true, with PATTERN
    #[arg(long, value_name = "EXPRESSION", requires = "patterns")]
    filter: Option<String>,
    /// The command, for `sh -c`
    #[arg(long, value_name = "COMMAND")]
    exec: Option<OsString>,
    /// The program and its arguments, after `--`
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
    /// How many programs may run at once
    #[arg(long, short, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX)))]
    concurrency: u32,
    /// The consumer's name [default: unique to this process]
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// How long a program may take to end after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = read_duration)]
    grace: Duration,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let stop = Stop::on_signals()?;
    let mut builder = args
        .address
        .client()?
        .subscription(&args.subscription)
        .patterns(&args.patterns)
        .max_in_flight(args.concurrency)
        .max_payload_bytes(PAYLOAD_BYTES_MAX)
        .wait_for_hub(PATIENCE)
        .stop_grace(args.grace.saturating_add(CLOSE_TIME));
    if let Some(filter) = &args.filter {
        builder = builder.filter(filter);
    }
    if let Some(consumer) = &args.consumer {
        builder = builder.consumer(consumer);
    }
    let deliveries = tokio::select! {
        biased;
        () = stop.begun() => return Ok(()),
        deliveries = builder.subscribe() => deliveries.map_err(|error| not_served(&error))?,
    };
    let concurrency = usize::try_from(args.concurrency).ok().and_then(NonZeroUsize::new);
    let agent = Agent::new(&args, &deliveries, stop.clone());
    let ended =
        work(deliveries, concurrency.unwrap_or(NonZeroUsize::MIN), Arc::new(agent), stop.clone());
    let ended = ended.await;
    if let Some(error) = stop.failure() {
        return Err(CommandError::Program { program: program_name(&args), source: error });
    }
    ended.map_err(|error| not_served(&error))
}

/// Returns why there is no stream of deliveries, in the hub's words.
fn not_served(error: &hookline_client::Error) -> CommandError {
    let told = error.status().map(|status| format!(": {}", hub::told(status)));
    CommandError::Subscription(format!("{error}{}", told.unwrap_or_default()))
}

async fn work(
    deliveries: Deliveries,
    concurrency: NonZeroUsize,
    agent: Arc<Agent>,
    stop: Stop,
) -> Result<(), hookline_client::Error> {
    let handler = move |delivery| {
        let agent = Arc::clone(&agent);
        async move {
            agent.handle(delivery).await;
            Ok::<_, std::convert::Infallible>(())
        }
    };
    deliveries.run_until(concurrency.get(), handler, async move { stop.begun().await }).await
}

fn program_name(args: &Args) -> String {
    let name = if args.exec.is_some() { None } else { args.program.first() };
    name.map_or_else(|| "sh".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What all events have in common.
struct Agent {
    program: Program,
    stop: Stop,
}

impl Agent {
    fn new(args: &Args, deliveries: &Deliveries, stop: Stop) -> Self {
        let command = args.exec.as_ref().map_or_else(
            || args.program.clone(),
            |command| vec!["sh".into(), "-c".into(), command.clone()],
        );
        let variables = vec![
            ("HOOKLINE_SUBSCRIPTION", deliveries.ready().subscription.clone()),
            ("HOOKLINE_CONSUMER", deliveries.consumer().to_owned()),
            ("HOOKLINE_ADDRESS", args.address.to_string()),
        ];
        Self { program: Program { command, variables, grace: args.grace }, stop }
    }

    /// Runs the program for one event, and says how it ended.
    async fn handle(&self, delivery: Delivery) {
        let end = self.program.run(&delivery, &self.stop).await;
        let (id, settling) = (delivery.event().id.clone(), settle(delivery, end, &self.stop));
        if let Some(settling) = settling
            && let Err(error) = settling.await
        {
            say_error(&format!("event {id}: {}", chain(&error)));
        }
    }
}

/// Says what the end of a program means; nothing where the lease is lost.
fn settle(delivery: Delivery, end: End, stop: &Stop) -> Option<hookline_client::Settling> {
    let id = delivery.event().id.clone();
    match end {
        End::Exited { code: Some(0), .. } => Some(delivery.ack()),
        End::Exited { code: Some(EXIT_DATA), .. } => {
            say_error(&format!("event {id}: exit code {EXIT_DATA}, a dead letter"));
            Some(delivery.nack_with(failure(&end).action(hookline_client::NackAction::DeadLetter)))
        }
        End::Exited { .. } => {
            let nack = failure(&end);
            say_error(&format!("event {id}: {}, attempt {}", nack.error_type, delivery.attempt()));
            Some(delivery.nack_with(nack))
        }
        End::Stopped => Some(delivery.release()),
        End::Lost(reason) => {
            say_error(&format!("event {id}: the lease is lost: {reason}"));
            None
        }
        End::NotStarted(error) => {
            stop.fail(error);
            Some(delivery.release())
        }
    }
}

/// Returns how a failure is told to the hub: the end of what the program said, and how it ended.
fn failure(end: &End) -> Nack {
    let End::Exited { code, signal, said } = end else { return Nack::new("") };
    let how = match (code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    };
    let said = said.trim();
    let reason =
        if said.is_empty() { format!("the program ended with {how}") } else { said.to_owned() };
    Nack::new(reason).error_type(how)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("agent").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn what_to_run_is_a_command_or_a_program() {
        let args = parse(&["-s", "x", "a/b", "!a/c", "--", "prog", "--flag", "-"]).unwrap();
        assert_eq!(args.patterns, ["a/b", "!a/c"]);
        assert_eq!(args.program, ["prog", "--flag", "-"]);
        assert_eq!((program_name(&args).as_str(), args.concurrency), ("prog", 1));
        assert_eq!(program_name(&parse(&["-s", "x", "--exec", "true"]).unwrap()), "sh");
        for wrong in [
            &["-s", "x"][..],
            &["--exec", "true"],
            &["-s", "x", "--exec", "true", "--", "prog"],
            &["-s", "x", "--exec", "true", "--concurrency", "0"],
            &["-s", "x", "--exec", "true", "--filter", "true"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_failure_is_told_by_what_the_program_said_last() {
        let exited = |code, signal, said: &str| End::Exited { code, signal, said: said.to_owned() };
        let nack = failure(&exited(Some(75), None, "no\nluck\n"));
        assert_eq!((nack.reason.as_str(), nack.error_type.as_str()), ("no\nluck", "exit code 75"));
        let nack = failure(&exited(None, Some(9), " \n"));
        assert_eq!(nack.reason, "the program ended with signal 9");
    }
}
