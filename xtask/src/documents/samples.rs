//! The samples of the book work: its policies load, its target is a target, and what `init` writes passes `check`.

use super::commands::program;
use crate::tree::Tree;
use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

/// The code blocks of this kind in a page.
fn blocks<'t>(tree: &'t Tree, page: &str, kind: &str) -> Vec<&'t str> {
    let text = &tree.file(page).unwrap().text;
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// Runs `countersign check` in a folder; what it says when it finds something wrong.
fn check(folder: &Path) -> Result<(), String> {
    let done = Command::new(program()).arg("check").current_dir(folder).output().unwrap();
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

#[test]
fn the_policies_and_the_target_of_the_guides_load_together() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let policies = blocks(&tree, "docs/book/src/guide/policies.md", "cedar");
    let targets = blocks(&tree, "docs/book/src/guide/http.md", "toml");
    assert_eq!((policies.len(), targets.len()), (4, 1));
    let head = "[policy]\nlabels = [\"fedramp\", \"pii\"]\n\n[people]\n\
                groups = [\"contractors\", \"dba\", \"on-call\", \"platform-agents\", \"privacy\"]\n\n";
    fs::write(folder.path().join("countersign.toml"), format!("{head}{}\n", targets.concat())).unwrap();
    let document =
        r#"{"openapi": "3.0.3", "paths": {"/v1/invoices": {"get": {"operationId": "listInvoices"}}}}"#;
    fs::write(folder.path().join("billing.json"), document).unwrap();
    fs::create_dir(folder.path().join("policy")).unwrap();
    fs::write(folder.path().join("policy/guide.cedar"), policies.join("\n\n")).unwrap();
    assert_eq!(check(folder.path()), Ok(()));
}

#[test]
fn the_issuers_of_the_guide_stand_in_one_configuration() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let issuers = blocks(&tree, "docs/book/src/guide/workloads.md", "toml");
    assert_eq!(issuers.len(), 5);
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    for (name, text) in
        [("tls.pem", &certificate), ("mesh.pem", &certificate), ("tls.key", &key.serialize_pem())]
    {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let done = Command::new(program()).arg("init").arg(folder.path()).output().unwrap();
    assert!(done.status.success());
    let text = issuers
        .join("\n\n")
        .replace("agent = \"triage-bot\"\nmatch = { sub", "agent = \"triage\"\nmatch = { sub");
    let head = "[people]\ngroups = [\"pipelines\", \"platform-agents\", \"agents\"]\n\n";
    fs::write(folder.path().join("countersign.toml"), format!("{head}{text}\n")).unwrap();
    fs::remove_dir_all(folder.path().join("policy")).unwrap();
    fs::create_dir(folder.path().join("policy")).unwrap();
    fs::write(
        folder.path().join("policy/none.cedar"),
        "@id(\"none\")\nforbid (principal, action, resource);\n",
    )
    .unwrap();
    let tags = blocks(&tree, "docs/book/src/guide/workloads.md", "cedar");
    assert_eq!(tags.len(), 1);
    fs::write(folder.path().join("policy/guide.cedar"), tags.concat()).unwrap();
    assert_eq!(check(folder.path()), Ok(()));
}

#[test]
fn the_provider_and_the_transmitters_of_the_guides_stand_in_one_configuration() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let mut sections = blocks(&tree, "docs/book/src/guide/sign-in.md", "toml");
    sections.extend(blocks(&tree, "docs/book/src/guide/signals.md", "toml"));
    fs::write(folder.path().join("countersign.toml"), sections.join("\n")).unwrap();
    fs::create_dir(folder.path().join("policy")).unwrap();
    let none = "@id(\"none\")\nforbid (principal, action, resource);\n";
    fs::write(folder.path().join("policy/none.cedar"), none).unwrap();
    assert_eq!(check(folder.path()), Ok(()));
}

#[test]
fn the_channels_of_the_guide_are_named_by_its_gate() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let policies = blocks(&tree, "docs/book/src/guide/channels.md", "cedar");
    let channels = blocks(&tree, "docs/book/src/guide/channels.md", "toml");
    assert_eq!((policies.len(), channels.len()), (2, 2));
    let head = "[people]\ngroups = [\"dba\"]\n\n";
    let write = |channels: &str| {
        fs::write(folder.path().join("countersign.toml"), format!("{head}{channels}\n")).unwrap();
    };
    fs::create_dir(folder.path().join("policy")).unwrap();
    fs::write(folder.path().join("policy/guide.cedar"), policies.join("\n\n")).unwrap();
    write(&channels.join("\n"));
    assert_eq!(check(folder.path()), Ok(()));
    write(&channels.join("\n").replace("name = \"dba\"", "name = \"dbas\""));
    let wrong = check(folder.path()).unwrap_err();
    assert!(wrong.contains("channel `dba` is not declared\n  hint: did you mean `dbas`?"), "{wrong}");
}

