//! People: who manages them, who becomes a voter, and who had a hand in it.

use crate::world::{ORIGIN, VISITOR, World, groups, open};
use countersign_core::{GroupName, PersonId};
use countersign_engine::port::{identity::Identity, store::CommitError};
use countersign_identity::{Author, IdentityError as E, NewPerson, PersonState, Role};
use std::collections::BTreeSet;

fn newcomer(name: &str, email: &str, in_groups: &[&str]) -> NewPerson {
    NewPerson { name: name.into(), email: email.into(), groups: groups(in_groups), role: Role::Reviewer }
}

#[tokio::test]
async fn the_invited_become_voters_by_opening_their_link() {
    let world = World::new().await;
    let (ana, link) = world.invite("Ana", &["sre"], Role::Reviewer).await;
    let sre = GroupName::new("sre").unwrap();
    assert_eq!(world.directory.person(ana).unwrap().state(), PersonState::Invited);
    assert_eq!(world.directory.voter(ana), None);
    assert_eq!(world.directory.membership()[&sre], BTreeSet::new());
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let voter = world.directory.voter(ana).unwrap();
    assert_eq!((voter.person, voter.name.as_str(), voter.groups), (ana, "Ana", groups(&["sre"])));
    assert_eq!(world.directory.membership()[&sre], [ana].into());
    assert_eq!(world.directory.membership().len(), 3, "every declared group is listed, empty or not");
    assert_eq!(world.directory.person_name(ana).unwrap(), "Ana <ana@example.com>");
    assert_eq!(world.types(), ["person.invited", "session.opened"]);
}

#[tokio::test]
async fn voters_come_by_name_and_auditors_never() {
    let world = World::new().await;
    let zoe = world.reviewer("Zoe").await.person;
    let bob = world.reviewer("Bob").await.person;
    let auditor = world.enrol("Aud", &["sre"], Role::Auditor).await.session.person;
    let names: Vec<_> = world.directory.voters().into_iter().map(|voter| voter.person).collect();
    assert_eq!(names, [bob, zoe]);
    assert_eq!(world.directory.voter(auditor), None);
}

#[tokio::test]
async fn the_disabled_lose_sessions_links_and_vote_at_once() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &["sre"], Role::Reviewer).await;
    let link = world.directory.issue_link(Author::Operator, ana.session.person).await.unwrap();
    world.directory.disable_person(Author::Operator, ana.session.person).await.unwrap();
    assert_eq!(world.directory.voter(ana.session.person), None);
    assert!(world.directory.voters().is_empty());
    assert!(matches!(world.directory.session(ana.token.reveal()).await, Err(E::NotSignedIn)));
    assert!(matches!(world.directory.redeem_link(link.secret.reveal(), &VISITOR).await, Err(E::LinkSpent)));
    let again = world.directory.issue_link(Author::Operator, ana.session.person).await;
    assert!(matches!(again, Err(E::PersonDisabled(_))));
    assert_eq!(world.types()[3..], ["person.disabled", "session.closed"]);
    world.directory.disable_person(Author::Operator, ana.session.person).await.unwrap();
    assert_eq!(world.types().len(), 5, "disabling twice records once");
}

#[tokio::test]
async fn an_address_belongs_to_one_person_whatever_its_case() {
    let world = World::new().await;
    world.invite("Ana", &[], Role::Reviewer).await;
    let again = world.directory.invite(Author::Operator, newcomer("Eve", " ANA@Example.com ", &[])).await;
    assert!(matches!(again, Err(E::EmailTaken(_))));
    // Nor through another gateway that has not heard of her yet.
    let other = world.another().await;
    world.directory.invite(Author::Operator, newcomer("Bob", "bob@example.com", &[])).await.unwrap();
    let raced = other.invite(Author::Operator, newcomer("Eve", "BOB@example.com", &[])).await;
    assert!(matches!(raced, Err(E::Conflict)));
    let retried = other.invite(Author::Operator, newcomer("Eve", "BOB@example.com", &[])).await;
    assert!(matches!(retried, Err(E::EmailTaken(_))), "after the conflict it has heard");
}

#[tokio::test]
async fn an_unknown_group_is_refused_with_the_nearest_name() {
    let world = World::new().await;
    let refused = world.directory.invite(Author::Operator, newcomer("Ana", "a@x.com", &["privcy"])).await;
    let hint = refused.unwrap_err().hint().unwrap();
    assert!(hint.contains("did you mean `privacy`"), "{hint}");
    let (ana, _) = world.invite("Ana", &[], Role::Reviewer).await;
    let refused =
        world.directory.set_groups(Author::Operator, ana, &groups(&["zzzzzzzz"]), &groups(&[])).await;
    assert!(matches!(refused, Err(E::UnknownGroup { nearest: None, .. })));
}

