//! The `[[route]]` sections of the configuration, checked against the names that are declared elsewhere.

use countersign_core::{ChannelName, Class, EnvironmentName, GroupName, TargetName};
use countersign_engine::outbox::{DAYS, Quiet, Rest, Route, Urgency, When};
use countersign_pep::{Fault, Span};
use serde::Deserialize;
use std::{collections::BTreeSet, time::Duration};

/// One route, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSection {
    pub name: String,
    /// Which approvals it is for; without it every one.
    #[serde(default)]
    pub when: WhenSection,
    /// Told from the beginning.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Told as well when nobody has decided for so long.
    #[serde(default)]
    pub escalate: Vec<StepSection>,
    /// Everybody who is told is told once more.
    pub remind: Option<Span>,
    /// `high`: everything it is for is told at once. `low`: it can wait for the times below.
    pub urgency: Option<String>,
    /// By whose clocks these are, such as `Europe/Berlin`; `UTC` unless said.
    pub zone: Option<String>,
    /// When people are left alone: `18:00-08:00`, `sat`.
    #[serde(default)]
    pub quiet: Vec<String>,
    /// When what waits is told together: `09:00`.
    #[serde(default)]
    pub digest_at: Vec<String>,
    /// The same by intervals.
    pub digest_every: Option<Span>,
}

/// Which approvals a route is for. Of each list that is there one name must fit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenSection {
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub gates: Vec<String>,
    #[serde(default)]
    pub targets: Vec<String>,
    #[serde(default)]
    pub environments: Vec<String>,
    #[serde(default)]
    pub classes: Vec<String>,
}

/// Further channels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSection {
    pub after: Span,
    pub channels: Vec<String>,
}

/// Names that are declared elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'d> {
    pub groups: &'d BTreeSet<GroupName>,
    pub targets: &'d BTreeSet<TargetName>,
    pub environments: &'d BTreeSet<EnvironmentName>,
    pub channels: &'d BTreeSet<ChannelName>,
}

/// Nobody is called more often.
const LEAST: Duration = Duration::from_mins(1);
/// And nothing is kept for longer.
const MOST: Duration = Duration::from_hours(24);
const TOO_SOON: &str = "people need a minute at least";

impl RouteSection {
    /// The route, or everything that is wrong with it.
    pub fn check(self, declared: Declared<'_>) -> Result<Route, Vec<Fault>> {
        let mut reading = Reading { place: format!("route.{}", self.name), faults: Vec::new() };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            let why = format!("`{}` cannot name a route", self.name);
            reading.tell("name", why, "use lower-case letters, digits and `-`");
        }
        let when = reading.when(&self.when, declared);
        let channels = reading.channels("channels", &self.channels, declared);
        let mut escalate = Vec::new();
        for (index, step) in self.escalate.iter().enumerate() {
            let key = format!("escalate[{index}]");
            if step.after.0 < LEAST {
                reading.tell(&format!("{key}.after"), TOO_SOON.into(), "write `1m` or more");
            }
            if step.channels.is_empty() {
                reading.tell(&format!("{key}.channels"), "this step tells nobody".into(), "name a channel");
            }
            let channels = reading.channels(&format!("{key}.channels"), &step.channels, declared);
            escalate.push((step.after.0, channels));
        }
        let remind = self.remind.map(|span| span.0);
        if remind.is_some_and(|span| span < LEAST) {
            reading.tell("remind", TOO_SOON.into(), "write `1m` or more");
        }
        if self.channels.is_empty() && self.escalate.is_empty() && remind.is_none() {
            reading.tell("channels", "this route tells nobody".into(), "name a channel, or take it out");
        }
        let urgency = reading.urgency(&self);
        let Reading { faults, .. } = reading;
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Route { name: self.name, when, channels, escalate, remind, urgency })
    }
}

/// What is read of one route, and what is wrong with it.
struct Reading {
    place: String,
    faults: Vec<Fault>,
}

impl Reading {
    fn tell(&mut self, key: &str, why: String, remedy: &str) {
        self.faults.push(Fault::new(format!("{}.{key}", self.place), why, remedy));
    }

    fn urgency(&mut self, section: &RouteSection) -> Urgency {
        let rest = self.rest(section);
        let has_times = !rest.quiet.is_empty() || !rest.at.is_empty() || rest.every_s.is_some();
        let said = has_times || section.zone.is_some();
        match section.urgency.as_deref() {
            Some("low") if has_times => return Urgency::Low(rest),
            Some("low") => {
                let remedy = "say when it is told, in `quiet`, `digest_at` or `digest_every`";
                self.tell("urgency", "it waits for nothing".into(), remedy);
            }
            Some("high") | None if said => {
                let why = "what this route is for does not wait".into();
                self.tell("urgency", why, "write `low`, or take the times out");
            }
            Some("high") => return Urgency::High,
            None => {}
            Some(other) => {
                self.tell("urgency", format!("`{other}` is not known"), "write `low` or `high`");
            }
        }
        Urgency::Unsaid
    }

