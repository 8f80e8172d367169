//! Reading one table of the tree: each key by its type, and at last the keys that nobody asked for.

use std::{
    collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr,
    time::Duration,
};

use super::{
    ConfigError, Origin, Problem,
    layers::{Node, Table, Value},
    size,
};

/// The sections with fixed keys, for guessing what was meant.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("http", &["listen", "max_body", "public_url", "tls", "insecure"]),
    ("grpc", &["listen", "tls", "insecure"]),
    ("store", &["path", "cache", "dictionaries", "keep_free"]),
    ("auth", &["tokens"]),
    ("retention", &["max_age", "open_max_age", "dead_letters_max_age", "max_bytes"]),
    ("shutdown", &["grace"]),
    ("log", &["level", "format"]),
    ("traces", &["otlp", "ratio"]),
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

    /// Returns where a key was said that is not taken yet.
    pub(super) fn origin(&self, key: &str) -> Option<Origin> {
        self.table.get(key).map(|node| node.origin.clone())
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

    /// Takes an address to listen on.
    pub(super) fn listen(
        &mut self,
        key: &'static str,
        default: SocketAddr,
        errors: &mut Vec<ConfigError>,
    ) -> SocketAddr {
        let read = |value| {
            let text = text_of(value, "an address, such as \"127.0.0.1:4150\"")?;
            let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            numeric.as_ref().unwrap_or(&text).parse().map_err(|_| Problem::Address(text))
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes the address of a web server.
    pub(super) fn url(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<String> {
        let read = |value| {
            let text = text_of(value, "an address, such as \"https://hooks.example.com\"")?;
            let url: Result<http::Uri, _> = text.parse();
            let is_web = |url: &http::Uri| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
            };
            if text.contains(['@', '?', '#']) {
                return Err(Problem::UrlParts);
            }
            let is_address = url.as_ref().is_ok_and(is_web);
            if is_address { Ok(text) } else { Err(Problem::Url(text)) }
        };
        self.read(key, errors, read)
    }

    /// Takes the address of a server without TLS.
    pub(super) fn plain_url(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<String> {
        let read = |value| {
            let text = text_of(value, "an address, such as \"http://127.0.0.1:4317\"")?;
            let url: Result<http::Uri, _> = text.parse();
            let is_plain = |url: &http::Uri| {
                url.scheme_str() == Some("http") && url.authority().is_some() && url.path() == "/"
            };
            let is_plain = !text.contains(['@', '?', '#']) && url.as_ref().is_ok_and(is_plain);
            if is_plain { Ok(text) } else { Err(Problem::PlainUrl) }
        };
        self.read(key, errors, read)
    }

    /// Takes a part of a whole.
    pub(super) fn ratio(
        &mut self,
        key: &'static str,
        default: f64,
        errors: &mut Vec<ConfigError>,
    ) -> f64 {
        let read = |value| {
            let found = match value {
                Value::Toml(toml::Value::Float(found)) => Some(found),
                Value::Toml(toml::Value::Integer(found)) => u8::try_from(found).ok().map(f64::from),
                other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                    text_of(other, "a number from 0 to 1")?.parse().ok()
                }
            };
            found.filter(|found| (0.0..=1.0).contains(found)).ok_or(Problem::Ratio)
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes one of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
        errors: &mut Vec<ConfigError>,
    ) -> Option<T> {
        let read = |value| {
            let text = text_of(value, "text")?;
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| Problem::Choice {
                found: text,
                known: choices.iter().map(|(word, _)| *word).collect(),
            })
        };
        self.read(key, errors, read)
    }

    /// Takes one character of ASCII.
    pub(super) fn character(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<char> {
        let read = |value| {
            let text = text_of(value, "a character")?;
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) if character.is_ascii() => Ok(character),
                (Some(_) | None, _) => Err(Problem::Character(text)),
            }
        };
        self.read(key, errors, read)
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

    /// Takes a path that is not empty, if there is one.
    pub(super) fn path_if_said(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<PathBuf> {
        self.table.contains_key(key).then(|| self.path(key, "", errors))
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
                    let bytes = size::parse(&text).and_then(|bytes| usize::try_from(bytes).ok());
                    bytes.ok_or(Problem::Size(text))?
                }
            };
            let (least, most) = (*bounds.start(), *bounds.end());
            let within = bounds.contains(&found);
            if within { Ok(found) } else { Err(Problem::SizeRange { found, least, most }) }
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes a count of bytes within bounds, if there is one.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<usize> {
        let is_there = self.table.contains_key(key);
        let found = self.bytes(key, *bounds.start(), bounds, errors);
        is_there.then_some(found)
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

    /// Takes a duration within bounds, if there is one.
    pub(super) fn span(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<Duration> {
        let (least, most) = (*bounds.start(), *bounds.end());
        let found = self.table.contains_key(key).then(|| self.duration(key, least, most, errors));
        let path = self.key(key);
        found.filter(|found| {
            let is_enough = least <= *found;
            if !is_enough {
                let problem = Problem::DurationLeast { found: *found, least };
                errors.push(ConfigError::at(path, problem));
            }
            is_enough
        })
    }

    /// Takes a number within bounds, if there is one.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<f64>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<f64> {
        let (least, most) = (*bounds.start(), *bounds.end());
        let read = |value| {
            let found = match value {
                Value::Toml(toml::Value::Float(number)) => number,
                Value::Toml(toml::Value::Integer(number)) => {
                    number.to_string().parse().map_err(|_| Problem::Number(number.to_string()))?
                }
                other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                    let text = text_of(other, "a number")?;
                    text.trim().parse().map_err(|_| Problem::Number(text))?
                }
            };
            // What is no number is in no range.
            let within = bounds.contains(&found);
            if within { Ok(found) } else { Err(Problem::NumberRange { found, least, most }) }
        };
        self.read(key, errors, read)
    }

    /// Takes a whole number within bounds, if there is one.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u32>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<u32> {
        let (least, most) = (f64::from(*bounds.start()), f64::from(*bounds.end()));
        let read = |value| {
            let text = match value {
                Value::Toml(toml::Value::Integer(number)) => number.to_string(),
                other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                    text_of(other, "a whole number")?
                }
            };
            let found = text.trim().parse().map_err(|_| Problem::Number(text))?;
            let within = bounds.contains(&found);
            let outside = Problem::NumberRange { found: f64::from(found), least, most };
            if within { Ok(found) } else { Err(outside) }
        };
        self.read(key, errors, read)
    }

    /// Takes true or false; not set is false.
    pub(super) fn flag(&mut self, key: &'static str, errors: &mut Vec<ConfigError>) -> bool {
        self.flag_or(key, false, errors)
    }

    /// Takes true or false.
    pub(super) fn flag_or(
        &mut self,
        key: &'static str,
        default: bool,
        errors: &mut Vec<ConfigError>,
    ) -> bool {
        let read = |value: Value| match value {
            Value::Toml(toml::Value::Boolean(flag)) => Ok(flag),
            Value::Text(text) if text == "true" => Ok(true),
            Value::Text(text) if text == "false" => Ok(false),
            other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                Err(Problem::Type { expected: "true or false", found: other.type_name() })
            }
        };
        self.read(key, errors, read).unwrap_or(default)
    }

    /// Takes a table, if there is one.
    pub(super) fn present(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<Self> {
        self.table.contains_key(key).then(|| self.section(key, errors))
    }

    /// Takes a table of texts with keys of any name: each with its name and its whole key.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Vec<(String, String, String)> {
        let inner = self.section(key, errors);
        let path = inner.path.clone();
        let text = |(name, node): (String, Node)| {
            let key = format!("{path}.{name}");
            match text_of(node.value, "text") {
                Ok(text) => Some((name, key, text)),
                Err(problem) => {
                    errors.push(ConfigError { key, origin: Some(node.origin), problem });
                    None
                }
            }
        };
        inner.table.into_iter().filter_map(text).collect()
    }

    /// Takes a list of texts, or a text alone; `None` if it is not there, or is neither.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<Vec<String>> {
        let items = self.items(key, "", &[], errors)?;
        Some(items.into_iter().map(|item| item.text).collect())
    }

    /// Takes a list whose items are texts, or tables with a text under `main` and texts under some of `more`; `None` if
    /// it is not there, or is no list.
    pub(super) fn items(
        &mut self,
        key: &'static str,
        main: &'static str,
        more: &[&'static str],
        errors: &mut Vec<ConfigError>,
    ) -> Option<Vec<Item>> {
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
        // One that is wrong keeps its place, so that the others keep theirs.
        let items = values.into_iter().enumerate().map(|(index, value)| {
            Item::read(value, main, more).unwrap_or_else(|(key, problem)| {
                told(format!("{path}[{index}]{key}"), problem);
                Item::default()
            })
        });
        Some(items.collect())
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

/// An item of a list: a text, and what else its table says.
#[derive(Default)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) more: BTreeMap<String, String>,
}

impl Item {
    fn read(
        value: Value,
        main: &'static str,
        more: &[&'static str],
    ) -> Result<Self, (String, Problem)> {
        let table = match value {
            Value::Toml(toml::Value::Table(table)) if !main.is_empty() => table,
            other @ (Value::Table(_) | Value::Toml(_) | Value::Text(_)) => {
                let text = text_of(other, "text").map_err(|problem| (String::new(), problem))?;
                return Ok(Self { text, more: BTreeMap::new() });
            }
        };
        let mut item = Self::default();
        for (key, value) in table {
            // TOML has times of its own.
            let text = if let toml::Value::Datetime(time) = value {
                time.to_string()
            } else {
                text_of(Value::Toml(value), "text")
                    .map_err(|problem| (format!(".{key}"), problem))?
            };
            if key == main {
                item.text = text;
            } else if more.contains(&key.as_str()) {
                item.more.insert(key, text);
            } else {
                return Err((format!(".{key}"), Problem::UnknownKey { nearest: None }));
            }
        }
        Ok(item)
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
        Value::Toml(text @ toml::Value::String(_)) => Ok(vec![Value::Toml(text)]),
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
