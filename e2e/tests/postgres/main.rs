//! A database behind the real binary: a `DELETE` through `psql` is held, survives the gateway's death, is approved by
//! two people and runs once; what ran when the gateway died is unknown, and is never repeated.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod kept;
mod strain;

use countersign_demo::person::{Person, Strength};
use countersign_e2e::{Gateway, Setup, browser::Browser, night::verified_entries};
use countersign_testkit::postgres::{Options, Postgres};
use std::process::{Child, Command, Stdio};

const SECRET: &str = "planted-upstream-secret";
const READER: &str = "planted-reader-secret";

struct Stage {
    cluster: Postgres,
    gateway: Gateway,
    port: String,
    token: String,
    people: [Person; 2],
}

const SECTIONS: &str = r#"[[postgres]]
name = "shop"
environment = "prod"
listen = "127.0.0.1:WIRE"
upstream = "127.0.0.1:DATABASE"
databases = ["shop"]
credential = { profile = "shop-app", user = "app", value_from = "file:secret" }
preflight = { user = "reader", value_from = "file:reader", within = "30s" }
tables = [{ table = "public.orders", labels = ["pii"] }]
"#;

impl Stage {
    async fn open() -> Self {
        Self::open_with("", "").await
    }

    /// With more policies, and more said of the target.
    async fn open_with(policy: &str, target: &str) -> Self {
        let cluster = Postgres::start(&Options::default()).await.unwrap();
        cluster.run("postgres", &format!("create role app login password '{SECRET}'")).unwrap();
        cluster.run("postgres", &format!("create role reader login password '{READER}'")).unwrap();
        cluster.run("postgres", "create database shop owner app").unwrap();
        let tables = "set role app; create table orders (id int primary key); \
            insert into orders select generate_series(1, 100); \
            grant select on orders to reader; \
            create function slowly() returns trigger language plpgsql as 'begin perform pg_sleep(10); return old; end'";
        cluster.run("shop", tables).unwrap();
        let setup = Setup {
            policy: &[include_str!("../../fixtures/postgres.cedar"), policy].concat(),
            groups: r#"["agents", "sre"]"#,
            sections: &(SECTIONS.replace("DATABASE", &cluster.port().to_string()) + target),
            files: &[("secret", SECRET), ("reader", READER)],
        };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        let token = gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
        let [ana, ben] = ["ana@example.com", "ben@example.com"].map(|email| gateway.person(email, "sre"));
        let people = [ana.await.unwrap(), ben.await.unwrap()];
        let port = gateway.url.rsplit(':').next().unwrap().to_owned();
        Self { cluster, gateway, port, token, people }
    }

    fn psql(&self, sql: &str) -> Child {
        let mut command: Command = self.cluster.program("psql");
        command.env("PGPASSWORD", &self.token).args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port,
            "-U",
            "bot",
            "-d",
            "shop",
        ]);
        command.args(["-X", "-A", "-t", "-c", sql]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// What `psql` printed in the end: results, and what it said beside them.
    async fn said(&self, sql: &str) -> (String, String) {
        ended(self.psql(sql)).await
    }

    fn count(&self) -> String {
        self.cluster.run("shop", "select count(*) from orders").unwrap()
    }

    /// Waits until an approval is in this state: its id.
    async fn approval(&self, state: &str) -> String {
        self.gateway.approval(state).await.unwrap()
    }

    async fn approve(&mut self, id: &str) {
        for person in &mut self.people {
            let vote = person.vote(id, "approve", Strength::Session, None).await.unwrap();
            assert!(vote.is_success(), "{}", vote.told());
        }
    }
}

