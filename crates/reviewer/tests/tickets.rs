//! Decisions in tickets, with a gateway, its store and a ticket system that says who did what: each way in which somebody may try to be
//! taken for somebody else, or for having seen something else. Everything is looked at when the test says so.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is how a test fails"
)]

#[path = "tickets/beforehand.rs"]
mod beforehand;
#[path = "reviewer/corpus.rs"]
mod corpus;
#[path = "../../engine/tests/engine/stage.rs"]
#[expect(dead_code, reason = "it is the engine's own stage; channels need a part of it")]
mod gateway;
#[path = "tickets/jira.rs"]
mod jira;
#[path = "tickets/servicenow.rs"]
mod servicenow;

use crate::gateway::{POLICY, Stage, olga, person};
use countersign_core::{ApprovalId, ChannelName, Class, CredentialId, PersonId};
use countersign_engine::{
    journal::Note,
    outbox::{self, ChannelSpec, Channels, Hears},
    port::identity::Bound,
    read,
};
use countersign_ledger::event::{Actor, Event};
use countersign_reviewer::{ChannelConfig, ChannelSection, Watch, run};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// A gate that accepts a word in a channel, one that needs two, and one that asks for more.
const CHAT: &str = r#"
@id("tidy") @gate("tidy") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("chat")
@reason("what is deleted is gone") forbid (principal, action in Action::"delete", resource);
@id("launch") @gate("launch") @approvers("Group::\"sre\"") @expires("30m") @valid_for("10m") @step_up("chat")
@reason("what is launched costs") forbid (principal, action in Action::"execute", resource);
"#;
/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(1);

/// Where somebody puts a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Approved,
    Rejected,
    Waiting,
}

/// Users of the ticket system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Ana,
    Bob,
    /// Who owns the agent.
    Olga,
    /// Whom nobody is bound to.
    Stranger,
    /// A rule of the ticket system's own.
    Rule,
    /// The gateway's own account.
    Us,
}

/// A ticket system.
pub(crate) trait Far: Send + Sync {
    fn kind(&self) -> &'static str;
    /// How the channel tells its users apart.
    fn id_of(&self, user: User) -> String;
    fn put(&self, user: User, ticket: &str, to: To, says: Option<&str>);
    /// Somebody writes something else into the ticket; `None`: what stood there before.
    fn edit(&self, user: User, ticket: &str, text: Option<&str>);
    /// Where it stands: `waiting`, `approved`, `rejected`, `closed`.
    fn stands(&self, ticket: &str) -> &'static str;
    /// What we said there, oldest first.
    fn said(&self, ticket: &str) -> Vec<String>;
    /// Somebody says that another ticket is about this approval.
    fn relabel(&self, ticket: &str, approval: ApprovalId);
    fn is_down(&self, down: bool);
    /// So many times what we say there is answered with this status.
    fn refuses_words(&self, status: u16, times: usize);
    /// The next time that we put a ticket somewhere the answer is lost.
    fn loses_an_answer(&self);
    /// To whom mail went, and what.
    fn mails(&self) -> Vec<(String, String)>;
}

pub(crate) fn name() -> ChannelName {
    "tickets".parse().unwrap()
}

fn channels() -> Channels {
    Channels::new([ChannelSpec {
        name: name(),
        kind: "jira",
        place: String::new(),
        hears: Hears::Everything,
        together: None,
    }])
}

/// A gateway that keeps tickets in a system.
pub(crate) struct Room {
    pub(crate) far: Box<dyn Far>,
    pub(crate) stage: Stage,
    pub(crate) config: ChannelConfig,
    pub(crate) watch: Watch,
    workers: JoinSet<()>,
}

impl Room {
    pub(crate) async fn open(far: Box<dyn Far>, config: ChannelConfig) -> Self {
        let stage = Stage::telling(channels).await;
        stage.policy(&format!("{POLICY}{CHAT}")).await;
        let watch = config.speaks().watch().unwrap();
        let mut workers = JoinSet::new();
        workers.spawn(run(Arc::clone(&stage.gate), name(), Arc::clone(config.tell())));
        let room = Self { far, stage, config, watch, workers };
        for (user, person) in [(User::Ana, person(1)), (User::Bob, person(2)), (User::Olga, olga())] {
            room.bind(user, person).await;
        }
        room
    }

