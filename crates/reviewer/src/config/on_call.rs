//! The `[[on_call]]` sections: schedules of others, and the groups of those who are on call by them.

use super::{Common, opsgenie::API as OPSGENIE};
use crate::{
    message::Room,
    paging::on_call::{Roster, Vendor},
};
use countersign_core::GroupName;
use countersign_pep::{Fault, NOT_A_REFERENCE, Span, kept};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

const PAGERDUTY: &str = "https://api.pagerduty.com";
const EVERY: Duration = Duration::from_mins(1);
const HOLDS_FOR: Duration = Duration::from_mins(10);
const TIME_LIMIT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_hours(1);

/// One schedule, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnCallSection {
    pub name: String,
    /// `pagerduty` or `opsgenie`.
    pub kind: String,
    /// The group that is whoever is on call, and nobody else.
    pub group: String,
    /// The schedule's id.
    pub schedule: String,
    /// `env:NAME` or `file:PATH`: an API token that may read the schedule.
    pub token_from: Option<String>,
    /// Where the vendor's API is, if not in the United States.
    pub api: Option<String>,
    pub ca: Option<PathBuf>,
    /// How often it is asked.
    pub every: Option<Span>,
    /// How long the last answer holds while it does not answer.
    pub holds_for: Option<Span>,
}

impl OnCallSection {
    /// The roster, or everything that is wrong with it. Relative paths start at `folder`; the group is one of those declared.
    pub fn check(self, folder: &Path, groups: &BTreeSet<GroupName>) -> Result<Roster, Vec<Fault>> {
        let mut faults = Vec::new();
        let common = Common {
            place: format!("on_call.{}", self.name),
            name: None,
            folder,
            room: Room { characters: None },
            time_limit: TIME_LIMIT,
            give_up_after: Duration::ZERO,
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            let why = format!("`{}` cannot name a schedule", self.name);
            faults.push(common.fault("name", why, "use lower-case letters, digits and `-`"));
        }
        let vendor = match self.kind.as_str() {
            "pagerduty" => Ok(Vendor::PagerDuty),
            "opsgenie" => Ok(Vendor::Opsgenie),
            other => {
                let why = format!("`{other}` is nobody whose schedules are read");
                Err(common.fault("kind", why, "write `pagerduty` or `opsgenie`"))
            }
        };
        let vendor = kept(vendor, &mut faults);
        let group = groups.iter().find(|group| group.as_str() == self.group).cloned();
        let group = group.ok_or_else(|| {
            common.fault(
                "group",
                format!("there is no group `{}`", self.group),
                "declare it in `people.groups`",
            )
        });
        let group = kept(group, &mut faults);
        let id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=64).contains(&self.schedule.len()) || !self.schedule.bytes().all(id) {
            let why = format!("`{}` is no schedule's id", self.schedule);
            faults.push(common.fault("schedule", why, "write the id at the end of the schedule's address"));
        }
        let token = common
            .needed("token_from", self.token_from.as_ref(), NOT_A_REFERENCE)
            .and_then(|text| common.secret("token_from", text));
        let token = kept(token, &mut faults);
        let (every, holds_for) =
            (self.every.map_or(EVERY, |span| span.0), self.holds_for.map_or(HOLDS_FOR, |span| span.0));
        if !(Duration::from_secs(1)..=LONGEST).contains(&every) {
            faults.push(common.fault("every", "it is not from `1s` to `1h`", "leave it out for `1m`"));
        }
        if holds_for < every || holds_for > 24 * LONGEST {
            let why = "it is shorter than `every`, or longer than a day";
            faults.push(common.fault("holds_for", why, "leave it out for `10m`"));
        }
        let usual = if vendor == Some(Vendor::Opsgenie) { OPSGENIE } else { PAGERDUTY };
        let api = common.outward("api", self.api.as_deref().unwrap_or(usual), self.ca.as_ref());
        let api = api.and_then(|(outward, path)| {
            if path.contains('?') {
                return Err(common.fault("api", "this has a query", "write where the API begins"));
            }
            Ok((outward, path.trim_end_matches('/').to_owned()))
        });
        let api = kept(api, &mut faults);
        let (Some((vendor, group)), Some((token, (outward, path))), true) =
            (vendor.zip(group), token.zip(api), faults.is_empty())
        else {
            return Err(faults);
        };
        let (name, schedule) = (self.name, self.schedule);
        Ok(Roster { name, group, every, holds_for, vendor, outward, path, token, schedule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> OnCallSection {
        OnCallSection {
            name: "night".into(),
            kind: "pagerduty".into(),
            group: "on-call".into(),
            schedule: "PI7DH85".into(),
            token_from: Some("env:TOKEN".into()),
            ..OnCallSection::default()
        }
    }

    #[test]
    fn a_schedule_is_asked_for_where_nobody_on_the_way_can_read_it() {
        let groups: BTreeSet<GroupName> = ["on-call".parse().unwrap()].into();
        let span = |seconds| Some(Span(Duration::from_secs(seconds)));
        let roster = section().check(Path::new("/"), &groups).unwrap();
        assert_eq!((roster.every, roster.holds_for), (EVERY, HOLDS_FOR));
        assert_eq!(roster.outward.origin.to_string(), PAGERDUTY);
        let opsgenie = OnCallSection { kind: "opsgenie".into(), ..section() };
        assert_eq!(opsgenie.check(Path::new("/"), &groups).unwrap().outward.origin.to_string(), OPSGENIE);
        for (wrong, key) in [
            (OnCallSection { name: "Night".into(), ..section() }, "name"),
            (OnCallSection { kind: "pigeon".into(), ..section() }, "kind"),
            (OnCallSection { group: "dba".into(), ..section() }, "group"),
            (OnCallSection { schedule: "P/../users".into(), ..section() }, "schedule"),
            (OnCallSection { schedule: String::new(), ..section() }, "schedule"),
            (OnCallSection { token_from: None, ..section() }, "token_from"),
            (OnCallSection { token_from: Some("hunter2".into()), ..section() }, "token_from"),
            (OnCallSection { api: Some("http://api.pagerduty.com".into()), ..section() }, "api"),
            (OnCallSection { api: Some("https://api.pagerduty.com?x".into()), ..section() }, "api"),
            (OnCallSection { every: span(0), ..section() }, "every"),
            (OnCallSection { every: span(7200), holds_for: span(7200), ..section() }, "every"),
            (OnCallSection { holds_for: span(30), ..section() }, "holds_for"),
        ] {
            let place = format!("on_call.{}.{key}", wrong.name);
            let faults = wrong.check(Path::new("/"), &groups).unwrap_err();
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
            let places: Vec<_> = faults.into_iter().map(|fault| fault.place).collect();
            assert_eq!(places, [place]);
        }
    }
}
