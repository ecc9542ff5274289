//! A channel of kind `pagerduty`.

use super::{ChannelSection, Common, Made, Speaks};
use crate::paging::{
    Paging,
    pagerduty::{PagerDuty, Severity},
};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;

const API: &str = "https://events.pagerduty.com/v2/enqueue";
const SEVERITY_REMEDY: &str = "write `critical`, `error`, `warning` or `info`";

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    section.foreign(&["routing_key_from", "severity", "api"], common, faults);
    if section.show.is_some_and(|show| show > 0) {
        let why = "a page shows no bytes";
        faults.push(common.fault("show", why, "take it out: the link leads to all of it"));
    }
    let routing_key = common
        .needed("routing_key_from", section.routing_key_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("routing_key_from", text));
    let routing_key = kept(routing_key, faults);
    let severity = section.severity.as_deref().map_or(Ok(Severity::Error), |text| {
        let unknown = || common.fault("severity", format!("`{text}` is not known"), SEVERITY_REMEDY);
        Severity::read(text).ok_or_else(unknown)
    });
    let severity = kept(severity, faults);
    let api = section.api.as_deref().unwrap_or(API);
    let api = common.outward("api", api, section.ca.as_ref()).and_then(|(outward, path)| {
        if path.contains('?') {
            let remedy = "write where events are taken, such as `https://events.eu.pagerduty.com/v2/enqueue`";
            return Err(common.fault("api", "this has a query", remedy));
        }
        Ok((outward, path))
    });
    let ((outward, path), (routing_key, severity)) = kept(api, faults).zip(routing_key.zip(severity))?;
    let place = outward.origin.to_string();
    let give_up_after = common.give_up_after;
    let pager = PagerDuty { outward, path, routing_key, severity };
    let tell = Arc::new(Paging { pager, give_up_after });
    Some(Made { kind: "pagerduty", place, tell, speaks: Speaks::Never, vouches: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn section() -> ChannelSection {
        ChannelSection {
            name: "on-call".into(),
            kind: "pagerduty".into(),
            routing_key_from: Some("env:KEY".into()),
            ..ChannelSection::default()
        }
    }

    #[test]
    fn it_goes_to_pagerduty_or_where_nobody_on_the_way_can_read_it() {
        let made = section().check(Path::new("/")).unwrap();
        assert_eq!((made.spec().kind, &*made.spec().place), ("pagerduty", "https://events.pagerduty.com"));
        assert!(matches!(made.speaks(), Speaks::Never));
        let with = |change: fn(&mut ChannelSection)| {
            let mut section = section();
            change(&mut section);
            let faults = section.check(Path::new("/")).err().unwrap_or_default();
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
            faults.into_iter().map(|fault| fault.place).collect::<Vec<_>>()
        };
        for (change, wrong) in [
            (
                (|one| one.api = Some("https://events.eu.pagerduty.com/v2/enqueue".into()))
                    as fn(&mut ChannelSection),
                None,
            ),
            (|one| one.severity = Some("critical".into()), None),
            (|one| one.show = Some(0), None),
            (|one| one.show = Some(80), Some("show")),
            (|one| one.severity = Some("high".into()), Some("severity")),
            (|one| one.api = Some("http://events.pagerduty.com/v2/enqueue".into()), Some("api")),
            (|one| one.api = Some("https://events.pagerduty.com/v2/enqueue?x=y".into()), Some("api")),
            (|one| one.routing_key_from = Some("hunter2".into()), Some("routing_key_from")),
            (|one| one.routing_key_from = None, Some("routing_key_from")),
            (|one| one.token_from = Some("env:TOKEN".into()), Some("token_from")),
        ] {
            let want: Vec<_> = wrong.map(|key| format!("channel.on-call.{key}")).into_iter().collect();
            assert_eq!(with(change), want);
        }
    }
}
