//! Sessions: a new token for every sign-in, an end in any case, and nothing an agent's credential opens.

use crate::world::{ORIGIN, VISITOR, World, agent_of};
use countersign_core::Assurance;
use countersign_engine::port::{
    identity::{Identity, NotAuthenticated, Presented},
    store::CommitError,
};
use countersign_identity::{Author, IdentityError as E, NewToken, Role, Visitor};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const MICRO: Duration = Duration::from_micros(1);

#[tokio::test]
async fn no_session_is_fixed_before_sign_in_and_the_old_one_ends() {
    let world = World::new().await;
    let first = world.enrol("Ana", &[], Role::Reviewer).await;
    let (_, mut passkey) = world.add_passkey(&first.session).await;
    let options = world.directory.begin_sign_in().unwrap();
    let answer = passkey.assert(&options, ORIGIN).unwrap().to_string();
    let visitor = Visitor { cookie: Some(first.token.reveal()), ..VISITOR };
    let second = world.directory.finish_sign_in(answer.as_bytes(), &visitor).await.unwrap();
    assert_ne!(first.token.reveal(), second.token.reveal());
    assert_ne!(first.session.csrf.reveal(), second.session.csrf.reveal());
    assert!(matches!(world.directory.session(first.token.reveal()).await, Err(E::NotSignedIn)));
    let session = world.directory.session(second.token.reveal()).await.unwrap();
    assert_eq!(session.assurance, Assurance::Passkey);
    // A cookie somebody planted never becomes a session.
    let (_, link) = world.invite("Bob", &[], Role::Reviewer).await;
    let planted = "B".repeat(42) + "A";
    let visitor = Visitor { cookie: Some(&planted), ..VISITOR };
    world.directory.redeem_link(link.secret.reveal(), &visitor).await.unwrap();
    assert!(world.directory.session(&planted).await.is_err());
}

#[tokio::test]
async fn a_session_ends_when_idle_and_in_any_case_after_a_day() {
    let world = World::new().await;
    let idle = world.enrol("Idle", &[], Role::Reviewer).await;
    let busy = world.enrol("Busy", &[], Role::Reviewer).await;
    let alive = async |token: &str| world.directory.session(token).await.is_ok();
    world.pass(HOUR * 7);
    world.pass(HOUR.checked_sub(MICRO).unwrap());
    assert!(alive(busy.token.reveal()).await);
    world.pass(MICRO);
    assert!(!alive(idle.token.reveal()).await, "idle for eight hours");
    world.pass(HOUR * 7);
    assert!(alive(busy.token.reveal()).await);
    world.pass(HOUR * 7);
    assert!(alive(busy.token.reveal()).await);
    world.pass(HOUR * 2);
    assert!(!alive(busy.token.reveal()).await, "a day old");
}

#[tokio::test]
async fn use_is_remembered_across_a_restart_and_lapsed_sessions_are_swept() {
    let world = World::new().await;
    let used = world.enrol("Used", &[], Role::Reviewer).await;
    let unused = world.enrol("Unused", &[], Role::Reviewer).await;
    world.pass(HOUR * 7);
    world.directory.session(used.token.reveal()).await.unwrap();
    world.pass(HOUR * 7);
    let after = world.another().await;
    assert!(after.session(used.token.reveal()).await.is_ok());
    assert!(after.session(unused.token.reveal()).await.is_err());
    assert_eq!(world.store.everything().matches("Session ").count(), 1, "the lapsed one is gone");
}

#[tokio::test]
async fn a_full_disk_does_not_lock_people_out_of_reading() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    world.pass(HOUR);
    world.store.refuse(Some(CommitError::Full));
    world.directory.session(ana.token.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_csrf_token_is_good_for_its_session_only() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    let bob = world.enrol("Bob", &[], Role::Reviewer).await;
    let session = world.directory.session(ana.token.reveal()).await.unwrap();
    assert!(session.csrf_matches(ana.session.csrf.reveal()), "stable within the session");
    for wrong in [bob.session.csrf.reveal(), "", ana.token.reveal()] {
        assert!(!session.csrf_matches(wrong));
    }
}

#[tokio::test]
async fn people_end_their_own_sessions_and_administrators_anyones() {
    let world = World::new().await;
    let admin = world.administrator("Admin").await.person;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    world.directory.close_session(ana.session.id).await.unwrap();
    assert!(world.directory.session(ana.token.reveal()).await.is_err());
    world.directory.close_session(ana.session.id).await.unwrap();
    for by in [Author::Person(ana.session.person), Author::Person(admin), Author::Operator] {
        let link = world.directory.issue_link(Author::Operator, ana.session.person).await.unwrap();
        let session = world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
        world.directory.close_all_sessions(by, ana.session.person).await.unwrap();
        assert!(world.directory.session(session.token.reveal()).await.is_err());
    }
    let closed = world.types().iter().filter(|kind| *kind == "session.closed").count();
    assert_eq!(closed, 4);
}

