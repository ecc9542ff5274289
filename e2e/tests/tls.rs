//! TLS on both sides, with peers nobody here wrote: curl over HTTP/2 in front, Python's server behind.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_e2e::{Gateway, Setup, client::curl};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("hello from " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// An authority and one certificate for `localhost` under it, as PEM files.
struct Pki {
    folder: TempDir,
    authority: String,
    certificate: String,
    key: String,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = params.signed_by(&key, &authority).unwrap().pem();
        let folder = TempDir::new().unwrap();
        let pki = Self { folder, authority: authority.pem(), certificate, key: key.serialize_pem() };
        for (name, text) in [("ca.pem", &pki.authority), ("tls.pem", &pki.certificate), ("tls.key", &pki.key)]
        {
            std::fs::write(pki.path(name), text).unwrap();
        }
        pki
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

/// Python's own HTTPS server; ended when dropped.
struct Target(Child, u16);

impl Target {
    fn start(certificate: &Path, key: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", SERVER])
            .args([certificate, key])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().unwrap())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn gateway(pki: &Pki, port: u16, authority: &str) -> (Gateway, String) {
    let target = format!(
        r#"[[http]]
listen = "127.0.0.1:WIRE"
name = "secure"
environment = "prod"
upstream = "https://localhost:{port}"
listener_tls = {{ certificate = "tls.pem", key = "tls.key" }}
upstream_tls = {{ ca = "ca.pem" }}
limits = {{ connect = "2m" }}

[[http.operations]]
name = "readFile"
method = "GET"
path = "/{{file}}"
class = "read"
sentence = "Read the file {{file}}"
"#
    );
    let files = [("tls.pem", &*pki.certificate), ("tls.key", &*pki.key), ("ca.pem", authority)];
    let setup = Setup {
        policy: include_str!("../fixtures/nginx.cedar"),
        groups: r#"["operators", "sre"]"#,
        sections: &target,
        files: &files,
    };
    let gateway = Gateway::start(&setup).await.unwrap();
    gateway.invite("olga@example.com", "sre").await.unwrap();
    let token = gateway.agent("bot", "olga@example.com", "operators").await.unwrap();
    (gateway, format!("Authorization: Bearer {token}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_http2_over_tls_to_a_target_behind_tls() {
    let pki = Pki::new();
    let target = Target::start(&pki.path("tls.pem"), &pki.path("tls.key"));
    let (gateway, authorization) = gateway(&pki, target.1, &pki.authority).await;
    let url = gateway.url.replace("http://127.0.0.1", "https://localhost") + "/report";
    let ca = pki.path("ca.pem");
    let ca = ca.to_str().unwrap();
    for version in ["--http1.1", "--http2"] {
        let seen = curl(&[version, "--cacert", ca, "-H", &authorization, &url]).await.unwrap();
        assert_eq!((seen.status, seen.body.as_slice()), (200, b"hello from /report".as_slice()), "{version}");
    }
    // Plain HTTP on a TLS listener gets nothing.
    assert!(curl(&["-H", &authorization, &format!("{}/report", gateway.url)]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_certificate_is_not_trusted_gets_nothing() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let target = Target::start(&stranger.path("tls.pem"), &stranger.path("tls.key"));
    let (gateway, authorization) = gateway(&pki, target.1, &pki.authority).await;
    let url = gateway.url.replace("http://127.0.0.1", "https://localhost") + "/report";
    let ca = pki.path("ca.pem");
    let seen = curl(&["--cacert", ca.to_str().unwrap(), "-H", &authorization, &url]).await.unwrap();
    assert_eq!(seen.status, 502, "{}", String::from_utf8_lossy(&seen.body));
    assert!(String::from_utf8_lossy(&seen.body).contains("nothing was sent"));
}
