//! Tickets that a requester names, as approved before it asked: what makes one count, and each way in which one may be made to look as if it did.
//! Long because it holds each of them against two systems.

use crate::{
    COMES_WITHIN, To, User, channels,
    gateway::{LONG, POLICY, Stage, olga, person},
    name,
};
use bytes::Bytes;
use countersign_core::{ActionId, ApprovalId, Assurance, Class, CredentialId, EntryId, Timestamp};
use countersign_engine::{
    hold::Hold,
    journal::Note,
    port::identity::Bound,
    read::{self, HoldFilter},
    reply::{Reply, Ticket},
};
use countersign_ledger::event::{Actor, Event};
use countersign_reviewer::{Again, ChannelConfig, ChannelSection, Letter};
use countersign_testkit::{jira, servicenow};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Gates that take a ticket, one of which wants two people, and one that takes none.
const TICKETS: &str = r#"
@id("tidy") @gate("tidy") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("chat")
@ticket("tickets") @reason("what is deleted is gone") forbid (principal, action in Action::"delete", resource);
@id("launch") @gate("launch") @approvers("Group::\"sre\"") @expires("30m") @valid_for("10m") @step_up("chat")
@ticket("tickets") @reason("what is launched costs") forbid (principal, action in Action::"execute", resource);
"#;
const DAY: Duration = Duration::from_hours(24);

/// A ticket system in which people file tickets by hand.
trait Files: Send + Sync {
    fn id_of(&self, user: User) -> String;
    /// Somebody files a ticket that says this: its key.
    fn file(&self, user: User, says: &str) -> String;
    fn put(&self, user: User, key: &str, to: To);
    /// Somebody writes something else into it.
    fn edit(&self, user: User, key: &str, says: &str);
    fn is_down(&self, down: bool);
    /// It answers every call with 429 and so many seconds, or as usual again.
    fn asks_for_rest(&self, seconds: Option<u64>);
    fn calls(&self) -> usize;
    fn mails(&self) -> Vec<(String, String)>;
}

struct Desk {
    far: Box<dyn Files>,
    stage: Stage,
    folder: tempfile::TempDir,
    config: ChannelConfig,
}

fn jira_section(site: String) -> ChannelSection {
    ChannelSection {
        name: name().to_string(),
        kind: "jira".into(),
        site: Some(site),
        user: Some(jira::USER.into()),
        token_from: Some("file:secret".into()),
        project: Some(jira::PROJECT.into()),
        preapproves: Some(true),
        preapproved_types: Some(vec!["Change".into()]),
        ..ChannelSection::default()
    }
}

fn servicenow_section(site: String) -> ChannelSection {
    ChannelSection {
        name: name().to_string(),
        kind: "servicenow".into(),
        site: Some(site),
        user: Some(servicenow::USER.into()),
        password_from: Some("file:secret".into()),
        preapproves: Some(true),
        ..ChannelSection::default()
    }
}

impl Desk {
    async fn jira() -> (Self, Arc<jira::Jira>) {
        let far = Arc::new(jira::Jira::start().await.unwrap());
        let desk = Self::open(Box::new(AtJira(Arc::clone(&far))), jira_section(far.site()), jira::TOKEN);
        (desk.await, far)
    }

    async fn servicenow() -> (Self, Arc<servicenow::ServiceNow>) {
        let far = Arc::new(servicenow::ServiceNow::start().await.unwrap());
        let section = servicenow_section(far.site());
        let desk = Self::open(Box::new(AtServiceNow(Arc::clone(&far))), section, servicenow::PASSWORD);
        (desk.await, far)
    }

    async fn both() -> Vec<Self> {
        vec![Self::jira().await.0, Self::servicenow().await.0]
    }

