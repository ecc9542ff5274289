//! Asking who is on call, at servers that answer as the vendors do.

use countersign_core::GroupName;
use countersign_pep::Span;
use countersign_reviewer::{Again, OnCallSection, Roster};
use countersign_testkit::{
    opsgenie::{self, Opsgenie},
    pagerduty::{self, PagerDuty},
};
use std::{collections::BTreeSet, path::Path, time::Duration};

fn roster(folder: &Path, kind: &str, (schedule, api): (&str, String)) -> Roster {
    let groups: BTreeSet<GroupName> = ["on-call".parse().unwrap()].into();
    let section = OnCallSection {
        name: "night".into(),
        kind: kind.into(),
        group: "on-call".into(),
        schedule: schedule.into(),
        token_from: Some("file:token".into()),
        api: Some(api),
        every: Some(Span(Duration::from_secs(1))),
        ..OnCallSection::default()
    };
    section.check(folder, &groups).unwrap()
}

fn addresses(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|one| (*one).to_owned()).collect()
}

#[tokio::test]
async fn whoever_is_on_call_is_read_from_pagerduty_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), pagerduty::TOKEN).unwrap();
    let server = PagerDuty::start().await.unwrap();
    let night = roster(folder.path(), "pagerduty", (pagerduty::SCHEDULE, server.rest()));
    assert_eq!(night.look().await, Ok(addresses(&[])));
    server.on_call(&["ana@example.com", "bea@example.com"]);
    assert_eq!(night.look().await, Ok(addresses(&["ana@example.com", "bea@example.com"])));
    let many: Vec<String> = (0..250).map(|number| format!("p{number}@example.com")).collect();
    server.on_call(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(night.look().await.unwrap().len(), 250);
    let other = roster(folder.path(), "pagerduty", ("POTHER1", server.rest()));
    assert_eq!(other.look().await, Ok(addresses(&[])));
    // More than is read is nobody rather than some.
    let many: Vec<String> = (0..2_001).map(|number| format!("p{number}@example.com")).collect();
    server.on_call(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(night.look().await.is_err());
    server.refuse(&[pagerduty::Refusal::Later(7)]);
    assert_eq!(night.look().await.unwrap_err().again, Again::After(Duration::from_secs(7)));
    std::fs::write(folder.path().join("token"), "planted-other").unwrap();
    let failed = night.look().await.unwrap_err();
    assert!(failed.why.contains("token") && !failed.why.contains("planted"), "{}", failed.why);
    assert!(!format!("{night:?}").contains("planted"));
}

#[tokio::test]
async fn whoever_is_on_call_is_read_from_opsgenie() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), opsgenie::API_KEY).unwrap();
    let server = Opsgenie::start().await.unwrap();
    let night = roster(folder.path(), "opsgenie", (opsgenie::SCHEDULE, server.url()));
    assert_eq!(night.look().await, Ok(addresses(&[])));
    server.on_call(&["ana@example.com"]);
    assert_eq!(night.look().await, Ok(addresses(&["ana@example.com"])));
    let other = roster(folder.path(), "opsgenie", ("00000000-0000-4000-8000-000000000000", server.url()));
    assert!(other.look().await.unwrap_err().why.contains("no such schedule"));
    server.refuse(&[opsgenie::Refusal::Later(60)]);
    assert_eq!(night.look().await.unwrap_err().again, Again::After(Duration::from_mins(1)));
    server.refuse(&[opsgenie::Refusal::Status(200)]);
    assert!(night.look().await.is_err(), "words that are no answer");
    server.reads_nothing();
    let failed = night.look().await.unwrap_err();
    assert!(failed.why.contains("may not read") && !failed.why.contains("planted"), "{}", failed.why);
}