    async fn bind(&self, user: User, person: PersonId) {
        let (binding, gate) = (CredentialId::from_parts(1, user as u128), &self.stage.gate);
        let bound = Bound { person, binding, since: countersign_core::Timestamp(0) };
        self.stage.people.bound.lock().unwrap().insert((name(), self.far.id_of(user)), bound);
        let event = Event::ChannelBound { person, binding, channel: name() };
        gate.journal().commit(vec![], vec![Note::new(Actor::Person { id: person }, event)]).await.unwrap();
    }

    /// Something held, once its ticket is there.
    pub(crate) async fn hold(&self, class: Class, body: &str) -> (ApprovalId, String) {
        let id = self.stage.hold(class, body).await;
        self.told(id).await;
        let (outgoing, _) = outbox::load(&self.stage.gate, id, &name()).await.unwrap().unwrap();
        (id, outgoing.posted.unwrap().split(' ').next().unwrap().to_owned())
    }

    /// Waits until the ticket system was told of everything.
    pub(crate) async fn told(&self, id: ApprovalId) {
        let told = async {
            loop {
                let loaded = outbox::load(&self.stage.gate, id, &name()).await.unwrap();
                if loaded
                    .is_some_and(|(outgoing, _)| outgoing.waiting.is_empty() && outgoing.posted.is_some())
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(COMES_WITHIN, told).await.is_ok(), "it was never told of {id}");
    }

    /// Looks at everything, once.
    pub(crate) async fn look(&self) {
        assert_eq!(self.watch.round(&self.stage.gate).await, None);
    }

    /// Somebody puts a ticket somewhere, and it is looked at.
    async fn put(&self, user: User, ticket: &str, to: To, says: Option<&str>) {
        self.far.put(user, ticket, to, says);
        self.look().await;
    }

    pub(crate) async fn kinds(&self, id: ApprovalId) -> Vec<&'static str> {
        self.stage.events_of(id).await
    }

    pub(crate) async fn count(&self, id: ApprovalId, kind: &str) -> usize {
        self.kinds(id).await.into_iter().filter(|one| *one == kind).count()
    }

    fn last_said(&self, ticket: &str) -> String {
        self.far.said(ticket).last().cloned().unwrap_or_default()
    }

    pub(crate) async fn close(mut self) {
        self.workers.shutdown().await;
        self.stage.verify();
    }
}

