//! What an expression may call and read while it runs: the standard library, and our own guards around what could
//! cost too much. The checker puts the guards in; their names begin with `@`, which no expression can write.

use std::{
    any::Any,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cel::{
    Env, ExecutionError,
    common::{
        types::{CelBool, CelBytes, CelInt, CelString, DYN_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
    context::VariableResolver,
};
use regex_automata::{meta, nfa::thompson};

use super::{Facts, check::Plan};

/// Calls `@range(list, @elements)`: the list, if a comprehension may go through it.
pub(super) const RANGE: &str = "@range";
/// The variable with the most elements that a comprehension of this filter may go through.
pub(super) const ELEMENTS: &str = "@elements";
/// Calls `@short(value)`: the value, if copying it costs little.
pub(super) const SHORT: &str = "@short";
/// Calls `@matches(text, pattern, @steps)`.
pub(super) const MATCHES: &str = "@matches";
/// The variable with the steps that all calls of `matches` in an evaluation may still take.
pub(super) const STEPS: &str = "@steps";
/// The prefix of the variables that hold the patterns, before their index.
pub(super) const PATTERN: &str = "@pattern";

/// The most bytes of a text that is joined to another or put into a list.
const SHORT_BYTES_MAX: usize = 4 * 1024;
/// The most bytes of a compiled regular expression.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
/// The most steps that all calls of `matches` in an evaluation may take, counted as bytes of text times states of the
/// pattern. In the worst case a state takes some 5 ns for each byte; mostly all states together do.
const MATCH_STEPS_MAX: u64 = 4_000_000;

static PATTERN_TYPE: Type = Type::new_unspecified_type("hookline.pattern");

/// Returns the functions and types of all filters.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        for (name, arity, guard) in
            [(RANGE, 2, range as Guard), (SHORT, 1, short as Guard), (MATCHES, 3, matches as Guard)]
        {
            env.add_overload(name, name, (0..arity).map(|_| DYN_TYPE).collect(), guard)
                .expect("the standard library has no name with `@`");
        }
        Arc::new(env)
    });
    Arc::clone(&ENVIRONMENT)
}

type Guard = for<'b, 'v> fn(Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError>;

fn range<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [range, most] = arguments(RANGE, args)?;
    let most = most.downcast_ref::<CelInt>().map_or(0, |most| *most.inner());
    match range.as_sizer().map(|sizer| *sizer.size().inner()) {
        Some(size) if size > most => {
            let text = format!("found {size} elements, this expression may go through {most}");
            Err(ExecutionError::function_error(RANGE, text))
        }
        Some(_) | None => Ok(range),
    }
}

fn short<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [value] = arguments(SHORT, args)?;
    let bytes = match (value.downcast_ref::<CelString<'_>>(), value.downcast_ref::<CelBytes<'_>>())
    {
        (Some(text), _) => text.inner().len(),
        (None, Some(bytes)) => bytes.inner().len(),
        (None, None) if value.as_sizer().is_some() => {
            let text = format!("found a {} where a short value is needed", value.get_type().name());
            return Err(ExecutionError::function_error(SHORT, text));
        }
        (None, None) => 0,
    };
    if bytes <= SHORT_BYTES_MAX {
        return Ok(value);
    }
    let text = format!("found a text of {bytes} bytes, at most {SHORT_BYTES_MAX} are allowed here");
    Err(ExecutionError::function_error(SHORT, text))
}

fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern, steps] = arguments(MATCHES, args)?;
    let (Some(text), Some(pattern), Some(steps)) = (
        text.downcast_ref::<CelString<'_>>(),
        pattern.downcast_ref::<Pattern>(),
        steps.downcast_ref::<Steps>(),
    ) else {
        let types = vec![text.get_type().name().to_owned(), "string".to_owned()];
        return Err(ExecutionError::no_such_member_overload("matches", types));
    };
    let text = text.inner();
    if steps.take(text.len(), pattern.states) {
        return Ok(CowVal::owned(CelBool::from(pattern.regex.is_match(text))));
    }
    let problem = "the texts given to `matches` are too long for its patterns";
    Err(ExecutionError::function_error(MATCHES, problem))
}

/// The library has chosen the guard by the number of its arguments.
fn arguments<'b, 'v, const N: usize>(
    name: &str,
    args: Vec<CowVal<'b, 'v>>,
) -> Result<[CowVal<'b, 'v>; N], ExecutionError> {
    args.try_into().map_err(|args: Vec<_>| {
        let text = format!("called with {} arguments", args.len());
        ExecutionError::function_error(name, text)
    })
}

/// A regular expression, as a value that is read by [`MATCHES`] only.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: meta::Regex,
    states: usize,
}

impl Pattern {
    /// Compiles a pattern, or says what is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let config = meta::Config::new().nfa_size_limit(Some(PATTERN_SIZE_MAX));
        let regex = meta::Builder::new().configure(config).build(text).map_err(|error| {
            let Some(error) = error.syntax_error() else {
                return "the pattern is too big when compiled".to_owned();
            };
            // The last line says what is wrong, those before it show where.
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default();
            format!("the pattern is not valid: {}", line.trim_start_matches("error: "))
        })?;
        let config = thompson::Config::new().nfa_size_limit(Some(PATTERN_SIZE_MAX));
        let states = thompson::Compiler::new()
            .configure(config)
            .build(text)
            .map_or(usize::MAX, |nfa| nfa.states().len());
        Ok(Self { regex, states })
    }
}

/// The steps that are left to an evaluation. Atomic only because values are shared: an evaluation has one thread.
#[derive(Debug)]
pub(super) struct Steps(AtomicU64);

impl Steps {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(MATCH_STEPS_MAX))
    }

    /// Takes the steps of one match; whether there are so many.
    fn take(&self, bytes: usize, states: usize) -> bool {
        let steps = u64::try_from(bytes.saturating_mul(states)).unwrap_or(u64::MAX);
        let left = self.0.load(Ordering::Relaxed).checked_sub(steps);
        self.0.store(left.unwrap_or(0), Ordering::Relaxed);
        left.is_some()
    }
}

static STEPS_TYPE: Type = Type::new_unspecified_type("hookline.steps");

macro_rules! hidden_value {
    ($name:ident, $type:ident, $clone:expr) => {
        impl Val for $name {
            fn get_type(&self) -> &Type {
                &$type
            }

            fn cel_type() -> &'static Type {
                &$type
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
            where
                Self: 'v,
            {
                let clone: fn(&Self) -> Self = $clone;
                Box::new(clone(self))
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }

        impl StaticVal for $name {}
    };
}

hidden_value!(Pattern, PATTERN_TYPE, Clone::clone);
// Never cloned: only guards are given it.
hidden_value!(Steps, STEPS_TYPE, |steps| Steps(AtomicU64::new(steps.0.load(Ordering::Relaxed))));

/// The variables of one evaluation.
pub(super) struct Scope<'a> {
    pub(super) facts: &'a Facts,
    pub(super) plan: &'a Plan,
    pub(super) steps: Steps,
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        match name {
            "event" => return Some(CowVal::Borrowed(self.facts.event())),
            ELEMENTS => return Some(CowVal::Borrowed(&self.plan.elements_max)),
            STEPS => return Some(CowVal::Borrowed(&self.steps)),
            _ => {}
        }
        let index = name.strip_prefix(PATTERN)?.parse::<usize>().ok()?;
        self.plan.patterns.get(index).map(|pattern| CowVal::Borrowed(pattern as &dyn Val))
    }
}
