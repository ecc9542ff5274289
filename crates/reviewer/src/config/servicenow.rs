//! A channel of kind `servicenow`.

use super::{
    ChannelSection, Common, Made, Speaks, beforehand,
    jira::{checked, every},
    teams::base,
};
use crate::{
    servicenow::{Api, Records, ServiceNow},
    ticket::{Calls, Ticketing, Watch},
};
use countersign_engine::port::ticket::Tickets;
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;

const TABLE: &str = "change_request";
/// The values of `state` of records that may be carried out: of a change, scheduled and being implemented.
const IN_PLACE: [(&str, &[&str]); 1] = [("change_request", &["-2", "-1"])];
/// The value of `state` that closes a record of each table, where it is always the same.
const CLOSED: [(&str, &str); 2] = [("change_request", "3"), ("incident", "7")];
const SITE_REMEDY: &str = "write the instance's address, such as `https://example.service-now.com`";
const USER_REMEDY: &str = "write the user name of the account that the password belongs to";
const TABLE_REMEDY: &str = "write the name of a table that extends `task`, such as `change_request`";
const STATE_REMEDY: &str = "write values of `state`, such as `-2`";
const CLOSED_REMEDY: &str = "write the value of `state` that closes a record of the table, such as `3`";

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own = [
        "site",
        "user",
        "password_from",
        "table",
        "closed",
        "decides",
        "poll_every",
        "preapproves",
        "preapproved_in",
        "preapproved_for",
    ];
    section.foreign(&own, common, faults);
    let password = common
        .needed("password_from", section.password_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("password_from", text));
    let password = kept(password, faults);
    let user = common.needed("user", section.user.as_ref(), USER_REMEDY);
    let user = kept(user.and_then(|text| checked("user", text, is_user, USER_REMEDY, common)), faults);
    let table = section.table.as_deref().unwrap_or(TABLE);
    let table = kept(checked("table", table, is_table, TABLE_REMEDY, common), faults);
    let known =
        CLOSED.iter().find(|(of, _)| table.as_deref() == Some(*of)).map(|(_, closed)| (*closed).to_owned());
    let closed = section.closed.clone().or(known);
    let closed = common.needed("closed", closed.as_ref(), CLOSED_REMEDY);
    let closed =
        kept(closed.and_then(|text| checked("closed", text, is_state, CLOSED_REMEDY, common)), faults);
    let every = every(section, common, faults);
    let decides = section.decides.unwrap_or(false);
    if !decides && section.poll_every.is_some() {
        let remedy = "set `decides = true`, or take it out";
        faults.push(common.fault("poll_every", "nobody decides there", remedy));
    }
    let known = IN_PLACE.iter().find(|(of, _)| table.as_deref() == Some(*of)).map(|(_, places)| *places);
    let places = known.unwrap_or_default();
    let beforehand = beforehand::check(section, common, places, (is_state, STATE_REMEDY), faults);
    if section.preapproves.unwrap_or(false) && places.is_empty() && section.preapproved_in.is_none() {
        let remedy = "write the values of `state` of records that may be carried out";
        faults.push(common.fault("preapproved_in", "it is needed for this table", remedy));
    }
    let site = common.needed("site", section.site.as_ref(), SITE_REMEDY);
    let site = kept(site.and_then(|text| base("site", text, section.ca.as_ref(), common)), faults);
    let ((password, user), (table, closed)) = password.zip(user).zip(table.zip(closed))?;
    let (outward, path) = site?;
    let place = format!("{}, {table}", outward.origin);
    let servicenow = ServiceNow { api: Api(Calls::new((outward, path), user, password)), table, closed };
    let records =
        |beforehand| Arc::new(Records { servicenow: servicenow.clone(), beforehand }) as Arc<dyn Tickets>;
    let preapproves = beforehand.is_some();
    let vouches = beforehand.map(records);
    let speaks = match common.name.clone().filter(|_| decides) {
        Some(name) => Speaks::Watched(Watch::new(Arc::new(servicenow.clone()), name, every)),
        None => Speaks::Never,
    };
    let (tickets, room, give_up_after) = (servicenow, common.room, common.give_up_after);
    let ticketing = Ticketing { tickets, room, give_up_after, decides, preapproves };
    Some(Made { kind: "servicenow", place, tell: Arc::new(ticketing), speaks, vouches })
}

/// It stands before the colon of a login, and in queries.
fn is_user(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'^'))
}

/// It stands in paths and in queries.
fn is_table(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=80).contains(&text.len()) && text.bytes().all(plain)
}

fn is_state(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=40).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_pep::Span;
    use std::{path::Path, time::Duration};

    fn section() -> ChannelSection {
        ChannelSection {
            name: "changes".into(),
            kind: "servicenow".into(),
            site: Some("https://example.service-now.com".into()),
            user: Some("countersign".into()),
            password_from: Some("env:PASSWORD".into()),
            ..ChannelSection::default()
        }
    }

    #[test]
    fn it_goes_to_one_table_where_nobody_on_the_way_can_read_it() {
        let made = section().check(Path::new("/")).unwrap();
        let place = "https://example.service-now.com, change_request";
        assert_eq!((made.spec().kind, &*made.spec().place), ("servicenow", place));
        assert!(matches!(made.speaks(), Speaks::Never));
        let decides = ChannelSection { decides: Some(true), ..section() }.check(Path::new("/")).unwrap();
        assert!(decides.speaks().watch().is_some());
        for (change, wrong) in [
            ((|one| one.table = Some("incident".into())) as fn(&mut ChannelSection), None),
            (|one| one.table = Some("u_approval".into()), Some("closed")),
            (|one| (one.table, one.closed) = (Some("u_approval".into()), Some("3".into())), None),
            (
                |one| (one.table, one.closed) = (Some("task^active=true".into()), Some("3".into())),
                Some("table"),
            ),
            (|one| one.closed = Some("3^ORactive=true".into()), Some("closed")),
            (|one| one.site = Some("http://example.service-now.com".into()), Some("site")),
            (|one| one.site = None, Some("site")),
            (|one| one.user = Some("a^ORuser_name=b".into()), Some("user")),
            (|one| one.user = Some("a:hunter2".into()), Some("user")),
            (|one| one.password_from = Some("hunter2".into()), Some("password_from")),
            (|one| one.poll_every = Some(Span(Duration::from_secs(5))), Some("poll_every")),
            (|one| (one.decides, one.poll_every) = (Some(true), Some(Span(Duration::from_secs(5)))), None),
            (|one| one.project = Some("OPS".into()), Some("project")),
            (|one| one.preapproves = Some(true), None),
            (|one| one.preapproved_for = Some(Span(Duration::from_secs(5))), Some("preapproved_for")),
            (
                |one| (one.preapproves, one.preapproved_in) = (Some(true), Some(vec!["1^x".into()])),
                Some("preapproved_in"),
            ),
            (
                |one| (one.preapproves, one.preapproved_types) = (Some(true), Some(vec!["x".into()])),
                Some("preapproved_types"),
            ),
            (
                |one| (one.preapproves, one.table) = (Some(true), Some("incident".into())),
                Some("preapproved_in"),
            ),
        ] {
            let mut section = section();
            change(&mut section);
            let faults = section.check(Path::new("/")).err().unwrap_or_default();
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
            let places: Vec<_> = faults.into_iter().map(|fault| fault.place).collect();
            let want: Vec<_> = wrong.map(|key| format!("channel.changes.{key}")).into_iter().collect();
            assert_eq!(places, want);
        }
    }
}
