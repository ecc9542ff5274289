//! Passkeys: what is asked of an authenticator, what is accepted from it, and every way in which it is refused.

use crate::world::{ORIGIN, VISITOR, World, open};
use countersign_core::{Assurance, PersonId};
use countersign_identity::{Author, IdentityError as E, Role};
use countersign_ledger::error::AssertionError as A;
use countersign_testkit::passkey::{SoftPasskey, Verification};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_passkey_is_registered_and_signs_in_without_naming_anyone() {
    let world = World::new().await;
    let session = world.reviewer("Ana").await;
    let (id, mut passkey) = world.add_passkey(&session).await;
    let registered = world.entries().pop().unwrap();
    assert_eq!(registered["type"], "passkey.registered");
    assert_eq!(registered["data"]["credential"], id.to_string());
    assert_eq!(registered["data"]["credential_id"], passkey.credential_id());
    assert_eq!(registered["data"]["relying_party"], "sign.example.com");
    assert_eq!(registered["data"]["origin"], ORIGIN);
    let signed_in = world.sign_in(&mut passkey, ORIGIN).await.unwrap();
    assert_eq!(signed_in.session.person, session.person);
    assert_eq!(signed_in.session.assurance, Assurance::Passkey);
    let listed = world.directory.passkeys(session.person);
    assert_eq!((listed[0].id, listed[0].name.as_str(), listed[0].used_at), (id, "laptop", Some(world.now())));
}

#[tokio::test]
async fn options_ask_for_discoverable_verified_unattested_credentials() {
    let world = World::new().await;
    let session = world.reviewer("Ana").await;
    let (_, passkey) = world.add_passkey(&session).await;
    let options = world.directory.begin_registration(&world.proven(&session)).unwrap();
    assert_eq!(options["rp"], json!({"id": "sign.example.com", "name": "Countersign"}));
    assert_eq!(options["attestation"], "none");
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    let algorithms: Vec<_> = options["pubKeyCredParams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["alg"].as_i64().unwrap())
        .collect();
    assert_eq!(algorithms, [-7, -8, -257]);
    assert_eq!(options["excludeCredentials"][0]["id"], passkey.credential_id());
    assert_eq!(options["excludeCredentials"][0]["transports"], json!(["internal"]));
    assert_eq!(options["user"]["id"].as_str().unwrap().len(), 43, "random, not the person's id");
    let sign_in = world.directory.begin_sign_in().unwrap();
    assert_eq!(sign_in["allowCredentials"], json!([]), "tells nobody who has a passkey");
    assert_eq!(sign_in["userVerification"], "required");
    assert_eq!(sign_in["rpId"], "sign.example.com");
}

/// Makes one passkey misbehave.
type Twist = fn(&mut SoftPasskey);

/// What it is, how the passkey is twisted, the page's origin, and what is found wrong.
type Case = (&'static str, Twist, &'static str, fn(&A) -> bool);

fn twists() -> Vec<Case> {
    vec![
        ("wrong origin", |_| (), "https://evil.example", |error| matches!(error, A::Origin { .. })),
        ("other port", |_| (), "https://sign.example.com:8443", |error| matches!(error, A::Origin { .. })),
        ("no encryption", |_| (), "http://sign.example.com", |error| matches!(error, A::Origin { .. })),
        (
            "other relying party",
            |passkey| passkey.other_relying_party = Some("example.com".into()),
            ORIGIN,
            |error| matches!(error, A::RelyingParty(_)),
        ),
        (
            "nobody verified",
            |passkey| passkey.verification = Verification::Skipped,
            ORIGIN,
            |error| matches!(error, A::NotVerified),
        ),
        (
            "embedded page",
            |passkey| passkey.embedded_in = Some("https://evil.example".into()),
            ORIGIN,
            |error| matches!(error, A::CrossOrigin),
        ),
    ]
}

#[tokio::test]
async fn a_registration_that_deviates_is_refused() {
    let world = World::new().await;
    let session = world.reviewer("Ana").await;
    let mut cases = twists();
    cases.push((
        "other challenge",
        |passkey| passkey.other_challenge = Some("AAAA".into()),
        ORIGIN,
        |error| matches!(error, A::Challenge),
    ));
    for (what, twist, origin, expected) in cases {
        let mut passkey = SoftPasskey::new().unwrap();
        twist(&mut passkey);
        let refused = world.register(&session, &mut passkey, origin).await;
        let found = matches!(&refused, Err(E::Passkey(error)) if expected(error));
        assert!(found, "{what}: {refused:?}");
    }
    assert!(world.directory.passkeys(session.person).is_empty());
}

#[tokio::test]
async fn a_sign_in_that_deviates_is_refused() {
    let world = World::new().await;
    let session = world.reviewer("Ana").await;
    for (what, twist, origin, expected) in twists() {
        let (_, mut passkey) = world.add_passkey(&session).await;
        twist(&mut passkey);
        let refused = world.sign_in(&mut passkey, origin).await;
        let found = matches!(&refused, Err(E::Passkey(error)) if expected(error));
        assert!(found, "{what}: {refused:?}");
    }
    let (_, mut passkey) = world.add_passkey(&session).await;
    passkey.other_challenge = Some("AAAA".into());
    assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::CeremonyOver)));
    let mut stranger = SoftPasskey::new().unwrap();
    assert!(matches!(world.sign_in(&mut stranger, ORIGIN).await, Err(E::UnknownPasskey)));
    assert_eq!(world.types().iter().filter(|kind| *kind == "session.opened").count(), 1, "only the link's");
}

