//! A channel of kind `opsgenie`.

use super::{ChannelSection, Common, Made, Speaks};
use crate::paging::{
    Paging,
    opsgenie::{Opsgenie, Priority, Responder},
};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;

pub(super) const API: &str = "https://api.opsgenie.com";
const PRIORITY_REMEDY: &str = "write `P1` to `P5`";
const RESPONDER_REMEDY: &str =
    "write `team:NAME`, `user:ADDRESS`, `schedule:NAME` or `escalation:NAME`, or `team:id:ID`";
/// As many as Opsgenie takes.
const RESPONDERS: usize = 50;

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    section.foreign(&["api_key_from", "priority", "responders", "api"], common, faults);
    if section.show.is_some_and(|show| show > 0) {
        let why = "a page shows no bytes";
        faults.push(common.fault("show", why, "take it out: the link leads to all of it"));
    }
    let api_key = common
        .needed("api_key_from", section.api_key_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("api_key_from", text));
    let api_key = kept(api_key, faults);
    let priority = section.priority.as_deref().map_or(Ok(Priority::P3), |text| {
        let unknown = || common.fault("priority", format!("`{text}` is not known"), PRIORITY_REMEDY);
        Priority::read(text).ok_or_else(unknown)
    });
    let priority = kept(priority, faults);
    let responders = section.responders.iter().flatten().map(|text| {
        let unknown = || common.fault("responders", format!("`{text}` is nobody"), RESPONDER_REMEDY);
        Responder::read(text).ok_or_else(unknown)
    });
    let responders: Vec<Responder> = responders.filter_map(|one| kept(one, faults)).collect();
    if responders.len() > RESPONDERS {
        let why = format!("{} responders are more than Opsgenie takes", responders.len());
        faults.push(common.fault("responders", why, "name at most 50, or a team"));
    }
    let api = common.outward("api", section.api.as_deref().unwrap_or(API), section.ca.as_ref());
    let api = api.and_then(|(outward, path)| {
        if path.contains('?') || path.trim_end_matches('/').ends_with("/v2") {
            let remedy = "write what stands before `/v2`, such as `https://api.eu.opsgenie.com`";
            return Err(common.fault("api", "this is not where the API begins", remedy));
        }
        Ok((outward, path.trim_end_matches('/').to_owned()))
    });
    let ((outward, path), (api_key, priority)) = kept(api, faults).zip(api_key.zip(priority))?;
    let place = outward.origin.to_string();
    let give_up_after = common.give_up_after;
    let pager = Opsgenie { outward, path, api_key, priority, responders };
    let tell = Arc::new(Paging { pager, give_up_after });
    Some(Made { kind: "opsgenie", place, tell, speaks: Speaks::Never, vouches: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn section() -> ChannelSection {
        ChannelSection {
            name: "on-call".into(),
            kind: "opsgenie".into(),
            api_key_from: Some("env:KEY".into()),
            ..ChannelSection::default()
        }
    }

    #[test]
    fn it_goes_to_opsgenie_or_where_nobody_on_the_way_can_read_it() {
        let made = section().check(Path::new("/")).unwrap();
        assert_eq!((made.spec().kind, &*made.spec().place), ("opsgenie", "https://api.opsgenie.com"));
        assert!(matches!(made.speaks(), Speaks::Never));
        let with = |change: fn(&mut ChannelSection)| {
            let mut section = section();
            change(&mut section);
            let faults = section.check(Path::new("/")).err().unwrap_or_default();
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
            faults.into_iter().map(|fault| fault.place).collect::<Vec<_>>()
        };
        for (change, wrong) in [
            ((|one| one.api = Some("https://api.eu.opsgenie.com".into())) as fn(&mut ChannelSection), None),
            (|one| one.api = Some("https://api.atlassian.com/jsm/ops/integration/".into()), None),
            (|one| one.priority = Some("P1".into()), None),
            (|one| one.responders = Some(vec!["team:dba".into(), "user:ana@example.com".into()]), None),
            (|one| one.show = Some(0), None),
            (|one| one.show = Some(80), Some("show")),
            (|one| one.priority = Some("p1".into()), Some("priority")),
            (|one| one.responders = Some(vec!["dba".into()]), Some("responders")),
            (|one| one.responders = Some(vec!["team:dba".into(); 51]), Some("responders")),
            (|one| one.api = Some("http://api.opsgenie.com".into()), Some("api")),
            (|one| one.api = Some("https://api.opsgenie.com/v2/".into()), Some("api")),
            (|one| one.api = Some("https://api.opsgenie.com?x=y".into()), Some("api")),
            (|one| one.api_key_from = Some("hunter2".into()), Some("api_key_from")),
            (|one| one.api_key_from = None, Some("api_key_from")),
            (|one| one.severity = Some("critical".into()), Some("severity")),
        ] {
            let want: Vec<_> = wrong.map(|key| format!("channel.on-call.{key}")).into_iter().collect();
            assert_eq!(with(change), want);
        }
    }
}