    fn rest(&mut self, section: &RouteSection) -> Rest {
        let zone = section.zone.as_deref().unwrap_or("UTC");
        if !Rest::knows(zone) {
            let why = format!("there is no time zone `{}`", countersign_core::visible::name(zone));
            self.tell("zone", why, "name one of the IANA database, such as `Europe/Berlin`");
        }
        let mut rest = Rest { zone: zone.to_owned(), ..Rest::default() };
        for text in &section.quiet {
            if let Some(quiet) = quiet(text) {
                rest.quiet.insert(quiet);
            } else {
                let why = format!("`{}` is no such time", countersign_core::visible::name(text));
                self.tell("quiet", why, "write hours such as `18:00-08:00`, or a day such as `sat`");
            }
        }
        for text in &section.digest_at {
            if let Some(minute) = clock(text) {
                rest.at.insert(minute);
            } else {
                let why = format!("`{}` is no time of the day", countersign_core::visible::name(text));
                self.tell("digest_at", why, "write `09:00`");
            }
        }
        if section.digest_every.is_some_and(|span| span.0 < LEAST || span.0 > MOST) {
            self.tell("digest_every", "nobody waits so long, or so short".into(), "write `1m` to `24h`");
        }
        rest.every_s = section.digest_every.map(|span| span.0.as_secs());
        if rest.is_always_quiet() {
            self.tell("quiet", "nobody would ever be told".into(), "leave an hour of the week");
        } else if rest.is_never_told() {
            let why = "people are left alone at each of these times".into();
            self.tell("digest_at", why, "name a time outside `quiet`, or add `digest_every`");
        }
        rest
    }

    fn when(&mut self, when: &WhenSection, declared: Declared<'_>) -> When {
        When {
            groups: self.known("when.groups", &when.groups, declared.groups, "declare it in `people.groups`"),
            gates: self.parsed("when.gates", &when.gates, "write a gate's name, as in `@gate(…)`"),
            targets: self.known("when.targets", &when.targets, declared.targets, "name a target's section"),
            environments: self.known(
                "when.environments",
                &when.environments,
                declared.environments,
                "name an environment of a target",
            ),
            classes: self.parsed::<Class>("when.classes", &when.classes, "write a class, such as `delete`"),
        }
    }

    fn channels(&mut self, key: &str, names: &[String], declared: Declared<'_>) -> BTreeSet<ChannelName> {
        self.known(key, names, declared.channels, "name a `[[channel]]`")
    }

    /// Names that are declared.
    fn known<T: Ord + Clone + ToString>(
        &mut self,
        key: &str,
        names: &[String],
        declared: &BTreeSet<T>,
        remedy: &str,
    ) -> BTreeSet<T> {
        let mut found = BTreeSet::new();
        for name in names {
            match declared.iter().find(|known| known.to_string() == *name) {
                Some(known) => {
                    found.insert(known.clone());
                }
                None => self.tell(key, format!("there is no `{name}`"), remedy),
            }
        }
        found
    }

    fn parsed<T: Ord + std::str::FromStr>(
        &mut self,
        key: &str,
        names: &[String],
        remedy: &str,
    ) -> BTreeSet<T> {
        let mut found = BTreeSet::new();
        for name in names {
            match name.parse() {
                Ok(read) => {
                    found.insert(read);
                }
                Err(_) => self.tell(key, format!("there is no `{name}`"), remedy),
            }
        }
        found
    }
}

/// `18:00-08:00`, or `sat`.
fn quiet(text: &str) -> Option<Quiet> {
    if let Some(day) = DAYS.iter().position(|day| *day == text) {
        return u8::try_from(day).ok().map(|day| Quiet::Day { day });
    }
    let (from, to) = text.split_once('-')?;
    let (from, to) = (clock(from.trim())?, clock(to.trim())?);
    (from != to).then_some(Quiet::Hours { from, to })
}

