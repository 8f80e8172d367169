//! The tokens file: read as a whole, and changed as a whole.
//!
//! A change is written beside it and put in its place, so that nobody reads half of one; of two at once the second waits
//! for the first and sees what it made, by a lock on the file with `.lock` behind its name.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hookline_core::{time::Timestamp, verify::SecretHash};
use serde::{Deserialize, Serialize};

use super::{Scopes, ScopesError, token::is_id};
use crate::limits::{TOKEN_NAME_BYTES_MAX, TOKENS_FILE_BYTES_MAX, TOKENS_MAX};

/// What stands at the head of the file.
const HEAD: &str = "\
# Tokens of Hookline, kept as hashes: made by `hookline tokens create`, taken back by `hookline tokens revoke`.
# The hub takes a change within a second. Comments are not kept.
";
/// The bits of a file's mode by which others than its owner may write to it.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// A token, as far as it is kept.
#[derive(Clone, Debug)]
pub struct Entry {
    /// For people: unique.
    pub name: String,
    /// The public part of the token: unique.
    pub id: String,
    /// Of the secret part.
    pub hash: SecretHash,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is worth nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// Whether a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It counts.
    Live,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl State {
    /// Returns it as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Entry {
    /// Returns whether it counts at a time of day.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.revoked_at.is_some() {
            State::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            State::Expired
        } else {
            State::Live
        }
    }

    /// Whether it is the same token with the same scopes.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.is_token(other) && self.scopes == other.scopes
    }

    /// Whether it is the same token, whatever it may do.
    pub(super) fn is_token(&self, other: &Self) -> bool {
        self.id == other.id && self.hash.is(other.hash)
    }
}

/// Why a text is not the name of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {TOKEN_NAME_BYTES_MAX} bytes of [a-z0-9_.-]")]
pub struct NameProblem;

/// Checks the name of a token.
///
/// # Errors
///
/// If it is not one.
pub fn token_name(text: &str) -> Result<(), NameProblem> {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    let fits = (1..=TOKEN_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
    if fits { Ok(()) } else { Err(NameProblem) }
}

/// Why a tokens file could not be read or changed. Shows nothing of hashes.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no `{0}`")]
    Missing(PathBuf),
    /// It could not be used.
    #[error("could not use `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may write to it, and so make tokens.
    #[error("`{path}` may be written by others than its owner (mode {mode:04o}): `chmod 600` it")]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not written as a tokens file is.
    #[error("`{path}`, line {line}: {problem}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An entry is wrong.
    #[error("`{path}`, token {index}: {problem}")]
    Entry {
        /// Which.
        path: PathBuf,
        /// Which entry, from 1.
        index: usize,
        /// What is wrong.
        problem: EntryProblem,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// The name is none.
    #[error("`name`: {0}")]
    Name(NameProblem),
    /// Another entry has it.
    #[error("`name`: another token has it")]
    SameName,
    /// The id is none.
    #[error("`id`: not 16 digits of [0-9a-f]")]
    Id,
    /// Another entry has it.
    #[error("`id`: another token has it")]
    SameId,
    /// The hash is none.
    #[error("`hash`: not 64 digits of [0-9a-f]")]
    Hash,
    /// A scope is none.
    #[error("{error}{}", cause(.error))]
    Scopes {
        /// What is wrong with it.
        error: ScopesError,
    },
    /// A time is none.
    #[error("`{0}`: not a time such as `2027-01-31T12:00:00Z`")]
    Time(&'static str),
    /// There are too many entries.
    #[error("more than {TOKENS_MAX} tokens")]
    TooMany,
}

impl From<ScopesError> for EntryProblem {
    fn from(error: ScopesError) -> Self {
        Self::Scopes { error }
    }
}

impl From<NameProblem> for EntryProblem {
    fn from(error: NameProblem) -> Self {
        Self::Name(error)
    }
}

fn cause(error: &ScopesError) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The file as it is written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default, rename = "token")]
    tokens: Vec<EntryText>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    name: String,
    id: String,
    hash: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    read: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    operate: bool,
    created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl EntryText {
    fn read(self) -> Result<Entry, EntryProblem> {
        token_name(&self.name)?;
        if !is_id(&self.id) {
            return Err(EntryProblem::Id);
        }
        let time = |key, text: Option<String>| {
            text.map(|text| parse_time(&text).ok_or(EntryProblem::Time(key))).transpose()
        };
        let created_at = parse_time(&self.created_at).ok_or(EntryProblem::Time("created_at"))?;
        Ok(Entry {
            name: self.name,
            id: self.id,
            hash: SecretHash::parse(&self.hash).ok_or(EntryProblem::Hash)?,
            scopes: Scopes::parse(&self.subscribe, &self.publish, &self.read, self.operate)?,
            created_at,
            expires_at: time("expires_at", self.expires_at)?,
            revoked_at: time("revoked_at", self.revoked_at)?,
        })
    }

    fn of(entry: &Entry) -> Self {
        let patterns = |set: &Option<hookline_core::pattern::PatternSet>| {
            let all = set.iter().flat_map(|set| set.patterns());
            all.map(ToString::to_string).collect()
        };
        Self {
            name: entry.name.clone(),
            id: entry.id.clone(),
            hash: entry.hash.to_hex(),
            subscribe: patterns(&entry.scopes.subscribe),
            publish: entry.scopes.publish.iter().map(ToString::to_string).collect(),
            read: patterns(&entry.scopes.read),
            operate: entry.scopes.operate,
            created_at: time_text(entry.created_at),
            expires_at: entry.expires_at.map(time_text),
            revoked_at: entry.revoked_at.map(time_text),
        }
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?)
}