#[tokio::test]
async fn a_ceremony_is_answered_once_in_time_and_by_its_own_session() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let bob = world.reviewer("Bob").await;
    let finish = async |session, answer: &Value| {
        world.directory.finish_registration(session, "key", answer.to_string().as_bytes()).await
    };
    let mut passkey = SoftPasskey::new().unwrap();
    let answer = passkey.register(&world.directory.begin_registration(&ana).unwrap(), ORIGIN).unwrap();
    assert!(matches!(finish(&bob, &answer).await, Err(E::CeremonyOver)), "another session");
    finish(&ana, &answer).await.unwrap();
    let ana = world.proven(&ana);
    assert!(matches!(finish(&ana, &answer).await, Err(E::CeremonyOver)), "a second time");
    let late =
        SoftPasskey::new().unwrap().register(&world.directory.begin_registration(&ana).unwrap(), ORIGIN);
    let options = world.directory.begin_sign_in().unwrap();
    let sign_in = passkey.assert(&options, ORIGIN).unwrap().to_string();
    let late_sign_in = passkey.assert(&world.directory.begin_sign_in().unwrap(), ORIGIN).unwrap().to_string();
    world.directory.finish_sign_in(sign_in.as_bytes(), &VISITOR).await.unwrap();
    let replayed = world.directory.finish_sign_in(sign_in.as_bytes(), &VISITOR).await;
    assert!(matches!(replayed, Err(E::CeremonyOver)), "a captured answer is worth nothing");
    world.pass(Duration::from_mins(5));
    let ana = world.proven(&ana);
    assert!(matches!(finish(&ana, &late.unwrap()).await, Err(E::CeremonyOver)), "too late");
    let late = world.directory.finish_sign_in(late_sign_in.as_bytes(), &VISITOR).await;
    assert!(matches!(late, Err(E::CeremonyOver)));
}

#[tokio::test]
async fn a_stolen_session_does_not_become_a_passkey() {
    let world = World::new().await;
    let by_link = world.reviewer("Ana").await;
    let (_, mut passkey) = world.add_passkey(&by_link).await;
    let refused = world.directory.begin_registration(&by_link).unwrap_err();
    assert!(matches!(refused, E::NotFresh), "a link's session changes no passkeys once there are some");
    let signed_in = world.sign_in(&mut passkey, ORIGIN).await.unwrap().session;
    assert!(world.directory.begin_registration(&signed_in).is_ok());
    world.pass(Duration::from_mins(6));
    assert!(matches!(world.directory.begin_registration(&signed_in), Err(E::NotFresh)), "stolen later");
    assert!(matches!(world.directory.freshly_proven(&signed_in), Err(E::NotFresh)));
}

