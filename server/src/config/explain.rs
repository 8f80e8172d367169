//! What a configuration comes to: each key with its value, and where that was said.

use std::collections::BTreeMap;

use super::{
    Config, ConfigErrors, Environment, Flags, Origin,
    layers::{Layers, Table, Value},
    size,
};

/// A key and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, such as `http.listen`.
    pub key: String,
    /// The value, for people; secrets by the place they come from.
    pub value: String,
    /// Where it was said; `None`: nowhere, it is the default.
    pub origin: Option<Origin>,
}

impl Config {
    /// As [`Config::load`], with what each key says and where that was said.
    ///
    /// # Errors
    ///
    /// All mistakes.
    pub fn explain(
        flags: &Flags,
        environment: &dyn Environment,
    ) -> Result<(Self, Vec<Setting>), ConfigErrors> {
        let config = Self::load(flags, environment)?;
        let mut said = BTreeMap::new();
        // Mistakes were told by the line before.
        flatten("", Layers::collect(flags, environment, &mut Vec::new()).root, &mut said);
        if flags.data.is_some() {
            said.insert("store.path".to_owned(), (String::new(), Origin::Flag("--data")));
        }
        let mut settings: Vec<_> = effective(&config)
            .into_iter()
            .map(|(key, value)| Setting {
                origin: said.remove(key).map(|(_, origin)| origin),
                key: key.to_owned(),
                value,
            })
            .collect();
        let rest = said.into_iter();
        settings.extend(rest.map(|(key, (value, origin))| Setting {
            key,
            value,
            origin: Some(origin),
        }));
        Ok((config, settings))
    }
}

/// Returns the keys that have defaults, with the values that hold.
fn effective(config: &Config) -> Vec<(&'static str, String)> {
    let Config { http, grpc, store, auth, retention, shutdown, log, traces, sources: _ } = config;
    let span = |duration| humantime::format_duration(duration).to_string();
    let bytes = |bytes: usize| size::Shown(bytes as u64).to_string();
    let unset = || "unset".to_owned();
    vec![
        ("http.listen", http.listen.to_string()),
        ("http.insecure", http.insecure.to_string()),
        ("http.max_body", bytes(http.max_body)),
        ("http.public_url", http.public_url.clone().unwrap_or_else(unset)),
        ("grpc.listen", grpc.listen.to_string()),
        ("grpc.insecure", grpc.insecure.to_string()),
        ("store.path", store.path.display().to_string()),
        ("store.cache", bytes(store.cache)),
        ("store.dictionaries", store.dictionaries.to_string()),
        ("store.keep_free", store.keep_free.to_string()),
        ("auth.tokens", auth.tokens.display().to_string()),
        ("retention.max_age", span(retention.max_age)),
        ("retention.open_max_age", span(retention.open_max_age)),
        ("retention.dead_letters_max_age", span(retention.dead_letters_max_age)),
        ("retention.max_bytes", retention.max_bytes.map_or_else(unset, bytes)),
        ("shutdown.grace", span(shutdown.grace)),
        ("log.level", log.level.to_string()),
        ("log.format", format!("{:?}", log.format).to_lowercase()),
        ("traces.otlp", traces.otlp.clone().unwrap_or_else(unset)),
        ("traces.ratio", traces.ratio.to_string()),
    ]
}

fn flatten(path: &str, table: Table, said: &mut BTreeMap<String, (String, Origin)>) {
    for (name, node) in table {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match node.value {
            Value::Table(inner) => flatten(&key, inner, said),
            Value::Text(text) => {
                said.insert(key, (shown(&name, &text), node.origin));
            }
            Value::Toml(value) => {
                said.insert(key, (shown_toml(&name, &value), node.origin));
            }
        }
    }
}

/// Words in the names of keys whose values may be secrets.
const SECRETIVE: [&str; 4] = ["secret", "token", "password", "hash"];

/// Returns a value; of a secret only where it is.
fn shown(name: &str, text: &str) -> String {
    let is_place = |text: &str| text.starts_with("env:") || text.starts_with("file:");
    if !SECRETIVE.iter().any(|word| name.contains(word)) {
        return text.to_owned();
    }
    let each = text.split(',').map(|part| match part.trim() {
        part if is_place(part) => part,
        _ => "[redacted]",
    });
    each.collect::<Vec<_>>().join(", ")
}

fn shown_toml(name: &str, value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => shown(name, text),
        toml::Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown_toml(name, item)).collect();
            items.join(", ")
        }
        // Such as a secret and until when it holds: what is in it belongs to the key.
        toml::Value::Table(table) => {
            let is_time = |key: &str| key == "not_after";
            let parts = table.iter().map(|(key, value)| {
                let of = if is_time(key) { key } else { name };
                format!("{key} = {}", shown_toml(of, value))
            });
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
        }
        other @ (toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)) => other.to_string(),
    }
}