    async fn open(far: Box<dyn Files>, section: ChannelSection, secret: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), secret).unwrap();
        let config = section.check(folder.path()).unwrap();
        let stage = Stage::asking(channels, vec![(name(), Arc::clone(config.vouches().unwrap()))]).await;
        let started = stage.gate.now();
        let desk = Self { far, stage, folder, config };
        for (user, person) in [(User::Ana, person(1)), (User::Bob, person(2)), (User::Olga, olga())] {
            let (binding, gate) = (CredentialId::from_parts(1, user as u128), &desk.stage.gate);
            let bound = Bound { person, binding, since: started };
            desk.stage.people.bound.lock().unwrap().insert((name(), desk.far.id_of(user)), bound);
            let event = Event::ChannelBound { person, binding, channel: name() };
            gate.journal()
                .commit(vec![], vec![Note::new(Actor::Person { id: person }, event)])
                .await
                .unwrap();
        }
        // The stage's clock stands still, and the ticket system's does not.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Timestamp(i64::try_from(now.as_micros()).unwrap());
        desk.stage.clock.pass(now.since(desk.stage.gate.now()));
        desk.stage.policy(&format!("{POLICY}{TICKETS}")).await;
        desk
    }

    /// A ticket that the agent filed and somebody approved: its key.
    fn approved(&self, by: User, scope: &str) -> String {
        let key = self.far.file(User::Stranger, scope);
        self.far.put(by, &key, To::Approved);
        key
    }

    /// Asks, naming a ticket, and waits until it ran or waits for people.
    async fn ask(&self, class: Class, body: &str, ticket: &str) -> Result<Bytes, Box<Ticket>> {
        let looks = |hold: &Hold| {
            let named = hold.tickets.iter().find(|named| named.claimed == ticket);
            named.map_or(0, |named| named.looks)
        };
        let filter = HoldFilter { limit: 200, ..HoldFilter::default() };
        let before = read::holds(&self.stage.gate, filter).await.unwrap();
        let asked = self.stage.ask_with((class, body), ticket, Duration::ZERO).await.unwrap();
        let Reply::Pending(first) = asked else { panic!("{asked:?}") };
        // It is looked up behind the answer.
        let read = async {
            loop {
                let hold = read::hold(&self.stage.gate, first.approval).await.unwrap().unwrap();
                let known = before.iter().find(|known| known.approval.id == first.approval);
                if looks(&hold) > known.map_or(0, &looks) {
                    return hold;
                }
                tokio::task::yield_now().await;
            }
        };
        let hold = tokio::time::timeout(COMES_WITHIN, read).await.unwrap();
        if hold.approval.state.as_str() == "pending" {
            return Err(Box::new(hold.ticket(String::new(), |_| None)));
        }
        self.stage.until(first.approval, "done").await;
        match self.stage.ask_with((class, body), ticket, LONG).await.unwrap() {
            Reply::Kept(kept) => Ok(kept.kept().body.clone().unwrap_or_default().into()),
            other => panic!("{other:?}"),
        }
    }

    /// Asks, and says which check failed while it waits for people.
    async fn failed(&self, class: Class, body: &str, ticket: &str) -> (ApprovalId, &'static str, String) {
        let waits = self.ask(class, body, ticket).await.unwrap_err();
        let id = waits.approval;
        assert_eq!(self.stage.state(id).await, "pending", "{ticket}");
        let named = waits.named.last().unwrap();
        assert_eq!(named.state, "failed", "{ticket}: {named:?}");
        let check = named.check.unwrap();
        let kinds = self.stage.events_of(id).await;
        assert_eq!(kinds, ["approval.requested", "approval.ticket_refused"], "{ticket}");
        (id, check.as_str(), named.says.clone())
    }

    fn close(self) {
        self.stage.verify();
    }
}

/// What covers everything of a class that the stage's agent asks for.
fn scope(class: Class, more: &str) -> String {
    let requester = Stage::requester().principal;
    format!(
        "countersign scope 1\nrequester: {requester}\ntarget: cloud\nenvironment: prod\nclass: {}\nresource: thing/*{more}",
        class.as_str()
    )
}

struct AtJira(Arc<jira::Jira>);

