//! A vote at assurance `passkey`: the voter's own passkey, over this very statement, on our own page.

use crate::world::{ORIGIN, World};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    ApprovalId, Digest, GateName, PersonId, Timestamp,
    statement::{Statement, Verdict},
};
use countersign_identity::{Author, IdentityError as E, Role};
use countersign_ledger::{
    CoseKey,
    assertion::{self, AssertionParts, Expected},
    error::AssertionError as A,
};
use countersign_testkit::passkey::{SoftPasskey, Verification};

fn statement(voter: PersonId) -> Statement {
    Statement {
        approval: ApprovalId::from_parts(1, 1),
        round: 1,
        gate: GateName::new("pii-export").unwrap(),
        decision: Verdict::Approve,
        voter,
        on_behalf_of: None,
        action_digest: Digest::of(b"action"),
        bundle_digest: Digest::of(b"bundle"),
        evidence_digest: Digest::of(b"evidence"),
        view_digest: Digest::of(b"view"),
        nonce: "00".repeat(32),
        expires: Timestamp(2_000_000_000_000_000),
    }
}

fn signed(world: &World, passkey: &mut SoftPasskey, statement: &Statement, origin: &str) -> String {
    let options = world.directory.begin_vote(statement).unwrap();
    passkey.assert(&options, origin).unwrap().to_string()
}

#[tokio::test]
async fn a_vote_is_signed_over_its_statement_and_can_be_verified_from_the_ledger_alone() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (id, mut passkey) = world.add_passkey(&ana).await;
    let statement = statement(ana.person);
    let options = world.directory.begin_vote(&statement).unwrap();
    let challenge = statement.challenge().unwrap();
    assert_eq!(options["challenge"], URL_SAFE_NO_PAD.encode(challenge.as_bytes()));
    assert_eq!(options["allowCredentials"][0]["id"], passkey.credential_id());
    let answer = signed(&world, &mut passkey, &statement, ORIGIN);
    let recorded = world.directory.verify_vote(&statement, answer.as_bytes()).await.unwrap();
    assert_eq!(recorded.credential, id);

    let registered = world.entries().into_iter().find(|entry| entry["type"] == "passkey.registered").unwrap();
    let key = URL_SAFE_NO_PAD.decode(registered["data"]["public_key"].as_str().unwrap()).unwrap();
    let expected = Expected {
        challenge: challenge.as_bytes(),
        origin: registered["data"]["origin"].as_str().unwrap(),
        relying_party: registered["data"]["relying_party"].as_str().unwrap(),
    };
    let parts = AssertionParts::decode(&recorded).unwrap();
    assertion::verify(&CoseKey::parse(&key).unwrap(), &expected, &parts).unwrap();
}

#[tokio::test]
async fn a_signature_over_any_other_statement_is_refused() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (_, mut passkey) = world.add_passkey(&ana).await;
    let asked = statement(ana.person);
    let answer = signed(&world, &mut passkey, &asked, ORIGIN);
    let changes: [fn(&mut Statement); 10] = [
        |one| one.approval = ApprovalId::from_parts(1, 2),
        |one| one.round = 2,
        |one| one.gate = GateName::new("other").unwrap(),
        |one| one.decision = Verdict::Reject,
        |one| one.action_digest = Digest::of(b"other"),
        |one| one.bundle_digest = Digest::of(b"other"),
        |one| one.evidence_digest = Digest::of(b"other"),
        |one| one.view_digest = Digest::of(b"other"),
        |one| one.nonce = "11".repeat(32),
        |one| one.expires = Timestamp(1),
    ];
    for change in changes {
        let mut other = asked.clone();
        change(&mut other);
        let refused = world.directory.verify_vote(&other, answer.as_bytes()).await;
        assert!(matches!(refused, Err(E::Passkey(A::Challenge))), "{other:?}");
    }
    let sign_in = passkey.assert(&world.directory.begin_sign_in().unwrap(), ORIGIN).unwrap().to_string();
    let refused = world.directory.verify_vote(&asked, sign_in.as_bytes()).await;
    assert!(matches!(refused, Err(E::Passkey(A::Challenge))), "a sign-in is no vote");
    let refused = world.directory.finish_sign_in(answer.as_bytes(), &crate::world::VISITOR).await;
    assert!(matches!(refused, Err(E::CeremonyOver)), "a vote is no sign-in");
    world.directory.verify_vote(&asked, answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn only_the_voters_own_passkey_votes_for_them() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let bob = world.reviewer("Bob").await;
    world.add_passkey(&ana).await;
    let (_, mut bobs) = world.add_passkey(&bob).await;
    let of_ana = statement(ana.person);
    let answer = signed(&world, &mut bobs, &of_ana, ORIGIN);
    assert!(matches!(world.directory.verify_vote(&of_ana, answer.as_bytes()).await, Err(E::UnknownPasskey)));
    let mut unregistered = SoftPasskey::new().unwrap();
    let answer = signed(&world, &mut unregistered, &of_ana, ORIGIN);
    assert!(matches!(world.directory.verify_vote(&of_ana, answer.as_bytes()).await, Err(E::UnknownPasskey)));
}

