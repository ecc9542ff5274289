//! Whose word is taken for the Bot Framework's: tokens that are forged, late, for others or by others decide nothing.

use super::{ANA, Room};
use crate::driver;
use countersign_e2e::night;
use countersign_testkit::{
    issuer::{SigningKey, token_with_secret},
    teams::{
        APP, SECRET, Teams,
        cards::says,
        person::{Request, moment, now},
    },
};
use serde_json::{Value, json};
use tokio::process::Command;

/// Asks Microsoft's own library about tokens, under the issuer and the keys that are the Bot Framework's here.
const VERIFY: &str = r"
const connector = require(process.argv[1] + '/node_modules/botframework-connector');
const { issuer, openid, app, requests } = JSON.parse(require('fs').readFileSync(process.argv[2], 'utf8'));
connector.AuthenticationConstants.ToBotFromChannelTokenIssuer = issuer;
connector.ChannelValidation.ToBotFromChannelTokenValidationParameters.issuer = [issuer];
connector.ChannelValidation.OpenIdMetadataEndpoint = openid;
const credentials = new connector.SimpleCredentialProvider(app, '');
(async () => {
  const taken = [];
  for (const { what, token, service } of requests) {
    const asked = connector.ChannelValidation.authenticateChannelTokenWithServiceUrl(
      token === null ? '' : `Bearer ${token}`, credentials, service, 'msteams');
    if (await asked.then(() => true, () => false)) taken.push(what);
  }
  process.stdout.write(JSON.stringify(taken));
})();
";

