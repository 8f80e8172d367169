//! The configuration: defaults, then a TOML file, then the environment, then flags; each overrides the ones before.
//!
//! It is judged as a whole before anything opens, and every mistake is told at once. A key of the file such as
//! `[http] listen` is `HOOKLINE_HTTP__LISTEN` in the environment: two underscores between the parts, so that names may
//! hold one. The environment and the files come in as an argument; [`Process`] is the real one.

mod auth;
mod custom;
mod environment;
mod error;
mod explain;
mod layers;
mod section;
mod size;
mod source;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use hookline_core::source::Source;

pub(crate) use self::source::resolve as secret;
pub use self::{
    auth::{Auth, TOKENS_FILE},
    environment::{Environment, Process},
    error::{ConfigError, ConfigErrors, Origin, Problem},
    explain::Setting,
};
use self::{layers::Layers, section::Section};
use crate::{
    limits,
    telemetry::{Format, Level, Log},
    tls,
};

/// Where webhooks are posted when nothing else is said.
pub const HTTP_LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4150);
/// Where agents connect when nothing else is said.
pub const GRPC_LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4160);
/// The data folder when nothing else is said.
pub const STORE_PATH_DEFAULT: &str = "./hookline-data";

/// What to add to a configuration that has no source.
pub const SOURCE_EXAMPLE: &str = r#"no sources are configured, so no webhook is taken; add one to the file given by --config:

    [sources.github]
    kind = "github"
    secrets = ["env:GITHUB_WEBHOOK_SECRET"]

or to the environment:

    HOOKLINE_SOURCES__GITHUB__KIND=github
    HOOKLINE_SOURCES__GITHUB__SECRETS=env:GITHUB_WEBHOOK_SECRET

and let GitHub post to /webhooks/github"#;

/// Everything that an operator may decide.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP front.
    pub http: Http,
    /// The gRPC services.
    pub grpc: Grpc,
    /// The store.
    pub store: Store,
    /// Who may call.
    pub auth: Auth,
    /// How long and how much is kept.
    pub retention: Retention,
    /// The end.
    pub shutdown: Shutdown,
    /// The log.
    pub log: Log,
    /// Where traces go.
    pub traces: Traces,
    /// Who may post, by name.
    pub sources: Vec<Source>,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `listen`: where webhooks are posted. Beyond loopback only with `tls`, or `insecure`. Default `127.0.0.1:4150`; port
    /// 0 takes a free one.
    pub listen: SocketAddr,
    /// `tls`: the files of TLS. Unset: none is spoken.
    pub tls: Option<tls::Files>,
    /// `insecure`: whether to listen beyond loopback without TLS, such as behind a proxy that has it.
    pub insecure: bool,
    /// `max_body`: the most bytes of a body, 64 KiB to 32 MiB. Default 25 MiB.
    pub max_body: usize,
    /// `public_url`: what stands before `/webhooks/...` in the addresses that senders post to, such as
    /// `https://hooks.example.com`. Needed by kinds that sign the address, unless the source has a `url` of its own.
    pub public_url: Option<String>,
}

impl Http {
    /// Returns the scheme of its addresses.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// `[grpc]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// `listen`: where agents connect. Beyond loopback only with `tls` and certificates or tokens of clients, or `insecure`.
    /// Default `127.0.0.1:4160`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `tls`: the files of TLS. Unset: none is spoken.
    pub tls: Option<tls::Files>,
    /// `insecure`: whether to listen beyond loopback all the same, such as on a network of one's own. Tokens are asked for
    /// where there are some.
    pub insecure: bool,
}

impl Grpc {
    /// Returns the scheme of its addresses.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `path`: the data folder, relative to the working directory. Default `./hookline-data`.
    pub path: PathBuf,
    /// `cache`: how much of the store is kept in memory, 8 MiB to 16 GiB. Default 64 MiB.
    pub cache: usize,
    /// `dictionaries`: whether payloads are compressed with what those of their source have in common. Default true.
    pub dictionaries: bool,
    /// `keep_free`: how much of the disk is left to others. Default 5 % of it.
    pub keep_free: KeepFree,
}

/// How much of a disk is left to others: events are refused before the hub takes of it, and commits to ledgers go on, so
/// that a full hub can be drained. At least 128 MiB in any case, which those commits need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepFree {
    /// A part of the disk in percent, 0 to 90.
    Percent(u8),
    /// A count of bytes.
    Bytes(u64),
}

impl Default for KeepFree {
    fn default() -> Self {
        Self::Percent(limits::STORE_FREE_PERCENT_DEFAULT)
    }
}