#[tokio::test]
async fn a_vote_that_deviates_is_refused() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let statement = statement(ana.person);
    let vote = async |passkey: &mut SoftPasskey, origin: &str| {
        let answer = signed(&world, passkey, &statement, origin);
        world.directory.verify_vote(&statement, answer.as_bytes()).await
    };
    let (_, mut passkey) = world.add_passkey(&ana).await;
    let elsewhere = vote(&mut passkey, "https://sign.example.com.evil.example").await;
    assert!(matches!(elsewhere, Err(E::Passkey(A::Origin { .. }))));
    passkey.verification = Verification::Skipped;
    assert!(matches!(vote(&mut passkey, ORIGIN).await, Err(E::Passkey(A::NotVerified))));
    passkey.verification = Verification::Done;
    passkey.other_relying_party = Some("evil.example".into());
    assert!(matches!(vote(&mut passkey, ORIGIN).await, Err(E::Passkey(A::RelyingParty(_)))));
    passkey.other_relying_party = None;
    vote(&mut passkey, ORIGIN).await.unwrap();
}

#[tokio::test]
async fn the_removed_the_disabled_and_auditors_do_not_vote() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let (removed, mut passkey) = world.add_passkey(&ana).await;
    world.add_passkey(&ana).await;
    let of_ana = statement(ana.person);
    let answer = signed(&world, &mut passkey, &of_ana, ORIGIN);
    world.directory.remove_passkey(Author::Operator, removed).await.unwrap();
    assert!(matches!(world.directory.verify_vote(&of_ana, answer.as_bytes()).await, Err(E::UnknownPasskey)));

    let bob = world.reviewer("Bob").await;
    let (_, mut passkey) = world.add_passkey(&bob).await;
    let of_bob = statement(bob.person);
    let answer = signed(&world, &mut passkey, &of_bob, ORIGIN);
    world.directory.disable_person(Author::Operator, bob.person).await.unwrap();
    assert!(matches!(world.directory.verify_vote(&of_bob, answer.as_bytes()).await, Err(E::UnknownPasskey)));
    assert!(world.directory.begin_vote(&of_bob).is_err());

    let auditor = world.enrol("Aud", &["sre"], Role::Auditor).await.session;
    let (_, mut passkey) = world.add_passkey(&auditor).await;
    let of_auditor = statement(auditor.person);
    let answer = signed(&world, &mut passkey, &of_auditor, ORIGIN);
    assert!(matches!(
        world.directory.verify_vote(&of_auditor, answer.as_bytes()).await,
        Err(E::UnknownPasskey)
    ));
}

#[tokio::test]
async fn somebody_without_a_passkey_is_told_so() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    assert!(matches!(world.directory.begin_vote(&statement(ana.person)), Err(E::UnknownPasskey)));
}

#[tokio::test]
async fn a_copied_passkey_does_not_vote_and_the_counter_is_kept() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await;
    let mut passkey = SoftPasskey::new().unwrap();
    passkey.counter = Some(10);
    world.register(&ana, &mut passkey, ORIGIN).await.unwrap();
    let statement = statement(ana.person);
    let answer = signed(&world, &mut passkey, &statement, ORIGIN);
    world.directory.verify_vote(&statement, answer.as_bytes()).await.unwrap();
    let replayed = world.directory.verify_vote(&statement, answer.as_bytes()).await;
    assert!(matches!(replayed, Err(E::ClonedPasskey)), "the same counter twice");
    assert_eq!(world.types().pop().unwrap(), "intake.refused");
    assert_eq!(world.another().await.passkeys(ana.person)[0].counter, 12, "durable");
}
