//! Bytes that cannot be read with certainty, or are too many: a clear refusal, nothing at the target, and a gateway
//! that goes on.

use crate::hidden_in;
use countersign_e2e::night::{self, Night};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn bodies_that_cannot_be_read_with_certainty_are_refused_in_plain_words() {
    let night = Night::open(&[]).await.unwrap();
    let client = night::client().unwrap();
    let bodies: [(&str, Vec<u8>); 9] = [
        ("10 MB", format!("{{\"value\":\"{}\"}}", "x".repeat(10 << 20)).into_bytes()),
        ("deep lists", [b"[".repeat(100_000), b"]".repeat(100_000)].concat()),
        ("deep objects", [b"{\"value\":".repeat(50_000), b"1".to_vec(), b"}".repeat(50_000)].concat()),
        ("duplicate keys", br#"{"value":"1","value":"2"}"#.to_vec()),
        ("duplicate keys, one escaped", br#"{"value":"1","\u0076alue":"2"}"#.to_vec()),
        ("invalid UTF-8", b"{\"value\":\"\xff\xfe\xc0\x80\"}".to_vec()),
        ("a lone surrogate", br#"{"value":"\ud800"}"#.to_vec()),
        ("two documents", br#"{"value":"1"}{"value":"2"}"#.to_vec()),
        ("cut short", br#"{"value":"#.to_vec()),
    ];
    for (what, body) in bodies {
        let ask =
            night.ask(&client, Method::PUT, "/v1/config/prod/timeout").header("prefer", "respond-async");
        let answer = ask.header("content-type", "application/json").body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        assert!((400..500).contains(&status), "{what}: {status} {text}");
        assert_eq!(kind, "application/problem+json", "{what}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{what}: {text}");
        assert!(text.len() < 4096 && hidden_in(&text).is_none(), "{what}: {text}");
        let well = night.ask(&client, Method::GET, "/v1/services/checkout/status").send().await.unwrap();
        assert_eq!(well.status(), 200, "after {what}");
    }
    assert!(night.cloud.effects().iter().all(|effect| effect.operation == "serviceStatus"));
}

#[tokio::test]
async fn a_caller_that_reads_nothing_before_it_has_sent_its_whole_body_gets_the_refusal() {
    let night = Night::open(&[]).await.unwrap();
    let address = night.gateway.url.trim_start_matches("http://");
    let size = 24 << 20;
    let head = format!(
        "PUT /v1/config/prod/timeout HTTP/1.1\r\nHost: cloud\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n",
        night.token
    );
    let body = b"x".repeat(size);
    let ask = async || {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    // Who is silent for a second meanwhile is waited for no longer: a busy machine may need another try.
    let mut answer = ask().await;
    for _ in 0..2 {
        if answer.is_err() {
            answer = ask().await;
        }
    }
    let answer = answer.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(night.cloud.effects(), []);
}

#[tokio::test]
async fn a_credential_that_cannot_be_read_runs_nothing_until_it_is_back() {
    let night = Night::open(&[]).await.unwrap();
    let client = night::client().unwrap();
    let file = night.gateway.folder().join("cloud.token");
    std::fs::remove_file(&file).unwrap();
    let ask = || night.ask(&client, Method::GET, "/v1/services/checkout/status").send();
    let refused = ask().await.unwrap();
    assert!(matches!(refused.status().as_u16(), 502 | 503), "{}", refused.status());
    let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    assert_eq!(night.cloud.effects(), []);
    std::fs::write(&file, night::CREDENTIAL).unwrap();
    assert_eq!(ask().await.unwrap().status(), 200);
}

#[tokio::test]
async fn request_lines_and_headers_that_two_parsers_read_differently_are_refused() {
    let night = Night::open(&[]).await.unwrap();
    let authorization = format!("Host: cloud\r\nAuthorization: Bearer {}\r\n", night.token);
    let address = night.gateway.url.trim_start_matches("http://").to_owned();
    let wrong = [
        "GET /v1/services/../config HTTP/1.1\r\n@\r\n",
        "GET /v1/services/%2e%2e/status HTTP/1.1\r\n@\r\n",
        "GET /v1/services/a%2fb/status HTTP/1.1\r\n@\r\n",
        "GET /v1/services/a%00b/status HTTP/1.1\r\n@\r\n",
        "GET /v1/services/%ff/status HTTP/1.1\r\n@\r\n",
        "GET /v1//services/a/status HTTP/1.1\r\n@\r\n",
        "GET /v1/services/a;x=y/status HTTP/1.1\r\n@\r\n",
        "GET /v1/services/a\\b/status HTTP/1.1\r\n@\r\n",
        "PUT /v1/config/prod/x HTTP/1.1\r\n@Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
        "PUT /v1/config/prod/x HTTP/1.1\r\n@Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT /v1/config/prod/x HTTP/1.1\r\n@Content-Length: -1\r\n\r\n",
        "PUT /v1/config/prod/x HTTP/1.1\r\n@Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET /v1/services/a/status HTTP/1.1\r\n@X: a\0b\r\n\r\n",
        "GET /v1/services/a/status HTTP/1.1\r\n@X: a\r\n folded\r\n\r\n",
        "CONNECT cloud:443 HTTP/1.1\r\n@\r\n",
        "GET http://other.example/v1/services/a/status HTTP/1.1\r\n@\r\n",
        "GET /v1/services/a/status HTTP/1.1\r\n@Host: other\r\n\r\n",
        "\u{1b}[2J\r\n\r\n",
    ];
    for line in wrong {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(line.replacen('@', &authorization, 1).as_bytes()).await.unwrap();
        // A parser that gives up early may reset the connection after its answer.
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).replace("\r\n", "\n");
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.is_empty() || status.starts_with('4'), "{line:?}: {answer}");
        assert_eq!(hidden_in(&answer), None, "{line:?}: {answer}");
    }
    assert_eq!(night.cloud.effects(), []);
    let client = night::client().unwrap();
    let well = night.ask(&client, Method::GET, "/v1/services/checkout/status").send().await.unwrap();
    assert_eq!(well.status(), 200);
}