#[tokio::test]
async fn the_first_passkey_is_registered_soon_after_signing_in_or_not_at_all() {
    let world = World::new().await;
    let ana = world.enrol("Ana", &[], Role::Reviewer).await;
    world.pass(Duration::from_mins(30));
    world.directory.begin_registration(&ana.session).unwrap();
    world.pass(Duration::from_mins(1));
    assert!(matches!(world.directory.begin_registration(&ana.session), Err(E::SignedInLongAgo)));
    let link = world.directory.issue_link(Author::Operator, ana.session.person).await.unwrap();
    let again = world.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    world.directory.begin_registration(&again.session).unwrap();
}

#[tokio::test]
async fn a_session_that_ended_registers_nothing() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let mut passkey = SoftPasskey::new().unwrap();
    let answer =
        passkey.register(&world.directory.begin_registration(&ana).unwrap(), ORIGIN).unwrap().to_string();
    world.directory.close_session(ana.id).await.unwrap();
    let refused = world.directory.finish_registration(&ana, "key", answer.as_bytes()).await;
    assert!(matches!(refused, Err(E::NotSignedIn)));
}

#[tokio::test]
async fn a_copied_passkey_is_refused_and_recorded() {
    let world = World::new().await;
    let session = world.reviewer("Ana").await;
    let mut passkey = SoftPasskey::new().unwrap();
    passkey.counter = Some(5);
    let id = world.register(&session, &mut passkey, ORIGIN).await.unwrap();
    world.sign_in(&mut passkey, ORIGIN).await.unwrap();
    assert_eq!(world.directory.passkeys(session.person)[0].counter, 7);
    for stale in [Some(6), Some(2), None] {
        passkey.counter = stale;
        assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::ClonedPasskey)), "{stale:?}");
        let row = world.store.rows().pop().unwrap();
        assert_eq!(world.types().pop().unwrap(), "intake.refused");
        assert_eq!(row.actor, session.person.to_string());
        let named = row.sealed.private.iter().any(|field| field.value == id.to_string().as_bytes());
        assert!(named, "the entry says which passkey");
    }
    assert_eq!(world.directory.passkeys(session.person)[0].counter, 7);
    passkey.counter = Some(7);
    world.sign_in(&mut passkey, ORIGIN).await.unwrap();
}

#[tokio::test]
async fn a_copy_that_cannot_be_recorded_is_still_refused() {
    let world = World::new().await;
    let session = world.reviewer("Ana").await;
    let mut passkey = SoftPasskey::new().unwrap();
    passkey.counter = Some(5);
    world.register(&session, &mut passkey, ORIGIN).await.unwrap();
    passkey.counter = Some(1);
    world.store.refuse(Some(countersign_engine::port::store::CommitError::Full));
    assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::Write(_))));
}

#[tokio::test]
async fn a_removed_passkey_opens_nothing_and_only_its_owner_or_an_administrator_removes_it() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let bob = world.reviewer("Bob").await;
    let (id, mut passkey) = world.add_passkey(&ana).await;
    let by_bob = world.directory.remove_passkey(Author::Person(bob.person), id).await;
    assert!(matches!(by_bob, Err(E::NotAllowed { .. })));
    world.sign_in(&mut passkey, ORIGIN).await.unwrap();
    world.directory.remove_passkey(Author::Person(ana.person), id).await.unwrap();
    assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::UnknownPasskey)));
    assert_eq!(world.types().pop().unwrap(), "passkey.removed");
    let (id, mut passkey) = world.add_passkey(&ana).await;
    world.directory.remove_passkey(Author::Operator, id).await.unwrap();
    assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::UnknownPasskey)));
    assert!(matches!(
        world.directory.remove_passkey(Author::Operator, id).await,
        Err(E::UnknownCredential(_))
    ));
}

#[tokio::test]
async fn a_disabled_person_does_not_sign_in() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (_, mut passkey) = world.add_passkey(&ana).await;
    world.directory.disable_person(Author::Operator, ana.person).await.unwrap();
    assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::UnknownPasskey)));
    assert!(world.directory.begin_registration(&ana).is_err());
}

