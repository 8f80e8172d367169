//! The parts of the comparison. Each measures its contenders one after the other, in an order that turns by one with
//! every round, so that none always follows the same.

mod agent;
mod consume;
mod deliver;
mod fanout;
mod ingest;
mod jetstream;
mod redis_streams;
mod single;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;

use crate::{
    Outcome,
    bodies::Bodies,
    figures::{Figures, Round},
    servers::Server,
    tools::Tools,
    wrk::Load,
};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// How many events a second become durable, with many connections.
    Ingest,
    /// How long one event takes to become durable, with one connection.
    Single,
    /// How many events a second are handed out and acknowledged.
    Consume,
    /// How long an event takes from its post to an agent, idle and at half the maximum rate.
    Deliver,
    /// Many subscriptions: all of a backlog to each, and none of the events to any.
    Fanout,
}

impl Part {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ingest, Self::Single, Self::Consume, Self::Deliver, Self::Fanout];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Single => "single",
            Self::Consume => "consume",
            Self::Deliver => "deliver",
            Self::Fanout => "fanout",
        }
    }
}

/// What can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Other {
    /// NATS JetStream.
    Nats,
    /// Redis Streams, and the FastAPI design, which needs it.
    Redis,
    /// The FastAPI design.
    Fastapi,
}

/// One thing that is measured in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Bare,
    PlainFile,
    Hookline,
    HooklineDisk,
    NatsAlways,
    NatsDefault,
    Redis,
    Fastapi,
    /// One subscription, or none.
    Few,
    /// Many subscriptions.
    Many,
}

impl Contender {
    /// Returns its name in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::PlainFile => "plain_file",
            Self::Hookline => "hookline",
            Self::HooklineDisk => "hookline_disk",
            Self::NatsAlways => "jetstream_always",
            Self::NatsDefault => "jetstream_default",
            Self::Redis => "redis_always",
            Self::Fastapi => "fastapi_redis",
            Self::Few => "few",
            Self::Many => "many",
        }
    }

    const fn needs(self, other: Other) -> bool {
        match self {
            Self::NatsAlways | Self::NatsDefault => matches!(other, Other::Nats),
            Self::Redis => matches!(other, Other::Redis),
            Self::Fastapi => matches!(other, Other::Redis | Other::Fastapi),
            Self::Bare
            | Self::PlainFile
            | Self::Hookline
            | Self::HooklineDisk
            | Self::Few
            | Self::Many => false,
        }
    }
}

/// What all parts need.
pub(crate) struct Bench {
    pub(crate) tools: Tools,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) bodies_folder: PathBuf,
    pub(crate) load: Load,
    /// Where the data of all servers are.
    pub(crate) data: PathBuf,
    /// How long rates are measured.
    pub(crate) seconds: u64,
    /// How many events are consumed.
    pub(crate) events: usize,
    pub(crate) skip: Vec<Other>,
}

impl Bench {
    /// Measures a part once.
    pub(crate) async fn measure(&self, part: Part, number: usize) -> Outcome<Round> {
        use Contender as C;
        let all: &[C] = match part {
            Part::Ingest => &[
                C::Bare,
                C::PlainFile,
                C::Hookline,
                C::NatsAlways,
                C::NatsDefault,
                C::Redis,
                C::Fastapi,
            ],
            Part::Single => {
                &[C::PlainFile, C::Hookline, C::NatsAlways, C::NatsDefault, C::Redis, C::Fastapi]
            }
            Part::Consume => {
                &[C::Bare, C::Hookline, C::HooklineDisk, C::NatsAlways, C::NatsDefault, C::Redis]
            }
            Part::Deliver => &[C::Hookline, C::NatsAlways, C::NatsDefault],
            Part::Fanout => &[C::Few, C::Many],
        };
        let mut order = all.to_vec();
        order.rotate_left((number - 1) % all.len());
        order.retain(|contender| !self.skip.iter().any(|other| contender.needs(*other)));
        let mut figures = Figures::new();
        for contender in &order {
            let data = self.data.join(format!("{}-{number}-{}", part.name(), contender.name()));
            std::fs::create_dir_all(&data)?;
            self.one(part, *contender, &data, &mut figures)
                .await
                .map_err(|error| format!("{} of {}: {error}", part.name(), contender.name()))?;
            std::fs::remove_dir_all(&data)?;
        }
        let order = order.iter().map(|contender| contender.name().to_owned()).collect();
        Ok(Round { part: part.name().to_owned(), number, order, figures })
    }

    async fn one(
        &self,
        part: Part,
        contender: Contender,
        data: &Path,
        figures: &mut Figures,
    ) -> Outcome {
        match part {
            Part::Ingest => ingest::measure(self, contender, data, figures).await,
            Part::Single => single::measure(self, contender, data, figures).await,
            Part::Consume => consume::measure(self, contender, data, figures).await,
            Part::Deliver => deliver::measure(self, contender, data, figures).await,
            Part::Fanout => fanout::measure(self, contender, data, figures).await,
        }
    }

    /// Runs the load on an HTTP server; returns the rate, and the server's processor time per request in microseconds.
    fn load(&self, server: &Server) -> Outcome<(f64, f64)> {
        // A moment to warm up: code, connections, the allocator.
        tokio::task::block_in_place(|| self.load.run(&server.url, 1))?;
        let before = server.cpu()?;
        let rate = tokio::task::block_in_place(|| self.load.run(&server.url, self.seconds))?;
        Ok((
            rate,
            per_event(
                server.cpu()? - before,
                rate * Duration::from_secs(self.seconds).as_secs_f64(),
            ),
        ))
    }
}

/// Returns processor time per event, in microseconds.
fn per_event(cpu: Duration, events: f64) -> f64 {
    cpu.as_secs_f64() * 1e6 / events
}

/// Returns a count as a number to divide.
fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Puts a figure under a contender's name.
fn put(figures: &mut Figures, name: &str, figure: &str, value: f64) {
    figures.insert(format!("{name}.{figure}"), value);
}
