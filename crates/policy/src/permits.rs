//! Which permits mean a caller, by their scope: what it may ask for, so that what it never does can be taken away.

use crate::{Bundle, RuleSummary, rules::Effect, schema::uid};
use cedar_policy::{EntityUid, Policy, PrincipalConstraint};
use countersign_core::{GroupName, PrincipalId, PrincipalKind};
use std::collections::BTreeSet;

impl Bundle {
    /// The permits whose scope means this caller, in the order of files and lines. Their conditions are not looked at, so
    /// one of them may never hold for it.
    pub fn permits_for(
        &self,
        kind: PrincipalKind,
        principal: PrincipalId,
        groups: &BTreeSet<GroupName>,
    ) -> Vec<RuleSummary> {
        let of_kind = match kind {
            PrincipalKind::Agent => &self.types.agent,
            PrincipalKind::Service => &self.types.service,
            PrincipalKind::Person => &self.types.person,
        };
        let own = uid(of_kind, principal.to_string());
        let groups: Vec<EntityUid> =
            groups.iter().map(|group| uid(&self.types.group, group.as_str())).collect();
        let within = |named: &EntityUid| *named == own || groups.contains(named);
        let means = |policy: &Policy| match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(named) => named == own,
            PrincipalConstraint::In(named) => within(&named),
            PrincipalConstraint::Is(kind) => kind == *of_kind,
            PrincipalConstraint::IsIn(kind, named) => kind == *of_kind && within(&named),
        };
        let permits = self.rules.iter().filter(|rule| matches!(rule.effect, Effect::Permit(_)));
        permits.filter(|rule| means(&rule.policy)).map(|rule| rule.summary()).collect()
    }
}
