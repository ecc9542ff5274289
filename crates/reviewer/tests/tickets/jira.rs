//! Jira as a ticket system in which people decide, and the webhooks that tell us to look.

use crate::{
    Far, Room, To, User,
    corpus::{CORPUS, hides},
    name,
};
use countersign_core::{ApprovalId, Class};
use countersign_pep::Span;
use countersign_reviewer::{ChannelSection, JiraDoor, NotBelieved, Reply, Speaks};
use countersign_testkit::jira::{
    ACCOUNT, Jira, PROJECT, Refusal, TOKEN, USER, document,
    person::{SECRET, Webhook, signature},
};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

struct Site {
    jira: Arc<Jira>,
    _folder: tempfile::TempDir,
}

/// A gateway that keeps issues.
pub(crate) async fn room(change: impl FnOnce(&mut ChannelSection)) -> Room {
    open(change).await.0
}

async fn open(change: impl FnOnce(&mut ChannelSection)) -> (Room, Arc<Jira>) {
    let (jira, folder) = (Arc::new(Jira::start().await.unwrap()), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let mut section = ChannelSection {
        name: name().to_string(),
        kind: "jira".into(),
        site: Some(jira.site()),
        user: Some(USER.into()),
        token_from: Some("file:token".into()),
        project: Some(PROJECT.into()),
        decides: Some(true),
        waiting: Some("Waiting".into()),
        signing_secret_from: Some("file:secret".into()),
        ..ChannelSection::default()
    };
    change(&mut section);
    let config = section.check(folder.path()).unwrap();
    let site = Site { jira: Arc::clone(&jira), _folder: folder };
    (Room::open(Box::new(site), config).await, jira)
}

impl Site {
    fn issue(&self, ticket: &str) -> countersign_testkit::jira::Issue {
        self.jira.issues().into_iter().find(|issue| issue.id == ticket).unwrap()
    }
}

impl Far for Site {
    fn kind(&self) -> &'static str {
        "jira"
    }

    fn id_of(&self, user: User) -> String {
        match user {
            User::Ana => "557058:ana",
            User::Bob => "557058:bob",
            User::Olga => "557058:olga",
            User::Stranger => "557058:mallory",
            User::Rule => "557058:rule",
            User::Us => ACCOUNT,
        }
        .into()
    }

    fn put(&self, user: User, ticket: &str, to: To, says: Option<&str>) {
        let status = match to {
            To::Approved => "Approved",
            To::Rejected => "Rejected",
            To::Waiting => "Waiting",
        };
        self.jira.transit(&self.id_of(user), ticket, status, says).unwrap();
    }

    fn edit(&self, user: User, ticket: &str, text: Option<&str>) {
        let who = self.id_of(user);
        if let Some(text) = text {
            return self.jira.edit(&who, ticket, Some("Water the plants"), Some(document::of(text)));
        }
        let issue = self.issue(ticket);
        let before = |field: &str| {
            let mut items = issue.changes.iter().flat_map(|change| &change.items);
            items.find(|item| item.field == field).map(|item| item.from.clone())
        };
        let summary = before("summary").unwrap_or_else(|| issue.summary.clone());
        let description = before("description").map(|text| document::of(text.trim_end()));
        let description = description.unwrap_or_else(|| issue.description.clone());
        // What stays as it is is no change.
        self.jira.edit(&who, ticket, Some("x"), None);
        self.jira.edit(&who, ticket, Some(&summary), Some(description));
    }

    fn stands(&self, ticket: &str) -> &'static str {
        match &*self.issue(ticket).status {
            "Waiting" => "waiting",
            "Approved" => "approved",
            "Rejected" => "rejected",
            _ => "closed",
        }
    }

    fn said(&self, ticket: &str) -> Vec<String> {
        let issue = self.issue(ticket);
        let ours = issue.comments.iter().filter(|comment| comment.who == ACCOUNT);
        ours.map(|comment| document::text(&comment.body)).collect()
    }

    fn relabel(&self, ticket: &str, approval: ApprovalId) {
        self.jira.by_hand(|issues| {
            let issue = issues.iter_mut().find(|issue| issue.id == ticket).unwrap();
            issue.labels = vec![approval.to_string()];
        });
    }

    fn is_down(&self, down: bool) {
        self.jira.down(down.then_some(Refusal::Error(503, "")));
    }

    fn refuses_words(&self, status: u16, times: usize) {
        self.jira.refuse_on("{\"body\":", Refusal::Error(status, ""), times);
    }

    fn loses_an_answer(&self) {
        self.jira.refuse_on("{\"transition\":", Refusal::Lost, 1);
    }

    fn mails(&self) -> Vec<(String, String)> {
        self.jira.mails()
    }
}