/// `5%`, or a size such as `20GiB`.
impl FromStr for KeepFree {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let most = limits::STORE_FREE_PERCENT_MOST;
        let wrong = || Problem::KeepFree { found: text.to_owned(), most };
        let Some(percent) = text.strip_suffix('%') else {
            return size::parse(text).map(Self::Bytes).ok_or_else(wrong);
        };
        let percent = percent.trim_end().parse().ok();
        let percent = percent.filter(|percent| *percent <= most);
        percent.map(Self::Percent).ok_or_else(wrong)
    }
}

impl fmt::Display for KeepFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => size::Shown(*bytes).fmt(f),
        }
    }
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `max_age`: how long events are kept that no subscription waits for, at most 3,660 days. Default 14 days.
    pub max_age: Duration,
    /// `open_max_age`: how long events are kept that are still to be delivered, from `max_age` to 3,660 days; then they
    /// are dead letters. Default 30 days.
    pub open_max_age: Duration,
    /// `dead_letters_max_age`: how long dead letters are kept, at most 3,660 days. Default 30 days.
    pub dead_letters_max_age: Duration,
    /// `max_bytes`: how many bytes of events are kept, as stored, from 16 MiB; what is still to be delivered is given up
    /// too. Unset: as many as come.
    pub max_bytes: Option<usize>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: limits::MAX_AGE_DEFAULT,
            open_max_age: limits::OPEN_MAX_AGE_DEFAULT,
            dead_letters_max_age: limits::DEAD_LETTERS_MAX_AGE_DEFAULT,
            max_bytes: None,
        }
    }
}

/// `[shutdown]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// `grace`: how long a stop may take, at most 10 min. Default 10 s.
    pub grace: Duration,
}

/// `[traces]`
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// `otlp`: the receiver of spans over OTLP by gRPC, such as `http://127.0.0.1:4317`. Without TLS: a collector on this
    /// machine or in its network. Unset: no traces. `OTEL_EXPORTER_OTLP_ENDPOINT` is not read: it is often set for other
    /// programs, and nothing of a hub leaves the machine unless its own configuration says so.
    pub otlp: Option<String>,
    /// `ratio`: which part of the webhooks is traced whose sender does not decide it, from 0 to 1. Default 1.
    pub ratio: f64,
}

impl Default for Traces {
    fn default() -> Self {
        Self { otlp: None, ratio: 1.0 }
    }
}

/// What was said on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the TOML file. Without it, and without `HOOKLINE_CONFIG`, no file is read.
    pub config: Option<PathBuf>,
    /// `--http-listen`: `http.listen`.
    pub http_listen: Option<String>,
    /// `--grpc-listen`: `grpc.listen`.
    pub grpc_listen: Option<String>,
    /// `--http-insecure`: `http.insecure`.
    pub http_insecure: bool,
    /// `--grpc-insecure`: `grpc.insecure`.
    pub grpc_insecure: bool,
    /// `--data`: `store.path`.
    pub data: Option<PathBuf>,
    /// `--log`: `log.level`.
    pub log: Option<String>,
    /// `--log-format`: `log.format`.
    pub log_format: Option<String>,
}

impl Config {
    /// Reads and judges the whole configuration. Opens nothing but the configuration file and the files of secrets.
    ///
    /// # Errors
    ///
    /// All mistakes, each with its key and where it was said.
    pub fn load(flags: &Flags, environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let layers = Layers::collect(flags, environment, &mut errors);
        let config = Self::read(layers, flags, environment, &mut errors);
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// Returns what to tell the operator about sources: [`SOURCE_EXAMPLE`] if there are none.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        self.sources.is_empty().then_some(SOURCE_EXAMPLE)
    }

