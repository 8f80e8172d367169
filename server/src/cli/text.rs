//! How commands write for people: aligned columns, short forms, and nothing that could play with a terminal.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use hookline_core::time::Timestamp;

/// The widest that a column grows: one long cell must not push the rest of all later rows off the screen.
const COLUMN_WIDTH_MAX: usize = 48;

/// On which side a cell is filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Columns that remember how wide they are: a row that comes later is never narrower than those before.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<(Align, usize)>,
}

impl Columns {
    /// Makes columns of these sides and first widths.
    pub(super) fn new(columns: &[(Align, usize)]) -> Self {
        Self { columns: columns.to_vec() }
    }

    /// Makes room for a row that will be printed later.
    pub(super) fn fit(&mut self, cells: &[String]) {
        for ((_, width), cell) in self.columns.iter_mut().zip(cells) {
            *width = cell.chars().count().min(COLUMN_WIDTH_MAX).max(*width);
        }
    }

    /// Returns a row, two spaces between the cells and none at its end.
    pub(super) fn row(&mut self, cells: &[String]) -> String {
        self.fit(cells);
        let mut row = String::new();
        for ((align, width), cell) in self.columns.iter().zip(cells) {
            // Writing to a string does not fail.
            match align {
                Align::Left => write!(row, "{cell:<width$}  ").ok(),
                Align::Right => write!(row, "{cell:>width$}  ").ok(),
            };
        }
        row.truncate(row.trim_end().len());
        row
    }
}

/// Returns a text of outside as one line that a terminal only shows: what would control it is escaped.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() || is_direction(char) {
            clean.extend(char.escape_default());
        } else {
            clean.push(char);
        }
    }
    clean
}

/// Whether a character changes the direction of the text around it, by which a line can be made to read otherwise.
fn is_direction(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns a text of outside, clean and at most `chars` long, or a dash where there is none.
pub(super) fn cell(text: &str, chars: usize) -> String {
    let text = clean(text);
    if text.is_empty() {
        return "-".to_owned();
    }
    if text.chars().count() <= chars {
        return text;
    }
    let mut cut: String = text.chars().take(chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Returns the end of an id, by which people tell events apart: its beginning is the time, and the same for all of a
/// minute.
pub(super) fn short_id(id: &str) -> String {
    const CHARS: usize = 8;
    let skipped = id.chars().count().saturating_sub(CHARS);
    id.chars().skip(skipped).collect()
}

/// Returns a count of bytes, such as `417 B`, `9.9 KB` or `25.0 MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| *unit <= bytes) else {
        return format!("{bytes} B");
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10))
}

/// Returns a time of the wire as RFC 3339 with milliseconds, in UTC.
pub(super) fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    let time = SystemTime::try_from(*time?).ok()?;
    // What is before the epoch or after the year 9999 can't be written.
    let text = (SystemTime::UNIX_EPOCH <= time).then(|| humantime::format_rfc3339_millis(time))?;
    let mut written = String::new();
    write!(written, "{text}").ok()?;
    Some(written)
}

/// Returns a duration of the wire for people, such as `1m 30s`: whole seconds where it has any.
pub(super) fn duration(duration: &prost_types::Duration) -> String {
    let Ok(duration) = Duration::try_from(*duration) else { return "-".to_owned() };
    let secs = Duration::from_secs(duration.as_secs());
    let shown =
        if secs.is_zero() { Duration::from_millis(duration.subsec_millis().into()) } else { secs };
    humantime::format_duration(shown).to_string()
}

/// Returns how long ago a time of the wire was, such as `3m 20s`; a dash where there is none.
pub(super) fn age(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| span(now.since(core_time(time))))
}

/// Returns a time of the wire as one of the core; what is beyond its range becomes its end.
pub(super) fn core_time(time: &prost_types::Timestamp) -> Timestamp {
    let micros =
        time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000));
    let beyond = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_micros(micros).unwrap_or(beyond)
}

