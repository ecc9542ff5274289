//! Reads that policy has recorded afterwards: which ones, that none is lost while the gateway lives, and that nothing more
//! runs when nothing can be written.

use crate::{
    recovery::Switch,
    stage::{LONG, Stage, authorized, happenings, person, request},
};
use countersign_core::Class;
use countersign_engine::{
    Error, Limits, Reply, flow, journal::JournalError, port::store::CommitError, start,
};
use countersign_ledger::{
    entry::Entry,
    event::{Event, Recording},
};
use countersign_store::Fault;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const DEFERRED: &str = r#"
@id("agents") @record("deferred") permit (principal in Group::"agents", action, resource in Environment::"prod");
"#;

/// How every execution in the ledger was recorded, once everything is.
async fn recordings(stage: &Stage) -> Vec<Recording> {
    // A gateway that stops waits for them, but not for as long as a busy machine may take.
    let ended = |entries: &[Entry]| {
        entries.iter().filter(|entry| matches!(entry.event, Event::ExecutionResult(_))).count()
    };
    let written = async {
        while ended(&stage.entries().await) < stage.cloud.count() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, written).await.is_ok(), "not every read was recorded");
    start::stopped(&stage.gate).await.unwrap();
    let entries = stage.entries().await;
    let of = |event: &Event| match event {
        Event::ExecutionAuthorized(facts) => Some(facts.recording),
        _ => None,
    };
    entries.iter().filter_map(|entry| of(&entry.event)).collect()
}

async fn read(stage: &Stage) -> Result<Reply<bytes::Bytes>, Error> {
    flow::handle(&stage.gate, request(Class::Read, Duration::from_secs(20)), stage.reading("q")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_gets_its_entries_and_they_say_so() {
    const READS: usize = 2_000;
    const CALLERS: usize = 16;
    let stage = Arc::new(Stage::new().await);
    stage.policy(DEFERRED).await;
    let before = stage.happened().await.len();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let stage = Arc::clone(&stage);
        callers.spawn(async move {
            for _ in (caller..READS).step_by(CALLERS) {
                let reply = read(&stage).await.unwrap();
                assert!(matches!(reply, Reply::Live(_)), "{reply:?}");
            }
        });
    }
    callers.join_all().await;
    assert_eq!(stage.cloud.count(), READS);
    let all = recordings(&stage).await;
    assert_eq!(all.len(), READS);
    // What found no place for a moment was recorded first.
    assert!(all.contains(&Recording::Deferred));
    let report = stage.verify();
    assert_eq!(report.executed, u64::try_from(READS).unwrap());
    // And the one that says that the gateway stopped.
    let mut verified = stage.entries().await;
    verified.truncate(usize::try_from(report.entries).unwrap());
    assert_eq!(happenings(verified).len(), before + 2 * READS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_reads_are_deferred_and_only_where_every_permit_says_so() {
    let first = r#"@id("other") permit (principal, action in Action::"read", resource);"#;
    let named = r#"@id("other") @record("first") permit (principal, action in Action::"read", resource);"#;
    for (policy, class, reading, want) in [
        (DEFERRED.to_owned(), Class::Read, true, Recording::Deferred),
        // Its wire does not vouch for it.
        (DEFERRED.to_owned(), Class::Read, false, Recording::First),
        (DEFERRED.to_owned(), Class::Write, true, Recording::First),
        (DEFERRED.to_owned(), Class::Export, true, Recording::First),
        (format!("{DEFERRED}{first}"), Class::Read, true, Recording::First),
        (format!("{DEFERRED}{named}"), Class::Read, true, Recording::First),
        (DEFERRED.replace("@record(\"deferred\")", ""), Class::Read, true, Recording::First),
    ] {
        let stage = Stage::new().await;
        stage.policy(&policy).await;
        let asked = request(class, Duration::from_secs(20));
        let reply = if reading {
            flow::handle(&stage.gate, asked, stage.reading("q")).await
        } else {
            stage.ask(class, "q", Duration::from_secs(20)).await
        };
        assert!(matches!(reply.unwrap(), Reply::Live(_)), "{policy}");
        assert_eq!(recordings(&stage).await, [want], "{policy} {class:?}");
        stage.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_can_be_written_no_more_reads_run_and_those_that_did_are_kept() {
    let switch = Arc::new(Switch::default());
    let stage = Stage::with(Limits::default(), Some(Arc::clone(&switch) as Arc<dyn Fault>)).await;
    stage.policy(DEFERRED).await;
    switch.0.store(1, Ordering::SeqCst);
    assert!(matches!(read(&stage).await.unwrap(), Reply::Live(_)));
    // Until the writer has met the full disk.
    let refused = tokio::time::timeout(LONG, async {
        loop {
            match read(&stage).await {
                Ok(Reply::Live(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    });
    let error = refused.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NotRecordable(JournalError::Commit(CommitError::Full))), "{error:?}");
    let ran = stage.cloud.count();
    assert!(read(&stage).await.is_err());
    assert_eq!(stage.cloud.count(), ran);
    switch.0.store(0, Ordering::SeqCst);
    let all = recordings(&stage).await;
    assert_eq!(all, vec![Recording::Deferred; ran]);
    assert!(matches!(read(&stage).await.unwrap(), Reply::Live(_)));
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_end_a_crash_took_is_closed_and_nobody_has_to_find_out() {
    let stage = Stage::new().await;
    stage.policy(DEFERRED).await;
    stage.cloud.pace.forget_permits(1 << 20);
    let gate = Arc::clone(&stage.gate);
    let exchange = stage.reading("q");
    let asked = request(Class::Read, Duration::from_secs(20));
    let asking = tokio::spawn(async move { flow::handle(&gate, asked, exchange).await });
    // Its beginning is written while it runs.
    let begun = async {
        while authorized(&stage.entries().await) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, begun).await.unwrap();
    let successor = stage.crash().await;
    let open = countersign_engine::read::unresolved(&successor.gate).await.unwrap();
    assert!(open.is_empty(), "{open:?}");
    let entries = successor.entries().await;
    assert!(entries.iter().any(|entry| matches!(entry.event, Event::ExecutionUnknown { .. })));
    successor.verify();
    asking.abort();
}

/// A wire that keeps no results is asked for none: what policy wants kept does not run through it, permitted or approved.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_wire_cannot_keep_does_not_run() {
    const KEPT: &str = r#"
@id("agents") @keep_results("1KiB") permit (principal in Group::"agents", action, resource in Environment::"prod");
"#;
    let stage = Stage::new().await;
    let patience = Duration::from_secs(20);
    // Approved before policy asked for it.
    let id = stage.hold(Class::Export, "q").await;
    stage.policy(KEPT).await;
    for voter in [person(1), person(2)] {
        stage.approve(voter, id).await.unwrap();
    }
    stage.until(id, "granted").await;
    for class in [Class::Read, Class::Write] {
        let reply = stage.ask(class, "q", patience).await.unwrap();
        let Reply::Refused(refused) = reply else { unreachable!("{reply:?}") };
        assert!(refused.refusal.reason.contains("policy wants its result kept"), "{refused:?}");
    }
    assert_eq!(stage.cloud.count(), 0);
}
