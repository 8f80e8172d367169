//! The tokens as they are now: who a token belongs to, and when it no longer counts.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use hookline_core::time::Timestamp;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Caller, Entry, FileError,
    file::{self, Stamp, State},
    token::Presented,
};
use crate::{
    clock::Clock,
    config::Auth,
    limits::{TOKENS_INTERVAL, TOKENS_SETTLED_AFTER},
    telemetry::chain,
};

/// The tokens file, looked at again and again. Cheap to clone.
///
/// A file that is wrong leaves the tokens as they were. One that is gone leaves none: nobody gets in then. Once there was
/// a file, or one was named, nobody gets in without a token any more, until the hub is started anew.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    table: watch::Sender<Table>,
    known: Mutex<Known>,
}

/// What the file said when it was last read.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    entries: Vec<Arc<Entry>>,
    /// Whether it was told that it is wrong or gone.
    is_told: bool,
}

/// Those who get in.
#[derive(Clone, Debug)]
enum Table {
    /// Everybody.
    Off,
    /// Who has a token that counts now, by its id.
    On(Arc<BTreeMap<String, Arc<Entry>>>),
}

/// Nobody who may call: there is no token, or not one that counts. Which of these it is nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bearer token that counts is needed")]
pub struct Refused;

/// Why a caller may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The token does not count any more.
    Gone,
    /// The token may do something else than before.
    Changed,
}

