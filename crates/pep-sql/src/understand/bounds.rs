//! How many rows a condition can let through: equality with constants on a key, and conditions that let all through.

use super::{BoundValue, names};
use pg_query::{
    Node, NodeEnum,
    protobuf::{AConst, AExprKind, BoolExprType, ColumnRef, a_const::Val},
};
use std::collections::{BTreeMap, BTreeSet};

/// More values than this in one list are not a few rows any more.
const FEW: u64 = 100;

/// What a `WHERE` lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// There is none.
    Missing,
    /// There is one, and it is always true.
    Always,
    Some,
}

pub(super) fn condition(clause: Option<&Node>) -> Condition {
    match clause {
        None => Condition::Missing,
        Some(clause) if is_always(clause) => Condition::Always,
        Some(_) => Condition::Some,
    }
}

/// The parts of a condition that must all hold.
pub(super) fn conjuncts(clause: &Node) -> Vec<&Node> {
    if let Some(NodeEnum::BoolExpr(expression)) = &clause.node
        && expression.boolop() == BoolExprType::AndExpr
    {
        return expression.args.iter().flat_map(conjuncts).collect();
    }
    vec![clause]
}

/// Whether it plainly holds for every row. There are endless ways to write such a condition; these are the usual.
fn is_always(clause: &Node) -> bool {
    match &clause.node {
        Some(NodeEnum::AConst(constant)) => truth(constant) == Some(true),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_always),
        Some(NodeEnum::BoolExpr(expression)) => match expression.boolop() {
            BoolExprType::AndExpr => expression.args.iter().all(is_always),
            BoolExprType::OrExpr => {
                let (mut plain, mut negated) = (Vec::new(), Vec::new());
                for arm in &expression.args {
                    match not(arm) {
                        Some(inner) => negated.push(without_places(inner)),
                        None => plain.push(without_places(arm)),
                    }
                }
                expression.args.iter().any(is_always) || plain.iter().any(|arm| negated.contains(arm))
            }
            BoolExprType::NotExpr => expression.args.iter().all(is_never),
            BoolExprType::Undefined => false,
        },
        Some(NodeEnum::AExpr(expression)) => {
            let (Some(left), Some(right)) = (expression.lexpr.as_deref(), expression.rexpr.as_deref()) else {
                return false;
            };
            let operator =
                names::strings(&expression.name).and_then(|mut name| name.pop()).unwrap_or_default();
            let same = without_places(left) == without_places(right);
            match expression.kind() {
                AExprKind::AexprOp => match (number(left), number(right)) {
                    (Some(left), Some(right)) => compare(&operator, left, right),
                    _ => match (text(left), text(right)) {
                        (Some(left), Some(right)) => match operator.as_str() {
                            "=" => left == right,
                            "<>" => left != right,
                            _ => false,
                        },
                        _ => same && matches!(operator.as_str(), "=" | "<=" | ">="),
                    },
                },
                AExprKind::AexprNotDistinct => same,
                AExprKind::AexprLike | AExprKind::AexprIlike => {
                    matches!(operator.as_str(), "~~" | "~~*")
                        && text(right).is_some_and(|text| text.bytes().all(|b| b == b'%') && !text.is_empty())
                }
                AExprKind::AexprIn => {
                    operator == "="
                        && list(right).iter().any(|item| without_places(item) == without_places(left))
                }
                AExprKind::Undefined
                | AExprKind::AexprOpAny
                | AExprKind::AexprOpAll
                | AExprKind::AexprDistinct
                | AExprKind::AexprNullif
                | AExprKind::AexprSimilar
                | AExprKind::AexprBetween
                | AExprKind::AexprNotBetween
                | AExprKind::AexprBetweenSym
                | AExprKind::AexprNotBetweenSym => false,
            }
        }
        Some(NodeEnum::NullTest(test)) => {
            let constant = test.arg.as_deref().is_some_and(|arg| literal(arg).is_some());
            constant && test.nulltesttype() == pg_query::protobuf::NullTestType::IsNotNull
        }
        _ => false,
    }
}

