//! What one policy names and what it looks at, read from its parsed form. Anything not recognised counts as read.

use crate::{
    mcp,
    sql::{is_counter, is_optional},
    vocabulary::HEAD_FACTS,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Which inputs rules look at that cost something or change by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an input of its own")]
pub(crate) struct Reads {
    /// The time: answers must not be kept.
    pub(crate) time: bool,
    /// The body, its length, or facts found in it: it must be whole before deciding.
    pub(crate) body: bool,
    /// Whether anything shown would be hidden from a reviewer.
    pub(crate) hidden: bool,
    /// What a session has done so far: answers hold for this statement only.
    pub(crate) counters: bool,
    /// What somebody has to find out beforehand.
    pub(crate) evidence: bool,
    /// What only a call itself says: its arguments, its time, its reason. A list of tools is shown without.
    pub(crate) call: bool,
}

impl Reads {
    pub(crate) const EVERYTHING: Self =
        Self { time: true, body: true, hidden: true, counters: true, evidence: true, call: true };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            time: self.time || other.time,
            body: self.body || other.body,
            hidden: self.hidden || other.hidden,
            counters: self.counters || other.counters,
            evidence: self.evidence || other.evidence,
            call: self.call || other.call,
        }
    }
}

/// Everything a policy names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Analysis {
    pub(crate) reads: Reads,
    /// Entity literals as type and id.
    pub(crate) entities: BTreeSet<(String, String)>,
    /// Strings compared with a resource's labels.
    pub(crate) labels: BTreeSet<String>,
    /// Entity literals whose own attributes or groups are asked for: such questions are not answered here.
    pub(crate) asked_about: BTreeSet<(String, String)>,
    /// Questions about something computed, which cannot be proven answered.
    pub(crate) asks_computed: bool,
}

/// Reads the JSON form of a policy (Cedar documentation, "JSON policy format").
pub(crate) fn analyse(policy: &Value) -> Analysis {
    let mut found = Analysis::default();
    for scope in ["principal", "action", "resource"] {
        if let Some(constraint) = policy.get(scope) {
            found.scope(constraint);
        }
    }
    for condition in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        if let Some(body) = condition.get("body") {
            found.expression(body);
        }
    }
    found
}

impl Analysis {
    fn scope(&mut self, constraint: &Value) {
        let listed = constraint.get("entities").and_then(Value::as_array).into_iter().flatten();
        for entity in constraint.get("entity").into_iter().chain(listed) {
            self.entities.extend(entity_of(entity));
        }
        if let Some(inner) = constraint.get("in") {
            self.scope(inner);
        }
    }

    fn expression(&mut self, expression: &Value) {
        let Some((operator, operands)) = expression.as_object().and_then(|object| object.iter().next())
        else {
            return;
        };
        match operator.as_str() {
            "Value" => self.value(operands),
            "Var" if operands == "context" => {
                self.reads = Reads::EVERYTHING;
            }
            "Var" | "Slot" | "Unknown" => {}
            "." | "has" => self.access(operator, operands, expression),
            "in" | "is" | "hasTag" | "getTag" => {
                self.question(operands.get("left"));
                self.operands(operands);
            }
            "contains" | "containsAll" | "containsAny" => {
                if operands.get("left").is_some_and(is_labels) {
                    self.labels_in(operands.get("right"));
                }
                self.operands(operands);
            }
            // The members of a record are values, whatever their names; so are operands.
            _ => self.operands(operands),
        }
    }