impl Tokens {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// If there is one and it is wrong. One that was named and is not there is no error: nobody gets in until it is.
    pub fn open(config: &Auth, clock: Arc<dyn Clock>) -> Result<Self, FileError> {
        let table = if config.is_on { Table::On(Arc::default()) } else { Table::Off };
        let inner = Inner {
            path: config.tokens.clone(),
            clock,
            table: watch::Sender::new(table),
            known: Mutex::default(),
        };
        let tokens = Self(Arc::new(inner));
        match tokens.read(true) {
            Err(FileError::Missing(path)) if config.is_on => {
                let path = path.display();
                tracing::warn!(%path, "the tokens file is not there: nobody gets in until it is");
                tokens.0.known.lock().is_told = true;
            }
            Err(FileError::Missing(_)) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        Ok(tokens)
    }

    /// Makes tokens that nobody is asked for: for tests, and for hubs that live in a test.
    #[must_use]
    pub fn off(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            path: PathBuf::new(),
            clock,
            table: watch::Sender::new(Table::Off),
            known: Mutex::default(),
        }))
    }

    /// Whether callers need a token.
    #[must_use]
    pub fn is_on(&self) -> bool {
        matches!(*self.0.table.borrow(), Table::On(_))
    }

    /// Reads the file now, changed or not; what is wrong is logged, and leaves the tokens as they were.
    pub fn reload(&self) {
        self.look(true);
    }

    /// Looks at the file, and at the clock, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let next = self.0.clock.steady() + TOKENS_INTERVAL;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.clock.sleep_until(next) => {}
            }
            let tokens = self.clone();
            // A file system that hangs must not hold a worker of the runtime.
            drop(tokio::task::spawn_blocking(move || tokens.look(false)).await);
        }
    }

    /// Reads the file if it was changed, and drops what has expired.
    pub(super) fn look(&self, anyway: bool) {
        let Err(error) = self.read(anyway) else { return };
        let is_missing = matches!(error, FileError::Missing(_));
        if is_missing && !self.is_on() {
            return;
        }
        let is_told = std::mem::replace(&mut self.0.known.lock().is_told, true);
        if is_told && !anyway {
            return;
        }
        let path = self.0.path.display();
        if is_missing {
            tracing::error!(%path, "the tokens file is gone: nobody gets in until it is back");
        } else {
            let error = chain(&error);
            tracing::error!(%error, "the tokens file is not taken; the tokens stay as they were");
        }
    }

    fn read(&self, anyway: bool) -> Result<(), FileError> {
        let mut known = self.0.known.lock();
        let now = self.0.clock.wall();
        // Looked at before it is read: what changes in between is seen the next time.
        let stamp = Stamp::of(&self.0.path);
        let is_new = stamp.is_none_or(|stamp| {
            let settled = Timestamp::from_secs(stamp.changed_secs()).unwrap_or(now);
            known.stamp != Some(stamp) || now.since(settled) < TOKENS_SETTLED_AFTER
        });
        let result = if anyway || is_new { file::read(&self.0.path).map(Some) } else { Ok(None) };
        match &result {
            Ok(None) => {}
            Ok(Some(entries)) => {
                let is_changed = known.stamp != stamp || known.is_told;
                known.entries = entries.iter().cloned().map(Arc::new).collect();
                known.is_told = false;
                if is_changed || anyway {
                    let (path, count) = (self.0.path.display(), known.entries.len());
                    tracing::info!(%path, count, "tokens read");
                }
            }
            Err(FileError::Missing(_)) => known.entries.clear(),
            Err(_) => {}
        }
        known.stamp = stamp;
        // One that came and is wrong is a file too: then nobody gets in.
        let is_there = !matches!(result, Err(FileError::Missing(_)));
        self.publish(&known.entries, now, is_there);
        result.map(|_| ())
    }

    /// Lets those in whose tokens count now; asks everybody for one from now on if there is a file.
    fn publish(&self, entries: &[Arc<Entry>], now: Timestamp, is_there: bool) {
        let live = entries.iter().filter(|entry| entry.state(now) == State::Live);
        let live: BTreeMap<_, _> =
            live.map(|entry| (entry.id.clone(), Arc::clone(entry))).collect();
        self.0.table.send_if_modified(|table| match table {
            Table::Off if !is_there => false,
            Table::Off => {
                tracing::info!("callers need a token from now on");
                *table = Table::On(Arc::new(live));
                true
            }
            Table::On(before) => {
                let is_same = before.len() == live.len()
                    && before.values().zip(live.values()).all(|(one, other)| one.is(other));
                if !is_same {
                    *table = Table::On(Arc::new(live));
                }
                !is_same
            }
        });
    }

    /// Says who calls, by the header `authorization: Bearer TOKEN`.
    ///
    /// # Errors
    ///
    /// If a token is needed, and there is none, several, or not one that counts.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let Table::On(table) = self.0.table.borrow().clone() else { return Ok(Caller::ANYONE) };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else { return Err(Refused) };
        let text = given.to_str().map_err(|_| Refused)?;
        let (scheme, text) = text.split_once(' ').ok_or(Refused)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refused);
        }
        let presented = Presented::parse(text.trim()).ok_or(Refused)?;
        let entry = table.get(presented.id).ok_or(Refused)?;
        let is_proven = entry.hash.is_of(presented.secret.as_bytes());
        // It may have expired since the table was made.
        let is_live = entry.state(self.0.clock.wall()) == State::Live;
        if is_proven && is_live { Ok(Caller::holding(Arc::clone(entry))) } else { Err(Refused) }
    }

    /// Waits until a caller may no longer do what it was let in for.
    pub async fn until_ended(&self, caller: &Caller) -> Until {
        let mut table = self.0.table.subscribe();
        loop {
            if let Some(end) = ended(&table.borrow_and_update(), caller) {
                return end;
            }
            if table.changed().await.is_err() {
                return Until::Gone;
            }
        }
    }
}

