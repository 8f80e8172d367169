//! Tables for people: a head, aligned columns, colours where there are any, and no line wider than the screen.

use super::{
    screen::Screen,
    text::{self, Align, Colour},
};

/// The narrowest that a column is made so that a line fits.
const COLUMN_WIDTH_LEAST: usize = 8;

/// A column's head, and on which side its cells are filled up.
pub(super) type Head = (&'static str, Align);

/// A text in a colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    colour: Colour,
    /// Whether its column stays as wide as it is, whatever the screen.
    whole: bool,
}

impl Cell {
    /// Makes a cell of a text of outside: a dash where there is none.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text::cell(text, usize::MAX), colour: Colour::Plain, whole: false }
    }

    pub(super) fn count(count: u64) -> Self {
        Self { text: count.to_string(), colour: Colour::Plain, whole: false }
    }

    pub(super) fn in_colour(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    /// Never cut: an id that somebody has to copy.
    pub(super) fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// Returns the text as it stands outside of a table.
    pub(super) fn painted(&self, screen: Screen) -> String {
        screen.paint(self.colour, &self.text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

/// A table whose rows are all known.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(head: &[Head]) -> Self {
        Self::titled(head.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect())
    }

    /// As [`Table::new`], with heads that are known only when there is something to show.
    pub(super) const fn titled(head: Vec<(String, Align)>) -> Self {
        Self { head, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Returns the lines, the head first.
    pub(super) fn lines(&self, screen: Screen) -> Vec<String> {
        let widths = self.widths(screen.width);
        let head: Vec<_> =
            self.head.iter().map(|(name, _)| Cell::new(name).in_colour(Colour::Bold)).collect();
        let rows = std::iter::once(&head).chain(&self.rows);
        rows.map(|row| self.line(row, &widths, screen)).collect()
    }

    /// Returns how wide the columns are. On a screen the widest give way first, but for what is a number.
    fn widths(&self, screen: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<_> = self.head.iter().map(|(name, _)| name.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.chars().count().max(*width);
            }
        }
        let between = 2 * widths.len().saturating_sub(1);
        let room = screen.map_or(usize::MAX, |width| width.saturating_sub(between));
        while room < widths.iter().sum() {
            let columns = widths.iter_mut().zip(&self.head).enumerate();
            let texts =
                columns.filter(|(at, (_, head))| head.1 == Align::Left && !self.is_whole(*at));
            let widest = texts.map(|(_, (width, _))| width).max();
            match widest {
                Some(width) if COLUMN_WIDTH_LEAST < *width => *width -= 1,
                Some(_) | None => break,
            }
        }
        widths
    }

    fn is_whole(&self, column: usize) -> bool {
        self.rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.whole))
    }

    fn line(&self, row: &[Cell], widths: &[usize], screen: Screen) -> String {
        let mut line = String::new();
        for (at, ((cell, width), (_, align))) in row.iter().zip(widths).zip(&self.head).enumerate()
        {
            let text = text::cell(&cell.text, *width);
            let fill = " ".repeat(width.saturating_sub(text.chars().count()));
            let painted = screen.paint(cell.colour, &text);
            match align {
                Align::Right => line.extend([fill.as_str(), &painted]),
                Align::Left if at + 1 == row.len() => line.push_str(&painted),
                Align::Left => line.extend([painted.as_str(), &fill]),
            }
            if at + 1 < row.len() {
                line.push_str("  ");
            }
        }
        line
    }
}

/// Returns lines of names and what they are, such as `patterns  github/*`; the values in one column.
pub(super) fn facts(facts: &[(&str, Cell)], screen: Screen) -> Vec<String> {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let line = |(name, cell): &(&str, Cell)| {
        format!("{name:<width$}  {}", screen.paint(cell.colour, &cell.text))
    };
    facts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new(&[("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)]);
        table.push(vec![Cell::new("a"), Cell::count(12), Cell::new("it took\nfar too long")]);
        table.push(vec![Cell::new("bc"), Cell::count(3), Cell::new("").in_colour(Colour::Red)]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = table().lines(Screen::PLAIN);
        assert_eq!(lines, ["NAME   N  WHY", "a     12  it took\\nfar too long", "bc     3  -"]);
    }

    #[test]
    fn a_line_fits_the_screen_as_far_as_it_can() {
        let lines = table().lines(Screen { width: Some(20), colours: false });
        assert_eq!(lines, ["NAME   N  WHY", "a     12  it took\\n…", "bc     3  -"]);
        let lines = table().lines(Screen { width: Some(1), colours: false });
        assert_eq!(lines.last().map(String::as_str), Some("bc     3  -"));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let lines = table().lines(Screen { width: None, colours: true });
        assert_eq!(
            lines[0],
            "\u{1b}[1mNAME\u{1b}[0m  \u{1b}[1m N\u{1b}[0m  \u{1b}[1mWHY\u{1b}[0m"
                .replace("\u{1b}[1m N", " \u{1b}[1mN")
        );
        assert_eq!(lines[2], "bc     3  \u{1b}[31m-\u{1b}[0m");
    }

    #[test]
    fn facts_stand_below_each_other() {
        let lines = facts(&[("name", Cell::new("a")), ("filter", Cell::new(""))], Screen::PLAIN);
        assert_eq!(lines, ["name    a", "filter  -"]);
    }
}