#[tokio::test]
async fn a_passkey_belongs_to_one_person() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let bob = world.reviewer("Bob").await;
    let (_, mut passkey) = world.add_passkey(&ana).await;
    assert!(matches!(world.register(&bob, &mut passkey, ORIGIN).await, Err(E::PasskeyTaken)));
    // It has bob's handle now, and still is ana's: neither gets in with it.
    assert!(matches!(world.sign_in(&mut passkey, ORIGIN).await, Err(E::UnknownPasskey)));
}

#[tokio::test]
async fn an_answer_without_a_user_handle_signs_nobody_in() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (_, mut passkey) = world.add_passkey(&ana).await;
    let mut answer = passkey.assert(&world.directory.begin_sign_in().unwrap(), ORIGIN).unwrap();
    answer["response"]["userHandle"] = Value::Null;
    let refused = world.directory.finish_sign_in(answer.to_string().as_bytes(), &VISITOR).await;
    assert!(matches!(refused, Err(E::UnknownPasskey)));
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_refused_and_slow_their_source_down() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (_, mut passkey) = world.add_passkey(&ana).await;
    let good = passkey.assert(&world.directory.begin_sign_in().unwrap(), ORIGIN).unwrap();
    let twisted = |pointer: &str, value: Value| {
        let mut answer = good.clone();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer.to_string()
    };
    let text = good.to_string();
    for answer in [
        String::new(),
        "{}".into(),
        "[]".into(),
        twisted("/type", json!("password")),
        twisted("/rawId", json!("AAAA")),
        twisted("/response/clientDataJSON", json!("not base64url!")),
        twisted("/response/clientDataJSON", json!("e30")),
        twisted("/response/signature", json!("AAAA=")),
        twisted("/response/authenticatorData", json!("AAAA")),
        text.replacen('{', "{\"id\":\"AAAA\",", 1),
        format!("{text}{}", " ".repeat(70_000)),
        format!("{text}x"),
    ] {
        let refused = world.directory.finish_sign_in(answer.as_bytes(), &VISITOR).await;
        assert!(matches!(refused, Err(E::UnreadableAnswer(_) | E::Passkey(_))), "{answer:.60}: {refused:?}");
    }
    for _ in 0..20 {
        let _ = world.directory.finish_sign_in(b"{}", &VISITOR).await;
    }
    let slowed = world.directory.finish_sign_in(b"{}", &VISITOR).await;
    assert!(matches!(slowed, Err(E::TooManyAttempts { .. })));
    // Whoever has the passkey comes in, from the same address all the same.
    world.directory.finish_sign_in(text.as_bytes(), &VISITOR).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_begun_sign_ins_pushes_nobodys_out() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (_, mut passkey) = world.add_passkey(&ana).await;
    let options = world.directory.begin_sign_in().unwrap();
    for _ in 0..20_000 {
        world.directory.begin_sign_in().unwrap();
    }
    let answer = passkey.assert(&options, ORIGIN).unwrap().to_string();
    world.directory.finish_sign_in(answer.as_bytes(), &VISITOR).await.unwrap();
}

#[tokio::test]
async fn a_person_has_sixteen_passkeys_at_most() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    for _ in 0..16 {
        world.add_passkey(&ana).await;
    }
    let refused = world.register(&ana, &mut SoftPasskey::new().unwrap(), ORIGIN).await;
    assert!(matches!(refused, Err(E::TooManyPasskeys(16))));
}

#[tokio::test]
async fn a_console_reached_by_address_says_that_passkeys_need_a_name() {
    let world = World::new().await;
    let (_, link) = world.invite("Ana", &[], Role::Reviewer).await;
    let local = open(&world.journal, "http://127.0.0.1:8700", &[]).await;
    let ana = local.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap().session;
    for refused in [local.begin_registration(&ana), local.begin_sign_in()] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, E::NoRelyingParty));
        assert!(refused.hint().unwrap().contains("http://localhost"));
    }
    assert!(local.passkeys(PersonId::from_parts(1, 1)).is_empty());
}