#[tokio::test]
async fn names_that_hide_something_are_refused() {
    let world = World::new().await;
    for name in ["", "  ", "An\u{202e}a", "Ana\u{200b}", "A\nB", &"x".repeat(101)] {
        let refused = world.directory.invite(Author::Operator, newcomer(name, "a@x.com", &[])).await;
        assert!(matches!(refused, Err(E::BadText { .. })), "{name:?}");
    }
    let refused = world.directory.invite(Author::Operator, newcomer("Ana", "ana", &[])).await;
    assert!(matches!(refused, Err(E::BadEmail(_))));
    assert!(world.types().is_empty());
}

#[tokio::test]
async fn only_a_standing_administrator_or_the_operator_manages_people() {
    let world = World::new().await;
    let target = world.reviewer("Target").await.person;
    let reviewer = world.reviewer("Rev").await.person;
    let auditor = world.enrol("Aud", &[], Role::Auditor).await.session.person;
    let (invited, _) = world.invite("Newadmin", &[], Role::Administrator).await;
    let gone = world.administrator("Gone").await.person;
    world.directory.disable_person(Author::Operator, gone).await.unwrap();
    let before = world.types().len();
    for stranger in [reviewer, auditor, invited, gone, PersonId::from_parts(1, 1)] {
        let by = Author::Person(stranger);
        let directory = &world.directory;
        let none = BTreeSet::new();
        let refused = [
            directory.invite(by, newcomer("Eve", "eve@example.com", &[])).await.map(drop),
            directory.issue_link(by, target).await.map(drop),
            directory.set_groups(by, target, &groups(&["privacy"]), &none).await,
            directory.disable_person(by, target).await,
            directory.close_all_sessions(by, target).await,
        ];
        for outcome in refused {
            assert!(matches!(outcome, Err(E::NotAllowed { .. })), "{outcome:?}");
        }
    }
    assert_eq!(world.types().len(), before);
    let admin = world.administrator("Admin").await.person;
    world.directory.invite(Author::Person(admin), newcomer("Eve", "eve@example.com", &[])).await.unwrap();
}

#[tokio::test]
async fn an_administrator_gains_no_vote_by_their_own_hand() {
    let world = World::new().await;
    let admin = world.administrator("Admin").await.person;
    let itself =
        world.directory.set_groups(Author::Person(admin), admin, &groups(&["sre"]), &groups(&[])).await;
    assert!(matches!(itself, Err(E::OwnGroups)));
    assert!(world.directory.voter(admin).unwrap().groups.is_empty());
    world.directory.set_groups(Author::Operator, admin, &groups(&["sre"]), &groups(&[])).await.unwrap();
    world.directory.set_groups(Author::Person(admin), admin, &groups(&[]), &groups(&["sre"])).await.unwrap();
}

#[tokio::test]
async fn a_puppet_reviewer_names_whose_hand_is_in_it() {
    let world = World::new().await;
    let admin = world.administrator("Admin").await.person;
    let by = Author::Person(admin);
    let (eve, link) = world.directory.invite(by, newcomer("Eve", "eve@example.com", &["sre"])).await.unwrap();
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let known = |world: &World| {
        let introductions = world.directory.voter(eve).unwrap().introductions;
        introductions
            .into_iter()
            .map(|one| (one.by, one.at, one.group.map(|g| g.to_string())))
            .collect::<Vec<_>>()
    };
    let invited = world.now();
    assert_eq!(known(&world), [(Some(admin), invited, None), (Some(admin), invited, Some("sre".into()))]);
    // Whoever makes a sign-in link for somebody could open it and vote as them.
    world.pass(std::time::Duration::from_mins(1));
    world.directory.issue_link(by, eve).await.unwrap();
    world
        .directory
        .set_groups(Author::Operator, eve, &groups(&["privacy"]), &groups(&["sre"]))
        .await
        .unwrap();
    assert_eq!(
        known(&world),
        [
            (Some(admin), invited, Some("sre".into())),
            (Some(admin), world.now(), None),
            (None, world.now(), Some("privacy".into())),
        ]
    );
    let changed = world.entries().pop().unwrap();
    assert_eq!(changed["type"], "person.groups_changed");
    assert_eq!(changed["data"]["added"][0], "privacy");
    assert_eq!(changed["data"]["removed"][0], "sre");
}

#[tokio::test]
async fn names_and_addresses_are_not_in_any_entry() {
    let world = World::new().await;
    let session = world.reviewer("Anastasia").await;
    world.add_passkey(&session).await;
    for row in world.store.rows() {
        let entry = String::from_utf8(row.sealed.bytes.to_vec()).unwrap().to_lowercase();
        assert!(!entry.contains("anastasia") && !entry.contains("browser"), "{entry}");
    }
    let invited = world.store.rows().swap_remove(0);
    let paths: Vec<_> = invited.sealed.private.iter().map(|field| &*field.path).collect();
    assert_eq!(paths, ["email", "name", "role"]);
    assert_eq!(world.entries()[0]["c"].as_object().unwrap().len(), 3, "each is committed to");
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let world = World::new().await;
    let signed_in = world.enrol("Ana", &["sre"], Role::Administrator).await;
    let (_, mut passkey) = world.add_passkey(&signed_in.session).await;
    let (_, pending) = world.invite("Bob", &["privacy"], Role::Reviewer).await;
    let after = world.another().await;
    assert_eq!(after.people(), world.directory.people());
    assert_eq!(after.voters(), world.directory.voters());
    assert_eq!(after.session(signed_in.token.reveal()).await.unwrap().person, signed_in.session.person);
    after.redeem_link(pending.secret.reveal(), &VISITOR).await.unwrap();
    let options = after.begin_sign_in().unwrap();
    let answer = passkey.assert(&options, ORIGIN).unwrap().to_string();
    after.finish_sign_in(answer.as_bytes(), &VISITOR).await.unwrap();
}