/// A room in each ticket system.
async fn rooms() -> Vec<Room> {
    vec![jira::room(|_| ()).await, servicenow::room(|_| ()).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_to_a_ticket_lifts_a_gate_that_accepts_it_and_each_counts_once() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Delete, "logs").await;
        room.put(User::Ana, &ticket, To::Approved, None).await;
        assert_eq!(room.count(id, "approval.voted").await, 1, "{}", room.far.kind());
        // Another is asked: it waits for them where it did.
        assert_eq!(room.far.stands(&ticket), "waiting");
        room.put(User::Ana, &ticket, To::Approved, None).await;
        assert_eq!(room.count(id, "approval.voted").await, 1, "said twice it is one word");
        assert_eq!(room.stage.state(id).await, "pending");
        room.put(User::Bob, &ticket, To::Approved, None).await;
        room.stage.until(id, "done").await;
        room.told(id).await;
        assert_eq!(room.far.stands(&ticket), "closed");
        // Looked at again, by somebody who remembers nothing, nothing becomes of it.
        let events = room.kinds(id).await;
        let anew = room.config.speaks().watch().unwrap();
        assert_eq!(anew.round(&room.stage.gate).await, None);
        assert_eq!(room.kinds(id).await, events);
        let said = room.far.said(&ticket);
        assert!(said.iter().any(|said| said.contains("approved: tidy 1 of 2")), "{said:?}");
        assert!(said.iter().any(|said| said.contains("It ran.")), "{said:?}");
        assert_eq!(room.stage.cloud.count(), 1);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_decide_is_told_why_and_the_ticket_waits_again() {
    for room in rooms().await {
        for (user, class, says) in [
            (User::Stranger, Class::Delete, "Nobody here knows whose word this is"),
            (User::Olga, Class::Delete, "equester"),
            (User::Rule, Class::Delete, "Only a person decides"),
            (User::Ana, Class::Configure, "asks for more than a word in this channel"),
        ] {
            let (id, ticket) = room.hold(class, &format!("{user:?}")).await;
            room.put(user, &ticket, To::Approved, None).await;
            let said = room.last_said(&ticket);
            assert!(said.contains(says), "{user:?}: {said}");
            assert_eq!(room.far.stands(&ticket), "waiting", "{user:?}");
            assert_eq!(room.stage.state(id).await, "pending", "{user:?}");
            assert_eq!(room.kinds(id).await, ["approval.requested", "approval.vote_refused"], "{user:?}");
            let count = room.far.said(&ticket).len();
            room.look().await;
            assert_eq!(room.far.said(&ticket).len(), count, "it is said once");
            if user != User::Ana {
                room.put(user, &ticket, To::Rejected, Some("no")).await;
                assert_eq!(
                    room.stage.state(id).await,
                    "pending",
                    "{user:?} rejects no more than they approve"
                );
            }
        }
        // What our own account does is nobody's word.
        let (id, ticket) = room.hold(Class::Execute, "us").await;
        room.put(User::Us, &ticket, To::Approved, None).await;
        assert_eq!(room.kinds(id).await, ["approval.requested"]);
        assert_eq!(room.stage.cloud.count(), 0);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_counts_whatever_the_gate_asks_for_and_says_why() {
    for room in rooms().await {
        for (class, says, reason) in [
            (Class::Configure, Some("not <b>tonight</b>"), "not <b>tonight</b>"),
            (Class::Delete, None, ", without a word"),
        ] {
            let (id, ticket) = room.hold(class, reason).await;
            // Somebody else's words are nobody's reason.
            if says.is_none() {
                room.far.edit(User::Stranger, &ticket, Some("planted"));
            }
            room.put(User::Ana, &ticket, To::Rejected, says).await;
            assert_eq!(room.stage.state(id).await, "rejected");
            let hold = read::hold(&room.stage.gate, id).await.unwrap().unwrap();
            let why = hold.rejection.unwrap();
            assert!(why.ends_with(reason), "{why}");
            room.told(id).await;
            assert_eq!(room.far.stands(&ticket), "closed");
        }
        assert_eq!(room.stage.cloud.count(), 0);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_approved_on_words_that_are_not_ours() {
    for room in rooms().await {
        for (which, edits) in [
            ("changed", vec![Some("Nothing to see here.")]),
            ("changed back", vec![Some("Nothing to see here."), None]),
        ] {
            let (id, ticket) = room.hold(Class::Execute, which).await;
            for text in edits {
                room.far.edit(User::Stranger, &ticket, text);
            }
            room.put(User::Ana, &ticket, To::Approved, None).await;
            assert_eq!(room.stage.state(id).await, "pending", "{which}");
            let said = room.last_said(&ticket);
            assert!(said.contains("does not say any more what Countersign wrote"), "{which}: {said}");
            assert_eq!(room.far.stands(&ticket), "waiting");
            // Stopping is never made harder.
            room.put(User::Ana, &ticket, To::Rejected, None).await;
            assert_eq!(room.stage.state(id).await, "rejected", "{which}");
        }
        // Edited right after it was approved, before that was read: nobody can tell what was seen.
        let (id, ticket) = room.hold(Class::Execute, "late edit").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        room.far.edit(User::Ana, &ticket, Some("Something else."));
        room.look().await;
        assert_eq!(room.stage.state(id).await, "pending");
        // What was decided before we wrote something else was decided on something else.
        let (id, ticket) = room.hold(Class::Execute, "older").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        room.far.edit(User::Us, &ticket, None);
        room.look().await;
        assert_eq!(room.stage.state(id).await, "pending");
        assert!(room.last_said(&ticket).contains("changed since"), "{}", room.last_said(&ticket));
        assert_eq!(room.stage.cloud.count(), 0);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_decide_at_once_a_rejection_counts_and_an_approval_only_where_it_stands() {
    for room in rooms().await {
        // One approves and another rejects before anything is read.
        let (id, ticket) = room.hold(Class::Execute, "both").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        room.far.put(User::Bob, &ticket, To::Rejected, Some("no"));
        room.look().await;
        assert_eq!(room.stage.state(id).await, "rejected");
        assert_eq!(room.count(id, "approval.voted").await, 1, "the rejection alone");
        // One approves and takes it back.
        let (id, ticket) = room.hold(Class::Execute, "back").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        room.far.put(User::Ana, &ticket, To::Waiting, None);
        room.far.put(User::Stranger, &ticket, To::Approved, None);
        room.look().await;
        assert_eq!(room.stage.state(id).await, "pending");
        assert_eq!(room.count(id, "approval.voted").await, 0);
        assert!(room.far.said(&ticket).iter().any(|said| said.contains("moved it on before")));
        // One approves on the console while another does here.
        let (id, ticket) = room.hold(Class::Delete, "console").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        let ((), voted) = tokio::join!(room.look(), room.stage.approve(person(2), id));
        voted.unwrap();
        room.stage.until(id, "done").await;
        assert_eq!(room.count(id, "approval.voted").await, 2);
        assert_eq!(room.stage.cloud.count(), 1);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_end_changes_nothing_and_is_answered() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Execute, "late").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        // It lapses before anybody looks.
        room.stage.clock.pass(Duration::from_hours(1));
        room.look().await;
        room.stage.until(id, "lapsed").await;
        room.told(id).await;
        assert_eq!(room.count(id, "approval.voted").await, 0);
        assert_eq!(room.stage.cloud.count(), 0);
        room.look().await;
        assert_eq!(room.far.stands(&ticket), "closed");
        let entries = room.stage.entries().await;
        assert!(entries.iter().all(|entry| !matches!(entry.event, Event::ExecutionAuthorized(_))));
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_about_what_our_own_records_say() {
    for room in rooms().await {
        let (first, ticket) = room.hold(Class::Execute, "first").await;
        let (second, other) = room.hold(Class::Configure, "second").await;
        // Somebody writes that it is about another approval: that is no more than another edit.
        room.far.relabel(&ticket, second);
        room.put(User::Ana, &ticket, To::Approved, None).await;
        let said = room.last_said(&ticket);
        assert!(said.contains("does not say any more what Countersign wrote"), "{said}");
        assert_eq!(room.far.stands(&ticket), "waiting");
        assert_eq!(room.kinds(first).await, ["approval.requested", "approval.vote_refused"]);
        room.put(User::Ana, &ticket, To::Rejected, Some("no")).await;
        assert_eq!(room.stage.state(first).await, "rejected", "stopping is never made harder");
        assert_eq!(room.kinds(second).await, ["approval.requested"]);
        assert_eq!(room.stage.cloud.count(), 0);
        assert_eq!(room.far.stands(&other), "waiting");
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said_on_the_page_and_read_later() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Execute, "down").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        room.far.is_down(true);
        assert!(room.watch.round(&room.stage.gate).await.is_some());
        let channel = room.stage.gate.channels().named(&name()).unwrap();
        assert!(channel.unread().is_some_and(|unread| !unread.why.contains("planted")));
        assert_eq!(room.stage.state(id).await, "pending");
        room.far.is_down(false);
        room.look().await;
        assert_eq!(channel.unread(), None);
        room.stage.until(id, "done").await;
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_not_all_is_shown_it_can_be_rejected_and_no_more() {
    let nothing = |section: &mut ChannelSection| section.show = Some(0);
    for room in [jira::room(nothing).await, servicenow::room(nothing).await] {
        let (id, ticket) = room.hold(Class::Execute, "hidden").await;
        room.put(User::Ana, &ticket, To::Approved, None).await;
        assert_eq!(room.stage.state(id).await, "pending");
        assert!(room.last_said(&ticket).contains("does not show all of it"), "{}", room.last_said(&ticket));
        room.put(User::Ana, &ticket, To::Rejected, None).await;
        assert_eq!(room.stage.state(id).await, "rejected");
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_answered_or_says_too_much_keeps_nobody_else_from_being_heard() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Execute, "mute").await;
        room.far.refuses_words(403, usize::MAX);
        room.far.put(User::Stranger, &ticket, To::Approved, None);
        room.far.put(User::Rule, &ticket, To::Waiting, None);
        room.far.put(User::Ana, &ticket, To::Rejected, Some("no"));
        room.look().await;
        assert_eq!(room.stage.state(id).await, "rejected", "{}", room.far.kind());
        room.far.refuses_words(403, 0);
        // More than anybody is heard with at once, and then somebody else.
        let (id, ticket) = room.hold(Class::Execute, "many").await;
        for _ in 0..35 {
            room.far.put(User::Olga, &ticket, To::Rejected, None);
            room.far.put(User::Olga, &ticket, To::Waiting, None);
        }
        room.far.put(User::Ana, &ticket, To::Rejected, Some("no"));
        room.look().await;
        assert_eq!(room.stage.state(id).await, "rejected");
        assert!(room.far.said(&ticket).iter().any(|said| said.contains("too much at once")));
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_counts_whatever_fails_behind_it() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Delete, "lost").await;
        room.far.put(User::Ana, &ticket, To::Approved, None);
        room.far.loses_an_answer();
        assert!(room.watch.round(&room.stage.gate).await.is_some(), "{}", room.far.kind());
        assert_eq!(room.count(id, "approval.voted").await, 1);
        room.look().await;
        assert_eq!(room.far.stands(&ticket), "waiting");
        // A gateway that ends before it remembers how far it read judges it anew.
        let (outgoing, _) = outbox::load(&room.stage.gate, id, &name()).await.unwrap().unwrap();
        outbox::heard(&room.stage.gate, &outgoing, "").await.unwrap();
        room.far.put(User::Bob, &ticket, To::Approved, None);
        room.look().await;
        room.stage.until(id, "done").await;
        room.told(id).await;
        assert!(room.far.said(&ticket).iter().all(|said| !said.contains("does not count")));
        assert_eq!(room.count(id, "approval.voted").await, 2);
        assert_eq!(room.count(id, "approval.vote_refused").await, 0);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_moves_it_again_is_told_so_once_and_the_dialogue_ends() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Execute, "rule").await;
        room.put(User::Rule, &ticket, To::Approved, None).await;
        assert_eq!(room.far.stands(&ticket), "waiting");
        room.put(User::Rule, &ticket, To::Approved, None).await;
        assert_eq!(room.far.stands(&ticket), "approved");
        assert!(room.last_said(&ticket).contains("not put back any more"), "{}", room.last_said(&ticket));
        let count = room.far.said(&ticket).len();
        room.far.put(User::Rule, &ticket, To::Waiting, None);
        room.put(User::Rule, &ticket, To::Rejected, None).await;
        assert_eq!(room.far.said(&ticket).len(), count);
        assert_eq!(room.stage.state(id).await, "pending");
        // People decide in it all the same.
        room.far.put(User::Ana, &ticket, To::Waiting, None);
        room.put(User::Ana, &ticket, To::Approved, None).await;
        room.stage.until(id, "done").await;
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_of_before_anybody_decided_there_can_be_rejected_and_no_more() {
    for room in rooms().await {
        let (id, ticket) = room.hold(Class::Execute, "old").await;
        let (outgoing, _) = outbox::load(&room.stage.gate, id, &name()).await.unwrap().unwrap();
        outbox::told(&room.stage.gate, &outgoing, 0, Some(ticket.clone())).await.unwrap();
        room.put(User::Ana, &ticket, To::Approved, None).await;
        assert_eq!(room.stage.state(id).await, "pending", "{}", room.far.kind());
        room.put(User::Ana, &ticket, To::Rejected, None).await;
        assert_eq!(room.stage.state(id).await, "rejected");
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_unbound_is_written_to_once_however_often_it_is_tried_to_say_so() {
    for room in rooms().await {
        let (_, ticket) = room.hold(Class::Execute, "mail").await;
        *room.stage.people.offers.lock().unwrap() = true;
        room.far.put(User::Stranger, &ticket, To::Approved, None);
        room.far.refuses_words(503, 2);
        for _ in 0..2 {
            assert!(room.watch.round(&room.stage.gate).await.is_some(), "{}", room.far.kind());
        }
        room.look().await;
        assert_eq!(room.far.mails().len(), 1);
        assert!(room.last_said(&ticket).contains("They were written to, alone"));
        assert!(!room.last_said(&ticket).contains("/bind"), "the link is for nobody else");
        room.close().await;
    }
}
