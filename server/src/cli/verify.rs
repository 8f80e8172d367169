//! `hookline verify`: why a signature fails, offline.

mod headers;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hookline_core::{
    event::NewEvent,
    normalize::{Received, probe, receive},
    source::Source,
    time::Timestamp,
    verify::{
        Request, VerifyError,
        diagnose::{Case, Diagnosis, diagnose},
    },
};
use http::{Method, Uri, uri::PathAndQuery};

use self::headers::Head;
use super::{
    CommandError, put,
    send::{now, read_body},
    text,
    time_arg::read_time,
};
use crate::{
    config::{Config, Environment as _, Flags, Process},
    limits,
};

const EXAMPLES: &str = "\
Examples:
  # A request that was refused, as a proxy, a request bin or `curl -v` shows it
  hookline verify --config hookline.toml github --headers headers.txt body.json

  # One of last week, judged as of then
  hookline verify stripe --headers headers.txt --at 2026-11-16T09:00:00Z body.json

  # Of a kind that signs the address, with the one that the provider posts to
  hookline verify twilio --headers headers.txt \\
    --url 'https://hooks.example.com/webhooks/twilio?a=1' body";

/// Says why a request is refused, without a hub.
///
/// Checks a request that was kept in two files as the hub would, with the configuration at hand (`--config` and the
/// environment, as for `serve`). If it verifies, says what events it becomes, and exits with 0. If not, says why not and
/// exits with 1: it tries what is often wrong (an old or mistyped secret, that of another source, a body that was written
/// anew, another address) and names the first that makes it verify. Secrets and signatures are never shown. Posts
/// nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The source that the request was posted to
    source: String,
    /// The file with the body, byte for byte; `-` for the standard input
    body: PathBuf,
    /// The file with the headers: a line `Name: value` each; a request line, and the marks of `curl -v`, may be there
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// The hub's TOML file
    #[arg(long, short, env = "HOOKLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// When the request came: a time such as 2026-11-23T09:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<Timestamp>,
    /// Where it was posted, whole or from the path on [default: as the request line says, else /webhooks/SOURCE]
    #[arg(long)]
    url: Option<Uri>,
    /// Its method [default: as the request line says, else POST]
    #[arg(long)]
    method: Option<Method>,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    // Reading files, and hashing a body many times, are no work for the runtime's own threads.
    let judging = tokio::task::spawn_blocking(move || judge(&args));
    let lines = match judging.await {
        Ok(judged) => judged?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    lines.text.iter().try_for_each(|line| put(line))?;
    if lines.verified { Ok(()) } else { Err(CommandError::Unverified) }
}

/// What is said of a request.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    verified: bool,
    text: Vec<String>,
}

fn judge(args: &Args) -> Result<Told, CommandError> {
    let flags = Flags { config: args.config.clone(), ..Flags::default() };
    let config = Config::load(&flags, &Process)?;
    let source = config.sources.iter().find(|source| source.name().as_str() == args.source);
    let source = source.ok_or_else(|| unknown(&args.source, &config.sources))?;
    let head = read_head(&args.headers)?;
    let body = read_body(&args.body)?;
    let now = args.at.unwrap_or_else(now);
    Ok(tell(&Question { source, sources: &config.sources, head: &head, body: &body, now }, args))
}

fn unknown(name: &str, sources: &[Source]) -> CommandError {
    let names: Vec<_> = sources.iter().map(|source| format!("`{}`", source.name())).collect();
    let known = match names.as_slice() {
        [] => "none is: give the hub's file with --config".to_owned(),
        names => format!("those that are: {}", names.join(", ")),
    };
    CommandError::Usage(format!("the source `{name}` is not configured; {known}"))
}

fn read_head(file: &Path) -> Result<Head, CommandError> {
    let what = format!("`{}`", file.display());
    let bytes = Process.read(file, limits::HEADER_FILE_BYTES_MAX);
    let bytes = bytes.map_err(|source| CommandError::Input { what: what.clone(), source })?;
    Head::parse(&bytes).map_err(|error| CommandError::Usage(format!("{what}: {error}")))
}

/// A request, and what it is checked with.
struct Question<'a> {
    source: &'a Source,
    sources: &'a [Source],
    head: &'a Head,
    body: &'a Bytes,
    now: Timestamp,
}

fn tell(question: &Question<'_>, args: &Args) -> Told {
    let Question { source, sources, head, body, now } = *question;
    let path = source.path();
    let of_url = args.url.as_ref().and_then(Uri::path_and_query).map(PathAndQuery::as_str);
    let target = of_url.or(head.target.as_deref()).unwrap_or(&path);
    let method = args.method.as_ref().or(head.method.as_ref()).unwrap_or(&Method::POST);
    let request = Request { method, target, headers: &head.headers, body };
    if method != Method::POST {
        return match probe(source, request) {
            Some(Ok(answer)) => verified(source, &Received::Answer(answer)),
            Some(Err(error)) => refused(&error, None, args),
            None => {
                let what = format!("refused: {method} is no method of `{}` here", source.kind());
                Told { verified: false, text: vec![what] }
            }
        };
    }
    match receive(source, request, now) {
        Ok(received) => verified(source, &received),
        Err(error) => {
            let whole = args.url.as_ref().filter(|url| url.scheme().is_some());
            let posted_url = whole.map(ToString::to_string);
            let posted_url = posted_url.as_deref();
            let found = diagnose(&Case { source, sources, request, posted_url, now });
            refused(&error, found.as_ref(), args)
        }
    }
}

