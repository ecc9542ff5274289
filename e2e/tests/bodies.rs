//! Many large bodies at once that policy looks into: the gateway's memory stays bounded, and every one of them reaches
//! the target byte for byte.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_e2e::{Gateway, Setup};
use countersign_testkit::nginx::{Nginx, Site};
use std::{fs, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

const UPLOADS: usize = 64;
/// Sent one after the other before: they fill the database's own cache, which is as large as it ever gets then.
const WARMING: usize = 36;
const LENGTH: usize = 2 << 20;
/// What each upload keeps back until all of them are on their way.
const REST: usize = 1 << 10;
/// What the gateway may grow by while 128 MiB lie with it: its bound for bodies, and what reading and parsing take.
const GROWTH_KIB: u64 = 32 << 10;

const TARGET: &str = r#"[[http]]
listen = "127.0.0.1:WIRE"
name = "files"
environment = "prod"
body_limit = "2MiB"
upstream = "UPSTREAM"
# What an upload keeps back comes when all of them have begun, and each waits for its turn to be decided on.
limits = { request_head = "10m" }

[[http.operations]]
name = "storeFile"
method = "PUT"
path = "/{file}"
class = "write"
facts = [{ name = "kind", pointer = "/kind" }]
sentence = "Store the {kind} {file}"

[bodies]
memory = "16MiB"
disk = "256MiB"
"#;

/// JSON of exactly this length, another one for every number.
fn body(number: usize) -> Vec<u8> {
    let start = format!("{{\"kind\":\"report\",\"text\":\"{number:06}");
    let filling =
        (0..LENGTH - start.len() - 2).map(|at| b'a' + u8::try_from((at * 7 + number) % 26).unwrap());
    start.bytes().chain(filling).chain(*b"\"}").collect()
}

/// How many bytes lie in files without a name that the gateway has open.
fn spilled(gateway: &Gateway) -> u64 {
    let open = fs::read_dir(format!("/proc/{}/fd", gateway.process())).unwrap();
    let size = |file: fs::DirEntry| {
        let nameless = fs::read_link(file.path()).ok()?.to_string_lossy().ends_with("(deleted)");
        fs::metadata(file.path()).ok().filter(|_| nameless).map(|found| found.len())
    };
    open.filter_map(|file| size(file.ok()?)).sum()
}

async fn begin(gateway: &Gateway, token: &str, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "PUT /{number}.json HTTP/1.1\r\nHost: files\r\nAuthorization: Bearer {token}\r\nContent-Length: {LENGTH}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body(number).get(..LENGTH - REST).unwrap()).await.unwrap();
    stream
}

async fn finish(mut stream: TcpStream, number: usize) -> String {
    stream.write_all(body(number).get(LENGTH - REST..).unwrap()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_bodies_at_once_stay_outside_memory_and_arrive_whole() {
    let nginx = Nginx::start(Site::Files).await.unwrap();
    let target = TARGET.replace("UPSTREAM", &nginx.url());
    let setup = Setup {
        policy: include_str!("../fixtures/nginx.cedar"),
        groups: r#"["operators", "sre"]"#,
        sections: &target,
        files: &[],
    };
    let gateway = Gateway::start(&setup).await.unwrap();
    gateway.invite("olga@example.com", "sre").await.unwrap();
    let token = gateway.agent("bot", "olga@example.com", "operators").await.unwrap();
    for number in UPLOADS..UPLOADS + WARMING {
        finish(begin(&gateway, &token, number).await, number).await;
    }
    let before = gateway.peak_memory_kib().unwrap();

    let mut uploads = Vec::new();
    for number in 0..UPLOADS {
        uploads.push(begin(&gateway, &token, number).await);
    }
    let all = u64::try_from(UPLOADS * (LENGTH - REST - (64 << 10))).unwrap();
    let end = Instant::now() + Duration::from_mins(3);
    while spilled(&gateway) < all {
        assert!(Instant::now() < end, "only {} of {all} bytes are in files", spilled(&gateway));
        sleep(Duration::from_millis(20)).await;
    }
    let waiting =
        uploads.into_iter().enumerate().map(|(number, stream)| tokio::spawn(finish(stream, number)));
    for (number, answer) in waiting.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{number}: {answer}");
    }
    let grown = gateway.peak_memory_kib().unwrap().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the gateway grew by {grown} KiB");
    for number in 0..UPLOADS {
        let stored = fs::read(nginx.root().join(format!("{number}.json"))).unwrap();
        assert!(stored == body(number), "what went up as {number} differs");
    }
    while spilled(&gateway) > 0 {
        assert!(Instant::now() < end, "{} bytes are left", spilled(&gateway));
        sleep(Duration::from_millis(20)).await;
    }
}
