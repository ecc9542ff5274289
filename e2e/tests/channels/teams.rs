//! Microsoft Teams, with servers as strict as Microsoft's: one card through an approval's life, and decisions made on it by
//! whoever is bound, under tokens that only the Bot Framework can sign.

mod believed;
mod looks;
mod package;

use crate::Stage;
use countersign_demo::person::{Person, Strength};
use countersign_e2e::night;
use countersign_testkit::teams::{
    APP, CHANNEL, Message, Refusal, SECRET, TENANT, Teams,
    cards::{button, links, says},
    person::Request,
};
use serde_json::{Value, json};

/// Users of Teams, by their ids in the directory of the tenant.
const ANA: &str = "00000000-0000-4000-8000-00000000000a";
const OLGA: &str = "00000000-0000-4000-8000-00000000000b";

fn section(teams: &Teams, more: &str) -> String {
    let (service, login) = (teams.service(), teams.login());
    let (issuer, openid) = (teams.issuer(), teams.openid());
    format!(
        "[[channel]]\nname = \"dba\"\nkind = \"teams\"\napp_id = \"{APP}\"\ntenant = \"{TENANT}\"\n\
         client_secret_from = \"file:teams\"\nconversation = \"{CHANNEL}\"\nservice = \"{service}\"\n\
         login = \"{login}\"\nissuer = \"{issuer}\"\nopenid = \"{openid}\"\n{more}\n"
    )
}

fn roots(messages: &[Message]) -> Vec<&Message> {
    messages.iter().filter(|message| message.is_root()).collect()
}

/// Whether the newest card says this.
fn newest_says(messages: &[Message], part: &str) -> bool {
    roots(messages).last().is_some_and(|root| says(&root.card, part))
}

pub(crate) struct Room {
    teams: Teams,
    pub(crate) stage: Stage,
}

impl Room {
    pub(crate) async fn open() -> Self {
        Self::open_with("hears = \"everything\"\ndecides = true").await
    }

    async fn open_with(more: &str) -> Self {
        let teams = Teams::start().await.unwrap();
        let stage = Stage::open(&section(&teams, more)).await;
        Self { teams, stage }
    }