impl Files for AtJira {
    fn id_of(&self, user: User) -> String {
        match user {
            User::Ana => "557058:ana",
            User::Bob => "557058:bob",
            User::Olga => "557058:olga",
            User::Stranger => "557058:mallory",
            User::Rule => "557058:rule",
            User::Us => jira::ACCOUNT,
        }
        .into()
    }

    fn file(&self, user: User, says: &str) -> String {
        self.0.file(&self.id_of(user), "Change", jira::document::with_code("Please.", says))
    }

    fn put(&self, user: User, key: &str, to: To) {
        let status = match to {
            To::Approved => "Approved",
            To::Rejected => "Rejected",
            To::Waiting => "Waiting",
        };
        self.0.transit(&self.id_of(user), key, status, None).unwrap();
    }

    fn edit(&self, user: User, key: &str, says: &str) {
        let text = jira::document::with_code("Please.", says);
        self.0.edit(&self.id_of(user), key, None, Some(text));
    }

    fn is_down(&self, down: bool) {
        self.0.down(down.then_some(jira::Refusal::Error(503, "")));
    }

    fn asks_for_rest(&self, seconds: Option<u64>) {
        self.0.down(seconds.map(jira::Refusal::Later));
    }

    fn calls(&self) -> usize {
        self.0.calls().len()
    }

    fn mails(&self) -> Vec<(String, String)> {
        self.0.mails()
    }
}

struct AtServiceNow(Arc<servicenow::ServiceNow>);

impl AtServiceNow {
    fn name(user: User) -> &'static str {
        match user {
            User::Ana => "ana",
            User::Bob => "bob",
            User::Olga => "olga",
            User::Stranger => "mallory",
            User::Rule => "rule",
            User::Us => servicenow::USER,
        }
    }
}

impl Files for AtServiceNow {
    fn id_of(&self, user: User) -> String {
        self.0.user(Self::name(user))
    }

    fn file(&self, user: User, says: &str) -> String {
        let fields = [("short_description", "A change"), ("description", says), ("state", "-2")];
        self.0.file(Self::name(user), &fields)
    }

    fn put(&self, user: User, key: &str, to: To) {
        let approval = match to {
            To::Approved => "approved",
            To::Rejected => "rejected",
            To::Waiting => "requested",
        };
        self.0.change(Self::name(user), &self.0.numbered(key), &[("approval", approval)]).unwrap();
    }

    fn edit(&self, user: User, key: &str, says: &str) {
        self.0.change(Self::name(user), &self.0.numbered(key), &[("description", says)]).unwrap();
    }

    fn is_down(&self, down: bool) {
        self.0.down(down.then_some(servicenow::Refusal::Error(503)));
    }

    fn asks_for_rest(&self, seconds: Option<u64>) {
        self.0.down(seconds.map(servicenow::Refusal::Later));
    }

    fn calls(&self) -> usize {
        self.0.calls().len()
    }

