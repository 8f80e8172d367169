//! What an expression may name, and small questions about its tree.

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};

use super::super::{FilterError, Position};

/// The names of types, for `type(event.payload.x) == string`.
pub(super) const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// What a field of `event` is like.
pub(super) enum Field {
    /// The parsed payload.
    Payload,
    /// What the sender of the event may make long.
    Long,
    /// What is bounded.
    Short,
}

/// Looks a field of `event` up.
pub(super) fn field(name: &str) -> Option<Field> {
    match name {
        "payload" => Some(Field::Payload),
        "actor" | "resource_type" | "resource_id" | "metadata" | "delivery_key" => {
            Some(Field::Long)
        }
        "id" | "sequence" | "source" | "event_type" | "subject" | "timestamp" | "received_at"
        | "payload_size" => Some(Field::Short),
        _ => None,
    }
}

/// Functions: name, whether it is called on a value, number of arguments, how it is called.
const FUNCTIONS: [(&str, bool, usize, &str); 15] = [
    ("bool", false, 1, "bool(x)"),
    ("bytes", false, 1, "bytes(x)"),
    ("contains", true, 1, "text.contains(part)"),
    ("double", false, 1, "double(x)"),
    ("dyn", false, 1, "dyn(x)"),
    ("endsWith", true, 1, "text.endsWith(end)"),
    ("int", false, 1, "int(x)"),
    ("matches", false, 2, "text.matches(pattern)"),
    ("matches", true, 1, "text.matches(pattern)"),
    ("size", false, 1, "size(x)"),
    ("size", true, 0, "size(x)"),
    ("startsWith", true, 1, "text.startsWith(start)"),
    ("string", false, 1, "string(x)"),
    ("type", false, 1, "type(x)"),
    ("uint", false, 1, "uint(x)"),
];

/// What is no call any more if it is written as it should be.
const MACROS: [(&str, &str); 7] = [
    ("all", "list.all(x, condition)"),
    ("exists", "list.exists(x, condition)"),
    ("existsOne", "list.exists_one(x, condition)"),
    ("exists_one", "list.exists_one(x, condition)"),
    ("filter", "list.filter(x, condition)"),
    ("has", "has(event.payload.x)"),
    ("map", "list.map(x, value)"),
];

/// What is wrong with a call.
pub(super) enum CallProblem {
    Unknown,
    Wrong { usage: &'static str },
}

impl CallProblem {
    pub(super) fn at(self, at: Position, name: &str) -> FilterError {
        let name = name.to_owned();
        match self {
            Self::Unknown => FilterError::UnknownFunction { at, name },
            Self::Wrong { usage } => FilterError::WrongCall { at, name, usage },
        }
    }
}

/// Whether there is such a function.
pub(super) fn function(name: &str, is_method: bool, args: usize) -> Result<(), CallProblem> {
    let mut named = FUNCTIONS.iter().filter(|row| row.0 == name);
    let Some(first) = named.clone().next() else {
        let usage = MACROS.iter().find(|row| row.0 == name).map(|row| row.1);
        return Err(usage.map_or(CallProblem::Unknown, |usage| CallProblem::Wrong { usage }));
    };
    if named.any(|row| (row.1, row.2) == (is_method, args)) {
        return Ok(());
    }
    Err(CallProblem::Wrong { usage: first.3 })
}

/// Whether this is arithmetic without addition, or order: with a wrong type, the library copies operands into the error.
pub(super) fn is_operator(name: &str) -> bool {
    matches!(
        name,
        operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::NEGATE
    )
}

/// Writes a path such as `event.payload.labels[0].name`; `None` for what is none.
pub(super) fn path(node: &IdedExpr) -> Option<String> {
    if let Expr::Ident(name) = &node.expr {
        return Some(name.clone());
    }
    if let Expr::Select(select) = &node.expr {
        return Some(format!("{}.{}", path(&select.operand)?, select.field));
    }
    let Expr::Call(call) = &node.expr else { return None };
    let [container, index] = call.args.as_slice() else { return None };
    if call.func_name != operators::INDEX {
        return None;
    }
    let container = path(container)?;
    if let Some(key) = key(index) {
        return Some(format!("{container}[\"{key}\"]"));
    }
    match &index.expr {
        Expr::Literal(LiteralValue::Int(index)) => Some(format!("{container}[{}]", index.inner())),
        Expr::Literal(_)
        | Expr::Ident(_)
        | Expr::Select(_)
        | Expr::Comprehension(_)
        | Expr::Call(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Unspecified => None,
    }
}

/// Returns the key of an index that is a literal text.
pub(super) fn key(index: &IdedExpr) -> Option<&str> {
    let Expr::Literal(LiteralValue::String(key)) = &index.expr else { return None };
    Some(key.inner())
}

/// Whether an index is a whole number or a text, written out.
pub(super) fn is_plain_index(index: &IdedExpr) -> bool {
    matches!(
        &index.expr,
        Expr::Literal(LiteralValue::String(_) | LiteralValue::Int(_) | LiteralValue::UInt(_))
    )
}

/// Counts the parts of an expression that is evaluated for each element; a long literal, which may be copied for each,
/// counts for more than one.
pub(super) fn steps(node: &IdedExpr) -> usize {
    let parts: usize = match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => text.inner().len() / 16,
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() / 16,
        Expr::Literal(_) | Expr::Ident(_) | Expr::Unspecified => 0,
        Expr::Select(select) => steps(&select.operand),
        Expr::List(list) => list.elements.iter().map(steps).sum(),
        Expr::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).map(steps).sum::<usize>()
        }
        Expr::Comprehension(inner) => {
            steps(&inner.iter_range) + steps(&inner.loop_cond) + steps(&inner.loop_step)
        }
        Expr::Map(map) => map.entries.iter().map(|entry| entry_steps(&entry.expr)).sum(),
        Expr::Struct(literal) => literal.entries.iter().map(|entry| entry_steps(&entry.expr)).sum(),
    };
    parts + 1
}

fn entry_steps(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::MapEntry(entry) => steps(&entry.key) + steps(&entry.value),
        EntryExpr::StructField(field) => steps(&field.value),
    }
}
