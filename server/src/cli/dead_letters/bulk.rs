//! Commands that change many dead letters: as many as one call takes, or all, call by call.

use serde::Serialize;

use crate::{
    cli::{
        CommandError,
        event_json::line,
        put,
        steps::{Interrupt, bar, step},
        text,
    },
    limits::{REDRIVE_DEFAULT, REDRIVE_MAX},
};

/// How many, and how it is told.
#[derive(Debug, clap::Args)]
pub(super) struct Amount {
    /// At most so many, the oldest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = REDRIVE_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(REDRIVE_MAX)))]
    limit: u32,
    /// All that there are now, in many calls; Ctrl-C ends it after the call that runs
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// With --all: at most so many a second
    #[arg(long, value_name = "N", requires = "all",
        value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Redrive,
    Purge,
}

/// What one call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) limit: u32,
    pub(super) dry_run: bool,
}

/// What has been done, by one call or by many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) count: u64,
    pub(super) remaining: u64,
}

impl Amount {
    /// Whether nothing is to be changed.
    pub(super) const fn only_counts(&self) -> bool {
        self.dry_run
    }

    /// Whether they may be more than one call takes.
    pub(super) const fn takes_all(&self) -> bool {
        self.all
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// Makes the calls, and tells what they did.
    pub(super) async fn carry_out(
        &self,
        deed: Deed,
        call: impl AsyncFn(Ask) -> Result<Done, CommandError>,
    ) -> Result<(), CommandError> {
        if !self.all {
            let done = call(Ask { limit: self.limit, dry_run: self.dry_run }).await?;
            return Ok(put(&self.told(deed, done, Ended::Itself))?);
        }
        // What dies again meanwhile is not taken a second time: an agent that still fails would never let it end.
        let found = call(Ask { limit: REDRIVE_MAX, dry_run: true }).await?;
        let total = found.count + found.remaining;
        if self.dry_run {
            let done = Done { count: total, remaining: 0 };
            return Ok(put(&self.told(deed, done, Ended::Itself))?);
        }
        let mut done = Done { count: 0, remaining: total };
        let ended = self.all_of(total, &mut done, call).await;
        match ended {
            Ok(ended) => put(&self.told(deed, done, ended))?,
            Err(_) if done.count == 0 => {}
            // What was done is done.
            Err(_) => put(&self.told(deed, done, Ended::Failed))?,
        }
        match ended? {
            Ended::Itself => Ok(()),
            Ended::Interrupted | Ended::Failed => Err(CommandError::Interrupted),
        }
    }

    async fn all_of(
        &self,
        total: u64,
        done: &mut Done,
        call: impl AsyncFn(Ask) -> Result<Done, CommandError>,
    ) -> Result<Ended, CommandError> {
        let bar = bar(total);
        let mut interrupt = Interrupt::new();
        while done.count < total {
            let left = u32::try_from(total - done.count).unwrap_or(u32::MAX);
            let (most, pause) = step(self.rate);
            let limit = most.min(left);
            // Begun before the call, so that what the call takes is part of it.
            let pause = tokio::time::sleep(pause);
            let step = interrupt.through(call(Ask { limit, dry_run: false })).await?;
            (done.count, done.remaining) = (done.count + step.count, step.remaining);
            bar.set_position(done.count);
            if step.count == 0 || step.remaining == 0 {
                break;
            }
            if interrupt.came() || (done.count < total && interrupt.during(pause).await) {
                bar.abandon();
                return Ok(Ended::Interrupted);
            }
        }
        bar.finish_and_clear();
        Ok(Ended::Itself)
    }

    fn told(&self, deed: Deed, done: Done, ended: Ended) -> String {
        let Done { count, remaining } = done;
        if self.json {
            return line(&Told {
                redriven_count: (deed == Deed::Redrive).then_some(count),
                purged_count: (deed == Deed::Purge).then_some(count),
                remaining_count: remaining,
                dry_run: self.dry_run,
                interrupted: ended != Ended::Itself,
            });
        }
        let what = text::count(count, "dead letter");
        let done = match deed {
            Deed::Redrive => "redriven",
            Deed::Purge => "purged",
        };
        if self.dry_run {
            format!("{what} would be {done}, {remaining} would remain")
        } else {
            format!("{what} {done}, {remaining} remaining")
        }
    }
}

/// How many calls came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Itself,
    Interrupted,
    Failed,
}

#[derive(Serialize)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purged_count: Option<u64>,
    remaining_count: u64,
    dry_run: bool,
    interrupted: bool,
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &str) -> Result<Amount, clap::Error> {
        let command = Amount::augment_args(Command::new("redrive").no_binary_name(true));
        let arguments = arguments.split_whitespace();
        Amount::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_limit_is_of_one_call_and_a_rate_of_many() {
        for wrong in ["--limit 0", "--limit 10001", "--all --limit 7", "--rate 7", "--all --rate 0"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let amount = parse("--limit 7 --dry-run").unwrap();
        assert_eq!((amount.limit(), amount.only_counts(), amount.takes_all()), (7, true, false));
    }

    #[test]
    fn what_was_done_is_told_for_people_and_machines() {
        let done = Done { count: 1, remaining: 2 };
        let told =
            |arguments: &str, deed| parse(arguments).unwrap().told(deed, done, Ended::Itself);
        assert_eq!(told("", Deed::Redrive), "1 dead letter redriven, 2 remaining");
        assert_eq!(told("--dry-run", Deed::Purge), "1 dead letter would be purged, 2 would remain");
        assert_eq!(
            told("--json", Deed::Purge),
            r#"{"purged_count":1,"remaining_count":2,"dry_run":false,"interrupted":false}"#
        );
    }

    /// A hub with so many dead letters, each of which dies again at once.
    async fn all_of(arguments: &str, letters: u64, fails_at: Option<usize>) -> (Vec<Ask>, bool) {
        let (asks, left) = (RefCell::new(Vec::new()), Cell::new(letters));
        let call = async |ask: Ask| {
            if fails_at == Some(asks.borrow().len()) {
                return Err(CommandError::Usage("the hub is away".to_owned()));
            }
            asks.borrow_mut().push(ask);
            let count = left.get().min(ask.limit.into());
            // Half of them die again.
            left.set(left.get() - if ask.dry_run { 0 } else { count / 2 });
            Ok(Done { count, remaining: letters.saturating_sub(count) })
        };
        let done = parse(arguments).unwrap().carry_out(Deed::Redrive, call).await.is_ok();
        (asks.into_inner(), done)
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_as_many_as_there_were_at_the_beginning() {
        let (asks, done) = all_of("--all", 2_500, None).await;
        let limits: Vec<_> = asks.iter().map(|ask| (ask.limit, ask.dry_run)).collect();
        assert!(done);
        assert_eq!(limits, [(10_000, true), (1_000, false), (1_000, false), (500, false)]);
        let (asks, _) = all_of("--all --dry-run", 2_500, None).await;
        assert_eq!(asks, [Ask { limit: 10_000, dry_run: true }]);
        let (asks, done) = all_of("--all --rate 10", 25, None).await;
        let limits: Vec<_> = asks.iter().skip(1).map(|ask| ask.limit).collect();
        assert!(done);
        assert_eq!(limits, [10, 10, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_is_the_last() {
        let (asks, done) = all_of("--all", 2_500, Some(2)).await;
        assert_eq!((asks.len(), done), (2, false));
    }
}
