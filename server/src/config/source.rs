//! `[sources.NAME]`: who may post, and the secrets they sign with.

use std::path::{Path, PathBuf};

use hookline_core::{
    event::{AGENT_SOURCE, DEAD_LETTER_SOURCE, SourceName},
    source::{EmptySecret, Kind, SECRETS_MAX, Secret, Source},
};

use super::{ConfigError, Environment, Problem, Section};
use crate::limits;

/// Reads all sources, by name.
pub(super) fn read(
    section: Section,
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
        .filter_map(|(name, section)| read_source(&name, section, environment, errors))
        .collect()
}

/// Reads one source: all of it, also when a part of it is wrong.
fn read_source(
    name: &str,
    mut section: Section,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Option<Source> {
    let key = format!("sources.{name}");
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
    section.finish(errors);
    let (name, kind) = (parsed.ok()?, kind?);
    let source = match secrets {
        None if unsigned => Source::unsigned(name, kind),
        // Mistakes in the secrets have been told: what is left of them makes no source.
        secrets => Source::signed(name, kind, secrets.unwrap_or_default()),
    };
    source.ok()
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
            let known = Kind::ALL.map(|kind| format!("`{kind}`")).join(", ");
            errors.push(ConfigError::at(key, Problem::KindMissing(known)));
        }
        return None;
    };
    Kind::parse(&found).map_err(|error| errors.push(ConfigError::at(key, error.into()))).ok()
}

/// Reads the secrets; `None` if there are none. Of those that are wrong an empty list is left, since they are told.
fn read_secrets(
    section: &mut Section,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<Secret>> {
    let key = section.key("secrets");
    let before = errors.len();
    let Some(specs) = section.list("secrets", errors) else {
        return (before < errors.len()).then(Vec::new);
    };
    if SECRETS_MAX < specs.len() {
        errors.push(ConfigError::at(key, Problem::SecretCount(specs.len())));
        return Some(Vec::new());
    }
    let mut secrets = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        match resolve(spec, environment) {
            Ok(secret) => secrets.push(secret),
            Err(problem) => errors.push(ConfigError::at(format!("{key}[{index}]"), problem)),
        }
    }
    (!specs.is_empty()).then_some(secrets)
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
