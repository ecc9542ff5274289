//! Sessions that only read: how a command line comes by one, what it reads, and that nothing comes of it but answers.

use crate::{
    doors,
    stage::{Answer, Browser, Stage, request, signed},
};
use countersign_core::Class;
use http::header;
use serde_json::{Value, json};
use std::time::Duration;

impl Stage {
    pub(crate) async fn with_token(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut asked = request(method, path, body);
        asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        self.call(asked).await
    }

    pub(crate) async fn reading_token(&self, who: &Browser) -> String {
        let made = self.as_person(who, "POST", "/api/v1/sessions", Some(json!({"label": "report"}))).await;
        made.ok()["token"].as_str().unwrap().to_owned()
    }

    async fn reads(&self, token: &str) -> bool {
        self.with_token(token, "GET", "/api/v1/approvals", None).await.status == 200
    }
}

/// A command line that asks to be signed in.
struct Device {
    code: String,
    user_code: String,
}

impl Device {
    async fn begin(stage: &Stage, label: &str) -> Self {
        let begun =
            stage.call(request("POST", "/api/v1/session/device", Some(json!({"label": label})))).await.ok();
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        let page = format!("http://localhost:7100/device?code={}", text("user_code"));
        assert_eq!((text("verification_uri_complete"), &begun["interval"]), (page, &json!(5)));
        Self { code: text("device_code"), user_code: text("user_code") }
    }

    /// The token, or the code of the refusal.
    async fn ask(&self, stage: &Stage) -> Result<String, String> {
        let asked = json!({"device_code": self.code});
        let answer = stage.call(request("POST", "/api/v1/session/device/token", Some(asked))).await;
        match answer.status.as_u16() {
            200 => Ok(answer.ok()["token"].as_str().unwrap().to_owned()),
            _ => Err(answer.problem().1),
        }
    }

    async fn answer(&self, stage: &Stage, who: &Browser, allow: bool) -> Answer {
        let answer = json!({"user_code": self.user_code.to_lowercase(), "allow": allow});
        stage.as_person(who, "POST", "/api/v1/sessions/device", Some(answer)).await
    }
}

fn refused<T>(code: &str) -> Result<T, String> {
    Err(code.to_owned())
}

#[tokio::test]
async fn a_command_line_is_signed_in_by_whoever_allows_it_in_their_browser() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let approval = stage.hold(Class::Configure, b"x").await;
    stage.pass(Duration::from_secs(1));
    let device = Device::begin(&stage, "ana's <b>laptop</b>").await;
    assert_eq!(device.ask(&stage).await, refused("authorization-pending"));
    assert_eq!(device.ask(&stage).await, refused("slow-down"));
    // The person sees what asks, and from where, as text.
    let page = stage.as_person(&ana, "GET", &format!("/device?code={}", device.user_code), None).await.text();
    assert!(page.contains("ana&#39;s &#60;b&#62;laptop") && page.contains("127.0.0.1"), "{page}");
    assert!(page.contains(&device.user_code) && page.contains("cannot vote"));
    // Nobody answers for them: not without their session, nor without their page's token.
    let answer = json!({"user_code": device.user_code, "allow": true});
    let stranger = request("POST", "/api/v1/sessions/device", Some(answer.clone()));
    assert_eq!(stage.call(stranger).await.problem().0, 401);
    let mut forged = signed(&ana, "POST", "/api/v1/sessions/device", Some(answer));
    forged.headers_mut().remove("x-countersign-csrf");
    assert_eq!(stage.call(forged).await.problem().1, "csrf");

    assert_eq!(device.answer(&stage, &ana, true).await.status, 204);
    assert_eq!(device.answer(&stage, &ana, true).await.problem().0, 404, "it is answered once");
    stage.pass(Duration::from_secs(5));
    let token = device.ask(&stage).await.unwrap();
    assert!(token.starts_with("csp_"));
    assert_eq!(device.ask(&stage).await, refused("expired-token"), "it is given once");
    let list = stage.with_token(&token, "GET", "/api/v1/approvals?status=pending", None).await.ok();
    assert_eq!(
        (&list["items"][0]["id"], &list["items"][0]["you"]["can_vote"]),
        (&json!(approval), &json!(true))
    );
    let sessions = stage.as_person(&ana, "GET", "/api/v1/sessions", None).await.ok();
    let labels: Vec<&Value> = sessions.as_array().unwrap().iter().map(|one| &one["reading"]).collect();
    assert_eq!(labels, [&json!("ana's <b>laptop</b>"), &json!(null)]);

    let no = Device::begin(&stage, "x").await;
    assert_eq!(no.answer(&stage, &ana, false).await.status, 204);
    assert_eq!(no.ask(&stage).await, refused("access-denied"));
    let late = Device::begin(&stage, "x").await;
    stage.pass(Duration::from_mins(10));
    assert_eq!(late.ask(&stage).await, refused("expired-token"));
    assert_eq!(late.answer(&stage, &ana, true).await.problem().0, 404);
    // Codes are not found by trying.
    let mut last = 0;
    for _ in 0..30 {
        last = stage.as_person(&ana, "GET", "/device?code=BCDF-GHJK", None).await.status.as_u16();
    }
    assert_eq!(last, 429);
    // That is the guesser's own affair: others at the same address are asked as before.
    let ben = stage.reviewer("Ben", &["sre"]).await;
    let another = Device::begin(&stage, "x").await;
    assert_eq!(another.answer(&stage, &ana, true).await.status, 429);
    assert_eq!(another.answer(&stage, &ben, true).await.status, 204);
    let export = stage.operator("GET", "/api/v1/ledger/export", None).await;
    assert!(!export.text().contains(&token));
}

