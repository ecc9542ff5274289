//! What is no statement is refused or ends the connection, whatever bytes come.

use crate::stage::{COMES_WITHIN, Stage};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) fn packet(code: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    for (name, value) in pairs {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    if !pairs.is_empty() {
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap();
    [length.to_be_bytes().as_slice(), &body].concat()
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

/// Everything the gateway says until it is ready, or closes.
pub(crate) async fn said(stream: &mut TcpStream) -> Vec<u8> {
    let (mut out, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = tokio::time::timeout(COMES_WITHIN, stream.read(&mut piece)).await.unwrap();
        match read {
            Ok(0) | Err(_) => return out,
            Ok(count) => out.extend_from_slice(&piece[..count]),
        }
        let ready = out.len() >= 6 && out[out.len() - 6..out.len() - 1] == *b"Z\0\0\0\x05";
        let password = out.ends_with(b"R\0\0\0\x08\0\0\0\x03");
        if ready || password {
            return out;
        }
    }
}

pub(crate) async fn login(stage: &Stage, pairs: &[(&str, &str)]) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(stage.addr).await.unwrap();
    let pairs = [&[("user", "bot"), ("database", "shop")], pairs].concat();
    stream.write_all(&packet(196_608, &pairs)).await.unwrap();
    let asked = said(&mut stream).await;
    if !asked.ends_with(&[3]) {
        return (stream, asked);
    }
    stream.write_all(&message(b'p', b"bot-token\0")).await.unwrap();
    let opened = said(&mut stream).await;
    (stream, opened)
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_a_connection_is_answered_by_the_book() {
    let stage = Stage::set().await;
    for code in [80_877_103, 80_877_104] {
        let mut stream = TcpStream::connect(stage.addr).await.unwrap();
        stream.write_all(&packet(code, &[])).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
    }
    for (pairs, want) in [
        (vec![("replication", "database")], "CZC002"),
        (vec![("options", "-c search_path=evil")], "CZC002"),
        (vec![("search_path", "evil")], "CZC002"),
        (vec![("database", "other")], "C3D000"),
    ] {
        let (_, told) = login(&stage, &pairs).await;
        assert!(
            contains(&told, want) && contains(&told, "FATAL"),
            "{pairs:?}: {}",
            String::from_utf8_lossy(&told)
        );
    }
    // A newer protocol and an option nobody knows are negotiated away, and the session opens.
    let mut stream = TcpStream::connect(stage.addr).await.unwrap();
    let pairs = [("user", "bot#shop"), ("database", "shop"), ("_pq_.shiny", "1")];
    stream.write_all(&packet(196_608 + 9999, &pairs)).await.unwrap();
    let asked = said(&mut stream).await;
    assert!(asked.starts_with(b"v\0\0\0") && contains(&asked, "_pq_.shiny"), "{asked:?}");
    stream.write_all(&message(b'p', b"bot-token\0")).await.unwrap();
    assert!(said(&mut stream).await.ends_with(b"Z\0\0\0\x05I"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_no_statements_do_not_pass() {
    let stage = Stage::set().await;
    let (mut stream, opened) = login(&stage, &[]).await;
    assert!(contains(&opened, "server_version") && opened.ends_with(b"I"));
    // A function call is refused, and the session goes on.
    stream.write_all(&message(b'F', b"\0\0\x04\xd2\0\0\0\0\0\0")).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "CZC002") && told.ends_with(b"I"), "{told:?}");
    // An error in a pipeline lets the rest of it go, up to its end.
    let pipeline = [
        message(b'B', b"\0nowhere\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'P', b"\0delete from orders\0\0\0"),
        message(b'S', b""),
    ];
    stream.write_all(&pipeline.concat()).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "C26000") && told.ends_with(b"I"), "{told:?}");
    // Parsed and described at once, run later: what a driver does with `Flush`.
    let first = [
        message(b'P', b"s\0select count(*) from orders where id <= $1\0\0\0"),
        message(b'D', b"Ss\0"),
        message(b'H', b""),
    ];
    stream.write_all(&first.concat()).await.unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"1\0\0\0\x04");
    let then =
        [message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x017\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
    stream.write_all(&then.concat()).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "SELECT 1") && told.ends_with(b"I"), "{}", String::from_utf8_lossy(&told));
    // A tag that no protocol has.
    stream.write_all(&message(b'?', b"")).await.unwrap();
    assert!(contains(&said(&mut stream).await, "C08P01"));
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_run_anything_that_was_not_asked_for() {
    let stage = Stage::set().await;
    let tags = prop_oneof![proptest::sample::select(b"BCcDdEfFHPpQSX?".to_vec()), any::<u8>()];
    let messages = proptest::collection::vec((tags, proptest::collection::vec(any::<u8>(), 0..24)), 1..6);
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let drawn = messages.new_tree(&mut runner).unwrap().current();
        let (mut stream, _) = login(&stage, &[]).await;
        let bytes: Vec<u8> = drawn.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        // The gateway may have closed already.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.write_all(&message(b'X', b"")).await;
        while !said(&mut stream).await.is_empty() {}
    }
    let entries = stage.entries("execution.authorized").await.len();
    let ended = stage.results(entries).await;
    assert!(ended.iter().all(|status| status.is_empty() || status.starts_with("error")), "{ended:?}");
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}
