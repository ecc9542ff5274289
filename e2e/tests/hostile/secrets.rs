//! Planted secrets: the upstream credential, the agent's token, the session and the enrolment links, looked for in
//! everything that is written or said.

use countersign_demo::{http, person::Strength};
use countersign_e2e::night::{self, CREDENTIAL, Night};
use reqwest::Method;
use serde_json::json;
use std::fs;

#[tokio::test]
async fn no_secret_reaches_logs_entries_errors_the_database_or_the_process_list() {
    let mut night = Night::open(&[("COUNTERSIGN_LOG", "trace")]).await.unwrap();
    let secrets: Vec<(&str, String)> = [
        ("the upstream credential", CREDENTIAL.to_owned()),
        ("the agent's token", night.token.clone()),
        ("the session", night.ana.session_secret().to_owned()),
    ]
    .into_iter()
    .chain(night.links.iter().map(|link| ("a link", link.split_once('#').unwrap().1.to_owned())))
    .collect();
    assert!(secrets.iter().all(|(what, secret)| secret.len() > 20 || panic!("{what} is short")));
    let said = tell_stories(&mut night).await;
    let command = fs::read(format!("/proc/{}/cmdline", night.gateway.process())).unwrap();
    let environment = fs::read(format!("/proc/{}/environ", night.gateway.process())).unwrap();
    let mut sinks = vec![
        ("what was answered".to_owned(), said.into_bytes()),
        ("the log".to_owned(), night.gateway.log().into_bytes()),
        ("the export".to_owned(), disclosed(&night).await.into_bytes()),
        ("the arguments".to_owned(), command),
        ("the environment".to_owned(), environment),
    ];
    night.gateway.kill().unwrap();
    let data = night.gateway.folder().join("data");
    for file in ["countersign.db", "countersign.db-wal"] {
        sinks.push((file.to_owned(), fs::read(data.join(file)).unwrap_or_default()));
    }
    assert!(night.gateway.log().contains(" TRACE "), "the log holds everything there is to say");
    for (sink, bytes) in &sinks {
        for (what, secret) in &secrets {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            let around = found.map(|at| {
                let (from, to) = (at.saturating_sub(200), (at + secret.len() + 20).min(bytes.len()));
                String::from_utf8_lossy(&bytes[from..to]).into_owned()
            });
            assert_eq!(around, None, "{what} stands in {sink}");
        }
    }
}

/// Permitted, held, approved, refused, mistaken: every kind of answer, with every secret in play.
async fn tell_stories(night: &mut Night) -> String {
    let client = night::client().unwrap();
    let session = format!("countersign_session={}", night.ana.session_secret());
    let mut said = String::new();
    let config = "/v1/config/prod/timeout";
    for (method, path, body) in [
        (Method::GET, "/v1/services/checkout/status", None),
        (Method::GET, "/v1/zones/fedramp-east/records", None),
        (Method::PUT, config, Some("{")),
        (Method::POST, "/nowhere", Some("{}")),
        (Method::PUT, config, Some("{\"value\":\"1\"}")),
    ] {
        let mut ask = night.ask(&client, method, path).header("prefer", "respond-async");
        ask = ask.header("cookie", &session).header("x-api-key", CREDENTIAL.replace("planted", "other"));
        if let Some(body) = body {
            ask = ask.header("content-type", "application/json").body(body);
        }
        let answer = http::send(path, ask).await.unwrap();
        said += &String::from_utf8_lossy(&answer.body);
        if answer.status == 202 {
            let approval = answer.word("approval");
            let vote = night.ben.vote(&approval, "approve", Strength::Session, None).await.unwrap();
            assert!(vote.is_success(), "{}", vote.told());
            let place = answer.header("location").unwrap().to_owned();
            loop {
                let look = night.ask(&client, Method::GET, &place).header("prefer", "wait=5");
                let look = http::send(&place, look).await.unwrap();
                said += &String::from_utf8_lossy(&look.body);
                assert!(matches!(look.status, 200 | 202), "{}", look.told());
                if look.status == 200 {
                    break;
                }
            }
        }
    }
    let console = &night.gateway.console_url;
    let spent = night.links[0].split_once('#').unwrap().1;
    for (path, body) in [
        ("session/link", json!({ "token": spent })),
        ("session/link", json!({ "token": 7 })),
        ("session/link", json!({ "token": spent, "more": 1 })),
    ] {
        let ask = client.post(format!("{console}/api/v1/{path}")).header("origin", console).json(&body);
        let answer = http::send(path, ask).await.unwrap();
        assert!(!answer.is_success(), "{}", answer.told());
        said += &String::from_utf8_lossy(&answer.body);
    }
    // An agent's token at the people's door, and cut by one character at the gateway.
    let ask = client.get(format!("{console}/api/v1/approvals")).bearer_auth(&night.token);
    said += &String::from_utf8_lossy(&http::send("approvals", ask).await.unwrap().body);
    let cut = &night.token[..night.token.len() - 1];
    let ask = client.get(format!("{}/v1/services/a/status", night.gateway.url)).bearer_auth(cut);
    let answer = http::send("status", ask).await.unwrap();
    assert_eq!(answer.status, 401);
    said + &String::from_utf8_lossy(&answer.body)
}

/// The export with every private value, in clear.
async fn disclosed(night: &Night) -> String {
    let entries = night::verified_entries(&night.gateway).await.unwrap();
    let values = entries.iter().map(|entry| format!("{} {:?}", entry.leaf, entry.disclosed));
    values.collect::<Vec<_>>().join("\n")
}
