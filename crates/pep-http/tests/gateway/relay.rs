//! Both sides of the relay, against a target whose every byte the test says.

use crate::{agent::Agent, stage::Stage};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const GET: &[u8] = b"GET /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n";

struct Script {
    listener: TcpListener,
    addr: SocketAddr,
}

struct Told {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Script {
    async fn open() -> (Self, Stage, Agent) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stage = Stage::with(|section| section["upstream"] = format!("http://{addr}").into()).await;
        let agent = stage.agent().await;
        (Self { listener, addr }, stage, agent)
    }

    async fn accept(&self) -> Told {
        Told { stream: self.listener.accept().await.unwrap().0, held: Vec::new() }
    }
}

impl Told {
    /// What arrived, up to and with this text.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.held.windows(text.len()).position(|found| found == text.as_bytes()) {
                return String::from_utf8(self.held.drain(..at + text.len()).collect()).unwrap();
            }
            assert!(self.stream.read_buf(&mut self.held).await.unwrap() > 0, "it ended before `{text}`");
        }
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_one_after_the_other() {
    let (script, _stage, mut agent) = Script::open().await;
    agent.say(&[GET, b"POST /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nContent-Length: 2\r\n\r\nhi", GET].concat()).await;
    let target = async {
        let mut told = script.accept().await;
        for body in ["", "hi", ""] {
            let head = told.until("\r\n\r\n").await;
            assert!(head.contains(&format!("host: {}\r\n", script.addr)), "{head}");
            if !body.is_empty() {
                told.until(body).await;
            }
            assert!(told.held.is_empty(), "nothing is sent ahead");
            told.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        }
    };
    let (answers, ()) =
        tokio::join!(async { [agent.answer().await, agent.answer().await, agent.answer().await] }, target);
    assert_eq!(answers.map(|answer| answer.text()), ["", "hi", ""]);
}

