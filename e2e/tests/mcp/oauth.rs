//! OAuth with an authorization server of its own: clients find it through the gateway, tokens open what they are for and
//! nothing else, and what goes to the server is the gateway's own.

use crate::stage::{Stage, node};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

const BOT: &str = "planted-secret-of-bot";
const GATEWAY: &str = "planted-secret-of-the-gateway";

struct Server {
    process: Child,
    url: String,
    /// It could say nothing without somebody who reads.
    _says: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        let port = countersign_testkit::ports::free().unwrap();
        let mut server = node("authorization_server.mjs");
        server.args([&port.to_string(), BOT, GATEWAY]).stderr(Stdio::null());
        let mut child = server.spawn().unwrap();
        let (mut line, mut says) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        says.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { process: child, url: format!("http://localhost:{port}"), _says: says }
    }

    /// A token of `bot` for this resource.
    async fn token(&self, resource: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("resource", resource), ("scope", "mcp")];
        let form = form
            .map(|(name, value)| format!("{name}={}", value.replace(':', "%3A").replace('/', "%2F")))
            .join("&");
        let asked = Client::builder().no_proxy().build().unwrap().post(format!("{}/token", self.url));
        let asked =
            asked.basic_auth("bot", Some(BOT)).header("content-type", "application/x-www-form-urlencoded");
        let said: Value = asked.body(form).send().await.unwrap().json().await.unwrap();
        said.pointer("/access_token").and_then(Value::as_str).unwrap_or_else(|| panic!("{said}")).to_owned()
    }
}

async fn stage(server: &Server) -> Stage {
    let issuer = &server.url;
    let target = format!(
        "oauth = {{ resource = \"http://127.0.0.1:WIRE/mcp\", authorization_servers = [\"{issuer}\"], scopes = [\"mcp\"] }}\n\
         client_credentials = {{ profile = \"shop-app\", token_endpoint = \"{issuer}/token\", client_id = \"gateway\", \
         client_secret_from = \"env:GATEWAY_SECRET\", scope = \"mcp\" }}"
    );
    let behind = format!(
        "[[issuers]]\nname = \"login\"\nissuer = \"{issuer}\"\n\
         audiences = [\"http://127.0.0.1:WIRE/mcp\", \"https://elsewhere.example.com\"]\nalgorithms = [\"RS256\"]\n\n\
         [[issuers.agents]]\nagent = \"login/{{client_id}}\"\nmatch = {{ client_id = \"bot\" }}\n\
         owners = [\"olga@example.com\"]\ngroups = [\"agents\"]\n"
    );
    Stage::open_with(&target, &behind, "50s").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_out_where_to_get_a_token_and_the_gateway_gets_its_own() {
    let server = Server::start();
    let stage = stage(&server).await;
    let own = json!({"issuer": server.url, "secret": BOT}).to_string();
    let call = json!({"do": "call", "tool": "count_rows", "arguments": {"table": "x"}});
    let said = stage.agent(&own, "oauth", &json!([call, call])).ended().await;
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "x: 100"})), "{said:?}");
    // What went to the server is a token of the gateway's, for the server, fetched once.
    let log = stage.log();
    let sent: Vec<&str> =
        log.iter().filter_map(|line| line.pointer("/headers/authorization")?.as_str()).collect();
    assert!(sent.len() > 2);
    let first = *sent.first().unwrap();
    assert!(sent.iter().all(|sent| *sent == first), "{sent:?}");
    let claims = claims(first);
    assert_eq!(claims["client_id"], "gateway", "{claims}");
    assert_eq!(claims["aud"], json!(stage.server_url("/mcp")), "{claims}");
    let told = stage.gateway.log();
    assert!(!told.contains(GATEWAY) && !told.contains(BOT) && !told.contains("eyJ"), "{told}");
}

/// What a token says.
fn claims(sent: &str) -> Value {
    let body = sent.split('.').nth(1).unwrap();
    let mut python = Command::new("python3");
    let program = "import base64, sys; print(base64.urlsafe_b64decode(sys.argv[1] + '==').decode())";
    let said = python.args(["-c", program, body]).output().unwrap();
    serde_json::from_slice(&said.stdout).unwrap()
}

/// The opening of a session with this token.
fn opening(client: &Client, stage: &Stage, token: Option<String>) -> RequestBuilder {
    let mut asked = client.post(&stage.url).header("content-type", "application/json");
    asked = asked.header("accept", "application/json, text/event-stream");
    if let Some(token) = token {
        asked = asked.bearer_auth(token);
    }
    asked.body(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_does_not_take_any_more_is_renewed_for_the_next_message() {
    let server = Server::start();
    let stage = stage(&server).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let opened = || async {
        let answer = opening(&client, &stage, Some(stage.token.clone())).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    assert!(opened().await.get("result").is_some());
    let sent = |log: Vec<Value>| {
        log.iter()
            .filter_map(|line| Some(line.pointer("/headers/authorization")?.as_str()?.to_owned()))
            .next_back()
    };
    let first = sent(stage.log()).unwrap();
    std::fs::write(stage.beside("log.refused"), &first).unwrap();
    // What the server did not take is not sent once more by itself.
    let told = opened().await;
    assert!(told.to_string().contains("HTTP 401") && !told.to_string().contains("eyJ"), "{told}");
    assert!(opened().await.get("result").is_some());
    let log = stage.log();
    assert_eq!(log.iter().filter(|line| line.get("refused") == Some(&json!(first))).count(), 1);
    let second = sent(log).unwrap();
    assert_ne!(second, first);
    assert_eq!(claims(&second)["client_id"], "gateway");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_resource_opens_nothing_here() {
    let server = Server::start();
    let stage = stage(&server).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let ask = |token: Option<String>| opening(&client, &stage, token).send();
    let right = server.token(&stage.url).await;
    assert_eq!(ask(Some(right)).await.unwrap().status(), StatusCode::OK);
    // The issuer is believed for this audience too, at another target perhaps.
    let wrong = server.token("https://elsewhere.example.com").await;
    for (token, error) in [(None, false), (Some(wrong), true)] {
        let answer = ask(token).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let origin = stage.url.trim_end_matches("/mcp");
        let metadata = format!("resource_metadata=\"{origin}/.well-known/oauth-protected-resource/mcp\"");
        assert!(challenge.contains(&metadata) && challenge.contains("scope=\"mcp\""), "{challenge}");
        assert_eq!(challenge.contains("error=\"invalid_token\""), error, "{challenge}");
    }
    let told =
        client.get(stage.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")).send().await;
    let told: Value = told.unwrap().json().await.unwrap();
    assert_eq!(told["resource"], json!(stage.url));
    assert_eq!(told["authorization_servers"], json!([server.url]));
    // The gateway's own tokens are for all of its targets.
    assert_eq!(ask(Some(stage.token.clone())).await.unwrap().status(), StatusCode::OK);
}
