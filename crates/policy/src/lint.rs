//! What Cedar accepts and we do not: names nobody declared, questions nobody can answer, text that hides.

use crate::{
    PolicyError, Vocabulary,
    analysis::Analysis,
    mcp,
    nearest::suggestion,
    scan::{Statement, position},
    schema::APPROVE,
    source::Source,
    sql, text,
};
use countersign_core::{AgentId, Class, EnvironmentName, GroupName, PersonId, TargetName, visible};

/// Where a statement stands, for placing what is wrong with it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'s> {
    pub(crate) source: &'s Source,
    pub(crate) statement: &'s Statement<'s>,
}

impl Place<'_> {
    pub(crate) fn error(&self, message: impl Into<String>) -> PolicyError {
        self.error_at(0, message)
    }

    /// A mistake at this byte offset of the statement.
    pub(crate) fn error_at(&self, offset: usize, message: impl Into<String>) -> PolicyError {
        let at = position(&self.source.text, self.statement.offset + offset);
        PolicyError::of_file(&self.source.name, message).at(at)
    }

    pub(crate) fn error_on(&self, needle: &str, message: impl Into<String>) -> PolicyError {
        self.error_at(self.statement.text.find(needle).unwrap_or(0), message)
    }

    /// A mistake in the annotation with this key.
    pub(crate) fn error_of(&self, key: &str, message: impl Into<String>) -> PolicyError {
        let offset = self.statement.annotations.iter().find(|(name, _)| name == key).map_or(0, |(_, at)| *at);
        self.error_at(offset, message)
    }
}

/// How many hidden characters of one file are reported one by one.
const HIDDEN_SHOWN: usize = 10;

/// Characters in a policy file that a reviewer of the file would not see.
pub(crate) fn hidden(source: &Source) -> Vec<PolicyError> {
    let found = crate::scan::hidden(&source.text);
    found
        .into_iter()
        .take(HIDDEN_SHOWN)
        .map(|(at, shown)| {
            PolicyError::of_file(&source.name, format!("hidden character `{shown}`"))
                .at(position(&source.text, at))
                .hint("remove it, or write it as an escape such as `\\u{202e}` where a rule is about it")
        })
        .collect()
}

/// Names in a policy that the configuration does not declare, and questions about somebody who is not there.
pub(crate) fn names(
    place: Place<'_>,
    found: &Analysis,
    vocabulary: &Vocabulary,
    errors: &mut Vec<PolicyError>,
) {
    for (kind, id) in &found.entities {
        if let Some((message, hint)) = unknown_entity(kind, id, vocabulary) {
            errors.push(place.error_on(&format!("{kind}::\"{id}\""), message).hint(hint));
        }
    }
    for label in found.labels.difference(&vocabulary.labels) {
        let shown = visible::one_line(label);
        let hint = suggestion(label, "label", vocabulary.labels.iter().map(String::as_str));
        errors.push(
            place.error_on(&format!("\"{label}\""), format!("label `{shown}` is not declared")).hint(hint),
        );
    }
    for (kind, id) in &found.asked_about {
        let shown = visible::one_line(id);
        let wrong = format!("asks about `{kind}::\"{shown}\"`, who is not part of every request");
        let hint = "ask about `principal`, `action`, `resource` or `context`; compare others with `==`";
        errors.push(place.error_on(&format!("{kind}::\"{id}\""), wrong).hint(hint));
    }
    if found.asks_computed {
        let wrong = "asks about a computed value, which cannot be proven to be there";
        errors.push(
            place.error(wrong).hint("ask about `principal`, `action`, `resource` or `context` directly"),
        );
    }
}

fn unknown_entity(kind: &str, id: &str, vocabulary: &Vocabulary) -> Option<(String, String)> {
    let shown = visible::one_line(id);
    let undeclared = |what: &str, hint: String| Some((format!("{what} `{shown}` is not declared"), hint));
    let not_an_id = |prefix: &str| {
        let hint = format!("people and agents go by their id (`{prefix}…`); names may change, ids do not");
        Some((format!("`{kind}::\"{shown}\"` names nobody"), hint))
    };
    match kind {
        "Group" if !vocabulary.groups.iter().any(|group| group.as_str() == id) => {
            undeclared("group", suggestion(id, "group", vocabulary.groups.iter().map(GroupName::as_str)))
        }
        "Environment" if !vocabulary.environments.iter().any(|environment| environment.as_str() == id) => {
            let known = vocabulary.environments.iter().map(EnvironmentName::as_str);
            undeclared("environment", suggestion(id, "environment", known))
        }
        "Target" if !vocabulary.targets.keys().any(|target| target.as_str() == id) => {
            undeclared("target", suggestion(id, "target", vocabulary.targets.keys().map(TargetName::as_str)))
        }
        "Action" if id != APPROVE => unknown_action(id, vocabulary),
        "Person" if id.parse::<PersonId>().is_err() => not_an_id(PersonId::PREFIX),
        "Agent" | "Service" if id.parse::<AgentId>().is_err() => not_an_id(AgentId::PREFIX),
        _ => None,
    }
}

fn unknown_action(id: &str, vocabulary: &Vocabulary) -> Option<(String, String)> {
    let names: Vec<String> =
        vocabulary.operations.iter().map(crate::DeclaredOperation::policy_name).collect();
    let classes: Vec<&str> = Class::ALL.map(Class::as_str).into();
    let of_sql = sql::actions().into_iter().map(|(name, _)| name).filter(|_| vocabulary.has_sql());
    let of_sql: Vec<&str> = of_sql.collect();
    let of_mcp: Vec<String> = mcp::actions(vocabulary).into_iter().map(|(name, _)| name).collect();
    let of_texts: Vec<String> = text::actions(vocabulary).into_iter().map(|(name, _)| name).collect();
    let declared = names.iter().chain(&of_mcp).chain(&of_texts).map(String::as_str);
    let known = classes.into_iter().chain(of_sql).chain(declared);
    if known.clone().any(|name| name == id) {
        return None;
    }
    let shown = visible::one_line(id);
    Some((format!("action `{shown}` is not declared"), suggestion(id, "action", known)))
}
