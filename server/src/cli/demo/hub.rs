//! A hub of its own: free ports, a temporary data folder, generated secrets.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hookline_core::{
    event::SourceName,
    source::{Kind, Secret, Source},
};
use tempfile::TempDir;

use crate::{
    app::{App, AppError, Foundation},
    clock::SystemClock,
    config::{Auth, Config, Grpc, Http, KeepFree, Retention, Shutdown, Store, Traces},
    limits,
    store::{
        Ledger as _,
        sled::{Options, SledStore},
    },
    telemetry::Log,
};

/// How long the hub's end may take: nothing is in flight then.
const GRACE: Duration = Duration::from_secs(2);

/// What webhooks are signed with, made anew each time.
#[derive(Debug)]
pub(super) struct Secrets {
    pub(super) github: Secret,
    pub(super) stripe: Secret,
    /// One that the hub does not know.
    pub(super) forger: Secret,
}

impl Secrets {
    pub(super) fn generate() -> Self {
        Self { github: generate(""), stripe: generate("whsec_"), forger: generate("") }
    }

    fn sources(&self) -> Vec<Source> {
        let source = |name: &str, kind, secret: &Secret| {
            let name = SourceName::parse(name).expect("a name of small letters");
            Source::signed(name, kind, vec![secret.clone()]).expect("not reserved, and one secret")
        };
        vec![
            source("github", Kind::GITHUB, &self.github),
            source("stripe", Kind::STRIPE, &self.stripe),
        ]
    }
}

/// Makes a secret of 244 random bits.
fn generate(prefix: &str) -> Secret {
    let random = || uuid::Uuid::new_v4().simple();
    let secret = format!("{prefix}{}{}", random(), random());
    Secret::new(secret).expect("it has 64 characters")
}

/// Why the hub did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// There is no place for data.
    #[error("could not make a temporary folder")]
    Folder(#[from] io::Error),
    /// The store did not open.
    #[error(transparent)]
    Store(#[from] crate::store::sled::OpenError),
    /// A part did not start.
    #[error(transparent)]
    App(#[from] AppError),
}

/// A hub that runs.
#[derive(Debug)]
pub(super) struct Hub {
    app: App,
    store: Arc<SledStore>,
    folder: TempDir,
}

impl Hub {
    pub(super) async fn start(secrets: &Secrets) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new().prefix("hookline-demo-").tempdir()?;
        let config = config(folder.path(), secrets);
        let store = SledStore::open(&config.store.path, Options::of(&config.store))?;
        let foundation = Foundation {
            log: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            export: Arc::clone(&store) as _,
            clock: SystemClock::start(store.last_written_at()),
        };
        match App::start(&config, foundation).await {
            Ok(app) => Ok(Self { app, store, folder }),
            Err(error) => {
                store.close().await;
                Err(error.into())
            }
        }
    }

    pub(super) fn http_url(&self) -> String {
        format!("http://{}", self.app.http_address())
    }

    pub(super) fn grpc_url(&self) -> String {
        format!("http://{}", self.app.grpc_address())
    }

    pub(super) fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the hub and removes its data.
    pub(super) async fn stop(self) {
        for unfinished in self.app.shutdown(std::future::ready(())).await {
            tracing::warn!("{unfinished}");
        }
        self.store.close().await;
        if let Err(error) = self.folder.close() {
            tracing::warn!(%error, "the temporary folder could not be removed");
        }
    }
}

fn config(folder: &Path, secrets: &Secrets) -> Config {
    let free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        http: Http {
            listen: free_port,
            max_body: limits::BODY_BYTES_DEFAULT,
            public_url: None,
            tls: None,
            insecure: false,
        },
        grpc: Grpc { listen: free_port, tls: None, insecure: false },
        store: Store {
            path: folder.join("data"),
            cache: limits::STORE_CACHE_BYTES_DEFAULT,
            dictionaries: true,
            // It is gone soon, and takes little.
            keep_free: KeepFree::Percent(0),
        },
        auth: Auth::off(&folder.join("data")),
        retention: Retention::default(),
        shutdown: Shutdown { grace: GRACE },
        traces: Traces::default(),
        log: Log::default(),
        sources: secrets.sources(),
    }
}
