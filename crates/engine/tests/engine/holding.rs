//! Permit, hold, attach, deliver, refuse.

use crate::stage::{LONG, Stage, authorized, person};
use bytes::Bytes;
use countersign_core::{Class, RefusalCode, approval::Taker};
use countersign_engine::{
    Limits, Reply, depart,
    reply::Refused,
    settle::{self, Froze},
};
use std::{sync::atomic::Ordering, time::Duration};

fn refused(reply: Reply<Bytes>) -> Refused {
    match reply {
        Reply::Refused(refused) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

/// Takes the kept answer and says that it arrived.
async fn deliver(reply: Reply<Bytes>) -> Vec<u8> {
    match reply {
        Reply::Kept(handover) => {
            let body = handover.kept().body.clone().unwrap();
            handover.done().await.unwrap();
            body
        }
        other => panic!("nothing kept: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_permitted_runs_at_once_and_is_recorded_before_and_after() {
    let stage = Stage::new().await;
    let reply = stage.ask(Class::Read, "q", LONG).await.unwrap();
    assert!(matches!(reply, Reply::Live(_)), "{reply:?}");
    let kinds: Vec<_> = stage.happened().await.iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["execution.authorized", "execution.result"]);
    assert_eq!(stage.verify().executed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_refuses_and_is_recorded() {
    let stage = Stage::new().await;
    let refused = refused(stage.ask(Class::Administer, "q", LONG).await.unwrap());
    assert_eq!(refused.refusal.code, RefusalCode::Wall);
    assert!(refused.refusal.reason.contains("never in production"), "{refused:?}");
    assert_eq!(stage.cloud.connects.load(Ordering::SeqCst), 0);
    assert_eq!(stage.happened().await.last().unwrap().event.kind(), "action.refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_action_runs_once_after_its_quorum_and_is_delivered_once() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Export, "all").await;
    stage.approve(person(1), id).await.unwrap();
    assert_eq!(stage.state(id).await, "pending");
    assert_eq!(stage.cloud.count(), 0, "nothing runs before the quorum");
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    // The same bytes again attach to the finished approval and get its one answer.
    let reply = stage.ask(Class::Export, "all", LONG).await.unwrap();
    assert_eq!(deliver(reply).await, b"did all");
    assert_eq!(stage.cloud.count(), 1);
    let want = [
        "approval.requested",
        "approval.voted",
        "approval.voted",
        "approval.granted",
        "execution.authorized",
        "execution.result",
        "result.delivered",
    ];
    assert_eq!(stage.events_of(id).await, want);
    // After delivery they are a new action.
    let again = stage.hold(Class::Export, "all").await;
    assert_ne!(again, id);
    assert_eq!(stage.cloud.count(), 1);
    let report = stage.verify();
    assert_eq!((report.executed, report.votes), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_caller_gets_the_answer_itself() {
    let stage = Stage::new().await;
    let waiting = stage.ask(Class::Configure, "on", LONG);
    let deciding = async {
        let mut changes = stage.gate.changes();
        let id = loop {
            let holds = countersign_engine::read::holds(&stage.gate, filter("pending")).await.unwrap();
            if let Some(hold) = holds.first() {
                break hold.approval.id;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), changes.recv()).await;
        };
        stage.approve(person(3), id).await.unwrap();
    };
    let (reply, ()) = tokio::join!(waiting, deciding);
    assert_eq!(deliver(reply.unwrap()).await, b"did on");
}

fn filter(status: &str) -> countersign_engine::read::HoldFilter {
    countersign_engine::read::HoldFilter {
        status: Some(status.into()),
        limit: 10,
        ..countersign_engine::read::HoldFilter::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_for_a_caller_who_left_without_a_handle() {
    let stage = Stage::new().await;
    let id = stage.ask_and_leave(Class::Configure, "on").await;
    stage.approve(person(3), id).await.unwrap();
    assert_eq!(stage.state(id).await, "granted");
    assert_eq!(stage.cloud.count(), 0);
    // It repeats itself: attached, and now it runs.
    let reply = stage.ask(Class::Configure, "on", LONG).await.unwrap();
    assert_eq!(deliver(reply).await, b"did on");
    assert_eq!(stage.cloud.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_are_another_approval() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Configure, "on").await;
    assert_eq!(stage.hold(Class::Configure, "on").await, id);
    let other = stage.hold(Class::Configure, "on ").await;
    assert_ne!(other, id);
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.state(other).await, "pending");
    assert_eq!(stage.cloud.effects.lock().unwrap().as_slice(), ["on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_reaches_the_requester_with_its_reason() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Configure, "on").await;
    stage.reject(person(1), id, "use the staging switch").await.unwrap();
    let refused = refused(stage.ask(Class::Configure, "on", LONG).await.unwrap());
    assert_eq!(refused.refusal.code, RefusalCode::Rejected);
    assert!(refused.refusal.reason.contains("use the staging switch"), "{refused:?}");
    assert_eq!(stage.cloud.count(), 0);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_lapses_by_itself() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Configure, "on").await;
    stage.clock.pass(Duration::from_mins(30));
    stage.until(id, "lapsed").await;
    assert_eq!(stage.cloud.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_while_it_runs_cancels_the_work() {
    let stage = Stage::new().await;
    stage.cloud.pace.forget_permits(1 << 20);
    let id = stage.hold(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "executing").await;
    settle::revoke(&stage.gate, id, Taker::Person(person(2)), "wrong night").await.unwrap().unwrap();
    stage.until(id, "cancelled").await;
    assert_eq!(stage.cloud.count(), 0);
    let events = stage.events_of(id).await;
    assert!(events.contains(&"approval.revoked_while_running"), "{events:?}");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_somebody_who_is_not_to_be_trusted_is_stopped_while_it_runs_and_what_they_do_since_counts()
 {
    let stage = Stage::new().await;
    stage.cloud.pace.forget_permits(1 << 20);
    let runs = stage.hold(Class::Configure, "runs").await;
    stage.approve(person(1), runs).await.unwrap();
    stage.until(runs, "executing").await;
    let waits = stage.hold(Class::Export, "waits").await;
    stage.approve(person(1), waits).await.unwrap();
    let untouched = stage.hold(Class::Export, "untouched").await;
    stage.approve(person(2), untouched).await.unwrap();
    let happened = stage.gate.now();
    stage.clock.pass(Duration::from_secs(1));
    let since = stage.hold(Class::Export, "since").await;
    stage.approve(person(1), since).await.unwrap();

    let taken = depart::distrust(&stage.gate, person(1), happened).await.unwrap();
    assert_eq!((taken.withdrawn, taken.revoked), (1, 1));
    stage.until(runs, "cancelled").await;
    assert!(stage.events_of(runs).await.contains(&"approval.revoked_while_running"));
    assert!(stage.events_of(waits).await.contains(&"approval.votes_withdrawn"));
    for left in [untouched, since] {
        assert!(!stage.events_of(left).await.contains(&"approval.votes_withdrawn"));
    }
    // Told again, it takes back nothing more.
    assert_eq!(
        depart::distrust(&stage.gate, person(1), happened).await.unwrap(),
        depart::Departed::default()
    );
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_offline_does_not_burn_the_approval() {
    let stage = Stage::new().await;
    stage.cloud.offline.store(1, Ordering::SeqCst);
    let id = stage.hold(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    assert_eq!(authorized(&stage.entries().await), 1, "a connection that failed was no attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_from_sight_is_unknown_and_never_repeated() {
    let stage = Stage::new().await;
    stage.cloud.breaks.store(1, Ordering::SeqCst);
    let id = stage.hold(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "unknown").await;
    let refused = refused(stage.ask(Class::Configure, "on", LONG).await.unwrap());
    assert_eq!(refused.refusal.code, RefusalCode::Spent);
    assert_eq!(stage.cloud.count(), 1);
    let open = countersign_engine::read::unresolved_holds(&stage.gate).await.unwrap();
    assert_eq!(open.len(), 1);
    let action = open[0].action();
    let found = countersign_ledger::event::Found::Ran;
    settle::resolve(&stage.gate, action, Taker::Person(person(4)), found, "seen in the cloud")
        .await
        .unwrap()
        .unwrap();
    assert!(countersign_engine::read::unresolved_holds(&stage.gate).await.unwrap().is_empty());
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_clearly() {
    let limits = Limits { pending_per_principal: 3, ..Limits::default() };
    let stage = Stage::with(limits, None).await;
    for n in 0..3 {
        stage.hold(Class::Configure, &n.to_string()).await;
    }
    let refused = refused(stage.ask(Class::Configure, "more", LONG).await.unwrap());
    assert_eq!(refused.refusal.code, RefusalCode::TooMany);
    assert!(refused.refusal.remedy.contains("withdraw"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_agent_runs_nothing_and_what_it_ran_is_cancelled() {
    use countersign_ledger::event::FreezeScope;
    let stage = Stage::new().await;
    stage.cloud.pace.forget_permits(1 << 20);
    let id = stage.hold(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "executing").await;
    let freezer = || settle::Freezer { by: Some(person(1)), ..settle::Freezer::default() };
    let both = [(), ()].map(|()| settle::freeze(&stage.gate, FreezeScope::All, freezer()));
    let [one, other] = both;
    let (one, other) = tokio::join!(one, other);
    assert!(matches!(
        (one.unwrap(), other.unwrap()),
        (Froze::Now, Froze::Before) | (Froze::Before, Froze::Now)
    ));
    stage.until(id, "cancelled").await;
    let held_back = refused(stage.ask(Class::Read, "q", LONG).await.unwrap());
    assert_eq!(held_back.refusal.code, RefusalCode::Frozen);
    settle::thaw(&stage.gate, FreezeScope::All, None).await.unwrap();
    stage.cloud.pace.add_permits(10);
    assert!(matches!(stage.ask(Class::Read, "q", LONG).await.unwrap(), Reply::Live(_)));
}