/// Minutes after midnight.
fn clock(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let read = |text: &str, below: u16| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| plain && *number < below)
    };
    Some(read(hour, 24)? * 60 + read(minute, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn checked(section: RouteSection) -> Result<Route, Vec<String>> {
        let declared = Declared {
            groups: &["dba".parse().unwrap()].into(),
            targets: &["shop".parse().unwrap()].into(),
            environments: &["prod".parse().unwrap()].into(),
            channels: &["ops".parse().unwrap(), "leads".parse().unwrap()].into(),
        };
        let faults = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.place).collect();
        section.check(declared).map_err(faults)
    }

    fn section() -> RouteSection {
        let when = WhenSection {
            groups: names(&["dba"]),
            gates: names(&["deletes"]),
            targets: names(&["shop"]),
            environments: names(&["prod"]),
            classes: names(&["delete", "export"]),
        };
        let escalate =
            vec![StepSection { after: Span(Duration::from_mins(10)), channels: names(&["leads"]) }];
        let remind = Some(Span(Duration::from_mins(15)));
        RouteSection {
            name: "dba-prod".into(),
            when,
            channels: names(&["ops"]),
            escalate,
            remind,
            ..RouteSection::default()
        }
    }

    #[test]
    fn a_route_of_declared_names_is_read() {
        let route = checked(section()).unwrap();
        assert_eq!(route.when.classes, [Class::Delete, Class::Export].into());
        assert_eq!(route.channels, ["ops".parse().unwrap()].into());
        assert_eq!(route.escalate, [(Duration::from_mins(10), ["leads".parse().unwrap()].into())]);
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let step = |after, channels: &[&str]| StepSection { after: Span(after), channels: names(channels) };
        let wrong = RouteSection {
            name: "DBA".into(),
            when: WhenSection {
                groups: names(&["dbas"]),
                gates: names(&[""]),
                targets: names(&["shops"]),
                environments: names(&["dev"]),
                classes: names(&["destroy"]),
            },
            channels: names(&["op"]),
            escalate: vec![step(Duration::from_secs(59), &["leads"]), step(LEAST, &[])],
            remind: Some(Span(Duration::ZERO)),
            ..RouteSection::default()
        };
        let keys = [
            "name",
            "when.groups",
            "when.gates",
            "when.targets",
            "when.environments",
            "when.classes",
            "channels",
            "escalate[0].after",
            "escalate[1].channels",
            "remind",
        ];
        assert_eq!(checked(wrong), Err(keys.map(|key| format!("route.DBA.{key}")).to_vec()));
        let nobody = RouteSection { name: "none".into(), ..RouteSection::default() };
        assert_eq!(checked(nobody), Err(vec!["route.none.channels".to_owned()]));
    }

    #[test]
    fn what_can_wait_says_for_what() {
        let low = RouteSection {
            urgency: Some("low".into()),
            zone: Some("Europe/Berlin".into()),
            quiet: names(&["18:00-08:00", "sat", "sun"]),
            digest_at: names(&["09:00", "14:30"]),
            digest_every: Some(Span(Duration::from_hours(2))),
            ..section()
        };
        let Urgency::Low(rest) = checked(low).unwrap().urgency else { panic!("it can wait") };
        let says = "quiet 18:00-08:00, sat, sun; together at 09:00, 14:30; together every 2 h; Europe/Berlin";
        assert_eq!(rest.to_string(), says);
        assert_eq!(
            checked(RouteSection { urgency: Some("high".into()), ..section() }).unwrap().urgency,
            Urgency::High
        );
        let low = || RouteSection { urgency: Some("low".into()), ..section() };
        let early = RouteSection { digest_at: names(&["07:00"]), quiet: names(&["18:00-08:00"]), ..low() };
        let every = Some(Span(Duration::from_hours(2)));
        assert!(checked(RouteSection { digest_every: every, ..early.clone() }).is_ok());
        let noon = names(&["07:00", "12:00"]);
        assert!(checked(RouteSection { digest_at: noon, ..early }).is_ok());
        let quiet = |quiet: &[&str]| RouteSection { quiet: names(quiet), ..low() };
        for (section, keys) in [
            (low(), vec!["urgency"]),
            (RouteSection { urgency: Some("medium".into()), ..section() }, vec!["urgency"]),
            (RouteSection { urgency: None, ..quiet(&["sat"]) }, vec!["urgency"]),
            (RouteSection { urgency: Some("high".into()), ..quiet(&["sat"]) }, vec!["urgency"]),
            (RouteSection { zone: Some("UTC".into()), ..section() }, vec!["urgency"]),
            (RouteSection { zone: Some("Mars/Olympus".into()), ..quiet(&["sat"]) }, vec!["zone"]),
            (quiet(&["saturday", "8:00-09:00", "24:00-08:00", "08:00-08:00", "sun"]), vec!["quiet"; 4]),
            (quiet(&DAYS), vec!["quiet"]),
            (quiet(&["00:00-12:00", "12:00-00:00"]), vec!["quiet"]),
            (RouteSection { digest_at: names(&["07:00"]), ..quiet(&["18:00-08:00"]) }, vec!["digest_at"]),
            (RouteSection { digest_at: names(&["9", "25:00"]), ..quiet(&["sat"]) }, vec!["digest_at"; 2]),
            (RouteSection { digest_every: Some(Span(Duration::ZERO)), ..low() }, vec!["digest_every"]),
        ] {
            let want = keys.into_iter().map(|key| format!("route.dba-prod.{key}")).collect();
            let said = format!("{section:?}");
            assert_eq!(checked(section), Err(want), "{said}");
        }
    }
}
