//! A ticket approved beforehand, through the real binary: an agent is told what one has to say, somebody approves it in Jira, and the same
//! request runs once.

use super::{COMES_WITHIN, Stage};
use countersign_demo::person::Person;
use countersign_e2e::{
    client::{Seen, curl},
    night,
};
use countersign_testkit::jira::{Jira, PROJECT, TOKEN, USER, document};
use serde_json::{Value, json};

const ANA: &str = "557058:ana";

fn section(jira: &Jira) -> String {
    format!(
        "[[channel]]\nname = \"dba\"\nkind = \"jira\"\nsite = \"{}\"\nuser = \"{USER}\"\ntoken_from = \"file:jira\"\n\
         project = \"{PROJECT}\"\npreapproves = true\npreapproved_types = [\"Change\"]\n",
        jira.site()
    )
}

/// Tunes a table, naming these tickets.
async fn tune(stage: &Stage, table: &str, tickets: &[&str]) -> Seen {
    let mut arguments = vec!["-X".to_owned(), "PATCH".into(), "-H".into()];
    arguments.push(format!("Authorization: Bearer {}", stage.token));
    arguments.extend(["-H".into(), "Prefer: respond-async".into()]);
    for ticket in tickets {
        arguments.extend(["-H".into(), format!("Countersign-Ticket: {ticket}")]);
    }
    arguments.push(format!("{}/tables/{table}", stage.gateway.url));
    curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap()
}

/// Asks what became of it until a ticket stands as it should.
async fn named(stage: &Stage, location: &str, state: &str) -> Value {
    let bearer = format!("Authorization: Bearer {}", stage.token);
    let url = format!("{}{location}", stage.gateway.url);
    let found = async {
        loop {
            let seen = curl(&["-H", &bearer, &url]).await.unwrap();
            let told: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            if told["named"][0]["state"] == state {
                return told;
            }
        }
    };
    tokio::time::timeout(COMES_WITHIN, found).await.unwrap_or_else(|_| panic!("it never was `{state}`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_names_a_ticket_that_somebody_approved_and_it_runs_once() {
    let jira = Jira::start().await.unwrap();
    let stage = Stage::open(&section(&jira)).await;
    let link = stage.gateway.invite("ana@example.com", "dba").await.unwrap();
    let ana = Person::open(&stage.gateway.console_url, &link).await.unwrap();

    // What waits says what a ticket would have to say.
    let seen = tune(&stage, "logs", &[]).await;
    let told: Value = serde_json::from_slice(&seen.body).unwrap();
    let (scope, id) = (told["scope"].as_str().unwrap(), told["approval"].as_str().unwrap());
    assert!(scope.starts_with("countersign scope 1\nrequester: agt_"), "{scope}");
    let key = jira.file("557058:night", "Change", document::with_code("Please tune it.", scope));
    jira.transit(ANA, &key, "Approved", Some("go ahead")).unwrap();

    // Nobody knows yet whose word that is: they are written to, alone.
    let location = seen.header("location").unwrap().to_owned();
    assert_eq!(tune(&stage, "logs", &[&key]).await.status, 202);
    let told = named(&stage, &location, "failed").await;
    assert_eq!(told["named"][0]["check"], "approver", "{told}");
    assert_eq!(told["named"][0]["ticket"], key.as_str());
    assert!(
        told["detail"].as_str().unwrap().contains(&format!("The ticket `{key}` does not count")),
        "{told}"
    );
    let written = async {
        while jira.mails().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(COMES_WITHIN, written).await.unwrap();
    let (to, mail) = jira.mails().remove(0);
    assert_eq!(to, ANA);
    let code = mail.split_once("/bind#").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let bound = ana.write("bindings", &json!({"code": code})).await.unwrap();
    assert_eq!(bound.status, 201, "{}", bound.json());
    // Reviewers read the same, what is claimed apart from what is computed.
    let page = ana.approval(id).await.unwrap();
    assert_eq!(page["named_tickets"][0]["claimed"], key.as_str());
    assert_eq!(page["named_tickets"][0]["check"], "approver");
    let html = ana.page(&format!("/approvals/{id}")).await.unwrap();
    let html = String::from_utf8(html.body).unwrap();
    assert!(
        html.contains("does not count</strong>: nobody here") && html.contains("It names the ticket"),
        "{html}"
    );

    // Their word from before counts for nothing. Given anew and named again, it is the vote that was asked for; the same request
    // attaches.
    for status in ["Waiting", "Approved"] {
        jira.transit(ANA, &key, status, None).unwrap();
    }
    let ran = async {
        while ana.approval(id).await.unwrap()["state"] != "done" {
            tune(&stage, "logs", &[&key]).await;
        }
    };
    tokio::time::timeout(COMES_WITHIN, ran).await.unwrap();

    // For other bytes it does not count, and what is no key is looked up nowhere.
    for (at, (ticket, check)) in
        [(&*key, "scope"), ("../../myself", "name"), ("OPS-1?x", "name"), ("HR-1", "policy")]
            .into_iter()
            .enumerate()
    {
        let seen = tune(&stage, &format!("t{at}"), &[ticket]).await;
        assert_eq!(seen.status, 202, "{ticket}");
        let told = named(&stage, seen.header("location").unwrap(), "failed").await;
        assert_eq!(told["named"][0]["check"], check, "{ticket}: {told}");
    }
    assert_eq!(tune(&stage, "both", &[&key, "OPS-2"]).await.status, 400);
    let odd =
        |call: &(String, u16)| call.0.contains("..") || call.0.contains("myself?") || call.0.contains("HR-1");
    assert!(!jira.calls().iter().any(odd), "{:?}", jira.calls());

    let got = stage.target.got();
    assert_eq!(got.len(), 1, "it ran once");
    assert!(got[0].headers.keys().all(|name| !name.starts_with("countersign")), "{:?}", got[0].headers);
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count("approval.voted"), count("execution.result")), (1, 1));
    assert!(count("approval.ticket_refused") >= 5);
    let log = stage.gateway.log();
    assert!(!log.contains(TOKEN) && !log.contains(&code) && !log.contains("go ahead"), "{log}");
}
