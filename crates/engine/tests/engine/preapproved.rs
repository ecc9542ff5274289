//! Tickets that requesters name, before a system that answers as it is told.

use crate::stage::{LONG, POLICY, Stage, person};
use async_trait::async_trait;
use countersign_core::{ApprovalId, Class, CredentialId, TicketCheck, TicketKey, Timestamp, ticket::Scope};
use countersign_engine::{
    hold::Hold,
    journal::Note,
    outbox::{ChannelSpec, Channels, Hears},
    port::{
        identity::Bound,
        ticket::{Found, NotVouched, Tickets},
    },
    read::{self, HoldFilter},
    reply::Reply,
};
use countersign_ledger::event::{Actor, Event};
use countersign_store::{DiskFault, Fault};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Barrier, task::JoinSet};

const ONE: &str = r#"
@id("launch") @gate("launch") @approvers("Group::\"sre\"") @expires("30m") @valid_for("10m") @step_up("chat")
@ticket("tickets") @reason("what is launched costs") forbid (principal, action in Action::"execute", resource);
@id("tidy") @gate("tidy") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("chat")
@ticket("tickets") @reason("what is deleted is gone") forbid (principal, action in Action::"delete", resource);
"#;

/// Says of every ticket that person 1 approved it for what it is told to say.
#[derive(Debug, Default)]
struct System {
    looks: AtomicUsize,
    says: Mutex<String>,
    /// It takes what it is asked and does not answer.
    hangs: AtomicBool,
    /// So often it cannot be reached.
    unreached: AtomicUsize,
    /// When it was approved.
    approved_at: Mutex<Option<Timestamp>>,
    /// Looks wait for each other here.
    meet: Mutex<Option<Arc<Barrier>>>,
    /// From a look on there is room for one commit more.
    fills: Mutex<Option<Arc<Lasts>>>,
}

#[async_trait]
impl Tickets for System {
    fn system(&self) -> &'static str {
        "told"
    }

    fn origin(&self) -> String {
        "https://told.example".into()
    }

    fn could_be(&self, _: &TicketKey) -> bool {
        true
    }

    fn good_for(&self) -> Duration {
        Duration::from_hours(24)
    }

    async fn look_up(&self, key: &TicketKey) -> Result<Found, NotVouched> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let left = |left: usize| left.checked_sub(1);
        if self.unreached.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(NotVouched::new(TicketCheck::Reached, "it is away"));
        }
        let meet = self.meet.lock().unwrap().clone();
        if let Some(meet) = meet {
            meet.wait().await;
        }
        if let Some(disk) = self.fills.lock().unwrap().take() {
            disk.left.store(2, Ordering::SeqCst);
        }
        let text = self.says.lock().unwrap().clone();
        if text.is_empty() {
            return Err(NotVouched::new(TicketCheck::State, "nobody approved it"));
        }
        Ok(Found {
            id: key.to_string(),
            approver: "ana".into(),
            approver_name: None,
            change: "1".into(),
            approved_at: self.approved_at.lock().unwrap().unwrap(),
            text,
            from: None,
            until: None,
        })
    }

    async fn invite(&self, _: &Found, _: &str) -> Result<(), String> {
        Ok(())
    }
}

fn channels() -> Channels {
    let name = "tickets".parse().unwrap();
    let spec = ChannelSpec { name, kind: "jira", place: String::new(), hears: Hears::Named, together: None };
    Channels::new([spec])
}

async fn stage(policy: &str) -> (Stage, Arc<System>) {
    stage_on(policy, None).await
}

