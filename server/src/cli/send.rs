//! `hookline send`: a webhook, as its provider would post it.

mod guess;

use std::{fmt, io::Read as _, net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use hookline_core::{
    event::SourceName,
    source::{Kind, Secret},
    time::Timestamp,
    verify,
};
use http::{HeaderName, HeaderValue, Uri};

use super::{CommandError, post::Poster, put, text};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{self, Config, Environment as _, Flags, HTTP_LISTEN_DEFAULT, Process},
    limits,
};

const EXAMPLES: &str = "\
Examples:
  # As the source `github` of the hub's own configuration
  hookline send --config hookline.toml github pull_request.json

  # With no configuration at hand
  hookline send --kind github --secret env:GITHUB_WEBHOOK_SECRET github push.json
  hookline send --kind stripe --secret plain:whsec_test stripe invoice.json

  # To another hub, from a pipe, as a second copy of a delivery
  jq '.action = \"closed\"' pull_request.json |
    hookline send --url http://hub.internal:8080/webhooks/github --kind github \\
      --secret file:secret --event pull_request --delivery-id 72d3162e github -";

/// Posts a body to a hub, signed as its provider would.
///
/// How to sign comes from the source of this name in the configuration (`--config` and the environment, as for
/// `serve`), or from `--kind` and `--secret`. The answer's status and body are printed. Exits with 0 if the status is
/// 2xx, else with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The source, the last part of `/webhooks/SOURCE`
    source: String,
    /// The file with the body, `-` for the standard input
    file: PathBuf,
    /// The hub's TOML file, for the source's kind and secret and the hub's address
    #[arg(long, short, env = "HOOKLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whose signature to make: github, stripe [default: as configured]
    #[arg(long, value_parser = Kind::parse)]
    kind: Option<Kind>,
    /// What to sign with: env:NAME, file:PATH or plain:TEXT [default: the first secret that is configured]
    #[arg(long)]
    secret: Option<SecretSpec>,
    /// Where to post; `http://` only [default: http://127.0.0.1:4150/webhooks/SOURCE, or as configured]
    #[arg(long, value_parser = read_url)]
    url: Option<Uri>,
    /// GitHub: the event's name, for X-GitHub-Event [default: guessed from the body]
    #[arg(long, value_name = "NAME")]
    event: Option<HeaderValue>,
    /// GitHub: the delivery's id, for X-GitHub-Delivery [default: a random one]
    #[arg(long, value_name = "ID")]
    delivery_id: Option<HeaderValue>,
}

/// Where a secret is. It may be the secret itself, so it is read after the command line: clap's errors show values.
#[derive(Clone)]
struct SecretSpec(String);

impl From<String> for SecretSpec {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl SecretSpec {
    fn read(&self) -> Result<Secret, CommandError> {
        config::secret(&self.0, &Process)
            .map_err(|problem| CommandError::Usage(format!("--secret: {problem}")))
    }
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let source = SourceName::parse(&args.source)
        .map_err(|error| CommandError::Usage(format!("`{}` is no source: {error}", args.source)))?;
    let target = Target::find(&args, &source)?;
    let body = read_body(&args.file)?;
    let mut headers = match &target.secret {
        Some(secret) => verify::sign(target.kind, secret, &body, now()),
        None => Vec::new(),
    };
    headers.extend(provider_headers(target.kind, &args, &body)?);
    let answer = Poster::new().post(&target.url, headers, body).await?;
    put(&format!("{} {}", answer.status, text::clean(&answer.body)))?;
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(CommandError::Status(answer.status.as_u16()))
    }
}

/// Where to post, and how to sign.
struct Target {
    url: Uri,
    kind: Kind,
    /// `None` for a source that is configured to be unsigned.
    secret: Option<Secret>,
}

impl Target {
    /// Puts together what was said; the configuration is only read for what was not.
    fn find(args: &Args, source: &SourceName) -> Result<Self, CommandError> {
        let secret = args.secret.as_ref().map(SecretSpec::read).transpose()?;
        if let (Some(kind), Some(_), Some(url)) = (args.kind, &secret, &args.url) {
            return Ok(Self { url: url.clone(), kind, secret });
        }
        let flags = Flags { config: args.config.clone(), ..Flags::default() };
        let config = Config::load(&flags, &Process)?;
        let configured = config.sources.iter().find(|known| known.name() == source);
        let (kind, secret) = match (args.kind, secret, configured) {
            (Some(kind), Some(secret), _) => (kind, Some(secret)),
            (kind, secret, Some(known)) => {
                let secret = secret.or_else(|| known.secrets().first().cloned());
                (kind.unwrap_or_else(|| known.kind()), secret)
            }
            (_, _, None) => {
                return Err(CommandError::Usage(format!(
                    "the source `{source}` is not configured: give its hub's file with --config, \
                     or say --kind and --secret"
                )));
            }
        };
        let url = match &args.url {
            Some(url) => url.clone(),
            None => url_at(config.http.listen, source)?,
        };
        Ok(Self { url, kind, secret })
    }
}