/// Which of these Microsoft's library takes for the Bot Framework's.
async fn taken_by_the_library(room: &Room, tokens: &[(&str, Option<String>)]) -> Vec<String> {
    let service = room.teams.service();
    let requests: Vec<Value> = tokens
        .iter()
        .map(|(what, token)| json!({"what": what, "token": token, "service": service}))
        .collect();
    let asked = json!({"issuer": room.teams.issuer(), "openid": room.teams.openid(), "app": APP, "requests": requests});
    let file = room.stage.gateway.folder().join("tokens.json");
    std::fs::write(&file, asked.to_string()).unwrap();
    let library = driver("botframework");
    let mut node = Command::new("node");
    node.args(["-e", VERIFY, &library]).arg(&file).env("NO_PROXY", "*").kill_on_drop(true);
    let done = node.output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_bot_framework_signed_for_this_bot_just_now_is_taken_in() {
    let room = Room::open().await;
    let for_others = SigningKey::rsa("bot-framework-2").unwrap();
    room.teams.publish(&for_others, &["webchat"]);
    let mut ana = room.person("ana@example.com").await;
    room.stage.ask("PATCH", "logs").await;
    let message = room.message(1).await;
    let id = room.newest().await;
    let card = room.click(&message, ANA, "approve", None).await;
    room.bind(&mut ana, &card).await;
    let click = room.teams.click(&message, ANA, "approve", None).unwrap();

    let claims = room.teams.claims();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        room.teams.token(&claims).unwrap()
    };
    let strange = SigningKey::rsa("bot-framework-1").unwrap();
    let own = with("aud", claims["aud"].clone());
    let (head, rest) = own.split_once('.').unwrap();
    let mut tokens = vec![
        ("another audience", Some(with("aud", json!("99999999-2222-4333-8444-555555555555")))),
        ("several audiences, none of them this bot", Some(with("aud", json!(["a", "b"])))),
        ("another issuer", Some(with("iss", json!("https://sts.windows.net/x/")))),
        ("expired", Some(with("exp", json!(now() - 400)))),
        ("not yet", Some(with("nbf", json!(now() + 400)))),
        ("good for years", Some(with("exp", json!(now() + 90_000_000)))),
        ("without an end", Some(with("exp", Value::Null))),
        ("for another service", Some(with("serviceurl", json!("https://smba.trafficmanager.net/amer/")))),
        ("for no service", Some(with("serviceurl", Value::Null))),
        ("under a key that may not speak for Teams", Some(Teams::token_of(&for_others, &claims).unwrap())),
        ("signed by somebody", Some(Teams::token_of(&strange, &claims).unwrap())),
        ("with another byte", Some(format!("{head}.{}", rest.replacen('e', "f", 1)))),
        (
            "under the bot's secret",
            Some(token_with_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims)),
        ),
        ("unsigned", Some(format!("eyJhbGciOiJub25lIn0.{}.", rest.split('.').next().unwrap()))),
        ("none", None),
    ];
    let pss =
        room.teams.signed(&json!({"typ": "JWT", "alg": "PS256", "kid": "bot-framework-1"}), &claims).unwrap();
    tokens.push(("another algorithm", Some(pss)));
    // Microsoft's own library refuses the same, but for one that would hold for years.
    let good = [("good", click.token.clone())];
    let taken = taken_by_the_library(&room, &[&good[..], &tokens[..]].concat()).await;
    assert_eq!(taken, ["good", "good for years"]);
    for (what, token) in tokens {
        let (status, answer) = room.send(&Request { token, ..click.clone() }).await;
        assert_eq!((status, &answer["code"]), (401, &"not-signed".into()), "{what}: {answer}");
    }
    // What the bot itself is given, and an agent's own token, are not looked at there at all.
    for token in ["planted-teams-token-1", &room.stage.token] {
        let (status, answer) = room.send(&Request { token: Some(token.into()), ..click.clone() }).await;
        assert_eq!((status, &answer["code"]), (403, &"agent-credential".into()), "{answer}");
    }
    // The token is good, and speaks for something else.
    for (what, pointer, value) in [
        ("another bot", "/recipient/id", json!("28:99999999-2222-4333-8444-555555555555")),
        ("another tenant", "/conversation/tenantId", json!("bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee")),
        ("another tenant's data", "/channelData/tenant/id", json!("bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee")),
        ("another chat", "/channelId", json!("webchat")),
        ("another address", "/serviceUrl", json!("https://evil.example/")),
        ("from long ago", "/timestamp", json!(moment(now() - 1200))),
        ("from the future", "/timestamp", json!(moment(now() + 1200))),
        ("of no time", "/timestamp", json!("")),
    ] {
        let mut other = click.clone();
        *other.activity.pointer_mut(pointer).unwrap() = value;
        let (status, answer) = room.send(&other).await;
        assert_eq!((status, &answer["code"]), (401, &"not-signed".into()), "{what}: {answer}");
    }
    let mut unreadable = click.clone();
    unreadable.activity["value"]["action"]["data"]["on"] = json!("apr_1.x");
    assert_eq!(room.send(&unreadable).await.0, 400);
    let mut elsewhere = click.clone();
    elsewhere.activity["conversation"]["id"] = json!("19:elsewhere@thread.tacv2");
    let (status, answer) = room.send(&elsewhere).await;
    assert!(status == 200 && answer["value"].as_str().unwrap().contains("another conversation"), "{answer}");
    assert!(room.is(&id, "pending").await, "none of it decided anything");

    let card = room.card(&click).await;
    assert!(says(&card, "Your approval counts"), "{card}");
    let entries = night::verified_entries(&room.stage.gateway).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "approval.voted").count(), 1);
    let log = room.stage.gateway.log();
    assert!(!log.contains(SECRET) && !log.contains("planted-teams-token") && !log.contains("eyJ"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_before_the_round_changed_or_is_made_up_decides_nothing() {
    let room = Room::open().await;
    let mut ana = room.person("ana@example.com").await;
    room.stage.ask("PATCH", "logs").await;
    let message = room.message(1).await;
    let id = room.newest().await;
    let card = room.click(&message, ANA, "approve", None).await;
    room.bind(&mut ana, &card).await;
    let mut button = countersign_testkit::teams::cards::button(&message.card, "approve").unwrap();
    button["data"]["on"] = json!(format!("{id}.{}", "0".repeat(64)));
    let card = room.card(&room.teams.executed(&message, ANA, &button, None).unwrap()).await;
    assert!(says(&card, "This has changed since the message was drawn"), "{card}");
    // An id that was used for something else.
    let click = room.teams.click(&message, ANA, "reject", Some("no")).unwrap();
    let mut other = room.teams.click(&message, ANA, "approve", None).unwrap();
    assert!(room.is(&id, "pending").await);
    let card = room.card(&click).await;
    assert!(says(&card, "You rejected it"), "{card}");
    other.activity["id"] = click.activity["id"].clone();
    let card = room.card(&other).await;
    assert!(says(&card, "This delivery id was used for something else."), "{card}");
    // An approval that is not there.
    button["data"]["on"] = json!("apr_01ARZ3NDEKTSV4RRFFQ69G5FAV.x");
    let (status, answer) = room.send(&room.teams.executed(&message, ANA, &button, None).unwrap()).await;
    assert!(status == 200 && answer["value"] == "There is no such approval.", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_is_shown_what_the_channel_was_told_of_and_no_other() {
    let room = Room::open_with("decides = true").await;
    room.stage.ask("DELETE", "logs").await;
    let message = room.message(1).await;
    let told = room.newest().await;
    let card = room.card(&room.teams.look(&message, ANA).unwrap()).await;
    assert!(says(&card, "DELETE /tables/logs"), "{card}");
    // No gate of this one names the channel.
    room.stage.ask("PATCH", "secret").await;
    let pending = room.stage.gateway.approvals("pending").await.unwrap();
    let other = pending.iter().find(|approval| approval["id"] != told.as_str()).unwrap();
    let mut look = message.card["refresh"]["action"].clone();
    look["data"]["on"] = json!(format!("{}.x", other["id"].as_str().unwrap()));
    let (status, answer) = room.send(&room.teams.executed(&message, ANA, &look, None).unwrap()).await;
    assert!(status == 200 && answer["value"] == "There is no such approval.", "{answer}");
}
