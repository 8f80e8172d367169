//! The layers, merged into one tree in which each value knows where it was said.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{ConfigError, Environment, Flags, Origin, Problem, section::SECTIONS};
use crate::limits;

/// Before the names of our environment variables.
const PREFIX: &str = "HOOKLINE_";

/// A value and where it was said.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value of any layer. Not shown by any error: it may be a secret.
#[derive(Debug)]
pub(super) enum Value {
    Table(Table),
    /// From the file.
    Toml(toml::Value),
    /// From the environment or a flag, where everything is text.
    Text(String),
}

pub(super) type Table = BTreeMap<String, Node>;

/// All layers but the defaults.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) root: Table,
}

impl Layers {
    pub(super) fn collect(
        flags: &Flags,
        environment: &dyn Environment,
        errors: &mut Vec<ConfigError>,
    ) -> Self {
        let mut layers = Self::default();
        let variables = our_variables(environment, errors);
        let file = flags.config.clone().or_else(|| variables.get("CONFIG").map(PathBuf::from));
        if let Some(path) = file {
            layers.add_file(&path, environment, errors);
        }
        layers.add_variables(&variables, errors);
        layers.add_flags(flags, errors);
        layers
    }

    fn add_file(
        &mut self,
        path: &Path,
        environment: &dyn Environment,
        errors: &mut Vec<ConfigError>,
    ) {
        let origin = Origin::File(path.to_owned());
        match read_toml(path, environment) {
            Ok(table) => self.root = from_toml(table, &origin),
            Err(problem) => {
                errors.push(ConfigError { key: String::new(), origin: Some(origin), problem });
            }
        }
    }

    fn add_variables(
        &mut self,
        variables: &BTreeMap<String, String>,
        errors: &mut Vec<ConfigError>,
    ) {
        // The short form comes first, so that the exact name overrides it.
        if let Some(level) = variables.get("LOG") {
            let origin = Origin::Variable(format!("{PREFIX}LOG"));
            self.set(&["log".into(), "level".into()], level.clone(), origin, errors);
        }
        for (name, text) in variables {
            let origin = Origin::Variable(format!("{PREFIX}{name}"));
            if name.contains("__") {
                let mut path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
                self.match_dashes(&mut path);
                self.set(&path, text.clone(), origin, errors);
            } else if let Some(meant) = meant_variable(name) {
                let problem = Problem::UnknownKey { nearest: Some(meant) };
                errors.push(ConfigError { key: String::new(), origin: Some(origin), problem });
            }
        }
    }

    fn add_flags(&mut self, flags: &Flags, errors: &mut Vec<ConfigError>) {
        let said = [
            ("http", "listen", "--http-listen", &flags.http_listen),
            ("grpc", "listen", "--grpc-listen", &flags.grpc_listen),
            ("log", "level", "--log", &flags.log),
            ("log", "format", "--log-format", &flags.log_format),
        ];
        for (section, key, flag, text) in said {
            if let Some(text) = text {
                let path = [section.to_owned(), key.to_owned()];
                self.set(&path, text.clone(), Origin::Flag(flag), errors);
            }
        }
        let insecure = [
            ("http", "--http-insecure", flags.http_insecure),
            ("grpc", "--grpc-insecure", flags.grpc_insecure),
        ];
        for (section, flag, _) in insecure.into_iter().filter(|(_, _, is_said)| *is_said) {
            let path = [section.to_owned(), "insecure".to_owned()];
            self.set(&path, "true".to_owned(), Origin::Flag(flag), errors);
        }
    }

    /// A source of the file may have dashes in its name, which a variable can't have: there they are underscores.
    fn match_dashes(&self, path: &mut [String]) {
        let [section, name, ..] = path else { return };
        let Some(Node { value: Value::Table(sources), .. }) = self.root.get(section) else {
            return;
        };
        if section == "sources" && !sources.contains_key(name) {
            let matching = sources.keys().find(|key| key.replace('-', "_") == *name);
            if let Some(matching) = matching {
                *name = matching.clone();
            }
        }
    }

