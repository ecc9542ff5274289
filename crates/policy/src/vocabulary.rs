//! What the configuration declares and policies may name: environments, targets, groups, labels, operations.
//!
//! The Cedar schema is generated from it, so a policy that names anything else does not load.

use crate::{PolicyError, mcp, nearest::suggestion, sql, text};
use countersign_core::{ChannelName, Class, EnvironmentName, GroupName, TargetName, visible};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Every name policies may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    pub environments: BTreeSet<EnvironmentName>,
    pub targets: BTreeMap<TargetName, DeclaredTarget>,
    /// Groups of people or agents. Flat: whoever asks comes with every group it is in.
    pub groups: BTreeSet<GroupName>,
    /// What resources may be labelled with.
    pub labels: BTreeSet<String>,
    pub operations: Vec<DeclaredOperation>,
    /// The targets that speak MCP: their operations are tools, whose facts are `context.input`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mcp: BTreeSet<TargetName>,
    /// The channels that a gate may have told, with `@notify`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<ChannelName>,
    /// Those of them in whose tickets a gate may be approved beforehand, with `@ticket`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ticket_channels: BTreeSet<ChannelName>,
}

/// A place actions go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredTarget {
    pub environment: EnvironmentName,
    /// What holds for the target as a whole; seen by policy where an action names no resource.
    #[serde(default)]
    pub labels: BTreeSet<String>,
}

/// An operation a target is known to offer. What is not declared is asked as its bare class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredOperation {
    pub target: TargetName,
    /// As the wire adapter recognises it (`exportCustomers`).
    pub name: String,
    pub class: Class,
    /// Facts read from the body, by name. All of them may be absent, so policies must ask `has` first.
    #[serde(default)]
    pub facts: BTreeMap<String, FactType>,
}

/// What kind of value a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactType {
    String,
    /// A whole number of 64 bits.
    Long,
    Bool,
    SetOfString,
}

impl FactType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Long => "long",
            Self::Bool => "bool",
            Self::SetOfString => "set-of-string",
        }
    }
}

/// Facts every HTTP action has; no operation may declare them again.
pub(crate) const HEAD_FACTS: [&str; 4] = ["method", "path", "host", "query"];

impl Vocabulary {
    /// Whatever would make a schema ambiguous or a rule silently never match.
    pub fn check(&self) -> Vec<PolicyError> {
        let mut errors = Vec::new();
        for (name, target) in &self.targets {
            if !self.environments.contains(&target.environment) {
                let wrong =
                    format!("target `{name}` is in the undeclared environment `{}`", target.environment);
                errors.push(PolicyError::of_configuration(wrong).hint(suggestion(
                    target.environment.as_str(),
                    "environment",
                    self.environments.iter().map(EnvironmentName::as_str),
                )));
            }
            for label in target.labels.difference(&self.labels) {
                let wrong =
                    format!("target `{name}` carries the undeclared label `{}`", visible::one_line(label));
                errors.push(PolicyError::of_configuration(wrong).hint(suggestion(
                    label,
                    "label",
                    self.labels.iter().map(String::as_str),
                )));
            }
        }
        for label in self.labels.iter().filter(|label| !is_plain(label)) {
            let wrong = format!("`{}` cannot be a label", visible::one_line(label));
            errors.push(PolicyError::of_configuration(wrong).hint(PLAIN_HINT));
        }
        let mut seen = BTreeSet::new();
        for operation in &self.operations {
            self.check_operation(operation, &mut errors);
            if !seen.insert((&operation.target, &operation.name)) {
                let twice =
                    format!("operation `{}` of `{}` is declared twice", operation.name, operation.target);
                errors.push(PolicyError::of_configuration(twice).hint("keep one declaration"));
            }
        }
        self.check_requests(&mut errors);
        self.check_collisions(&mut errors);
        errors
    }

