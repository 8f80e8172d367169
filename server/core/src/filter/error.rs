//! Why a filter is refused, and how what goes wrong while it runs is put into words.

use std::fmt;

use cel::{ExecutionError, Value};

use super::{
    FILTER_BYTES_MAX,
    check::{DEPTH_MAX, OPERATIONS_MAX, PATTERNS_MAX, SCANS_MAX},
};

/// A place in a filter's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a filter was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no expression.
    #[error("the filter is empty")]
    Empty,
    /// The text has too many bytes.
    #[error("the filter has {len} bytes, at most {FILTER_BYTES_MAX} are allowed")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// The text is not an expression.
    #[error("at {at}: {problem}")]
    Syntax {
        /// Where.
        at: Position,
        /// What the parser says.
        problem: String,
    },
    /// Parentheses, operators or paths are nested too deeply.
    #[error("the expression is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// A name that is neither `event` nor the variable of a comprehension.
    #[error("at {at}: there is no variable `{name}`, only `event`")]
    UnknownVariable {
        /// Where.
        at: Position,
        /// The name.
        name: String,
    },
    /// A field that events do not have.
    #[error("at {at}: `event` has no field `{name}`")]
    UnknownField {
        /// Where.
        at: Position,
        /// The name.
        name: String,
    },
    /// A function that does not exist.
    #[error("at {at}: there is no function `{name}`")]
    UnknownFunction {
        /// Where.
        at: Position,
        /// The name.
        name: String,
    },
    /// A function that exists, but is not called like this.
    #[error("at {at}: `{name}` is called as `{usage}`")]
    WrongCall {
        /// Where.
        at: Position,
        /// The name.
        name: String,
        /// How it is called.
        usage: &'static str,
    },
    /// A comprehension within another's range or body.
    #[error("at {at}: `all`, `exists`, `exists_one`, `map` and `filter` can't be nested")]
    NestedComprehension {
        /// Where.
        at: Position,
    },
    /// A comprehension whose variable would hide `event`.
    #[error("at {at}: the variable of a comprehension can't be named `event`")]
    HiddenEvent {
        /// Where.
        at: Position,
    },
    /// A comprehension that reads the payload in a way that costs anew for each element.
    #[error(
        "at {at}: inside a comprehension, what is long in `event` can only be compared by `==` or `!=` with a part of \
         the element or a literal"
    )]
    CostlyRead {
        /// Where.
        at: Position,
    },
    /// A map or message literal.
    #[error("at {at}: literals of maps and messages are not supported")]
    Literal {
        /// Where.
        at: Position,
    },
    /// A regular expression that is not written out.
    #[error("at {at}: the pattern of `matches` must be a literal")]
    ComputedPattern {
        /// Where.
        at: Position,
    },
    /// A regular expression that is not valid, or too big.
    #[error("at {at}: {problem}")]
    Pattern {
        /// Where.
        at: Position,
        /// What is wrong with it.
        problem: String,
    },
    /// There are too many regular expressions.
    #[error("more than {PATTERNS_MAX} calls of `matches`")]
    TooManyPatterns,
    /// There are too many operations whose cost grows with the payload.
    #[error("more than {OPERATIONS_MAX} calls and calculations with event data")]
    TooManyOperations,
    /// There are too many operations that go through lists.
    #[error(
        "more than {SCANS_MAX} searches by `in` in event data and comparisons of event data with event data"
    )]
    TooManyScans,
}

/// What went wrong, in words. Operators that got the wrong types name the types: the library would print the values,
/// and a payload does not belong into messages.
pub(super) struct FailureText<'a>(pub(super) &'a ExecutionError);

impl fmt::Display for FailureText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ExecutionError::UnsupportedBinaryOperator(operator, left, right) = self.0 {
            let (left, right) = (left.type_of(), right.type_of());
            return write!(f, "the operator `{operator}` does not take {left} and {right}");
        }
        if let ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) = self.0 {
            return f.write_str("division by zero");
        }
        if let ExecutionError::UnexpectedType { got, want } = self.0 {
            return write!(f, "found {got} where {want} is needed");
        }
        if let ExecutionError::FunctionError { function, message } = self.0 {
            return match function.strip_prefix('@') {
                Some(_) => f.write_str(message),
                None => write!(f, "`{function}`: {message}"),
            };
        }
        self.0.fmt(f)
    }
}

/// An index of an array.
pub(super) struct IndexText<'a>(pub(super) &'a Value);

impl fmt::Display for IndexText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Value::Int(index) = self.0 {
            return index.fmt(f);
        }
        if let Value::UInt(index) = self.0 {
            return index.fmt(f);
        }
        if let Value::Float(index) = self.0 {
            return index.fmt(f);
        }
        f.write_str("there")
    }
}