    fn mails(&self) -> Vec<(String, String)> {
        self.0.mails()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_somebody_approved_beforehand_is_their_vote_and_good_once() {
    for desk in Desk::both().await {
        let key = desk.approved(User::Ana, &scope(Class::Execute, ""));
        desk.ask(Class::Execute, "one", &key).await.unwrap();
        assert_eq!(desk.stage.cloud.count(), 1);
        let entries = desk.stage.entries().await;
        let votes: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::ApprovalVoted { statement, assurance, through, ticket, .. } => {
                    Some((entry, statement, *assurance, through.clone().unwrap(), ticket.clone().unwrap()))
                }
                _ => None,
            })
            .collect();
        let [(entry, statement, assurance, through, ticket)] = votes.as_slice() else { panic!("{votes:?}") };
        assert_eq!((entry.actor.clone(), statement.voter), (Actor::Person { id: person(1) }, person(1)));
        assert_eq!((*assurance, &through.channel), (Assurance::Chat, &name()));
        assert_eq!((ticket.ticket.as_str(), ticket.used, ticket.uses), (&*key, 1, 1));
        assert!(!ticket.id.is_empty() && !ticket.change.is_empty() && ticket.until.is_some());

        // Named again it is used up, over a restart as well; people can decide all the same.
        let (_, check, says) = desk.failed(Class::Execute, "two", &key).await;
        assert_eq!(check, "uses", "{says}");
        let Desk { far, stage, folder, config } = desk;
        let desk = Desk { far, stage: stage.restart().await, folder, config };
        desk.stage.policy(&format!("{POLICY}{TICKETS}")).await;
        let (id, check, says) = desk.failed(Class::Execute, "three", &key).await;
        assert_eq!((check, desk.stage.cloud.count()), ("uses", 1), "{says}");
        desk.stage.approve(person(2), id).await.unwrap();
        desk.stage.until(id, "done").await;
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_the_action_waits_for_people_and_it_is_said_what_failed() {
    for desk in Desk::both().await {
        let far = &desk.far;
        let good = scope(Class::Execute, "");
        let waiting = far.file(User::Stranger, &good);
        let rejected = desk.approved(User::Ana, &good);
        far.put(User::Bob, &rejected, To::Rejected);
        let edited = desk.approved(User::Ana, &scope(Class::Read, ""));
        far.edit(User::Stranger, &edited, &good);
        let own = far.file(User::Us, &good);
        far.put(User::Ana, &own, To::Approved);
        let covers = |says: &str| desk.approved(User::Ana, says);
        let other = good.replace("cloud", "other");
        let agent = good.replace(&Stage::requester().principal.to_string(), "agt_00000000000000000000000009");
        let over = scope(Class::Execute, "\nuntil: 2026-01-01T00:00:00Z");
        let early = scope(Class::Execute, "\nfrom: 2099-01-01T00:00:00Z");
        for (what, key, check) in [
            ("nobody approved it", waiting, "state"),
            ("it was rejected since", rejected, "state"),
            ("its scope was widened since", edited, "unchanged"),
            ("we wrote it", own, "kind"),
            ("the agent's owner approved it", desk.approved(User::Olga, &good), "approver"),
            ("a rule approved it", desk.approved(User::Rule, &good), "approver"),
            ("nobody knows who approved it", desk.approved(User::Stranger, &good), "approver"),
            ("it is for reads", covers(&scope(Class::Read, "")), "scope"),
            ("it is for another target", covers(&other), "scope"),
            ("it is for another agent", covers(&agent), "scope"),
            ("it is for another thing", covers(&good.replace("thing/*", "thing/y*")), "scope"),
            ("it has no scope", covers("Approved: everything that the bot asks for."), "scope"),
            ("it says more than is understood", covers(&format!("{good}\nand: the rest")), "scope"),
            ("its time is over", covers(&over), "time"),
            ("its time has not come", covers(&early), "time"),
        ] {
            let (_, found, says) = desk.failed(Class::Execute, what, &key).await;
            assert_eq!(found, check, "{what}: {says}");
        }
        // A gate that takes none.
        let (id, check, _) = desk.failed(Class::Configure, "none", &desk.approved(User::Ana, &good)).await;
        assert_eq!(check, "policy");
        let hold = read::hold(&desk.stage.gate, id).await.unwrap().unwrap();
        assert_eq!(hold.scope_of_a_ticket(), None);
        assert_eq!(desk.stage.cloud.count(), 0);
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_asked_of_nobody() {
    for desk in Desk::both().await {
        let before = desk.far.calls();
        for (at, hostile) in [
            "../../myself",
            "OPS-1/../../myself",
            "OPS-1?expand=renderedFields",
            "OPS-1%2F..%2Fmyself",
            "CHG0030001^ORactive=true",
            "OPS\u{2011}12",
            "OPS-\u{661}\u{662}",
            "ops-1",
            "OPS-1\u{202e}",
            "OPS-1, OPS-2",
        ]
        .into_iter()
        .enumerate()
        {
            let (id, check, _) = desk.failed(Class::Execute, &format!("{at}"), hostile).await;
            assert_eq!(check, "name", "{hostile}");
            let hold = read::hold(&desk.stage.gate, id).await.unwrap().unwrap();
            assert_eq!(hold.view.claimed.ticket.as_deref(), Some(hostile));
            let told = hold.ticket(String::new(), |_| None);
            assert!(!told.named[0].ticket.contains('\u{202e}'), "{told:?}");
        }
        // Of another project, or of another system.
        for (at, elsewhere) in ["HR-1", "X1_Y-3"].into_iter().enumerate() {
            let (_, check, _) = desk.failed(Class::Execute, &format!("e{at}"), elsewhere).await;
            assert_eq!(check, "policy", "{elsewhere}");
        }
        assert_eq!(desk.far.calls(), before, "nothing was asked");
        let long = desk.stage.ask_with((Class::Execute, "long"), &"X".repeat(101), Duration::ZERO).await;
        assert!(matches!(long, Ok(Reply::Refused(_))), "{long:?}");
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_approved_it_and_is_not_known_is_written_to_alone() {
    for desk in Desk::both().await {
        *desk.stage.people.offers.lock().unwrap() = true;
        let key = desk.approved(User::Stranger, &scope(Class::Execute, ""));
        let (id, check, says) = desk.failed(Class::Execute, "x", &key).await;
        assert_eq!(check, "approver", "{says}");
        let written = async {
            while desk.far.mails().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(COMES_WITHIN, written).await.unwrap();
        assert_eq!(desk.far.mails().len(), 1);
        let (_, mail) = &desk.far.mails()[0];
        assert!(mail.contains("nobody here knows whose word yours is"), "{mail}");
        let hold = read::hold(&desk.stage.gate, id).await.unwrap().unwrap();
        assert!(!format!("{:?}", hold.tickets).contains("/bind"), "the link is for nobody else");
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_down_or_slow_approves_nothing_and_can_be_asked_again() {
    for desk in Desk::both().await {
        let key = desk.approved(User::Ana, &scope(Class::Execute, ""));
        desk.far.is_down(true);
        let (id, check, _) = desk.failed(Class::Execute, "x", &key).await;
        assert_eq!(check, "reached");
        desk.far.is_down(false);
        // A moment later the agent names it once more: it attaches to what waits.
        desk.stage.clock.pass(Duration::from_secs(6));
        drop(desk.ask(Class::Execute, "x", &key).await);
        desk.stage.until(id, "done").await;
        assert_eq!(desk.stage.cloud.count(), 1);
        desk.close();
    }
    // One that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = AtJira(Arc::new(jira::Jira::start().await.unwrap()));
    let mut section = jira_section(format!("http://{}", silent.local_addr().unwrap()));
    section.time_limit = Some(countersign_pep::Span(Duration::from_secs(1)));
    let desk = Desk::open(Box::new(far), section, jira::TOKEN).await;
    let (_, check, says) = desk.failed(Class::Execute, "x", "OPS-1").await;
    assert_eq!(check, "reached", "{says}");
    desk.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_want_the_last_use_one_runs() {
    for desk in Desk::both().await {
        let key = desk.approved(User::Ana, &scope(Class::Execute, "\nuses: 3"));
        for body in ["one", "two"] {
            desk.ask(Class::Execute, body, &key).await.unwrap();
        }
        let ask = |body| desk.ask(Class::Execute, body, &key);
        let (left, right) = tokio::join!(ask("left"), ask("right"));
        let ran = [&left, &right].into_iter().filter(|asked| asked.is_ok()).count();
        assert_eq!((ran, desk.stage.cloud.count()), (1, 3), "{left:?} {right:?}");
        let waits = left.err().or(right.err()).unwrap();
        assert_eq!(waits.named[0].check.unwrap().as_str(), "uses");
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_one_voice_of_the_quorum_and_what_is_taken_back_before_it_runs_counts_no_more() {
    for desk in Desk::both().await {
        let key = desk.approved(User::Ana, &scope(Class::Delete, "\nuses: 2"));
        let waits = desk.ask(Class::Delete, "kept", &key).await.unwrap_err();
        assert_eq!((waits.named[0].state, waits.waits_for[0].votes), ("counted", 1), "{waits:?}");
        // The same voice again is no other one.
        let same = desk.stage.approve(person(1), waits.approval).await.unwrap();
        assert_eq!(same.approval.state.as_str(), "pending");
        desk.stage.approve(person(2), waits.approval).await.unwrap();
        desk.stage.until(waits.approval, "done").await;

        let waits = desk.ask(Class::Delete, "taken back", &key).await.unwrap_err();
        let id = waits.approval;
        desk.stage.clock.pass(Duration::from_secs(30));
        desk.far.put(User::Bob, &key, To::Waiting);
        desk.stage.approve(person(2), id).await.unwrap();
        let asked_again = async {
            while !desk.stage.events_of(id).await.contains(&"approval.round_opened") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(COMES_WITHIN, asked_again).await.unwrap();
        assert_eq!((desk.stage.state(id).await.as_str(), desk.stage.cloud.count()), ("pending", 1));
        let hold = read::hold(&desk.stage.gate, id).await.unwrap().unwrap();
        assert_eq!(hold.tickets[0].failed().unwrap().as_str(), "state");
        // Approved once more it counts in the new round, and costs no further use.
        desk.far.put(User::Ana, &key, To::Approved);
        desk.stage.clock.pass(Duration::from_secs(6));
        let waits = desk.ask(Class::Delete, "taken back", &key).await.unwrap_err();
        assert_eq!((waits.approval, waits.named[0].state), (id, "counted"), "{waits:?}");
        desk.stage.approve(person(3), id).await.unwrap();
        desk.stage.until(id, "done").await;
        assert_eq!(desk.stage.cloud.count(), 2);
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_says_what_a_ticket_has_to_say_and_may_be_named_one_later() {
    for desk in Desk::both().await {
        let id = desk.stage.hold(Class::Execute, "later").await;
        let hold = read::hold(&desk.stage.gate, id).await.unwrap().unwrap();
        let scope = hold.scope_of_a_ticket().unwrap();
        let key = desk.approved(User::Ana, &scope);
        // It is for these bytes alone.
        let (_, check, _) = desk.failed(Class::Execute, "other bytes", &key).await;
        assert_eq!(check, "scope");
        desk.ask(Class::Execute, "later", &key).await.unwrap();
        assert_eq!(desk.stage.state(id).await, "done");
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_within_its_window_and_a_state_in_which_it_is_carried_out() {
    let (desk, far) = Desk::servicenow().await;
    let good = scope(Class::Execute, "");
    let stamp = |at: Timestamp| at.to_string().split('.').next().unwrap().replacen('T', " ", 1);
    let now = desk.stage.gate.now();
    let file = |class, from: Timestamp, until: Timestamp, state| {
        let (says, from, until) = (scope(class, ""), stamp(from), stamp(until));
        let fields =
            [("description", &*says), ("state", state), ("start_date", &*from), ("end_date", &*until)];
        let key = far.file("mallory", &fields);
        desk.far.put(User::Ana, &key, To::Approved);
        key
    };
    let (before, after) = (now.minus(DAY), now.plus(DAY));
    let wide = |state| file(Class::Execute, before, after, state);
    for (what, key, check) in [
        ("it is planned for tomorrow", file(Class::Execute, after, after.plus(DAY), "-2"), "time"),
        ("it was planned for yesterday", file(Class::Execute, before.minus(DAY), before, "-2"), "time"),
        ("it is new", wide("-5"), "state"),
        ("it is closed", wide(servicenow::CLOSED), "state"),
        ("there is none", "CHG0039999".to_owned(), "found"),
    ] {
        let (_, found, says) = desk.failed(Class::Execute, what, &key).await;
        assert_eq!(found, check, "{what}: {says}");
    }
    // Its window was moved since.
    let moved = file(Class::Execute, before.minus(DAY), before, "-2");
    far.change("mallory", &far.numbered(&moved), &[("end_date", &stamp(after))]).unwrap();
    assert_eq!(desk.failed(Class::Execute, "moved", &moved).await.1, "unchanged");
    // What the account may not see of the audit could be anything.
    let hidden = wide("-2");
    far.change("mallory", &far.numbered(&hidden), &[("description", &format!("{good}\n\n"))]).unwrap();
    far.hide(Some(("description", servicenow::Hidden::Unseen)));
    let (_, check, says) = desk.failed(Class::Execute, "hidden", &hidden).await;
    assert_eq!(check, "history", "{says}");
    far.hide(Some(("approval", servicenow::Hidden::Unkept)));
    let unkept = wide("-2");
    assert_eq!(desk.failed(Class::Execute, "unkept", &unkept).await.1, "history");
    far.hide(None);

    desk.ask(Class::Execute, "now", &wide("-1")).await.unwrap();
    // It ends while somebody else is still asked.
    let ends = file(Class::Delete, before, now.plus(Duration::from_mins(2)), "-2");
    let waits = desk.ask(Class::Delete, "ends", &ends).await.unwrap_err();
    assert_eq!(waits.named[0].state, "counted", "{waits:?}");
    desk.stage.clock.pass(Duration::from_mins(3));
    desk.stage.approve(person(2), waits.approval).await.unwrap();
    let asked_again = async {
        while !desk.stage.events_of(waits.approval).await.contains(&"approval.round_opened") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(COMES_WITHIN, asked_again).await.unwrap();
    assert_eq!(desk.stage.cloud.count(), 1);
    desk.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issue_counts_in_its_project_and_type_and_as_its_editor_shows_it() {
    let (desk, far) = Desk::jira().await;
    let good = scope(Class::Execute, "");
    let file = |kind: &str, text| {
        let key = far.file("557058:mallory", kind, text);
        desk.far.put(User::Ana, &key, To::Approved);
        key
    };
    let code = |says: &str| jira::document::with_code("Please.", says);
    let bug = file("Bug", code(&good));
    let typed = file("Change", jira::document::of(&good));
    let twice = file("Change", code(&format!("{good}\n\n{good}")));
    let away = file("Change", code(&good));
    far.by_hand(|issues| {
        let issue = issues.iter_mut().find(|issue| issue.key == away).unwrap();
        // Found under its old key, it says its new one.
        (issue.id, issue.key) = (away.clone(), "HR-1".into());
    });
    for (what, key, check) in [
        ("of another type", bug, "kind"),
        ("not in a block of code", typed, "scope"),
        ("two scopes", twice, "scope"),
        ("moved", away, "found"),
        ("none", "OPS-9999".to_owned(), "found"),
    ] {
        let (_, found, says) = desk.failed(Class::Execute, what, &key).await;
        assert_eq!(found, check, "{what}: {says}");
    }
    // Through an app that acts for a person, and says so.
    let app = far.file("557058:mallory", "Change", code(&good));
    far.transit_through("557058:ana", &app, ("Approved", None), Some("rule")).unwrap();
    assert_eq!(desk.failed(Class::Execute, "app", &app).await.1, "approver");
    // Approved too long ago.
    let old = file("Change", code(&good));
    desk.stage.clock.pass(8 * DAY);
    assert_eq!(desk.failed(Class::Execute, "old", &old).await.1, "time");
    desk.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_instance_does_not_audit_could_have_been_changed_since() {
    let (desk, far) = Desk::servicenow().await;
    let key = desk.approved(User::Ana, &scope(Class::Read, ""));
    for (field, what) in
        [("description", "its text"), ("start_date", "when it is planned"), (servicenow::TABLE, "the table")]
    {
        far.hide(Some((field, servicenow::Hidden::Unkept)));
        // Nobody is told of this edit.
        desk.far.edit(User::Stranger, &key, &scope(Class::Execute, ""));
        let (_, check, says) = desk.failed(Class::Execute, what, &key).await;
        assert_eq!(check, "history", "{what}: {says}");
    }
    far.hide(None);
    desk.ask(Class::Execute, "kept", &desk.approved(User::Ana, &scope(Class::Execute, ""))).await.unwrap();
    desk.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_not_there_then_has_said_nothing_then() {
    let (desk, far) = Desk::servicenow().await;
    let key = desk.approved(User::Ana, &scope(Class::Execute, ""));
    far.renews("ana", "2099-01-01 00:00:00");
    let (_, check, says) = desk.failed(Class::Execute, "x", &key).await;
    assert_eq!(check, "approver", "{says}");
    desk.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_what_the_gateway_wrote_counts_for_nobody() {
    let good = scope(Class::Execute, "");
    let (desk, far) = Desk::jira().await;
    let drawn = "What will run, as it is";
    let heading = jira::document::with_code(drawn, &good);
    let key = far.file("557058:mallory", "Change", heading);
    desk.far.put(User::Ana, &key, To::Approved);
    assert_eq!(desk.failed(Class::Execute, "copied", &key).await.1, "kind");
    desk.close();
    let (desk, _) = Desk::servicenow().await;
    let key = desk.approved(User::Ana, &format!("{good}\n\n{drawn}:\n| x"));
    assert_eq!(desk.failed(Class::Execute, "copied", &key).await.1, "kind");
    desk.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_approver_could_take_for_a_part_of_the_scope_is_one_or_nothing_counts() {
    for desk in Desk::both().await {
        let good = scope(Class::Execute, "");
        for (what, more) in [
            ("a line behind an empty one", "\n\nuntil: 2026-01-01T00:00:00Z"),
            ("a line behind what is seen as empty", "\n\u{a0}\nresource: thing/y"),
            ("a line behind a separator", "\n\nso\u{2028}class: read"),
        ] {
            let key = desk.approved(User::Ana, &format!("{good}{more}"));
            let (_, check, says) = desk.failed(Class::Execute, what, &key).await;
            assert_eq!(check, "scope", "{what}: {says}");
        }
        let far_away = format!("class: read,{}execute", " ".repeat(300));
        let key = desk.approved(User::Ana, &good.replace("class: execute", &far_away));
        assert_eq!(desk.failed(Class::Execute, "far away", &key).await.1, "scope");
        desk.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_a_ticket_and_the_rest_of_its_channel_leave_the_system_alone_together() {
    for desk in Desk::both().await {
        let [first, second] = [(); 2].map(|()| desk.approved(User::Ana, &scope(Class::Execute, "")));
        let letter = || {
            let ids = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
            Letter::of_test(EntryId::from_parts(1, 1), ids, "https://localhost", desk.stage.gate.now())
        };
        // A rest that is over in a moment is waited for.
        desk.far.asks_for_rest(Some(1));
        let failed = desk.config.tell().tell(&letter()).await.unwrap_err();
        assert!(matches!(failed.again, Again::After(_)), "{failed:?}");
        desk.far.asks_for_rest(None);
        desk.ask(Class::Execute, "one", &first).await.unwrap();

        // A look is asked for a longer one: nothing else is sent until then, whoever would.
        desk.far.asks_for_rest(Some(600));
        let (_, check, says) = desk.failed(Class::Execute, "two", &second).await;
        assert_eq!(check, "reached", "{says}");
        desk.far.asks_for_rest(None);
        let calls = desk.far.calls();
        let failed = desk.config.tell().tell(&letter()).await.unwrap_err();
        let Again::After(left) = failed.again else { panic!("{failed:?}") };
        assert!(left > Duration::from_mins(5), "{left:?}");
        let (_, check, says) = desk.failed(Class::Execute, "three", &second).await;
        assert_eq!((check, desk.far.calls()), ("reached", calls), "{says}");
        desk.close();
    }
}
