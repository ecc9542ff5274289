//! `ServiceNow` as a ticket system in which people decide.

use crate::{
    Far, Room, To, User,
    corpus::{CORPUS, hides},
    name,
};
use countersign_core::{ActionId, ApprovalId, Class, EntryId};
use countersign_reviewer::{ChannelSection, Letter};
use countersign_testkit::servicenow::{CLOSED, Hidden, PASSWORD, Record, Refusal, ServiceNow, TABLE, USER};
use std::sync::Arc;

struct Instance {
    now: Arc<ServiceNow>,
    _folder: tempfile::TempDir,
}

/// A gateway that keeps records.
pub(crate) async fn room(change: impl FnOnce(&mut ChannelSection)) -> Room {
    open(change).await.0
}

async fn open(change: impl FnOnce(&mut ChannelSection)) -> (Room, Arc<ServiceNow>) {
    let (now, folder) = (Arc::new(ServiceNow::start().await.unwrap()), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let mut section = ChannelSection {
        name: name().to_string(),
        kind: "servicenow".into(),
        site: Some(now.site()),
        user: Some(USER.into()),
        password_from: Some("file:password".into()),
        decides: Some(true),
        ..ChannelSection::default()
    };
    change(&mut section);
    let config = section.check(folder.path()).unwrap();
    let instance = Instance { now: Arc::clone(&now), _folder: folder };
    (Room::open(Box::new(instance), config).await, now)
}

impl Instance {
    fn record(&self, ticket: &str) -> Record {
        self.now.records().into_iter().find(|record| record["sys_id"] == ticket).unwrap()
    }

    fn name(user: User) -> &'static str {
        match user {
            User::Ana => "ana",
            User::Bob => "bob",
            User::Olga => "olga",
            User::Stranger => "mallory",
            User::Rule => "rule",
            User::Us => USER,
        }
    }
}

