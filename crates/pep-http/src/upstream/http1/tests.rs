//! Exchanges with a target that does what it likes.

use super::*;
use std::future::poll_fn;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const LIMIT: Duration = Duration::from_mins(1);

async fn pair() -> (Box<Http1>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (line, target) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (Box::new(Http1::new(Wire::Plain(line.unwrap()), LIMIT)), target.unwrap().0)
}

fn get() -> Written {
    Written { out: Outbox::of(b"GET / HTTP/1.1\r\n\r\n".as_slice().into()), upload: None, bodiless: false }
}

/// Sends a request, has the target answer this and close, and reads everything: the body, and whether the connection
/// could go on.
async fn answered(answer: &[u8]) -> Result<(StatusCode, Vec<u8>, bool), Broken> {
    let (line, mut target) = pair().await;
    let mut exchange = line.begin(get(), LIMIT);
    let target = async move {
        let mut asked = [0; 18];
        target.read_exact(&mut asked).await.unwrap();
        target.write_all(answer).await.unwrap();
        target.shutdown().await.unwrap();
        target
    };
    let read = async {
        let head = poll_fn(|cx| exchange.poll_head(cx)).await?;
        let mut body = Vec::new();
        while let Some(data) = poll_fn(|cx| exchange.poll_data(cx)).await {
            body.extend_from_slice(&data?);
        }
        Ok::<_, Broken>((head.status, body))
    };
    let (_target, read) = tokio::join!(target, read);
    let (status, body) = read?;
    Ok((status, body, exchange.rested().is_some()))
}

#[tokio::test]
#[rustfmt::skip]
async fn answers_are_read_to_their_end_and_no_further() {
    for (answer, status, body, rests) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200", 200, "ok", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\nX: dropped\r\n\r\n", 200, "ok!", true),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", false),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, "", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false),
    ] {
        let (found, read, rested) = answered(answer.as_bytes()).await.unwrap();
        assert_eq!((found.as_u16(), read.as_slice(), rested), (status, body.as_bytes(), rests), "{answer:?}");
    }
}

#[tokio::test]
async fn what_breaks_off_or_is_framed_badly_is_lost() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nokay",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        assert!(answered(answer.as_bytes()).await.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ended_or_spoke_while_it_rested_is_not_quiet() {
    let (mut line, target) = pair().await;
    assert!(line.is_quiet());
    drop(target);
    // The end arrives when the kernel says so.
    let Wire::Plain(stream) = &line.wire else { unreachable!() };
    stream.readable().await.unwrap();
    assert!(!line.is_quiet());

    let (mut line, mut target) = pair().await;
    target.write_all(b"HTTP/1.1 408 Too late\r\n\r\n").await.unwrap();
    let Wire::Plain(stream) = &line.wire else { unreachable!() };
    stream.readable().await.unwrap();
    assert!(!line.is_quiet() && !line.is_quiet());
}

#[tokio::test]
async fn a_request_is_given_back_only_while_not_a_byte_of_it_left() {
    let (line, _target) = pair().await;
    assert!(line.begin(get(), LIMIT).untouched().is_some());
    let (line, target) = pair().await;
    let mut exchange = line.begin(get(), LIMIT);
    drop(target);
    let broken = poll_fn(|cx| exchange.poll_head(cx)).await;
    assert!(broken.is_err());
    assert!(exchange.untouched().is_none(), "it was written, whoever read it");
}