async fn stage_on(policy: &str, fault: Option<Arc<dyn Fault>>) -> (Stage, Arc<System>) {
    let system = Arc::new(System::default());
    let tickets = vec![("tickets".parse().unwrap(), Arc::clone(&system) as Arc<dyn Tickets>)];
    let stage = Stage::asking_on(channels, tickets, fault).await;
    stage.policy(&format!("{POLICY}{policy}")).await;
    let (binding, channel) = (CredentialId::from_parts(1, 1), "tickets".parse().unwrap());
    let bound = Bound { person: person(1), binding, since: Timestamp(0) };
    stage.people.bound.lock().unwrap().insert(("tickets".parse().unwrap(), "ana".into()), bound);
    let event = Event::ChannelBound { person: person(1), binding, channel };
    let note = Note::new(Actor::Person { id: person(1) }, event);
    stage.gate.journal().commit(vec![], vec![note]).await.unwrap();
    // Whoever approves is bound by then.
    *system.approved_at.lock().unwrap() = Some(stage.gate.now());
    (stage, system)
}

/// Says the scope for an action that is held.
async fn allow(stage: &Stage, system: &System, id: ApprovalId) {
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    let place = (hold.asked.target.clone(), hold.asked.environment.clone());
    *system.says.lock().unwrap() = Scope::only(hold.principal, place, hold.approval.digest).to_string();
}

async fn named(stage: &Stage, id: ApprovalId) -> Vec<(String, Option<TicketCheck>)> {
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    hold.tickets.iter().map(|named| (named.claimed.clone(), named.failed())).collect()
}