fn door(room: &Room) -> JiraDoor {
    match room.config.speaks() {
        Speaks::Jira(door) => (**door).clone(),
        other => panic!("{other:?}"),
    }
}

fn deliver(room: &Room, webhook: &Webhook) -> Reply {
    let mut headers = HeaderMap::new();
    if !webhook.signature.is_empty() {
        headers.insert("x-hub-signature", HeaderValue::from_str(&webhook.signature).unwrap());
    }
    door(room).receive(&headers, webhook.body.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_makes_us_look_and_says_nothing() {
    let (room, jira) = open(|_| ()).await;
    let (id, issue) = room.hold(Class::Execute, "logs").await;
    // What is not signed, or by somebody else, is not looked at.
    let true_one = jira.webhook(&issue);
    let wrong = ["", "sha256=", "sha1=00", true_one.signature.trim_start_matches("sha256=")];
    for forged in wrong.into_iter().map(str::to_owned).chain([signature("another", &true_one.body)]) {
        let forged = Webhook { signature: forged, body: true_one.body.clone() };
        assert_eq!(deliver(&room, &forged), Reply::NotBelieved(NotBelieved::Wrong), "{}", forged.signature);
    }
    let other_body = Webhook { body: true_one.body.replace("jira:", "jirb:"), ..true_one.clone() };
    assert_eq!(deliver(&room, &other_body), Reply::NotBelieved(NotBelieved::Wrong));
    // Signed, and saying that Ana approved it, which Jira itself knows nothing of.
    let mut lie: Value = serde_json::from_str(&true_one.body).unwrap();
    lie["user"] = json!({"accountId": "557058:ana", "accountType": "atlassian"});
    lie["changelog"] = json!({"id": "1", "items": [{"field": "status", "fieldtype": "jira", "fieldId": "status",
        "fromString": "Waiting", "toString": "Approved"}]});
    for lie in [lie.clone(), json!({"issue": {"id": "../myself"}}), json!({"issue": {"id": 77}}), json!([])] {
        let body = lie.to_string();
        assert_eq!(deliver(&room, &Webhook { signature: signature(SECRET, &body), body }), Reply::Taken);
        room.look().await;
    }
    assert_eq!(room.kinds(id).await, ["approval.requested"]);
    assert!(jira.calls().iter().all(|(call, _)| !call.contains("..")), "{:?}", jira.calls());
    let garbled = Webhook { signature: signature(SECRET, "{"), body: "{".into() };
    assert_eq!(deliver(&room, &garbled), Reply::Unreadable);
    // What was done is seen even where it was undone before anybody looked, and once however often it is said.
    jira.transit("557058:ana", &issue, "Rejected", Some("not tonight")).unwrap();
    let rejected = jira.webhook(&issue);
    jira.transit("557058:mallory", &issue, "Waiting", None).unwrap();
    let later = jira.webhook(&issue);
    for webhook in [&later, &rejected, &rejected, &true_one] {
        assert_eq!(deliver(&room, webhook), Reply::Taken);
        room.look().await;
    }
    assert_eq!(room.stage.state(id).await, "rejected");
    assert_eq!(room.count(id, "approval.voted").await, 1);
    assert_eq!(room.count(id, "approval.vote_refused").await, 0);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_that_somebody_moved_on_is_read_without_a_webhook() {
    let (room, jira) = open(|section| section.signing_secret_from = None).await;
    let (id, issue) = room.hold(Class::Execute, "logs").await;
    let (other, approved) = room.hold(Class::Execute, "more").await;
    jira.transit("557058:ana", &issue, "Rejected", Some("not tonight")).unwrap();
    jira.transit("557058:mallory", &issue, "Waiting", None).unwrap();
    jira.transit("557058:ana", &approved, "Approved", None).unwrap();
    jira.transit("557058:mallory", &approved, "Waiting", None).unwrap();
    room.look().await;
    assert_eq!(room.stage.state(id).await, "rejected");
    // An approval has to stand when it is read.
    assert_eq!(room.stage.state(other).await, "pending");
    for _ in 0..2 {
        room.look().await;
    }
    assert_eq!(room.count(id, "approval.voted").await, 1);
    assert_eq!(room.count(other, "approval.voted").await, 0);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_rest_as_long_as_the_site_asks_to_be_left_alone() {
    const WISH: Duration = Duration::from_secs(10);
    let (room, jira) = open(|section| section.poll_every = Some(Span(Duration::from_hours(1)))).await;
    let (id, issue) = room.hold(Class::Execute, "logs").await;
    jira.transit("557058:ana", &issue, "Rejected", Some("not tonight")).unwrap();
    jira.down(Some(Refusal::Later(WISH.as_secs())));
    let (begun, before) = (Instant::now(), jira.calls().len());
    let watching = tokio::spawn(room.watch.clone().run(Arc::clone(&room.stage.gate)));
    // The first look is refused; from then on every webhook says that there is something.
    let more = async |than: usize| {
        while jira.calls().len() <= than {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), more(before)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(deliver(&room, &jira.webhook(&issue)), Reply::Taken);
        tokio::task::yield_now().await;
    }
    let refused = jira.calls().len();
    jira.down(None);
    tokio::time::timeout(Duration::from_mins(1), more(refused)).await.unwrap();
    assert!(begun.elapsed() >= WISH, "{:?}", begun.elapsed());
    assert_eq!(refused, before + 1, "{:?}", jira.calls());
    // What was hinted at is read then, without another hint.
    room.stage.until(id, "rejected").await;
    watching.abort();
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_did_in_somebodys_name_is_not_theirs() {
    let (room, jira) = open(|_| ()).await;
    let (id, issue) = room.hold(Class::Execute, "logs").await;
    jira.transit_through("557058:ana", &issue, ("Approved", None), Some("planted:app")).unwrap();
    room.look().await;
    assert_eq!(room.stage.state(id).await, "pending");
    assert_eq!(room.count(id, "approval.vote_refused").await, 1);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_read_to_its_end_and_one_without_end_decides_nothing() {
    let (room, jira) = open(|_| ()).await;
    let (id, issue) = room.hold(Class::Execute, "logs").await;
    let fill = |count: usize| {
        jira.by_hand(|issues| {
            let issue = issues.iter_mut().find(|one| one.id == issue).unwrap();
            let one = countersign_testkit::jira::Change {
                id: 1,
                who: "557058:mallory".into(),
                at_ms: 1,
                items: vec![],
                through: None,
            };
            issue.changes.extend(std::iter::repeat_n(one, count));
        });
    };
    fill(250);
    jira.transit("557058:ana", &issue, "Approved", None).unwrap();
    room.look().await;
    room.stage.until(id, "done").await;
    let (id, other) = room.hold(Class::Execute, "more").await;
    jira.by_hand(|issues| {
        let many = issues.iter().find(|one| one.id == issue).unwrap().changes[0].clone();
        let issue = issues.iter_mut().find(|one| one.id == other).unwrap();
        issue.changes = std::iter::repeat_n(many, 3_000).collect();
    });
    jira.transit("557058:ana", &other, "Approved", None).unwrap();
    // One ticket is no failure of the channel, and it is said where it is.
    for _ in 0..2 {
        room.look().await;
        let channel = room.stage.gate.channels().named(&name()).unwrap();
        assert_eq!((channel.unread(), room.stage.state(id).await), (None, "pending".into()));
    }
    let said = jira.issues().into_iter().find(|one| one.id == other).unwrap().said();
    let told = said.iter().filter(|said| said.contains("More was done to this ticket than is read"));
    assert_eq!(told.count(), 1, "{said:?}");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_is_called_means_nothing_where_they_are_answered() {
    let (room, jira) = open(|_| ()).await;
    let (_, ticket) = room.hold(Class::Delete, "logs").await;
    for text in CORPUS {
        let name = format!("zqz{text}zqz");
        jira.calls_itself("557058:mallory", &name);
        room.put(User::Stranger, &ticket, To::Approved, None).await;
        let issue = jira.issues().pop().unwrap();
        let comment = &issue.comments.last().unwrap().body;
        assert_eq!(document::check(comment), Ok(()), "{text:?}");
        let runs = document::runs(comment);
        assert!(runs.iter().any(|(said, _)| said.contains("zqz")), "{comment}");
        for (said, marks) in runs {
            assert!(!hides(&said) && !said.contains('\n'), "{text:?} in {said:?}");
            let is_code = marks.iter().any(|mark| mark["type"] == "code");
            assert!(is_code || !said.contains("zqz"), "{text:?} in {said}");
        }
    }
    room.close().await;
}
