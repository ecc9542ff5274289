//! From nothing but a server's address to an agent whose calls are permitted, held or refused: `countersign init`,
//! `countersign mcp inspect URL`, the files it wrote, and the gateway.

use crate::stage::{self, Server};
use countersign_demo::person::Strength;
use countersign_e2e::{Gateway, Ports, binary};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// What a command of the binary in this folder says: whether it went well, what it printed, and its errors.
fn said(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let ran = Command::new(binary().unwrap()).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.success(), text(&ran.stdout), text(&ran.stderr))
}

fn ran(folder: &Path, arguments: &[&str]) -> String {
    let (fine, out, errors) = said(folder, arguments);
    assert!(fine, "{arguments:?}: {out}{errors}");
    out
}

/// A configuration as `init` makes it, with the server behind it as `inspect` writes that down.
fn written(folder: &Path, ports: Ports, url: &str) {
    ran(folder, &["init", "."]);
    ran(folder, &["mcp", "inspect", url, "--name", "shop", "--write", "start"]);
    let policy = fs::read_to_string(folder.join("start/shop.cedar")).unwrap();
    fs::write(folder.join("policy/50-shop.cedar"), policy).unwrap();
    let config = fs::read_to_string(folder.join("countersign.toml")).unwrap();
    let section = fs::read_to_string(folder.join("start/shop.toml")).unwrap();
    let config = config
        .replace("127.0.0.1:7100", &format!("127.0.0.1:{}", ports.console))
        .replace("http://localhost:7100", &format!("http://localhost:{}", ports.console))
        .replace("127.0.0.1:7101", &format!("127.0.0.1:{}", ports.second));
    let section = section.replace("127.0.0.1:7201", &format!("127.0.0.1:{}", ports.wire));
    fs::write(folder.join("countersign.toml"), format!("{config}\n{section}")).unwrap();
    let checked = ran(folder, &["policy", "check"]);
    assert!(checked.contains("hold"), "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_only_inspected_is_behind_the_gateway_with_what_was_written() {
    let server = Server::start("mcp_hints.py").await;
    let url = server.url("/mcp");
    let gateway = Gateway::start_written(
        |folder, ports| {
            written(folder, ports, &url);
            Ok(())
        },
        &[],
    );
    let gateway = gateway.await.unwrap();
    let mut ana = gateway.person("ana@example.com", "sre").await.unwrap();
    gateway.invite("olga@example.com", "sre").await.unwrap();
    let token = gateway.agent("bot", "olga@example.com", "platform-agents").await.unwrap();
    // Nothing may be called before its description is accepted; what is flagged is not among the pins.
    let wire = format!("{}/mcp", gateway.url);
    let call = |tool: &str| json!([{"do": "call", "tool": tool, "arguments": {"table": "orders"}}]);
    let last = |lines: Vec<Value>| lines.last().unwrap().clone();
    let early = last(stage::agent(&wire, &token, "legacy", &call("count_rows")).ended().await);
    assert!(early.to_string().contains("nobody has accepted it"), "{early}");
    let pinned = gateway.command(&["mcp", "accept", "shop", "--pins", "start/shop.pins.json"]).await.unwrap();
    let names = json!(["count_rows", "drop_table", "mystery", "put_row", "search_web"]);
    assert_eq!(pinned, json!({"accepted": names, "flagged": []}));

    let counted = last(stage::agent(&wire, &token, "legacy", &call("count_rows")).ended().await);
    assert_eq!(counted, json!({"error": false, "text": "count_rows orders"}));
    for (tool, why) in [
        ("drop_table", "the server says that it may destroy something"),
        ("put_row", "the server says that it changes something"),
        ("search_web", "the server says that it reads beyond itself"),
        ("mystery", "the server does not say what it does"),
    ] {
        let agent = stage::agent(&wire, &token, "legacy", &call(tool));
        let id = gateway.approval("pending").await.unwrap();
        assert_eq!(server.ran(tool), 0, "it waits");
        let shown = ana.approval(&id).await.unwrap().to_string();
        assert!(shown.contains(why), "{shown}");
        let vote = ana.vote(&id, "approve", Strength::Session, None).await.unwrap();
        assert!(vote.is_success(), "{}", vote.told());
        assert_eq!(last(agent.ended().await), json!({"error": false, "text": format!("{tool} orders")}));
        assert_eq!(server.ran(tool), 1);
    }
    let refused = last(stage::agent(&wire, &token, "legacy", &call("helper")).ended().await);
    assert!(refused.to_string().contains("nobody has accepted it"), "{refused}");
    assert_eq!(server.ran("helper"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_is_shown_with_its_flags_and_no_file_is_written_over() {
    let server = Server::start("mcp_hints.py").await;
    let (folder, url) = (tempfile::tempdir().unwrap(), server.url("/mcp"));
    let folder = folder.path();
    let told = ran(folder, &["mcp", "inspect", &url, "--name", "shop", "--write", "start"]);
    let shown: Vec<&str> =
        told.lines().filter(|line| line.starts_with("helper") || line.starts_with('!')).collect();
    assert!(shown.first().unwrap().contains("held"), "{told}");
    for flag in [
        "! helper: description holds characters nobody would see",
        "! helper: description speaks to the model",
    ] {
        assert!(shown.iter().any(|line| line.starts_with(flag)), "{told}");
    }
    assert!(!told.contains('\u{200b}'), "what is hidden is made visible");
    let json: Value =
        serde_json::from_str(&ran(folder, &["--output", "json", "mcp", "inspect", &url, "--name", "shop"]))
            .unwrap();
    let reads = json["items"].as_array().unwrap().iter().filter(|tool| tool["starts_as"] == "permitted");
    assert_eq!(reads.map(|tool| tool["tool"].clone()).collect::<Vec<_>>(), [json!("count_rows")]);

    let before = fs::read_to_string(folder.join("start/shop.cedar")).unwrap();
    fs::remove_file(folder.join("start/shop.toml")).unwrap();
    let (fine, _, errors) = said(folder, &["mcp", "inspect", &url, "--name", "shop", "--write", "start"]);
    assert!(!fine && errors.contains("is there already; nothing was written"), "{errors}");
    assert!(!folder.join("start/shop.toml").exists());
    assert_eq!(fs::read_to_string(folder.join("start/shop.cedar")).unwrap(), before);
    let (fine, _, errors) = said(folder, &["mcp", "inspect", "http://127.0.0.1:1/mcp", "--name", "shop"]);
    assert!(!fine && errors.contains("did not say which tools it has"), "{errors}");
    let (fine, _, errors) = said(folder, &["mcp", "inspect", &url]);
    assert!(!fine && errors.contains("--name"), "an address is no name: {errors}");
}
