//! What is approved runs through the requester's own exchange, once, and only while the requester is there.

use crate::stage::{LONG, Stage, authorized, person};
use bytes::Bytes;
use countersign_core::{ApprovalId, Class, RefusalCode, Requester, approval::Taker};
use countersign_engine::{
    Reply,
    reply::Refused,
    reply::Ticket,
    settle::{self, Claim},
};
use countersign_ledger::event::Actor;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};

fn refused(reply: Reply<Bytes>) -> Refused {
    match reply {
        Reply::Refused(refused) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

fn live(reply: Reply<Bytes>) -> Bytes {
    match reply {
        Reply::Live(body) => body,
        other => panic!("did not run here: {other:?}"),
    }
}

/// A session that waits for people; what its client was shown, and the approval.
async fn waiting(
    stage: &Stage,
    body: &str,
) -> (JoinHandle<Reply<Bytes>>, UnboundedReceiver<Ticket>, ApprovalId) {
    let (session, mut shown) = stage.session(body);
    let asked = stage.ask_in(session, Class::Configure, LONG);
    let id = shown.recv().await.unwrap().approval;
    (asked, shown, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_action_runs_through_its_own_exchange_once_granted() {
    let stage = Stage::new().await;
    let (session, mut shown) = stage.session("on");
    let asked = stage.ask_in(session, Class::Configure, LONG);
    let ticket = shown.recv().await.unwrap();
    assert_eq!((ticket.state.as_str(), ticket.waits_for.len()), ("pending", 1));
    assert!(ticket.link.ends_with(&ticket.approval.to_string()), "{ticket:?}");
    assert_eq!(stage.cloud.count(), 0);
    stage.approve(person(1), ticket.approval).await.unwrap();
    assert_eq!(live(asked.await.unwrap()), "on");
    assert!(shown.recv().await.is_none(), "it is told once, as nothing changed");
    assert_eq!(stage.cloud.connects.load(Ordering::SeqCst), 1, "through the one exchange there was");
    let want = [
        "approval.requested",
        "approval.voted",
        "approval.granted",
        "execution.authorized",
        "execution.result",
        "result.delivered",
    ];
    assert_eq!(stage.events_of(ticket.approval).await, want);
    let (_, _, again) = waiting(&stage, "on").await;
    assert_ne!(again, ticket.approval, "after delivery the same bytes are a new action");
    assert_eq!(stage.verify().executed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_permits_runs_as_ever() {
    let stage = Stage::new().await;
    let (session, _) = stage.session("q");
    assert_eq!(live(stage.ask_in(session, Class::Read, LONG).await.unwrap()), "streamed");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_waits_for_the_requester_who_left_and_never_runs_without_it() {
    let stage = Stage::new().await;
    let (asked, _, id) = waiting(&stage, "on").await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    stage.approve(person(1), id).await.unwrap();
    let stage = stage.restart().await;
    assert_eq!(stage.state(id).await, "granted");
    assert_eq!(stage.cloud.count(), 0, "nothing runs without the requester");
    let (session, mut shown) = stage.session("on");
    assert_eq!(live(stage.ask_in(session, Class::Configure, LONG).await.unwrap()), "on");
    assert!(shown.recv().await.is_none(), "nobody is asked again");
    assert_eq!((stage.state(id).await.as_str(), stage.cloud.count()), ("done", 1));
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_nobody_comes_for_lapses() {
    let stage = Stage::new().await;
    let (asked, _, id) = waiting(&stage, "on").await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    stage.approve(person(1), id).await.unwrap();
    stage.clock.pass(Duration::from_mins(10));
    stage.until(id, "lapsed").await;
    assert_eq!(stage.cloud.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_patience_leaves_the_approval_and_no_handle() {
    let stage = Stage::new().await;
    let (session, _) = stage.session("on");
    let reply = stage.ask_in(session, Class::Configure, Duration::ZERO).await.unwrap();
    let Reply::Pending(ticket) = reply else { panic!("not pending: {reply:?}") };
    stage.approve(person(1), ticket.approval).await.unwrap();
    let stage = stage.restart().await;
    assert_eq!(stage.state(ticket.approval).await, "granted", "without a handle nothing runs by itself");
    let (session, _) = stage.session("on");
    assert_eq!(live(stage.ask_in(session, Class::Configure, Duration::ZERO).await.unwrap()), "on");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sessions_at_one_grant_one_runs_and_the_other_is_told() {
    let stage = Stage::new().await;
    let (first, _, id) = waiting(&stage, "on").await;
    let (second, _, same) = waiting(&stage, "on").await;
    assert_eq!(id, same);
    stage.approve(person(1), id).await.unwrap();
    let replies = [first.await.unwrap(), second.await.unwrap()];
    let ran = replies.iter().filter(|reply| matches!(reply, Reply::Live(_))).count();
    assert_eq!((ran, stage.cloud.count()), (1, 1), "{replies:?}");
    let told = replies.into_iter().find(|reply| matches!(reply, Reply::Refused(_)));
    let told = refused(told.unwrap());
    assert_eq!(told.refusal.code, RefusalCode::Spent);
    assert!(told.refusal.reason.contains("the action ran"), "{told:?}");
    assert_eq!(authorized(&stage.entries().await), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_fails_to_connect_leaves_the_grant_to_the_other() {
    let stage = Stage::new().await;
    stage.cloud.offline.store(1, Ordering::SeqCst);
    let (first, _, id) = waiting(&stage, "on").await;
    let (second, _, _) = waiting(&stage, "on").await;
    stage.approve(person(1), id).await.unwrap();
    let replies = [first.await.unwrap(), second.await.unwrap()];
    let ran = replies.iter().filter(|reply| matches!(reply, Reply::Live(_))).count();
    let told = replies.into_iter().find(|reply| matches!(reply, Reply::Refused(_)));
    assert_eq!(refused(told.unwrap()).refusal.code, RefusalCode::Unreachable);
    assert_eq!((ran, stage.cloud.count()), (1, 1));
    assert_eq!(authorized(&stage.entries().await), 1, "a connection that failed was no attempt");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_missed_its_caller_is_handed_over_to_the_repeat() {
    let stage = Stage::new().await;
    let (mut session, mut shown) = stage.session("on");
    session.leaves = true;
    let asked = stage.ask_in(session, Class::Configure, LONG);
    let id = shown.recv().await.unwrap().approval;
    stage.approve(person(1), id).await.unwrap();
    asked.await.unwrap();
    let (session, _) = stage.session("on");
    let reply = stage.ask_in(session, Class::Configure, LONG).await.unwrap();
    let Reply::Kept(handover) = reply else { panic!("nothing kept: {reply:?}") };
    assert_eq!(handover.kept().body.as_deref(), Some(b"kept".as_slice()));
    handover.done().await.unwrap();
    assert_eq!(stage.cloud.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_cancels_what_runs_in_a_session() {
    let stage = Stage::new().await;
    stage.cloud.pace.forget_permits(1 << 20);
    let (asked, _, id) = waiting(&stage, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "executing").await;
    settle::revoke(&stage.gate, id, Taker::Person(person(2)), "wrong night").await.unwrap().unwrap();
    assert_eq!(refused(asked.await.unwrap()).refusal.code, RefusalCode::Spent);
    assert_eq!((stage.state(id).await.as_str(), stage.cloud.count()), ("cancelled", 0));
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawing_answers_the_session_that_waits() {
    let stage = Stage::new().await;
    let (asked, _, id) = waiting(&stage, "on").await;
    settle::withdraw(&stage.gate, &Stage::requester(), Actor::Gateway, id).await.unwrap().unwrap().unwrap();
    assert_eq!(refused(asked.await.unwrap()).refusal.code, RefusalCode::Withdrawn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_who_left_meanwhile_is_replaced_before_anything_runs() {
    let stage = Stage::new().await;
    let (asked, _, id) = waiting(&stage, "on").await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    stage.approve(person(1), id).await.unwrap();
    stage.people.left.lock().unwrap().insert(person(1));
    let (session, mut shown) = stage.session("on");
    let asked = stage.ask_in(session, Class::Configure, LONG);
    assert_eq!(shown.recv().await.unwrap().approval, id, "its client is told that it waits again");
    assert_eq!(stage.cloud.count(), 0);
    stage.approve(person(2), id).await.unwrap();
    assert_eq!(live(asked.await.unwrap()), "on");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_leaves_at_any_moment_leaves_no_execution_open() {
    let stage = Stage::new().await;
    for pause_us in (0..6_000).step_by(200) {
        let (asked, _, id) = waiting(&stage, &format!("{pause_us}")).await;
        stage.approve(person(1), id).await.unwrap();
        tokio::time::sleep(Duration::from_micros(pause_us)).await;
        asked.abort();
    }
    let settled = async {
        loop {
            let entries = stage.entries().await;
            let ends = ["execution.result", "execution.released", "execution.outcome_unknown"];
            let ended = entries.iter().filter(|entry| ends.contains(&entry.event.kind())).count();
            if ended == authorized(&entries) && stage.gate.running() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, settled).await.unwrap();
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_it_runs_in_a_session_is_unknown_and_never_repeated() {
    let stage = Stage::new().await;
    stage.cloud.pace.forget_permits(1 << 20);
    let (_asked, _, id) = waiting(&stage, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "executing").await;
    let next = stage.crash().await;
    assert_eq!(next.state(id).await, "unknown");
    let (session, _) = next.session("on");
    let told = refused(next.ask_in(session, Class::Configure, LONG).await.unwrap());
    assert_eq!(told.refusal.code, RefusalCode::Spent);
    assert_eq!(next.cloud.count(), 0);
    next.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_same_agent_takes_nothing_up() {
    let stage = Stage::new().await;
    let (asked, _, id) = waiting(&stage, "on").await;
    let own = Stage::requester();
    let others = [
        Requester { claims: [("ref".to_owned(), "tag".to_owned())].into(), ..own.clone() },
        Requester { on_behalf_of: vec![person(7)], ..own.clone() },
    ];
    let target = "cloud".parse().unwrap();
    for other in &others {
        assert!(settle::status(&stage.gate, other, id, Duration::ZERO).await.unwrap().is_none());
        assert!(settle::look(&stage.gate, other, &target, id).await.unwrap().is_none());
        assert!(settle::withdraw(&stage.gate, other, Actor::Gateway, id).await.unwrap().is_none());
    }
    stage.approve(person(1), id).await.unwrap();
    assert_eq!(live(asked.await.unwrap()), "on");
    for other in &others {
        let claim = Claim { requester: other, target: &target, approval: id, patience: LONG };
        assert!(settle::claim(&stage.gate, claim, stage.session("on").0).await.unwrap().is_none());
    }
    assert!(settle::status(&stage.gate, &own, id, Duration::ZERO).await.unwrap().is_some());
    assert_eq!(stage.cloud.count(), 1);
}