fn is_never(clause: &Node) -> bool {
    literal(clause).and_then(truth) == Some(false)
}

fn not(clause: &Node) -> Option<&Node> {
    let Some(NodeEnum::BoolExpr(expression)) = &clause.node else { return None };
    (expression.boolop() == BoolExprType::NotExpr).then(|| expression.args.first()).flatten()
}

fn compare(operator: &str, left: f64, right: f64) -> bool {
    match operator {
        "=" => left.total_cmp(&right).is_eq(),
        "<>" => left.total_cmp(&right).is_ne(),
        "<" => left < right,
        ">" => left > right,
        "<=" => left <= right,
        ">=" => left >= right,
        _ => false,
    }
}

/// A constant, whatever it is cast to.
pub(super) fn literal(node: &Node) -> Option<&AConst> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => Some(constant),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().and_then(literal),
        _ => None,
    }
}

fn truth(constant: &AConst) -> Option<bool> {
    match &constant.val {
        Some(Val::Boolval(value)) => Some(value.boolval),
        Some(Val::Sval(value)) => match value.sval.to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
            "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        Some(Val::Ival(value)) => Some(value.ival != 0),
        Some(Val::Fval(_) | Val::Bsval(_)) | None => None,
    }
}

fn number(node: &Node) -> Option<f64> {
    match &literal(node)?.val {
        Some(Val::Ival(value)) => Some(f64::from(value.ival)),
        Some(Val::Fval(value)) => value.fval.parse().ok(),
        Some(Val::Boolval(_) | Val::Sval(_) | Val::Bsval(_)) => None,
        // Zero is a number whose message is empty.
        None => literal(node).filter(|constant| !constant.isnull).map(|_| 0.0),
    }
}

/// The text of a constant string.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &literal(node)?.val {
        Some(Val::Sval(value)) => Some(&value.sval),
        Some(Val::Ival(_) | Val::Fval(_) | Val::Boolval(_) | Val::Bsval(_)) | None => None,
    }
}

/// A node with every position in the text taken out of it, so that equal expressions are equal.
pub(super) fn without_places(node: &Node) -> String {
    let mut value = serde_json::to_value(node).unwrap_or_default();
    drop_places(&mut value);
    value.to_string()
}

fn drop_places(value: &mut serde_json::Value) {
    if let Some(members) = value.as_object_mut() {
        members.remove("location");
        members.values_mut().for_each(drop_places);
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(drop_places);
    }
}

fn list(node: &Node) -> &[Node] {
    match &node.node {
        Some(NodeEnum::List(list)) => &list.items,
        Some(NodeEnum::AArrayExpr(array)) => &array.elements,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().map_or(&[], list),
        _ => &[],
    }
}

/// Whether it is one value that no row can change.
fn is_constant(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        // A sign.
        Some(NodeEnum::AExpr(expression)) => {
            expression.lexpr.is_none() && expression.rexpr.as_deref().is_some_and(is_constant)
        }
        _ => false,
    }
}

/// What one condition says about a column: it is one of so many constants, or the same as another column.
#[derive(Debug)]
pub(super) enum Says<'t> {
    OneOf(&'t ColumnRef, u64),
    Same(&'t ColumnRef, &'t ColumnRef),
}

