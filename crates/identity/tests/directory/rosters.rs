//! Groups of those who are on call: whoever a schedule names, and nobody else.

use crate::world::{World, groups};
use countersign_core::GroupName;
use countersign_engine::port::identity::Identity;
use countersign_identity::{Author, Followed, IdentityError as E, Role};
use serde_json::json;
use std::collections::BTreeSet;

fn addresses(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|one| (*one).to_owned()).collect()
}

#[tokio::test]
async fn whoever_is_on_call_is_in_the_group_and_nobody_else() {
    let world = World::new().await;
    let sre = GroupName::new("sre").unwrap();
    let ana = world.enrol("Ana", &["privacy"], Role::Reviewer).await.session.person;
    // Put there by hand, and not on call.
    let bea = world.enrol("Bea", &["sre"], Role::Reviewer).await.session.person;
    let before = world.types().len();
    let on_call = addresses(&[" ANA@Example.com", "stranger@example.com", "no address"]);
    let followed = world.directory.follow_roster("night", &sre, &on_call).await.unwrap();
    assert_eq!(followed, Followed { members: 1, strangers: 2 });
    assert_eq!(world.directory.membership()[&sre], [ana].into());
    assert_eq!(world.directory.voter(ana).unwrap().groups, groups(&["privacy", "sre"]));
    assert_eq!(world.directory.voter(bea).unwrap().groups, groups(&[]));
    assert_eq!(world.types()[before..], ["person.groups_changed", "person.groups_changed"]);
    // Said again it changes nothing, and is not recorded.
    world.directory.follow_roster("night", &sre, &on_call).await.unwrap();
    assert_eq!(world.types().len(), before + 2);
    // It holds after a restart, until the schedule says otherwise.
    let other = world.another().await;
    assert_eq!(other.membership()[&sre], [ana].into());
    let nobody = world.directory.follow_roster("night", &sre, &addresses(&[])).await.unwrap();
    assert_eq!(nobody, Followed { members: 0, strangers: 0 });
    assert_eq!(world.directory.voter(ana).unwrap().groups, groups(&["privacy"]));
    assert!(world.directory.person(ana).unwrap().introductions.iter().all(|hand| hand.by.is_none()));
}

#[tokio::test]
async fn a_schedule_makes_nobody_and_brings_nobody_back() {
    let world = World::new().await;
    let sre = GroupName::new("sre").unwrap();
    let ana = world.enrol("Ana", &[], Role::Reviewer).await.session.person;
    let auditor = world.enrol("Aud", &[], Role::Auditor).await.session.person;
    let (invited, _) = world.invite("Ida", &[], Role::Reviewer).await;
    world.directory.disable_person(Author::Operator, ana).await.unwrap();
    let on_call = addresses(&["ana@example.com", "aud@example.com", "ida@example.com", "new@example.com"]);
    let followed = world.directory.follow_roster("night", &sre, &on_call).await.unwrap();
    assert_eq!(followed, Followed { members: 2, strangers: 2 });
    assert!(world.directory.person(ana).unwrap().groups.is_empty());
    assert_eq!(world.directory.people().len(), 3);
    // In the group, and still no voter: a role and an open link are not a schedule's to give.
    assert_eq!(world.directory.voter(auditor), None);
    assert_eq!(world.directory.voter(invited), None);
    let unknown = GroupName::new("nobody").unwrap();
    let refused = world.directory.follow_roster("night", &unknown, &on_call).await;
    assert!(matches!(refused, Err(E::UnknownGroup { .. })));
}

#[tokio::test]
async fn a_schedule_that_is_not_configured_any_more_leaves_nobody_behind() {
    let world = World::new().await;
    let (sre, privacy) = (GroupName::new("sre").unwrap(), GroupName::new("privacy").unwrap());
    let ana = world.enrol("Ana", &[], Role::Reviewer).await.session.person;
    // In one group by hand, and on call there as well; in the other by hand alone.
    let bea = world.enrol("Bea", &["sre", "privacy"], Role::Reviewer).await.session.person;
    let on_call = addresses(&["ana@example.com", "bea@example.com"]);
    world.directory.follow_roster("night", &sre, &on_call).await.unwrap();
    world.directory.follow_roster("day", &privacy, &addresses(&["ana@example.com"])).await.unwrap();
    let before = world.types().len();

    // Both are kept: nothing changes, and nothing is recorded.
    assert_eq!(world.directory.end_rosters(&groups(&["sre", "privacy"])).await.unwrap(), 0);
    // Called otherwise it is the same group, and whoever it names stays without a word in the log.
    world.directory.follow_roster("nights", &sre, &on_call).await.unwrap();
    assert_eq!(world.types().len(), before);

    // After a restart, without the section.
    let other = world.another().await;
    assert_eq!(other.end_rosters(&groups(&["privacy"])).await.unwrap(), 2);
    assert_eq!(other.membership().get(&sre).cloned().unwrap_or_default(), BTreeSet::new());
    assert_eq!(other.membership()[&privacy], [ana].into(), "the other schedule goes on");
    for entry in world.entries().iter().rev().take(2) {
        assert_eq!(entry["type"], "person.groups_changed");
        assert_eq!(
            (&entry["data"]["removed"], &entry["actor"]["kind"]),
            (&json!(["sre"]), &json!("gateway"))
        );
    }
    // Who is put there by hand afterwards is nobody's but that hand's.
    other.set_groups(Author::Operator, bea, &groups(&["sre"]), &BTreeSet::new()).await.unwrap();
    assert_eq!(other.end_rosters(&BTreeSet::new()).await.unwrap(), 1);
    assert_eq!(other.membership()[&sre], [bea].into());
    assert_eq!(other.membership().get(&privacy).cloned().unwrap_or_default(), BTreeSet::new());
}
