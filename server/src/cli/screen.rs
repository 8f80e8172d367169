//! What the standard output is: a terminal of some width that may have colours, or something else.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
};

use super::text::Colour;
use crate::config::{Environment as _, Process};

/// Where tables are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Screen {
    /// How many characters a line has; `None`: as many as it takes.
    pub(super) width: Option<usize>,
    pub(super) colours: bool,
}

impl Screen {
    /// A file or a pipe: any width, no colours.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { width: None, colours: false };

    /// Looks at the standard output. Colours are for a terminal, unless <https://no-color.org> is asked for.
    pub(super) fn of_stdout() -> Self {
        let out = io::stdout();
        if !out.is_terminal() {
            return Self { width: None, colours: false };
        }
        let size = rustix::termios::tcgetwinsize(&out).ok();
        // A terminal that does not know its width says zero.
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| 0 < *width);
        Self { width, colours: !Process.variables().iter().any(forbids_colours) }
    }

    /// Returns the text in the colour, if there are colours here.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        if self.colours { colour.paint(text) } else { text.to_owned() }
    }
}

fn forbids_colours((name, value): &(OsString, OsString)) -> bool {
    (name == "NO_COLOR" && !value.is_empty()) || (name == "TERM" && value == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_no_colours_is_heard() {
        let forbids = |name: &str, value: &str| forbids_colours(&(name.into(), value.into()));
        assert!(forbids("NO_COLOR", "1") && forbids("TERM", "dumb"));
        assert!(!forbids("NO_COLOR", "") && !forbids("TERM", "xterm"));
    }
}