/// Returns the address of a source at a hub; of a hub on a free port only the hub itself knows it.
fn url_at(listen: SocketAddr, source: &SourceName) -> Result<Uri, CommandError> {
    if listen.port() == 0 {
        return Err(CommandError::Usage(format!(
            "`http.listen` is `{listen}`, a port that only the hub knows: say --url, such as \
             `http://{HTTP_LISTEN_DEFAULT}/webhooks/{source}`"
        )));
    }
    let url = format!("http://{listen}/webhooks/{source}");
    url.parse().map_err(|error| CommandError::Usage(format!("`{url}` is no address: {error}")))
}

fn read_url(text: &str) -> Result<Uri, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = with_scheme.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http") => Ok(url),
        Some(_) | None => Err("only `http://` is spoken here".to_owned()),
    }
}

fn read_body(file: &std::path::Path) -> Result<Bytes, CommandError> {
    let most = limits::BODY_BYTES_MOST;
    let read = if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        // One byte more than the hub takes, so that it is the hub that refuses it.
        let cap = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        std::io::stdin().lock().take(cap).read_to_end(&mut bytes).map(|_| bytes)
    } else {
        Process.read(file, most)
    };
    let what = || match file.to_str() {
        Some("-") => "the standard input".to_owned(),
        Some(_) | None => format!("`{}`", file.display()),
    };
    read.map(Bytes::from).map_err(|source| CommandError::Input { what: what(), source })
}

/// Returns the headers beside the signature.
fn provider_headers(
    kind: Kind,
    args: &Args,
    body: &[u8],
) -> Result<Vec<(HeaderName, HeaderValue)>, CommandError> {
    match kind {
        Kind::GitHub => {
            let event = args
                .event
                .clone()
                .or_else(|| guess::github_event(body).map(HeaderValue::from_static));
            let event = event.ok_or_else(|| {
                CommandError::Usage(
                    "the body does not tell which event it is: say --event, such as \
                     `--event pull_request`"
                        .to_owned(),
                )
            })?;
            Ok(github_headers(event, args.delivery_id.clone()))
        }
        Kind::Stripe if args.event.is_some() || args.delivery_id.is_some() => {
            Err(CommandError::Usage(
                "--event and --delivery-id are GitHub's: Stripe has both in the body".to_owned(),
            ))
        }
        Kind::Stripe => Ok(Vec::new()),
    }
}

/// Returns GitHub's headers; the delivery's id is random unless it is given.
pub(super) fn github_headers(
    event: HeaderValue,
    delivery_id: Option<HeaderValue>,
) -> Vec<(HeaderName, HeaderValue)> {
    let delivery_id = delivery_id.unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::from_str(&id).expect("a UUID is of letters, digits and dashes")
    });
    vec![
        (HeaderName::from_static("x-github-event"), event),
        (HeaderName::from_static("x-github-delivery"), delivery_id),
    ]
}

/// Returns the time of day, which Stripe's signatures have in them.
pub(super) fn now() -> Timestamp {
    SystemClock::start(Timestamp::EPOCH).wall()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("send").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn an_address_may_leave_its_scheme_out_but_not_be_another() {
        assert_eq!(read_url("127.0.0.1:1/webhooks/x").unwrap(), "http://127.0.0.1:1/webhooks/x");
        assert_eq!(read_url("http://a/b").unwrap(), "http://a/b");
        assert!(read_url("https://a/b").is_err());
        assert!(read_url("http://a b").is_err());
    }

    #[test]
    fn what_is_said_in_full_needs_no_configuration() {
        let args = ["--kind", "stripe", "--secret", "plain:s", "--url", "h:1/x", "s", "-"];
        let args = parse(&args).unwrap();
        let target = Target::find(&args, &SourceName::parse("s").unwrap()).unwrap();
        assert_eq!(
            (target.kind, target.url.to_string()),
            (Kind::Stripe, "http://h:1/x".to_owned())
        );
        assert!(target.secret.is_some());
    }

    #[test]
    fn a_wrong_kind_or_secret_is_refused_without_showing_the_secret() {
        let error = parse(&["--kind", "gitlab", "s", "-"]).unwrap_err().to_string();
        assert!(error.contains("known are `github`, `stripe`"), "{error}");
        let source = SourceName::parse("s").unwrap();
        for (spec, told) in [("hunter2", "must begin with"), ("env:HOOKLINE_NOT_SET", "is not set")]
        {
            let args = parse(&["--secret", spec, "s", "-"]).unwrap();
            assert!(!format!("{args:?}").contains("hunter2"));
            let error = Target::find(&args, &source).err().unwrap().to_string();
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_hub_on_a_free_port_can_not_be_guessed() {
        let source = SourceName::parse("s").unwrap();
        let listen = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(url_at(listen("127.0.0.1:0"), &source).is_err());
        assert_eq!(url_at(listen("[::1]:9"), &source).unwrap(), "http://[::1]:9/webhooks/s");
    }

    #[test]
    fn a_github_body_that_tells_nothing_needs_the_event() {
        let args = parse(&["s", "-"]).unwrap();
        assert!(provider_headers(Kind::GitHub, &args, b"{}").is_err());
        let args = parse(&["--event", "push", "--delivery-id", "7", "s", "-"]).unwrap();
        let headers = provider_headers(Kind::GitHub, &args, b"not json").unwrap();
        let text: Vec<_> = headers.iter().map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(text, ["push", "7"]);
        assert!(provider_headers(Kind::Stripe, &args, b"{}").is_err());
    }
}
