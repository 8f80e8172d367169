//! `hookline demo`: the main job in one command.
//!
//! A real hub on free ports with a data folder of its own, real signatures over real HTTP, real agents over gRPC through
//! the client library. What happened is then asked of the hub itself, so that the exit code means something.

mod agents;
mod check;
mod hub;
mod story;
mod webhooks;

use std::{process::ExitCode, time::Duration};

use hookline_client::Client;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::{
    agents::{Agents, Progress},
    hub::{Hub, Secrets, StartError},
    story::{Story, Who},
    webhooks::Posted,
};
use super::{EXIT_USAGE, chain, fail, post::PostError, say, say_error, text::Colour};
use crate::telemetry::{self, Level, Log};

/// How long the whole story may take; it needs about two seconds.
const STORY_TIME_MAX: Duration = Duration::from_secs(15);

const EXAMPLES: &str = "\
Examples:
  hookline demo

  # With what the hub itself says
  hookline demo --log debug";

/// Shows the whole of it in a few seconds, with nothing to prepare.
///
/// Starts a hub on free loopback ports with a temporary data folder, posts signed GitHub and Stripe webhooks to it, one
/// of them twice and one with a forged signature, and runs three agents: `reviewer` acks pull requests, `billing` fails
/// on invoices until they are dead letters, and `on-call` works on what became a dead letter. Then asks the hub what
/// became of each, exits with 0 if all is as it should be, and leaves nothing behind.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What the hub logs to the standard error stream: error, warn, info, debug, trace [default: nothing]
    #[arg(long, value_name = "LEVEL")]
    log: Option<Level>,
}

/// Why the story did not come to its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// The hub did not start.
    #[error("could not start the hub")]
    Start(#[from] StartError),
    /// An agent could not subscribe, or lost its stream.
    #[error("the agent `{agent}` failed")]
    Agent { agent: &'static str, source: Box<hookline_client::Error> },
    /// The client could not be made.
    #[error("could not make a client")]
    Client(#[source] Box<hookline_client::Error>),
    /// A webhook got no answer.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The hub could not be asked.
    #[error("could not ask the hub about event `{event_id}`")]
    Ask { event_id: String, source: Box<tonic::Status> },
    /// It hangs.
    #[error("not done after {STORY_TIME_MAX:?}: {0}")]
    TimedOut(Progress),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

pub(super) async fn run(args: Args) -> ExitCode {
    if let Some(level) = args.log
        && let Err(error) = telemetry::init(&Log { level, ..Log::default() })
    {
        say_error(&chain(&error));
        return ExitCode::from(EXIT_USAGE);
    }
    let story = Story::begin();
    match Box::pin(play(&story)).await {
        Ok(mistakes) if mistakes.is_empty() => {
            farewell(&story);
            ExitCode::SUCCESS
        }
        Ok(mistakes) => {
            for mistake in mistakes {
                say_error(&mistake);
            }
            ExitCode::FAILURE
        }
        Err(error) => fail(&error),
    }
}

/// Starts the hub, tells the story, stops the hub whatever happened. Returns what did not end as it should.
async fn play(story: &Story) -> Result<Vec<String>, DemoError> {
    let secrets = Secrets::generate();
    let hub = Hub::start(&secrets).await?;
    story.heading();
    let data = format!("data in {}", hub.data().display());
    story.tell(Who::Hub, "webhooks", "", &hub.http_url(), Colour::Plain);
    story.tell(Who::Hub, "agents", "", &hub.grpc_url(), Colour::Plain);
    story.tell(Who::Hub, "store", "", &data, Colour::Plain);
    let result = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        result = tell(story, &hub, &secrets) => result,
    };
    hub.stop().await;
    result
}

async fn tell(story: &Story, hub: &Hub, secrets: &Secrets) -> Result<Vec<String>, DemoError> {
    let client =
        Client::connect(hub.grpc_url()).map_err(|error| DemoError::Client(Box::new(error)))?;
    let progress = Progress::channel();
    let stop = CancellationToken::new();
    let agents = Agents::subscribe(&client, story, &progress).await?;
    let script = async {
        let posted = webhooks::post_all(&hub.http_url(), secrets, story).await?;
        let expected = Progress::expected(&posted);
        let mut seen = progress.subscribe();
        let done = seen.wait_for(|seen| seen.covers(expected));
        // The sender is `progress`, which lives here.
        done.await.ok();
        stop.cancel();
        Ok::<Vec<Posted>, DemoError>(posted)
    };
    let told = Box::pin(async { tokio::try_join!(script, agents.work(&stop)) });
    let Ok(told) = timeout(STORY_TIME_MAX, told).await else {
        return Err(DemoError::TimedOut(progress.borrow().clone()));
    };
    let (posted, ()) = told?;
    let announcements = progress.borrow().announcements().to_vec();
    check::check(&client, story, &posted, &announcements).await
}

fn farewell(story: &Story) {
    say("");
    let took = story.elapsed().as_secs_f64();
    let text = format!("Every delivery ended as it should, in {took:.1} s. What to try next:");
    say(&story.paint(Colour::Green, &text));
    say(
        "  hookline serve --help   run a hub of your own, for the webhooks of your own repositories",
    );
    say(
        "  hookline tail --help    watch what comes in; then `hookline send` and `hookline dead-letters`",
    );
}
