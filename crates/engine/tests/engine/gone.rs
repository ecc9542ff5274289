//! Whoever asked or decided is gone at any moment in between: what was written down goes on as if they had stayed.

use crate::stage::{LONG, Stage, person};
use countersign_core::{ApprovalId, Class};
use countersign_engine::read::{self, HoldFilter};
use std::{
    collections::BTreeSet,
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

/// More steps than any of these takes.
const STEPS: usize = 24;

/// After how many steps to be gone, and the how-manieth time that is; once so late that a slow machine has come to its end too.
fn leaves() -> impl Iterator<Item = (usize, usize)> {
    (1..).zip((1..STEPS).chain([20 * STEPS]))
}

/// Lets a future go on for so many steps, and drops it right behind the last. Whether it was over by then.
async fn left_after(steps: usize, work: impl Future) -> bool {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    for step in 0..steps {
        if step > 0 {
            // What it waits for may come meanwhile.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if work.as_mut().poll(&mut context).is_ready() {
            return true;
        }
    }
    false
}

async fn pending(stage: &Stage) -> BTreeSet<ApprovalId> {
    let holds = read::holds(&stage.gate, HoldFilter { limit: 200, ..HoldFilter::default() }).await.unwrap();
    let waits = holds.into_iter().filter(|hold| hold.approval.state.as_str() == "pending");
    waits.map(|hold| hold.approval.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_and_is_gone_leaves_an_approval_that_lapses() {
    let stage = Stage::new().await;
    let mut left = 0;
    for (number, steps) in leaves() {
        let over = left_after(steps, stage.ask(Class::Configure, &format!("change {steps}"), LONG)).await;
        assert!(!over, "nobody decided");
        // One commit comes behind the other.
        stage.hold(Class::Configure, &format!("fence {steps}")).await;
        left = pending(&stage).await.len() - number;
    }
    assert!(left > 0, "none was written down");
    let all = pending(&stage).await;
    stage.clock.pass(Duration::from_mins(31));
    for id in all {
        stage.until(id, "lapsed").await;
    }
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_decides_and_is_gone_has_decided() {
    let stage = Stage::new().await;
    let mut decided = 0;
    for (_, steps) in leaves() {
        let (session, mut shown) = stage.session(&format!("change {steps}"));
        let asked = stage.ask_in(session, Class::Configure, 10 * LONG);
        let id = shown.recv().await.unwrap().approval;
        left_after(steps, stage.approve(person(1), id)).await;
        stage.hold(Class::Configure, &format!("fence {steps}")).await;
        if stage.state(id).await == "pending" {
            asked.abort();
        } else {
            // The requester hears of it, whoever does not.
            tokio::time::timeout(LONG, asked).await.expect("the requester still waits").unwrap();
            decided += 1;
        }
    }
    assert!(decided > 0);
    stage.verify();
}