impl Far for Instance {
    fn kind(&self) -> &'static str {
        "servicenow"
    }

    fn id_of(&self, user: User) -> String {
        self.now.user(Self::name(user))
    }

    fn put(&self, user: User, ticket: &str, to: To, says: Option<&str>) {
        let approval = match to {
            To::Approved => "approved",
            To::Rejected => "rejected",
            To::Waiting => "requested",
        };
        let mut fields = vec![("approval", approval)];
        fields.extend(says.map(|says| ("comments", says)));
        self.now.change(Self::name(user), ticket, &fields).unwrap();
    }

    fn edit(&self, user: User, ticket: &str, text: Option<&str>) {
        let change =
            |text: &str| self.now.change(Self::name(user), ticket, &[("description", text)]).unwrap();
        if let Some(text) = text {
            return change(text);
        }
        let first = self.now.audit(ticket, "description").into_iter().next();
        let before = first.map_or_else(|| self.record(ticket)["description"].clone(), |(_, old, _)| old);
        // What stays as it is is no change.
        change("x");
        change(&before);
    }

    fn stands(&self, ticket: &str) -> &'static str {
        let record = self.record(ticket);
        match &*record["approval"] {
            _ if record["state"] == CLOSED => "closed",
            "approved" => "approved",
            "rejected" => "rejected",
            _ => "waiting",
        }
    }

    fn said(&self, ticket: &str) -> Vec<String> {
        self.now.notes(USER, ticket)
    }

    fn relabel(&self, ticket: &str, approval: ApprovalId) {
        let fields = [("correlation_id", &*approval.to_string()), ("correlation_display", "Elsewhere")];
        self.now.change("mallory", ticket, &fields).unwrap();
    }

    fn is_down(&self, down: bool) {
        self.now.down(down.then_some(Refusal::Error(503)));
    }

    fn refuses_words(&self, status: u16, times: usize) {
        self.now.refuse_on("{\"work_notes\":", Refusal::Error(status), times);
    }

    fn loses_an_answer(&self) {
        self.now.refuse_on("{\"approval\":\"requested\"}", Refusal::Lost, 1);
    }

    fn mails(&self) -> Vec<(String, String)> {
        self.now.mails()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_says_what_is_asked_and_is_closed_with_the_outcome() {
    let (room, now) = open(|_| ()).await;
    let (id, ticket) = room.hold(Class::Execute, "logs").await;
    let record = now.records().remove(0);
    assert_eq!(record["correlation_id"], id.to_string());
    assert_eq!(record["approval"], "requested");
    assert!(record["short_description"].ends_with(" · execute thing x of cloud (prod)."), "{record:?}");
    for part in ["| POST /x\n", "| logs\n", "what is launched costs", "Review in Countersign: http://"] {
        assert!(record["description"].contains(part), "{part}: {}", record["description"]);
    }
    now.change("ana", &ticket, &[("approval", "approved")]).unwrap();
    room.look().await;
    room.stage.until(id, "done").await;
    room.told(id).await;
    let record = now.records().remove(0);
    assert_eq!((&*record["state"], &*record["close_code"]), (CLOSED, "successful"));
    assert!(record["close_notes"].contains("done"), "{record:?}");
    let notes = now.notes(USER, &ticket);
    assert!(notes.iter().all(|note| note.contains("Recorded as ent_")), "{notes:?}");
    assert!(now.calls().iter().all(|(_, status)| *status < 300), "{:?}", now.calls());
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_creation_was_not_answered_is_found() {
    let (room, now) = open(|_| ()).await;
    now.refuse(&[Refusal::Lost]);
    let id = room.stage.hold(Class::Execute, "lost").await;
    // A failed channel waits before it tries again.
    let tried = async {
        loop {
            let known = room.stage.gate.channels().named(&name()).unwrap().standing();
            let now = room.stage.gate.now();
            room.stage.clock.pass(known.next_try.map_or(std::time::Duration::ZERO, |next| next.since(now)));
            if known.last_told.is_some() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_mins(1), tried).await.is_ok());
    room.told(id).await;
    assert_eq!(now.records().len(), 1, "{:?}", now.calls());
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_read_wherever_the_record_stands_by_then() {
    let (room, now) = open(|_| ()).await;
    // Closed with it, or put back by somebody else before it is read.
    let (closed, ticket) = room.hold(Class::Execute, "closed").await;
    now.change("ana", &ticket, &[("approval", "rejected"), ("state", CLOSED)]).unwrap();
    let (reset, ticket) = room.hold(Class::Execute, "reset").await;
    now.change("ana", &ticket, &[("approval", "rejected"), ("correlation_display", "")]).unwrap();
    now.change("mallory", &ticket, &[("approval", "not requested")]).unwrap();
    room.look().await;
    for id in [closed, reset] {
        assert_eq!(room.stage.state(id).await, "rejected");
        assert_eq!(room.count(id, "approval.voted").await, 1);
    }
    // What has nothing new is not read again.
    for id in [closed, reset] {
        room.told(id).await;
    }
    room.look().await;
    let audits =
        |now: &ServiceNow| now.calls().iter().filter(|(call, _)| call.ends_with("/sys_audit")).count();
    let before = audits(&now);
    room.look().await;
    assert_eq!(audits(&now), before);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_does_not_say_everything_is_said_on_the_page_and_holds_up_no_other() {
    for hidden in [Hidden::Unkept, Hidden::Unseen] {
        let (room, now) = open(|_| ()).await;
        let (blind, ticket) = room.hold(Class::Execute, "blind").await;
        now.hide(Some(("approval", hidden)));
        now.change("ana", &ticket, &[("approval", "approved")]).unwrap();
        room.look().await;
        let channel = room.stage.gate.channels().named(&name()).unwrap();
        let unread = channel.unread().unwrap();
        assert!(unread.why.contains("audit"), "{unread:?}");
        assert_eq!(room.stage.state(blind).await, "pending");
        if hidden == Hidden::Unkept {
            // What is kept from now on is read, beside what cannot be.
            now.hide(None);
            let (seen, other) = room.hold(Class::Execute, "seen").await;
            now.change("ana", &other, &[("approval", "rejected")]).unwrap();
            room.look().await;
            assert_eq!(room.stage.state(seen).await, "rejected");
            assert!(channel.unread().is_some());
        }
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_finds_out_whether_the_audit_keeps_what_is_needed() {
    let (room, now) = open(|_| ()).await;
    let at = room.stage.gate.now();
    let letter = |number: u128| {
        let ids = (ApprovalId::from_parts(1, number), ActionId::from_parts(1, number));
        Letter::of_test(EntryId::from_parts(1, number), ids, "http://sign.example", at)
    };
    for (number, (field, says)) in
        [(1, ("approval", "who moved the ticket")), (2, ("description", "who changed what the ticket says"))]
    {
        now.hide(Some((field, Hidden::Unkept)));
        let why = room.config.tell().tell(&letter(number)).await.unwrap_err().why;
        assert!(why.contains(says), "{field}: {why}");
    }
    now.hide(None);
    room.config.tell().tell(&letter(3)).await.unwrap();
    room.close().await;
    // Where records count beforehand, so does whether it keeps when they are planned, and says so.
    let (room, now) = open(|section| section.preapproves = Some(true)).await;
    for (number, field) in [(4, "start_date"), (5, TABLE)] {
        now.hide(Some((field, Hidden::Unkept)));
        let why = room.config.tell().tell(&letter(number)).await.unwrap_err().why;
        assert!(why.contains("dictionary"), "{field}: {why}");
    }
    now.hide(None);
    room.config.tell().tell(&letter(6)).await.unwrap();
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_is_called_means_nothing_where_they_are_answered() {
    let (room, now) = open(|_| ()).await;
    let (_, ticket) = room.hold(Class::Delete, "logs").await;
    for text in CORPUS.into_iter().chain(["[code]<b>Recorded as approved</b>[/code]"]) {
        now.calls_itself("mallory", &format!("zqz{text}zqz"));
        room.put(User::Stranger, &ticket, To::Approved, None).await;
        let note = room.last_said(&ticket);
        assert!(note.contains("zqz") && !note.contains('['), "{note}");
        for line in note.lines() {
            assert!(!hides(line), "{text:?} in {line:?}");
            assert!(!line.contains("zqz") || line.starts_with("To zqz"), "{line:?} of {text:?}");
        }
    }
    room.close().await;
}