#[tokio::test]
async fn the_head_of_an_answer_is_the_targets_own_and_head_has_no_body() {
    let (script, _stage, mut agent) = Script::open().await;
    agent.say(b"HEAD /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n").await;
    let mut told = script.accept().await;
    told.until("\r\n\r\n").await;
    told.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Quite so\r\nSet-Cookie: a\r\nX: y\r\nSet-Cookie: b\r\nContent-Length: 9\r\n\r\n").await;
    agent.until("\r\n\r\n").await;
    agent.say(GET).await;
    told.until("\r\n\r\n").await;
    told.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    agent.until("0\r\n\r\n").await;
    agent.say(&[GET.strip_suffix(b"\r\n").unwrap(), b"Connection: close\r\n\r\n"].concat()).await;
    told.until("\r\n\r\n").await;
    told.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    let seen = String::from_utf8(agent.rest().await).unwrap();
    let date = seen.lines().find(|line| line.starts_with("date: ")).unwrap();
    let want = format!(
        "HTTP/1.1 200 Quite so\r\nSet-Cookie: a\r\nX: y\r\nSet-Cookie: b\r\nContent-Length: 9\r\n{date}\r\n\r\n\
         HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{date}\r\n\r\n2\r\nok\r\n0\r\n\r\n\
         HTTP/1.1 204 No Content\r\n{date}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(seen, want);
}

#[tokio::test]
async fn a_caller_of_http10_gets_an_answer_that_ends_with_the_connection() {
    let (script, _stage, mut agent) = Script::open().await;
    agent.say(b"GET /orders HTTP/1.0\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n").await;
    let mut told = script.accept().await;
    assert!(told.until("\r\n\r\n").await.starts_with("GET /orders HTTP/1.1\r\n"));
    told.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let seen = String::from_utf8(agent.rest().await).unwrap();
    assert!(seen.contains("connection: close\r\n\r\nok") && seen.ends_with("ok"), "{seen}");
}

#[tokio::test]
async fn an_answer_may_begin_before_the_request_has_ended() {
    let (script, stage, mut agent) = Script::open().await;
    let head = "POST /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nTransfer-Encoding: chunked\r\n\r\n";
    agent.say(format!("{head}3\r\none\r\n").as_bytes()).await;
    let mut told = script.accept().await;
    told.until("3\r\none\r\n").await;
    told.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    agent.until("first").await;
    agent.say(b"3\r\ntwo\r\n").await;
    told.until("3\r\ntwo\r\n").await;
    told.say("6\r\nsecond\r\n0\r\n\r\n").await;
    agent.say(b"0\r\n\r\n").await;
    told.until("0\r\n\r\n").await;
    agent.until("6\r\nsecond\r\n0\r\n\r\n").await;
    let results = stage.until("execution.result", 1).await;
    assert_eq!((&results[0]["outcome"], &results[0]["bytes_received"]), (&"done".into(), &11.into()));
}

#[tokio::test]
async fn a_request_that_is_refused_early_is_not_sent_to_its_end() {
    let (script, stage, mut agent) = Script::open().await;
    let head =
        "POST /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nContent-Length: 1000000\r\n\r\n";
    agent.say(format!("{head}only this").as_bytes()).await;
    let mut told = script.accept().await;
    told.until("only this").await;
    told.say("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
    let answer = agent.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    assert_eq!(answer.header("connection"), Some("close"), "what is left of the body is nobody's");
    assert!(agent.is_closed().await);
    assert_eq!(stage.until("execution.result", 1).await[0]["status"], "413");
    assert_eq!(told.stream.read(&mut [0; 8]).await.unwrap(), 0, "a half-used connection is not kept");
}

#[tokio::test]
async fn a_connection_closed_while_it_rested_is_replaced_before_anything_is_sent() {
    let (script, stage, mut agent) = Script::open().await;
    for _ in 0..3 {
        agent.say(GET).await;
        let mut told = script.accept().await;
        told.until("\r\n\r\n").await;
        told.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        // Closed before the caller can ask again, so that it is never in doubt.
        drop(told);
        assert_eq!(agent.answer().await.status, 200);
    }
    assert_eq!(stage.entries("execution.result").await.len(), 3);
}

#[tokio::test]
async fn a_body_is_asked_for_when_it_is_expected() {
    let (script, _stage, mut agent) = Script::open().await;
    agent.say(b"POST /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    agent.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    agent.say(b"hi").await;
    let mut told = script.accept().await;
    let head = told.until("\r\n\r\nhi").await;
    assert!(!head.contains("expect"), "{head}");
    told.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    agent.until("\r\n\r\nok").await;
}

#[tokio::test]
async fn a_caller_whose_body_breaks_off_is_named_in_the_record() {
    let (script, stage, mut agent) = Script::open().await;
    for body in ["5\r\nhel", "5\r\nhello0\r\n\r\n", "5\r\nhello\r\n0\r\nX: trailer\r\n\r\n"] {
        let head = "POST /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nTransfer-Encoding: chunked\r\n\r\n";
        agent.say(format!("{head}{body}").as_bytes()).await;
        let mut told = script.accept().await;
        told.until("\r\n\r\n").await;
        drop(std::mem::replace(&mut agent, stage.agent().await));
        let mut rest = Vec::new();
        told.stream.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the target must not take it for whole");
    }
    for result in stage.until("execution.result", 3).await {
        assert_eq!((&result["outcome"], &result["ended_by"]), (&"cancelled".into(), &"client".into()));
    }
}

#[tokio::test]
async fn a_caller_who_closes_its_side_has_left() {
    let (_script, stage, mut agent) = Script::open().await;
    let mut changes = stage.gate.changes();
    agent.say(b"DELETE /orders/7 HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n").await;
    let id = Stage::asked(&mut changes).await;
    agent.close_side().await;
    assert!(agent.rest().await.is_empty());
    let again = stage.agent().await.ask("DELETE /orders/7", "Prefer: respond-async\r\n", "").await;
    assert_eq!(again.json()["approval"], id.to_string(), "who left has only let go");
}
