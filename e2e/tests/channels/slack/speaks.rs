//! People decide in Slack: clicks, forms and commands as Slack sends them, for whoever they are bound to and nobody else.

use super::{library_agrees, roots, section};
use crate::{Stage, has_text};
use countersign_demo::person::Person;
use countersign_e2e::night;
use countersign_testkit::slack::{
    Message, Slack,
    person::{Request, SECRET, now},
    socket::{APP_TOKEN, Link},
};
use serde_json::json;

pub(crate) struct Room {
    pub(crate) slack: Slack,
    pub(crate) stage: Stage,
    way: Way,
}

/// How Slack hands in what people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To an address of the console's.
    Address,
    /// On a connection that the gateway opened.
    Socket,
}

impl Room {
    pub(crate) async fn open(way: Way) -> Self {
        Self::with(way, "hears = \"everything\"", |_| String::new()).await
    }

    /// With more keys, and more sections.
    pub(crate) async fn with(way: Way, keys: &str, sections: fn(&Slack) -> String) -> Self {
        let slack = Slack::start().await.unwrap();
        let key = match way {
            Way::Address => "signing_secret_from = \"file:signing\"",
            Way::Socket => "app_token_from = \"file:app\"",
        };
        let more = format!("{keys}\n{key}\n{}", sections(&slack));
        let stage = Stage::open_with(&section(&slack, &more), &[("app", APP_TOKEN)]).await;
        Self { slack, stage, way }
    }

    /// Hands in what Slack would: status and body of the answer, empty where nothing is said.
    async fn send(&self, request: &Request) -> (u16, String) {
        match self.way {
            Way::Address => self.post(request).await,
            Way::Socket => {
                self.slack
                    .comes("a connection", |slack| (slack.connections() > 0).then_some(()))
                    .await
                    .unwrap();
                let envelope = self.slack.hand_in(request, Link::Newest).unwrap();
                let known = |slack: &Slack| slack.acknowledged(&envelope);
                let payload = self.slack.comes("an acknowledgement", known).await.unwrap();
                (200, if payload.is_null() { String::new() } else { payload.to_string() })
            }
        }
    }

