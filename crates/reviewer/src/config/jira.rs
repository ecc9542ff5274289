//! A channel of kind `jira`.

use super::{ChannelSection, Common, Made, Speaks, beforehand, teams::base};
use crate::{
    jira::{Api, Door, Issues, Jira, Statuses},
    slack::Signing,
    ticket::{Calls, Ticketing, Watch},
};
use countersign_engine::port::ticket::Tickets;
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::{sync::Arc, time::Duration};

const ISSUE_TYPE: &str = "Task";
const WAITING: &str = "To Do";
const APPROVED: &str = "Approved";
const REJECTED: &str = "Rejected";
const CLOSED: &str = "Done";
/// How often it is looked at who decided: usually, at most, at least.
const EVERY: Duration = Duration::from_secs(30);
const MOST_OFTEN: Duration = Duration::from_secs(1);
const LEAST_OFTEN: Duration = Duration::from_hours(1);
const SITE_REMEDY: &str = "write the site's address, such as `https://example.atlassian.net`";
const USER_REMEDY: &str = "write the e-mail address of the account that the token belongs to";
const PROJECT_REMEDY: &str = "write the project's key, such as `OPS`";
const NAME_REMEDY: &str = "write its name as Jira shows it";
/// The longest name of a type or a status.
const NAME: usize = 60;

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own = [
        "site",
        "user",
        "token_from",
        "project",
        "issue_type",
        "closed",
        "decides",
        "waiting",
        "approved",
        "rejected",
        "poll_every",
        "preapproves",
        "preapproved_in",
        "preapproved_types",
        "preapproved_for",
        "signing_secret_from",
        "previous_signing_secret_from",
    ];
    section.foreign(&own, common, faults);
    let token = common
        .needed("token_from", section.token_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("token_from", text));
    let token = kept(token, faults);
    let user = common.needed("user", section.user.as_ref(), USER_REMEDY);
    let user = kept(user.and_then(|text| checked("user", text, is_account, USER_REMEDY, common)), faults);
    let project = common.needed("project", section.project.as_ref(), PROJECT_REMEDY);
    let project =
        kept(project.and_then(|text| checked("project", text, is_key, PROJECT_REMEDY, common)), faults);
    let issue_type = section.issue_type.as_deref().unwrap_or(ISSUE_TYPE);
    let issue_type = kept(checked("issue_type", issue_type, is_name, NAME_REMEDY, common), faults);
    let statuses = statuses(section, common, faults);
    let deciding = deciding(section, common, faults);
    let beforehand = beforehand::check(section, common, &[], (is_name, NAME_REMEDY), faults);
    let site = common.needed("site", section.site.as_ref(), SITE_REMEDY);
    let site = kept(site.and_then(|text| base("site", text, section.ca.as_ref(), common)), faults);
    let ((token, user), (project, (issue_type, statuses))) =
        token.zip(user).zip(project.zip(issue_type.zip(statuses)))?;
    let (outward, path) = site?;
    let place = format!("{}, {project}", outward.origin);
    let api = Api(Calls::new((outward, path), user, token));
    let jira = Jira { api, project, issue_type, statuses, account: Arc::default() };
    let issues = |beforehand| Arc::new(Issues { jira: jira.clone(), beforehand }) as Arc<dyn Tickets>;
    let vouches = beforehand.map(issues);
    let speaks = match common.name.clone().zip(deciding) {
        Some((name, Deciding { every, signing })) => {
            let watch = Watch::new(Arc::new(jira.clone()), name.clone(), every);
            Speaks::Jira(Box::new(Door::new(watch, name, signing)))
        }
        None => Speaks::Never,
    };
    let decides = !matches!(speaks, Speaks::Never);
    let ticketing = Ticketing {
        tickets: jira,
        room: common.room,
        give_up_after: common.give_up_after,
        decides,
        preapproves: false,
    };
    Some(Made { kind: "jira", place, tell: Arc::new(ticketing), speaks, vouches })
}

