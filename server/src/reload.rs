//! Taking a new configuration without a restart.
//!
//! Parts of the hub that can change say so here. A new configuration is judged by all of them before any of them takes it:
//! so either all of it holds from then on, or nothing has changed. What needs a restart is named.

use std::fmt;

use parking_lot::Mutex;

use crate::config::Config;

/// What makes a part take the configuration that it has judged. It does not fail.
pub type Apply = Box<dyn FnOnce() + Send>;

type Prepare = Box<dyn Fn(&Config) -> Result<Apply, String> + Send + Sync>;

/// The parts of a running hub that can change.
pub struct Reload {
    /// The configuration that holds: while it is locked, nobody else changes it.
    current: Mutex<Config>,
    parts: Mutex<Vec<(&'static str, Prepare)>>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parts.lock().iter().map(|(name, _)| *name).collect();
        f.debug_struct("Reload").field("parts", &names).finish_non_exhaustive()
    }
}

/// A part that can't take a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {why}")]
pub struct ReloadError {
    /// Which part.
    pub part: &'static str,
    /// Why.
    pub why: String,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Names of sources that are new.
    pub added: Vec<String>,
    /// Names of sources that are gone.
    pub removed: Vec<String>,
    /// Keys that say something else and hold only after a restart.
    pub fixed: Vec<&'static str>,
}

impl Reload {
    /// Begins with the configuration that the hub was started with.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { current: Mutex::new(config), parts: Mutex::default() }
    }

    /// Adds a part. `prepare` judges a configuration and returns what makes the part take it, which must not fail.
    pub fn add(
        &self,
        name: &'static str,
        prepare: impl Fn(&Config) -> Result<Apply, String> + Send + Sync + 'static,
    ) {
        self.parts.lock().push((name, Box::new(prepare)));
    }

    /// Takes a configuration as a whole.
    ///
    /// # Errors
    ///
    /// What the parts say that can't take it. Then nothing has changed.
    pub fn apply(&self, config: Config) -> Result<Reloaded, Vec<ReloadError>> {
        let mut current = self.current.lock();
        let (mut ready, mut errors) = (Vec::new(), Vec::new());
        for (part, prepare) in self.parts.lock().iter() {
            match prepare(&config) {
                Ok(apply) => ready.push(apply),
                Err(why) => errors.push(ReloadError { part, why }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for apply in ready {
            apply();
        }
        let old = std::mem::replace(&mut *current, config);
        Ok(Reloaded::between(&old, &current))
    }
}

impl Reloaded {
    fn between(old: &Config, new: &Config) -> Self {
        let only_in = |these: &Config, those: &Config| {
            let is_there = |name| those.sources.iter().any(|source| source.name() == name);
            let names = these.sources.iter().map(|source| source.name());
            names.filter(|name| !is_there(*name)).map(ToString::to_string).collect()
        };
        Self { added: only_in(new, old), removed: only_in(old, new), fixed: fixed(old, new) }
    }
}

/// Returns the keys that differ and need a restart.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    // Where it is not named it goes with the store.
    let is_named = old.auth.is_named || new.auth.is_named;
    let tokens_moved = is_named && old.auth.tokens != new.auth.tokens;
    let keys = [
        ("http.listen", old.http.listen != new.http.listen),
        ("http.tls", old.http.tls != new.http.tls),
        ("http.insecure", old.http.insecure != new.http.insecure),
        ("grpc.listen", old.grpc.listen != new.grpc.listen),
        ("grpc.tls", old.grpc.tls != new.grpc.tls),
        ("grpc.insecure", old.grpc.insecure != new.grpc.insecure),
        ("store.path", old.store.path != new.store.path),
        ("store.cache", old.store.cache != new.store.cache),
        ("store.dictionaries", old.store.dictionaries != new.store.dictionaries),
        ("store.keep_free", old.store.keep_free != new.store.keep_free),
        ("auth.tokens", tokens_moved),
        ("traces", old.traces != new.traces),
        ("shutdown.grace", old.shutdown != new.shutdown),
        ("log.format", old.log.format != new.log.format),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsString,
        io,
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;
    use crate::config::{Environment, Flags};

    struct Variables(Vec<(&'static str, &'static str)>);

    impl Environment for Variables {
        fn variables(&self) -> Vec<(OsString, OsString)> {
            self.0.iter().map(|(name, value)| (name.into(), value.into())).collect()
        }

        fn read(&self, _: &Path, _: usize) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn config(variables: &[(&'static str, &'static str)]) -> Config {
        Config::load(&Flags::default(), &Variables(variables.to_vec())).unwrap()
    }

    const OPEN: &str = "HOOKLINE_SOURCES__FORGE__UNSIGNED";
    const KIND: &str = "HOOKLINE_SOURCES__FORGE__KIND";

    #[test]
    fn either_all_parts_take_a_configuration_or_none() {
        let reload = Reload::new(config(&[]));
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        reload.add("a", move |config| {
            let (counted, max) = (Arc::clone(&counted), config.http.max_body);
            Ok(Box::new(move || counted.store(max, Ordering::Release)))
        });
        reload.add("b", |config| {
            if config.sources.is_empty() {
                Err("no sources".to_owned())
            } else {
                Ok(Box::new(|| {}))
            }
        });
        let errors = reload.apply(config(&[("HOOKLINE_HTTP__MAX_BODY", "1MiB")])).unwrap_err();
        assert_eq!(errors, [ReloadError { part: "b", why: "no sources".to_owned() }]);
        assert_eq!(taken.load(Ordering::Acquire), 0);
        let new = config(&[(KIND, "github"), (OPEN, "true"), ("HOOKLINE_HTTP__MAX_BODY", "1MiB")]);
        let reloaded = reload.apply(new).unwrap();
        assert_eq!(taken.load(Ordering::Acquire), 1 << 20);
        assert_eq!((reloaded.added, reloaded.fixed), (vec!["forge".to_owned()], vec![]));
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let reload = Reload::new(config(&[(KIND, "github"), (OPEN, "true")]));
        let reloaded = reload
            .apply(config(&[
                ("HOOKLINE_HTTP__LISTEN", "127.0.0.1:1"),
                ("HOOKLINE_STORE__PATH", "elsewhere"),
                ("HOOKLINE_STORE__DICTIONARIES", "false"),
                ("HOOKLINE_STORE__KEEP_FREE", "1GiB"),
                ("HOOKLINE_RETENTION__MAX_AGE", "1h"),
            ]))
            .unwrap();
        let fixed = ["http.listen", "store.path", "store.dictionaries", "store.keep_free"];
        assert_eq!(reloaded.fixed, fixed);
        assert_eq!((reloaded.removed, reloaded.added), (vec!["forge".to_owned()], vec![]));
    }
}