fn ended(table: &Table, caller: &Caller) -> Option<Until> {
    match (table, caller.entry()) {
        (Table::Off, _) => None,
        (Table::On(_), None) => Some(Until::Gone),
        (Table::On(table), Some(held)) => match table.get(&held.id) {
            Some(now) if now.is(held) => None,
            Some(now) if now.is_token(held) => Some(Until::Changed),
            Some(_) | None => Some(Until::Gone),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, pin::pin, time::Duration};

    use futures_util::poll;
    use hookline_core::event::SourceName;

    use super::*;
    use crate::{
        auth::{Minted, Scopes},
        clock::ManualClock,
    };

    const START: i64 = 1_800_000_000;

    struct Bench {
        folder: tempfile::TempDir,
        clock: ManualClock,
    }

    impl Bench {
        fn new() -> Self {
            let clock = ManualClock::at(Timestamp::from_secs(START).unwrap());
            Self { folder: tempfile::tempdir().unwrap(), clock }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("tokens.toml")
        }

        fn open(&self, is_named: bool) -> Tokens {
            let is_on = is_named || self.path().exists();
            let auth = Auth { tokens: self.path(), is_named, is_on };
            Tokens::open(&auth, Arc::new(self.clock.clone())).unwrap()
        }

        /// Adds a token of this name and returns its text.
        fn add(&self, name: &str, expires_at: Option<Timestamp>) -> String {
            let minted = Minted::new().unwrap();
            let entry = Entry {
                name: name.to_owned(),
                id: minted.id().to_owned(),
                hash: minted.hash(),
                scopes: Scopes { operate: true, ..Scopes::default() },
                created_at: self.clock.wall(),
                expires_at,
                revoked_at: None,
            };
            self.edit(|entries| entries.push(entry));
            minted.expose()
        }

        fn edit(&self, change: impl FnOnce(&mut Vec<Entry>)) {
            let edited = file::edit(&self.path(), |entries| {
                change(entries);
                Ok::<_, FileError>(())
            });
            edited.unwrap();
        }

        fn put_aside(&self) {
            fs::rename(self.path(), self.folder.path().join("aside")).unwrap();
        }
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn get(tokens: &Tokens, token: &str) -> Result<String, Refused> {
        let caller = tokens.caller(&headers(&[&format!("Bearer {token}")]))?;
        Ok(caller.name().unwrap_or("anyone").to_owned())
    }

    #[test]
    fn without_a_file_everybody_gets_in_until_there_is_one() {
        let bench = Bench::new();
        let tokens = bench.open(false);
        assert_eq!(get(&tokens, "whatever").as_deref(), Ok("anyone"));
        let token = bench.add("a", None);
        tokens.look(false);
        assert_eq!(get(&tokens, "whatever"), Err(Refused));
        assert_eq!(get(&tokens, &token).as_deref(), Ok("a"));
        // And not again when it goes.
        bench.put_aside();
        tokens.look(false);
        assert_eq!(get(&tokens, &token), Err(Refused));
        assert!(tokens.caller(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_file_that_was_named_is_missed() {
        let bench = Bench::new();
        let tokens = bench.open(true);
        assert_eq!(tokens.caller(&HeaderMap::new()).unwrap_err(), Refused);
        let token = bench.add("a", None);
        tokens.look(false);
        assert_eq!(get(&tokens, &token).as_deref(), Ok("a"));
    }

    #[test]
    fn only_one_header_with_a_token_that_counts_gets_in() {
        let bench = Bench::new();
        let (token, other) = (bench.add("a", None), bench.add("b", None));
        let tokens = bench.open(false);
        for good in
            [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token}")]
        {
            assert!(tokens.caller(&headers(&[&good])).is_ok(), "{good}");
        }
        let (mine, theirs) = (token.rsplit_once('_').unwrap(), other.rsplit_once('_').unwrap());
        let swapped = format!("{}_{}", mine.0, theirs.1);
        for bad in [
            token.clone(),
            format!("Basic {token}"),
            format!("Bearer {token}x"),
            "Bearer ".into(),
            format!("Bearer {swapped}"),
        ] {
            assert_eq!(tokens.caller(&headers(&[&bad])).unwrap_err(), Refused, "{bad}");
        }
        let good = format!("Bearer {token}");
        assert!(tokens.caller(&headers(&[&good, &good])).is_err(), "which of them is meant?");
    }

    #[test]
    fn a_wrong_file_keeps_the_tokens_and_a_right_one_is_taken_again() {
        let bench = Bench::new();
        let token = bench.add("a", None);
        let tokens = bench.open(false);
        let good = fs::read(bench.path()).unwrap();
        for wrong in [&b"[[token]]\nname = 1"[..], b"\xff", b"[[tok"] {
            fs::write(bench.path(), wrong).unwrap();
            tokens.look(false);
            assert_eq!(get(&tokens, &token).as_deref(), Ok("a"), "{wrong:?}");
            tokens.reload();
            assert_eq!(get(&tokens, &token).as_deref(), Ok("a"), "{wrong:?}");
        }
        // An empty file is a right one, without tokens.
        fs::write(bench.path(), b"").unwrap();
        tokens.look(false);
        assert_eq!(get(&tokens, &token), Err(Refused));
        fs::write(bench.path(), good).unwrap();
        tokens.look(false);
        assert_eq!(get(&tokens, &token).as_deref(), Ok("a"));
    }

    #[test]
    fn a_wrong_file_that_comes_lets_nobody_in() {
        let bench = Bench::new();
        let tokens = bench.open(false);
        fs::write(bench.path(), b"[[token]]\nname = 1").unwrap();
        tokens.look(false);
        assert!(tokens.caller(&HeaderMap::new()).is_err());
        tokens.look(false);
        assert!(tokens.caller(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_wrong_file_keeps_the_hub_from_starting() {
        let bench = Bench::new();
        fs::write(bench.path(), b"[[token]]\nname = 1").unwrap();
        let auth = Auth { tokens: bench.path(), is_named: false, is_on: true };
        let refused = Tokens::open(&auth, Arc::new(bench.clock.clone())).unwrap_err();
        assert!(matches!(refused, FileError::Syntax { line: 2, .. }), "{refused}");
        assert_eq!(Auth::off(bench.folder.path()).tokens, Path::new(&bench.path()));
    }

    #[test]
    fn a_token_counts_until_its_time_by_the_wall_clock() {
        let bench = Bench::new();
        let end = bench.clock.wall() + Duration::from_secs(60);
        let token = bench.add("a", Some(end));
        let tokens = bench.open(false);
        assert!(get(&tokens, &token).is_ok());
        bench.clock.set_wall(end.saturating_sub(Duration::from_micros(1)));
        assert!(get(&tokens, &token).is_ok());
        // Also before anybody has looked.
        bench.clock.set_wall(end);
        assert_eq!(get(&tokens, &token), Err(Refused));
    }

    #[tokio::test]
    async fn what_was_let_in_ends_when_its_token_expires_or_is_revoked() {
        let bench = Bench::new();
        let (short, long) = (
            bench.add("short", Some(bench.clock.wall() + Duration::from_secs(60))),
            bench.add("long", None),
        );
        let tokens = bench.open(false);
        let caller = |token: &str| tokens.caller(&headers(&[&format!("Bearer {token}")])).unwrap();
        let (short, long) = (caller(&short), caller(&long));
        let mut short = pin!(tokens.until_ended(&short));
        let mut long = pin!(tokens.until_ended(&long));
        tokens.look(false);
        assert!(poll!(short.as_mut()).is_pending() && poll!(long.as_mut()).is_pending());
        bench.clock.advance(Duration::from_secs(60));
        tokens.look(false);
        assert_eq!(poll!(short.as_mut()), std::task::Poll::Ready(Until::Gone));
        assert!(poll!(long.as_mut()).is_pending());
        let now = bench.clock.wall();
        bench.edit(|entries| entries[1].revoked_at = Some(now));
        tokens.look(false);
        assert_eq!(poll!(long.as_mut()), std::task::Poll::Ready(Until::Gone));
    }

    #[tokio::test]
    async fn what_was_let_in_begins_anew_when_its_token_may_do_something_else() {
        let bench = Bench::new();
        let token = bench.add("a", None);
        let tokens = bench.open(false);
        let caller = tokens.caller(&headers(&[&format!("Bearer {token}")])).unwrap();
        bench.edit(|entries| {
            entries[0].scopes.publish.insert(SourceName::parse("agent").unwrap());
        });
        tokens.look(false);
        assert_eq!(tokens.until_ended(&caller).await, Until::Changed);
    }

    #[tokio::test]
    async fn who_was_not_asked_for_a_token_is_sent_away_when_there_are_some() {
        let bench = Bench::new();
        let tokens = bench.open(false);
        let mut ended = pin!(tokens.until_ended(&Caller::ANYONE));
        assert!(poll!(ended.as_mut()).is_pending());
        bench.add("a", None);
        tokens.look(false);
        assert_eq!(ended.await, Until::Gone);
    }

    #[tokio::test]
    async fn the_file_is_looked_at_as_time_goes_on() {
        let bench = Bench::new();
        let token = bench.add("a", None);
        let tokens = bench.open(false);
        let caller = tokens.caller(&headers(&[&format!("Bearer {token}")])).unwrap();
        let stop = CancellationToken::new();
        let running = tokens.clone().run(stop.clone());
        let work = async {
            bench.edit(Vec::clear);
            let ended = tokens.until_ended(&caller);
            let mut ended = pin!(ended);
            loop {
                bench.clock.advance(TOKENS_INTERVAL);
                tokio::select! {
                    biased;
                    end = ended.as_mut() => break end,
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        let ((), end) = tokio::join!(running, async {
            let end = work.await;
            stop.cancel();
            end
        });
        assert_eq!(end, Until::Gone);
    }
}
