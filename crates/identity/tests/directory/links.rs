//! One-time links: in the fragment, used once, expiring, and no worse for other people's guesses.

use crate::world::{HOME, ORIGIN, VISITOR, World};
use countersign_core::Assurance;
use countersign_identity::{Author, IdentityError as E, LinkKind, Role, Visitor};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn the_secret_is_in_the_fragment_which_browsers_never_send() {
    let world = World::new().await;
    let (ana, link) = world.invite("Ana", &[], Role::Reviewer).await;
    let url = format!("{ORIGIN}/enrol#{}", link.secret.reveal());
    assert_eq!((link.url.reveal(), link.kind), (url.as_str(), LinkKind::Enrol));
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let again = world.directory.issue_link(Author::Operator, ana).await.unwrap();
    assert_eq!(again.kind, LinkKind::SignIn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_redeemers_one_wins() {
    let world = World::new().await;
    let (ana, link) = world.invite("Ana", &[], Role::Reviewer).await;
    let redeemers = (0..32).map(|_| {
        let (directory, secret) = (Arc::clone(&world.directory), link.secret.clone());
        tokio::spawn(async move { directory.redeem_link(secret.reveal(), &VISITOR).await })
    });
    let outcomes: Vec<_> = join_all(redeemers).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].session.person, ana);
    let lost = |outcome: &&Result<_, E>| matches!(outcome, Err(E::LinkSpent | E::TooManyAttempts { .. }));
    assert_eq!(outcomes.iter().filter(lost).count(), 31);
    assert_eq!(world.types().iter().filter(|kind| *kind == "session.opened").count(), 1);
}

#[tokio::test]
async fn of_two_gateways_that_both_know_the_link_one_wins() {
    let world = World::new().await;
    let (_, link) = world.invite("Ana", &[], Role::Reviewer).await;
    let other = world.another().await;
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    assert!(matches!(other.redeem_link(link.secret.reveal(), &VISITOR).await, Err(E::LinkSpent)));
    assert_eq!(world.types(), ["person.invited", "session.opened"]);
}

#[tokio::test]
async fn used_expired_replaced_and_invented_links_all_read_the_same() {
    let world = World::new().await;
    let redeem = async |secret: &str| world.directory.redeem_link(secret, &VISITOR).await;
    let (_, used) = world.invite("Used", &[], Role::Reviewer).await;
    redeem(used.secret.reveal()).await.unwrap();
    let (replaced, old) = world.invite("Replaced", &[], Role::Reviewer).await;
    let new = world.directory.issue_link(Author::Operator, replaced).await.unwrap();
    let (_, expired) = world.invite("Expired", &[], Role::Reviewer).await;
    redeem(new.secret.reveal()).await.unwrap();
    world.pass(Duration::from_hours(24));
    let invented = "A".repeat(43);
    let secrets =
        [used.secret.reveal(), old.secret.reveal(), expired.secret.reveal(), &invented, "", "x", "csn_"];
    for secret in secrets {
        let refused = redeem(secret).await.unwrap_err();
        assert!(matches!(refused, E::LinkSpent), "{refused:?}");
        assert!(!refused.to_string().contains('@'));
    }
}

#[tokio::test]
async fn a_link_signs_in_at_assurance_session_and_lasts_to_the_last_moment() {
    let world = World::new().await;
    let (_, link) = world.invite("Ana", &[], Role::Reviewer).await;
    world.pass(Duration::from_hours(24).checked_sub(Duration::from_micros(1)).unwrap());
    let signed_in = world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    assert_eq!(signed_in.session.assurance, Assurance::Session);
}

#[tokio::test]
async fn guessing_slows_its_own_source_and_never_a_right_link() {
    let world = World::new().await;
    let (_, link) = world.invite("Ana", &[], Role::Reviewer).await;
    let (_, second) = world.invite("Bob", &[], Role::Reviewer).await;
    let guess = async |visitor: &Visitor<'_>| {
        world.directory.redeem_link(&"A".repeat(43), visitor).await.unwrap_err()
    };
    let mut slowed = false;
    for _ in 0..100 {
        slowed |= matches!(guess(&VISITOR).await, E::TooManyAttempts { .. });
    }
    assert!(slowed);
    let elsewhere = Visitor { source: "198.51.100.7".parse().unwrap(), ..VISITOR };
    assert!(matches!(guess(&elsewhere).await, E::LinkSpent));
    assert_eq!(VISITOR.source, HOME);
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    world.directory.redeem_link(second.secret.reveal(), &elsewhere).await.unwrap();
}

#[tokio::test]
async fn a_link_that_could_not_be_recorded_as_used_can_be_used_later() {
    let world = World::new().await;
    let (_, link) = world.invite("Ana", &[], Role::Reviewer).await;
    world.store.refuse(Some(countersign_engine::port::store::CommitError::Full));
    let refused = world.directory.redeem_link(link.secret.reveal(), &VISITOR).await;
    assert!(matches!(refused, Err(E::Write(_))));
    world.store.refuse(None);
    world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
}
