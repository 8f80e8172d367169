//! `hookline send`: a webhook, as its provider would post it.

mod guess;
mod request;
mod target;

use std::{io::Read as _, path::PathBuf};

use bytes::Bytes;
use hookline_core::{
    event::SourceName,
    normalize::receive,
    source::{Kind, Source},
    time::Timestamp,
    verify::Request,
};
use http::{HeaderValue, Method, Uri, uri::PathAndQuery};

pub(super) use self::target::{SecretSpec, read_url};
use self::{
    request::{Form, Made, Wanted},
    target::Target,
};
use super::{CommandError, post::Poster, put, say_error, text, time_arg::read_time};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{Environment as _, Process},
    limits,
};

const EXAMPLES: &str = "\
Examples:
  # As the source `github` of the hub's own configuration
  hookline send --config hookline.toml github pull_request.json

  # With no configuration at hand
  hookline send --kind github --secret env:GITHUB_WEBHOOK_SECRET github push.json
  hookline send --kind stripe --secret plain:whsec_test stripe invoice.json

  # A form with the members of a JSON object as its fields
  hookline send --config hookline.toml --form twilio sms.json

  # To another hub, from a pipe, as a second copy of a delivery
  jq '.action = \"closed\"' pull_request.json |
    hookline send --url http://hub.internal:8080/webhooks/github --kind github \\
      --secret file:secret --event pull_request --delivery-id 72d3162e github -

Private keys:
  A kind that signs with a key pair needs the private key, which no hub has: say it with --secret.
  Discord: the seed of 32 bytes, in hex. Standard Webhooks: `whsk_` and the seed in base64.
  SendGrid: PKCS #8 in base64. `hookline sources kinds` lists all kinds and their secrets.";

/// Posts a body to a hub, signed as its provider would.
///
/// How to sign comes from the source of this name in the configuration (`--config` and the environment, as for
/// `serve`), or from `--kind` and `--secret`. A token that stands in a header is put there; one that stands in the body or
/// in the address has to be in FILE or --url. The answer's status and body are printed. Exits with 0 if the status is
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
    /// Whose signature to make, such as github; `hookline sources kinds` lists all [default: as configured]
    #[arg(long, value_parser = Kind::parse)]
    kind: Option<Kind>,
    /// What to sign with: env:NAME, file:PATH or plain:TEXT [default: the first secret that is configured and has not
    /// run out]
    #[arg(long)]
    secret: Option<SecretSpec>,
    /// Where to post [default: http://127.0.0.1:4150/webhooks/SOURCE, or as configured]
    #[arg(long, value_parser = read_url)]
    url: Option<Uri>,
    /// Who may have signed the certificate of an `https://` address, in PEM [default: whom the system trusts]
    #[arg(long, env = "HOOKLINE_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// The event's name, of kinds that have it in a header [default: of GitHub guessed from the body]
    #[arg(long, value_name = "NAME")]
    event: Option<HeaderValue>,
    /// The delivery's id, of kinds that have it in a header [default: a random one]
    #[arg(long, value_name = "ID")]
    delivery_id: Option<HeaderValue>,
    /// A header, in place of what would be sent; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body's media type [default: application/json, or that of a form]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<HeaderValue>,
    /// Send the members of a JSON object as the fields of a form
    #[arg(long)]
    form: bool,
    /// Send the file as the field `payload` of a form
    #[arg(long, conflicts_with = "form")]
    form_payload: bool,
    /// When it is signed: a time such as 2026-11-23T09:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<Timestamp>,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let source = SourceName::parse(&args.source)
        .map_err(|error| CommandError::Usage(format!("`{}` is no source: {error}", args.source)))?;
    let now = args.at.unwrap_or_else(now);
    let target = Target::find(&args, &source, now)?;
    let file = read_body(&args.file)?;
    let posted_to = target.url.to_string();
    let wanted = Wanted {
        kind: target.kind,
        schemes: &target.schemes,
        secret: target.secret.as_ref(),
        url: target.signed_url.as_deref().unwrap_or(&posted_to),
        now,
        event: args.event.as_ref(),
        delivery_id: args.delivery_id.as_ref(),
        content_type: args.content_type.as_ref(),
        form: match (args.form, args.form_payload) {
            (true, _) => Form::Fields,
            (false, true) => Form::Payload,
            (false, false) => Form::No,
        },
        headers: &request::read_headers(&args.headers)?,
    };
    let made = request::make(&wanted, &file)?;
    if let Some(place) = &made.token_in
        && is_missing(source, &target, &made, now)
    {
        say_error(&format!(
            "the token of this kind stands in {place}, and is not there or another"
        ));
    }
    let poster = if target.url.scheme_str() == Some("https") {
        let what = args.ca_cert.as_ref().map_or_else(
            || "the certificates that the system trusts".to_owned(),
            |path| format!("`{}`", path.display()),
        );
        let failed = |source| CommandError::Input { what, source };
        Poster::trusting(args.ca_cert.as_deref()).map_err(failed)?
    } else {
        Poster::plain()
    };
    let answer = poster.post(&target.url, made.headers, made.body).await?;
    put(&format!("{} {}", answer.status, text::clean(&answer.body)))?;
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(CommandError::Status(answer.status.as_u16()))
    }
}

/// Whether a token that only who made the request can put into it is not there.
fn is_missing(source: SourceName, target: &Target, made: &Made, now: Timestamp) -> bool {
    let secrets = target.secret.iter().cloned().map(Into::into).collect();
    let source = Source::new(source, target.kind, secrets, target.settings.clone());
    let to = target.url.path_and_query().map_or("/", PathAndQuery::as_str);
    let (headers, body) = (&made.headers, &made.body);
    let request = Request { method: &Method::POST, target: to, headers, body };
    source.is_ok_and(|source| receive(&source, request, now).is_err())
}

/// Reads a body; as much of it as a hub may take.
pub(super) fn read_body(file: &std::path::Path) -> Result<Bytes, CommandError> {
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

/// Returns the time of day, which many signatures have in them.
pub(super) fn now() -> Timestamp {
    SystemClock::start(Timestamp::EPOCH).wall()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    pub(super) fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("send").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_form_has_its_fields_or_a_payload() {
        assert!(parse(&["--form", "s", "-"]).unwrap().form);
        assert!(parse(&["--form", "--form-payload", "s", "-"]).is_err());
    }
}
