//! The `[[on_call]]` sections: groups that are whoever is on call by somebody else's schedule.

use super::{Mistake, checked_targets, unlike};
use countersign_core::GroupName;
use countersign_identity::Provider;
use countersign_reviewer::{OnCallSection, Roster};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Every schedule, checked. A group has one who speaks for it.
pub(super) fn check(
    sections: Vec<(usize, OnCallSection)>,
    folder: &Path,
    groups: &BTreeSet<GroupName>,
    (scim, providers): (&BTreeMap<String, GroupName>, &[Provider]),
    mistakes: &mut Vec<Mistake>,
) -> Vec<Roster> {
    unlike(sections.iter().map(|(number, section)| (*number, &*section.name)), "on_call", mistakes);
    let mut spoken_for: BTreeSet<GroupName> = scim.values().cloned().collect();
    spoken_for.extend(providers.iter().flat_map(|provider| provider.groups.values().cloned()));
    let rosters = checked_targets(sections, |section| section.check(folder, groups), mistakes);
    let mut checked = Vec::new();
    for (number, roster) in rosters {
        if !spoken_for.insert(roster.group.clone()) {
            let why = format!("somebody else says who is in `{}` already", roster.group);
            let hint = "give each schedule a group of its own, which no provider and no directory speaks for";
            let place = format!("on_call.{}.group", roster.name);
            mistakes.push(Mistake { item: Some(number), ..Mistake::new(place, why, hint) });
        }
        checked.push(roster);
    }
    checked
}

/// The groups that are whoever is on call.
pub(super) fn groups(rosters: &[Roster]) -> BTreeSet<GroupName> {
    rosters.iter().map(|roster| roster.group.clone()).collect()
}