/// Returns a time to the second: more would be noise for people.
pub(crate) fn time_text(time: Timestamp) -> String {
    let seconds = Duration::from_secs(time.since(Timestamp::EPOCH).as_secs());
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + seconds).to_string()
}

/// What a file looks like from outside: it was not changed as long as that is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at a file; `None` if there is none, or it can't be looked at.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Returns when it was last changed, in seconds since the epoch.
    pub(super) const fn changed_secs(self) -> i64 {
        self.changed.0
    }
}

/// Reads all entries of a file.
///
/// # Errors
///
/// If there is none, others than its owner may write to it, or anything in it is wrong.
pub fn read(path: &Path) -> Result<Vec<Entry>, FileError> {
    let io = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            return FileError::Missing(path.to_owned());
        }
        FileError::Io { path: path.to_owned(), source }
    };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    if mode & WRITTEN_BY_OTHERS != 0 {
        return Err(FileError::Open { path: path.to_owned(), mode });
    }
    let most = u64::try_from(TOKENS_FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(io)?;
    if TOKENS_FILE_BYTES_MAX < text.len() {
        let problem = format!("it has more than {TOKENS_FILE_BYTES_MAX} bytes");
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, problem)));
    }
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, FileError> {
    let read: Text = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
        FileError::Syntax { path: path.to_owned(), line, problem: without_digits(error.message()) }
    })?;
    let wrong = |index, problem| FileError::Entry { path: path.to_owned(), index, problem };
    if TOKENS_MAX < read.tokens.len() {
        return Err(wrong(TOKENS_MAX + 1, EntryProblem::TooMany));
    }
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let mut entries = Vec::with_capacity(read.tokens.len());
    for (index, entry) in read.tokens.into_iter().enumerate() {
        let entry = entry.read().map_err(|problem| wrong(index + 1, problem))?;
        if !names.insert(entry.name.clone()) {
            return Err(wrong(index + 1, EntryProblem::SameName));
        }
        if !ids.insert(entry.id.clone()) {
            return Err(wrong(index + 1, EntryProblem::SameId));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Returns a message without what may be a hash that stands at a wrong place, and on one line.
fn without_digits(message: &str) -> String {
    let is_digit = |c: char| c.is_ascii_alphanumeric();
    let words = message.split_inclusive(|c| !is_digit(c)).map(|word| {
        let digits = word.trim_end_matches(|c| !is_digit(c));
        let rest = word.strip_prefix(digits).unwrap_or_default();
        if 24 < digits.len() { format!("...{rest}") } else { word.to_owned() }
    });
    words.collect::<String>().replace('\n', ", ")
}

/// Changes the entries of a file, which is made where there is none; returns what `change` does.
///
/// # Errors
///
/// If the file is wrong, `change` refuses, or it can't be written: then it is as before.
pub fn edit<T, E>(path: &Path, change: impl FnOnce(&mut Vec<Entry>) -> Result<T, E>) -> Result<T, E>
where
    E: From<FileError>,
{
    // What stands behind a link is changed, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lock = lock(&path)?;
    let mut entries = match read(&path) {
        Ok(entries) => entries,
        Err(FileError::Missing(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let done = change(&mut entries)?;
    write(&path, &entries).map_err(|source| FileError::Io { path: path.clone(), source })?;
    drop(lock);
    Ok(done)
}

/// Waits until nobody else changes the file.
fn lock(path: &Path) -> Result<File, FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let locked = fs::create_dir_all(folder(path)).and_then(|()| {
        let file = File::options().create(true).append(true).open(&name)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.lock()?;
        Ok(file)
    });
    locked.map_err(|source| FileError::Io { path: name, source })
}

fn write(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let text = Text { tokens: entries.iter().map(EntryText::of).collect() };
    let text = toml::to_string(&text).map_err(io::Error::other)?;
    if TOKENS_FILE_BYTES_MAX < HEAD.len() + text.len() || TOKENS_MAX < entries.len() {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it would hold too many tokens"));
    }
    let folder = folder(path);
    // Of mode 0600 from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(HEAD.as_bytes())?;
    file.write_all(text.as_bytes())?;
    // The hub may run as somebody else than who makes tokens: the file stays its owner's, a new one is the folder's.
    let owner = fs::metadata(path).or_else(|_| fs::metadata(folder))?;
    let made = file.as_file().metadata()?;
    if (owner.uid(), owner.gid()) != (made.uid(), made.gid()) && owner.uid() != made.uid() {
        std::os::unix::fs::chown(file.path(), Some(owner.uid()), Some(owner.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::auth::Minted;

    pub(super) fn entry(name: &str) -> Entry {
        let minted = Minted::new().unwrap();
        Entry {
            name: name.to_owned(),
            id: minted.id().to_owned(),
            hash: minted.hash(),
            scopes: Scopes { operate: true, ..Scopes::default() },
            created_at: Timestamp::from_secs(1_800_000_000).unwrap(),
            expires_at: None,
            revoked_at: None,
        }
    }

    fn add(path: &Path, entry: Entry) -> Result<(), FileError> {
        edit(path, |entries| {
            entries.push(entry);
            Ok(())
        })
    }

    #[test]
    fn what_is_written_is_read_again_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/tokens.toml");
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut whole = entry("a.b-c_1");
        whole.scopes = Scopes::parse(
            &texts(&["github/*", "!github/push"]),
            &texts(&["agent", "github"]),
            &texts(&["*"]),
            false,
        )
        .unwrap();
        whole.expires_at = Timestamp::from_secs(1_900_000_000);
        whole.revoked_at = Timestamp::from_secs(1_850_000_000);
        add(&path, whole.clone()).unwrap();
        add(&path, entry("other")).unwrap();
        let read_again = read(&path).unwrap();
        assert_eq!(read_again.len(), 2);
        assert!(read_again[0].is(&whole));
        let times = |of: &Entry| (of.created_at, of.expires_at, of.revoked_at);
        assert_eq!(times(&read_again[0]), times(&whole));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = format!("{read_again:?}");
        assert!(!shown.contains(&whole.hash.to_hex()), "{shown}");
    }

    #[test]
    fn of_many_changes_at_once_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let (count, start) = (8, Barrier::new(8));
        std::thread::scope(|scope| {
            for number in 0..count {
                let (path, start) = (&path, &start);
                scope.spawn(move || {
                    start.wait();
                    add(path, entry(&format!("t{number}"))).unwrap();
                });
            }
        });
        let mut names: Vec<_> = read(&path).unwrap().into_iter().map(|of| of.name).collect();
        names.sort();
        assert_eq!(names, (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_change_that_is_refused_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        add(&path, entry("a")).unwrap();
        let before = fs::read(&path).unwrap();
        let refused = edit(&path, |entries| {
            entries.clear();
            Err::<(), _>(FileError::Missing(PathBuf::new()))
        });
        assert!(refused.is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_no_hash() {
        let good = |more: &str| {
            let (id, hash) = ("0123456789abcdef", "ab".repeat(32));
            let time = "2026-11-26T00:00:00Z";
            format!(
                "[[token]]\nid = \"{id}\"\nhash = \"{hash}\"\ncreated_at = \"{time}\"\n{more}\n"
            )
        };
        let refused = |text: &str| parse(Path::new("t"), text).unwrap_err().to_string();
        assert_eq!(parse(Path::new("t"), &good("name = \"a\"")).unwrap().len(), 1);
        for (text, told) in [
            (good(""), "missing field `name`"),
            (good("name = \"A\""), "token 1: `name`: a name is 1 to 64 bytes of [a-z0-9_.-]"),
            (good("name = \"a\"\nrights = 1"), "line 6: unknown field `rights`"),
            (
                good("name = \"a\"\nread = [\"GitHub\"]"),
                "token 1: `read`: pattern 0 is not valid: at byte 0",
            ),
            (good("name = \"a\"\npublish = [\"dead-letter\"]"), "`dead-letter` is reserved"),
            (good("name = \"a\"\nexpires_at = \"soon\""), "`expires_at`: not a time"),
            (good("name = \"a\"").replace("abab", "ABAB"), "`hash`: not 64 digits"),
            (good("name = \"a\"").replace("0123", "123"), "`id`: not 16 digits"),
            (good("name = \"a\"").repeat(2), "token 2: `name`: another token has it"),
            (good("name = \"a\"") + &good("name = \"b\""), "token 2: `id`: another token has it"),
            (
                good(&format!("name = \"a\"\noperate = \"{}\"", "ab".repeat(32))),
                "line 6: invalid type",
            ),
            ("[[token".to_owned(), "line 1"),
        ] {
            let refused = refused(&text);
            assert!(refused.contains(told), "{refused} has `{told}`");
            assert!(!refused.contains(&"ab".repeat(16)), "{refused}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        add(&path, entry("a")).unwrap();
        for (mode, is_taken) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), is_taken, "{mode:o}");
        }
    }
}
