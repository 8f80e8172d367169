//! The check of an expression: what it names must exist, and what it costs must be bounded. Puts the guards in.
//!
//! The cost of an evaluation is to be linear in the payload, with a small factor. Outside of comprehensions every operation
//! is done once, and their number is bounded. Inside, an operation may cost what its element is long, as all elements
//! together are not longer than the payload; but not what the rest of the payload is long.

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, operators,
    },
};

use super::{
    FilterError,
    guard::{self, Pattern},
};

mod names;
mod parse;
mod plan;

pub(super) use plan::Plan;

use parse::Places;

/// The deepest nesting: of brackets in the text, where the parser takes some 20 calls a level, and of the tree.
pub(super) const DEPTH_MAX: usize = 32;
/// The most operations whose cost may grow with the payload.
pub(super) const OPERATIONS_MAX: usize = 32;
/// The most searches of lists and comparisons of event data with event data, which go through all elements.
pub(super) const SCANS_MAX: usize = 4;
/// The most calls of `matches`.
pub(super) const PATTERNS_MAX: usize = 8;
/// The most steps of an evaluation's comprehensions: parts of their bodies times elements. A step takes some 50 ns.
const STEPS_MAX: usize = 450_000;

/// Parses an expression, checks it and puts the guards in.
pub(super) fn compile(text: &str) -> Result<(IdedExpr, Plan), FilterError> {
    let (mut expression, places) = parse::parse(text)?;
    let mut check =
        Check { places, plan: Plan::default(), operations: 0, scans: 0, steps: 0, inside: None };
    check.visit(&mut expression, 0)?;
    let elements = STEPS_MAX.checked_div(check.steps).unwrap_or(0);
    check.plan.elements_max = i64::try_from(elements).unwrap_or(i64::MAX).into();
    Ok((expression, check.plan))
}

/// How long a value can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Length {
    /// As a literal, or as a field of `event` that is bounded.
    Bounded,
    /// As the element of a comprehension.
    Element,
    /// As the payload.
    Whole,
}

/// Where in a comprehension the check is.
#[derive(Clone)]
enum Inside {
    Range,
    Body { variable: String },
}

struct Check {
    places: Places,
    plan: Plan,
    operations: usize,
    scans: usize,
    steps: usize,
    inside: Option<Inside>,
}

