//! The gateway from end to end: raw connections in front, the real engine and store inside, a target behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::indexing_slicing, reason = "a test that misses what it asks for has failed")]

mod agent;
mod bodies;
mod cloud;
mod relay;
mod stage;
mod upgrade;

use countersign_core::ApprovalId;
use stage::{SECRET, Stage};

fn approval(answer: &agent::Answer) -> ApprovalId {
    answer.json()["approval"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_permitted_request_goes_through_with_the_configured_credential_alone() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let more = "Cookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nImpersonate-User: root\r\nX-Mine: kept\r\n";
    let answer = agent.ask("POST /orders?a=1", more, "{\"n\":1}").await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "ok"));
    assert_eq!(answer.header("x-shop"), Some("yes"));
    let again = agent.ask("GET /orders", "", "").await;
    assert_eq!(again.status, 201, "the connection goes on");
    let arrived = stage.cloud.arrived();
    assert_eq!(arrived.len(), 2);
    let head = arrived[0].head.to_lowercase();
    assert!(head.starts_with("post /orders?a=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {SECRET}\r\n")), "{head}");
    assert!(head.contains("x-mine: kept"), "{head}");
    for gone in ["cookie", "x-forwarded-for", "impersonate", "bearer bot"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert_eq!(arrived[0].body, "{\"n\":1}");
    let results = stage.entries("execution.result").await;
    assert_eq!(results.len(), 2, "the end is recorded before the caller has the whole answer");
    assert_eq!(results[0]["status"], "201");
    assert_eq!(results[0]["outcome"], "done");
    assert_eq!(stage.entries("execution.authorized").await[0]["body_bound"], false);
}

#[tokio::test]
async fn a_head_with_bare_line_feeds_is_refused_at_once_and_a_hostile_name_is_written_out() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    // It would never end as a head must; nobody waits for that.
    agent.say(b"GET /orders HTTP/1.1\nHost: shop\n\n").await;
    let answer = agent.answer().await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &"malformed".into()));
    assert!(agent.is_closed().await);
    let twice = "{\"a\u{202e}\":1,\"a\u{202e}\":2}";
    let answer = stage.agent().await.ask("POST /orders:find", "", twice).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("⟨U+202E⟩") && !answer.text().contains('\u{202e}'), "{}", answer.text());
}

#[tokio::test]
async fn a_wall_refuses_with_a_problem_and_nothing_reaches_the_target() {
    let stage = Stage::set().await;
    let answer = stage.agent().await.ask("POST /admins", "", "{}").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!((&problem["code"], &problem["what_to_do"]), (&"wall".into(), &"stop".into()));
    assert_eq!(problem["policies"], serde_json::json!(["wall"]));
    assert!(stage.cloud.arrived().is_empty());
}

#[tokio::test]
async fn a_held_request_is_answered_when_somebody_approves() {
    let stage = Stage::set().await;
    let mut changes = stage.gate.changes();
    let mut agent = stage.agent().await;
    let (answer, ()) = tokio::join!(agent.ask("DELETE /orders/7", "", ""), async {
        let id = Stage::asked(&mut changes).await;
        assert!(stage.cloud.arrived().is_empty(), "nothing runs before somebody approves");
        stage.approve(id).await;
    });
    assert_eq!((answer.status, answer.text().as_str()), (200, "gone"));
    assert_eq!(answer.header("x-shop"), Some("yes"));
    assert_eq!(stage.cloud.arrived().len(), 1);
    assert_eq!(stage.until("result.delivered", 1).await.len(), 1);
}

#[tokio::test]
async fn a_caller_who_does_not_wait_gets_a_handle_and_later_the_answer_once() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let held = agent.ask("DELETE /orders/7", "Prefer: respond-async\r\n", "").await;
    assert_eq!(held.status, 202, "{}", held.text());
    assert_eq!(held.header("preference-applied"), Some("respond-async"));
    assert!(held.header("retry-after").is_some());
    let ticket = held.json();
    assert_eq!((&ticket["what_to_do"], &ticket["state"]), (&"wait".into(), &"pending".into()));
    assert_eq!(ticket["sentence"], "Delete order “7” of shop (prod).");
    let (id, location) = (approval(&held), held.header("location").unwrap().to_owned());

    let repeated = agent.ask("DELETE /orders/7", "Prefer: respond-async\r\nX-Request-Id: 2\r\n", "").await;
    assert_eq!(approval(&repeated), id, "an identical request attaches");
    let different = agent.ask("DELETE /orders/8", "Prefer: respond-async\r\n", "").await;
    assert_ne!(approval(&different), id, "a changed byte is a new action");
    assert_eq!(
        agent.ask_as("other", &format!("GET {location}"), "", "").await.status,
        404,
        "strangers learn nothing"
    );
    assert_eq!(agent.ask(&format!("GET {location}"), "", "").await.status, 202);
    assert!(stage.cloud.arrived().is_empty());

    stage.approve(id).await;
    stage.until("execution.result", 1).await;
    let kept = agent.ask(&format!("GET {location}"), "", "").await;
    assert_eq!((kept.status, kept.text().as_str()), (200, "gone"));
    assert_eq!(kept.header("x-shop"), Some("yes"));
    stage.until("result.delivered", 1).await;
    let spent = agent.ask(&format!("GET {location}"), "", "").await;
    assert_eq!((spent.status, &spent.json()["code"]), (409, &"spent".into()));
    assert_eq!(stage.cloud.arrived().len(), 1, "it ran once, and asking never runs anything");
}