    fn read(
        layers: Layers,
        flags: &Flags,
        environment: &dyn Environment,
        errors: &mut Vec<ConfigError>,
    ) -> Self {
        let mut root = Section::root(layers.root);

        let http = http(root.section("http", errors), environment, errors);
        let grpc_section = root.section("grpc", errors);

        let mut section = root.section("store", errors);
        let path = section.path("path", STORE_PATH_DEFAULT, errors);
        let cache = section.bytes(
            "cache",
            limits::STORE_CACHE_BYTES_DEFAULT,
            limits::STORE_CACHE_BYTES_LEAST..=limits::STORE_CACHE_BYTES_MOST,
            errors,
        );
        let dictionaries = section.flag_or("dictionaries", true, errors);
        let keep_free = section.parsed("keep_free", errors);
        let path = flags.data.clone().unwrap_or(path);
        let store = Store { path, cache, dictionaries, keep_free };
        if store.path.as_os_str().is_empty() {
            let origin = Some(Origin::Flag("--data"));
            errors.push(ConfigError { key: section.key("path"), origin, problem: Problem::Empty });
        }
        section.finish(errors);

        let auth = auth::read(root.section("auth", errors), &store.path, environment, errors);
        let grpc = grpc(grpc_section, &auth, environment, errors);

        let retention = retention(root.section("retention", errors), errors);

        let mut section = root.section("shutdown", errors);
        let grace = section.duration(
            "grace",
            limits::SHUTDOWN_GRACE_DEFAULT,
            limits::SHUTDOWN_GRACE_MOST,
            errors,
        );
        section.finish(errors);

        let mut section = root.section("log", errors);
        let log = Log {
            level: section.parsed::<Level>("level", errors),
            format: section.parsed::<Format>("format", errors),
        };
        section.finish(errors);

        let mut section = root.section("traces", errors);
        let traces = Traces {
            otlp: section.plain_url("otlp", errors),
            ratio: section.ratio("ratio", Traces::default().ratio, errors),
        };
        section.finish(errors);

        let sources = {
            let section = root.section("sources", errors);
            source::read(section, http.public_url.as_deref(), environment, errors)
        };
        root.finish(errors);

        if http.listen == grpc.listen && http.listen.port() != 0 {
            errors.push(ConfigError::at("grpc.listen", Problem::SameAddress(http.listen)));
        }
        let shutdown = Shutdown { grace };
        Self { http, grpc, store, auth, retention, shutdown, log, traces, sources }
    }
}

fn http(
    mut section: Section,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Http {
    let origin = section.origin("listen");
    let http = Http {
        listen: section.listen("listen", HTTP_LISTEN_DEFAULT, errors),
        max_body: section.bytes(
            "max_body",
            limits::BODY_BYTES_DEFAULT,
            limits::BODY_BYTES_LEAST..=limits::BODY_BYTES_MOST,
            errors,
        ),
        public_url: section.url("public_url", errors),
        tls: tls_files(&mut section, environment, errors),
        insecure: section.flag("insecure", errors),
    };
    if can_be_reached(http.listen) && http.tls.is_none() && !http.insecure {
        let problem = Problem::HttpExposed(http.listen);
        errors.push(ConfigError { key: section.key("listen"), origin, problem });
    }
    section.finish(errors);
    http
}

fn grpc(
    mut section: Section,
    auth: &Auth,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Grpc {
    let origin = section.origin("listen");
    let grpc = Grpc {
        listen: section.listen("listen", GRPC_LISTEN_DEFAULT, errors),
        tls: tls_files(&mut section, environment, errors),
        insecure: section.flag("insecure", errors),
    };
    let knows_clients = grpc.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some() || auth.is_on);
    if can_be_reached(grpc.listen) && !knows_clients && !grpc.insecure {
        let problem = Problem::GrpcExposed(grpc.listen);
        errors.push(ConfigError { key: section.key("listen"), origin, problem });
    }
    section.finish(errors);
    grpc
}

/// Whether others than this machine may connect.
const fn can_be_reached(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// Reads the files of TLS, if any are named, and sees that they can be used.
fn tls_files(
    listener: &mut Section,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Option<tls::Files> {
    let mut section = listener.present("tls", errors)?;
    let (key_of_cert, key_of_key) = (section.key("cert"), section.key("key"));
    let cert = section.text("cert", errors);
    let key = section.text("key", errors);
    let client_ca = section.text("client_ca", errors).map(PathBuf::from);
    section.finish(errors);
    let of_all = listener.key("tls");
    for (found, name) in [(&cert, &key_of_cert), (&key, &key_of_key)] {
        let is_told = |error: &ConfigError| error.key == *name || error.key == of_all;
        if found.is_none() && !errors.iter().any(is_told) {
            errors.push(ConfigError::at(name, Problem::TlsFileMissing));
        }
    }
    let files = tls::Files { cert: cert?.into(), key: key?.into(), client_ca };
    if let Err(error) = tls::check(&files, environment) {
        errors.push(ConfigError::at(of_all, Problem::Tls(error.into())));
    }
    Some(files)
}

fn retention(mut section: Section, errors: &mut Vec<ConfigError>) -> Retention {
    let most = limits::AGE_MOST;
    let max_age = section.duration("max_age", limits::MAX_AGE_DEFAULT, most, errors);
    let open_max_age = section.span("open_max_age", max_age..=most, errors);
    let bounds = limits::KEPT_BYTES_LEAST..=limits::KEPT_BYTES_MOST;
    let retention = Retention {
        max_age,
        open_max_age: open_max_age.unwrap_or_else(|| limits::OPEN_MAX_AGE_DEFAULT.max(max_age)),
        dead_letters_max_age: section.duration(
            "dead_letters_max_age",
            limits::DEAD_LETTERS_MAX_AGE_DEFAULT,
            most,
            errors,
        ),
        max_bytes: section.size("max_bytes", bounds, errors),
    };
    section.finish(errors);
    retention
}