impl Check {
    fn visit(&mut self, node: &mut IdedExpr, depth: usize) -> Result<Length, FilterError> {
        if depth > DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        let (id, depth) = (node.id, depth + 1);
        match &mut node.expr {
            Expr::Literal(_) => Ok(Length::Bounded),
            Expr::Ident(name) => self.variable(id, name),
            Expr::Select(select) => {
                let field = select.field.as_str();
                if is_event(&select.operand) {
                    return self.field(id, field);
                }
                if let Some(path) = names::path(&select.operand) {
                    self.plan.add_path(field, &format!("{path}.{field}"));
                }
                self.visit(&mut select.operand, depth)
            }
            Expr::List(list) => self.list(list, depth),
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension, depth),
            Expr::Call(_) => self.call(node, depth),
            Expr::Map(map) => {
                let first = map.entries.first().map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => entry.key.id,
                    EntryExpr::StructField(field) => field.value.id,
                });
                Err(FilterError::Literal { at: self.places.of(first.unwrap_or(id)) })
            }
            Expr::Struct(_) => Err(FilterError::Literal { at: self.places.of(id) }),
            // What the parser leaves where it has reported an error.
            Expr::Unspecified => Err(FilterError::Syntax {
                at: self.places.of(id),
                problem: "this is no expression".to_owned(),
            }),
        }
    }

    fn variable(&mut self, id: u64, name: &str) -> Result<Length, FilterError> {
        if name == "event" {
            self.plan.reads_payload = true;
            return Ok(Length::Whole);
        }
        match &self.inside {
            Some(Inside::Body { variable }) if variable == name => return Ok(Length::Element),
            Some(Inside::Body { .. } | Inside::Range) | None => {}
        }
        if name.starts_with('@') || names::TYPES.contains(&name) {
            return Ok(Length::Bounded);
        }
        Err(FilterError::UnknownVariable { at: self.places.of(id), name: name.to_owned() })
    }

    fn field(&mut self, id: u64, name: &str) -> Result<Length, FilterError> {
        match names::field(name) {
            Some(names::Field::Payload) => {
                self.plan.reads_payload = true;
                Ok(Length::Whole)
            }
            Some(names::Field::Long) => Ok(Length::Whole),
            Some(names::Field::Short) => Ok(Length::Bounded),
            None => {
                Err(FilterError::UnknownField { at: self.places.of(id), name: name.to_owned() })
            }
        }
    }

    /// A list copies its elements.
    fn list(&mut self, list: &mut ListExpr, depth: usize) -> Result<Length, FilterError> {
        let mut longest = Length::Bounded;
        for element in &mut list.elements {
            longest = longest.max(self.short(element, depth)?);
        }
        Ok(longest)
    }

    /// Visits a value that is going to be copied, if only into an error.
    fn short(&mut self, node: &mut IdedExpr, depth: usize) -> Result<Length, FilterError> {
        let length = self.visit(node, depth)?;
        if length == Length::Whole && self.is_in_body() {
            return Err(FilterError::CostlyRead { at: self.places.of(node.id) });
        }
        if length != Length::Bounded {
            let id = node.id;
            let value = std::mem::take(node);
            *node = call(id, guard::SHORT, vec![value]);
            self.operation()?;
        }
        Ok(length)
    }

    fn comprehension(
        &mut self,
        id: u64,
        comprehension: &mut ComprehensionExpr,
        depth: usize,
    ) -> Result<Length, FilterError> {
        let at = self.places.of(id);
        if self.inside.is_some() {
            return Err(FilterError::NestedComprehension { at });
        }
        if comprehension.iter_var == "event" {
            return Err(FilterError::HiddenEvent { at });
        }
        self.inside = Some(Inside::Range);
        self.visit(&mut comprehension.iter_range, depth)?;
        self.inside = Some(Inside::Body { variable: comprehension.iter_var.clone() });
        self.steps += names::steps(&comprehension.loop_cond);
        self.steps += names::steps(&comprehension.loop_step);
        self.visit(&mut comprehension.loop_step, depth)?;
        self.inside = None;

        let id = comprehension.iter_range.id;
        let range = std::mem::take(&mut comprehension.iter_range);
        let most = IdedExpr { id, expr: Expr::Ident(guard::ELEMENTS.to_owned()) };
        comprehension.iter_range = call(id, guard::RANGE, vec![range, most]);
        // `map` and `filter` gather a list, the others make a bool.
        let gathers = matches!(comprehension.accu_init.expr, Expr::List(_));
        Ok(if gathers { Length::Whole } else { Length::Bounded })
    }

    fn is_in_body(&self) -> bool {
        matches!(self.inside, Some(Inside::Body { .. }))
    }

    fn call(&mut self, node: &mut IdedExpr, depth: usize) -> Result<Length, FilterError> {
        let id = node.id;
        let Expr::Call(call) = &mut node.expr else { return Ok(Length::Bounded) };
        match call.func_name.as_str() {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                self.visit_all(call, depth)?;
                Ok(Length::Bounded)
            }
            operators::CONDITIONAL => {
                let lengths = self.visit_all(call, depth)?;
                Ok(lengths.into_iter().skip(1).max().unwrap_or(Length::Bounded))
            }
            operators::EQUALS | operators::NOT_EQUALS => {
                let lengths = self.visit_all(call, depth)?;
                let is_costly = lengths.iter().all(|length| *length == Length::Whole);
                if is_costly && self.is_in_body() {
                    return Err(FilterError::CostlyRead { at: self.places.of(id) });
                }
                if !lengths.contains(&Length::Bounded) {
                    self.scan()?;
                }
                Ok(Length::Bounded)
            }
            operators::INDEX => self.index(id, call, depth),
            operators::ADD => self.add(call, depth),
            operators::IN => self.operands(id, call, depth),
            name if names::is_operator(name) => {
                for arg in &mut call.args {
                    self.short(arg, depth)?;
                }
                Ok(Length::Bounded)
            }
            name => {
                let is_method = call.target.is_some();
                names::function(name, is_method, call.args.len())
                    .map_err(|problem| problem.at(self.places.of(id), name))?;
                if name == "matches" {
                    return self.matches(node, depth);
                }
                self.operands(id, call, depth)
            }
        }
    }

    fn visit_all(&mut self, call: &mut CallExpr, depth: usize) -> Result<Vec<Length>, FilterError> {
        let target = call.target.as_deref_mut();
        target.into_iter().chain(&mut call.args).map(|arg| self.visit(arg, depth)).collect()
    }

    /// A function, or `in`: may read all of its operands.
    fn operands(
        &mut self,
        id: u64,
        call: &mut CallExpr,
        depth: usize,
    ) -> Result<Length, FilterError> {
        let is_identity = matches!(call.func_name.as_str(), "dyn" | "string" | "bytes");
        let lengths = self.visit_all(call, depth)?;
        if call.func_name == operators::IN && lengths.last() == Some(&Length::Whole) {
            self.scan()?;
        }
        let longest = lengths.into_iter().max().unwrap_or(Length::Bounded);
        if longest == Length::Whole && self.is_in_body() {
            return Err(FilterError::CostlyRead { at: self.places.of(id) });
        }
        if longest != Length::Bounded {
            self.operation()?;
        }
        Ok(if is_identity { longest } else { Length::Bounded })
    }

    fn operation(&mut self) -> Result<(), FilterError> {
        self.operations += 1;
        if self.operations > OPERATIONS_MAX {
            return Err(FilterError::TooManyOperations);
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<(), FilterError> {
        self.scans += 1;
        if self.scans > SCANS_MAX { Err(FilterError::TooManyScans) } else { Ok(()) }
    }

    /// An element is handed on, not copied. A mistake in a computed index of a list copies the list into the error.
    fn index(&mut self, id: u64, call: &mut CallExpr, depth: usize) -> Result<Length, FilterError> {
        if let [container, index] = call.args.as_slice()
            && let (Some(path), Some(key)) = (names::path(container), names::key(index))
        {
            self.plan.add_path(key, &format!("{path}[\"{key}\"]"));
        }
        let lengths = self.visit_all(call, depth)?;
        let [container, index] = lengths.as_slice() else { return Ok(Length::Bounded) };
        if *container == Length::Whole && self.is_in_body() {
            let is_plain = call.args.get(1).is_some_and(names::is_plain_index);
            if !is_plain {
                return Err(FilterError::CostlyRead { at: self.places.of(id) });
            }
        }
        if *index != Length::Bounded {
            self.operation()?;
        }
        Ok(*container)
    }

    /// An addition copies its operands. Those that a comprehension of the library makes are left as they are: the library
    /// knows them by their form, and gathers a list without copying it for each element.
    fn add(&mut self, call: &mut CallExpr, depth: usize) -> Result<Length, FilterError> {
        if call.args.first().is_some_and(is_result) {
            let Some(IdedExpr { expr: Expr::List(list), .. }) = call.args.get_mut(1) else {
                return Ok(Length::Bounded);
            };
            for element in &mut list.elements {
                if self.visit(element, depth)? == Length::Whole {
                    return Err(FilterError::CostlyRead { at: self.places.of(element.id) });
                }
            }
            return Ok(Length::Bounded);
        }
        let mut longest = Length::Bounded;
        for arg in &mut call.args {
            longest = longest.max(self.short(arg, depth)?);
        }
        Ok(longest)
    }

    /// Compiles the pattern of `text.matches(pattern)` or `matches(text, pattern)`.
    fn matches(&mut self, node: &mut IdedExpr, depth: usize) -> Result<Length, FilterError> {
        let id = node.id;
        let Expr::Call(call) = &mut node.expr else { return Ok(Length::Bounded) };
        self.operands(id, call, depth)?;
        let at = self.places.of(id);
        let operands = call.target.take().map(|target| *target).into_iter();
        let operands: Vec<_> = operands.chain(std::mem::take(&mut call.args)).collect();
        let Ok([text, pattern]) = <[IdedExpr; 2]>::try_from(operands) else {
            return Err(FilterError::ComputedPattern { at });
        };
        let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            return Err(FilterError::ComputedPattern { at });
        };
        if self.plan.patterns.len() == PATTERNS_MAX {
            return Err(FilterError::TooManyPatterns);
        }
        let compiled = Pattern::compile(literal.inner())
            .map_err(|problem| FilterError::Pattern { at, problem })?;
        let name = format!("{}{}", guard::PATTERN, self.plan.patterns.len());
        self.plan.patterns.push(compiled);
        let variable = |name| IdedExpr { id, expr: Expr::Ident(name) };
        let (pattern, steps) = (variable(name), variable(guard::STEPS.to_owned()));
        *node = self::call(id, guard::MATCHES, vec![text, pattern, steps]);
        Ok(Length::Bounded)
    }
}

fn call(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }) }
}

fn is_event(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "event")
}

/// Whether this is the variable in which a comprehension gathers its result.
fn is_result(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "@result")
}