fn verified(source: &Source, received: &Received) -> Told {
    let mut text = Vec::new();
    let unsigned =
        if source.is_unsigned() { " (the source is `unsigned`: nothing is checked)" } else { "" };
    match received {
        Received::Answer(answer) => {
            let status = answer.status;
            text.push(format!("verified: a handshake, which is answered with {status}{unsigned}"));
        }
        Received::Events { events, .. } => {
            for event in events {
                text.push(format!("verified: {}/{}{unsigned}", event.source, event.event_type));
                text.extend(facts(event));
            }
        }
    }
    Told { verified: true, text }
}

/// Returns what an event is to be, a line each.
fn facts(event: &NewEvent) -> Vec<String> {
    let resource = [event.resource_type.as_str(), event.resource_id.as_str()];
    let resource = resource.map(str::trim).join(" ");
    let facts = [
        ("delivery key", text::cell(&event.delivery_key, 300)),
        ("actor", text::cell(&event.actor, 300)),
        ("resource", text::cell(resource.trim(), 300)),
        ("time", event.timestamp.to_string()),
    ];
    facts.map(|(name, value)| format!("  {name:<12}  {value}")).to_vec()
}

fn refused(error: &VerifyError, found: Option<&Diagnosis>, args: &Args) -> Told {
    let mut text = vec![format!("refused: {}", text::clean(&error.to_string()))];
    match found {
        Some(found) => {
            text.push(format!("because: {}", text::clean(&found.to_string())));
            if found.age.is_some() && args.at.is_none() {
                text.push("if it came earlier, say when with --at".to_owned());
            }
        }
        None => text.extend(hint(error)),
    }
    Told { verified: false, text }
}

/// Returns what to look at where no variant verifies.
fn hint(error: &VerifyError) -> Option<String> {
    let hint = match error {
        VerifyError::Missing(_) => {
            "the sender has no secret, or something on the way takes the header off"
        }
        VerifyError::Malformed(_) => "what stands there was not made by a sender of this kind",
        VerifyError::Wrong(_) => {
            "nothing that is often wrong is it: the sender has another secret, or the body is not \
             the one that was signed"
        }
        VerifyError::Ambiguous(_) | VerifyError::Stale { .. } | VerifyError::Early { .. } => {
            return None;
        }
    };
    Some(format!("because: {hint}"))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use hookline_core::{
        event::SourceName,
        source::{Kind, Secret},
        verify::{Draft, sign},
    };

    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        let command = Args::augment_args(Command::new("verify").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    fn told(head: &str, body: &str, signed: &str, arguments: &[&str]) -> Told {
        let secret = Secret::new("a secret").unwrap();
        let name = SourceName::parse("forge").unwrap();
        let source = Source::signed(name, Kind::GITHUB, vec![secret.clone()]).unwrap();
        let (mut head, now) = (Head::parse(head.as_bytes()).unwrap(), Timestamp::EPOCH);
        let signed = Bytes::from(signed.to_owned());
        let draft = Draft { url: "", headers: &head.headers, body: &signed };
        head.headers.extend(sign(source.schemes(), &secret, draft, now).unwrap());
        let body = Bytes::from(body.to_owned());
        let sources = &[];
        let question = Question { source: &source, sources, head: &head, body: &body, now };
        let args = [&["forge", "-", "--headers", "h"], arguments].concat();
        tell(&question, &parse(&args))
    }

    #[test]
    fn what_verifies_is_told_by_what_it_becomes() {
        let head = "POST /webhooks/forge HTTP/1.1\r\nX-GitHub-Event: issues\r\nX-GitHub-Delivery: d1\r\n\r\n";
        let body = r#"{"action":"opened","issue":{"number":7},"repository":{"full_name":"a/b"}}"#;
        let told = told(head, body, body, &[]);
        assert_eq!(
            told.text,
            [
                "verified: forge/issues.opened",
                "  delivery key  d1",
                "  actor         -",
                "  resource      issue a/b#7",
                "  time          1970-01-01T00:00:00Z",
            ]
        );
        assert!(told.verified);
    }

    #[test]
    fn what_does_not_is_told_with_the_reason() {
        let told = told("", "{}\n", "{}", &[]);
        assert!(!told.verified);
        let [refused, because] = told.text.as_slice() else { panic!("{told:?}") };
        assert_eq!(refused, "refused: the signature in `x-hub-signature-256` is wrong");
        assert!(because.contains("without the newline at its end"), "{because}");
    }

    #[test]
    fn another_method_is_no_event() {
        let told = told("", "{}", "{}", &["--method", "GET"]);
        assert_eq!(told.text, ["refused: GET is no method of `github` here"]);
    }
}