/// The statuses of the workflow, of which no two are one where people decide with them.
fn statuses(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Statuses> {
    let mut name = |key, text: Option<&String>, otherwise: &str| {
        let text = text.map_or(otherwise, String::as_str);
        kept(checked(key, text, is_name, NAME_REMEDY, common), faults)
    };
    let statuses = Statuses {
        waiting: name("waiting", section.waiting.as_ref(), WAITING)?,
        approved: name("approved", section.approved.as_ref(), APPROVED)?,
        rejected: name("rejected", section.rejected.as_ref(), REJECTED)?,
        closed: name("closed", section.closed.as_ref(), CLOSED)?,
    };
    // Where nobody decides only one of them is used.
    if !section.decides.unwrap_or(false) {
        return Some(statuses);
    }
    let Statuses { waiting, approved, rejected, closed } = &statuses;
    let all = [("waiting", waiting), ("approved", approved), ("rejected", rejected), ("closed", closed)];
    for (at, (key, one)) in all.iter().enumerate() {
        if all.iter().take(at).any(|(_, other)| other.to_lowercase() == one.to_lowercase()) {
            let why = "this status means something else already";
            faults.push(common.fault(key, why, "name four different statuses"));
        }
    }
    Some(statuses)
}

/// How people decide there.
struct Deciding {
    every: Duration,
    signing: Option<Signing>,
}

/// How often it is looked at who decided.
pub(super) fn every(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Duration {
    let every = section.poll_every.map_or(EVERY, |span| span.0);
    if !(MOST_OFTEN..=LEAST_OFTEN).contains(&every) {
        faults.push(common.fault("poll_every", "this is too often, or too seldom", "use `1s` to `1h`"));
    }
    every
}

/// `None`: nobody does.
fn deciding(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Deciding> {
    let keys = ["signing_secret_from", "previous_signing_secret_from"];
    let texts = [section.signing_secret_from.as_ref(), section.previous_signing_secret_from.as_ref()];
    let signing = common.changing(keys, texts, faults);
    let every = every(section, common, faults);
    if section.decides.unwrap_or(false) {
        return Some(Deciding {
            every,
            signing: signing.map(|(present, previous)| Signing { present, previous }),
        });
    }
    let beforehand = section.preapproves.unwrap_or(false);
    for (key, there) in [
        ("waiting", section.waiting.is_some()),
        // Where it counts beforehand that is where it was approved.
        ("approved", section.approved.is_some() && !beforehand),
        ("rejected", section.rejected.is_some()),
        ("poll_every", section.poll_every.is_some()),
        ("signing_secret_from", section.signing_secret_from.is_some()),
    ] {
        if there {
            faults.push(common.fault(key, "nobody decides there", "set `decides = true`, or take it out"));
        }
    }
    None
}

pub(super) fn checked(
    key: &str,
    text: &str,
    fine: impl Fn(&str) -> bool,
    remedy: &str,
    common: &Common<'_>,
) -> Result<String, Fault> {
    if fine(text) { Ok(text.to_owned()) } else { Err(common.fault(key, "this cannot be used", remedy)) }
}

/// What stands before the colon of a login.
fn is_account(text: &str) -> bool {
    (3..=255).contains(&text.len())
        && text.contains('@')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// It stands in a query as well.
fn is_key(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (2..=20).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(plain)
}

/// It stands in a query as well.
fn is_name(text: &str) -> bool {
    let plain = |character: char| !character.is_control() && !matches!(character, '"' | '\\');
    !text.trim().is_empty() && text.chars().count() <= NAME && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_pep::Span;
    use std::path::Path;

    fn section() -> ChannelSection {
        ChannelSection {
            name: "tickets".into(),
            kind: "jira".into(),
            site: Some("https://example.atlassian.net".into()),
            user: Some("countersign@example.com".into()),
            token_from: Some("env:TOKEN".into()),
            project: Some("OPS".into()),
            ..ChannelSection::default()
        }
    }

    #[test]
    fn it_goes_to_one_project_where_nobody_on_the_way_can_read_it() {
        let made = section().check(Path::new("/")).unwrap();
        assert_eq!((made.spec().kind, &*made.spec().place), ("jira", "https://example.atlassian.net, OPS"));
        assert!(matches!(made.speaks(), Speaks::Never) && made.speaks().watch().is_none());
        let decides = ChannelSection { decides: Some(true), ..section() }.check(Path::new("/")).unwrap();
        assert!(decides.speaks().watch().is_some() && decides.vouches().is_none());
        let counts = ChannelSection { preapproves: Some(true), ..section() }.check(Path::new("/")).unwrap();
        let vouches = counts.vouches().unwrap();
        assert_eq!(vouches.system(), "jira");
        for (key, could) in
            [("OPS-12", true), ("OPS-0", false), ("OPS12", false), ("OPSX-1", false), ("XOPS-1", false)]
        {
            assert_eq!(vouches.could_be(&key.parse().unwrap()), could, "{key}");
        }
        let with = |change: fn(&mut ChannelSection)| {
            let mut section = section();
            change(&mut section);
            let faults = section.check(Path::new("/")).err().unwrap_or_default();
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
            faults.into_iter().map(|fault| fault.place).collect::<Vec<_>>()
        };
        for (change, wrong) in [
            (
                (|one| one.site = Some("https://api.atlassian.com/ex/jira/11223344".into()))
                    as fn(&mut ChannelSection),
                None,
            ),
            (|one| one.closed = Some("Erledigt".into()), None),
            (|one| one.closed = Some("Approved".into()), None),
            (|one| one.closed = Some("to do".into()), None),
            (|one| (one.decides, one.closed) = (Some(true), Some("Approved".into())), Some("closed")),
            (|one| one.site = Some("http://example.atlassian.net".into()), Some("site")),
            (|one| one.site = Some("https://example.atlassian.net/?x=y".into()), Some("site")),
            (|one| one.site = None, Some("site")),
            (|one| one.user = Some("hunter2".into()), Some("user")),
            (|one| one.user = Some("a@b:hunter2".into()), Some("user")),
            (|one| one.token_from = Some("hunter2".into()), Some("token_from")),
            (|one| one.project = Some("ops".into()), Some("project")),
            (|one| one.project = Some("OPS\" OR \"A".into()), Some("project")),
            (|one| one.issue_type = Some(" ".into()), Some("issue_type")),
            (|one| one.closed = Some("Do\nne".into()), Some("closed")),
            (|one| one.closed = Some("Do\"ne".into()), Some("closed")),
            (|one| one.decides = Some(true), None),
            (|one| (one.decides, one.approved) = (Some(true), Some("Genehmigt".into())), None),
            (|one| (one.decides, one.approved) = (Some(true), Some("dONE".into())), Some("closed")),
            (|one| one.approved = Some("Genehmigt".into()), Some("approved")),
            (|one| (one.preapproves, one.approved) = (Some(true), Some("Genehmigt".into())), None),
            (|one| one.preapproved_in = Some(vec!["Doing".into()]), Some("preapproved_in")),
            (
                |one| (one.preapproves, one.preapproved_in) = (Some(true), Some(vec![])),
                Some("preapproved_in"),
            ),
            (
                |one| (one.preapproves, one.preapproved_types) = (Some(true), Some(vec!["a\"b".into()])),
                Some("preapproved_types"),
            ),
            (
                |one| (one.preapproves, one.preapproved_for) = (Some(true), Some(Span(Duration::ZERO))),
                Some("preapproved_for"),
            ),
            (|one| one.signing_secret_from = Some("env:HOOK".into()), Some("signing_secret_from")),
            (
                |one| (one.decides, one.poll_every) = (Some(true), Some(Span(Duration::ZERO))),
                Some("poll_every"),
            ),
            (
                |one| (one.decides, one.signing_secret_from) = (Some(true), Some("hunter2".into())),
                Some("signing_secret_from"),
            ),
            (|one| one.channel = Some("C0123456789".into()), Some("channel")),
        ] {
            let want: Vec<_> = wrong.map(|key| format!("channel.tickets.{key}")).into_iter().collect();
            assert_eq!(with(change), want);
        }
    }
}
