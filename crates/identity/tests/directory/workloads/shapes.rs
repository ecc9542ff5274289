//! Tokens in the shapes that platforms give them: GitHub Actions, Kubernetes' projected service accounts, SPIFFE JWT-SVIDs. Claims as
//! the platforms document them, read with the rules the guide shows.

use super::{AUDIENCE, Stage, rule};
use countersign_engine::port::identity::NotAuthenticated as N;
use serde_json::{Value, json};

/// A platform's token, the rule for it, the agent it is, and changes of it that make it nobody's.
struct Shape {
    agent: &'static str,
    wanted: &'static [(&'static str, &'static str)],
    head: Value,
    claims: Value,
    is: &'static str,
    others: Vec<(&'static str, Value)>,
}

fn github() -> Shape {
    Shape {
        agent: "github/{repository}",
        wanted: &[("repository", "acme/shop"), ("ref", "refs/heads/main"), ("environment", "production")],
        head: json!({"typ": "JWT"}),
        claims: json!({
            "jti": "5d1f0c5a", "sub": "repo:acme/shop:environment:production", "aud": AUDIENCE,
            "ref": "refs/heads/main", "ref_type": "branch", "sha": "0f1e2d", "repository": "acme/shop",
            "repository_owner": "acme", "repository_id": "74", "repository_visibility": "private",
            "actor": "octo", "actor_id": "12", "workflow": "deploy", "event_name": "push", "run_id": "8",
            "run_attempt": "1", "environment": "production", "head_ref": "", "base_ref": "",
            "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
            "runner_environment": "github-hosted",
        }),
        is: "github/acme/shop",
        others: vec![
            ("/repository", json!("acme/shop2")),
            ("/repository", json!("evil/acme/shop")),
            ("/ref", json!("refs/heads/main2")),
            ("/ref", json!("refs/pull/1/merge")),
            ("/environment", Value::Null),
        ],
    }
}

fn kubernetes() -> Shape {
    Shape {
        agent: "k8s/{/kubernetes.io/namespace}:{/kubernetes.io/serviceaccount/name}",
        wanted: &[("/kubernetes.io/namespace", "shop"), ("/kubernetes.io/serviceaccount/name", "deploy")],
        // As the API server makes it: no `typ`.
        head: json!({}),
        claims: json!({
            "aud": [AUDIENCE], "jti": "c0ffee", "sub": "system:serviceaccount:shop:deploy",
            "kubernetes.io": {
                "namespace": "shop", "node": {"name": "n1", "uid": "1"}, "pod": {"name": "deploy-1", "uid": "2"},
                "serviceaccount": {"name": "deploy", "uid": "3"}, "warnafter": 1_795_226_000,
            },
        }),
        is: "k8s/shop:deploy",
        others: vec![
            ("/kubernetes.io/namespace", json!("shop-test")),
            ("/kubernetes.io/serviceaccount/name", json!("default")),
            ("/kubernetes.io/serviceaccount", json!("deploy")),
            ("/kubernetes.io/namespace", json!(["shop"])),
        ],
    }
}

fn spiffe() -> Shape {
    Shape {
        agent: "triage-bot",
        wanted: &[("sub", "spiffe://prod.example.com/ns/*/sa/triage")],
        head: json!({"typ": "JOSE"}),
        claims: json!({"aud": ["other", AUDIENCE], "sub": "spiffe://prod.example.com/ns/ops/sa/triage"}),
        is: "triage-bot",
        others: vec![
            ("/sub", json!("spiffe://prod.example.com.evil.test/ns/ops/sa/triage")),
            ("/sub", json!("spiffe://prod.example.com/ns/ops/x/sa/triage")),
            ("/sub", json!("spiffe://prod.example.com/ns/ops/sa/triage2")),
            ("/sub", json!("SPIFFE://prod.example.com/ns/ops/sa/triage")),
        ],
    }
}

#[tokio::test]
async fn tokens_of_known_platforms_are_the_agents_the_rules_say_and_no_other() {
    for shape in [github(), kubernetes(), spiffe()] {
        let stage = Stage::with(vec![rule(shape.agent, shape.wanted)]).await;
        let token = |claims: &Value| {
            let (mut head, mut claims) = (stage.head(), claims.clone());
            let head_members = head.as_object_mut().unwrap();
            head_members.remove("typ");
            head_members.extend(shape.head.as_object().unwrap().clone());
            let now = stage.seconds();
            for (name, value) in [("iat", now), ("nbf", now), ("exp", now + 600)] {
                claims[name] = value.into();
            }
            claims["iss"] = stage.issuer.url().into();
            stage.key.token(&head, &claims).unwrap()
        };
        let caller = stage.caller(&token(&shape.claims)).await.unwrap();
        assert_eq!(caller.name, shape.is);
        for (at, value) in &shape.others {
            let mut claims = shape.claims.clone();
            *claims.pointer_mut(at).unwrap() = value.clone();
            let refused = stage.caller(&token(&claims)).await;
            assert!(matches!(refused, Err(N::NotTrusted(_))), "{} with {at} {value}: {refused:?}", shape.is);
        }
        let mut elsewhere = shape.claims.clone();
        elsewhere["aud"] = json!("https://other.example.com");
        assert!(stage.caller(&token(&elsewhere)).await.is_err(), "{}", shape.is);
    }
}
