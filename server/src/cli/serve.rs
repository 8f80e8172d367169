//! `hookline serve`: the hub, until it is told to stop.

use std::{io, path::PathBuf, process::ExitCode, sync::Arc};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{EXIT_USAGE, chain, fail, say, say_error};
use crate::{
    app::{App, Foundation},
    clock::SystemClock,
    config::{Config, Flags, Process},
    files,
    reload::{Reload, Reloaded},
    store::{
        Ledger as _,
        sled::{Options, SledStore},
    },
    telemetry::{self, Levels},
};

/// Runs the hub.
///
/// Each key of the configuration may also be given by the environment: `[http] listen` is HOOKLINE_HTTP__LISTEN. Flags
/// win over the environment, the environment over the file, the file over defaults. When both ports accept, one line on
/// the standard output says where; the log goes to the standard error stream. SIGTERM and SIGINT stop the hub within
/// `[shutdown] grace`; a second one ends the agents' share of it at once.
///
/// SIGHUP makes it read the configuration again. If that has mistakes, they are logged and nothing changes. Else sources,
/// `http.max_body`, `[retention]` and `log.level` hold from then on, and the log names the keys that need a restart.
#[derive(Debug, clap::Args)]
#[group(skip)] // Also part of other commands, whose own arguments are a group.
pub(super) struct Args {
    /// The TOML file; without it, defaults and the environment.
    #[arg(long, short, env = "HOOKLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where webhooks are posted [default: 127.0.0.1:4150]
    #[arg(long, value_name = "ADDR:PORT")]
    http_listen: Option<String>,
    /// Where agents connect [default: 127.0.0.1:4160]
    #[arg(long, value_name = "ADDR:PORT")]
    grpc_listen: Option<String>,
    /// Listen for webhooks beyond loopback without TLS, such as behind a proxy that has it
    #[arg(long)]
    http_insecure: bool,
    /// Listen for agents beyond loopback without TLS: tokens can be read on the way, and without tokens everybody gets in
    #[arg(long)]
    grpc_insecure: bool,
    /// The data folder [default: ./hookline-data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or per module [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How it is logged: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Args {
    /// Returns what was said on the command line.
    pub(super) fn flags(self) -> Flags {
        Flags {
            config: self.config,
            http_listen: self.http_listen,
            grpc_listen: self.grpc_listen,
            http_insecure: self.http_insecure,
            grpc_insecure: self.grpc_insecure,
            data: self.data,
            log: self.log,
            log_format: self.log_format,
        }
    }
}

pub(super) async fn run(args: Args) -> ExitCode {
    let flags = args.flags();
    let config = match Config::load(&flags, &Process) {
        Ok(config) => config,
        Err(errors) => {
            say_error(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let levels = match telemetry::init(&config.log) {
        Ok(levels) => levels,
        Err(error) => return fail(&error),
    };
    let signals = Signals::new().and_then(|signals| {
        let hangup = signal(SignalKind::hangup())?;
        Ok((signals, hangup))
    });
    match signals {
        Ok((signals, hangup)) => serve(config, signals, Again { flags, hangup, levels }).await,
        Err(error) => fail(&error),
    }
}

struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (term, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { term: signal(term)?, interrupt: signal(interrupt)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What is read again when SIGHUP comes.
struct Again {
    flags: Flags,
    hangup: Signal,
    levels: Levels,
}

impl Again {
    /// Takes a new configuration each time that it is asked for.
    async fn run(&mut self, reload: &Reload) {
        while self.hangup.recv().await.is_some() {
            self.take(reload);
        }
        // No more signals of this kind come.
        std::future::pending::<()>().await;
    }

    fn take(&self, reload: &Reload) {
        let config = match Config::load(&self.flags, &Process) {
            Ok(config) => config,
            Err(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                tracing::error!(?errors, "the configuration has mistakes: the old one still holds");
                return;
            }
        };
        match reload.apply(config) {
            Ok(Reloaded { added, removed, fixed }) => {
                tracing::info!(?added, ?removed, "the configuration was read again");
                if !fixed.is_empty() {
                    tracing::warn!(keys = ?fixed, "these keys changed and hold only after a restart");
                }
            }
            Err(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                tracing::error!(
                    ?errors,
                    "the configuration can't be taken: the old one still holds"
                );
            }
        }
    }
}

async fn serve(config: Config, mut signals: Signals, mut again: Again) -> ExitCode {
    files::raise_limit();
    let store = match SledStore::open(&config.store.path, Options::of(&config.store)) {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
    store.keep_spare_threads().await;
    let foundation = Foundation {
        log: Arc::clone(&store) as _,
        ledger: Arc::clone(&store) as _,
        export: Arc::clone(&store) as _,
        clock: SystemClock::start(store.last_written_at()),
    };
    let app = match App::start(&config, foundation).await {
        Ok(app) => app,
        Err(error) => {
            store.close().await;
            return fail(&error);
        }
    };
    announce(&config, &app);
    let levels = again.levels.clone();
    app.reload().add("log.level", move |config| {
        let (levels, level) = (levels.clone(), config.log.level.clone());
        Ok(Box::new(move || levels.set(&level)))
    });
    let failed = tokio::select! {
        () = signals.next() => None,
        failure = app.failed() => Some(failure),
        () = again.run(app.reload()) => None,
    };
    tracing::info!(grace = ?config.shutdown.grace, "stopping");
    let unfinished = app.shutdown(signals.next()).await;
    for unfinished in &unfinished {
        tracing::warn!("{unfinished}");
    }
    store.close().await;
    match failed {
        None => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            say_error(&chain(&failure));
            ExitCode::FAILURE
        }
    }
}

/// Says that the hub is ready, and where.
fn announce(config: &Config, app: &App) {
    let (http, grpc) = (app.http_address(), app.grpc_address());
    tracing::info!(%http, %grpc, data = %config.store.path.display(), "ready");
    for source in &config.sources {
        let path = source.path();
        let url = source
            .url_of(&path)
            .unwrap_or_else(|| format!("{}://{http}{path}", config.http.scheme()));
        tracing::info!(source = %source.name(), kind = source.kind().as_str(), url, "source");
    }
    if let Some(advice) = config.advice() {
        tracing::warn!("{advice}");
    }
    let schemes = (config.http.scheme(), config.grpc.scheme());
    say(&format!("ready http={}://{http} grpc={}://{grpc}", schemes.0, schemes.1));
}
