//! Once, whatever the number of callers; and every one of many actions on the record.

use crate::stage::{LONG, Stage, authorized, happenings, person};
use countersign_core::Class;
use countersign_engine::Reply;
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn of_32_callers_for_one_grant_one_runs_it() {
    let stage = Arc::new(Stage::new().await);
    // Granted, and nobody there to run it.
    let id = stage.ask_and_leave(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let stage = Arc::clone(&stage);
        callers.spawn(async move { stage.ask(Class::Configure, "on", LONG).await.unwrap() });
    }
    let replies = callers.join_all().await;
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Kept(_))), "{replies:?}");
    assert_eq!(stage.cloud.count(), 1);
    assert_eq!(authorized(&stage.entries().await), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_actions_give_exactly_their_entries() {
    const ACTIONS: usize = 10_000;
    const CALLERS: usize = 64;
    let stage = Arc::new(Stage::new().await);
    let before = stage.happened().await.len();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let stage = Arc::clone(&stage);
        callers.spawn(async move {
            for _ in (caller..ACTIONS).step_by(CALLERS) {
                let reply = stage.ask(Class::Read, "q", LONG).await.unwrap();
                assert!(matches!(reply, Reply::Live(_)), "{reply:?}");
            }
        });
    }
    callers.join_all().await;
    assert_eq!(stage.cloud.count(), ACTIONS);
    let report = stage.verify();
    assert_eq!(report.executed, u64::try_from(ACTIONS).unwrap());
    let mut verified = stage.entries().await;
    verified.truncate(usize::try_from(report.entries).unwrap());
    assert_eq!(happenings(verified).len(), before + 2 * ACTIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_at_any_moment_leaves_no_execution_open() {
    let stage = Arc::new(Stage::new().await);
    for pause_us in (0..3_000).step_by(50) {
        let asked = stage.ask(Class::Read, "q", LONG);
        let _ = tokio::time::timeout(Duration::from_micros(pause_us), asked).await;
    }
    let ended = async {
        loop {
            let entries = stage.entries().await;
            let ends = ["execution.result", "execution.released", "execution.outcome_unknown"];
            let ended = entries.iter().filter(|entry| ends.contains(&entry.event.kind())).count();
            if ended == authorized(&entries) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, ended).await.unwrap();
    stage.verify();
}
