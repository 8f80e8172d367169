//! Text to tree: the parser's work, bounded before it and put into words after it.

use cel::{IdedExpr, ParseErrors, common::ast::SourceInfo, parser::Parser};

use super::{
    super::{FilterError, Position},
    DEPTH_MAX,
};
use crate::text::cut;

/// The most bytes of what the parser says that are handed on.
const PROBLEM_BYTES_MAX: usize = 200;

/// Where the parts of a tree stand in the text.
pub(super) struct Places {
    text: String,
    source: SourceInfo,
}

impl Places {
    pub(super) fn of(&self, id: u64) -> Position {
        let offset = self.source.offset_for(id).map_or(0, |(start, _)| start);
        position(&self.text, usize::try_from(offset).unwrap_or(0))
    }
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..text.floor_char_boundary(offset)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line, column }
}

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<(IdedExpr, Places), FilterError> {
    if DEPTH_MAX < depth(text) {
        return Err(FilterError::TooDeep);
    }
    match Parser::new().parse_with_source_info(text) {
        Ok((expression, source)) => Ok((expression, Places { text: text.to_owned(), source })),
        Err(errors) => Err(problem(text, &errors)),
    }
}

/// Counts how deep brackets are nested. Those in texts count too, which is no harm: closed ones are taken off again.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Hands the first error on: the others mostly follow from it.
fn problem(text: &str, errors: &ParseErrors) -> FilterError {
    let Some(first) = errors.errors.first() else {
        let problem = "this is no expression".to_owned();
        return FilterError::Syntax { at: position(text, 0), problem };
    };
    let (line, column) = first.pos;
    let at = Position {
        line: usize::try_from(line).unwrap_or(1).max(1),
        column: usize::try_from(column).unwrap_or(1).max(1),
    };
    let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let message = message.split_once(" expecting ").map_or(message, |(found, _)| found);
    let problem = message.replace("'<EOF>'", "the end").replace(['\n', '\r'], " ");
    FilterError::Syntax { at, problem: cut(problem, PROBLEM_BYTES_MAX) }
}
