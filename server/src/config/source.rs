//! `[sources.NAME]`: who may post, and the secrets they sign with.

use std::path::{Path, PathBuf};

use hookline_core::{
    event::{AGENT_SOURCE, DEAD_LETTER_SOURCE, SourceName},
    normalize::times,
    rate::Rate,
    source::{
        EmptySecret, Kind, LiveSecret, PublicUrl, SECRETS_MAX, Secret, Settings, Source,
        SourceError,
    },
    verify::Scheme,
};

use super::{ConfigError, Environment, Problem, Section, custom, section::Item};
use crate::limits;

/// Reads all sources, by name.
pub(super) fn read(
    section: Section,
    public_url: Option<&str>,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Vec<Source> {
    let sources = section.sections(errors);
    if limits::SOURCES_MAX < sources.len() {
        errors.push(ConfigError::at("sources", Problem::SourceCount(sources.len())));
        return Vec::new();
    }
    sources
        .into_iter()
        .filter_map(|(name, section)| read_source(&name, section, public_url, environment, errors))
        .collect()
}

/// Reads one source: all of it, also when a part of it is wrong.
fn read_source(
    name: &str,
    mut section: Section,
    public_url: Option<&str>,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Option<Source> {
    let (key, before) = (format!("sources.{name}"), errors.len());
    let parsed = parse_name(name).map_err(|problem| errors.push(ConfigError::at(&key, problem)));
    let kind = read_kind(&mut section, errors);
    let secrets = read_secrets(&mut section, environment, errors);
    let unsigned = section.flag("unsigned", errors);
    match (&secrets, unsigned) {
        (None, false) => {
            errors.push(ConfigError::at(section.key("secrets"), Problem::SecretsMissing));
        }
        (Some(_), true) => {
            errors.push(ConfigError::at(section.key("unsigned"), Problem::UnsignedWithSecrets));
        }
        (None, true) | (Some(_), false) => {}
    }
    let mut settings = read_settings(&mut section, public_url, environment, errors);
    if kind == Some(Kind::CUSTOM) {
        settings.custom = custom::read(&mut section, unsigned, errors);
    }
    if let Some(kind) = kind {
        check_settings(&section, kind, &settings, errors);
    }
    section.finish(errors);
    let (name, kind) = (parsed.ok()?, kind?);
    if before < errors.len() {
        // What is left of a source with mistakes makes none.
        return None;
    }
    let source = match secrets {
        None => Source::unsigned(name, kind, settings),
        Some(secrets) => Source::new(name, kind, secrets, settings),
    };
    source.map_err(|error| errors.push(source_error(&key, kind, error))).ok()
}

/// Tells what a source says of its parts, at the key where it can be mended.
fn source_error(key: &str, kind: Kind, error: SourceError) -> ConfigError {
    match error {
        SourceError::Key { index, error, .. } => {
            ConfigError::at(format!("{key}.secrets[{index}]"), Problem::Key { kind, error })
        }
        SourceError::NoUrl(_) => ConfigError::at(format!("{key}.url"), Problem::UrlMissing(kind)),
        other @ (SourceError::Reserved(_)
        | SourceError::NoSecret(_)
        | SourceError::TooManySecrets { .. }
        | SourceError::Custom(_)) => ConfigError::at(key, Problem::Source(other)),
    }
}

fn read_settings(
    section: &mut Section,
    public_url: Option<&str>,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Settings {
    let base = public_url.map(|base| PublicUrl::Base(base.into()));
    let url = section.url("url", errors).map(|url| PublicUrl::Exact(url.into()));
    let least = limits::TOLERANCE_LEAST;
    let tolerance = section.span("tolerance", least..=limits::TOLERANCE_MOST, errors);
    let legacy_signatures = section.flag("legacy_signatures", errors);
    let windows = limits::REPLAY_WINDOW_LEAST..=limits::REPLAY_WINDOW_MOST;
    let replay_window = section.span("replay_window", windows, errors);
    let key = section.key("verify_token");
    let verify_token = section.text("verify_token", errors).and_then(|spec| {
        resolve(&spec, environment)
            .map_err(|problem| errors.push(ConfigError::at(key, problem)))
            .ok()
    });
    let rate = read_rate(section, errors);
    Settings {
        url: url.or(base),
        tolerance,
        legacy_signatures,
        replay_window,
        verify_token,
        rate,
        custom: None,
    }
}

/// Reads how often the source may post.
fn read_rate(section: &mut Section, errors: &mut Vec<ConfigError>) -> Option<Rate> {
    let rates = limits::SOURCE_RATE_LEAST..=limits::SOURCE_RATE_MOST;
    let is_limited = section.origin("max_per_second").is_some();
    let per_second = section.number("max_per_second", rates, errors);
    let alone = section.origin("burst").filter(|_| !is_limited);
    let burst = section.count("burst", 1..=limits::SOURCE_BURST_MOST, errors);
    if let Some(origin) = alone {
        let (key, origin) = (section.key("burst"), Some(origin));
        errors.push(ConfigError { key, origin, problem: Problem::BurstAlone });
    }
    Some(Rate::new(per_second?, burst))
}

/// Refuses what would do nothing: who sets a tolerance believes that old requests are refused.
fn check_settings(
    section: &Section,
    kind: Kind,
    settings: &Settings,
    errors: &mut Vec<ConfigError>,
) {
    let schemes = settings.schemes(kind);
    let mut refuse = |key, why| {
        errors.push(ConfigError::at(section.key(key), Problem::Meaningless { kind, why }));
    };
    if settings.tolerance.is_some() && !schemes.iter().any(Scheme::has_time) {
        refuse("tolerance", "it signs no time; `replay_window` may help");
    }
    if settings.legacy_signatures && !schemes.iter().any(|scheme| scheme.legacy) {
        refuse("legacy_signatures", "it has no older signatures");
    }
    if settings.verify_token.is_some() && !kind.provider().handshake.has_token {
        refuse("verify_token", "its handshake has none");
    }
}

fn parse_name(name: &str) -> Result<SourceName, Problem> {
    if [DEAD_LETTER_SOURCE, AGENT_SOURCE].contains(&name) {
        return Err(Problem::Reserved(name.to_owned()));
    }
    Ok(SourceName::parse(name)?)
}

fn read_kind(section: &mut Section, errors: &mut Vec<ConfigError>) -> Option<Kind> {
    let key = section.key("kind");
    let before = errors.len();
    let Some(found) = section.text("kind", errors) else {
        if errors.len() == before {
            errors.push(ConfigError::at(key, Problem::KindMissing));
        }
        return None;
    };
    let nearest = || {
        let near =
            Kind::all().filter(|kind| strsim::damerau_levenshtein(kind.as_str(), &found) <= 3);
        near.min_by_key(|kind| strsim::damerau_levenshtein(kind.as_str(), &found))
    };
    let unknown = |error| Problem::Kind { error, nearest: nearest() };
    Kind::parse(&found).map_err(|error| errors.push(ConfigError::at(key, unknown(error)))).ok()
}

/// Reads the secrets; `None` if there are none. Of those that are wrong an empty list is left, since they are told.
fn read_secrets(
    section: &mut Section,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<LiveSecret>> {
    let key = section.key("secrets");
    let before = errors.len();
    let Some(items) = section.items("secrets", "secret", &["not_after"], errors) else {
        return (before < errors.len()).then(Vec::new);
    };
    if SECRETS_MAX < items.len() {
        errors.push(ConfigError::at(key, Problem::SecretCount(items.len())));
        return Some(Vec::new());
    }
    let mut secrets = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match read_secret(item, environment) {
            Ok(secret) => secrets.push(secret),
            Err(problem) => errors.push(ConfigError::at(format!("{key}[{index}]"), problem)),
        }
    }
    (!items.is_empty()).then_some(secrets)
}

fn read_secret(item: &Item, environment: &dyn Environment) -> Result<LiveSecret, Problem> {
    let secret = resolve(&item.text, environment)?;
    let not_after = item
        .more
        .get("not_after")
        .map(|text| times::parse_date(text).ok_or_else(|| Problem::Time(text.clone())));
    Ok(LiveSecret { secret, not_after: not_after.transpose()? })
}

/// Finds the secret that `env:NAME`, `file:PATH` or `plain:TEXT` names.
///
/// # Errors
///
/// If the text has another form, or what it names is not there, not text, or empty. The error shows no secret.
pub(crate) fn resolve(spec: &str, environment: &dyn Environment) -> Result<Secret, Problem> {
    let (place, text) = if let Some(name) = spec.strip_prefix("env:") {
        (format!("the environment variable `{name}`"), from_variable(name, environment)?)
    } else if let Some(path) = spec.strip_prefix("file:") {
        (format!("the file `{path}`"), from_file(Path::new(path), environment)?)
    } else if let Some(text) = spec.strip_prefix("plain:") {
        ("`plain:`".to_owned(), text.to_owned())
    } else {
        return Err(Problem::SecretForm);
    };
    Secret::new(text).map_err(|EmptySecret| Problem::SecretEmpty(place))
}

fn from_variable(name: &str, environment: &dyn Environment) -> Result<String, Problem> {
    // It may be something else that was written here by mistake, even a secret.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(Problem::VariableName);
    }
    let found = environment.variables().into_iter().find(|(variable, _)| variable == name);
    let (_, value) = found.ok_or_else(|| Problem::VariableMissing(name.to_owned()))?;
    value.into_string().map_err(|_| Problem::VariableNotText(name.to_owned()))
}

/// The newline that editors and `echo` put at the end of a file is not part of the secret.
fn from_file(path: &Path, environment: &dyn Environment) -> Result<String, Problem> {
    let owned = || -> PathBuf { path.to_owned() };
    let bytes = environment
        .read(path, limits::SECRET_FILE_BYTES_MAX)
        .map_err(|error| Problem::SecretUnreadable { path: owned(), error })?;
    let mut text = String::from_utf8(bytes).map_err(|_| Problem::SecretNotText(owned()))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}