    fn check_operation(&self, operation: &DeclaredOperation, errors: &mut Vec<PolicyError>) {
        let name = visible::one_line(&operation.name);
        if !self.targets.contains_key(&operation.target) {
            let wrong = format!("operation `{name}` belongs to the undeclared target `{}`", operation.target);
            errors.push(PolicyError::of_configuration(wrong).hint(suggestion(
                operation.target.as_str(),
                "target",
                self.targets.keys().map(TargetName::as_str),
            )));
        }
        if !is_plain(&operation.name) {
            let wrong = format!("`{name}` cannot be an operation of `{}`", operation.target);
            errors.push(PolicyError::of_configuration(wrong).hint(PLAIN_HINT));
        }
        Self::check_sql(operation, errors);
        self.check_mcp(operation, errors);
        self.check_text(operation, errors);
        for fact in operation.facts.keys() {
            let shown = visible::one_line(fact);
            if HEAD_FACTS.contains(&fact.as_str()) {
                let wrong =
                    format!("operation `{name}` declares the fact `{shown}`, which every request has");
                errors.push(PolicyError::of_configuration(wrong).hint("give the fact another name"));
            } else if !is_plain(fact) || fact == "__entity" || fact == "__extn" {
                let wrong = format!("`{shown}` cannot be a fact of operation `{name}`");
                errors.push(PolicyError::of_configuration(wrong).hint(PLAIN_HINT));
            }
        }
    }

    /// The names of SQL operations mean the same everywhere.
    fn check_sql(operation: &DeclaredOperation, errors: &mut Vec<PolicyError>) {
        let name = visible::one_line(&operation.name);
        if operation.name != "sql" && !operation.name.starts_with("sql.") {
            return;
        }
        if sql::class_of(&operation.name) != Some(operation.class) || !operation.facts.is_empty() {
            let wrong = format!(
                "operation `{name}` of `{}` is named like an SQL operation and is none",
                operation.target
            );
            errors.push(PolicyError::of_configuration(wrong).hint("names beginning with `sql.` are taken"));
        }
    }

    /// The names of what every MCP server offers mean the same everywhere.
    fn check_mcp(&self, operation: &DeclaredOperation, errors: &mut Vec<PolicyError>) {
        let own = operation.name == "mcp" || operation.name.starts_with("mcp.");
        let speaks = self.mcp.contains(&operation.target);
        let as_it_must =
            mcp::class_of(&operation.name) == Some(operation.class) && operation.facts.is_empty();
        if own && !(speaks && as_it_must) {
            let name = visible::one_line(&operation.name);
            let wrong = format!(
                "operation `{name}` of `{}` is named like an operation of MCP and is none",
                operation.target
            );
            errors.push(PolicyError::of_configuration(wrong).hint("names beginning with `mcp.` are taken"));
        }
    }

    /// What the texts of tools do is called the same at every server.
    fn check_text(&self, operation: &DeclaredOperation, errors: &mut Vec<PolicyError>) {
        let as_it_must = text::of(&operation.name).is_some_and(|(_, class)| class == operation.class)
            && operation.facts.is_empty();
        if self.mcp.contains(&operation.target) && text::is_taken(&operation.name) && !as_it_must {
            let name = visible::one_line(&operation.name);
            let wrong = format!(
                "operation `{name}` of `{}` is named like what a text does and is none",
                operation.target
            );
            let hint = "`shell` and `kubernetes`, and names beginning with them and a dot, are taken";
            errors.push(PolicyError::of_configuration(wrong).hint(hint));
        }
    }

    /// The operations that a request of a tool can be, by what such a request is called at its server: as policies call the
    /// operation itself.
    pub(crate) fn of_requests(&self) -> BTreeMap<String, &DeclaredOperation> {
        let is_asked_for = |operation: &&DeclaredOperation| {
            !self.mcp.is_empty()
                && !self.mcp.contains(&operation.target)
                && sql::class_of(&operation.name).is_none()
        };
        let operations = self.operations.iter().filter(is_asked_for);
        operations.map(|operation| (operation.policy_name(), operation)).collect()
    }

    /// What is called like the operation of another target is a request to that one.
    fn check_requests(&self, errors: &mut Vec<PolicyError>) {
        let requests = self.of_requests();
        for operation in self.operations.iter().filter(|operation| self.mcp.contains(&operation.target)) {
            let Some(meant) = requests.get(&operation.name) else { continue };
            if (meant.class, &meant.facts) != (operation.class, &operation.facts) {
                let name = visible::one_line(&operation.name);
                let wrong = format!(
                    "operation `{name}` of `{}` is named like a request to `{}` and is none",
                    operation.target, meant.target
                );
                errors.push(
                    PolicyError::of_configuration(wrong).hint("leave the tool out, or rename the target"),
                );
            }
        }
    }

    /// Whether any target speaks SQL.
    pub(crate) fn has_sql(&self) -> bool {
        self.operations.iter().any(|operation| sql::class_of(&operation.name).is_some())
    }

