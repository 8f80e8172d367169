//! Where a benchmark takes place: at a hub of our own, or at one that runs.

use std::{path::PathBuf, sync::Arc};

use hookline_client::Client;
use hookline_core::source::Secret;
use http::Uri;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    super::{
        CommandError, chain,
        hub::Token,
        send::{SecretSpec, read_url},
    },
    BenchError,
    bodies::{self, Body, Template},
    hub::{self, OwnHub},
    load::{self, End, Plan},
    meter,
    process::Process,
    report::Figures,
};

/// What all benchmarks are told: how often, where a hub of one's own lives, and how to say it.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// How many rounds, each with a new hub where it is one's own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(super) rounds: u16,
    #[command(flatten)]
    pub(super) ground: Ground,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// What is posted.
#[derive(Debug, clap::Args)]
pub(super) struct Bodies {
    /// A folder of JSON files to post, named for their events: `pull_request.opened.json` [default: made up like GitHub's]
    #[arg(long, value_name = "FOLDER")]
    bodies: Option<PathBuf>,
    /// What decides over all that is left to chance, such as made-up bodies
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
}

/// Where a hub of one's own has its data.
#[derive(Debug, clap::Args)]
pub(super) struct Ground {
    /// In which folder a hub of one's own gets a temporary one: its disk is part of what is measured [default: that of the
    /// system]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How much of the store a hub of one's own keeps in memory
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(super) cache: String,
}

/// Where webhooks are posted.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Where to post; an address without a path means `/webhooks/github` [default: a hub of one's own]
    #[arg(long, value_parser = read_target, conflicts_with = "data_dir")]
    url: Option<Uri>,
    /// What to sign with at --url: env:NAME, file:PATH or plain:TEXT
    #[arg(long, requires = "url")]
    secret: Option<SecretSpec>,
    /// The process that answers at --url, for its memory and its processors' time
    #[arg(long, requires = "url")]
    pid: Option<u32>,
}

/// Where agents connect.
#[derive(Debug, clap::Args)]
pub(super) struct Agents {
    /// The gRPC address of the hub that answers at --url
    #[arg(long, value_name = "URL", requires = "url")]
    hub: Option<String>,
    /// The token to connect with at --hub
    #[arg(long, env = "HOOKLINE_TOKEN", hide_env_values = true)]
    token: Option<Token>,
}

impl Common {
    /// Returns what was asked for, as a report tells it, with what only this benchmark has.
    pub(super) fn settings(&self, own: Value) -> Value {
        let mut settings = json!({ "rounds": self.rounds, "cache": self.ground.cache });
        if let (Some(settings), Value::Object(own)) = (settings.as_object_mut(), own) {
            settings.extend(own);
        }
        settings
    }
}

impl Bodies {
    /// Reads or makes them.
    pub(super) fn load(&self) -> Result<Vec<Body>, CommandError> {
        bodies::bodies(self.bodies.as_deref(), self.seed)
    }

    /// Adds what is posted to what was asked for.
    pub(super) fn describe(&self, bodies: &[Body], mut settings: Value) -> Value {
        let total: usize = bodies.iter().map(|body| body.bytes.len()).sum();
        let own = json!({
            "seed": self.seed,
            "bodies": if self.bodies.is_some() { "folder" } else { "made up" },
            "bodies_count": bodies.len(),
            "bodies_mean_bytes": total / bodies.len().max(1),
        });
        if let (Some(settings), Value::Object(own)) = (settings.as_object_mut(), own) {
            settings.extend(own);
        }
        settings
    }
}

impl Ground {
    /// Returns where the folders are made.
    pub(super) fn place(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Makes a folder, which is removed when it is dropped.
    pub(super) fn folder(&self) -> Result<TempDir, BenchError> {
        let place = self.place();
        let made = tempfile::Builder::new().prefix("hookline-bench-").tempdir_in(&place);
        let attempted = format!("make a folder in `{}`", place.display());
        made.map_err(|source| BenchError::Machine { attempted, source })
    }
}

impl Target {
    /// Returns where the data of the hub will be, if it is our own.
    pub(super) fn place(&self, ground: &Ground) -> Option<PathBuf> {
        self.url.is_none().then(|| ground.place())
    }

    fn secret(&self) -> Result<Secret, CommandError> {
        self.secret.as_ref().map_or_else(|| Ok(hub::secret()), SecretSpec::read)
    }
}

/// A hub that can be measured. One of our own is killed, and its data removed, when this is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    own: Option<(OwnHub, TempDir)>,
    cache: String,
    url: Uri,
    grpc: String,
    token: Option<Token>,
    pid: Option<u32>,
    templates: Arc<[Template]>,
}

