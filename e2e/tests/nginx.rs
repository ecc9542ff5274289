//! nginx behind the gateway: files of any size stream through in both directions, byte for byte, while the gateway's
//! memory stays small; and every header of the answer is the target's own.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_e2e::{
    Gateway, Setup,
    client::{curl, python, write_noise},
};
use countersign_testkit::nginx::{Nginx, Site};
use std::fs;

const LARGE: usize = 64 << 20;
/// What the gateway may grow by while 64 MiB pass through it, in KiB.
const GROWTH_KIB: u64 = 16 << 10;

const PYTHON: &str = r#"
import http.client, sys
host, token, down, up, source, sink = sys.argv[1:7]
connection = http.client.HTTPConnection(host.removeprefix("http://"), timeout=120)
headers = {"Authorization": "Bearer " + token}
connection.request("GET", down, headers=headers)
answer = connection.getresponse()
assert answer.status == 200, answer.status
with open(sink, "wb") as file:
    while chunk := answer.read(1 << 16):
        file.write(chunk)
with open(source, "rb") as file:
    connection.request("PUT", up, body=file, headers=headers)
    answer = connection.getresponse()
    answer.read()
print(answer.status)
"#;

struct Stage {
    nginx: Nginx,
    gateway: Gateway,
    authorization: String,
    token: String,
}

impl Stage {
    async fn open() -> Self {
        let nginx = Nginx::start(Site::Files).await.unwrap();
        let target = format!(
            r#"[[http]]
listen = "127.0.0.1:WIRE"
name = "files"
environment = "prod"
upstream = "{}"

[[http.operations]]
name = "readFile"
method = "GET"
path = "/{{file}}"
class = "read"
sentence = "Read the file {{file}}"

[[http.operations]]
name = "storeFile"
method = "PUT"
path = "/{{file}}"
class = "write"
sentence = "Store the file {{file}}"
"#,
            nginx.url()
        );
        let setup = Setup {
            policy: include_str!("../fixtures/nginx.cedar"),
            groups: r#"["operators", "sre"]"#,
            sections: &target,
            files: &[],
        };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        let token = gateway.agent("bot", "olga@example.com", "operators").await.unwrap();
        Self { nginx, gateway, authorization: format!("Authorization: Bearer {token}"), token }
    }
}

#[tokio::test]
async fn answers_keep_every_header_and_byte_of_the_target() {
    let stage = Stage::open().await;
    fs::write(stage.nginx.root().join("small.txt"), "line\r\nline\n\0\u{feff}end").unwrap();
    let (plain, through) =
        (format!("{}/small.txt", stage.nginx.url()), format!("{}/small.txt", stage.gateway.url));
    for more in
        [vec![], vec!["-r", "3-8"], vec!["-r", "900-"], vec!["-I"], vec!["-H", "If-None-Match: \"x\""]]
    {
        let direct = curl(&[&more[..], &[&plain]].concat()).await.unwrap();
        let seen = curl(&[&more[..], &["-H", &stage.authorization, &through]].concat()).await.unwrap();
        assert_eq!((direct.status, &direct.body), (seen.status, &seen.body), "{more:?}");
        assert_eq!(direct.own_headers(), seen.own_headers(), "{more:?}");
    }
}

#[tokio::test]
async fn a_large_file_streams_through_curl_while_memory_stays_small() {
    let stage = Stage::open().await;
    let large = stage.nginx.root().join("large.bin");
    write_noise(&large, LARGE).unwrap();
    let small = format!("{}/none.bin", stage.gateway.url);
    curl(&["-H", &stage.authorization, &small]).await.unwrap();
    let before = stage.gateway.peak_memory_kib().unwrap();
    let url = format!("{}/large.bin", stage.gateway.url);
    let down = curl(&["-H", &stage.authorization, &url]).await.unwrap();
    assert_eq!(down.status, 200);
    assert!(down.body == fs::read(&large).unwrap(), "what came down differs");
    let (file, url) = (large.display().to_string(), format!("{}/up.bin", stage.gateway.url));
    let up = curl(&["-H", &stage.authorization, "-T", &file, &url]).await.unwrap();
    assert_eq!(up.status, 201, "{}", String::from_utf8_lossy(&up.body));
    assert!(fs::read(stage.nginx.root().join("up.bin")).unwrap() == down.body, "what went up differs");
    let grown = stage.gateway.peak_memory_kib().unwrap().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the gateway grew by {grown} KiB");
}

#[tokio::test]
async fn a_large_file_streams_through_python_in_both_directions() {
    let stage = Stage::open().await;
    let large = stage.nginx.root().join("large.bin");
    write_noise(&large, LARGE / 4).unwrap();
    let sink = stage.nginx.root().join("sink.bin");
    let files = (large.display().to_string(), sink.display().to_string());
    let arguments = [&*stage.gateway.url, &stage.token, "/large.bin", "/up.bin", &files.0, &files.1];
    let told = python(PYTHON, &arguments).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&told).trim(), "201");
    let sent = fs::read(&large).unwrap();
    assert!(fs::read(&sink).unwrap() == sent, "what came down differs");
    assert!(fs::read(stage.nginx.root().join("up.bin")).unwrap() == sent, "what went up differs");
}