/// What a conjunct says, when it is an equality of the system's own `=`.
pub(super) fn says<'t>(conjunct: &'t Node, values: Option<&[BoundValue]>) -> Option<Says<'t>> {
    let Some(NodeEnum::AExpr(expression)) = &conjunct.node else { return None };
    let name = names::strings(&expression.name)?;
    if !matches!(name.iter().map(String::as_str).collect::<Vec<_>>()[..], ["="] | ["pg_catalog", "="]) {
        return None;
    }
    let (left, right) = (expression.lexpr.as_deref()?, expression.rexpr.as_deref()?);
    match expression.kind() {
        AExprKind::AexprOp => match (column(left), column(right)) {
            (Some(one), Some(other)) => Some(Says::Same(one, other)),
            (Some(column), None) if is_constant(right) => Some(Says::OneOf(column, 1)),
            (None, Some(column)) if is_constant(left) => Some(Says::OneOf(column, 1)),
            _ => None,
        },
        AExprKind::AexprIn => {
            let items = list(right);
            let few = few(items.len());
            column(left)
                .filter(|_| items.iter().all(is_constant))
                .and_then(|column| Some(Says::OneOf(column, few?)))
        }
        AExprKind::AexprOpAny => {
            let column = column(left)?;
            let items = list(right);
            if !items.is_empty() {
                return few(items.len())
                    .filter(|_| items.iter().all(is_constant))
                    .map(|few| Says::OneOf(column, few));
            }
            parameter(right, values)
                .and_then(elements)
                .filter(|count| *count <= FEW)
                .map(|count| Says::OneOf(column, count))
        }
        AExprKind::Undefined
        | AExprKind::AexprOpAll
        | AExprKind::AexprDistinct
        | AExprKind::AexprNotDistinct
        | AExprKind::AexprNullif
        | AExprKind::AexprLike
        | AExprKind::AexprIlike
        | AExprKind::AexprSimilar
        | AExprKind::AexprBetween
        | AExprKind::AexprNotBetween
        | AExprKind::AexprBetweenSym
        | AExprKind::AexprNotBetweenSym => None,
    }
}

fn few(count: usize) -> Option<u64> {
    u64::try_from(count).ok().filter(|count| *count <= FEW)
}

fn column(node: &Node) -> Option<&ColumnRef> {
    if let Some(NodeEnum::ColumnRef(column)) = &node.node { Some(column) } else { None }
}

/// The value bound to a parameter.
pub(super) fn parameter<'v>(node: &Node, values: Option<&'v [BoundValue]>) -> Option<&'v BoundValue> {
    match &node.node {
        Some(NodeEnum::ParamRef(parameter)) => {
            usize::try_from(parameter.number).ok()?.checked_sub(1).and_then(|at| values?.get(at))
        }
        Some(NodeEnum::TypeCast(cast)) => parameter(cast.arg.as_deref()?, values),
        _ => None,
    }
}

/// At most how many elements an array holds.
fn elements(value: &BoundValue) -> Option<u64> {
    match value {
        BoundValue::Null => Some(0),
        // Quoted commas make it more, never less.
        BoundValue::Text(text) => u64::try_from(text.split(|byte| *byte == b',').count()).ok(),
        BoundValue::Binary(bytes) => {
            let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
            let dimensions = usize::try_from(word(0)?).ok().filter(|count| *count <= 6)?;
            (0..dimensions).try_fold(1_u64, |count, at| count.checked_mul(word(12 + at * 8)?.into()))
        }
    }
}

/// A number that stands there or is bound to a parameter: of a `LIMIT`.
pub(super) fn count(node: &Node, values: Option<&[BoundValue]>) -> Option<u64> {
    if let Some(constant) = literal(node) {
        return match &constant.val {
            Some(Val::Ival(value)) => u64::try_from(value.ival).ok(),
            Some(Val::Sval(value)) => value.sval.trim().parse().ok(),
            Some(Val::Fval(_) | Val::Boolval(_) | Val::Bsval(_)) => None,
            None => (!constant.isnull).then_some(0),
        };
    }
    match parameter(node, values)? {
        BoundValue::Null => None,
        BoundValue::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        BoundValue::Binary(bytes) => {
            let signed = i64::from_be_bytes(bytes.as_ref().try_into().ok()?);
            u64::try_from(signed).ok()
        }
    }
}

/// The most rows of one relation that equal constants in all columns of one of its keys.
pub(super) fn keyed(keys: &[BTreeSet<String>], fixed: &BTreeMap<String, u64>) -> Option<u64> {
    let product = |key: &BTreeSet<String>| {
        key.iter().try_fold(1_u64, |rows, column| rows.checked_mul(*fixed.get(column)?))
    };
    keys.iter().filter(|key| !key.is_empty()).filter_map(product).min()
}
