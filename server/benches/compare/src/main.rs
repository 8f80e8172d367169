//! Hookline beside what one would use otherwise: a bare handler, NATS JetStream, Redis Streams and a FastAPI service,
//! with the same bodies on the same machine, in turns. README.md says what each part measures, and how fairly.

mod bodies;
mod figures;
mod growth;
mod http;
mod parts;
mod plot;
mod process;
mod serve;
mod servers;
mod table;
mod tools;
mod verdict;
mod versions;
mod wrk;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    bodies::Bodies,
    figures::{Report, Round},
    parts::{Bench, Other, Part},
    process::Busy,
    tools::Tools,
    wrk::Load,
};

/// That of the hub, so that what it is compared with has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Compares Hookline with what one would use otherwise, on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Measure, and print what came of it.
    Run(Box<Run>),
    /// Print and plot what an earlier run has measured.
    Show(Show),
    /// Print and plot what `hookline bench backlog --json` has measured.
    Growth(Growth),
    /// Be one of the servers that are compared; for `run` itself.
    #[command(subcommand, hide = true)]
    Serve(serve::Serve),
}

#[derive(Debug, Args)]
struct Run {
    /// How many times each part is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The parts to measure; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// How many seconds a rate is measured, after one second to warm up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many connections post at once.
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// How many events are consumed.
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// The folder of JSON bodies: each file is named for its GitHub event, such as `pull_request.opened.json`.
    #[arg(long, env = "HOOKLINE_BENCH_BODIES")]
    bodies: PathBuf,
    /// On which disk the servers keep their data: a temporary folder is made here. Default: the system's.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The hub, built for release. Default: that of the checkout.
    #[arg(long)]
    hookline: Option<PathBuf>,
    /// Where `setup.sh` has put the other programs. Default: `tools` beside it.
    #[arg(long)]
    tools: Option<PathBuf>,
    /// What to leave out.
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Other>,
    /// A round during which other programs took more than so many percent of the processors is measured again, at most
    /// twice.
    #[arg(long, default_value_t = 10.0)]
    others: f64,
    /// Add the rounds to those that the file of `--json` holds.
    #[arg(long, requires = "json")]
    append: bool,
    /// Where to write every round's figures, with machine, versions and settings.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to draw the plot.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Show {
    /// What a run has written by `--json`.
    json: PathBuf,
    /// Where to draw the plot.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Growth {
    /// What runs have written.
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// Where to draw the plot.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse().action {
        Action::Run(run) => measure(*run).await,
        Action::Show(show) => {
            Report::read(&show.json).and_then(|report| present(&report, show.svg.as_deref()))
        }
        Action::Growth(growth) => growth::show(&growth.reports, growth.svg.as_deref()),
        Action::Serve(serve) => serve::run(serve).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(run: Run) -> Outcome {
    let home = servers::home();
    let checkout = home.join("../../../target/release/hookline");
    let tools = Tools::new(
        run.tools.unwrap_or_else(|| home.join("tools")),
        run.hookline.unwrap_or(checkout),
    )?;
    let bodies = Arc::new(Bodies::read(&run.bodies)?);
    let folder = match &run.data_dir {
        Some(disk) => tempfile::tempdir_in(disk)?,
        None => tempfile::tempdir()?,
    };
    let mut report = match &run.json {
        Some(file) if run.append && file.exists() => Report::read(file)?,
        Some(_) | None => Report::default(),
    };
    report.machine = versions::machine(folder.path());
    report.versions = versions::programs(&tools, &run.skip)?;
    report.settings = [
        ("bodies", format!("{}, mean {} bytes", bodies.count(), bodies.mean_bytes())),
        ("connections", run.connections.to_string()),
        ("seconds", run.seconds.to_string()),
        ("events consumed", run.events.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let bench = Bench {
        load: Load::prepare(&tools, folder.path(), &bodies, run.connections)?,
        tools,
        bodies,
        bodies_folder: run.bodies,
        data: folder.path().to_owned(),
        seconds: run.seconds,
        events: run.events,
        skip: run.skip,
    };
    let parts = if run.parts.is_empty() { Part::ALL.to_vec() } else { run.parts };
    for _ in 0..run.rounds {
        for part in &parts {
            let number = report.next_number(part.name());
            let round = quietly(&bench, *part, number, run.others).await?;
            table::round(&round);
            report.rounds.push(round);
            if let Some(file) = &run.json {
                report.write(file)?;
            }
        }
    }
    present(&report, run.svg.as_deref())
}

/// Measures a part, and again if other programs took too much of the machine meanwhile.
async fn quietly(bench: &Bench, part: Part, number: usize, others_max: f64) -> Outcome<Round> {
    const TRIES: usize = 3;
    let mut tried = 0;
    loop {
        tried += 1;
        let busy = Busy::now()?;
        let mut round = bench.measure(part, number).await?;
        let others = busy.others_percent()?;
        round.figures.insert(table::OTHERS.to_owned(), others);
        if others <= others_max || tried == TRIES {
            return Ok(round);
        }
        println!("{} {number}: others took {others:.0} % of the processors; again", part.name());
    }
}

fn present(report: &Report, svg: Option<&Path>) -> Outcome {
    table::print(report);
    verdict::print(report);
    svg.map_or(Ok(()), |file| plot::draw(report, file))
}