    fn operands(&mut self, operands: &Value) {
        match operands {
            Value::Array(items) => items.iter().for_each(|item| self.expression(item)),
            Value::Object(named) => named.values().for_each(|operand| self.expression(operand)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn value(&mut self, value: &Value) {
        self.entities.extend(entity_of(value));
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(named) => named.values().for_each(|member| self.value(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn access(&mut self, operator: &str, operands: &Value, expression: &Value) {
        if let Some(path) = context_path(expression) {
            self.read(&path, operator == "has");
            return;
        }
        let left = operands.get("left");
        self.question(left);
        if let Some(left) = left {
            self.expression(left);
        }
    }

    fn read(&mut self, path: &[&str], only_asked_for: bool) {
        let is_of_a_call =
            matches!(path, ["mcp", fact, ..] if [mcp::ANSWERS, mcp::ASKED_DURING].contains(fact));
        self.reads.call |= is_of_a_call || !matches!(path, ["wire" | "mcp", ..]);
        match path {
            ["now", ..] => self.reads.time = true,
            ["body_bytes", ..] => self.reads.body = true,
            ["hidden_characters", ..] => (self.reads.body, self.reads.hidden) = (true, true),
            ["wire" | "claimed_reason" | "mcp" | "input" | "shell" | "kubernetes", ..] => {}
            ["sql"] => {
                self.reads.counters |= !only_asked_for;
                self.reads.evidence |= !only_asked_for;
            }
            ["sql", fact, ..] => {
                self.reads.counters |= is_counter(fact);
                self.reads.evidence |= is_optional(fact);
            }
            ["http"] => self.reads.body |= !only_asked_for,
            ["http", fact, ..] => self.reads.body |= !HEAD_FACTS.contains(fact),
            _ => self.reads = Reads::EVERYTHING,
        }
    }

    /// The left side of `in`, `is`, `.` and `has` must be somebody or something of this very request.
    fn question(&mut self, subject: Option<&Value>) {
        let Some(subject) = subject else { return };
        if let Some(entity) = subject.get("Value").and_then(entity_of) {
            self.asked_about.insert(entity);
        } else if !is_rooted(subject) {
            self.asks_computed = true;
        }
    }

    fn labels_in(&mut self, right: Option<&Value>) {
        let Some(right) = right else { return };
        let members = right.get("Set").and_then(Value::as_array).into_iter().flatten();
        for member in std::iter::once(right).chain(members) {
            match member.get("Value") {
                Some(Value::String(label)) => _ = self.labels.insert(label.clone()),
                Some(Value::Array(labels)) => {
                    self.labels.extend(labels.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                Some(_) | None => {}
            }
        }
    }
}

fn entity_of(value: &Value) -> Option<(String, String)> {
    let entity = value.get("__entity").unwrap_or(value);
    let part = |name| entity.get(name).and_then(Value::as_str).map(str::to_owned);
    part("type").zip(part("id"))
}

/// The attributes asked for, from `context` on.
fn context_path(expression: &Value) -> Option<Vec<&str>> {
    let access = expression.get(".").or_else(|| expression.get("has"))?;
    let left = access.get("left")?;
    let attribute = access.get("attr").and_then(Value::as_str)?;
    let mut path = if left.get("Var").is_some_and(|name| name == "context") {
        Vec::new()
    } else {
        left.get(".").and_then(|_| context_path(left))?
    };
    path.push(attribute);
    Some(path)
}

fn is_rooted(expression: &Value) -> bool {
    expression.get("Var").is_some()
        || expression.get(".").and_then(|access| access.get("left")).is_some_and(is_rooted)
}

fn is_labels(expression: &Value) -> bool {
    expression.get(".").and_then(|access| access.get("attr")).is_some_and(|name| name == "labels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::Policy;

    fn of(condition: &str) -> Analysis {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        analyse(&Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    #[test]
    #[rustfmt::skip]
    fn what_a_rule_looks_at_is_known() {
        let all = Reads::EVERYTHING;
        let none = Reads::default();
        let call = Reads { call: true, ..none };
        for (condition, reads) in [
            ("context has mcp && context.mcp.standing == \"new\"", none),
            ("context has input && context.input has count && context.input.count > 5", call),
            ("principal.clearances.contains(\"x\")", none),
            ("context.claimed_reason && context.wire == \"http\"", call),
            ("context has http && context.http.method == \"GET\" && context.http.query.contains(\"q\")", call),
            ("context.now > 5", Reads { time: true, ..call }),
            ("(if context.claimed_reason then context else context).now > 5", all),
            ("context.http has rows && context.http.rows > 5", Reads { body: true, ..call }),
            ("context.http == {method: \"GET\"}", Reads { body: true, ..call }),
            ("context.sql.est_rows > 5", Reads { evidence: true, ..call }),
            ("context.sql has est_problem", Reads { evidence: true, ..call }),
            ("context.sql.session_rows_read > 5", Reads { counters: true, ..call }),
            ("context.sql.bounded", call),
            ("context has shell && context.shell.understood", call),
            ("context.body_bytes > 5", Reads { body: true, ..call }),
            ("context.hidden_characters", Reads { body: true, hidden: true, ..call }),
            ("context.session.rows_1h > 5", all),
            ("{\"Var\": context.now}.Var > 5", Reads { time: true, ..call }),
            ("[context].contains(context)", all),
        ] {
            assert_eq!(of(condition).reads, reads, "{condition}");
        }
    }

    #[test]
    fn questions_about_others_are_found() {
        assert!(
            of("principal in Group::\"a\" && resource.environment in Environment::\"b\"")
                .asked_about
                .is_empty()
        );
        let found = of(
            "Person::\"p\" in Group::\"a\" || Agent::\"b\".clearances.contains(\"c\") || Agent::\"t\".hasTag(\"x\")",
        );
        let asked: Vec<_> = found.asked_about.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(asked, ["b", "t", "p"]);
        assert!(
            of("(if context.claimed_reason then principal else principal) in Group::\"a\"").asks_computed
        );
    }

    #[test]
    fn names_and_labels_are_found_wherever_they_stand() {
        let found =
            of("resource.labels.containsAny([\"a\", \"b\"]) || [Group::\"g\"].contains(Group::\"h\")");
        assert_eq!(found.labels, ["a".to_owned(), "b".to_owned()].into());
        assert_eq!(found.entities.len(), 2);
    }
}