#[tokio::test]
async fn console_cookies_and_agent_tokens_never_stand_for_one_another() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    let agent = agent_of(ana.session.person, "bot");
    let agent = world.directory.create_agent(Author::Operator, agent).await.unwrap();
    let new = NewToken { agent, label: "ci".into(), expires: None, on_behalf_of: None };
    let (_, token) = world.directory.create_token(Author::Operator, new).await.unwrap();
    let (_, link) = world.invite("Bob", &[], Role::Reviewer).await;
    assert!(matches!(world.directory.session(token.reveal()).await, Err(E::NotSignedIn)));
    assert!(matches!(world.directory.session(link.secret.reveal()).await, Err(E::NotSignedIn)));
    assert!(matches!(world.directory.redeem_link(token.reveal(), &VISITOR).await, Err(E::LinkSpent)));
    assert!(matches!(world.directory.redeem_link(ana.token.reveal(), &VISITOR).await, Err(E::LinkSpent)));
    for text in [ana.token.reveal(), ana.session.csrf.reveal(), link.secret.reveal()] {
        let outcome = world.directory.authenticate(Presented::Bearer(text), world.now());
        assert_eq!(outcome, Err(NotAuthenticated::Unknown));
    }
}

#[tokio::test]
async fn a_token_is_renewed_now_and_then_and_a_copy_of_an_older_one_ends_the_session() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    let first = ana.token.reveal();
    let directory = &world.directory;
    assert!(directory.renew_session(first).await.unwrap().is_none(), "it is fresh");
    world.pass(Duration::from_mins(15));
    let before = world.types().len();
    let second = directory.renew_session(first).await.unwrap().unwrap();
    assert_eq!(world.types().len(), before, "no entry: nothing changed for anybody");
    assert!(directory.renew_session(first).await.unwrap().is_none(), "once");
    // Requests that were on their way still count; forms stay as they are, and so does the session's name.
    let (new, old) =
        (directory.session(second.reveal()).await.unwrap(), directory.session(first).await.unwrap());
    assert_eq!((old.id, old.csrf.reveal()), (new.id, new.csrf.reveal()));
    assert_eq!((ana.session.id, ana.session.csrf.reveal()), (new.id, new.csrf.reveal()));
    assert_eq!(directory.sessions(new.person).len(), 1);
    // After a restart, too.
    let after = world.another().await;
    assert_eq!(after.session(second.reveal()).await.unwrap().id, new.id);
    world.pass(Duration::from_secs(61));
    directory.session(second.reveal()).await.unwrap();
    assert!(matches!(directory.session(first).await, Err(E::NotSignedIn)), "a copy");
    assert!(matches!(directory.session(second.reveal()).await, Err(E::NotSignedIn)), "the session is over");
    let entry = world.entries().pop().unwrap();
    assert_eq!((&entry["type"], &entry["actor"]["kind"]), (&"session.closed".into(), &"gateway".into()));
}

/// The answer that brought it never came: nobody loses their session by that, however often it happens.
#[tokio::test]
async fn a_renewal_that_was_lost_costs_nobody_their_session() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    let first = ana.token.reveal();
    for _ in 0..3 {
        world.pass(Duration::from_mins(20));
        world.directory.session(first).await.unwrap();
        world.directory.renew_session(first).await.unwrap().unwrap();
    }
    let after = world.another().await;
    after.session(first).await.unwrap();
    world.pass(Duration::from_mins(20));
    let last = world.directory.renew_session(first).await.unwrap().unwrap();
    world.directory.session(last.reveal()).await.unwrap();
    world.directory.session(first).await.unwrap();
}

#[tokio::test]
async fn a_token_of_long_ago_ends_the_session_too_where_it_is_used_or_signed_in_over() {
    for signs_in in [false, true] {
        let world = World::new().await;
        let ana = world.enrol("Ana", &[], Role::Reviewer).await;
        // A thief has a copy, and keeps the session for themself.
        let mut thief = ana.token.clone();
        for _ in 0..3 {
            world.pass(Duration::from_mins(20));
            thief = world.directory.renew_session(thief.reveal()).await.unwrap().unwrap();
            world.directory.session(thief.reveal()).await.unwrap();
        }
        if signs_in {
            let link = world.directory.issue_link(Author::Operator, ana.session.person).await.unwrap();
            let visitor = Visitor { cookie: Some(ana.token.reveal()), ..VISITOR };
            world.directory.redeem_link(link.secret.reveal(), &visitor).await.unwrap();
        } else {
            assert!(world.directory.session(ana.token.reveal()).await.is_err());
        }
        assert!(world.directory.session(thief.reveal()).await.is_err(), "signs in: {signs_in}");
    }
}

#[tokio::test]
async fn two_requests_that_would_renew_a_token_get_one_between_them() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    world.pass(Duration::from_hours(1));
    let renew = || world.directory.renew_session(ana.token.reveal());
    let (one, other) = tokio::join!(renew(), renew());
    let renewed: Vec<_> = [one.unwrap(), other.unwrap()].into_iter().flatten().collect();
    assert_eq!(renewed.len(), 1);
    world.directory.session(renewed.first().unwrap().reveal()).await.unwrap();
}
