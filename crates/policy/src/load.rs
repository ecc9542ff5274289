//! From policy files to rules: parsed, checked against the schema, linted. Every mistake of every file in one run.

use crate::{
    PolicyError, Vocabulary,
    analysis::{Analysis, analyse},
    annotation::Reader,
    gate::GateRule,
    lint::{self, Place},
    rules::{Effect, Rule},
    scan::{Statement, position, statements},
    schema::{APPROVE, Types, compile, request_schema, uid, vote_schema},
    source::Source,
    validate::{at_label, validate},
};
use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId as CedarId, Schema};
use countersign_core::{GateName, PolicyId};
use miette::Diagnostic;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What a load needs beside the files.
pub(crate) struct Ground<'v> {
    pub(crate) vocabulary: &'v Vocabulary,
    pub(crate) types: Types,
    /// What requests are checked against.
    pub(crate) requests: Schema,
    /// What votes are checked against.
    pub(crate) votes: Schema,
}

impl<'v> Ground<'v> {
    pub(crate) fn new(vocabulary: &'v Vocabulary) -> Result<Self, Vec<PolicyError>> {
        let errors = vocabulary.check();
        if !errors.is_empty() {
            return Err(errors);
        }
        let made = || -> Result<Self, PolicyError> {
            let requests = compile(&request_schema(vocabulary))?;
            Ok(Self { vocabulary, types: Types::new()?, requests, votes: compile(&vote_schema())? })
        };
        made().map_err(|error| vec![error])
    }
}

/// One policy on its way.
pub(crate) struct Draft<'s> {
    pub(crate) place: Place<'s>,
    pub(crate) policy: Policy,
    /// Whether it is about votes, and not about actions.
    pub(crate) on_votes: bool,
    id: Option<PolicyId>,
    effect: Option<Effect>,
    keeps: Option<u64>,
    pub(crate) analysis: Analysis,
}

/// The rules in these sources, in the order of their files, or everything that is wrong with them.
pub(crate) fn rules(sources: &[Source], ground: &Ground<'_>) -> Result<Vec<Arc<Rule>>, Vec<PolicyError>> {
    let mut errors = Vec::new();
    let cut: Vec<(&Source, Vec<Statement<'_>>)> =
        sources.iter().map(|source| (source, statements(&source.text))).collect();
    let mut drafts = Vec::new();
    for (source, statements) in &cut {
        errors.extend(lint::hidden(source));
        for statement in statements {
            let place = Place { source, statement };
            drafts.extend(draft(place, drafts.len(), ground, &mut errors));
        }
    }
    check_names(sources, &drafts, &mut errors);
    check_gates(&drafts, &mut errors);
    validate(&drafts, ground, &mut errors);
    if errors.is_empty() {
        // A draft without errors has all its parts; if one had not, leaving it out could leave out a forbid.
        let finished: Option<Vec<_>> = drafts.into_iter().map(|draft| draft.finish().map(Arc::new)).collect();
        return finished.ok_or_else(|| vec![PolicyError::of_configuration("a policy was read in part only")]);
    }
    errors.sort();
    errors.dedup();
    Err(errors)
}

impl Draft<'_> {
    /// The finished rule; `None` when a part is missing.
    fn finish(self) -> Option<Rule> {
        let id = self.id?;
        Some(Rule {
            policy: self.policy.new_id(CedarId::new(id.as_str())),
            id,
            effect: self.effect?,
            keeps: self.keeps,
            reason: self.policy.annotation("reason").map(str::to_owned),
            file: self.place.source.name.clone(),
            position: position(&self.place.source.text, self.place.statement.offset),
            reads: self.analysis.reads,
        })
    }
}

fn draft<'s>(
    place: Place<'s>,
    number: usize,
    ground: &Ground<'_>,
    errors: &mut Vec<PolicyError>,
) -> Option<Draft<'s>> {
    check_repeated_annotations(place, errors);
    let provisional = CedarId::new(format!("#{number}"));
    let policy = match Policy::parse(Some(provisional), place.statement.text) {
        Ok(policy) => policy,
        Err(found) => {
            errors.extend(found.iter().map(|error| unparsable(place, error)));
            return None;
        }
    };
    let json = match policy.to_json() {
        Ok(json) => json,
        Err(error) => {
            errors.push(place.error(format!("the policy cannot be analysed: {error}")));
            return None;
        }
    };
    let analysis = analyse(&json);
    lint::names(place, &analysis, ground.vocabulary, errors);
    let on_votes = is_on_votes(place, &policy, &ground.types, errors);
    let id = read_id(place, &policy, errors);
    let (effect, keeps) = read_effect(place, &policy, on_votes, ground, errors);
    Some(Draft { place, policy, on_votes, id, effect, keeps, analysis })
}

fn unparsable(place: Place<'_>, error: &cedar_policy::ParseError) -> PolicyError {
    let message = error.to_string();
    if message.contains("template") {
        let hint = "write one policy for each principal or resource; templates are not supported";
        return at_label(place, error, &format!("the policy is a template: {message}")).hint(hint);
    }
    let with_hint = at_label(place, error, &format!("the policy cannot be read: {message}"));
    match error.help() {
        Some(help) => with_hint.hint(help.to_string()),
        None => {
            with_hint.hint("a policy is `@id(\"…\") permit|forbid (principal, action, resource) when { … };`")
        }
    }
}