#[tokio::test]
async fn who_asks_for_the_answer_may_stay_until_it_is_there() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let held = agent.ask("DELETE /orders/7", "Prefer: respond-async\r\n", "").await;
    let (id, location) = (approval(&held), held.header("location").unwrap().to_owned());
    let asking = format!("GET {location}");
    let (answer, ()) = tokio::join!(agent.ask(&asking, "Prefer: wait=30\r\n", ""), stage.approve(id));
    assert_eq!((answer.status, answer.text().as_str()), (200, "gone"));
    assert_eq!(stage.cloud.arrived().len(), 1);
}

#[tokio::test]
async fn a_request_can_be_taken_back_by_its_caller_alone() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let held = agent.ask("DELETE /orders/7", "Prefer: respond-async\r\n", "").await;
    let location = held.header("location").unwrap().to_owned();
    assert_eq!(agent.ask_as("other", &format!("DELETE {location}"), "", "").await.status, 404);
    assert_eq!(agent.ask(&format!("DELETE {location}"), "", "").await.status, 204);
    let after = agent.ask(&format!("GET {location}"), "", "").await;
    assert_eq!((after.status, &after.json()["code"]), (403, &"withdrawn".into()));
    assert_eq!(agent.ask(&format!("POST {location}"), "", "").await.status, 405);
    assert_eq!(agent.ask("GET /.well-known/countersign/anything", "", "").await.status, 404);
    assert!(stage.cloud.arrived().is_empty());
}

