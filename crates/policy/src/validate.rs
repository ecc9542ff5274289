//! Cedar's strict validation, told in our words and at its place in the file.

use crate::{
    PolicyError, Vocabulary,
    lint::{self, Place},
    load::{Draft, Ground},
};
use cedar_policy::{PolicySet, ValidationError, ValidationMode, ValidationWarning, Validator};
use countersign_core::visible;
use miette::Diagnostic;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Cedar's strict validation. A rule that can never match is a mistake: it looks like protection and is none.
pub(crate) fn validate(drafts: &[Draft<'_>], ground: &Ground<'_>, errors: &mut Vec<PolicyError>) {
    let places: HashMap<String, &Draft<'_>> =
        drafts.iter().map(|draft| (draft.policy.id().to_string(), draft)).collect();
    for (on_votes, schema) in [(false, &ground.requests), (true, &ground.votes)] {
        let chosen =
            drafts.iter().filter(|draft| draft.on_votes == on_votes).map(|draft| draft.policy.clone());
        let set = match PolicySet::from_policies(chosen) {
            Ok(set) => set,
            Err(error) => {
                errors.push(PolicyError::of_configuration(format!("policies cannot be checked: {error}")));
                continue;
            }
        };
        // Cedar says the same of every action a rule covers.
        let mut repeated: BTreeMap<PolicyError, BTreeSet<String>> = BTreeMap::new();
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        for error in result.validation_errors() {
            let Some(draft) = places.get(&error.policy_id().to_string()) else {
                errors.push(PolicyError::of_configuration(error.to_string()));
                continue;
            };
            if is_said_already(draft, error, ground.vocabulary) {
                continue;
            }
            let (message, action) = without_action(&without_policy(&error.to_string()));
            let hint = error.help().map_or_else(|| advice(error), |help| without_policy(&help.to_string()));
            let found = at_label(draft.place, error, &message).hint(hint);
            repeated.entry(found).or_default().extend(action);
        }
        for (mut found, actions) in repeated {
            match actions.len() {
                0 | 1 => {}
                count => found.message = format!("{} and {} other actions", found.message, count - 1),
            }
            errors.push(found);
        }
        for warning in result.validation_warnings() {
            if let Some(draft) = places.get(&warning.policy_id().to_string())
                && draft.analysis_is_clean(ground.vocabulary)
            {
                let found = at_label(draft.place, warning, &without_policy(&warning.to_string()));
                errors.push(found.hint(warning_advice(warning)));
            }
        }
    }
}

impl Draft<'_> {
    /// Whether no name in it is unknown: an unknown name is reported once, as such.
    fn analysis_is_clean(&self, vocabulary: &Vocabulary) -> bool {
        let mut errors = Vec::new();
        lint::names(self.place, &self.analysis, vocabulary, &mut errors);
        errors.is_empty()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows; the rest gets general advice")]
fn advice(error: &ValidationError) -> String {
    match error {
        ValidationError::UnsafeOptionalAttributeAccess(_) => {
            "it may be absent: ask `has` first, as in `context has http && context.http has rows && …`"
                .to_owned()
        }
        ValidationError::UnsafeAttributeAccess(_) => {
            "`countersign policy schema` prints every attribute there is".to_owned()
        }
        _ => "`countersign policy schema` prints what policies may say".to_owned(),
    }
}

/// Unknown actions are reported by our own lint, with the names there are; only then is Cedar's word for it left out.
fn is_said_already(draft: &Draft<'_>, error: &ValidationError, vocabulary: &Vocabulary) -> bool {
    matches!(error, ValidationError::UnrecognizedActionId(_)) && !draft.analysis_is_clean(vocabulary)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum that grows; the rest is about look-alike text"
)]
fn warning_advice(warning: &ValidationWarning) -> &'static str {
    match warning {
        ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
            "as it stands the rule never matches; check the types and names it compares"
        }
        _ => "write it with letters of one script, without look-alikes",
    }
}

/// Cedar's messages start with the provisional id of the policy, which nobody knows.
fn without_policy(message: &str) -> String {
    let rest = message.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, "));
    rest.map_or(message, |(_, rest)| rest).to_owned()
}

/// A message without the action it was found for, and that action.
fn without_action(message: &str) -> (String, Option<String>) {
    let parts = message.split_once(" for Action::\"").and_then(|(before, rest)| {
        let (action, after) = rest.split_once('"')?;
        Some((format!("{before}{after}"), Some(action.to_owned())))
    });
    parts.unwrap_or_else(|| (message.to_owned(), None))
}

/// Places a mistake Cedar found: its label counts from the start of the statement.
pub(crate) fn at_label(place: Place<'_>, error: &dyn Diagnostic, message: &str) -> PolicyError {
    let message = visible::one_line(message);
    let label = error.labels().and_then(|mut labels| labels.next());
    let Some(label) = label else { return place.error(message) };
    let shown = place.statement.text.get(label.offset()..label.offset() + label.len());
    let shown =
        shown.and_then(|text| text.lines().next()).map(visible::one_line).filter(|text| !text.is_empty());
    match shown {
        Some(text) if !message.contains(&text) => {
            place.error_at(label.offset(), format!("{message}: `{text}`"))
        }
        _ => place.error_at(label.offset(), message),
    }
}