    /// Hands in what the Bot Framework would: status and body of the answer.
    async fn send(&self, request: &Request) -> (u16, Value) {
        let url = format!("{}/api/v1/channels/dba/teams", self.stage.gateway.console_url);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut sent = client.post(url).header("content-type", "application/json; charset=utf-8");
        if let Some(token) = &request.token {
            sent = sent.header("authorization", format!("Bearer {token}"));
        }
        let answer = sent.body(request.activity.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    /// The card that a click is answered with.
    async fn card(&self, request: &Request) -> Value {
        let (status, answer) = self.send(request).await;
        let kind = "application/vnd.microsoft.card.adaptive";
        assert_eq!(
            (status, &answer["statusCode"], &answer["type"]),
            (200, &200.into(), &kind.into()),
            "{answer}"
        );
        assert_eq!(countersign_testkit::teams::cards::check(&answer["value"]), Ok(()));
        answer["value"].clone()
    }

    /// The card about the newest approval, once so many were posted.
    pub(crate) async fn message(&self, number: usize) -> Message {
        let enough = |messages: &[Message]| roots(messages).len() == number;
        let messages = self.teams.until("the card", enough).await.unwrap();
        roots(&messages).last().copied().unwrap().clone()
    }

    async fn click(&self, message: &Message, user: &str, verb: &str, reason: Option<&str>) -> Value {
        self.card(&self.teams.click(message, user, verb, reason).unwrap()).await
    }

    /// Somebody who has just come in by their invitation.
    async fn person(&self, email: &str) -> Person {
        let link = self.stage.gateway.invite(email, "dba").await.unwrap();
        Person::open(&self.stage.gateway.console_url, &link).await.unwrap()
    }

    /// Makes a user of Teams a person's, by what a card told that user.
    async fn bind(&self, person: &mut Person, card: &Value) {
        let link = links(card).into_iter().find(|(title, _)| title == "Make it mine").unwrap().1;
        let code = link.split_once('#').unwrap().1;
        let bound = person.write("bindings", &json!({"code": code})).await.unwrap();
        assert_eq!(bound.status, 201, "{}", bound.json());
    }

    async fn is(&self, id: &str, state: &str) -> bool {
        let found = self.stage.gateway.approvals(state).await.unwrap();
        found.iter().any(|approval| approval["id"] == id)
    }

    pub(crate) async fn newest(&self) -> String {
        let pending = self.stage.gateway.approvals("pending").await.unwrap();
        pending[0]["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_card_lives_through_an_approval_and_an_outage() {
    let teams = Teams::start().await.unwrap();
    let stage = Stage::open(&section(&teams, "")).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    let test = teams.messages();
    assert!(test.len() == 1 && says(&test[0].card, "This is a test"), "{test:?}");
    teams.delete(&test[0].id);

    stage.ask("DELETE", "logs").await;
    let messages = teams.until("the card", |messages| messages.len() == 1).await.unwrap();
    // Nobody listens there, so nothing can be clicked on but the page.
    assert!(button(&messages[0].card, "reject").is_none() && messages[0].card["refresh"].is_null());
    teams.trouble(|trouble| trouble.down = Some(Refusal::Error(503, "Unavailable")));
    let waiting = stage.gateway.approvals("pending").await.unwrap();
    let id = waiting[0]["id"].as_str().unwrap().to_owned();
    assert!(ana.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    while stage.channel("dba").await["last_error"].is_null() {
        tokio::task::yield_now().await;
    }
    teams.trouble(|trouble| trouble.down = None);
    // The card may show how it stands before the lines say how it came there.
    let told =
        |messages: &[Message], line: &str| messages.iter().any(|message| message.summary.ends_with(line));
    let done =
        |messages: &[Message]| newest_says(messages, "Approved and done") && told(messages, "It runs now.");
    let messages = teams.until("the end", done).await.unwrap();
    let roots = roots(&messages);
    assert_eq!(roots.len(), 1, "posted once: {:?}", teams.calls());
    for text in ["Drop the table “logs” (prod).", "what is deleted is gone", "DELETE /tables/logs"] {
        assert!(says(&roots[0].card, text), "{text}: {}", roots[0].card);
        assert!(roots[0].before.iter().all(|card| says(card, text)), "nothing is taken out");
    }
    assert_eq!(links(&roots[0].card)[0].0, "See it in Countersign");
    assert!(told(&messages, " approved: deletes 1 of 1."), "{messages:?}");
    // A secret that is not right any more is told to whoever tries it.
    std::fs::write(stage.gateway.folder().join("teams"), "another").unwrap();
    teams.revoke();
    let said = stage.gateway.command(&["channel", "test", "dba"]).await.unwrap_err().to_string();
    assert!(said.contains("`dba` was not told: the login refused: the app's secret is not right"), "{said}");
    let shown = stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    let log = stage.gateway.log();
    for secret in [SECRET, "planted-teams-token", "another"] {
        assert!(!shown.contains(secret) && !log.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_counts_for_whom_it_is_bound_to_once_and_on_what_was_shown() {
    let room = Room::open().await;
    let mut ana = room.person("ana@example.com").await;
    let link = room.stage.gateway.command(&["person", "link", "olga@example.com"]).await.unwrap();
    let console = &room.stage.gateway.console_url;
    let mut olga = Person::open(console, link["link"].as_str().unwrap()).await.unwrap();
    room.stage.ask("PATCH", "logs").await;
    let message = room.message(1).await;
    let id = room.newest().await;

    // Nobody knows whose word it is: they are shown how to make it theirs, beside the card.
    let card = room.click(&message, ANA, "approve", None).await;
    assert!(
        says(&card, "Nobody here knows whose word yours is") && says(&card, "PATCH /tables/logs"),
        "{card}"
    );
    assert!(room.is(&id, "pending").await);
    room.bind(&mut ana, &card).await;

    // The requester's side: refused, and no button is left to them.
    let card = room.click(&message, OLGA, "approve", None).await;
    room.bind(&mut olga, &card).await;
    let card = room.click(&message, OLGA, "approve", None).await;
    assert!(says(&card, "equester") && button(&card, "approve").is_none(), "{card}");
    let card = room.click(&message, OLGA, "reject", Some("no")).await;
    assert!(says(&card, "equester"), "{card}");
    let looked = room.card(&room.teams.look(&message, OLGA).unwrap()).await;
    assert!(says(&looked, "equester") && button(&looked, "reject").is_none(), "{looked}");
    assert!(room.is(&id, "pending").await);

    // Who looks sees what they can do; that is recorded nowhere.
    let looked = room.card(&room.teams.look(&message, ANA).unwrap()).await;
    assert!(button(&looked, "approve").is_some() && button(&looked, "reject").is_some(), "{looked}");

    // Who may; the very same click again; and once more, too late.
    let click = room.teams.click(&message, ANA, "approve", None).unwrap();
    let card = room.card(&click).await;
    assert!(says(&card, "Your approval counts, and it was the last one that was needed."), "{card}");
    let again = room.card(&click).await;
    assert!(says(&again, "Your approval counts, and it was the last one that was needed."), "{again}");
    let card = room.click(&message, ANA, "approve", None).await;
    assert!(!says(&card, "counts") && button(&card, "approve").is_none(), "{card}");
    let ended = |messages: &[Message]| newest_says(messages, "Approved and done");
    let messages = room.teams.until("the end", ended).await.unwrap();
    assert!(button(&roots(&messages)[0].card, "approve").is_none(), "decided is decided");
    let entries = night::verified_entries(&room.stage.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(count("approval.voted"), 1);
    assert_eq!(count("approval.vote_refused"), 5, "unbound twice, requester's side twice, too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_asks_why_and_a_gate_that_wants_more_opens_its_page() {
    let room = Room::open().await;
    let mut ana = room.person("ana@example.com").await;
    room.stage.ask("DELETE", "logs").await;
    let message = room.message(1).await;
    let id = room.newest().await;
    // Policy asks for more: what cannot count is not offered.
    assert!(button(&message.card, "approve").is_none(), "{}", message.card);
    assert!(links(&message.card)[0].1.ends_with(&format!("/approvals/{id}/decide")), "{}", message.card);
    let card = room.click(&message, ANA, "reject", Some("no")).await;
    room.bind(&mut ana, &card).await;
    // Who makes up the button is told so.
    let mut made_up = button(&message.card, "reject").unwrap();
    made_up["verb"] = json!("approve");
    let card = room.card(&room.teams.executed(&message, ANA, &made_up, None).unwrap()).await;
    assert!(says(&card, "asks for more"), "{card}");
    assert!(room.is(&id, "pending").await);

    let card = room.click(&message, ANA, "reject", Some(" \n ")).await;
    assert!(says(&card, "Say why") && button(&card, "reject").is_some(), "{card}");
    let card =
        room.click(&message, ANA, "reject", Some("not **tonight** {{DATE(2017-02-14T06:08:39Z)}}")).await;
    assert!(says(&card, "You rejected it"), "{card}");
    assert!(room.is(&id, "rejected").await);
    let rejected = |messages: &[Message]| newest_says(messages, "Rejected because");
    let messages = room.teams.until("the rejection", rejected).await.unwrap();
    let reason = "not **tonight** {⟨U+007B⟩DATE(2017-02-14T06:08:39Z)}}";
    assert!(newest_says(&messages, reason), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_to_the_bot_are_answered_where_nobody_else_reads_them() {
    let room = Room::open().await;
    let mut ana = room.person("ana@example.com").await;
    let told = async |user: &str, text: &str, part: &str| {
        let before = room.teams.messages().len();
        let taken = room.send(&room.teams.words(user, text).unwrap()).await;
        assert_eq!(taken, (200, Value::Null));
        let mine = format!("a:{user}");
        let answered = |messages: &[Message]| {
            messages
                .iter()
                .skip(before)
                .any(|message| message.conversation == mine && says(&message.card, part))
        };
        let messages = room.teams.until(part, answered).await.unwrap();
        messages.into_iter().rev().find(|message| message.conversation == mine).unwrap().card
    };
    let card = told(ANA, "/bind", "Nobody here knows whose word yours is").await;
    room.bind(&mut ana, &card).await;
    room.stage.ask("DELETE", "orders").await;
    room.message(1).await;
    let id = room.newest().await;
    told(ANA, "pending", "Drop the table “orders”").await;
    told(ANA, &format!("status {id}"), "Waiting for people").await;
    told(ANA, "hello", "Write `pending`").await;
    let stranger = told(OLGA, &format!("status {id}"), "Nobody here knows").await;
    assert!(!says(&stranger, "Waiting"), "strangers are told nothing: {stranger}");
}