#[tokio::test]
async fn a_reviewed_body_is_whole_and_part_of_what_was_approved() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let prefer = "Prefer: respond-async\r\n";
    let one = agent.ask("POST /orders:drop", prefer, r#"{"filter":"a*"}"#).await;
    assert_eq!(one.json()["sentence"], "Delete all orders like “a*” (prod).");
    let two = agent.ask("POST /orders:drop", prefer, r#"{"filter":"*"}"#).await;
    assert_ne!(approval(&one), approval(&two));
    for bad in [r#"{"filter":"a","filter":"*"}"#, r#"{"Filter":"*"}"#, "filter=*", "{\"filter\":\"\u{0}\"}"] {
        let refused = agent.ask("POST /orders:drop", prefer, bad).await;
        assert_eq!(refused.status, 400, "{bad}");
        agent = stage.agent().await;
    }
    let large =
        agent.ask("POST /orders:drop", prefer, &format!("{{\"filter\":\"{}\"}}", "x".repeat(5000))).await;
    assert_eq!(large.status, 413);
    stage.approve(approval(&one)).await;
    stage.until("execution.result", 1).await;
    assert_eq!(stage.cloud.arrived()[0].body, r#"{"filter":"a*"}"#);
}

#[tokio::test]
async fn callers_without_a_good_credential_stay_outside() {
    let stage = Stage::set().await;
    for header in [
        "",
        "Authorization: Bearer nobody\r\n",
        "Authorization: Basic Ym90\r\n",
        "Cookie: token=bot\r\n",
        "Authorization: Bearer bot\r\nAuthorization: Bearer bot\r\n",
    ] {
        let mut agent = stage.agent().await;
        agent.say(format!("GET /orders HTTP/1.1\r\nHost: shop\r\n{header}\r\n").as_bytes()).await;
        let answer = agent.answer().await;
        assert_eq!(answer.status, 401, "{header}");
        assert!(answer.header("www-authenticate").is_some());
    }
    assert!(stage.cloud.arrived().is_empty());
    assert!(!stage.entries("intake.refused").await.is_empty());
}

#[tokio::test]
#[rustfmt::skip]
async fn request_smuggling_and_path_tricks_never_reach_the_target() {
    let stage = Stage::set().await;
    for (status, bytes) in [
        (400, "POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST /orders HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
        (400, "POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        (400, "POST /orders HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, "GET /orders HTTP/1.1\r\nHost: shop\r\nX: a\r\n b\r\n\r\n"),
        (400, "GET /orders HTTP/1.1\nHost: shop\n\r\n\r\n"),
        (400, "GET http://shop/orders HTTP/1.1\r\nHost: shop\r\n\r\n"),
        (400, "CONNECT shop:80 HTTP/1.1\r\nHost: shop\r\n\r\n"),
        (400, "TRACE /orders HTTP/1.1\r\nHost: shop\r\n\r\n"),
        (400, "GET /orders HTTP/1.1\r\nHost: shop\r\nHost: other\r\n\r\n"),
        (400, "GET /orders HTTP/1.1\r\n\r\n"),
        (400, "COUNTERSIGN-REFUSED-HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n"),
        (400, "GET /a/../orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n"),
        (400, "GET /a%2Forders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n"),
        (400, "GET /a%252Forders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n"),
        (400, "GET //orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n"),
        (400, "GET /orders;a=b HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n"),
        (400, "GET /orders?_method=DELETE HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n"),
        (400, "GET /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nX-HTTP-Method-Override: DELETE\r\n\r\n"),
        (400, "GET /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        (417, "GET /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nExpect: magic\r\n\r\n"),
    ] {
        let mut agent = stage.agent().await;
        agent.say(bytes.as_bytes()).await;
        let answer = agent.answer().await;
        assert_eq!(answer.status, status, "{bytes:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{bytes:?}");
        assert!(agent.is_closed().await, "{bytes:?}");
    }
    assert!(stage.cloud.arrived().is_empty());
}

#[tokio::test]
async fn a_second_request_hidden_in_a_body_is_only_a_body() {
    let stage = Stage::set().await;
    let hidden = "DELETE /orders/1 HTTP/1.1\r\nHost: shop\r\n\r\n";
    let answer = stage.agent().await.ask("POST /orders", "", hidden).await;
    assert_eq!(answer.status, 201);
    assert_eq!(stage.cloud.arrived().len(), 1);
    assert_eq!(stage.cloud.arrived()[0].body, hidden);
}

#[tokio::test]
async fn bodies_stream_both_ways_byte_for_byte() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let head = "POST /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nTransfer-Encoding: chunked\r\n\r\n";
    agent.say(head.as_bytes()).await;
    for _ in 0..50 {
        agent.say(format!("3e8\r\n{}\r\n", "y".repeat(1000)).as_bytes()).await;
    }
    agent.say(b"0\r\n\r\n").await;
    assert_eq!(agent.answer().await.status, 201);
    assert_eq!(stage.cloud.arrived()[0].body.len(), 50_000, "larger than what is ever buffered");
    let big = agent.ask("GET /export", "", "").await;
    assert_eq!((big.status, big.body.len()), (200, 300_000));
    assert!(big.body.iter().all(|byte| *byte == b'x'));
    assert_eq!(big.header("x-kept"), Some("as it is"));
    let results = stage.entries("execution.result").await;
    assert_eq!(results[1]["bytes_received"], 300_000);
    assert!(results[0]["bytes_sent"].as_u64().unwrap() > 50_000);
}

#[tokio::test]
async fn an_answer_streams_while_it_is_made_and_ends_after_its_record() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    agent.say(b"GET /slow HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n").await;
    agent.until("first").await;
    assert!(stage.entries("execution.result").await.is_empty());
    stage.cloud.pace.add_permits(1);
    agent.until("0\r\n\r\n").await;
    assert_eq!(stage.entries("execution.result").await.len(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_is_named_in_the_record() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    agent.say(b"GET /slow HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n").await;
    agent.until("first").await;
    drop(agent);
    stage.cloud.pace.add_permits(1);
    let result = stage.until("execution.result", 1).await[0].clone();
    assert_eq!((&result["outcome"], &result["ended_by"]), (&"cancelled".into(), &"client".into()));
}

#[tokio::test]
async fn a_target_that_breaks_off_leaves_an_unknown_outcome_and_is_not_asked_again() {
    let stage = Stage::set().await;
    for path in ["/mute", "/cut"] {
        let before = stage.cloud.arrived().len();
        let mut agent = stage.agent().await;
        let answer = agent.ask(&format!("POST {path}"), "", "{}").await;
        assert_eq!(answer.status, 409, "{path}: {}", answer.head);
        assert_eq!(stage.cloud.arrived().len(), before + 1, "{path}: sent once");
    }
    assert_eq!(stage.until("execution.outcome_unknown", 2).await.len(), 2);
    let away = stage.agent().await.ask("GET /away", "", "").await;
    assert_eq!(away.status, 302, "redirects are the caller's to follow, never ours");
}

#[tokio::test]
async fn a_target_that_is_not_there_costs_nothing() {
    // Bound and not listening: nobody else gets the port, and nobody is there.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = taken.local_addr().unwrap();
    let stage = Stage::with(|section| section["upstream"] = format!("http://{closed}").into()).await;
    let answer = stage.agent().await.ask("GET /orders", "", "").await;
    assert_eq!((answer.status, &answer.json()["what_to_do"]), (502, &"repeat".into()));
    assert!(stage.entries("execution.authorized").await.is_empty());
}

#[tokio::test]
async fn an_upgrade_is_an_action_of_its_own_where_the_target_takes_any() {
    let stage = Stage::with(|section| section["upgrades"] = "action".into()).await;
    let mut agent = stage.agent().await;
    agent
        .say(b"GET /socket HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let answer = agent.answer().await;
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("echo")));
    agent.say(b"hello there").await;
    agent.until("hello there").await;
    assert_eq!(stage.entries("execution.authorized").await[0]["asked"]["class"], "connect");
    drop(agent);
    assert_eq!(stage.until("execution.result", 1).await[0]["status"], "101");
}

#[tokio::test]
async fn a_planted_secret_is_in_no_answer_and_in_nothing_stored() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    agent.say(b"POST /admins HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n").await;
    let mut said = agent.answer().await.body;
    agent
        .say(b"GET /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nConnection: close\r\n\r\n")
        .await;
    said.extend(agent.rest().await);
    let everything = [said, stage.files()].concat();
    for planted in [SECRET, "Bearer bot"] {
        assert!(!everything.windows(planted.len()).any(|found| found == planted.as_bytes()), "{planted}");
    }
}

#[tokio::test]
async fn http2_is_held_to_the_same_rules() {
    let stage = Stage::set().await;
    let stream = tokio::net::TcpStream::connect(stage.addr).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for (method, path, host, more, want) in [
        ("GET", "/orders", "shop", None, 201),
        ("POST", "/admins", "shop", None, 403),
        ("GET", "/orders", "other", None, 400),
        ("GET", "/a/../orders", "shop", None, 400),
        ("GET", "/orders", "shop", Some(("x-http-method-override", "DELETE")), 400),
        ("TRACE", "/orders", "shop", None, 405),
    ] {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://shop{path}"))
            .header("host", host)
            .header("authorization", "Bearer bot");
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), want, "{method} {path} {host}");
    }
    assert_eq!(stage.cloud.arrived().len(), 1);
}