/// Returns a duration by its two largest units: what is hours old is not told in seconds.
pub(super) fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    let unit = match secs {
        0..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    humantime::format_duration(Duration::from_secs(secs - secs % unit)).to_string()
}

/// Returns a count with its noun, `1 event` or `3 events`.
pub(super) fn count(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A colour, of the eight that every terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Plain,
    Bold,
    Green,
    Yellow,
    Red,
    Cyan,
}

impl Colour {
    /// Returns the text in this colour. Widths have to be made up before: the codes have none.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => 1,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
            Self::Cyan => 36,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn rows_are_aligned_and_end_without_spaces() {
        let mut columns = Columns::new(&[(Align::Right, 3), (Align::Left, 4), (Align::Left, 4)]);
        assert_eq!(columns.row(&cells(&["7", "ab", "x"])), "  7  ab    x");
        assert_eq!(columns.row(&cells(&["1234", "abcdef", "x"])), "1234  abcdef  x");
        assert_eq!(columns.row(&cells(&["7", "ab", "x"])), "   7  ab      x");
    }

    #[test]
    fn one_very_long_cell_does_not_widen_its_column_for_ever() {
        let mut columns = Columns::new(&[(Align::Left, 2), (Align::Left, 1)]);
        columns.row(&cells(&[&"x".repeat(500), "y"]));
        assert_eq!(columns.row(&cells(&["a", "y"])).len(), COLUMN_WIDTH_MAX + 3);
    }

    #[test]
    fn what_would_control_a_terminal_is_escaped() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\td"), "a\\u{1b}[2Jb\\nc\\td");
        assert_eq!(clean("\u{202e}evil"), "\\u{202e}evil");
        assert_eq!(clean("Zoë’s"), "Zoë’s");
    }

    #[test]
    fn a_cell_is_cut_between_characters_and_never_empty() {
        assert_eq!(cell("", 5), "-");
        assert_eq!(cell("äöüß", 4), "äöüß");
        assert_eq!(cell("äöüßx", 4), "äöü…");
    }

    #[test]
    fn a_short_id_is_the_end_of_the_long_one() {
        assert_eq!(short_id("0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a"), "2d3c4b5a");
        assert_eq!(short_id("abc"), "abc");
    }

    #[test]
    fn sizes_are_read_by_people() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (9_949, "9.9 KB"),
            (26_214_400, "26.2 MB"),
            (u64::MAX, "18446744073.7 GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_time_is_utc_with_milliseconds() {
        let some = prost_types::Timestamp { seconds: 1_533_204_620, nanos: 250_000_000 };
        assert_eq!(time(Some(&some)).as_deref(), Some("2018-08-02T10:10:20.250Z"));
        assert_eq!(time(None), None);
        for seconds in [-1, 253_402_300_800, i64::MAX] {
            assert_eq!(time(Some(&prost_types::Timestamp { seconds, nanos: 0 })), None);
        }
    }

    #[test]
    fn durations_are_told_in_units() {
        let wire = |seconds, nanos| duration(&prost_types::Duration { seconds, nanos });
        assert_eq!(wire(90, 250_000_000), "1m 30s");
        assert_eq!((wire(0, 5_000_000), wire(0, 0)), ("5ms".to_owned(), "0s".to_owned()));
        assert_eq!(wire(-1, 0), "-");
        assert_eq!(span(Duration::from_secs(3 * 3_600 + 125)), "3h 2m");
        assert_eq!(span(Duration::from_secs(50 * 3_600 + 125)), "2days 2h");
    }

    #[test]
    fn an_age_is_never_below_zero() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        assert_eq!(age(Some(&at(900)), now), "1m 40s");
        assert_eq!(age(Some(&at(1_001)), now), "0s");
        assert_eq!(age(None, now), "-");
    }

    #[test]
    fn a_noun_has_its_number() {
        assert_eq!(
            (count(0, "event"), count(1, "event"), count(2, "event")),
            ("0 events".to_owned(), "1 event".to_owned(), "2 events".to_owned())
        );
    }
}
