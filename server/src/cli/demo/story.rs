//! The story on the screen: a line a step, in columns.

use std::{sync::Arc, time::Duration};

use hookline_core::time::Timestamp;

use crate::{
    cli::{
        say,
        screen::Screen,
        text::{self, Colour},
    },
    clock::{Clock as _, SystemClock},
};

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Hub,
    GitHub,
    Stripe,
    Reviewer,
    Billing,
    OnCall,
    Check,
}

impl Who {
    const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::GitHub => "github",
            Self::Stripe => "stripe",
            Self::Reviewer => "reviewer",
            Self::Billing => "billing",
            Self::OnCall => "on-call",
            Self::Check => "check",
        }
    }
}

/// The story. Clones tell the same one.
#[derive(Clone, Debug)]
pub(super) struct Story {
    clock: Arc<SystemClock>,
    began_at: Timestamp,
    colours: bool,
}

impl Story {
    pub(super) fn begin() -> Self {
        let clock = SystemClock::start(Timestamp::EPOCH);
        let began_at = clock.steady();
        Self { clock, began_at, colours: Screen::of_stdout().colours }
    }

    /// Returns the time since the story began.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.steady().since(self.began_at)
    }

    /// Says what the columns are.
    pub(super) fn heading(&self) {
        let heading = row("seconds", "who", "subject", "event", "what happened");
        say(&self.paint(Colour::Bold, &heading));
    }

    /// Tells a step: who, on what, the event's id (empty: none), and what happened.
    pub(super) fn tell(&self, who: Who, subject: &str, id: &str, what: &str, colour: Colour) {
        let seconds = format!("{:.3}", self.elapsed().as_secs_f64());
        let (id, what) = (text::short_id(id), text::clean(what));
        let line = row(&seconds, who.name(), subject, &id, &self.paint(colour, &what));
        say(&line);
    }

    /// Returns the text in the colour, if there are colours here.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colours { colour.paint(text) } else { text.to_owned() }
    }
}

fn row(seconds: &str, who: &str, subject: &str, id: &str, what: &str) -> String {
    format!("{seconds:>7}  {who:<8}  {subject:<31}  {id:<8}  {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_in_columns() {
        let heading = row("seconds", "who", "subject", "event", "what happened");
        let step = row("0.042", "reviewer", "github/pull_request.opened", "2d3c4b5a", "acked");
        assert_eq!(heading.find("what happened"), step.find("acked"));
        assert_eq!(heading.find("event"), step.find("2d3c4b5a"));
    }

    #[test]
    fn without_a_terminal_nothing_is_painted() {
        let story = Story { colours: false, ..Story::begin() };
        assert_eq!(story.paint(Colour::Red, "dead"), "dead");
        let story = Story { colours: true, ..story };
        assert_eq!(story.paint(Colour::Red, "dead"), "\u{1b}[31mdead\u{1b}[0m");
    }
}
