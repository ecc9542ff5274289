//! Tools that are given lines for a shell or objects of Kubernetes: their calls are decided on by those, not by the tool's name.

use super::Stage;
use serde_json::{Value, json};

fn object(kind: &str) -> String {
    let (version, kind) = kind.rsplit_once('/').unwrap();
    format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: web\n  namespace: shop\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_line_is_decided_on_by_what_it_does() {
    let mut stage = Stage::open_texts().await;
    let folder = stage.beside("files");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("old"), "old").unwrap();
    let file = folder.join("old").to_string_lossy().into_owned();
    let line = |line: &str| json!({"line": line});
    assert_eq!(stage.call("run_line", &line(&format!("cat {file}"))).await, (false, "old".into()));

    // What only looks like a read, and what nobody can be certain of.
    for (text, why) in [
        (format!("cat $(rm {file})"), "nobody can say what it does"),
        (format!("cat {file}\nrm {file}"), "nobody can say what it does"),
        (format!("sudo cat {file}"), "nobody can say what it does"),
        (format!("sh -c 'cat {file}'"), "nobody can say what it does"),
        (format!("find {file} -exec rm x"), "nobody can say what it does"),
        ("cat /srv/keys/a".into(), "keys are nobody's to touch"),
        ("ls && cat '/srv/keys/a'".into(), "keys are nobody's to touch"),
    ] {
        let (failed, said) = stage.call("run_line", &line(&text)).await;
        assert!(failed && said.contains(why), "{text}: {said}");
    }
    let elsewhere = json!({"line": "ls", "host": "elsewhere"});
    let (failed, said) = stage.call("run_line", &elsewhere).await;
    assert!(failed && said.contains("by its `line` alone"), "{said}");
    assert_eq!(stage.ran("run_line"), 1);

    // A file goes away only with somebody's word, however the line is dressed up.
    let dressed = format!("ls {file} | cat; 'r'm -f {file}");
    let steps = json!([{"do": "call", "tool": "run_line", "arguments": line(&dressed)}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    let shown = stage.command(&["approvals", "show", &id]).await;
    let sentence = shown.pointer("/sentence").and_then(Value::as_str).unwrap();
    let wanted = format!("Delete “{file}” (rm) in a shell (prod). Asked of the tool “run_line” on shop.");
    assert!(sentence.ends_with(&wanted), "{sentence}");
    assert!(folder.join("old").exists());
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.last().unwrap()["error"], json!(false), "{said:?}");
    assert!(!folder.join("old").exists());

    // A reader is shown the tool for the lines it may have run.
    let reader = stage.gateway.agent("reader", "olga@example.com", "readers").await.unwrap();
    let said = stage.said(&reader, &json!([{"do": "tools"}])).await;
    assert_eq!(said.last().unwrap()["tools"], json!(["run_line", "approval_wait", "approval_status"]));
    let (failed, said) = stage.call_as(&reader, "run_line", &line("touch x")).await;
    assert!(failed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_objects_are_decided_on_by_what_they_are() {
    let mut stage = Stage::open_texts().await;
    let call = |verb: &str, manifest: Value| json!({"verb": verb, "manifest": manifest});
    let deployment = object("apps/v1/Deployment");
    let (failed, said) = stage.call("kube", &call("apply", json!(deployment))).await;
    assert_eq!((failed, said.as_str()), (false, "apply"));
    // The same as an object of JSON.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}});
    assert_eq!(stage.call("kube", &call("get", pod.clone())).await, (false, "get".into()));

    let privileged = "spec: {template: {spec: {containers: [{securityContext: {privileged: yes}}]}}}\n";
    for (verb, manifest, why) in [
        ("get", json!(object("v1/Secret")), "secrets stay in the cluster"),
        (
            "get",
            json!(format!("{}---\n{}", object("v1/Pod"), object("v1/Secret"))),
            "secrets stay in the cluster",
        ),
        ("apply", json!(format!("{deployment}{privileged}")), "access is changed by people"),
        ("apply", json!(object("rbac.authorization.k8s.io/v1/ClusterRole")), "access is changed by people"),
        ("get", json!(object("v1/secrets")), "nobody can say what it does"),
        ("get", json!(format!("{}kind: Secret\n", object("v1/Pod"))), "nobody can say what it does"),
        ("reap", pod.clone(), "nobody can say what it does"),
        ("get", json!(7), "give it as a text, an object or a list"),
    ] {
        let (failed, said) = stage.call("kube", &call(verb, manifest.clone())).await;
        assert!(failed && said.contains(why), "{verb} {manifest}: {said}");
    }
    assert_eq!(stage.ran("kube"), 2);

    let steps = json!([{"do": "call", "tool": "kube", "arguments": call("delete", json!(deployment))}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    let shown = stage.command(&["approvals", "show", &id]).await;
    let sentence = shown.pointer("/sentence").and_then(Value::as_str).unwrap();
    assert_eq!(
        sentence,
        "Delete Deployment “shop/web” in Kubernetes (prod). Asked of the tool “kube” on shop."
    );
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "delete"})), "{said:?}");
}