#[tokio::test]
async fn a_listener_answers_only_to_its_targets_hosts() {
    let stage = Stage::with(|section| section["hosts"] = serde_json::json!(["Shop.example"])).await;
    let mut agent = stage.agent().await;
    agent.say(b"GET /orders HTTP/1.1\r\nHost: shop.example:80\r\nAuthorization: Bearer bot\r\n\r\n").await;
    assert_eq!(agent.answer().await.status, 201);
    assert_eq!(agent.ask("GET /orders", "", "").await.status, 421);
    assert_eq!(stage.cloud.arrived().len(), 1);
}

#[tokio::test]
async fn a_slow_loris_is_shown_the_door() {
    let stage = Stage::with(|section| section["limits"] = serde_json::json!({"request_head": "1s"})).await;
    for part in ["", "GET", "GET /orders HTTP/1.1\r\nHost: sh"] {
        let mut agent = stage.agent().await;
        agent.say(part.as_bytes()).await;
        assert!(agent.is_closed().await, "{part:?}");
    }
    let mut agent = stage.agent().await;
    agent.say(b"POST /orders:drop HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nContent-Length: 9\r\n\r\n{").await;
    assert_eq!(agent.answer().await.status, 400, "a body that has to be read first does not take for ever");
    assert!(stage.cloud.arrived().is_empty());
}

#[tokio::test]
async fn an_idempotency_key_tells_intended_repetitions_apart() {
    let stage = Stage::set().await;
    let mut agent = stage.agent().await;
    let mut held = Vec::new();
    for key in ["one", "two", "one"] {
        let more = format!("Prefer: respond-async\r\nIdempotency-Key: {key}\r\n");
        held.push(approval(&agent.ask("DELETE /orders/7", &more, "").await));
    }
    assert_ne!(held[0], held[1]);
    assert_eq!(held[0], held[2]);
}
