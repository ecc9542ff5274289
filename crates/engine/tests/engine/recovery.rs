//! Restarts, crashes and disks that fail.

use crate::stage::{LONG, POLICY, Stage, person};
use countersign_core::Class;
use countersign_engine::{
    Error, Limits, Reply,
    journal::JournalError,
    port::store::{CommitError, Health, Store},
};
use countersign_store::{DiskFault, Fault};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn pending_approvals_survive_a_restart_and_can_be_decided() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Export, "all").await;
    stage.approve(person(1), id).await.unwrap();
    let stage = stage.restart().await;
    assert_eq!(stage.hold(Class::Export, "all").await, id, "the same bytes attach as before");
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_the_policy_while_something_waited_is_known_after_a_restart() {
    let stage = Stage::new().await;
    let id = stage.hold(Class::Export, "all").await;
    stage.policy_by(&format!("{POLICY}\n// changed"), [person(1)].into()).await;
    let stage = stage.restart().await;
    let refused = stage.ballot(person(1), id).await.unwrap_err().to_string();
    assert!(refused.contains("changed the policy"), "{refused}");
    stage.approve(person(2), id).await.unwrap();
    stage.approve(person(3), id).await.unwrap();
    stage.until(id, "done").await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_running_when_the_gateway_died_is_unknown_and_not_run_again() {
    let stage = Stage::new().await;
    stage.cloud.pace.forget_permits(1 << 20);
    let id = stage.hold(Class::Configure, "on").await;
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "executing").await;
    let successor = stage.crash().await;
    assert_eq!(successor.state(id).await, "unknown");
    assert_eq!(successor.events_of(id).await.last().unwrap(), &"execution.outcome_unknown");
    assert_eq!(successor.cloud.count(), 0);
    successor.verify();
    // The predecessor, were it still alive, writes to its own log only; its run is not repeated here.
    let reply = successor.ask(Class::Configure, "on", Duration::from_secs(5)).await.unwrap();
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permitted_action_cut_off_by_a_crash_is_brought_before_a_person() {
    let stage = Arc::new(Stage::new().await);
    stage.cloud.pace.forget_permits(1 << 20);
    let asking = tokio::spawn({
        let stage = Arc::clone(&stage);
        async move { stage.ask(Class::Read, "q", Duration::from_secs(30)).await }
    });
    let begun = async {
        while !stage.entries().await.iter().any(|entry| entry.event.kind() == "execution.authorized") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, begun).await.unwrap();
    assert_eq!(stage.gate.running(), 1);
    let successor = stage.crash().await;
    let open = countersign_engine::read::unresolved(&successor.gate).await.unwrap();
    assert_eq!(open.len(), 1);
    successor.verify();
    asking.abort();
}

/// What happens to commits: 0 nothing, 1 the disk is full, 2 it fails.
#[derive(Debug, Default)]
pub(crate) struct Switch(pub(crate) AtomicU8);

impl Fault for Switch {
    fn strikes(&self) -> Option<DiskFault> {
        match self.0.load(Ordering::SeqCst) {
            1 => Some(DiskFault::Full),
            2 => Some(DiskFault::Broken),
            _ => None,
        }
    }
}

fn is(error: &Error, want: &dyn Fn(&CommitError) -> bool) -> bool {
    matches!(error, Error::NotRecordable(JournalError::Commit(found)) if want(found))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_runs_nothing_and_recovers_by_itself() {
    let switch = Arc::new(Switch::default());
    let stage = Stage::with(Limits::default(), Some(Arc::clone(&switch) as Arc<dyn Fault>)).await;
    let id = stage.hold(Class::Configure, "on").await;
    switch.0.store(1, Ordering::SeqCst);
    let error = stage.ask(Class::Read, "q", Duration::from_secs(5)).await.unwrap_err();
    assert!(is(&error, &|found| *found == CommitError::Full), "{error:?}");
    assert_eq!(stage.cloud.count(), 0);
    assert_eq!(stage.state(id).await, "pending", "reading goes on");
    switch.0.store(0, Ordering::SeqCst);
    assert!(matches!(stage.ask(Class::Read, "q", Duration::from_secs(5)).await.unwrap(), Reply::Live(_)));
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "done").await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_everything_until_a_restart() {
    let switch = Arc::new(Switch::default());
    let stage = Stage::with(Limits::default(), Some(Arc::clone(&switch) as Arc<dyn Fault>)).await;
    switch.0.store(2, Ordering::SeqCst);
    let error = stage.ask(Class::Read, "q", Duration::from_secs(5)).await.unwrap_err();
    assert!(is(&error, &|found| matches!(found, CommitError::Poisoned(_))), "{error:?}");
    switch.0.store(0, Ordering::SeqCst);
    let error = stage.ask(Class::Read, "q", Duration::from_secs(5)).await.unwrap_err();
    assert!(is(&error, &|found| matches!(found, CommitError::Poisoned(_))), "{error:?}");
    assert!(matches!(stage.store.health(), Health::Poisoned(_)));
    assert_eq!(stage.cloud.count(), 0);
}
