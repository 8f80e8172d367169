//! What failures have in common: an error text with its changing parts taken out, so that those with one cause are the
//! same text.

/// The most bytes of a text that are looked at: what is behind them is a stack or a body, and seldom says more.
const LOOKED_AT_MAX: usize = 1_024;
/// The most bytes of what is left of it.
const CAUSE_BYTES_MAX: usize = 256;
/// Words and digits together from this length on are an id, however they are mixed.
const ID_CHARS: usize = 20;
/// Hexadecimal digits from this length on are an id: a short hash of git has seven.
const HEX_CHARS: usize = 7;

const NUMBER: &str = "<n>";
const ID: &str = "<id>";
const TEXT: &str = "<text>";
const TIME: &str = "<time>";
const ADDRESS: &str = "<ip>";

/// Returns an error text with its changing parts taken out, on one line and at most 256 bytes long: numbers, ids, times,
/// addresses and quoted texts. A status of HTTP that is named as one stays, since it tells causes apart.
#[must_use]
pub fn cause(text: &str) -> String {
    let looked_at = text.get(..text.floor_char_boundary(LOOKED_AT_MAX)).unwrap_or_default();
    let mut reader = Reader { rest: looked_at, cause: String::new(), previous: None };
    while reader.cause.len() < CAUSE_BYTES_MAX && reader.step() {}
    let mut cause = reader.cause;
    cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
    cause.truncate(cause.trim_end().len());
    cause
}

/// What is left to read, and what was made of the rest.
struct Reader<'a> {
    rest: &'a str,
    cause: String,
    /// The character before what is left.
    previous: Option<char>,
}

impl Reader<'_> {
    /// Takes the next part; whether there was one.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if first.is_whitespace() {
            self.take(first.len_utf8());
            if !self.cause.is_empty() && !self.cause.ends_with(' ') {
                self.cause.push(' ');
            }
        } else if let Some(length) = self.quoted(first) {
            self.replace(length, TEXT);
        } else if self.begins_a_word() && first.is_ascii_alphanumeric() {
            self.word();
        } else {
            self.keep(first.len_utf8());
        }
        true
    }

    /// Whether what is left is not the middle of a word.
    fn begins_a_word(&self) -> bool {
        self.previous.is_none_or(|char| !is_of_word(char))
    }

    /// Returns the length of the quoted text that begins here, quotes included; `None` if there is none, or the mark is an
    /// apostrophe.
    fn quoted(&self, mark: char) -> Option<usize> {
        if !matches!(mark, '"' | '\'' | '`') || !self.begins_a_word() {
            return None;
        }
        let inner = self.rest.get(1..)?;
        let ends = inner.match_indices(mark).map(|(at, _)| at);
        let end = ends.into_iter().find(|at| {
            let next = inner.get(at + 1..).and_then(|after| after.chars().next());
            next.is_none_or(|char| !is_of_word(char))
        })?;
        Some(end + 2)
    }

    /// Takes the word that begins here: letters, digits and `_`, and with them what makes a time, an id or a number of it.
    fn word(&mut self) {
        let forms = [(time as fn(&str) -> Option<usize>, TIME), (uuid, ID), (address, ADDRESS)];
        for (form, mark) in forms {
            if let Some(length) = form(self.rest) {
                return self.replace(length, mark);
            }
        }
        let length = self.rest.find(|char| !is_of_word(char)).unwrap_or(self.rest.len());
        let word = self.rest.get(..length).unwrap_or_default();
        let letters = word.find(|char: char| char.is_ascii_digit());
        match letters {
            None => self.keep(length),
            Some(_) if is_id(word) => self.replace(length, ID),
            Some(0) => self.number(),
            // `evt_1a2b` is an id, and `worker7` the seventh.
            Some(at) => {
                let is_numbered = word.bytes().skip(at).all(|byte| byte.is_ascii_digit());
                let mark = if is_numbered { NUMBER } else { ID };
                self.keep(at);
                self.replace(length - at, mark);
            }
        }
    }

    /// Takes the number that begins here, without its unit.
    fn number(&mut self) {
        let is_inside = |(at, char): (usize, char)| {
            let next = self.rest.as_bytes().get(at + 1);
            let goes_on = matches!(char, '.' | ',') && next.is_some_and(u8::is_ascii_digit);
            char.is_ascii_digit() || goes_on
        };
        let end = self.rest.char_indices().find(|place| !is_inside(*place));
        let length = end.map_or(self.rest.len(), |(at, _)| at);
        if self.is_status(length) {
            return self.keep(length);
        }
        self.replace(length, NUMBER);
        // `5ms` is as much a number as `5 ms`, and its unit says what it is.
        let unit = self.rest.find(|char| !is_of_word(char)).unwrap_or(self.rest.len());
        self.keep(unit);
    }

    /// Whether the number of this length is a status of HTTP by what stands before it.
    fn is_status(&self, length: usize) -> bool {
        let number = self.rest.get(..length).and_then(|digits| digits.parse().ok());
        let before = self.cause.trim_end_matches([' ', ':', '=', '(']).to_ascii_lowercase();
        number.is_some_and(|number: u16| (100..600).contains(&number))
            && ["status", "code", "http", "error"].iter().any(|word| before.ends_with(word))
    }

    fn take(&mut self, length: usize) -> &str {
        let (taken, rest) = self.rest.split_at(length);
        self.previous = taken.chars().next_back().or(self.previous);
        self.rest = rest;
        taken
    }

    fn keep(&mut self, length: usize) {
        let (kept, _) = self.rest.split_at(length);
        self.cause.push_str(kept);
        self.take(length);
    }

    /// Puts a mark in place of what is left up to this length; a list of the same is one.
    fn replace(&mut self, length: usize, mark: &str) {
        self.take(length);
        let before = self.cause.trim_end_matches([' ', ',']);
        if before.len() < self.cause.len() && before.ends_with(mark) {
            self.cause.truncate(before.len());
        } else {
            self.cause.push_str(mark);
        }
    }
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Whether a word with digits in it is an id as a whole.
fn is_id(word: &str) -> bool {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_long = digits.len() >= HEX_CHARS || digits.len() < word.len();
    (is_hex && is_long && !is_number)
        || (word.len() >= ID_CHARS && !is_number && !word.contains('_'))
}

