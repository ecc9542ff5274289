//! The `[[channel]]` sections beside each other: names of their own, an app's connections for one alone, and people where they
//! are bound.

use super::{Mistake, checked_targets, unlike};
use countersign_core::{ChannelName, GroupName};
use countersign_reviewer::{ChannelConfig, ChannelSection, Speaks, Writes};
use std::{collections::BTreeSet, path::Path};

/// The channels that can be used, each with a name of its own.
pub(super) fn checked(
    sections: Vec<(usize, ChannelSection)>,
    folder: &Path,
    groups: &BTreeSet<GroupName>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<ChannelConfig> {
    unlike(sections.iter().map(|(number, section)| (*number, &*section.name)), "channel", mistakes);
    one_account(&sections, mistakes);
    let mut apps = BTreeSet::new();
    for (number, section) in &sections {
        if section.app_token_from.as_ref().is_some_and(|token| !apps.insert(token.clone())) {
            let place = format!("channel.{}.app_token_from", section.name);
            let why = "another channel connects with this token: Slack would hand in to either what is meant for one";
            let mistake = Mistake::new(place, why, "give each channel an app of its own");
            mistakes.push(Mistake { item: Some(*number), ..mistake });
        }
    }
    let channels = checked_targets(sections, |section| section.check(folder), mistakes);
    let hears = |name: &ChannelName| {
        let mut all = channels.iter().map(|(_, channel)| channel);
        let known = all.find(|channel| channel.spec().name == *name);
        known.is_some_and(|known| matches!(known.speaks(), Speaks::Slack(_) | Speaks::Socket(_)))
    };
    for (number, channel) in &channels {
        if let Writes::ToUsersOf(other) = channel.tell().writes()
            && !hears(&other)
        {
            let place = format!("channel.{}.people_of", channel.spec().name);
            let why = format!("`{other}` is no channel of kind `slack` in which people decide");
            let mistake = Mistake::new(place, why, "name the one of the same app, and let it hear its users");
            mistakes.push(Mistake { item: Some(*number), ..mistake });
        }
    }
    for (number, channel) in &channels {
        for group in channel.tell().groups().into_iter().flatten().filter(|group| !groups.contains(*group)) {
            let place = format!("channel.{}.groups", channel.spec().name);
            let mistake = Mistake::new(
                place,
                format!("`{group}` is declared nowhere"),
                "declare it in `people.groups`",
            );
            mistakes.push(Mistake { item: Some(*number), ..mistake });
        }
    }
    let mut told = channels.iter().filter(|(_, channel)| channel.push().is_some());
    // People add their devices to the gateway, not to a channel.
    if let (Some((_, first)), Some((number, second))) = (told.next(), told.next()) {
        let why = format!("`{}` tells people's devices already", first.spec().name);
        let remedy = "have one channel of kind `push`, and name it wherever devices are to be told";
        let mistake = Mistake::new(format!("channel.{}.kind", second.spec().name), why, remedy);
        mistakes.push(Mistake { item: Some(*number), ..mistake });
    }
    channels.into_iter().map(|(_, channel)| channel).collect()
}

/// Where tickets count beforehand, every channel has one account: what another one wrote would pass for somebody's own.
fn one_account(sections: &[(usize, ChannelSection)], mistakes: &mut Vec<Mistake>) {
    let site = |one: &ChannelSection| one.site.as_ref().map(|site| site.trim_end_matches('/').to_lowercase());
    for (number, section) in sections.iter().filter(|(_, one)| one.preapproves == Some(true)) {
        let other = |(_, one): &&(usize, ChannelSection)| {
            one.kind == section.kind && site(one) == site(section) && one.user != section.user
        };
        if let Some((_, other)) = sections.iter().find(other) {
            let why = format!("`{}` writes tickets there in another account's name", other.name);
            let hint = "use one account for all channels of a site";
            mistakes.push(Mistake { item: Some(*number), ..Mistake::new("channel.user", why, hint) });
        }
    }
}
