//! Who may vote, and what happens when several do at once.

use crate::stage::{LONG, Stage, olga, person};
use countersign_core::{Assurance, Class, approval::Taker};
use countersign_engine::{
    settle,
    vote::{self, Cast, VoteRefused},
};
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn the_requesters_side_has_no_vote_and_its_attempt_is_recorded() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Configure, "on").await;
    let refused = stage.approve(olga(), id).await.unwrap_err();
    assert!(refused.to_string().contains("requester's side"), "{refused}");
    assert_eq!(stage.events_of(id).await, ["approval.requested", "approval.vote_refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_the_owner_has_just_brought_in_has_no_vote() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Configure, "on").await;
    // After the action was held, so that nothing recorded then excludes them.
    stage.people.introduced_by_olga.lock().unwrap().insert(person(5));
    let refused = stage.approve(person(5), id).await.unwrap_err();
    assert!(matches!(refused, VoteRefused::NotEligible(_)), "{refused}");
    assert_eq!(stage.state(id).await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_just_brought_the_owner_in_has_no_vote() {
    let stage = Stage::new().await;
    *stage.people.brought_olga.lock().unwrap() = Some(person(4));
    let id = stage.hold(Class::Configure, "on").await;
    let refused = stage.approve(person(4), id).await.unwrap_err();
    assert!(refused.to_string().contains("brought in the requester's side"), "{refused}");
    stage.approve(person(3), id).await.unwrap();
    stage.until(id, "done").await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ballot_counts_once_and_only_as_handed_out() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Export, "all").await;
    let statement = stage.ballot(person(1), id).await.unwrap().statement;
    let cast = |statement| Cast {
        statement,
        assurance: Assurance::Session,
        assertion: None,
        reason: None,
        sign_in: countersign_core::SignIn::default(),
    };
    let mut forged = statement.clone();
    forged.voter = person(2);
    let refused = vote::cast(&stage.gate, cast(forged)).await.unwrap().unwrap_err();
    assert_eq!(refused, VoteRefused::Ballot);
    vote::cast(&stage.gate, cast(statement.clone())).await.unwrap().unwrap();
    let again = vote::cast(&stage.gate, cast(statement)).await.unwrap().unwrap_err();
    assert_eq!(again, VoteRefused::Ballot);
    assert_eq!(stage.state(id).await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_asks_for_ballots_without_end_takes_nobody_elses() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Export, "all").await;
    let cast = |statement| Cast {
        statement,
        assurance: Assurance::Session,
        assertion: None,
        reason: None,
        sign_in: countersign_core::SignIn::default(),
    };
    let others = stage.ballot(person(2), id).await.unwrap().statement;
    let first = stage.ballot(person(1), id).await.unwrap().statement;
    let mut last = first.clone();
    for _ in 0..100 {
        stage.clock.pass(Duration::from_micros(1));
        last = stage.ballot(person(1), id).await.unwrap().statement;
    }
    let refused = vote::cast(&stage.gate, cast(first)).await.unwrap().unwrap_err();
    assert_eq!(refused, VoteRefused::Ballot);
    vote::cast(&stage.gate, cast(last)).await.unwrap().unwrap();
    vote::cast(&stage.gate, cast(others)).await.unwrap().unwrap();
    stage.until(id, "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_left_since_their_vote_do_not_count_when_it_runs() {
    let stage = Stage::new().await;
    // The target is offline until person 1 has left the group.
    stage.cloud.offline.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
    let id = stage.hold(Class::Configure, "on").await;
    stage.people.left.lock().unwrap().clear();
    let ballot = stage.ballot(person(1), id).await.unwrap();
    let cast = Cast {
        statement: ballot.statement,
        assurance: Assurance::Session,
        assertion: None,
        reason: None,
        sign_in: countersign_core::SignIn::default(),
    };
    vote::cast(&stage.gate, cast).await.unwrap().unwrap();
    stage.people.left.lock().unwrap().insert(person(1));
    stage.until(id, "pending").await;
    assert_eq!(stage.cloud.count(), 0);
    stage.cloud.offline.store(0, std::sync::atomic::Ordering::SeqCst);
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_appeared_since_holds_what_was_granted() {
    let stage = Stage::new().await;
    let id = stage.ask_and_leave(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    assert_eq!(stage.state(id).await, "granted");
    let more = r#"
@id("second") @gate("second") @approvers("Group::\"privacy\"") @quorum("1") @expires("30m") @step_up("session")
@reason("new rule") forbid (principal, action in Action::"configure", resource);
"#;
    stage.policy(&format!("{}{more}", crate::stage::POLICY)).await;
    let waiting = stage.ask(Class::Configure, "on", Duration::ZERO).await.unwrap();
    assert!(matches!(waiting, countersign_engine::Reply::Pending(_)), "{waiting:?}");
    stage.until(id, "pending").await;
    assert_eq!(stage.cloud.count(), 0);
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_forbids_meanwhile_does_not_run() {
    let stage = Stage::new().await;
    let id = stage.ask_and_leave(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage
        .policy(&format!(
            "{}@id(\"closed\") forbid (principal, action in Action::\"configure\", resource);",
            crate::stage::POLICY
        ))
        .await;
    let reply = stage.ask(Class::Configure, "on", LONG).await.unwrap();
    assert!(matches!(reply, countersign_engine::Reply::Refused(_)), "{reply:?}");
    assert_eq!(stage.cloud.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_votes_and_a_revocation_at_once_one_result_stands() {
    for round in 0..20_u32 {
        let stage = Arc::new(Stage::new().await);
        let id = stage.hold(Class::Export, "all").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 1..=4 {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { stage.approve(person(n), id).await.is_ok() });
        }
        if round % 2 == 0 {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move {
                let taken = settle::revoke(&stage.gate, id, Taker::Person(person(9)), "no").await.unwrap();
                taken.is_ok()
            });
        } else {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { stage.reject(person(9), id, "no").await.is_ok() });
        }
        tasks.join_all().await;
        // Granted, it runs by itself; revoked while it ran, it may have been cancelled.
        let state = stage.until_any(id, &["done", "revoked", "rejected", "cancelled", "unknown"]).await;
        let ran = stage.cloud.count();
        assert!(ran <= 1 && (ran == 1) == (state == "done"), "{state} after {ran} runs");
        stage.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_on_the_deadline_is_too_late() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Configure, "on").await;
    let ballot = stage.ballot(person(1), id).await.unwrap();
    stage.clock.pass(Duration::from_mins(30));
    let cast = Cast {
        statement: ballot.statement,
        assurance: Assurance::Session,
        assertion: None,
        reason: None,
        sign_in: countersign_core::SignIn::default(),
    };
    assert!(vote::cast(&stage.gate, cast).await.unwrap().is_err());
    stage.until(id, "lapsed").await;
    assert_eq!(stage.cloud.count(), 0);
}