fn check_repeated_annotations(place: Place<'_>, errors: &mut Vec<PolicyError>) {
    let mut seen = BTreeSet::new();
    for (key, at) in &place.statement.annotations {
        if !seen.insert(key) {
            errors.push(place.error_at(*at, format!("`@{key}` stands twice")).hint("keep one"));
        }
    }
}

fn read_id(place: Place<'_>, policy: &Policy, errors: &mut Vec<PolicyError>) -> Option<PolicyId> {
    let Some(text) = policy.annotation("id") else {
        let hint = "start it with `@id(\"…\")`: decisions and the audit log name policies by it";
        errors.push(place.error("policy without `@id`").hint(hint));
        return None;
    };
    let id = PolicyId::new(text);
    if let Err(error) = &id {
        errors.push(place.error_of("id", error.to_string()).hint("such as `@id(\"pii-export\")`"));
    }
    id.ok()
}

fn is_on_votes(place: Place<'_>, policy: &Policy, types: &Types, errors: &mut Vec<PolicyError>) -> bool {
    let approve: EntityUid = uid(&types.action, APPROVE);
    match policy.action_constraint() {
        ActionConstraint::Eq(named) => named == approve,
        ActionConstraint::In(named) if named.contains(&approve) => {
            if named.len() > 1 {
                let hint = "write one policy for `Action::\"approve\"` and another for the rest";
                let wrong = "one policy is about both `Action::\"approve\"` and other actions";
                errors.push(place.error_on("Action::\"approve\"", wrong).hint(hint));
            }
            true
        }
        ActionConstraint::Any | ActionConstraint::In(_) => false,
    }
}

fn read_effect(
    place: Place<'_>,
    policy: &Policy,
    on_votes: bool,
    ground: &Ground<'_>,
    errors: &mut Vec<PolicyError>,
) -> (Option<Effect>, Option<u64>) {
    let mut reader = Reader {
        values: policy.annotations().collect(),
        vocabulary: ground.vocabulary,
        types: &ground.types,
        mistakes: Vec::new(),
    };
    reader.check_keys();
    let keeps = reader.keeps();
    let is_permit = policy.effect() == cedar_policy::Effect::Permit;
    let effect = match (on_votes, is_permit, reader.values.contains_key("gate")) {
        (true, true, _) => {
            let hint = "who may approve is said by `@approvers` of the gate; a policy may only `forbid` here";
            let wrong = "a permit on `Action::\"approve\"` cannot widen who approves";
            errors.push(place.error_on("permit", wrong).hint(hint));
            None
        }
        (true, false, _) => {
            reader.check_no_record();
            reader.check_no_keeps();
            reader.check_no_gate("a rule about voting", "votes are not themselves approved; remove it");
            Some(Effect::VoteWall)
        }
        (false, true, _) => {
            reader.check_no_gate("a permit", "gates are forbids: write `forbid` for what needs approval");
            reader.recording().map(Effect::Permit)
        }
        (false, false, false) => {
            reader.check_no_record();
            reader.check_no_keeps();
            reader.check_no_gate(
                "a forbid without `@gate`",
                "add `@gate(\"…\")`, or remove it: a wall is never lifted",
            );
            Some(Effect::Wall)
        }
        (false, false, true) => {
            reader.check_no_record();
            reader.gate().map(|gate| Effect::Gate(Box::new(gate)))
        }
    };
    for mistake in reader.mistakes {
        errors.push(place.error_of(&mistake.key, mistake.message).hint(mistake.hint));
    }
    (effect, keeps)
}

/// File names and policy ids are used once.
fn check_names(sources: &[Source], drafts: &[Draft<'_>], errors: &mut Vec<PolicyError>) {
    let mut files = BTreeSet::new();
    for source in sources {
        if !files.insert(&source.name) {
            errors.push(PolicyError::of_file(&source.name, format!("file `{}` is given twice", source.name)));
        }
    }
    let mut ids: BTreeMap<&PolicyId, Place<'_>> = BTreeMap::new();
    for draft in drafts {
        let Some(id) = &draft.id else { continue };
        if let Some(first) = ids.get(id) {
            let at = position(&first.source.text, first.statement.offset);
            let hint = format!("the first is at {}:{}; ids name one policy each", first.source.name, at.line);
            errors.push(draft.place.error_of("id", format!("policy id `{id}` is used twice")).hint(hint));
        } else {
            ids.insert(id, draft.place);
        }
    }
}

/// Policies of one gate are lifted by the same people, together or alone.
fn check_gates(drafts: &[Draft<'_>], errors: &mut Vec<PolicyError>) {
    let mut gates: BTreeMap<&GateName, (&GateRule, Place<'_>)> = BTreeMap::new();
    for draft in drafts {
        let Some(Effect::Gate(gate)) = &draft.effect else { continue };
        let name = &gate.name;
        let (first, place) = gates.entry(name).or_insert((&**gate, draft.place));
        let at = position(&place.source.text, place.statement.offset);
        for (same, key, share, wrong) in [
            (
                first.break_glass == gate.break_glass,
                "break_glass",
                "their break-glass",
                "has another break-glass",
            ),
            (first.sign_in == gate.sign_in, "gate", "`@fresh`, `@acr` and `@amr`", "asks another sign-in"),
            (first.approvers == gate.approvers, "approvers", "their approvers", "has other approvers"),
        ] {
            if !same {
                let (file, line) = (&place.source.name, at.line);
                let hint =
                    format!("policies of one gate share {share}; see {file}:{line}, or name another gate");
                let wrong = format!("gate `{name}` {wrong} elsewhere");
                errors.push(draft.place.error_of(key, wrong).hint(hint));
            }
        }
    }
}
