//! Reading one table of the tree: each key by its type, and at last the keys that nobody asked for.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use super::{
    ConfigError, Problem,
    layers::{Node, Table, Value},
};

/// The sections with fixed keys, for guessing what was meant.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("http", &["listen", "max_body"]),
    ("grpc", &["listen"]),
    ("store", &["path"]),
    ("shutdown", &["grace"]),
    ("log", &["level", "format"]),
];

/// One table, from which keys are taken.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl Section {
    pub(super) fn root(table: Table) -> Self {
        Self { path: String::new(), table, known: Vec::new() }
    }

    /// Returns the key's full name.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a table; an empty one if it is not there or none.
    pub(super) fn section(&mut self, key: &'static str, errors: &mut Vec<ConfigError>) -> Self {
        let path = self.key(key);
        let table = self.take(key).and_then(|node| table_of(&path, node, errors));
        Self { path, table: table.unwrap_or_default(), known: Vec::new() }
    }

    /// Takes all keys, each of which must be a table.
    pub(super) fn sections(self, errors: &mut Vec<ConfigError>) -> Vec<(String, Self)> {
        let path = self.path.clone();
        let inner = self.table.into_iter().filter_map(|(name, node)| {
            let path = format!("{path}.{name}");
            let table = table_of(&path, node, errors)?;
            Some((name, Self { path, table, known: Vec::new() }))
        });
        inner.collect()
    }

    /// Takes a value of any type.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Takes text.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<String> {
        self.read(key, errors, |value| text_of(value, "text"))
    }

    /// Takes text that says a value.
    pub(super) fn parsed<T>(&mut self, key: &'static str, errors: &mut Vec<ConfigError>) -> T
    where
        T: FromStr + Default,
        Problem: From<T::Err>,
    {
        self.read(key, errors, |value| Ok(text_of(value, "text")?.parse()?)).unwrap_or_default()
    }

    /// Takes a loopback address.
    pub(super) fn listen(
        &mut self,
        key: &'static str,
        default: SocketAddr,
        errors: &mut Vec<ConfigError>,
    ) -> SocketAddr {
        let read = |value| {
            let text = text_of(value, "an address, such as \"127.0.0.1:4150\"")?;
            let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            let address: SocketAddr =
                numeric.as_ref().unwrap_or(&text).parse().map_err(|_| Problem::Address(text))?;
            let loopback = address.ip().to_canonical().is_loopback();
            if loopback { Ok(address) } else { Err(Problem::NotLoopback(address)) }
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes a path that is not empty.
    pub(super) fn path(
        &mut self,
        key: &'static str,
        default: &str,
        errors: &mut Vec<ConfigError>,
    ) -> PathBuf {
        let read = |value| match text_of(value, "a path")? {
            text if text.is_empty() => Err(Problem::Empty),
            text => Ok(text),
        };
        self.read(key, errors, read).unwrap_or_else(|| default.to_owned()).into()
    }

    /// Takes a count of bytes within bounds.
    pub(super) fn bytes(
        &mut self,
        key: &'static str,
        default: usize,
        bounds: RangeInclusive<usize>,
        errors: &mut Vec<ConfigError>,
    ) -> usize {
        let read = |value| {
            let found = match value {
                Value::Toml(toml::Value::Integer(count)) => {
                    usize::try_from(count).map_err(|_| Problem::Size(count.to_string()))?
                }
                other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                    let text = text_of(other, "a size, such as \"25MiB\"")?;
                    parse_size(&text).ok_or(Problem::Size(text))?
                }
            };
            let (least, most) = (*bounds.start(), *bounds.end());
            let within = bounds.contains(&found);
            if within { Ok(found) } else { Err(Problem::SizeRange { found, least, most }) }
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes a duration.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        most: Duration,
        errors: &mut Vec<ConfigError>,
    ) -> Duration {
        let read = |value| {
            let text = text_of(value, "a duration with its unit, such as \"10s\"")?;
            let found =
                humantime::parse_duration(&text).map_err(|_| Problem::Duration(text.clone()))?;
            if found <= most { Ok(found) } else { Err(Problem::DurationRange { found, most }) }
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes true or false.
    pub(super) fn flag(&mut self, key: &'static str, errors: &mut Vec<ConfigError>) -> bool {
        let read = |value: Value| match value {
            Value::Toml(toml::Value::Boolean(flag)) => Ok(flag),
            Value::Text(text) if text == "true" => Ok(true),
            Value::Text(text) if text == "false" => Ok(false),
            other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                Err(Problem::Type { expected: "true or false", found: other.type_name() })
            }
        };
        self.read(key, errors, read).unwrap_or_default()
    }

    /// Takes a list of texts, each with its key; `None` if it is not there, or is no list.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<Vec<String>> {
        let path = self.key(key);
        let Node { value, origin } = self.take(key)?;
        let mut told = |key, problem| {
            errors.push(ConfigError { key, origin: Some(origin.clone()), problem });
        };
        let values = match list_of(value) {
            Ok(values) => values,
            Err(problem) => {
                told(path, problem);
                return None;
            }
        };
        // One that is no text keeps its place, so that the others keep theirs.
        let texts = values.into_iter().enumerate().map(|(index, value)| {
            text_of(value, "text").unwrap_or_else(|problem| {
                told(format!("{path}[{index}]"), problem);
                String::new()
            })
        });
        Some(texts.collect())
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
        read: impl FnOnce(Value) -> Result<T, Problem>,
    ) -> Option<T> {
        let Node { value, origin } = self.take(key)?;
        let told = |problem| {
            errors.push(ConfigError { key: self.key(key), origin: Some(origin), problem });
        };
        read(value).map_err(told).ok()
    }

    /// Reports the keys that nobody took.
    pub(super) fn finish(self, errors: &mut Vec<ConfigError>) {
        for (key, node) in &self.table {
            let near = |known: &&&str| strsim::damerau_levenshtein(known, key) <= 2;
            let nearest = self
                .known
                .iter()
                .filter(near)
                .min_by_key(|known| strsim::damerau_levenshtein(known, key))
                .map(|known| self.key(known));
            errors.push(ConfigError {
                key: self.key(key),
                origin: Some(node.origin.clone()),
                problem: Problem::UnknownKey { nearest },
            });
        }
    }
}

fn table_of(path: &str, node: Node, errors: &mut Vec<ConfigError>) -> Option<Table> {
    match node.value {
        Value::Table(table) => Some(table),
        value @ (Value::Toml(_) | Value::Text(_)) => {
            let problem = Problem::Type { expected: "a table", found: value.type_name() };
            errors.push(ConfigError { key: path.to_owned(), origin: Some(node.origin), problem });
            None
        }
    }
}

fn text_of(value: Value, expected: &'static str) -> Result<String, Problem> {
    match value {
        Value::Text(text) | Value::Toml(toml::Value::String(text)) => Ok(text),
        other @ (Value::Table(_) | Value::Toml(_)) => {
            Err(Problem::Type { expected, found: other.type_name() })
        }
    }
}

/// In the environment a list is `a,b`, or in brackets as in the file; JSON looks the same there.
fn list_of(value: Value) -> Result<Vec<Value>, Problem> {
    let toml_list = |values: Vec<_>| values.into_iter().map(Value::Toml).collect();
    match value {
        Value::Toml(toml::Value::Array(values)) => Ok(toml_list(values)),
        Value::Text(text) if text.trim_start().starts_with('[') => {
            let table: toml::Table =
                format!("list = {}", text.trim()).parse().map_err(|_| Problem::List)?;
            match table.into_iter().next() {
                Some((_, toml::Value::Array(values))) => Ok(toml_list(values)),
                _ => Err(Problem::List),
            }
        }
        Value::Text(text) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(|part| Value::Text(part.to_owned())).collect())
        }
        other @ (Value::Table(_) | Value::Toml(_)) => {
            Err(Problem::Type { expected: "a list", found: other.type_name() })
        }
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.strip_prefix(digits)?.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
}
