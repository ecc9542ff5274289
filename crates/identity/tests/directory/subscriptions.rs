//! Devices on which people are told: who adds them, and everything that ends them.

use crate::world::World;
use countersign_core::CredentialId;
use countersign_engine::port::{identity::Identity, push::Fared};
use countersign_identity::{Author, IdentityError as E, NewSubscription, Role, SessionInfo};
use std::time::Duration;

const ENDPOINT: &str = "https://push.example/planted-endpoint";

fn new<'n>(name: &'n str, endpoint: &'n str) -> NewSubscription<'n> {
    NewSubscription { name, endpoint, p256dh: "planted-p256dh", auth: "planted-auth", made_for: "key" }
}

async fn subscribed(world: &World, session: &SessionInfo, endpoint: &str) -> CredentialId {
    world.directory.subscribe(session, &new("Phone", endpoint)).await.unwrap()
}

#[tokio::test]
async fn a_device_is_told_until_its_owner_or_an_administrator_ends_it() {
    let world = World::new().await;
    let (ana, bob) = (world.reviewer("Ana").await, world.reviewer("Bob").await);
    let id = subscribed(&world, &ana, ENDPOINT).await;
    let row = world.store.rows().pop().unwrap();
    assert_eq!(
        (world.types().pop().unwrap().as_str(), row.actor),
        ("push.subscribed", ana.person.to_string())
    );
    let shown = format!("{:?}", row.sealed);
    assert!(!shown.contains("planted"), "{shown}");
    let ways = world.directory.as_ref() as &dyn Identity;
    assert_eq!(ways.subscriptions(ana.person)[0].endpoint, ENDPOINT);
    assert!(ways.subscriptions(bob.person).is_empty());
    assert!(!format!("{:?}", world.directory.subscriptions(ana.person)).contains("planted"));

    // What a browser handed over for one person is nobody else's.
    let taken = world.directory.subscribe(&bob, &new("Mine", ENDPOINT)).await;
    assert!(matches!(taken, Err(E::SubscriptionTaken)));
    let by_bob = world.directory.unsubscribe(Author::Person(bob.person), id).await;
    assert!(matches!(by_bob, Err(E::NotAllowed { .. })));
    // It survives a restart.
    assert_eq!(world.another().await.subscriptions(ana.person).len(), 1);
    world.directory.unsubscribe(Author::Person(ana.person), id).await.unwrap();
    assert_eq!(world.types().pop().unwrap(), "push.unsubscribed");
    assert!(ways.subscriptions(ana.person).is_empty());
    let again = world.directory.unsubscribe(Author::Operator, id).await;
    assert!(matches!(again, Err(E::UnknownCredential(_))));
    let id = subscribed(&world, &ana, ENDPOINT).await;
    world.directory.unsubscribe(Author::Operator, id).await.unwrap();
}

#[tokio::test]
async fn only_who_has_just_signed_in_and_can_decide_adds_one_and_not_without_end() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    for name in ["", "a\u{202e}b", "two\nlines"] {
        let refused = world.directory.subscribe(&ana, &new(name, ENDPOINT)).await;
        assert!(matches!(refused, Err(E::BadText { .. })), "{name:?}");
    }
    for number in 0..10 {
        subscribed(&world, &ana, &format!("{ENDPOINT}/{number}")).await;
    }
    let full = world.directory.subscribe(&ana, &new("One more", ENDPOINT)).await;
    assert!(matches!(full, Err(E::TooManySubscriptions(10))));

    let auditor = world.enrol("Cleo", &[], Role::Auditor).await.session;
    assert!(matches!(
        world.directory.subscribe(&auditor, &new("Phone", ENDPOINT)).await,
        Err(E::NotAllowed { .. })
    ));
    let bob = world.reviewer("Bob").await;
    world.pass(Duration::from_mins(31));
    assert!(matches!(
        world.directory.subscribe(&bob, &new("Phone", ENDPOINT)).await,
        Err(E::SignedInLongAgo)
    ));
    world.add_passkey(&world.enrol("Dana", &["sre"], Role::Reviewer).await.session).await;
    let dana = world.directory.sessions(world.directory.people().last().unwrap().id);
    assert_eq!(dana.len(), 1);
    world.directory.close_session(bob.id).await.unwrap();
    assert!(matches!(world.directory.subscribe(&bob, &new("Phone", ENDPOINT)).await, Err(E::NotSignedIn)));
}