#[test]
fn the_route_of_its_guide_leads_to_channels_of_the_guide() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let sections = blocks(&tree, "docs/book/src/guide/routes.md", "toml").join("\n");
    fs::create_dir(folder.path().join("policy")).unwrap();
    let none = "@id(\"none\")\nforbid (principal, action, resource);\n";
    fs::write(folder.path().join("policy/none.cedar"), none).unwrap();
    let head = "[people]\ngroups = [\"dba\", \"leads\"]\n\n";
    let write = |sections: &str| {
        fs::write(folder.path().join("countersign.toml"), format!("{head}{sections}\n")).unwrap();
    };
    for guide in
        ["docs/book/src/guide/pagerduty.md", "docs/book/src/guide/push.md", "docs/book/src/guide/opsgenie.md"]
    {
        write(&blocks(&tree, guide, "toml").concat());
        assert_eq!(check(folder.path()), Ok(()), "{guide}");
    }
    write(&sections);
    assert_eq!(check(folder.path()), Ok(()));
    write(&sections.replace("channels = [\"leads\"]", "channels = [\"lead\"]"));
    let wrong = check(folder.path()).unwrap_err();
    assert!(wrong.contains("route.deletes.escalate[0].channels: there is no `lead`"), "{wrong}");
}

#[test]
fn the_schedule_of_its_guide_is_a_group_that_its_policy_names() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let guide = "docs/book/src/guide/on-call.md";
    let (policies, sections) = (blocks(&tree, guide, "cedar"), blocks(&tree, guide, "toml"));
    assert_eq!((policies.len(), sections.len()), (1, 1));
    fs::create_dir(folder.path().join("policy")).unwrap();
    fs::write(folder.path().join("policy/guide.cedar"), policies.concat()).unwrap();
    let write = |text: &str| fs::write(folder.path().join("countersign.toml"), format!("{text}\n")).unwrap();
    write(&sections.concat());
    assert_eq!(check(folder.path()), Ok(()));
    write(
        &sections
            .concat()
            .replace("[[on_call]]", "[people.scim_groups]\n\"On call\" = \"on-call\"\n\n[[on_call]]"),
    );
    let wrong = check(folder.path()).unwrap_err();
    assert!(wrong.contains("on_call.night.group: somebody else says who is in `on-call`"), "{wrong}");
}

#[test]
fn the_channel_of_each_chats_guide_is_named_by_its_gate() {
    let tree = Tree::read().unwrap();
    for guide in [
        "docs/book/src/guide/slack.md",
        "docs/book/src/guide/teams.md",
        "docs/book/src/guide/jira.md",
        "docs/book/src/guide/servicenow.md",
        "docs/book/src/guide/preapproval.md",
    ] {
        let folder = TempDir::new().unwrap();
        let (policies, channels) = (blocks(&tree, guide, "cedar"), blocks(&tree, guide, "toml"));
        // Slack's people have a section of their own.
        let sections = if guide.ends_with("slack.md") { 2 } else { 1 };
        assert_eq!((policies.len(), channels.len()), (1, sections), "{guide}");
        fs::create_dir(folder.path().join("policy")).unwrap();
        fs::write(folder.path().join("policy/guide.cedar"), policies.concat()).unwrap();
        let head = "[people]\ngroups = [\"dba\"]\n\n";
        fs::write(folder.path().join("countersign.toml"), format!("{head}{}\n", channels.join("\n\n")))
            .unwrap();
        assert_eq!(check(folder.path()), Ok(()), "{guide}");
    }
}

#[test]
fn the_policy_and_the_target_of_the_mcp_guide_load_together() {
    let tree = Tree::read().unwrap();
    let folder = TempDir::new().unwrap();
    let policies = blocks(&tree, "docs/book/src/guide/mcp.md", "cedar");
    let targets = blocks(&tree, "docs/book/src/guide/mcp.md", "toml");
    let [reached, started, several, tokens, sql, requests, shell, objects, asks] = targets.as_slice() else {
        unreachable!("{targets:?}")
    };
    assert_eq!(policies.len(), 3);
    let head = "[people]\ngroups = [\"agents\", \"sre\"]";
    // Tokens of its own stand in place of the credential.
    let reached: Vec<&str> = reached.lines().filter(|line| !line.starts_with("credential = ")).collect();
    let issuer = "[[issuers]]\nname = \"login\"\nissuer = \"https://login.example.com\"\n\
                  audiences = [\"https://gateway.example.com/mcp\"]\n\n\
                  [[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"bot\" }";
    let database = "[[postgres]]\nname = \"orders\"\nenvironment = \"prod\"\nlisten = \"127.0.0.1:7203\"\n\
                    upstream = \"127.0.0.1:5432\"\ndatabases = [\"shop\"]\n\
                    credential = { profile = \"app\", user = \"app\", value_from = \"env:ORDERS_PASSWORD\" }";
    let api = "[[http]]\nname = \"api\"\nenvironment = \"prod\"\nlisten = \"127.0.0.1:7204\"\n\
               upstream = \"https://api.example.com\"";
    let asks = format!("{asks}\n\n[[mcp.tools]]");
    let reached = reached.join("\n").replacen("\n[[mcp.tools]]", &format!("\n{asks}"), 1);
    let tools: [&str; 4] = [sql, requests, shell, objects];
    let tools = tools.join("\n\n");
    let text = [head, &reached, &tools, tokens, started, several, issuer, database, api].join("\n\n");
    fs::write(folder.path().join("countersign.toml"), text).unwrap();
    fs::create_dir(folder.path().join("policy")).unwrap();
    fs::write(folder.path().join("policy/guide.cedar"), policies.concat()).unwrap();
    assert_eq!(check(folder.path()), Ok(()));
}

#[test]
fn what_init_writes_has_no_problem() {
    let folder = TempDir::new().unwrap();
    let done = Command::new(program()).arg("init").arg(folder.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(check(folder.path()), Ok(()));
}
