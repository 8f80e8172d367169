//! Log lines: text for people or JSON for machines, to the standard error stream.
//!
//! What is logged where: ERROR wakes a person; WARN is odd but still right; INFO tells that a part came or went; DEBUG is
//! a decision about one event; TRACE is every step. Never a payload, never a secret.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io::{self, IsTerminal},
    str::FromStr,
};

use tracing::{Subscriber, level_filters::LevelFilter, subscriber};
use tracing_log::LogTracer;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Directive, fmt::MakeWriter, layer::SubscriberExt, reload,
};

/// What to log, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Which lines.
    pub level: Level,
    /// How they look.
    pub format: Format,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line of text, coloured on a terminal. The default.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(FormatError { found: text.to_owned() }),
        }
    }
}

/// A word that is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a format: use `text` or `json`")]
pub struct FormatError {
    found: String,
}

/// Which lines are logged: `info` (the default), or a level and exceptions, such as `info,hookline_server::http=debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Level(String);

impl Default for Level {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A part of a level that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{part}` is not a level: use `off`, `error`, `warn`, `info`, `debug` or `trace`, \
     or `part::of::the::code=level`, with commas between"
)]
pub struct LevelError {
    part: String,
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for part in text.split(',') {
            // A bare word that is no level would be taken for a part of the code, all of which is then logged: a typing
            // error in `debug` must not turn everything on.
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            let read = level.parse::<LevelFilter>().is_ok() && part.parse::<Directive>().is_ok();
            // Numbers are levels for the library, but not for people.
            if !read || level.bytes().any(|byte| byte.is_ascii_digit()) {
                return Err(LevelError { part: part.to_owned() });
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// Logs were set up before.
#[derive(Debug, thiserror::Error)]
#[error("setting up the log")]
pub struct InitError(#[from] subscriber::SetGlobalDefaultError);

/// Sends log lines to the standard error stream, from now on and for the whole process.
///
/// # Errors
///
/// If that was done before.
pub fn init(log: &Log) -> Result<Levels, InitError> {
    let colour = if io::stderr().is_terminal() { Colour::On } else { Colour::Off };
    let (subscriber, levels) = subscriber_to(log, colour, io::stderr);
    subscriber::set_global_default(subscriber)?;
    hear_libraries();
    Ok(levels)
}

/// Which lines are logged, while the process runs.
#[derive(Clone, Debug)]
pub struct Levels(reload::Handle<EnvFilter, Registry>);

impl Levels {
    /// Logs these lines from now on.
    pub fn set(&self, level: &Level) {
        // It fails once nothing is logged any more.
        self.0.reload(EnvFilter::new(&level.0)).ok();
    }
}

/// Takes what libraries say by the `log` crate, such as sled, where it is a warning or an error: the rest is theirs.
fn hear_libraries() {
    let tracer = LogTracer::builder().with_max_level(tracing_log::log::LevelFilter::Warn);
    // It fails where somebody hears them already.
    tracer.init().ok();
}

/// Returns an error and its causes, as one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        write!(text, ": {error}").ok();
        cause = error.source();
    }
    text
}

/// Makes what [`init`] sets up for the whole process, plain, to a writer of a test.
#[cfg(test)]
pub(crate) fn to_writer<W>(log: &Log, writer: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber_to(log, Colour::Off, writer).0
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    On,
    Off,
}

fn subscriber_to<W>(
    log: &Log,
    colour: Colour,
    writer: W,
) -> (impl Subscriber + Send + Sync + use<W>, Levels)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&log.level.0));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match log.format {
        Format::Text => lines.with_ansi(colour == Colour::On).boxed(),
        Format::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    (Registry::default().with(lines.with_filter(filter)), Levels(handle))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &Log, colour: Colour) -> String {
        logged_by(log, colour, || {
            tracing::info!(event_id = "e-1", "accepted");
            tracing::debug!("a decision");
        })
    }

    fn logged_by(log: &Log, colour: Colour, speak: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let (subscriber, _) = subscriber_to(log, colour, move || writer.clone());
        subscriber::with_default(subscriber, speak);
        let bytes = sink.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_plain_away_from_a_terminal_and_leaves_out_what_is_below_the_level() {
        let text = logged(&Log::default(), Colour::Off);
        assert!(text.contains("accepted event_id=\"e-1\""), "{text}");
        assert!(!text.contains("a decision") && !text.contains('\u{1b}'), "{text}");
        assert!(logged(&Log::default(), Colour::On).contains('\u{1b}'));
    }

    #[test]
    fn what_libraries_warn_of_is_a_line_and_what_else_they_say_is_not() {
        use tracing_log::log::{error, info, warn};
        hear_libraries();
        let text = logged_by(&Log::default(), Colour::Off, || {
            error!(target: "sled::pagecache", "failed to fsync");
            warn!("odd");
            info!("a segment was freed");
        });
        assert!(text.contains("ERROR sled::pagecache: failed to fsync"), "{text}");
        assert!(text.contains("odd") && !text.contains("segment"), "{text}");
    }

    #[test]
    fn json_is_an_object_a_line() {
        let log = Log { level: "debug".parse().unwrap(), format: Format::Json };
        let lines = logged(&log, Colour::On);
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "accepted");
        assert_eq!(lines[0]["event_id"], "e-1");
        assert_eq!(lines[1]["level"], "DEBUG");
    }

    #[test]
    fn a_level_is_a_word_with_exceptions_and_nothing_else() {
        for good in ["info", "off", "DEBUG", "info,hookline_server::http=debug", "warn,h2=off"] {
            assert!(good.parse::<Level>().is_ok(), "{good}");
        }
        for (bad, part) in [
            ("", ""),
            ("verbose", "verbose"),
            ("info,debg", "debg"),
            ("3", "3"),
            ("info,x=loud", "x=loud"),
            ("info,,warn", ""),
        ] {
            assert_eq!(bad.parse::<Level>(), Err(LevelError { part: part.to_owned() }), "{bad}");
        }
    }

    #[test]
    fn a_format_is_text_or_json() {
        assert_eq!("json".parse(), Ok(Format::Json));
        let error = "xml".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "`xml` is not a format: use `text` or `json`");
    }
}
