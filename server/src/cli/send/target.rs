//! Where a webhook is posted, and with what it is signed.

use std::fmt;

use hookline_core::{
    event::SourceName,
    source::{Kind, Secret, Settings, Source},
    time::Timestamp,
    verify::Scheme,
};
use http::{Uri, uri::PathAndQuery};

use super::Args;
use crate::{
    cli::CommandError,
    config::{self, Config, Flags, HTTP_LISTEN_DEFAULT, Http, Process},
};

/// Where a secret is. It may be the secret itself, so it is read after the command line: clap's errors show values.
#[derive(Clone)]
pub(in crate::cli) struct SecretSpec(String);

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
    pub(in crate::cli) fn read(&self) -> Result<Secret, CommandError> {
        config::secret(&self.0, &Process)
            .map_err(|problem| CommandError::Usage(format!("--secret: {problem}")))
    }
}

/// Where to post, and how to sign.
pub(super) struct Target {
    pub(super) url: Uri,
    /// The address that is signed, where another is configured than the one that is posted to.
    pub(super) signed_url: Option<String>,
    pub(super) kind: Kind,
    pub(super) schemes: Vec<Scheme>,
    /// `None` for a source that is configured to be unsigned.
    pub(super) secret: Option<Secret>,
    /// What else is configured.
    pub(super) settings: Settings,
}

impl Target {
    /// Puts together what was said; the configuration is only read for what was not.
    pub(super) fn find(
        args: &Args,
        source: &SourceName,
        now: Timestamp,
    ) -> Result<Self, CommandError> {
        let secret = args.secret.as_ref().map(SecretSpec::read).transpose()?;
        if let (Some(kind), Some(_), Some(url)) = (args.kind, &secret, &args.url) {
            let schemes = kind.provider().schemes.to_vec();
            let settings = Settings::default();
            return Ok(Self {
                url: url.clone(),
                signed_url: None,
                kind,
                schemes,
                secret,
                settings,
            });
        }
        let flags = Flags { config: args.config.clone(), ..Flags::default() };
        let config = Config::load(&flags, &Process)?;
        let configured = config.sources.iter().find(|known| known.name() == source);
        let kind = args.kind.or_else(|| configured.map(Source::kind));
        let (kind, secret) = match (kind, secret, configured) {
            (Some(kind), Some(secret), _) => (kind, Some(secret)),
            (Some(kind), None, Some(known)) => (kind, secret_of(known, now)?),
            (None, _, _) | (_, None, None) => {
                return Err(CommandError::Usage(format!(
                    "the source `{source}` is not configured: give its hub's file with --config, \
                     or say --kind and --secret"
                )));
            }
        };
        let url = match &args.url {
            Some(url) => url.clone(),
            None => url_at(&config.http, source)?,
        };
        let known = configured.filter(|known| known.kind() == kind);
        let schemes = known.map_or_else(|| kind.provider().schemes, Source::schemes).to_vec();
        let target = url.path_and_query().map_or("/", PathAndQuery::as_str);
        let signed_url = known.and_then(|known| known.url_of(target));
        let settings = known.map(|known| known.settings().clone()).unwrap_or_default();
        Ok(Self { url, signed_url, kind, schemes, secret, settings })
    }
}

/// Returns the secret with which a source's sender signs now: the first that has not run out; `None` of an unsigned one.
fn secret_of(source: &Source, now: Timestamp) -> Result<Option<Secret>, CommandError> {
    let mut proofs = source.schemes().iter().flat_map(|scheme| scheme.proofs.iter());
    if !source.is_unsigned() && proofs.all(|proof| proof.primitive.is_public_key()) {
        return Err(CommandError::Usage(format!(
            "the secret of the source `{}` is the sender's public key, which can't sign: say the \
             private one with --secret",
            source.name()
        )));
    }
    let mut secrets = source.secrets().iter();
    let live = secrets.find(|secret| secret.is_live(now));
    Ok(live.or_else(|| source.secrets().first()).map(|live| live.secret.clone()))
}

/// Returns the address of a source at a hub; of a hub on a free port only the hub itself knows it.
fn url_at(http: &Http, source: &SourceName) -> Result<Uri, CommandError> {
    let listen = http.listen;
    if listen.port() == 0 {
        return Err(CommandError::Usage(format!(
            "`http.listen` is `{listen}`, a port that only the hub knows: say --url, such as \
             `http://{HTTP_LISTEN_DEFAULT}/webhooks/{source}`"
        )));
    }
    let url = format!("{}://{listen}/webhooks/{source}", http.scheme());
    url.parse().map_err(|error| CommandError::Usage(format!("`{url}` is no address: {error}")))
}

/// Reads an address; without a scheme, `http://` is meant.
pub(in crate::cli) fn read_url(text: &str) -> Result<Uri, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = with_scheme.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http" | "https") => Ok(url),
        Some(_) | None => Err("only `http://` and `https://` are spoken here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn an_address_may_leave_its_scheme_out_but_not_be_another() {
        assert_eq!(read_url("127.0.0.1:1/webhooks/x").unwrap(), "http://127.0.0.1:1/webhooks/x");
        assert_eq!(read_url("http://a/b").unwrap(), "http://a/b");
        assert_eq!(read_url("https://a/b").unwrap(), "https://a/b");
        assert!(read_url("ftp://a/b").is_err());
        assert!(read_url("http://a b").is_err());
    }

    #[test]
    fn what_is_said_in_full_needs_no_configuration() {
        let args = ["--kind", "stripe", "--secret", "plain:s", "--url", "h:1/x", "s", "-"];
        let args = parse(&args).unwrap();
        let target =
            Target::find(&args, &SourceName::parse("s").unwrap(), Timestamp::EPOCH).unwrap();
        assert_eq!(
            (target.kind, target.url.to_string()),
            (Kind::STRIPE, "http://h:1/x".to_owned())
        );
        assert!(target.secret.is_some());
    }

    #[test]
    fn a_wrong_kind_or_secret_is_refused_without_showing_the_secret() {
        let error = parse(&["--kind", "hooli", "s", "-"]).unwrap_err().to_string();
        assert!(error.contains("`hookline sources kinds` lists all"), "{error}");
        let source = SourceName::parse("s").unwrap();
        for (spec, told) in [("hunter2", "must begin with"), ("env:HOOKLINE_NOT_SET", "is not set")]
        {
            let args = parse(&["--secret", spec, "s", "-"]).unwrap();
            assert!(!format!("{args:?}").contains("hunter2"));
            let error = Target::find(&args, &source, Timestamp::EPOCH).err().unwrap().to_string();
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_hub_on_a_free_port_can_not_be_guessed() {
        let source = SourceName::parse("s").unwrap();
        let listen = |text: &str| Http {
            listen: text.parse().unwrap(),
            tls: None,
            insecure: false,
            max_body: 1,
            public_url: None,
        };
        assert!(url_at(&listen("127.0.0.1:0"), &source).is_err());
        assert_eq!(url_at(&listen("[::1]:9"), &source).unwrap(), "http://[::1]:9/webhooks/s");
    }
}
