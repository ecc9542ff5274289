//! A channel of kind `jira`.

use super::{ChannelSection, Common, Made, Speaks, teams::base};
use crate::jira::{Api, Jira};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;

const ISSUE_TYPE: &str = "Task";
const CLOSED: &str = "Done";
const SITE_REMEDY: &str = "write the site's address, such as `https://example.atlassian.net`";
const USER_REMEDY: &str = "write the e-mail address of the account that the token belongs to";
const PROJECT_REMEDY: &str = "write the project's key, such as `OPS`";
/// The longest name of a type or a status.
const NAME: usize = 60;

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    section.foreign(&["site", "user", "token_from", "project", "issue_type", "closed"], common, faults);
    let token = common
        .needed("token_from", section.token_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("token_from", text));
    let token = kept(token, faults);
    let user = common.needed("user", section.user.as_ref(), USER_REMEDY);
    let user = kept(user.and_then(|text| checked("user", text, is_account, USER_REMEDY, common)), faults);
    let project = common.needed("project", section.project.as_ref(), PROJECT_REMEDY);
    let project =
        kept(project.and_then(|text| checked("project", text, is_key, PROJECT_REMEDY, common)), faults);
    let mut name = |key, text: Option<&String>, otherwise: &str| {
        let text = text.map_or(otherwise, String::as_str);
        kept(checked(key, text, is_name, "write its name as Jira shows it", common), faults)
    };
    let issue_type = name("issue_type", section.issue_type.as_ref(), ISSUE_TYPE);
    let closed = name("closed", section.closed.as_ref(), CLOSED);
    let site = common.needed("site", section.site.as_ref(), SITE_REMEDY);
    let site = kept(site.and_then(|text| base("site", text, section.ca.as_ref(), common)), faults);
    let ((token, user), (project, (issue_type, closed))) =
        token.zip(user).zip(project.zip(issue_type.zip(closed)))?;
    let (outward, path) = site?;
    let place = format!("{}, {project}", outward.origin);
    let jira = Jira {
        api: Api { outward, path, user, token },
        project,
        issue_type,
        closed,
        room: common.room,
        give_up_after: common.give_up_after,
    };
    Some(Made { kind: "jira", place, tell: Arc::new(jira), speaks: Speaks::Never })
}

fn checked(
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

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= NAME && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
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
                (|one| one.site = Some("https://api.atlassian.com/ex/jira/11223344".into()))
                    as fn(&mut ChannelSection),
                None,
            ),
            (|one| one.closed = Some("Erledigt".into()), None),
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
            (|one| one.channel = Some("C0123456789".into()), Some("channel")),
        ] {
            let want: Vec<_> = wrong.map(|key| format!("channel.tickets.{key}")).into_iter().collect();
            assert_eq!(with(change), want);
        }
    }
}