/// Returns the length of what a form takes, in which `0` is a digit, `x` a hexadecimal one, and anything else itself.
fn shaped(text: &str, form: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..form.len())?;
    let fits = bytes.iter().zip(form.bytes()).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        form => *byte == form,
    });
    fits.then_some(form.len())
}

fn uuid(text: &str) -> Option<usize> {
    shaped(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

/// Returns the length of a date, a time of day, or both.
fn time(text: &str) -> Option<usize> {
    let Some(date) = shaped(text, "0000-00-00").or_else(|| shaped(text, "0000/00/00")) else {
        return time_of_day(text);
    };
    let after = text.get(date..).unwrap_or_default();
    let of_day = after.strip_prefix(['T', 't', ' ']).and_then(time_of_day);
    Some(date + of_day.map_or(0, |length| length + 1))
}

fn time_of_day(text: &str) -> Option<usize> {
    let mut length = shaped(text, "00:00:00")?;
    let rest = |length: usize| text.get(length..).unwrap_or_default();
    if let Some(fraction) = rest(length).strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        length += if digits > 0 { digits + 1 } else { 0 };
    }
    let zone = match rest(length).chars().next() {
        Some('Z' | 'z') => Some(1),
        Some('+' | '-') => {
            let zone = rest(length + 1);
            shaped(zone, "00:00").or_else(|| shaped(zone, "0000")).map(|zone| zone + 1)
        }
        Some(_) | None => None,
    };
    Some(length + zone.unwrap_or(0))
}

/// Returns the length of an address of IPv4.
fn address(text: &str) -> Option<usize> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let address = text.get(..end)?.trim_end_matches('.');
    address.parse::<std::net::Ipv4Addr>().ok()?;
    Some(address.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_changes_from_failure_to_failure_is_taken_out() {
        let cases = [
            ("", ""),
            ("  no such\n\trepository  ", "no such repository"),
            // Numbers, with and without their units.
            ("timed out after 30s", "timed out after <n>s"),
            ("took 1.5 s of 1,000", "took <n> s of <n>"),
            ("ids 1, 2, 3 are gone", "ids <n> are gone"),
            ("issue #4711: gone", "issue #<n>: gone"),
            ("worker7 died", "worker<n> died"),
            ("line 12:34", "line <n>:<n>"),
            // A status is what tells causes apart.
            ("status 503 from the ledger", "status 503 from the ledger"),
            ("HTTP 429: slow down", "HTTP 429: slow down"),
            ("status code: 404", "status code: 404"),
            ("error 12345", "error <n>"),
            ("503 rows", "<n> rows"),
            // Ids.
            ("no evt_1Nx5Ab2eZ", "no evt_<id>"),
            ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit <id>"),
            ("commit 9fceb02", "commit <id>"),
            ("at 0x7ffee4", "at <id>"),
            ("run 0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a failed", "run <id> failed"),
            ("token eyJhbGciOiJIUzI1NiJ9abc", "token <id>"),
            // Quoted texts, and what is none.
            ("no field `a.b` in \"x y\"", "no field <text> in <text>"),
            ("KeyError: 'user_17'", "KeyError: <text>"),
            ("can't reach it, it isn't there", "can't reach it, it isn't there"),
            ("an open ' quote", "an open ' quote"),
            // Places.
            (
                "GET https://api.test/repos/octo/hello/issues/7?page=2",
                "GET https://api.test/repos/octo/hello/issues/<n>?page=<n>",
            ),
            ("connect to 10.0.0.17:5432: refused", "connect to <ip>:<n>: refused"),
            ("/tmp/run-83/out.json: no such file", "/tmp/run-<n>/out.json: no such file"),
            // Times.
            ("at 2026-11-23T08:58:12.123Z", "at <time>"),
            ("at 2026-11-23 08:58:12+01:00, late", "at <time>, late"),
            ("since 2026-11-23", "since <time>"),
            ("08:58:12,5 ERROR", "<time> ERROR"),
            // Words of other languages stay.
            ("Datei „größe“ fehlt", "Datei „größe“ fehlt"),
        ];
        for (text, expected) in cases {
            assert_eq!(cause(text), expected, "of {text:?}");
        }
    }

    #[test]
    fn failures_with_one_cause_are_one_text() {
        let texts = [
            "2026-11-23T08:58:12Z POST /runs/81 of 'octo/hello' failed after 3 tries (id 81aa02ff)",
            "2026-11-24T10:00:00Z POST /runs/7 of 'o/x' failed after 12 tries (id 00ffe1c2)",
        ];
        assert_eq!(cause(texts[0]), cause(texts[1]));
        assert_ne!(cause("status 500"), cause("status 429"));
    }

    proptest! {
        #[test]
        fn it_is_short_on_one_line_and_stays_as_it_is(text in "[ -~\n\tä„]{0,400}") {
            let once = cause(&text);
            prop_assert!(once.len() <= CAUSE_BYTES_MAX);
            prop_assert!(!once.contains(['\n', '\t']) && once.trim() == once, "{once:?}");
        }
    }
}