impl Stage {
    /// Starts a hub of our own, unless there is one that runs.
    pub(super) async fn set(
        target: &Target,
        agents: Option<&Agents>,
        ground: &Ground,
        bodies: &[Body],
    ) -> Result<Self, CommandError> {
        let Some(url) = &target.url else {
            return Self::own(ground.folder()?, ground, bodies).await;
        };
        let grpc = agents.and_then(|agents| agents.hub.clone());
        if agents.is_some() && grpc.is_none() {
            return Err(CommandError::Usage(
                "--url without --hub: where do agents connect?".to_owned(),
            ));
        }
        let templates = bodies::templates(bodies, url, &target.secret()?)?;
        Ok(Self {
            own: None,
            cache: ground.cache.clone(),
            url: url.clone(),
            grpc: grpc.unwrap_or_default(),
            token: agents.and_then(|agents| agents.token.clone()),
            pid: target.pid,
            templates: templates.into(),
        })
    }

    /// Starts a hub of our own in this folder, which may have data.
    pub(super) async fn own(
        folder: TempDir,
        ground: &Ground,
        bodies: &[Body],
    ) -> Result<Self, CommandError> {
        let hub = OwnHub::start(folder.path(), &ground.cache).await?;
        let url = read_target(hub.http()).map_err(BenchError::Failed)?;
        let templates = bodies::templates(bodies, &url, &hub::secret())?;
        Ok(Self {
            cache: ground.cache.clone(),
            url,
            grpc: hub.grpc().to_owned(),
            token: None,
            pid: None,
            templates: templates.into(),
            own: Some((hub, folder)),
        })
    }

    /// Returns a load that goes as fast as it is answered.
    pub(super) fn plan(&self, connections: u16, end: End) -> Plan {
        Plan {
            url: self.url.clone(),
            templates: Arc::clone(&self.templates),
            connections: connections.into(),
            end,
            pace: None,
            watch: None,
            run: load::new_run(),
            first: 0,
        }
    }

    /// Returns where webhooks are posted, and what.
    pub(super) fn posts(&self) -> (&Uri, &[Template]) {
        (&self.url, &self.templates)
    }

    /// Makes a client, with a connection of its own.
    pub(super) fn client(&self) -> Result<Client, CommandError> {
        let mut builder = Client::builder(&self.grpc);
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        builder.connect().map_err(|error| CommandError::Usage(chain(&error)))
    }

    /// Returns the hub's process, if it is known.
    pub(super) fn process(&self) -> Option<Process> {
        let own = self.own.as_ref().map(|(hub, _)| hub.process());
        own.or_else(|| self.pid.map(Process::of))
    }

    /// Stops a hub of our own and starts it again on the same data; one that runs goes on.
    pub(super) async fn restart(mut self) -> Result<Self, CommandError> {
        if let Some((hub, folder)) = self.own.take() {
            hub.stop().await?;
            let hub = OwnHub::start(folder.path(), &self.cache).await?;
            self.url = read_target(hub.http()).map_err(BenchError::Failed)?;
            hub.grpc().clone_into(&mut self.grpc);
            self.own = Some((hub, folder));
        }
        Ok(self)
    }

    /// Stops a hub of our own, and adds what it leaves on the disk.
    pub(super) async fn end(self, figures: &mut Figures) -> Result<(), CommandError> {
        if let Some((hub, folder)) = self.own {
            hub.stop().await?;
            meter::tell_disk(folder.path(), figures);
        }
        Ok(())
    }
}

/// Reads an address of plain HTTP; without a path it is that of GitHub's webhooks.
fn read_target(text: &str) -> Result<Uri, String> {
    let url = read_url(text)?;
    if url.scheme_str() != Some("http") {
        return Err("the load is plain HTTP: only `http://` is spoken here".to_owned());
    }
    match (url.authority(), url.path()) {
        (Some(authority), "" | "/") => format!("http://{authority}/webhooks/github")
            .parse()
            .map_err(|error| format!("{error}")),
        _ => Ok(url),
    }
}

/// Reads how many a second.
pub(super) fn read_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.001..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err("0.001 to 1,000,000 a second".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_githubs_webhooks() {
        let read = |text: &str| read_target(text).map(|url| url.to_string());
        assert_eq!(read("127.0.0.1:8000").unwrap(), "http://127.0.0.1:8000/webhooks/github");
        assert_eq!(read("http://a/").unwrap(), "http://a/webhooks/github");
        assert_eq!(read("http://a/b?c=d").unwrap(), "http://a/b?c=d");
        assert!(read("https://a").is_err());
    }

    #[test]
    fn a_rate_is_more_than_nothing() {
        assert_eq!(read_rate("0.5"), Ok(0.5));
        assert!(read_rate("0").is_err() && read_rate("NaN").is_err() && read_rate("x").is_err());
    }
}
