//! One set of policies with the vocabulary it was checked against: loaded whole, never changed, known by its digest.

use crate::{
    PolicyError, PolicyWarning, Position, Source, Vocabulary,
    approve::VoteRules,
    load::{self, Ground},
    memo::Memo,
    rules::{Actions, Effect, Recording, Rule, RuleSet, concerns},
    schema::{Types, VOCABULARY_VERSION, readable, request_schema},
    sql, subject,
};
use cedar_policy::{Authorizer, Policy, ResourceConstraint, Schema};
use countersign_core::{
    Action, Body, BundleDigest, Digest, GateName, GroupName, PersonId, PolicyId, canonical, decision::Basis,
    ticket,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

/// A set of policies that is in force as a whole.
pub struct Bundle {
    digest: BundleDigest,
    content: Vec<u8>,
    sources: Vec<Source>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) types: Types,
    pub(crate) schema: Schema,
    pub(crate) rules: Vec<Arc<Rule>>,
    by_id: HashMap<String, Arc<Rule>>,
    pub(crate) actions: Actions,
    pub(crate) votes: VoteRules,
    pub(crate) memo: Memo,
    pub(crate) authorizer: Authorizer,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// Says who may ever do it.
    Permit,
    /// A forbid nothing lifts.
    Wall,
    /// A forbid approvals lift.
    Gate,
    /// A forbid on voting.
    VoteWall,
}

/// One policy for lists and pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleSummary {
    pub id: PolicyId,
    pub kind: RuleKind,
    pub gate: Option<GateName>,
    pub reason: Option<String>,
    pub file: String,
    pub position: Position,
}

/// Who is in which group, where that is known.
pub type Membership = BTreeMap<GroupName, BTreeSet<PersonId>>;

/// What a bundle is made of, as it is hashed and stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    schema: Value,
    sources: Vec<Source>,
    version: i64,
    vocabulary: Vocabulary,
}

impl Bundle {
    /// Loads policies against what the configuration declares: all of them, or every mistake in them.
    pub fn load(mut sources: Vec<Source>, vocabulary: &Vocabulary) -> Result<Self, Vec<PolicyError>> {
        sources.sort();
        let ground = Ground::new(vocabulary)?;
        let rules = load::rules(&sources, &ground)?;
        let votes = VoteRules::new(&rules, &ground).map_err(|error| vec![error])?;
        let content = content(&sources, vocabulary).map_err(|error| vec![error])?;
        let Ground { types, requests, .. } = ground;
        Ok(Self {
            digest: Digest::of_parts("countersign/bundle/v1", &[&content]),
            content,
            sources,
            vocabulary: vocabulary.clone(),
            actions: Actions::new(vocabulary, &types, &rules),
            types,
            schema: requests,
            by_id: rules.iter().map(|rule| (rule.id.to_string(), Arc::clone(rule))).collect(),
            rules,
            votes,
            memo: Memo::new(),
            authorizer: Authorizer::new(),
        })
    }

    /// The bundle whose [`Bundle::content`] this is. Content this version would write otherwise is refused.
    pub fn from_content(stored: &[u8]) -> Result<Self, Vec<PolicyError>> {
        let refuse = |why: String| vec![PolicyError::of_file("bundle", why)];
        let Content { sources, version, vocabulary, .. } = serde_json::from_slice(stored)
            .map_err(|error| refuse(format!("stored bundle cannot be read: {error}")))?;
        if version != VOCABULARY_VERSION {
            return Err(refuse(format!(
                "stored bundle speaks version `{version}`, not `{VOCABULARY_VERSION}`"
            )));
        }
        let bundle = Self::load(sources, &vocabulary)?;
        if bundle.content == stored {
            Ok(bundle)
        } else {
            Err(refuse("stored bundle is not in canonical form, or its schema is not ours".into()))
        }
    }