    /// Sends it to the address.
    pub(crate) async fn post(&self, request: &Request) -> (u16, String) {
        let url = format!("{}/api/v1/channels/dba/slack", self.stage.gateway.console_url);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut sent = client.post(url).body(request.body.clone());
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        let answer = sent.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn taken(&self, request: &Request) {
        assert_eq!(self.send(request).await, (200, String::new()));
    }

    /// Waits for the answer after those there were.
    pub(crate) async fn told(&self, before: usize) -> String {
        self.slack.comes("an answer", |slack| slack.told().get(before).cloned()).await.unwrap()
    }

    /// The message about the newest approval, once so many were posted.
    pub(crate) async fn message(&self, number: usize) -> Message {
        let enough = |messages: &[Message]| roots(messages).len() == number;
        let messages = self.slack.until("the message", enough).await.unwrap();
        roots(&messages).last().copied().unwrap().clone()
    }

    /// Somebody who has just come in by their invitation.
    pub(crate) async fn person(&self, email: &str) -> Person {
        let link = self.stage.gateway.invite(email, "dba").await.unwrap();
        Person::open(&self.stage.gateway.console_url, &link).await.unwrap()
    }

    /// Makes a user of Slack a person's.
    pub(crate) async fn bind(&self, person: &mut Person, user: &str) {
        let before = self.slack.told().len();
        self.taken(&self.slack.command(user, "bind")).await;
        let told = self.told(before).await;
        let code = told.split_once('#').unwrap().1.split('|').next().unwrap().to_owned();
        let bound = person.write("bindings", &json!({"code": code})).await.unwrap();
        assert_eq!(bound.status, 201, "{}", bound.json());
    }

    pub(crate) async fn is(&self, id: &str, state: &str) -> bool {
        let found = self.stage.gateway.approvals(state).await.unwrap();
        found.iter().any(|approval| approval["id"] == id)
    }
}

pub(crate) async fn newest(room: &Room) -> String {
    let pending = room.stage.gateway.approvals("pending").await.unwrap();
    pending[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_counts_for_whom_it_is_bound_to_once_and_on_what_was_shown() {
    for way in [Way::Address, Way::Socket] {
        click_counts(Room::open(way).await).await;
    }
}

async fn click_counts(room: Room) {
    let mut ana = room.person("ana@example.com").await;
    let link = room.stage.gateway.command(&["person", "link", "olga@example.com"]).await.unwrap();
    let console = &room.stage.gateway.console_url;
    let mut olga = Person::open(console, link["link"].as_str().unwrap()).await.unwrap();
    room.stage.ask("PATCH", "logs").await;
    let message = room.message(1).await;
    let id = newest(&room).await;

    // Nobody knows whose word it is.
    room.taken(&room.slack.click(&message, "U0000000001", "approve").unwrap()).await;
    let told = room.told(0).await;
    assert!(
        told.contains("Make it mine") && told.contains("Nobody here knows whose word yours is"),
        "{told}"
    );
    assert!(room.is(&id, "pending").await);

    // The requester's side.
    room.bind(&mut olga, "U0000000002").await;
    let before = room.slack.told().len();
    room.taken(&room.slack.click(&message, "U0000000002", "approve").unwrap()).await;
    let told = room.told(before).await;
    assert!(told.contains("equester"), "{told}");
    assert!(room.is(&id, "pending").await);

    // Who may, and the very same click again.
    room.bind(&mut ana, "U0000000001").await;
    let before = room.slack.told().len();
    let click = room.slack.click(&message, "U0000000001", "approve").unwrap();
    room.taken(&click).await;
    let told = room.told(before).await;
    assert!(told.contains("Your approval counts, and it was the last one that was needed."), "{told}");
    room.taken(&click).await;
    // The very same request does nothing; the same click in another envelope is answered as before.
    let before = match room.way {
        Way::Address => before,
        Way::Socket => {
            assert_eq!(room.told(before + 1).await, told);
            before + 1
        }
    };
    let late = room.slack.click(&message, "U0000000001", "approve").unwrap();
    room.taken(&late).await;
    let told = room.told(before + 1).await;
    assert!(!told.contains("counts"), "{told}");
    let ended =
        |messages: &[Message]| roots(messages).iter().any(|root| has_text(&root.blocks, "Approved and done"));
    let messages = room.slack.until("the end", ended).await.unwrap();
    let root = roots(&messages)[0];
    assert!(room.slack.click(root, "U0000000001", "approve").is_err(), "decided is decided");
    let entries = night::verified_entries(&room.stage.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(count("approval.voted"), 1);
    assert_eq!(count("approval.vote_refused"), 3, "unbound, requester's side, too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_asks_why_and_a_gate_that_wants_more_opens_its_page() {
    for way in [Way::Address, Way::Socket] {
        rejection_asks_why(Room::open(way).await).await;
    }
}

async fn rejection_asks_why(room: Room) {
    let mut ana = room.person("ana@example.com").await;
    room.bind(&mut ana, "U0000000001").await;
    room.stage.ask("DELETE", "logs").await;
    let message = room.message(1).await;
    let id = newest(&room).await;
    // Policy asks for more: what cannot count is not offered, and who makes up the button is told so.
    assert!(room.slack.click(&message, "U0000000001", "approve").is_err());
    let before = room.slack.told().len();
    room.taken(&room.slack.made_up(&message, "U0000000001", "approve", "reject").unwrap()).await;
    let told = room.told(before).await;
    assert!(told.contains("asks for more") && told.contains(&format!("/approvals/{id}/decide")), "{told}");
    assert!(room.is(&id, "pending").await);

    room.taken(&room.slack.click(&message, "U0000000001", "reject").unwrap()).await;
    room.slack.comes("the form", |slack| slack.views().first().cloned()).await.unwrap();
    let (status, body) = room.send(&room.slack.submit("U0000000001", " \n ").unwrap()).await;
    assert!(status == 200 && body.contains("response_action") && body.contains("Say why"), "{status} {body}");
    let because = room.slack.submit("U0000000001", "not <@U1> tonight").unwrap();
    let before = room.slack.told().len();
    room.taken(&because).await;
    let told = room.told(before).await;
    assert!(told.contains("You rejected it"), "{told}");
    assert!(room.is(&id, "rejected").await);

    // What waits, how it stands.
    room.stage.ask("DELETE", "orders").await;
    let before = room.slack.told().len();
    room.taken(&room.slack.command("U0000000001", "")).await;
    let told = room.told(before).await;
    assert!(told.contains("Drop the table “orders”"), "{told}");
    room.taken(&room.slack.command("U0000000001", &format!("status {id}"))).await;
    let told = room.told(before + 1).await;
    assert!(told.contains("Rejected"), "{told}");
    room.taken(&room.slack.command("U0000000009", &format!("status {id}"))).await;
    let told = room.told(before + 2).await;
    assert!(
        told.contains("Make it mine") && !told.contains("Rejected"),
        "strangers are told nothing: {told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_slack_signed_just_now_is_taken_in_as_slacks_own_library_says() {
    let room = Room::open(Way::Address).await;
    let hello = json!({"type": "url_verification", "challenge": "c4l1", "token": "x"}).to_string();
    let signed = |secret: &str, seconds| Request::signed(secret, seconds, "application/json", hello.clone());
    assert_eq!(room.send(&signed(SECRET, now())).await, (200, "c4l1".into()));
    let mut checked = Vec::new();
    for (request, fine) in [
        (signed(SECRET, now()), true),
        (signed("another", now()), false),
        (signed(SECRET, now() - 400), false),
        (signed(SECRET, now() + 400), false),
        (Request { body: hello.replace("c4l1", "c4l2"), ..signed(SECRET, now()) }, false),
        (Request { headers: vec![], ..signed(SECRET, now()) }, false),
        (room.slack.command("U0000000001", "bind"), true),
    ] {
        let (status, body) = room.send(&request).await;
        assert_eq!(status, if fine { 200 } else { 401 }, "{body}");
        let headers: serde_json::Map<_, _> =
            request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        checked.push(json!({"headers": headers, "body": request.body, "fine": fine}));
    }
    library_agrees(&room.stage, &checked).await;
    // No cookie opens it, no other method, and no channel that has no such door.
    let unreadable =
        Request::signed(SECRET, now(), "application/x-www-form-urlencoded", "payload=%7B".into());
    assert_eq!(room.send(&unreadable).await.0, 400);
    let log = room.stage.gateway.log();
    assert!(!log.contains(SECRET) && !log.contains(countersign_testkit::slack::TOKEN));
}

/// What `/countersign` with these words is answered, where that is no form.
async fn said(room: &Room, user: &str, words: &str) -> String {
    let before = room.slack.told().len();
    room.taken(&room.slack.command(user, words)).await;
    room.told(before).await
}

/// The form that `/countersign` with these words opens.
async fn form(room: &Room, user: &str, words: &str) {
    let before = room.slack.views().len();
    room.taken(&room.slack.command(user, words)).await;
    room.slack.comes("the form", |slack| (slack.views().len() > before).then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_freeze_on_the_console_may_in_slack_and_lifts_nothing_there() {
    for way in [Way::Address, Way::Socket] {
        freezes(Room::open(way).await).await;
    }
}

async fn freezes(room: Room) {
    let (ana, bob) = ("U0000000001", "U0000000002");
    let mut reviewer = room.person("ana@example.com").await;
    room.bind(&mut reviewer, ana).await;
    let mut auditor = room.person("bob@example.com").await;
    room.bind(&mut auditor, bob).await;
    room.stage.gateway.command(&["person", "role", "bob@example.com", "auditor"]).await.unwrap();

    // Nobody, somebody who only reads, and things that are not there.
    let told = said(&room, "U0000000009", "freeze all").await;
    assert!(told.contains("Make it mine"), "{told}");
    for (user, words, answer) in [
        (bob, "freeze all it runs wild", "Your role only reads"),
        (ana, "freeze", "Say what"),
        (ana, "freeze agent", "Say what"),
        (ana, "freeze group dba", "Say what"),
        (ana, "freeze agent <@U1> now", "There is no agent"),
        (ana, "freeze target nowhere", "There is no target"),
        (ana, "unfreeze all", "lists what waits"),
    ] {
        let told = said(&room, user, words).await;
        assert!(told.contains(answer), "{words}: {told}");
    }
    assert!(room.slack.views().is_empty());

    // Asked once more, with a reason, and once however often the form comes.
    form(&room, ana, "freeze agent night it drops <!here> tables").await;
    let view = room.slack.views().pop().unwrap().to_string();
    assert!(
        view.contains("agent “night”") && view.contains("\"initial_value\":\"it drops <!here> tables\""),
        "{view}"
    );
    let (status, body) = room.send(&room.slack.submit(ana, "  ").unwrap()).await;
    assert!(status == 200 && body.contains("Say why"), "{body}");
    let before = room.slack.told().len();
    let sent = room.slack.submit(ana, "it drops tables").unwrap();
    room.taken(&sent).await;
    let told = room.told(before).await;
    assert!(told.contains("Frozen: agent “night”") && told.contains("lifted in the console"), "{told}");
    let frozen = || async { room.stage.gateway.command(&["freeze", "list"]).await.unwrap().to_string() };
    assert!(frozen().await.contains("agent"));
    let refused = room.stage.asked("DELETE", "logs").await;
    assert_eq!(refused, 403);
    room.stage.gateway.command(&["freeze", "lift", "agent", "night"]).await.unwrap();
    let late = room.slack.submit(ana, "it drops tables").unwrap();
    for again in [&sent, &late] {
        room.taken(again).await;
    }
    // Whatever came before this was taken in before it.
    said(&room, ana, "").await;
    assert!(!frozen().await.contains("agt_"), "a form counts once");

    // A form of whoever may not any more, and of somebody else.
    form(&room, ana, "freeze target shop").await;
    let before = room.slack.told().len();
    room.taken(&room.slack.submit(bob, "because").unwrap()).await;
    assert!(room.told(before).await.contains("Your role only reads"));
    form(&room, ana, "freeze target shop").await;
    room.taken(&room.slack.submit(ana, "because").unwrap()).await;
    assert!(room.told(before + 1).await.contains("Frozen: target “shop”"));
    form(&room, ana, "freeze target shop").await;
    room.taken(&room.slack.submit(ana, "because").unwrap()).await;
    assert!(room.told(before + 2).await.contains("Frozen before: target “shop”"));
    let entries = night::verified_entries(&room.stage.gateway).await.unwrap();
    let set: Vec<_> = entries.iter().filter(|entry| entry.kind == "freeze.set").collect();
    assert_eq!(set.len(), 2);
    for entry in set {
        assert_eq!(entry.text("/through/channel"), "dba");
        assert!(entry.text("/through/binding").starts_with("crd_"), "{entry:?}");
    }
    assert_eq!(room.slack.faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_waits_for_somebody_to_answer_and_believes_only_slack() {
    for way in [Way::Address, Way::Socket] {
        let room = Room::open(way).await;
        let wait = |span: &'static str| {
            let gateway = &room.stage.gateway;
            async move { gateway.command(&["channel", "test", "dba", "--answer-within", span]).await }
        };
        let said = wait("100ms").await.unwrap_err().to_string();
        assert!(said.contains("nothing came back that was believed"), "{said}");
        assert!(said.contains("type `/countersign` in Slack"), "{said}");

        let answers = async {
            room.slack.until("the test", |messages| roots(messages).len() == 2).await.unwrap();
            if way == Way::Address {
                let body = "command=%2Fcountersign&text=&user_id=U0000000001&team_id=T1".to_owned();
                let kind = "application/x-www-form-urlencoded";
                assert_eq!(room.post(&Request::signed("another", now(), kind, body)).await.0, 401);
                assert_eq!(room.stage.channel("dba").await["last_heard"], json!(null));
            }
            room.taken(&room.slack.command("U0000000001", "")).await;
        };
        let (told, ()) = tokio::join!(wait("3m"), answers);
        let told = told.unwrap();
        assert_eq!(told["heard_at"], room.stage.channel("dba").await["last_heard"], "{told}");
        assert_eq!(told["listening_since"].is_string(), way == Way::Socket, "{told}");
    }
}

/// A section that writes to the people of the channel.
fn people(slack: &Slack) -> String {
    format!(
        "\n[[channel]]\nname = \"people\"\nkind = \"slack\"\nhears = \"everything\"\ntoken_from = \"file:token\"\n\
         people_of = \"dba\"\nmost_each = 3\napi = \"{}\"\n",
        slack.api()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_written_to_one_by_one_and_decide_where_they_are_bound() {
    for way in [Way::Address, Way::Socket] {
        // The channel itself hears of what names it, which is no change of settings.
        let room = Room::with(way, "hears = \"named\"", people).await;
        let mut ana = room.person("ana@example.com").await;
        room.person("bea@example.com").await;
        room.bind(&mut ana, "U0000000001").await;
        room.stage.ask("PATCH", "logs").await;
        let message = room.message(1).await;
        assert_eq!(message.channel, "D0000000001", "whoever is bound, and nobody else");
        let id = newest(&room).await;
        let before = room.slack.told().len();
        room.taken(&room.slack.click(&message, "U0000000001", "approve").unwrap()).await;
        let told = room.told(before).await;
        assert!(told.contains("Your approval counts"), "{told}");
        let ended = |messages: &[Message]| has_text(&messages[0].blocks, "Approved and done");
        let messages = room.slack.until("the end", ended).await.unwrap();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(!room.is(&id, "pending").await);
        room.stage.gateway.command(&["channel", "test", "people"]).await.unwrap();
        // To one of them alone, where they are bound.
        let tried = ["channel", "test", "people", "--person"];
        room.stage.gateway.command(&[&tried[..], &["ana@example.com"]].concat()).await.unwrap();
        let messages = room.slack.messages();
        assert_eq!((messages.len(), &*messages[1].channel), (2, "D0000000001"));
        assert!(has_text(&messages[1].blocks, "nothing waits for anybody"), "{:?}", messages[1].blocks);
        let said = room.stage.gateway.command(&[&tried[..], &["bea@example.com"]].concat()).await;
        let said = said.unwrap_err().to_string();
        assert!(
            said.contains("`bea@example.com` is nobody's word in `dba`") && said.contains("bind"),
            "{said}"
        );
        let entries = night::verified_entries(&room.stage.gateway).await.unwrap();
        let voted: Vec<_> = entries.iter().filter(|entry| entry.kind == "approval.voted").collect();
        assert_eq!(voted.len(), 1);
        assert_eq!(voted[0].text("/through/channel"), "dba");
    }
}