#[tokio::test]
async fn nothing_comes_of_a_reading_token_but_answers() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let token = stage.reading_token(&ana).await;
    let approval = stage.hold(Class::Configure, b"x").await;
    for (method, path) in doors::routes() {
        // Doors through which anybody may come: they look at no token.
        let open = path.starts_with("/api/v1/session/")
            || path == "/api/v1/session/device"
            || path == "/api/v1/session/device/token";
        let leaves = (method, path) == ("DELETE", "/api/v1/session");
        if method == "GET" || leaves || open {
            continue;
        }
        let path = path.replace("{id}", &approval).replace("{definition}", "x");
        let answer = stage.with_token(&token, method, &path, Some(json!({"decision": "approve"}))).await;
        assert_eq!(answer.problem(), (403, "reading-only".into()), "{method} {path}");
    }
    assert_eq!(stage.count("approval.vote_refused").await, 4, "every attempt to decide is on the record");
    assert_eq!(stage.state(&approval).await, "pending");
    // It opens no page, and is no cookie and no agent.
    let page = stage.with_token(&token, "GET", "/account", None).await;
    assert_eq!(page.problem(), (403, "reading-only".into()));
    let mut cookie = request("GET", "/api/v1/session", None);
    let name = ana.cookie.split_once('=').unwrap().0;
    cookie.headers_mut().insert(header::COOKIE, format!("{name}={token}").parse().unwrap());
    assert_eq!(stage.call(cookie).await.problem().0, 401);
    assert_eq!(stage.with_token("csp_x", "GET", "/api/v1/approvals", None).await.problem().0, 403);
}

#[tokio::test]
async fn reading_ends_with_whatever_ends_its_person_and_by_itself() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let ben = stage.reviewer("Ben", &["sre"]).await;
    // Its own end, by itself and by its person alone.
    let token = stage.reading_token(&ana).await;
    stage.with_token(&token, "DELETE", "/api/v1/session", None).await.ok();
    assert!(!stage.reads(&token).await);
    let token = stage.reading_token(&ana).await;
    let sessions = stage.as_person(&ana, "GET", "/api/v1/sessions", None).await.ok();
    let id =
        sessions.as_array().unwrap().iter().find(|one| one["reading"] == "report").unwrap()["id"].clone();
    let path = format!("/api/v1/sessions/{}", id.as_str().unwrap());
    assert_eq!(stage.as_person(&ben, "DELETE", &path, None).await.problem().0, 404);
    assert!(stage.reads(&token).await);
    assert_eq!(stage.as_person(&ana, "DELETE", &path, None).await.status, 204);
    assert!(!stage.reads(&token).await);
    // Unused for a week, or used for a month.
    let (idle, used) = (stage.reading_token(&ana).await, stage.reading_token(&ana).await);
    for _ in 0..4 {
        stage.pass(Duration::from_hours(6 * 24));
        assert!(stage.reads(&used).await);
    }
    assert!(!stage.reads(&idle).await);
    stage.pass(Duration::from_hours(6 * 24));
    assert!(!stage.reads(&used).await);
    // Signed out everywhere, or disabled.
    let dee = stage.reviewer("Dee", &["sre"]).await;
    let token = stage.reading_token(&dee).await;
    stage.as_person(&dee, "DELETE", "/api/v1/session", Some(json!({"everywhere": true}))).await.ok();
    assert!(!stage.reads(&token).await);
    let eve = stage.reviewer("Eve", &["sre"]).await;
    let token = stage.reading_token(&eve).await;
    stage.operator("DELETE", &format!("/api/v1/people/{}", eve.id), None).await.ok();
    assert!(!stage.reads(&token).await);
    // And there are only so many.
    let fay = stage.reviewer("Fay", &["sre"]).await;
    for _ in 0..20 {
        stage.reading_token(&fay).await;
    }
    let more = stage.as_person(&fay, "POST", "/api/v1/sessions", Some(json!({"label": "x"}))).await;
    assert_eq!(more.problem(), (409, "too-many".into()));
}