    /// SHA-256 over [`Bundle::content`]: what decisions and entries name.
    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// Everything the bundle is made of, as canonical JSON.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Over the files alone, by name: the same whatever the configuration declares.
    pub fn files_digest(&self) -> Digest {
        let parts: Vec<&[u8]> =
            self.sources.iter().flat_map(|source| [source.name.as_bytes(), source.text.as_bytes()]).collect();
        Digest::of_parts("countersign/policy-files/v1", &parts)
    }

    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The schema in Cedar's words: every name and attribute a policy may use.
    pub fn schema_text(&self) -> Option<String> {
        readable(&request_schema(&self.vocabulary))
    }

    /// Every policy, in the order of files and lines.
    pub fn rules(&self) -> impl Iterator<Item = RuleSummary> + '_ {
        self.rules.iter().map(|rule| rule.summary())
    }

    /// Whether some rule for this action looks at its body, which was not read: [`Bundle::decide`] would refuse, so
    /// the body must be bound first.
    pub fn needs_body(&self, action: &Action) -> bool {
        action.payload.body == Body::Unbound
            && self.actions.of(action).is_none_or(|known| known.rules.reads.body)
    }

    /// Whether some rule for what this action does looks at evidence, which was not gathered: what it says of rows would
    /// be missing.
    pub fn needs_evidence(&self, action: &Action) -> bool {
        action.evidence.is_none() && self.rules_for_all(action).any(|rules| rules.reads.evidence)
    }

    /// When what these policies permit is recorded: afterwards only if every one of them says so.
    pub fn recording(&self, basis: &Basis) -> Recording {
        let deferred = |id: &PolicyId| {
            let rule = self.rule(id.as_str());
            rule.is_some_and(|rule| matches!(rule.effect, Effect::Permit(Recording::Deferred)))
        };
        let all = basis.policies.iter().all(deferred);
        // What is kept of a result is never lost with a crash that came after its caller had it.
        if all && self.keeps(basis).is_none() && !basis.policies.is_empty() && basis.bundle == self.digest {
            Recording::Deferred
        } else {
            Recording::First
        }
    }

    /// How many bytes of the result the policies that let an action run want to be kept; the most any of them says.
    pub fn keeps(&self, basis: &Basis) -> Option<u64> {
        let rules = basis.policies.iter().filter_map(|id| self.rule(id.as_str()));
        rules.filter_map(|rule| rule.keeps).max()
    }

    /// Each thing that an action does, as these policies are asked about it, for whoever has to cover all of them. `None`:
    /// something of it is not known to them.
    pub fn effects(&self, action: &Action) -> Option<Vec<ticket::Effect>> {
        subject::done(self, action)
    }

    /// The rules for the action itself and for everything else that it does.
    fn rules_for_all<'a>(&'a self, action: &'a Action) -> impl Iterator<Item = &'a RuleSet> {
        let own = self.actions.of(action).into_iter();
        let effects = subject::effects(action).filter_map(|name| self.actions.named(&action.target, name));
        own.chain(effects).map(|known| &*known.rules)
    }

    /// Gates that fewer people could lift than must, as membership stands. People may be invited later, so these
    /// are warnings.
    pub fn unreachable_quorums(&self, membership: &Membership) -> Vec<PolicyWarning> {
        let mut warnings = Vec::new();
        for rule in &self.rules {
            let Effect::Gate(gate) = &rule.effect else { continue };
            let members = gate.approvers.groups.iter().filter_map(|group| membership.get(group)).flatten();
            let eligible: BTreeSet<&PersonId> = members.chain(&gate.approvers.people).collect();
            if eligible.len() < gate.quorum.get() as usize {
                let message = format!(
                    "gate `{}` of policy `{}` needs {} people and {} could approve",
                    gate.name,
                    rule.id,
                    gate.quorum,
                    eligible.len()
                );
                warnings.push(PolicyWarning { file: rule.file.clone(), position: rule.position, message });
            }
        }
        warnings
    }

    /// Gates that members of these groups can lift without anybody else. Where somebody else keeps the groups, whoever that is
    /// chooses who decides; another gate may bound it, so these are warnings.
    pub fn resting_on(&self, groups: &BTreeSet<GroupName>) -> Vec<PolicyWarning> {
        let mut warnings = Vec::new();
        for rule in &self.rules {
            let Effect::Gate(gate) = &rule.effect else { continue };
            let alone = gate.break_glass.iter().flat_map(|alone| &alone.groups);
            let named: BTreeSet<&GroupName> = gate.approvers.groups.iter().chain(alone).collect();
            let names: Vec<&str> =
                named.into_iter().filter(|group| groups.contains(*group)).map(GroupName::as_str).collect();
            if names.is_empty() {
                continue;
            }
            let message = format!(
                "gate `{}` of policy `{}` can be lifted by whoever is on call (`{}`) and nobody else: whoever edits the \
                 schedule chooses who that is, and no cooling-off time sees it; a second gate with a group that is kept \
                 here bounds it",
                gate.name,
                rule.id,
                names.join("`, `")
            );
            warnings.push(PolicyWarning { file: rule.file.clone(), position: rule.position, message });
        }
        warnings
    }

    /// Permits whose `@record("deferred")` holds for nothing that could ever be deferred: reads that a database guards. What
    /// they permit is recorded before it runs, as everything else, so these are warnings.
    pub fn idle_deferrals(&self) -> Vec<PolicyWarning> {
        let deferred = |rule: &&Arc<Rule>| matches!(rule.effect, Effect::Permit(Recording::Deferred));
        let idle = self.rules.iter().filter(deferred).filter(|rule| !self.defers(&rule.policy));
        let warning = |rule: &Arc<Rule>| {
            let message = format!(
                "`@record(\"deferred\")` of policy `{}` has no effect: only reads of databases (`sql.read`) can be \
                 recorded afterwards, and it permits none",
                rule.id
            );
            PolicyWarning { file: rule.file.clone(), position: rule.position, message }
        };
        idle.map(warning).collect()
    }

    /// Whether a policy can mean a read that a database guards, as far as its scope says.
    fn defers(&self, policy: &Policy) -> bool {
        let targets = self.vocabulary.targets.iter().filter(|(name, _)| !self.vocabulary.mcp.contains(*name));
        let mut meant = targets.filter(|(name, target)| match policy.resource_constraint() {
            ResourceConstraint::In(within) => {
                let within_id = within.id().unescaped();
                match within.type_name().basename() {
                    "Environment" => within_id == target.environment.as_str(),
                    "Target" => within_id == name.as_str(),
                    _ => true,
                }
            }
            ResourceConstraint::Any
            | ResourceConstraint::Eq(_)
            | ResourceConstraint::Is(_)
            | ResourceConstraint::IsIn(..) => true,
        });
        meant.any(|(name, _)| {
            let reads = sql::DEFERRABLE.iter().filter_map(|read| self.actions.named(name, read));
            reads.into_iter().any(|read| concerns(policy, &read.uid, &read.ancestors))
        })
    }

    pub(crate) fn rule(&self, id: &str) -> Option<&Arc<Rule>> {
        self.by_id.get(id)
    }
}

impl Rule {
    pub(crate) fn kind(&self) -> RuleKind {
        match self.effect {
            Effect::Permit(_) => RuleKind::Permit,
            Effect::Wall => RuleKind::Wall,
            Effect::Gate(_) => RuleKind::Gate,
            Effect::VoteWall => RuleKind::VoteWall,
        }
    }

    pub(crate) fn summary(&self) -> RuleSummary {
        let gate = match &self.effect {
            Effect::Gate(gate) => Some(gate.name.clone()),
            Effect::Permit(_) | Effect::Wall | Effect::VoteWall => None,
        };
        RuleSummary {
            id: self.id.clone(),
            kind: self.kind(),
            gate,
            reason: self.reason.clone(),
            file: self.file.clone(),
            position: self.position,
        }
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bundle")
            .field("digest", &self.digest)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

fn content(sources: &[Source], vocabulary: &Vocabulary) -> Result<Vec<u8>, PolicyError> {
    let content = Content {
        schema: request_schema(vocabulary),
        sources: sources.to_vec(),
        version: VOCABULARY_VERSION,
        vocabulary: vocabulary.clone(),
    };
    canonical::to_vec(&content)
        .map_err(|error| PolicyError::of_configuration(format!("the bundle has no canonical form: {error}")))
}
