//! `hookline serve`: the hub, until it is told to stop.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{EXIT_USAGE, chain, fail, say, say_error};
use crate::{
    app::{App, Foundation},
    clock::SystemClock,
    config::{Config, Flags, Process},
    store::{
        Ledger as _,
        sled::{Options, SledStore},
    },
    telemetry,
};

/// Runs the hub.
///
/// Each key of the configuration may also be given by the environment: `[http] listen` is HOOKLINE_HTTP__LISTEN. Flags
/// win over the environment, the environment over the file, the file over defaults. When both ports accept, one line on
/// the standard output says where; the log goes to the standard error stream. SIGTERM and SIGINT stop the hub within
/// `[shutdown] grace`; a second one ends the agents' share of it at once.
#[derive(Debug, clap::Args)]
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
    /// Let in who reaches the gRPC port beyond loopback
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

pub(super) async fn run(args: Args) -> ExitCode {
    let flags = Flags {
        config: args.config,
        http_listen: args.http_listen,
        grpc_listen: args.grpc_listen,
        http_insecure: args.http_insecure,
        grpc_insecure: args.grpc_insecure,
        data: args.data,
        log: args.log,
        log_format: args.log_format,
    };
    let config = match Config::load(&flags, &Process) {
        Ok(config) => config,
        Err(errors) => {
            say_error(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = telemetry::init(&config.log) {
        return fail(&error);
    }
    let signals = signal(SignalKind::terminate()).and_then(|term| {
        signal(SignalKind::interrupt()).map(|interrupt| Signals { term, interrupt })
    });
    match signals {
        Ok(signals) => serve(config, signals).await,
        Err(error) => fail(&error),
    }
}

struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(config: Config, mut signals: Signals) -> ExitCode {
    let store = match SledStore::open(&config.store.path, Options::with_cache(config.store.cache)) {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
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
    let failed = tokio::select! {
        () = signals.next() => None,
        failure = app.failed() => Some(failure),
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