/// Names a ticket, and waits until it was looked at: the approval.
async fn name(stage: &Stage, class: Class, body: &str, ticket: &str) -> ApprovalId {
    let filter = HoldFilter { limit: 200, ..HoldFilter::default() };
    let before = read::holds(&stage.gate, filter).await.unwrap();
    let looks = |hold: &Hold| {
        let named = hold.tickets.iter().find(|named| named.claimed == ticket);
        named.map_or(0, |named| named.looks)
    };
    let asked = stage.ask_with((class, body), ticket, Duration::ZERO).await.unwrap();
    let Reply::Pending(waits) = asked else { panic!("{asked:?}") };
    let known = before.iter().find(|known| known.approval.id == waits.approval).map_or(0, &looks);
    let looked = async {
        while looks(&read::hold(&stage.gate, waits.approval).await.unwrap().unwrap()) <= known {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, looked).await.unwrap();
    waits.approval
}

#[tokio::test(flavor = "multi_thread")]
async fn how_many_are_named_and_how_often_they_are_looked_up_is_bounded() {
    let (stage, system) = stage(ONE).await;
    let id = stage.hold(Class::Execute, "x").await;
    for at in 0..12 {
        stage.ask_with((Class::Execute, "x"), &format!("OPS-{at}"), Duration::ZERO).await.unwrap();
        let known = async {
            while named(&stage, id).await.len() < (at + 1).min(8) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, known).await.unwrap();
    }
    assert_eq!(named(&stage, id).await.len(), 8);
    // At once again, nothing is looked up.
    let looks = system.looks.load(Ordering::SeqCst);
    drop(stage.ask_with((Class::Execute, "x"), "OPS-0", Duration::from_millis(500)).await);
    assert_eq!(system.looks.load(Ordering::SeqCst), looks);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_counts_where_every_rule_of_the_gate_takes_it() {
    let both = format!(
        "{ONE}{}",
        r#"@id("launch-too") @gate("launch") @approvers("Group::\"sre\"") @step_up("chat") @reason("and more")
        forbid (principal, action in Action::"execute", resource);"#
    );
    let (stage, system) = stage(&both).await;
    let id = name(&stage, Class::Execute, "x", "OPS-1").await;
    assert_eq!(named(&stage, id).await, [("OPS-1".to_owned(), Some(TicketCheck::Policy))]);
    assert_eq!(system.looks.load(Ordering::SeqCst), 0, "nothing was asked");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_policy_takes_no_more_does_not_let_it_run() {
    let (stage, system) = stage(ONE).await;
    let id = stage.hold(Class::Delete, "x").await;
    allow(&stage, &system, id).await;
    assert_eq!(name(&stage, Class::Delete, "x", "OPS-1").await, id);
    assert_eq!(named(&stage, id).await, [("OPS-1".to_owned(), None)]);
    stage.policy(&format!("{POLICY}{}", ONE.replace("@ticket(\"tickets\")", ""))).await;
    stage.approve(person(2), id).await.unwrap();
    let waits = async {
        while !stage.events_of(id).await.contains(&"approval.round_opened") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, waits).await.unwrap();
    assert_eq!(stage.cloud.count(), 0);
    assert_eq!(named(&stage, id).await, [("OPS-1".to_owned(), Some(TicketCheck::Policy))]);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_looked_up_before_the_gateway_died_is_looked_up_when_it_is_named_again() {
    let (stage, system) = stage(ONE).await;
    system.hangs.store(true, Ordering::SeqCst);
    let asked = stage.ask_with((Class::Execute, "x"), "OPS-1", Duration::ZERO).await.unwrap();
    let Reply::Pending(waits) = asked else { panic!("{asked:?}") };
    let id = waits.approval;
    assert_eq!(waits.named[0].state, "unread");
    allow(&stage, &system, id).await;
    let looked = async {
        while system.looks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, looked).await.unwrap();
    let after = stage.crash().await;
    drop(stage);
    system.hangs.store(false, Ordering::SeqCst);
    after.policy(&format!("{POLICY}{ONE}")).await;
    assert_eq!((after.state(id).await.as_str(), system.looks.load(Ordering::SeqCst)), ("pending", 1));
    assert_eq!(name(&after, Class::Execute, "x", "OPS-1").await, id);
    after.until(id, "done").await;
    assert_eq!(after.cloud.count(), 1);
    after.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_session_its_client_reads_what_became_of_the_ticket() {
    let (stage, _) = stage(ONE).await;
    let (session, mut notices) = stage.session("x");
    let asked = countersign_engine::Request {
        claimed_ticket: Some("OPS-1".into()),
        ..crate::stage::request(Class::Execute, LONG)
    };
    let gate = Arc::clone(&stage.gate);
    let asking =
        tokio::spawn(async move { countersign_engine::flow::handle(&gate, asked, session).await.unwrap() });
    let notice = tokio::time::timeout(LONG, notices.recv()).await.unwrap().unwrap();
    assert_eq!(notice.named[0].check, Some(TicketCheck::State), "{notice:?}");
    assert!(notice.scope.is_some());
    stage.approve(person(2), notice.approval).await.unwrap();
    assert!(matches!(asking.await.unwrap(), Reply::Live(_)));
    stage.verify();
}

/// Waits until an approval has had so many rounds after its first.
async fn opened_again(stage: &Stage, id: ApprovalId, times: usize) {
    let opened = async {
        while stage.events_of(id).await.iter().filter(|kind| **kind == "approval.round_opened").count()
            < times
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, opened).await.unwrap();
}

/// Held for two people, one of whom said so in a ticket.
async fn half_approved(stage: &Stage, system: &System) -> ApprovalId {
    let id = stage.hold(Class::Delete, "x").await;
    allow(stage, system, id).await;
    assert_eq!(name(stage, Class::Delete, "x", "OPS-1").await, id);
    assert_eq!(named(stage, id).await, [("OPS-1".to_owned(), None)]);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_named_again_is_looked_at_all_the_same_before_it_runs() {
    let (stage, system) = stage(ONE).await;
    let id = half_approved(&stage, &system).await;
    // Granted, it waits again for a gate that takes no ticket.
    let more = r#"@id("more") @gate("more") @approvers("Group::\"sre\"") @expires("30m") @valid_for("10m") @step_up("chat")
        @reason("and more") forbid (principal, action in Action::"delete", resource);"#;
    stage.policy(&format!("{POLICY}{ONE}{more}")).await;
    stage.approve(person(2), id).await.unwrap();
    opened_again(&stage, id, 1).await;
    stage.clock.pass(Duration::from_secs(6));
    assert_eq!(name(&stage, Class::Delete, "x", "OPS-1").await, id);
    assert_eq!(named(&stage, id).await, [("OPS-1".to_owned(), None)], "a vote rests on it");
    // Taken back in its system, its vote does not count any more.
    system.says.lock().unwrap().clear();
    stage.clock.pass(Duration::from_secs(30));
    stage.approve(person(3), id).await.unwrap();
    opened_again(&stage, id, 2).await;
    assert_eq!(stage.cloud.count(), 0);
    assert_eq!(named(&stage, id).await, [("OPS-1".to_owned(), Some(TicketCheck::State))]);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_quorum_does_not_make_up_for_a_vote_that_was_lost_with_its_ticket() {
    let (stage, system) = stage(ONE).await;
    let id = half_approved(&stage, &system).await;
    stage.policy(&format!("{POLICY}{}", ONE.replace(r#"@quorum("2")"#, r#"@quorum("1")"#))).await;
    system.says.lock().unwrap().clear();
    stage.clock.pass(Duration::from_secs(30));
    stage.approve(person(2), id).await.unwrap();
    opened_again(&stage, id, 1).await;
    assert_eq!(stage.cloud.count(), 0);
    stage.approve(person(3), id).await.unwrap();
    stage.until(id, "done").await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_ticket_is_looked_up_once_at_a_time() {
    let (stage, system) = stage(ONE).await;
    system.hangs.store(true, Ordering::SeqCst);
    stage.ask_with((Class::Execute, "x"), "OPS-1", Duration::ZERO).await.unwrap();
    let asked = async {
        while system.looks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asked).await.unwrap();
    stage.ask_with((Class::Execute, "x"), "OPS-1", Duration::from_millis(500)).await.unwrap();
    assert_eq!(system.looks.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_names_many_holds_up_nothing_that_runs() {
    let (stage, system) = stage(ONE).await;
    let id = half_approved(&stage, &system).await;
    stage.clock.pass(Duration::from_secs(30));
    system.hangs.store(true, Ordering::SeqCst);
    let before = system.looks.load(Ordering::SeqCst);
    for at in 0..10 {
        let body = format!("flood {at}");
        stage.ask_with((Class::Execute, &body), "OPS-2", Duration::ZERO).await.unwrap();
    }
    let looked = async {
        while system.looks.load(Ordering::SeqCst) < before + 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, looked).await.unwrap();
    system.hangs.store(false, Ordering::SeqCst);
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_away_for_a_moment_takes_no_vote_away() {
    let (stage, system) = stage(ONE).await;
    let id = half_approved(&stage, &system).await;
    stage.clock.pass(Duration::from_secs(30));
    system.unreached.store(2, Ordering::SeqCst);
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_yes_in_a_ticket_does_not_override_a_later_no() {
    let (stage, system) = stage(ONE).await;
    let id = stage.hold(Class::Execute, "x").await;
    allow(&stage, &system, id).await;
    stage.reject(person(2), id, "not today").await.unwrap();
    // The requester takes its answer, and asks once more.
    let told = stage.ask_with((Class::Execute, "x"), "OPS-1", Duration::ZERO).await.unwrap();
    assert!(matches!(told, Reply::Refused(_)), "{told:?}");
    let again = name(&stage, Class::Execute, "x", "OPS-1").await;
    assert_ne!(again, id);
    assert_eq!(named(&stage, again).await, [("OPS-1".to_owned(), Some(TicketCheck::State))]);
    assert_eq!(stage.cloud.count(), 0);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_from_before_its_speaker_was_known_is_none() {
    let (stage, system) = stage(ONE).await;
    let id = stage.hold(Class::Execute, "x").await;
    allow(&stage, &system, id).await;
    for bound in stage.people.bound.lock().unwrap().values_mut() {
        bound.since = stage.gate.now().plus(Duration::from_secs(1));
    }
    assert_eq!(name(&stage, Class::Execute, "x", "OPS-1").await, id);
    assert_eq!(named(&stage, id).await, [("OPS-1".to_owned(), Some(TicketCheck::Approver))]);
    stage.verify();
}

/// Covers every launch of the stage's agent, so often.
fn launches(uses: u32) -> String {
    let requester = Stage::requester().principal;
    format!(
        "countersign scope 1\nrequester: {requester}\ntarget: cloud\nenvironment: prod\nclass: execute\nresource: thing/*\nuses: {uses}"
    )
}

/// The uses that votes in tickets were recorded with, in order.
async fn uses(stage: &Stage) -> Vec<u32> {
    let entries = stage.entries().await;
    let used = entries.iter().filter_map(|entry| match &entry.event {
        Event::ApprovalVoted { ticket: Some(ticket), .. } => Some(ticket.used),
        _ => None,
    });
    used.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_beside_each_other_take_as_many_uses_of_a_ticket_as_it_has_and_no_more() {
    let (first, system) = stage(ONE).await;
    let second = first.beside().await;
    second.policy(&format!("{POLICY}{ONE}")).await;
    *system.says.lock().unwrap() = launches(3);
    // Two at a time, one at each, read it before either takes a use of it.
    *system.meet.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    let gateways = [Arc::new(first), Arc::new(second)];
    for turn in 0..4 {
        let mut asking = JoinSet::new();
        for (at, gateway) in gateways.iter().enumerate() {
            let gateway = Arc::clone(gateway);
            asking.spawn(
                async move { name(&gateway, Class::Execute, &format!("{turn} at {at}"), "OPS-1").await },
            );
        }
        asking.join_all().await;
        assert!(uses(&gateways[0]).await.len() <= 3);
    }
    // Whoever lost a use to the other in that moment names it again.
    *system.meet.lock().unwrap() = None;
    gateways[0].clock.pass(Duration::from_secs(6));
    for turn in 0..4 {
        for (at, gateway) in gateways.iter().enumerate() {
            let body = format!("{turn} at {at}");
            let asked = gateway.ask_with((Class::Execute, &body), "OPS-1", Duration::ZERO).await.unwrap();
            if let Reply::Pending(waits) = asked {
                let looked = async {
                    while matches!(gateway.state(waits.approval).await.as_str(), "pending")
                        && named(gateway, waits.approval).await[0].1 != Some(TicketCheck::Uses)
                    {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(LONG, looked).await.unwrap();
            }
        }
    }
    let mut used = uses(&gateways[0]).await;
    used.sort_unstable();
    assert_eq!(used, [1, 2, 3]);
    gateways[0].verify();
}

/// A disk that has room for one commit less than this; for 0 it has room for any number.
#[derive(Debug, Default)]
struct Lasts {
    left: AtomicUsize,
    struck: AtomicBool,
}

impl Fault for Lasts {
    fn strikes(&self) -> Option<DiskFault> {
        let one_less = |left: usize| (left > 0).then(|| (left - 1).max(1));
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        let full = before == Ok(1);
        self.struck.fetch_or(full, Ordering::SeqCst);
        full.then_some(DiskFault::Full)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_was_lost_with_its_ticket_is_lost_where_people_could_not_be_asked_again_at_once() {
    let disk = Arc::new(Lasts::default());
    let (stage, system) = stage_on(ONE, Some(Arc::clone(&disk) as Arc<dyn Fault>)).await;
    let id = half_approved(&stage, &system).await;
    system.says.lock().unwrap().clear();
    stage.clock.pass(Duration::from_secs(30));
    // Behind the look before the run there is room for what became of the ticket, and for nothing more.
    *system.fills.lock().unwrap() = Some(Arc::clone(&disk));
    stage.approve(person(2), id).await.unwrap();
    let lost = async {
        loop {
            let struck = disk.struck.swap(false, Ordering::SeqCst);
            if stage.events_of(id).await.contains(&"approval.ticket_refused") {
                return;
            }
            if struck {
                // Something else took the room: once more from the start.
                *system.fills.lock().unwrap() = Some(Arc::clone(&disk));
                disk.left.store(0, Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, lost).await.unwrap();
    disk.left.store(0, Ordering::SeqCst);
    // It is tried again, and does not run on one voice of two.
    opened_again(&stage, id, 1).await;
    assert_eq!((stage.state(id).await.as_str(), stage.cloud.count()), ("pending", 0));
    stage.verify();
}
