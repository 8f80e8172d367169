//! CEL filters over an event and its parsed payload.
//!
//! A filter is one expression of the [Common Expression Language](https://cel.dev) over the variable `event`, a map of:
//!
//! | field | type | |
//! |---|---|---|
//! | `id`, `source`, `event_type`, `actor`, `resource_type`, `resource_id`, `delivery_key` | string | as in the event; empty if unknown |
//! | `subject` | string | `source/event_type` |
//! | `sequence`, `payload_size` | int | not uint, so that `event.sequence > 5` is what people write |
//! | `timestamp`, `received_at` | string | `2026-11-23T13:09:43.250000Z`: UTC with six digits, so that their order is that of time |
//! | `metadata` | map of strings | |
//! | `payload` | parsed JSON | absent if the payload is not JSON |
//!
//! In the payload a whole number is an int where that has room, else a uint, and any other number a double. Numbers of
//! all three compare with each other (`event.payload.amount > 100` holds for 250.5), but arithmetic wants one type:
//! `double(event.payload.amount) * 1.5`. Values of different types are not equal, which is no error; their order is one.
//!
//! **What is missing does not match.** A key that is absent, `null` on the way, an index past an array's end and a
//! payload that is not JSON end the evaluation with [`Verdict::NoMatch`], unless the expression is decided without it:
//! `a || b` is true if one side is, `a && b` false if one side is, in any order, and `exists` and `all` likewise over
//! their elements. `has(event.payload.x)` asks first.
//!
//! **Evaluation is bounded**, because a filter is asked for every event and may come from anyone: comprehensions (`all`,
//! `exists`, `exists_one`, `map`, `filter`) are not nested and their steps are counted against an array's length, inside
//! them the payload is only read where that costs nothing per element, regular expressions are literals, compiled
//! once, and may take so many steps (`[0-9]` takes fewer than `\d`, which is any digit of Unicode), and what copies its
//! operands takes short texts only. Map and message literals are refused: their order is not
//! fixed, and nothing here should depend on chance.

use std::{fmt, sync::Arc};

use cel::{Context, ExecutionError, IdedExpr, Value, common::types::CelBool};

mod check;
mod error;
mod facts;
mod guard;
mod json;

pub use error::{FilterError, Position};
pub use facts::Facts;

/// The most bytes of a filter's text.
pub const FILTER_BYTES_MAX: usize = 2 * 1024;
/// The most bytes of the text of [`Verdict::Failed`].
pub const FAILURE_BYTES_MAX: usize = 1024;

/// A compiled filter. Cheap to clone; equal to another by its text.
#[derive(Clone)]
pub struct Filter(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    expression: IdedExpr,
    plan: check::Plan,
}

/// What a filter says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The expression is true.
    Match,
    /// The event is not taken, and why.
    NoMatch(Mismatch),
    /// The expression could not be evaluated: values of the wrong type, a division by zero, an array too long for it, a
    /// result that is not a bool. Says what, in at most [`FAILURE_BYTES_MAX`] bytes.
    Failed(String),
}

/// Why a filter does not match. Its text is for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The expression is false.
    #[error("the expression is false")]
    False,
    /// A key that the expression reads is not there: its path, or the key alone where several paths end in it.
    #[error("`{0}` is absent")]
    Absent(Arc<str>),
    /// The expression reads on where the event has a `null`.
    #[error("the path goes through a null")]
    Null,
    /// The expression reads an element that its array does not have.
    #[error("the array has no element {0}")]
    PastEnd(Arc<str>),
    /// The expression reads the payload, and that is not JSON.
    #[error("the payload is not JSON")]
    NotJson,
}

impl Filter {
    /// Compiles an expression and checks everything that can be told without an event.
    ///
    /// # Errors
    ///
    /// If the text is empty, too long or no expression, names what does not exist, or could cost too much; says what
    /// and where.
    pub fn compile(text: &str) -> Result<Self, FilterError> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(FilterError::TooLong { len: text.len() });
        }
        if text.trim().is_empty() {
            return Err(FilterError::Empty);
        }
        let (expression, plan) = check::compile(text)?;
        Ok(Self(Arc::new(Compiled { text: text.into(), expression, plan })))
    }

    /// Returns the text that it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it reads `event.payload`, or uses `event` in a way that does not tell: only then must the payload be
    /// parsed.
    #[must_use]
    pub fn reads_payload(&self) -> bool {
        self.0.plan.reads_payload
    }

    /// Evaluates it. The same facts give the same verdict.
    ///
    /// Facts without the payload fail a filter that reads it: see [`Filter::reads_payload`].
    #[must_use]
    pub fn evaluate(&self, facts: &Facts) -> Verdict {
        let scope = guard::Scope { facts, plan: &self.0.plan, steps: guard::Steps::new() };
        let mut context = Context::with_env(guard::environment());
        context.set_variable_resolver(&scope);
        match Value::resolve_val(&self.0.expression, &context) {
            Ok(value) => match value.downcast_ref::<CelBool>().map(|bool| *bool.inner()) {
                Some(true) => Verdict::Match,
                Some(false) => Verdict::NoMatch(Mismatch::False),
                None => {
                    let kind = value.get_type().name();
                    Verdict::Failed(format!("the result is not a bool but of type {kind}"))
                }
            },
            Err(error) => self.explain(&error, facts),
        }
    }

    /// Tells what is missing from what is wrong.
    fn explain(&self, error: &ExecutionError, facts: &Facts) -> Verdict {
        if let ExecutionError::NoSuchKey(key) = error {
            if key.as_str() == "payload" && self.reads_payload() {
                match facts.payload_state() {
                    facts::PayloadState::NotGiven => {
                        return Verdict::Failed("the payload was not given".to_owned());
                    }
                    facts::PayloadState::NotJson => return Verdict::NoMatch(Mismatch::NotJson),
                    facts::PayloadState::Json => {}
                }
            }
            return Verdict::NoMatch(Mismatch::Absent(self.0.plan.path_of(key)));
        }
        if let ExecutionError::NoSuchOverload(overload) = error {
            let is_read = matches!(overload.function(), "_._" | "_[_]");
            if is_read && overload.argument_types().first().is_some_and(|kind| kind == "null_type")
            {
                return Verdict::NoMatch(Mismatch::Null);
            }
        }
        if let ExecutionError::IndexOutOfBounds(index) = error {
            let index = bounded(&error::IndexText(index), FAILURE_BYTES_MAX);
            return Verdict::NoMatch(Mismatch::PastEnd(index.into()));
        }
        Verdict::Failed(bounded(&error::FailureText(error), FAILURE_BYTES_MAX))
    }
}

/// Writes at most `max` bytes of a text, and stops asking for more: an error may hold a whole payload.
fn bounded(text: &dyn fmt::Display, max: usize) -> String {
    struct Bounded {
        text: String,
        max: usize,
    }
    impl fmt::Write for Bounded {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = self.max - self.text.len();
            self.text.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or(""));
            if part.len() > room { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut to = Bounded { text: String::new(), max };
    match fmt::write(&mut to, format_args!("{text}")) {
        Ok(()) | Err(fmt::Error) => to.text,
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Filter {}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.text)
    }
}