#[tokio::test]
async fn devices_end_with_the_person_and_with_signing_out_everywhere() {
    let world = World::new().await;
    let (ana, bob) = (world.reviewer("Ana").await, world.reviewer("Bob").await);
    let ways = world.directory.as_ref() as &dyn Identity;
    subscribed(&world, &ana, ENDPOINT).await;
    subscribed(&world, &bob, "https://push.example/2").await;
    // Signing out of one browser is not losing a phone.
    world.directory.close_session(ana.id).await.unwrap();
    assert_eq!(ways.subscriptions(ana.person).len(), 1);
    world.directory.close_all_sessions(Author::Person(ana.person), ana.person).await.unwrap();
    assert!(ways.subscriptions(ana.person).is_empty());
    assert_eq!(world.types().pop().unwrap(), "push.unsubscribed");
    world.directory.disable_person(Author::Operator, bob.person).await.unwrap();
    assert!(ways.subscriptions(bob.person).is_empty());
    assert!(world.directory.subscriptions(bob.person).is_empty());
    assert!(world.types().iter().rev().take(4).any(|kind| kind == "push.unsubscribed"));
    assert!(world.another().await.subscriptions(bob.person).is_empty());
}

#[tokio::test]
async fn how_a_device_fared_is_remembered_and_one_that_is_gone_is_removed() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let id = subscribed(&world, &ana, ENDPOINT).await;
    let ways = world.directory.as_ref() as &dyn Identity;
    let entries = world.types().len();
    ways.subscription_fared(id, Fared::Failed("its push service answered 500".into())).await;
    let seen = world.directory.subscriptions(ana.person).pop().unwrap();
    assert_eq!(seen.trouble.unwrap().why, "its push service answered 500");
    assert_eq!(seen.told_at, None);
    world.pass(Duration::from_secs(5));
    ways.subscription_fared(id, Fared::Told).await;
    let seen = world.directory.subscriptions(ana.person).pop().unwrap();
    assert_eq!((seen.told_at, seen.trouble), (Some(world.now()), None));
    // Not written down each time, and no entry of the ledger.
    let told = world.now();
    world.pass(Duration::from_secs(5));
    ways.subscription_fared(id, Fared::Told).await;
    assert_eq!(world.directory.subscriptions(ana.person)[0].told_at, Some(told));
    assert_eq!(world.types().len(), entries);
    ways.subscription_fared(id, Fared::Gone).await;
    assert!(ways.subscriptions(ana.person).is_empty());
    assert_eq!(world.types().pop().unwrap(), "push.unsubscribed");
    // News of one that is not there any more changes nothing.
    ways.subscription_fared(id, Fared::Told).await;
    ways.subscription_fared(id, Fared::Gone).await;
    assert_eq!(world.types().len(), entries + 1);
}

#[tokio::test]
async fn whoever_is_in_can_be_written_to_whether_they_have_a_vote_or_not() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let ways = world.directory.as_ref() as &dyn Identity;
    subscribed(&world, &ana, ENDPOINT).await;
    let address = ways.address(ana.person);
    assert!(address.is_some() && ways.voter(ana.person).is_some());
    for role in [Role::Auditor, Role::Operator] {
        world.directory.set_role(Author::Operator, ana.person, role).await.unwrap();
        assert!(ways.voter(ana.person).is_none(), "{role:?}");
        assert_eq!((ways.address(ana.person), ways.subscriptions(ana.person).len()), (address.clone(), 1));
    }
    world.directory.disable_person(Author::Operator, ana.person).await.unwrap();
    assert!(ways.address(ana.person).is_none() && ways.subscriptions(ana.person).is_empty());
}