    /// Sets a value, over the one of an earlier layer.
    fn set(
        &mut self,
        path: &[String],
        text: String,
        origin: Origin,
        errors: &mut Vec<ConfigError>,
    ) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut table = &mut self.root;
        for (depth, part) in parents.iter().enumerate() {
            let node = table.entry(part.clone()).or_insert_with(|| Node {
                value: Value::Table(Table::new()),
                origin: origin.clone(),
            });
            let found = node.value.type_name();
            match &mut node.value {
                Value::Table(inner) => table = inner,
                Value::Toml(_) | Value::Text(_) => {
                    let key = path.iter().take(depth + 1).cloned().collect::<Vec<_>>().join(".");
                    let problem = Problem::Type { expected: "a table", found };
                    errors.push(ConfigError { key, origin: Some(node.origin.clone()), problem });
                    return;
                }
            }
        }
        let replaces_table = matches!(table.get(last), Some(Node { value: Value::Table(_), .. }));
        if replaces_table {
            let problem = Problem::Type { expected: "a table", found: "text" };
            errors.push(ConfigError { key: path.join("."), origin: Some(origin), problem });
        } else {
            table.insert(last.clone(), Node { value: Value::Text(text), origin });
        }
    }
}

impl Value {
    /// Returns what it is, for people.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Table(_) | Self::Toml(toml::Value::Table(_)) => "a table",
            Self::Text(_) | Self::Toml(toml::Value::String(_)) => "text",
            Self::Toml(toml::Value::Integer(_)) => "a number",
            Self::Toml(toml::Value::Float(_)) => "a number with a fraction",
            Self::Toml(toml::Value::Boolean(_)) => "true or false",
            Self::Toml(toml::Value::Datetime(_)) => "a date or time",
            Self::Toml(toml::Value::Array(_)) => "a list",
        }
    }
}

/// Our variables, without the prefix.
fn our_variables(
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<String, String> {
    let mut ours = BTreeMap::new();
    for (name, value) in environment.variables() {
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        match value.into_string() {
            Ok(text) => {
                ours.insert(name.to_owned(), text);
            }
            Err(_) => {
                let problem = Problem::VariableNotText(format!("{PREFIX}{name}"));
                errors.push(ConfigError::at("", problem));
            }
        }
    }
    ours
}

/// Returns the variable that was meant by one with single underscores only, if it looks like one of the
/// configuration's. Others are not ours to judge: clients and tests have variables with the same prefix.
fn meant_variable(name: &str) -> Option<String> {
    if ["CONFIG", "LOG"].contains(&name) {
        return None;
    }
    if name.starts_with("SOURCES_") {
        return Some(format!("{PREFIX}SOURCES__<NAME>__SECRETS"));
    }
    SECTIONS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}__{key}")))
        .map(|known| known.to_ascii_uppercase())
        .find(|known| strsim::levenshtein(known, name) <= 2)
        .map(|known| format!("{PREFIX}{known}"))
}

fn read_toml(path: &Path, environment: &dyn Environment) -> Result<toml::Table, Problem> {
    let bytes = environment.read(path, limits::CONFIG_BYTES_MAX).map_err(Problem::Unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| Problem::NotText)?;
    text.parse::<toml::Table>().map_err(|error| {
        // The error's own text would show the line, in which a secret may stand.
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(&text);
        Problem::Syntax {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            message: error.message().replace('\n', ", "),
        }
    })
}

fn from_toml(table: toml::Table, origin: &Origin) -> Table {
    let node = |value| {
        if let toml::Value::Table(inner) = value {
            Value::Table(from_toml(inner, origin))
        } else {
            Value::Toml(value)
        }
    };
    table
        .into_iter()
        .map(|(key, value)| (key, Node { value: node(value), origin: origin.clone() }))
        .collect()
}