#[tokio::test]
async fn more_people_than_a_page_are_all_there_after_a_restart() {
    let world = World::new().await;
    for number in 0..501 {
        let who = newcomer("Somebody", &format!("p{number}@example.com"), &[]);
        world.directory.invite(Author::Operator, who).await.unwrap();
    }
    assert_eq!(world.another().await.people().len(), 501);
}

#[tokio::test]
async fn a_group_that_is_not_declared_any_more_gives_nothing() {
    let world = World::new().await;
    let session = world.enrol("Ana", &["sre", "privacy"], Role::Reviewer).await;
    let after = open(&world.journal, ORIGIN, &["privacy"]).await;
    assert_eq!(after.voter(session.session.person).unwrap().groups, groups(&["privacy"]));
    assert_eq!(after.session(session.token.reveal()).await.unwrap().groups, groups(&["privacy"]));
    assert_eq!(after.membership().len(), 1);
    after
        .set_groups(Author::Operator, session.session.person, &groups(&[]), &groups(&["sre"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await.person;
    for refusal in [CommitError::Full, CommitError::Poisoned("EIO".into()), CommitError::Lost] {
        world.store.refuse(Some(refusal));
        let directory = &world.directory;
        assert!(directory.invite(Author::Operator, newcomer("Bob", "b@x.com", &[])).await.is_err());
        assert!(
            directory.set_groups(Author::Operator, ana, &groups(&["privacy"]), &groups(&[])).await.is_err()
        );
        assert!(directory.disable_person(Author::Operator, ana).await.is_err());
        assert_eq!(directory.people().len(), 1);
        assert_eq!(directory.voter(ana).unwrap().groups, groups(&["sre"]));
    }
    world.store.refuse(None);
    world.directory.disable_person(Author::Operator, ana).await.unwrap();
}

#[tokio::test]
async fn somebody_elses_write_is_a_conflict_and_then_known() {
    let world = World::new().await;
    let other = world.another().await;
    let ana = world.reviewer("Ana").await.person;
    assert_eq!(other.person(ana), None);
    let (eve, _) = world.invite("Eve", &[], Role::Reviewer).await;
    let who = newcomer("Eve", "eve@example.com", &[]);
    assert!(matches!(other.invite(Author::Operator, who).await, Err(E::Conflict)));
    assert!(other.person(eve).is_some());
    other.disable_person(Author::Operator, ana).await.unwrap();
    let stale = world.directory.set_groups(Author::Operator, ana, &groups(&["privacy"]), &groups(&[])).await;
    assert!(matches!(stale, Err(E::Conflict)));
    assert!(world.directory.person(ana).unwrap().is_disabled());
}

#[tokio::test]
async fn a_puppet_of_a_puppet_names_the_first_hand_too() {
    let world = World::new().await;
    let admin = world.administrator("Admin").await.person;
    let who = NewPerson { role: Role::Administrator, ..newcomer("Puppet", "puppet@example.com", &[]) };
    let (puppet, link) = world.directory.invite(Author::Person(admin), who).await.unwrap();
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let brought_in = world.now();
    world.pass(std::time::Duration::from_mins(1));
    let by = Author::Person(puppet);
    let (eve, link) = world.directory.invite(by, newcomer("Eve", "eve@example.com", &["sre"])).await.unwrap();
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let moved = world.reviewer("Moved").await.person;
    world.directory.set_groups(by, moved, &groups(&["privacy"]), &groups(&[])).await.unwrap();
    let taken_over = world.reviewer("Taken").await.person;
    world.directory.issue_link(by, taken_over).await.unwrap();
    // Ending the one in the middle does not hide the first.
    world.directory.disable_person(Author::Person(admin), puppet).await.unwrap();
    for (person, case) in [(eve, "invited"), (moved, "moved"), (taken_over, "taken over")] {
        let introductions = world.directory.voter(person).unwrap().introductions;
        let first = introductions.iter().find(|one| one.by == Some(admin)).expect(case);
        assert_eq!((first.at, &first.group), (brought_in, &None), "{case}: as of when the puppet was made");
        assert!(introductions.iter().any(|one| one.by == Some(puppet)), "{case}");
    }
}