    /// `a/b` of target `t` and `b` of target `t/a` would be one name in a policy.
    fn check_collisions(&self, errors: &mut Vec<PolicyError>) {
        let mut names: BTreeMap<String, &DeclaredOperation> = BTreeMap::new();
        let gathers: Vec<String> = self.mcp.iter().map(mcp::server).collect();
        for operation in &self.operations {
            if gathers.contains(&operation.policy_name()) {
                let wrong =
                    format!("`{}` is both an operation and a whole MCP server", operation.policy_name());
                errors.push(PolicyError::of_configuration(wrong).hint("rename one of the targets"));
            }
            if let Some(other) = names.insert(operation.policy_name(), operation)
                && other.target != operation.target
            {
                let wrong = format!(
                    "operations of `{}` and `{}` are both called `{}` in policies",
                    other.target,
                    operation.target,
                    operation.policy_name()
                );
                errors.push(PolicyError::of_configuration(wrong).hint("rename one of the targets"));
            }
        }
    }
}

impl DeclaredOperation {
    /// How policies name it: `Action::"<target>/<operation>"`.
    pub fn policy_name(&self) -> String {
        format!("{}/{}", self.target, self.name)
    }
}

const PLAIN_HINT: &str = "use 1 to 128 visible characters without spaces at the ends";

fn is_plain(text: &str) -> bool {
    (1..=128).contains(&text.chars().count())
        && text.trim() == text
        && !text.contains(['\n', '\t', '\r'])
        && !visible::has_hidden(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Vocabulary {
        let target = |environment: &str| DeclaredTarget {
            environment: EnvironmentName::new(environment).unwrap(),
            labels: BTreeSet::new(),
        };
        Vocabulary {
            environments: [EnvironmentName::new("prod").unwrap()].into(),
            targets: [
                (TargetName::new("crm").unwrap(), target("prod")),
                (TargetName::new("crm/eu").unwrap(), target("prod")),
            ]
            .into(),
            groups: BTreeSet::new(),
            labels: ["pii".to_owned()].into(),
            operations: vec![operation("crm", "export")],
            mcp: BTreeSet::new(),
            channels: BTreeSet::new(),
            ticket_channels: BTreeSet::new(),
        }
    }

    fn operation(target: &str, name: &str) -> DeclaredOperation {
        DeclaredOperation {
            target: TargetName::new(target).unwrap(),
            name: name.into(),
            class: Class::Export,
            facts: BTreeMap::new(),
        }
    }

    #[test]
    fn a_sound_vocabulary_has_no_errors() {
        assert_eq!(declared().check(), []);
    }

    #[test]
    #[rustfmt::skip]
    fn every_mistake_in_a_vocabulary_is_named() {
        type Change = fn(&mut Vocabulary);
        let table: [(&str, Change); 10] = [
            ("target `crm` is in the undeclared environment `prd`\n  hint: did you mean `prod`?", |v| {
                v.targets.get_mut(&TargetName::new("crm").unwrap()).unwrap().environment = EnvironmentName::new("prd").unwrap();
            }),
            ("target `crm` carries the undeclared label `pi`\n  hint: did you mean `pii`?", |v| {
                v.targets.get_mut(&TargetName::new("crm").unwrap()).unwrap().labels.insert("pi".into());
            }),
            ("operation `export` of `crm` is declared twice", |v| v.operations.push(operation("crm", "export"))),
            ("operation `x` belongs to the undeclared target `cmr`\n  hint: did you mean `crm`?", |v| v.operations.push(operation("cmr", "x"))),
            ("`a⟨U+202E⟩b` cannot be an operation of `crm`", |v| v.operations.push(operation("crm", "a\u{202e}b"))),
            ("operation `export` declares the fact `path`, which every request has", |v| {
                v.operations[0].facts.insert("path".into(), FactType::String);
            }),
            ("`` cannot be a fact of operation `export`", |v| { v.operations[0].facts.insert(String::new(), FactType::String); }),
            ("operation `mcp.list` of `crm` is named like an operation of MCP and is none", |v| {
                v.operations.push(operation("crm", "mcp.list"));
            }),
            ("`mcp/crm` is both an operation and a whole MCP server", |v| {
                v.mcp.insert(TargetName::new("crm").unwrap());
                v.operations.push(operation("mcp", "crm"));
            }),
            ("operations of `crm` and `crm/eu` are both called `crm/eu/x` in policies", |v| {
                v.operations.extend([operation("crm", "eu/x"), operation("crm/eu", "x")]);
            }),
        ];
        for (message, change) in table {
            let mut vocabulary = declared();
            change(&mut vocabulary);
            let errors = vocabulary.check();
            assert!(errors.iter().any(|error| error.to_string().contains(message)), "{message}: {errors:?}");
        }
    }
}