async fn ended(child: Child) -> (String, String) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_delete_survives_the_gateways_death_and_runs_once() {
    let mut stage = Stage::open().await;
    assert_eq!(stage.said("select count(*) from orders").await, ("100".into(), String::new()));
    let sql = "delete from orders where id <= 14";
    let asked = stage.psql(sql);
    let id = stage.approval("pending").await;
    stage.gateway.kill().unwrap();
    let (_, err) = ended(asked).await;
    assert!(err.contains("held until people approve it: Delete"), "{err}");
    stage.gateway.restart().await.unwrap();
    stage.approve(&id).await;
    assert_eq!(stage.count(), "100", "nothing runs without its requester");
    assert_eq!(stage.said(sql).await, ("DELETE 14".into(), String::new()));
    assert_eq!(stage.count(), "86");
    assert!(!stage.gateway.log().contains(SECRET));
}

/// Two people see in their browsers how many rows there are; more came since, so they are asked again.
#[tokio::test(flavor = "multi_thread")]
async fn people_sign_how_many_rows_there_are_and_are_asked_again_when_there_are_more() {
    let stage = Stage::open().await;
    let (ana, ben) = (browser(&stage, "cleo@example.com").await, browser(&stage, "dan@example.com").await);
    let sql = "delete from orders where id > 90";
    let asked = stage.psql(sql);
    let id = stage.approval("pending").await;
    let page = format!("{}/approvals/{id}", stage.gateway.console_url);
    for browser in [&ana, &ben] {
        browser.go(&page).await.unwrap();
        browser
            .until_text("h1", "Delete 10 rows from `public.orders` in shop (prod, personal data)")
            .await
            .unwrap();
        browser.until_text("main", "counted as `reader`").await.unwrap();
    }
    ana.click("#approve").await.unwrap();
    // Ben's page is drawn anew with her vote: what is clicked on before is lost.
    for browser in [&ana, &ben] {
        browser.until_text("main", "1 of 2").await.unwrap();
    }
    stage.cluster.run("shop", "insert into orders select generate_series(101, 150)").unwrap();
    ben.click("#approve").await.unwrap();
    for browser in [&ana, &ben] {
        browser.until_text("main", "It was approved, and waits again").await.unwrap();
        browser.go(&page).await.unwrap();
        browser.until_text("h1", "Delete 60 rows").await.unwrap();
        browser.until_text("main", "10 were shown, and now there are 60").await.unwrap();
    }
    assert_eq!(stage.count(), "150", "nothing ran");
    ana.click("#approve").await.unwrap();
    for browser in [&ana, &ben] {
        browser.until_text("main", "1 of 2").await.unwrap();
    }
    ben.click("#approve").await.unwrap();
    let (out, err) = ended(asked).await;
    assert_eq!(out, "DELETE 60", "{err}");
    assert!(err.contains("held again until people approve it: Delete 60 rows"), "{err}");
    assert!(err.contains("changed: rows: 10 were shown, and now there are 60"), "{err}");
    let entries = verified_entries(&stage.gateway).await.unwrap();
    assert!(entries.iter().any(|entry| entry.text("/because") == "evidence"));
    assert!(!stage.gateway.log().contains(READER));
    for browser in [ana, ben] {
        browser.close().await.unwrap();
    }
}

async fn browser(stage: &Stage, email: &str) -> Browser {
    let link = stage.gateway.invite(email, "sre").await.unwrap();
    let browser = Browser::start(1280, 1400).await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_when_the_gateway_died_is_unknown_and_never_repeated() {
    let mut stage = Stage::open().await;
    let trigger = "create trigger slowly before delete on orders for each row execute function slowly()";
    stage.cluster.run("shop", trigger).unwrap();
    let sql = "delete from orders where id <= 10";
    let asked = stage.psql(sql);
    let id = stage.approval("pending").await;
    stage.approve(&id).await;
    assert_eq!(stage.approval("executing").await, id);
    stage.gateway.kill().unwrap();
    ended(asked).await;
    stage.gateway.restart().await.unwrap();
    assert_eq!(stage.approval("unknown").await, id);
    let (out, err) = stage.said(sql).await;
    assert!(out.is_empty() && err.contains("it is not known whether the action ran"), "{out} {err}");
    // Told once; asked again it is a new action, which waits for people.
    let again = stage.psql(sql);
    let other = stage.approval("pending").await;
    assert_ne!(other, id);
    drop(again);
}
