//! Clients and servers that mean no good: what is too large, comes at the wrong moment, guesses, or asks for what nobody
//! should give.

use crate::{
    guarded::{bound, kinds, runs},
    stage::{SECRET, Stage, finished},
    strict::{contains, login, message, packet, said},
};
use countersign_testkit::{pgclient::PgClient, postgres::Options};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_large_to_be_decided_on_is_let_go_and_its_session_is_not() {
    let options = Options::default();
    let stage = Stage::with(&options, |section| section["limits"] = json!({"message": "64KiB"}));
    let stage = stage.await;
    let (mut stream, _) = login(&stage, &[]).await;
    let large = format!("select '{}'; delete from orders\0", "x".repeat(1 << 20));
    stream.write_all(&message(b'Q', large.as_bytes())).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "C54000") && contains(&told, "Hsend less at once") && told.ends_with(b"I"));
    // In a pipeline the rest is let go with it; what is too large together is, too.
    let sync = message(b'S', b"");
    let parse = message(b'P', format!("\0{large}\0\0").as_bytes());
    stream.write_all(&[parse, runs("delete from orders"), sync.clone()].concat()).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "E54000ZI");
    let many = bound("", &format!("select '{}'", "x".repeat(20_000))).repeat(4);
    stream.write_all(&[many, runs("delete from orders"), sync].concat()).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "E54000ZI");
    stream.write_all(&message(b'Q', b"select 7\0")).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "TDCZI");
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_a_statement_waits_is_another_action() {
    let stage = Stage::set().await;
    let mut client = PgClient::connect(stage.addr, "bot", "bot-token", "shop").await.unwrap();
    client.ask("delete from orders where id = 1").await.unwrap();
    let first = stage.held().await;
    client.ask("delete from orders").await.unwrap();
    stage.approve(1, first).await;
    stage.approve(2, first).await;
    let answer = client.until_ready().await.unwrap();
    assert!(answer.iter().any(|(tag, body)| *tag == b'C' && body == b"DELETE 1\0"), "{answer:?}");
    let second = stage.held().await;
    assert_ne!(second, first);
    assert_eq!(stage.direct("select count(*) from orders"), "99");
    stage.reject(1, second, "one was enough").await;
    let answer = client.until_ready().await.unwrap();
    assert_eq!(countersign_testkit::pgclient::sqlstate(&answer).as_deref(), Some("ZC006"));
    assert_eq!(stage.direct("select count(*) from orders"), "99");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_a_key_cancels_nothing_and_learns_nothing() {
    let stage = Stage::set().await;
    let (mut stream, opened) = login(&stage, &[]).await;
    let at = opened.windows(5).position(|five| five == b"K\0\0\0\x0c").unwrap();
    let key = opened[at + 5..at + 13].to_vec();
    stream.write_all(&message(b'Q', b"delete from orders\0")).await.unwrap();
    let id = stage.held().await;
    let mut guesses: Vec<Vec<u8>> =
        (0..8).map(|at| key.iter().enumerate().map(|(n, byte)| byte ^ u8::from(n == at)).collect()).collect();
    guesses.extend([key[..4].to_vec(), [&key[..], &[0]].concat(), Vec::new(), vec![0; 256]]);
    for guess in guesses {
        let mut other = TcpStream::connect(stage.addr).await.unwrap();
        let length = u32::try_from(8 + guess.len()).unwrap().to_be_bytes();
        other.write_all(&[&length[..], &80_877_102_u32.to_be_bytes(), &guess].concat()).await.unwrap();
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0, "{guess:?}");
    }
    assert_eq!(stage.in_state("pending", 1).await, [id]);
    // The key itself does, and is answered alike.
    let mut other = TcpStream::connect(stage.addr).await.unwrap();
    other.write_all(&[&[0, 0, 0, 16, 4, 210, 22, 46], &key[..]].concat()).await.unwrap();
    assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(stage.in_state("withdrawn", 1).await, [id]);
    assert_eq!(kinds(&said(&mut stream).await), "NE57014ZI");
}

/// What stands in clear text behind a request for TLS was put there by somebody else (CVE-2021-23214).
#[tokio::test(flavor = "multi_thread")]
async fn clear_text_behind_a_request_for_tls_is_never_read() {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("tls.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let options = Options::default();
    let stage = Stage::with(&options, |section| {
        section["listener_tls"] = json!({"certificate": path("tls.pem"), "key": path("tls.key")});
    });
    let stage = stage.await;
    let mut stream = TcpStream::connect(stage.addr).await.unwrap();
    let open = packet(196_608, &[("user", "bot"), ("database", "shop")]);
    stream.write_all(&[packet(80_877_103, &[]), open, message(b'p', b"bot-token\0")].concat()).await.unwrap();
    let mut told = Vec::new();
    // It may be cut off before all of it was read.
    let _ = stream.read_to_end(&mut told).await;
    assert!(told.starts_with(b"S") && !contains(&told, "R\0\0\0\x08"), "{told:?}");
    // TLS from the first byte on, for another protocol or for none, opens nothing either.
    let mut web = TcpStream::connect(stage.addr).await.unwrap();
    web.write_all(b"\x16\x03\x01\0\x05\x01\0\0\x01\0").await.unwrap();
    let mut told = Vec::new();
    let _ = web.read_to_end(&mut told).await;
    assert!(!contains(&told, "R\0\0\0\x08"), "{told:?}");
}

/// What an impostor says behind the start-up packet, and what it was told then.
type Talk = Arc<Mutex<(&'static [u8], Vec<u8>)>>;

/// A server that somebody put in the database's place.
async fn impostor() -> (SocketAddr, Talk) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (addr, talk) = (listener.local_addr().unwrap(), Talk::default());
    let shared = Arc::clone(&talk);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 4096];
            let _ = stream.read(&mut first).await;
            let mut talk = shared.lock().await;
            let _ = stream.write_all(talk.0).await;
            // Until the gateway gives up.
            let _ = stream.read_to_end(&mut talk.1).await;
        }
    });
    (addr, talk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_the_password_itself_does_not_get_it() {
    let (addr, talk) = impostor().await;
    let stage = Stage::with(&Options::default(), |section| {
        section["upstream"] = addr.to_string().into();
        section["limits"] = json!({"connect": "2s"});
    })
    .await;
    for says in [
        // In clear text; as MD5; by GSSAPI; by SASL in a way nobody knows; everything already proven.
        b"R\0\0\0\x08\0\0\0\x03".as_slice(),
        b"R\0\0\0\x0c\0\0\0\x05salt",
        b"R\0\0\0\x08\0\0\0\x07",
        b"R\0\0\0\x10\0\0\0\x0aPLAIN\0\0",
        b"R\0\0\0\x08\0\0\0\x0c",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        *talk.lock().await = (says, Vec::new());
        let mut command = stage.psql();
        command.args(["-c", "select 1"]);
        let said = finished(command).await;
        assert!(!said.fine && said.err.contains("could not be logged in to"), "{says:?}: {said:?}");
        assert!(!said.err.contains(SECRET));
        let (_, heard) = &*talk.lock().await;
        assert!(!contains(heard, SECRET) && !heard.contains(&b'p'), "{says:?}: {heard:?}");
    }
}
