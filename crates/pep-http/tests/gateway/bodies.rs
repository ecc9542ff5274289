//! Bodies that are read before deciding, larger than what stays in memory.

use crate::{agent::Agent, stage::Stage};
use countersign_pep::Size;
use countersign_pep_http::bodies::BodiesSection;

fn tight() -> BodiesSection {
    BodiesSection { in_memory: Size(4 << 10), memory: Size(2 << 20), disk: Size(512 << 10) }
}

async fn set() -> Stage {
    Stage::roomy(|section| section["body_limit"] = (128 << 10).into(), &tight()).await
}

fn body(length: usize) -> String {
    let text = format!("{{\"filter\":\"x\",\"more\":\"{}\"}}", "ü".repeat(length / 2));
    assert!(text.len() >= length);
    text
}

/// The lengths of the files of the data folder that are open and have no name.
fn nameless(stage: &Stage) -> Vec<u64> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let length = |file: std::fs::DirEntry| {
        let link = std::fs::read_link(file.path()).ok()?;
        let ours = link.starts_with(stage.path()) && link.to_string_lossy().ends_with("(deleted)");
        std::fs::metadata(file.path()).ok().filter(|_| ours).map(|found| found.len())
    };
    open.filter_map(|file| length(file.ok()?)).collect()
}

#[tokio::test]
async fn what_policy_permits_is_sent_from_its_file_byte_for_byte() {
    let stage = set().await;
    let mut agent = stage.agent().await;
    for length in [10, 4 << 10, (4 << 10) + 1, 100_000] {
        let body = body(length);
        let answer = agent.ask("POST /orders:find", "", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let arrived = stage.cloud.arrived().pop().unwrap();
        assert_eq!(arrived.body, body);
        assert!(arrived.head.to_lowercase().contains(&format!("content-length: {}\r\n", body.len())));
    }
    let authorized = stage.entries("execution.authorized").await;
    assert!(authorized.iter().all(|entry| entry["body_bound"] == true), "{authorized:?}");
    let results = stage.entries("execution.result").await;
    assert!(results[3]["bytes_sent"].as_u64().unwrap() > 100_000, "{results:?}");
    // The ledger has the exact body, as before.
    let stored = stage.gate.store().entries(countersign_engine::port::store::FindEntries {
        kind: Some("execution.authorized".into()),
        limit: 1,
        ..Default::default()
    });
    let stored = stored.await.unwrap();
    let kept = stored[0].private.iter().find(|value| value.path == "request_body").unwrap();
    assert_eq!(kept.value, body(100_000));
    while !nameless(&stage).is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_held_runs_exactly_as_it_came_and_keeps_no_file() {
    let stage = set().await;
    let mut changes = stage.gate.changes();
    let body = body(60_000);
    let mut agent = stage.agent().await;
    let (answer, ()) = tokio::join!(agent.ask("POST /orders:drop", "", &body), async {
        let id = Stage::asked(&mut changes).await;
        assert!(nameless(&stage).is_empty(), "what waits is in the store");
        stage.approve(id).await;
    });
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(stage.cloud.arrived()[0].body, body);
}

#[tokio::test]
async fn bodies_that_find_no_room_are_refused_and_the_others_are_not_touched() {
    let stage = set().await;
    let body = body(100_000);
    let (first, last) = body.split_at(90_000);
    let mut slow: Vec<Agent> = Vec::new();
    for _ in 0..5 {
        let mut agent = stage.agent().await;
        let head = format!(
            "POST /orders:find HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        agent.say(head.as_bytes()).await;
        agent.say(first.as_bytes()).await;
        slow.push(agent);
        while nameless(&stage).iter().sum::<u64>() < 90_000 * slow.len() as u64 {
            tokio::task::yield_now().await;
        }
    }
    // Five times 90 000 bytes are there; a sixth whole one has no room.
    let refused = stage.agent().await.ask("POST /orders:find", "", &body).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let problem = refused.json();
    assert_eq!((&problem["code"], &problem["what_to_do"]), (&"no-room".into(), &"repeat".into()));
    assert!(refused.header("retry-after").is_some());
    assert!(stage.cloud.arrived().is_empty());
    for mut agent in slow {
        agent.say(last.as_bytes()).await;
        let answer = agent.answer().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert!(stage.cloud.arrived().iter().all(|arrived| arrived.body == body));
    let again = stage.agent().await.ask("POST /orders:find", "", &body).await;
    assert_eq!(again.status, 201, "there is room again: {}", again.text());
    let too_large = stage.agent().await.ask("POST /orders:find", "", &"x".repeat((128 << 10) + 1)).await;
    assert_eq!((too_large.status, &too_large.json()["code"]), (413, &"too-large".into()));
}
